//! RBAC and credentials that are taken away while a leader works: what may no longer be done ends in order, the host says what
//! it lacks, and goes on when it is given back.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use rustix::process::Signal;
use serde_json::{Value, json};
use tenure_tests::scenes::{at_work, successor_works};
use tenure_tests::{Options, RealApi, Relay, Version, World, until, until_some};

use super::evidence::{assert_clean, writes_after};
use super::{three_replicas, three_replicas_at};

/// The host's Role for the lock.
const ROLE: &str = "tenure";

/// Leaves these verbs on leases to the replicas, and returns the rules as they were.
pub(crate) async fn leave_on_leases(world: &World, verbs: &[&str]) -> Vec<PolicyRule> {
    let roles = world.api::<Role>(&world.names.system);
    let before = roles.get(ROLE).await.expect("the Role is there").rules.expect("it has rules");
    let mut rules = before.clone();
    let leases = rules.iter_mut().find(|rule| rule.resources.as_ref().is_some_and(|of| of.contains(&"leases".into())));
    leases.expect("a rule for leases").verbs = verbs.iter().map(|verb| (*verb).to_owned()).collect();
    set_rules(world, &rules).await;
    before
}

pub(crate) async fn set_rules(world: &World, rules: &[PolicyRule]) {
    let patch = Patch::Merge(json!({"rules": rules}));
    let roles = world.api::<Role>(&world.names.system);
    roles.patch(ROLE, &PatchParams::default(), &patch).await.expect("the Role can be changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_update_the_term_ends_by_itself_and_the_log_names_the_role() {
    let Some(world) = three_replicas().await else { return };
    let mut world = at_work(world, "burst").await;
    let (leader, term) = (world.leader().await, world.term().await.expect("a term"));
    let before = leave_on_leases(&world, &["get", "list", "watch", "create"]).await;
    let said = world.replica(&leader).logged("forbidden to update leases.coordination.k8s.io").await;
    for word in [world.names.system.as_str(), "Role in", "coordination.k8s.io", "list", "watch", "create", "update"] {
        assert!(said.contains(word), "{word} is missing in {said}");
    }
    let stopped = world.replica(&leader).logged("stopped leading").await;
    assert!(stopped.contains("its renewals were not stored in time"), "{stopped}");

    // The term is over: what it committed until now is all there will ever be of it.
    world.judged().await;
    let written = writes_after(&world, term, Version::default()).len();
    set_rules(&world, &before).await;
    world.leader_of_a_term_above(term).await;
    successor_works(&world, term, "after").await;
    assert_clean(&world).await;
    assert_eq!(writes_after(&world, term, Version::default()).len(), written, "term {term} wrote after it had ended");
    for replica in world.replicas.values_mut() {
        assert!(replica.is_running(), "{} ended; missing rights end no process", replica.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_may_not_release_ends_all_the_same_and_is_waited_for() {
    let Some(world) = three_replicas().await else { return };
    let mut world = at_work(world, "burst").await;
    let (leader, term) = (world.leader().await, world.term().await.expect("a term"));
    let before = leave_on_leases(&world, &["get", "list", "watch", "create"]).await;
    world.replica(&leader).logged("forbidden to update leases.coordination.k8s.io").await;
    world.replica(&leader).signal(Signal::TERM);
    assert!(world.replica(&leader).ended().await.success());
    set_rules(&world, &before).await;
    world.leader_of_a_term_above(term).await;
    let released = world.judge.history().into_iter().find(|state| state.holder.is_empty());
    assert_eq!(released, None, "it could not be released");
    assert_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_watch_the_lock_is_read_and_handed_over_all_the_same() {
    let Some(api) = RealApi::shared().await else { return };
    let relay = Relay::before(api.address()).await;
    let mut world = World::on(&api, Options::told_by_the_gate()).await;
    for name in ["replica-0", "replica-1", "replica-2"] {
        world.start_at(name, Some(relay.address()), &[]).await;
    }
    world.leader().await;
    // Idle while its connections are cut: a write without an answer would forbid the release this is about.
    let mut world = at_work(world, "stamp").await;
    let before = leave_on_leases(&world, &["get", "create", "update"]).await;
    until("the right to watch to be gone", || async {
        !world.may(&world.account(), "watch", "coordination.k8s.io", "leases", &world.names.system).await
    })
    .await;
    // A watch that is open outlives the right to it: it was asked for when it began.
    relay.cut();
    for name in ["replica-0", "replica-1", "replica-2"] {
        let said = world.replica(name).logged("the lock cannot be watched").await;
        assert!(said.contains("list and watch"), "{said}");
    }
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).signal(Signal::TERM);
    assert!(world.replica(&old).ended().await.success());
    world.leader_of_a_term_above(term).await;
    successor_works(&world, term, "after").await;
    let history = world.judge.history();
    let released = history.iter().position(|state| state.holder.is_empty()).expect("the lock was released");
    assert!(!history[released + 1].holder.is_empty(), "a standby that reads takes a released lock");

    // A replica that comes now watches.
    set_rules(&world, &before).await;
    world.start(&old).await;
    until("a watch on the lock by the replica that came back", || async {
        let events = api.audit().into_iter();
        let mut watches =
            events.filter(|event| event.verb == "watch" && event.resource == "leases" && event.code == 200);
        watches.any(|event| event.pod.as_deref() == Some(&old) && event.namespace == world.names.system)
    })
    .await;
    assert_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_plugins_may_no_longer_do_fails_as_forbidden_and_the_host_leads_on() {
    let Some(world) = three_replicas_at("default").await else { return };
    let mut world = at_work(world, "stamp").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    let roles: Api<ClusterRole> = Api::all(world.client());
    let name = world.names.system.clone();
    let mut role = roles.get(&name).await.expect("the plugins' role");
    roles.delete(&name, &DeleteParams::default()).await.expect("it can be deleted");
    until("the right to change ConfigMaps to be gone", || async {
        !world.may(&world.account(), "patch", "", "configmaps", &world.names.work).await
    })
    .await;
    world.config_map("probe", &world.names.work, "forbidden", json!({})).await;
    until_some("the plugin's failure in the leader's status", || async {
        let row = plugin_row(&world).await?;
        let said = row.pointer("/last-result/message").or_else(|| row.pointer("/last_result/message"))?.as_str()?;
        said.contains("forbidden").then_some(())
    })
    .await;
    assert_eq!((world.leader().await, world.term().await), (old.clone(), Some(term)), "the host leads on");

    // Also through a handover: the successor cannot list what its plugin watches, and waits for the right to.
    world.replica(&old).signal(Signal::TERM);
    assert!(world.replica(&old).ended().await.success());
    let successor = world.leader_after(&old).await;
    world.replica(&successor).logged("forbidden").await;
    role.metadata.resource_version = None;
    role.metadata.uid = None;
    roles.create(&PostParams::default(), &role).await.expect("it can be given back");
    world.annotated(&world.names.work, "forbidden", "probe/term").await;
    assert_eq!(world.leader().await, successor, "and leads on");
    assert_clean(&world).await;
}

async fn plugin_row(world: &World) -> Option<Value> {
    let status = world.status_of_leader().await?;
    let identity = format!("{}/probe", world.names.plugins);
    status["plugins"].as_array()?.iter().find(|row| row["identity"] == identity).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_token_is_void_stops_in_time_and_another_takes_over() {
    let Some(world) = three_replicas().await else { return };
    let mut world = at_work(world, "burst").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    // A token bound to a Pod ends with it; the API server remembers one it has checked for ten seconds.
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    world.api::<Pod>(&world.names.system).delete(&old, &now).await.expect("the Pod can be deleted");
    let said = world.replica(&old).logged("does not know this account (401)").await;
    assert!(said.contains("renew its token"), "{said}");
    world.replica(&old).logged("stopped leading").await;
    world.leader_after(&old).await;
    successor_works(&world, term, "after").await;
    assert_clean(&world).await;
    assert!(world.replica(&old).is_running(), "{old} ended; a void token ends no process");
}
