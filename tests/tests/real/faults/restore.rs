//! etcd restored from a copy: versions go back, and a Lease of the past stands there again.

use rustix::process::Signal;
use serde_json::json;
use tenure_control_plane::{EtcdCopy, Program};
use tenure_tests::{LeaseState, Options, RealApi, World, until};

use super::{FIRST, OTHERS, STANDARD, at_work, ended, goes_on, judged, later_term_writes, set_to_work, tell};
use crate::lifecycle::evidence::assert_residue;

/// Objects made by others.
const STRANGERS: usize = 50;

/// Restores take about as long as the leases of the profile `fast`.
pub(super) fn profile(profile: &'static str) -> Options {
    Options { profile, ..Options::default() }
}

/// What an operator does: everything stopped, the copy put in place, everything started.
pub(super) async fn restore(api: &RealApi, world: &World, copy: &EtcdCopy) {
    api.stop(Program::ApiServer).await;
    world.judge.begin_epoch();
    api.restore_etcd(copy).await.expect("the copy can be restored");
}

/// The last state in which the lock was held by nobody, and the one after it.
fn last_release(world: &World) -> (LeaseState, LeaseState) {
    let history = world.judge.history();
    let released = history.iter().rposition(|state| state.holder.is_empty()).expect("the lock was released");
    (history[released].clone(), history[released + 1].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_to_the_same_term_and_to_an_earlier_one_there_is_one_leader_and_work_goes_on() {
    let Some(api) = RealApi::own(|builder| builder).await else { return };
    let (mut world, term) = at_work(&api, profile("default"), None).await;
    let copy = api.copy_etcd().await.expect("etcd can be copied");
    goes_on(&world, term, "after-the-copy").await;

    restore(&api, &world, &copy).await;
    goes_on(&world, term, "after-the-first-restore").await;
    judged(&mut world, "restored to the same term");
    // A write that the outage left without an answer forbids this term's release: a release is judged in the next.
    let (leader, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&leader).signal(Signal::TERM);
    assert!(world.replica(&leader).ended().await.success());
    later_term_writes(&world, term).await;
    world.start_with(&leader, &STANDARD).await;

    // A release is seen by watches that the restore has set back.
    let (leader, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&leader).signal(Signal::TERM);
    later_term_writes(&world, term).await;
    assert!(world.replica(&leader).ended().await.success());
    let (released, next) = last_release(&world);
    assert_eq!(released.term, Some(term));
    assert_ne!(next.holder, released.holder);
    world.start_with(&leader, &STANDARD).await;

    let term = world.term().await.expect("a term");
    goes_on(&world, term, "after-the-handover").await;
    restore(&api, &world, &copy).await;
    later_term_writes(&world, term).await;
    goes_on(&world, term + 1, "after-the-second-restore").await;
    judged(&mut world, "restored to an earlier term");
}

/// The exception that is named: who was started since the copy knows nothing of the term that runs, and a released record lets it in
/// at once. The running term ends at its next renewal; until then both may write, even under one number.
/// A version that the lock had before must not come again by chance, or the renewal would find nothing amiss: others write meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn restored_to_a_released_lock_a_newcomer_enters_at_once_and_the_running_term_ends_at_its_next_renewal() {
    let Some(api) = RealApi::own(|builder| builder).await else { return };
    let mut world = World::on(&api, profile("lazy")).await;
    // Their Pods must be older than the copy, or their tokens are worth nothing after it.
    for name in OTHERS {
        world.kubeconfig(name, None).await;
    }
    world.start_with(FIRST, &STANDARD).await;
    set_to_work(&world).await;
    let first_term = world.term().await.expect("a term");
    world.replica(FIRST).signal(Signal::TERM);
    assert!(world.replica(FIRST).ended().await.success());
    assert_eq!(world.holder().await, None, "released, and nobody is there to take it");
    let copy = api.copy_etcd().await.expect("etcd can be copied");

    let [running, newcomer] = OTHERS;
    world.start_with(running, &STANDARD).await;
    later_term_writes(&world, first_term).await;
    let term = world.term().await.expect("a term");
    world.replica(running).signal(Signal::STOP);
    restore(&api, &world, &copy).await;
    for number in 0..STRANGERS {
        world.config_map("nobody", &world.names.work, &format!("stranger-{number}"), json!({})).await;
    }
    world.start_with(newcomer, &STANDARD).await;
    until("the newcomer to lead", || async { world.holder().await.as_deref() == Some(newcomer) }).await;
    let before = api.audit().len();
    world.replica(running).signal(Signal::CONT);
    ended(&world, running, term).await;
    let agent = format!("term/{term}");
    goes_on(&world, term, "after-the-restore").await;
    world.judged().await;
    let events = api.audit().split_off(before).into_iter();
    let own = events.filter(|event| event.pod.as_deref() == Some(running) && event.resource == "configmaps");
    let exempt = own.filter(|event| event.version().is_some() && event.user_agent.ends_with(&agent));
    let exempt: Vec<String> = exempt.map(|event| event.id.clone()).collect();
    let exempt = assert_residue(&exempt, world.replica(running), term);
    let next = world.term().await.expect("a term");
    tell(&format!("restored to a released lock: {exempt} writes of the running term {term} beside those of {next}"));
    assert!(next > first_term);
    for name in OTHERS {
        assert!(world.replica(name).is_running(), "{name} has exited");
    }
}
