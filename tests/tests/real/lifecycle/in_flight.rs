//! The Lease deleted or edited while the holder's requests are held on their way: the watch alone ends the term, and a renewal
//! that arrives late brings nothing back.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tenure_tests::scenes::{at_work, successor_works};
use tenure_tests::{ClientGo, Options, RealApi, Relay, Weather, World, until, until_some};

use super::evidence::{assert_clean, assert_nobody_came_early, lock_writes};

/// The replica whose requests pass the relay.
const HELD: &str = "held";

/// `held` leads behind a relay, and its plugin has done all there is to do: what it sends next is a renewal.
async fn held(api: &RealApi, relay: &Relay, options: Options, standbys: usize) -> (World, u64) {
    let mut world = World::on(api, options).await;
    world.start_at(HELD, Some(relay.address()), &[]).await;
    assert_eq!(world.leader().await, HELD);
    for number in 0..standbys {
        world.start(&format!("standby-{number}")).await;
    }
    let world = at_work(world, "stamp").await;
    let term = world.term().await.expect("a term");
    let renewals = lock_writes(&world).len();
    until("a renewal to have gone through", || async { lock_writes(&world).len() > renewals }).await;
    (world, term)
}

/// At this timing a renewal waits two seconds for its answer, long enough to stop whoever waits, and the watch has ten to be the
/// first to end a term.
fn default_timing() -> Options {
    Options { profile: "default", ..Options::told_by_the_gate() }
}

/// Panics when a state after the deletion has the old term.
fn assert_not_revived(world: &World, term: u64) {
    let history = world.judge.history();
    let deleted = history.iter().find(|state| state.deleted).expect("the deletion was seen").version;
    let revived = history.iter().find(|state| state.version > deleted && state.term == Some(term));
    assert_eq!(revived, None, "the term came back after the deletion at {deleted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_ends_the_term_while_no_request_gets_through() {
    let Some(api) = RealApi::shared().await else { return };
    let relay = Relay::before(api.address()).await;
    let (mut world, term) = held(&api, &relay, default_timing(), 2).await;
    relay.set(Weather::HeldRequests);
    world.delete_lease().await;
    let stopped = world.replica(HELD).logged("stopped leading").await;
    assert!(stopped.contains("the lock's object is gone"), "{stopped}");
    relay.set(Weather::Clear);
    successor_works(&world, term, "after").await;
    assert_clean(&world).await;
    assert_nobody_came_early(&world, Duration::from_secs(15));
    assert_not_revived(&world, term);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_ends_the_term_while_no_request_gets_through() {
    let Some(api) = RealApi::shared().await else { return };
    let relay = Relay::before(api.address()).await;
    let (mut world, term) = held(&api, &relay, default_timing(), 2).await;
    relay.set(Weather::HeldRequests);
    world.edit_lease(json!({"spec": {"holderIdentity": "somebody-else"}})).await;
    let stopped = world.replica(HELD).logged("stopped leading").await;
    assert!(stopped.contains("somebody-else"), "{stopped}");
    relay.set(Weather::Clear);
    successor_works(&world, term, "after").await;
    assert_clean(&world).await;
    assert_nobody_came_early(&world, Duration::from_secs(15));
}

/// Waits until the API server has refused a renewal of the one that was held, for want of the object it was about.
async fn assert_late_renewal_refused(world: &World) {
    let refused = until_some("the late renewal to be answered", || async {
        let events = world.judge.audit().into_iter().map(|(_, event)| event);
        events
            .filter(|event| event.resource == "leases" && event.namespace == world.names.system)
            .filter(|event| event.verb == "update" && event.pod.as_deref() == Some(HELD))
            .find(|event| event.code != 200)
    })
    .await;
    assert!(matches!(refused.code, 404 | 409), "{refused:?}");
}

/// Nobody else is there to make a new Lease: what arrives meets none.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_arrives_after_the_deletion_brings_nothing_back() {
    let Some(api) = RealApi::shared().await else { return };
    let relay = Relay::before(api.address()).await;
    let (mut world, term) = held(&api, &relay, default_timing(), 0).await;
    relay.set(Weather::HeldRequests);
    relay.holds_something().await;
    // Stopped, it cannot take the renewal back when no answer comes; the rest is between the network and the API server.
    world.replica(HELD).signal(Signal::STOP);
    world.delete_lease().await;
    relay.set(Weather::Clear);
    assert_late_renewal_refused(&world).await;
    assert!(world.lease().await.is_none(), "the renewal brought the Lease back");

    for name in ["standby-0", "standby-1"] {
        world.start_with(name, &[("TENURE_ELECTION_FIRST_CREATE", "wait")]).await;
    }
    world.replica(HELD).signal(Signal::CONT);
    world.replica(HELD).logged("stopped leading").await;
    successor_works(&world, term, "after").await;
    assert_clean(&world).await;
    assert_nobody_came_early(&world, Duration::from_secs(15));
    assert_not_revived(&world, term);
}

/// client-go heeds no absence and makes a new Lease at once: what arrives meets that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_arrives_after_client_go_took_a_deleted_lease_changes_nothing() {
    let Some(api) = RealApi::shared().await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let relay = Relay::before(api.address()).await;
    let (mut world, term) = held(&api, &relay, default_timing(), 0).await;
    let flags: Vec<_> = ["--stay"].into_iter().chain(ClientGo::DEFAULT_TIMING).collect();
    let mut other = ClientGo::start(&world, "client-go", None, &flags).await;
    other.said("new-leader", 1).await;
    relay.set(Weather::HeldRequests);
    relay.holds_something().await;
    // Stopped, it cannot take the renewal back when no answer comes; the rest is between the network and the API server.
    world.replica(HELD).signal(Signal::STOP);
    world.delete_lease().await;
    other.said("acquired", 1).await;
    relay.set(Weather::Clear);
    assert_late_renewal_refused(&world).await;
    assert_eq!(world.holder().await.as_deref(), Some("client-go"));

    world.replica(HELD).signal(Signal::CONT);
    world.replica(HELD).logged("stopped leading").await;
    other.signal(Signal::TERM);
    other.ended().await;
    successor_works(&world, term, "after").await;
    assert_clean(&world).await;
    assert_nobody_came_early(&world, Duration::from_secs(15));
    assert_not_revived(&world, term);
}
