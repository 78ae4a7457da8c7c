//! A replica cut off with a write in its send buffer, and healed after the takeover: nothing of it may arrive.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use tenure_tests::{ClientGo, GateWrite, Network, NetworkNamespace, Options, RealApi, World, until, until_some};

use super::{FIRST, OTHERS, STANDARD, goes_on, judged, later_term_writes, set_to_work, stood_by, tell};
use crate::lifecycle::evidence::assert_nobody_came_early;

/// Looks at a quiet API server, about 20 ms apart, before it counts as done.
const LOOKS: u32 = 15;

/// Cuts the leader off while it writes, heals it once another has taken over, at the earliest after `least`.
async fn cut_off_and_healed(profile: &'static str, least: Duration) {
    let Some(mut network) = Network::new() else { return };
    let Some(api) = RealApi::own(|builder| builder.address(network.address())).await else { return };
    let mut world = World::on(&api, Options { profile, ..Options::default() }).await;
    let cable = network.add();
    world.start_in(&cable, FIRST, &STANDARD).await;
    set_to_work(&world).await;
    for name in OTHERS {
        world.start_in(&network.add(), name, &STANDARD).await;
    }
    let term = stood_by(&world).await;

    pull(&mut world, &api, &cable).await;
    let (id, queued) = write_in_flight(&api, &world, &cable).await;
    tokio::time::sleep(least).await;
    later_term_writes(&world, term).await;
    let before = api.audit().len();
    cable.heal();
    let successor = world.leader().await;
    world.replica(FIRST).logged(&format!("{successor}_")).await;
    goes_on(&world, term + 1, "after-the-heal").await;

    tell(&format!("cut off ({profile}): {id} in flight, {queued} bytes in send queues"));
    assert_nothing_arrived(&api, before, term, &id);
    assert_eq!(judged(&mut world, "cut off and healed"), []);
}

/// Panics when something of `term` is in the audit log from its entry `before` on, or the write of this id.
fn assert_nothing_arrived(api: &RealApi, before: usize, term: u64, id: &str) {
    let arrived = api.audit().split_off(before);
    let late = arrived.iter().filter(|event| event.user_agent.ends_with(&format!("term/{term}")));
    assert_eq!(late.count(), 0, "requests of the term that was cut off arrived after the heal");
    assert!(arrived.iter().all(|event| event.id != id), "the write that was in flight arrived");
}

/// Cuts the leader off while nothing of it is on its way: what it writes next goes into the dead cable. It stands still until answers
/// to what it had sent wait in its kernel.
async fn pull(world: &mut World, api: &RealApi, cable: &NetworkNamespace) {
    world.replica(FIRST).signal(Signal::STOP);
    world.replica(FIRST).stopped().await;
    let (mut known, mut calm) = (0, 0);
    until("the API server to have answered everything", || {
        let now = api.audit().len();
        calm = if now == known && cable.queued_bytes() == 0 { calm + 1 } else { 0 };
        known = now;
        async move { calm >= LOOKS }
    })
    .await;
    cable.cut();
    world.replica(FIRST).signal(Signal::CONT);
}

/// Waits for a write that the kernel took and the API server never answered; what the audit log would call it, and how much waited in
/// the kernel then.
async fn write_in_flight(api: &RealApi, world: &World, cable: &NetworkNamespace) -> (String, u64) {
    let mut queued = 0;
    until("bytes in the send queues of who is cut off", || {
        queued = queued.max(cable.queued_bytes());
        async move { queued > 0 }
    })
    .await;
    let id = until_some("a write that went out and did not arrive", || async {
        let arrived: BTreeSet<String> = api.audit().into_iter().map(|event| event.id.clone()).collect();
        let mut writes = world.replicas[FIRST].gate_writes().into_iter();
        let lost = |write: &GateWrite| write.outcome == "unknown" && write.bytes > 0 && !arrived.contains(&write.id);
        Some(writes.find(lost)?.id)
    })
    .await;
    (id, queued)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_arrives_of_a_leader_cut_off_mid_write_and_healed_after_the_takeover() {
    // Its deadline has to outlast the look at an API server that has gone quiet.
    cut_off_and_healed("default", Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_arrives_of_a_leader_cut_off_for_20_s_at_the_usual_timing() {
    cut_off_and_healed("default", Duration::from_secs(20)).await;
}

/// Nobody else of ours is there: client-go takes the lock.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_arrives_of_a_leader_cut_off_mid_write_and_healed_once_client_go_leads() {
    let Some(mut network) = Network::new() else { return };
    if !ClientGo::is_there() {
        return;
    }
    let Some(api) = RealApi::own(|builder| builder.address(network.address())).await else { return };
    let mut world = World::on(&api, Options { profile: "default", ..Options::default() }).await;
    let cable = network.add();
    world.start_in(&cable, FIRST, &STANDARD).await;
    set_to_work(&world).await;
    let flags: Vec<_> = ["--stay"].into_iter().chain(ClientGo::DEFAULT_TIMING).collect();
    let mut other = ClientGo::start(&world, "client-go", None, &flags).await;
    other.said("new-leader", 1).await;
    let term = world.term().await.expect("a term");

    pull(&mut world, &api, &cable).await;
    let (id, queued) = write_in_flight(&api, &world, &cable).await;
    other.said("first-write", 1).await;
    let before = api.audit().len();
    cable.heal();
    world.replica(FIRST).logged("client-go").await;
    other.signal(Signal::TERM);
    other.ended().await;
    goes_on(&world, term + 1, "after-the-heal").await;

    tell(&format!("cut off beside client-go: {id} in flight, {queued} bytes in send queues"));
    world.judged().await;
    assert_nothing_arrived(&api, before, term, &id);
    assert_nobody_came_early(&world, Duration::from_secs(15));
    assert_eq!(world.residue(), []);
}
