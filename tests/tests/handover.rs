//! Leadership passing from one process to another, judged by what the API server stored.

use rustix::process::Signal;
use serde_json::json;
use tenure_tests::{Options, Plugin, World, until};

/// A world in which a probe named `probe` does `behaviour` to one ConfigMap `default/target`, which it has stamped.
async fn working(replicas: usize, behaviour: &str) -> World {
    let world = World::with_replicas(replicas, Options::default()).await;
    world.drop_in(&Plugin::probe("probe", behaviour, "1")).await;
    world.config_map("probe", "default", "target", json!({})).await;
    world.annotated("default", "target", "probe/term").await;
    world
}

/// Waits until a term after `term` has stamped a new object.
async fn successor_works(world: &World, term: u64, name: &str) {
    world.config_map("probe", "default", name, json!({})).await;
    until("the successor to stamp an object", || async {
        let stamped = world.annotation("default", name, "probe/term").await;
        stamped.and_then(|stamped| stamped.parse::<u64>().ok()).is_some_and(|stamped| stamped > term)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_hands_over_by_release_and_the_old_leader_ends_well() {
    let mut world = working(3, "stamp").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).signal(Signal::TERM);
    world.leader_after(&old).await;
    successor_works(&world, term, "after").await;
    assert!(world.replica(&old).ended().await.success());

    let history = world.judge.history();
    let released = history.iter().position(|state| state.holder.is_empty()).expect("the lock was released");
    let after = &history[released + 1];
    assert!(!after.holder.is_empty() && !after.holder.starts_with(&old), "{after:?} follows the release");
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn release_comes_after_the_last_write_of_the_term() {
    let mut world = working(2, "burst").await;
    let old = world.leader().await;
    world.replica(&old).signal(Signal::TERM);
    world.leader_after(&old).await;
    assert!(world.replica(&old).ended().await.success());
    let history = world.judge.history();
    let released = history.iter().find(|state| state.holder.is_empty()).expect("the lock was released");
    let term = released.term.expect("a released lock still says whose term it was");
    let last = world.judge.writes().into_iter().filter(|(of, ..)| *of == term).map(|(_, version, _)| version).max();
    assert!(last.expect("the term wrote") < released.version, "a write of the term came after its release");
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_a_running_call_finish_what_it_began() {
    let mut world = working(2, "linger").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).signal(Signal::TERM);
    world.annotated_with("default", "target", "probe/finished", &term.to_string()).await;
    assert!(world.replica(&old).ended().await.success());
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_at_expiry() {
    let mut world = working(3, "burst").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).kill();
    world.leader_after(&old).await;
    successor_works(&world, term, "after").await;
    let history = world.judge.history();
    assert!(history.iter().all(|state| !state.holder.is_empty()), "a killed leader cannot have released: {history:?}");
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_paused_past_its_lease_writes_nothing_when_it_wakes() {
    let mut world = working(3, "burst").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).signal(Signal::STOP);
    world.leader_after(&old).await;
    world.annotated("default", "target", "probe/term").await;
    world.replica(&old).signal(Signal::CONT);
    world.replica(&old).logged("stopped leading").await;
    successor_works(&world, term, "after").await;
    assert_eq!(world.judge.late_writes(), []);
    assert!(world.replica(&old).is_running(), "a leader that lost campaigns again, it does not exit");
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_guest_is_killed_and_the_lock_released() {
    let mut world = working(2, "deaf").await;
    let old = world.leader().await;
    world.replica(&old).signal(Signal::TERM);
    world.leader_after(&old).await;
    assert!(world.replica(&old).ended().await.success());
    assert!(world.judge.history().iter().any(|state| state.holder.is_empty()), "released after the kill");
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_may_lead_in_turn_and_come_back() {
    let mut world = working(3, "stamp").await;
    for round in 0..4 {
        let (old, term) = (world.leader().await, world.term().await.expect("a term"));
        world.replica(&old).signal(Signal::TERM);
        assert!(world.replica(&old).ended().await.success());
        world.leader_after(&old).await;
        successor_works(&world, term, &format!("round-{round}")).await;
        world.start(&old);
    }
    world.judge.assert_clean();
}
