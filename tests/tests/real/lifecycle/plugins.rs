//! Plugins that are added, changed and removed while leadership passes on: the successor runs what is in the cluster, no more and
//! no less.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::json;
use tenure_tests::scenes::TARGET;
use tenure_tests::{ClientGo, World, until};

use super::evidence::{assert_clean, lock_writes};
use super::three_replicas;

/// A world in which `changed` and `removed` have each stamped an object of their own.
async fn with_two_plugins() -> Option<World> {
    let world = three_replicas().await?;
    for name in ["changed", "removed"] {
        world.drop_in(&world.probe(name, "stamp", "before")).await;
        world.config_map(name, &world.names.work, &object(name), json!({})).await;
        world.annotated_with(&world.names.work, &object(name), "probe/value", "before").await;
    }
    Some(world)
}

/// The object that a plugin works on.
fn object(plugin: &str) -> String {
    format!("{TARGET}-of-{plugin}")
}

/// Changes one, removes one, adds one.
async fn change_plugins(world: &World) {
    world.drop_in(&world.probe("changed", "stamp", "after")).await;
    world.remove_plugin("removed").await;
    world.drop_in(&world.probe("added", "stamp", "after")).await;
    world.config_map("added", &world.names.work, &object("added"), json!({})).await;
}

/// Waits until the successor of `term` runs exactly what is in the cluster and has done all there is to do, then judges.
async fn judge(world: &World, term: u64) {
    world.leader_of_a_term_above(term).await;
    until("the successor to run what is in the cluster", || async { running(world).await == expected(world) }).await;
    let work = &world.names.work;
    for plugin in ["changed", "added"] {
        world.annotated_with(work, &object(plugin), "probe/value", "after").await;
    }
    // Nobody stamps what comes for the removed one; later objects of the others are stamped by then.
    world.config_map("removed", work, "too-late", json!({})).await;
    for plugin in ["changed", "added"] {
        let name = format!("late-of-{plugin}");
        world.config_map(plugin, work, &name, json!({})).await;
        world.annotated_with(work, &name, "probe/value", "after").await;
        let stamped = world.annotation(work, &name, "probe/term").await.and_then(|stamped| stamped.parse::<u64>().ok());
        assert!(stamped.is_some_and(|stamped| stamped > term), "{name} was stamped in term {stamped:?}");
    }
    assert_eq!(world.annotation(work, "too-late", "probe/value").await, None, "the removed plugin works on");
    assert_eq!(running(world).await, expected(world));
    assert_clean(world).await;
}

/// Which plugins the leader runs, by its own word; `None` where it cannot be asked.
async fn running(world: &World) -> Option<BTreeSet<String>> {
    let status = world.status_of_leader().await?;
    let rows = status["plugins"].as_array()?.iter();
    rows.map(|row| (row["state"] == "running").then(|| row["identity"].as_str().map(str::to_owned))?).collect()
}

fn expected(world: &World) -> Option<BTreeSet<String>> {
    Some(["added", "changed"].map(|name| format!("{}/{name}", world.names.plugins)).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_change_in_the_instant_of_a_sigterm_are_what_the_successor_runs() {
    let Some(mut world) = with_two_plugins().await else { return };
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).signal(Signal::TERM);
    change_plugins(&world).await;
    assert!(world.replica(&old).ended().await.success());
    judge(&world, term).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_change_while_the_lock_is_let_go_beside_a_client_go_are_what_the_next_of_ours_runs() {
    let Some(mut world) = with_two_plugins().await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let mut other = ClientGo::start(&world, "client-go", None, &["--stay"]).await;
    other.said("new-leader", 1).await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).signal(Signal::TERM);
    change_plugins(&world).await;
    assert!(world.replica(&old).ended().await.success());
    // Client-go or one of ours, whoever is first.
    until("another to hold the lock", || async { world.holder().await.is_some_and(|holder| holder != old) }).await;
    other.signal(Signal::TERM);
    other.ended().await;
    judge(&world, term).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_change_in_the_instant_of_a_sigkill_are_what_the_successor_runs() {
    let Some(mut world) = with_two_plugins().await else { return };
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    // In the middle of the changes: the old leader may have begun with any of them.
    let pid = world.replica(&old).pid();
    let killing = async {
        until("the removal of a plugin", || async {
            world.get_config_map(&world.names.plugins, "removed").await.is_none()
        })
        .await;
        rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
    };
    tokio::join!(change_plugins(&world), killing);
    world.replica(&old).ended().await;
    judge(&world, term).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_change_while_nobody_leads_are_what_the_successor_runs() {
    let Some(mut world) = with_two_plugins().await else { return };
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    // Nobody may come to lead before the last change, however long this machine takes for them.
    let others: Vec<String> = world.replicas.keys().filter(|name| **name != old).cloned().collect();
    for name in &others {
        world.replica(name).signal(Signal::STOP);
        world.replica(name).stopped().await;
    }
    world.replica(&old).kill();
    world.judged().await;
    let last_of_old = lock_writes(&world).last().expect("the old leader wrote").version;
    change_plugins(&world).await;
    let last_change = world.get_config_map(&world.names.work, &object("added")).await.expect("it was created");
    let last_change: u64 =
        last_change.metadata.resource_version.and_then(|version| version.parse().ok()).expect("a version");
    for name in &others {
        world.replica(name).signal(Signal::CONT);
    }
    judge(&world, term).await;
    let acquired = lock_writes(&world).into_iter().find(|write| write.version > last_of_old);
    let acquired = acquired.expect("a successor").version.number;
    assert!(last_change < acquired, "the change at {last_change} came after the successor at {acquired}");
    let writes = world.judge.writes().into_iter();
    let by_removed: Vec<_> =
        writes.filter(|(of, _, written)| *of > term && written.ends_with(&object("removed"))).collect();
    assert!(by_removed.is_empty(), "what was removed while nobody led wrote all the same: {by_removed:?}");
}
