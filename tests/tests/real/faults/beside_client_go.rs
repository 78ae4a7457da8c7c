//! What fails under ours fails under a candidate of client-go that competes with them, too: none of ours comes early, none leads
//! beside another, and what ours commit after client-go took the lock is residue.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use tenure_control_plane::Program;
use tenure_tests::{Admission, ClientGo, Options, RealApi, Relay, Weather, Webhook, World, until};

use super::api_server::AWAY;
use super::clock::{self, HOUR_SECONDS, renewed_three_times};
use super::restore::{profile, restore};
use super::{FIRST, OTHERS, STANDARD, at_it, at_work, ended, judged, lay_out_work, stamped, tell};
use crate::lifecycle::LEASE;
use crate::lifecycle::evidence::{assert_nobody_came_early, assert_residue, lock_writes, writes_after};
use crate::lifecycle::rights::{leave_on_leases, set_rules};

/// The name of the candidate that is not ours.
const OTHER: &str = "client-go";
/// The lease of the profile `default`.
const DEFAULT_LEASE: Duration = Duration::from_secs(15);

/// Three of ours, the first at work, and a client-go that waits; it campaigns again whenever it lost.
struct Beside {
    world: World,
    other: ClientGo,
    term: u64,
}

impl Beside {
    /// At the timing of the profile `fast`; the first of ours goes through `at`, where that is a relay.
    async fn at_work(api: &RealApi, at: Option<SocketAddr>) -> Self {
        let (world, term) = at_work(api, Options::default(), at).await;
        let other = waiting(&world, &[]).await;
        Self { world, other, term }
    }

    /// From a client-go that leads while ours know their work: it goes in order, one of ours is at work, and client-go waits. Which of
    /// ours.
    async fn taken_over(world: World, mut other: ClientGo) -> (Self, String) {
        other.signal(Signal::TERM);
        other.ended().await;
        at_it(&world).await;
        let (leader, term) = (world.leader().await, world.term().await.expect("a term"));
        let other = waiting(&world, &ClientGo::DEFAULT_TIMING).await;
        (Self { world, other, term }, leader)
    }

    /// Nobody but the first of ours and client-go are left.
    fn alone(&mut self) {
        for name in OTHERS {
            self.world.replica(name).kill();
        }
    }

    /// Waits until client-go leads, or one of ours in a later term.
    async fn another_leads(&self) {
        until("another to lead", || async {
            self.world.holder().await.as_deref() == Some(OTHER) || self.world.term().await > Some(self.term)
        })
        .await;
    }

    /// Waits until client-go has asked for a change of the Lease, and what was answered fits.
    async fn client_go_tried(&self, what: &str, code: impl Fn(u16) -> bool) {
        until(what, || async {
            let events = self.world.judge.audit().into_iter();
            let mut tries = events.filter(|(_, event)| event.resource == "leases" && event.verb == "update");
            tries.any(|(_, event)| {
                event.namespace == self.world.names.system && event.pod.as_deref() == Some(OTHER) && code(event.code)
            })
        })
        .await;
    }

    /// client-go goes, all of ours are there and one of them works; then everything is judged. How often client-go took the lock
    /// from ours, and how many writes of theirs came late.
    async fn ends(mut self, what: &str, lease: Duration) -> (usize, usize) {
        for name in OTHERS {
            if !self.world.replica(name).is_running() {
                self.world.start_with(name, &STANDARD).await;
            }
        }
        self.other.signal(Signal::TERM);
        self.other.ended().await;
        stamped(&self.world, "at-last").await;
        self.world.judged().await;
        assert_nobody_came_early(&self.world, lease);
        let (taken, late) = residue_beside(&mut self.world);
        tell(&format!("{what}: client-go took the lock from ours {taken} times; {late} late writes of ours, residue"));
        judged(&mut self.world, what);
        (taken, late)
    }
}

/// A client-go that knows who leads and campaigns, at the timing of `fast` but for what `flags` say.
async fn waiting(world: &World, flags: &[&str]) -> ClientGo {
    let flags: Vec<_> = ["--stay"].iter().chain(flags).copied().collect();
    let other = ClientGo::start(world, OTHER, None, &flags).await;
    other.said("new-leader", 1).await;
    other
}

/// Panics when ours wrote after client-go had taken the lock from them, but for residue. How often it did take it, and how many
/// writes came late.
fn residue_beside(world: &mut World) -> (usize, usize) {
    let writes = lock_writes(world);
    let taken = writes.windows(2).filter(|pair| pair[1].is_of_client_go() && !pair[1].holder.is_empty());
    let taken = taken.filter(|pair| pair[0].is_ours() && !pair[0].holder.is_empty());
    let taken: Vec<_> = taken.map(|pair| (pair[0].holder.clone(), pair[1].version)).collect();
    let mut late = 0;
    for (holder, version) in &taken {
        let term = world.judge.terms().into_iter().rfind(|(_, of, began)| of == holder && began < version);
        let (term, ..) = term.unwrap_or_else(|| panic!("{holder} held the lock in no term"));
        let name = holder.split('_').next().unwrap_or_default().to_owned();
        late += assert_residue(&writes_after(world, term, *version), world.replica(&name), term);
    }
    (taken.len(), late)
}

/// Waits until client-go holds the lock.
async fn led_by_client_go(world: &World) {
    until("client-go to hold the lock", || async { world.holder().await.as_deref() == Some(OTHER) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_and_an_outage_beside_client_go_let_nobody_of_ours_in_early() {
    let Some(api) = RealApi::own(|builder| builder).await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let beside = Beside::at_work(&api, None).await;
    api.kill(Program::ApiServer);
    api.start_api_server().await.expect("it starts again");
    api.kill(Program::Etcd);
    api.start_etcd().expect("it starts again");
    api.ready().await.expect("the API is back");
    api.stop(Program::ApiServer).await;
    tokio::time::sleep(AWAY).await;
    api.start_api_server().await.expect("it starts again");
    // Whoever is first: with a lease of five seconds that is anybody's, and nobody's before it has run out.
    beside.world.leader().await;
    beside.ends("restarts and an outage beside client-go", LEASE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_to_a_term_of_ours_client_go_and_ours_compete_for_it() {
    let Some(api) = RealApi::own(|builder| builder).await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let (world, term) = at_work(&api, profile("default"), None).await;
    let copy = api.copy_etcd().await.expect("etcd can be copied");
    let other = waiting(&world, &ClientGo::DEFAULT_TIMING).await;
    super::goes_on(&world, term, "after-the-copy").await;
    restore(&api, &world, &copy).await;
    world.leader().await;
    let beside = Beside { world, other, term };
    beside.ends("restored to a term of ours beside client-go", DEFAULT_LEASE).await;
}

/// The Lease of the past names client-go, which is there and takes it for its own.
#[tokio::test(flavor = "multi_thread")]
async fn restored_to_a_term_of_client_go_s_ours_stop_and_what_they_write_after_it_is_residue() {
    let Some(api) = RealApi::own(|builder| builder).await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let mut world = World::on(&api, profile("default")).await;
    let other = ClientGo::start(&world, OTHER, None, &ClientGo::DEFAULT_TIMING).await;
    other.said("first-write", 1).await;
    for name in [FIRST].into_iter().chain(OTHERS) {
        world.start_with(name, &STANDARD).await;
        world.replica(name).logged("another holds the lock").await;
    }
    lay_out_work(&world).await;
    let copy = api.copy_etcd().await.expect("etcd can be copied");
    let (beside, leader) = Beside::taken_over(world, other).await;

    restore(&api, &beside.world, &copy).await;
    ended(&beside.world, &leader, beside.term).await;
    // The restored Lease names it before it has written anything.
    beside.other.said("acquired", 1).await;
    let (taken, _) = beside.ends("restored to a term of client-go's", DEFAULT_LEASE).await;
    assert_eq!(taken, 1, "client-go came back with the restored Lease");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_too_slow_for_anybody_lets_nobody_of_ours_in_early() {
    let Some(api) = RealApi::shared().await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let beside = Beside::at_work(&api, None).await;
    let webhook = Webhook::start().await;
    // client-go gives an attempt half its renew deadline: 1.5 s.
    webhook.set(Admission::Slow(Duration::from_secs(5)));
    webhook.register(beside.world.client(), &beside.world.names.system, "coordination.k8s.io", "leases").await;
    ended(&beside.world, FIRST, beside.term).await;
    beside.client_go_tried("client-go to try in vain", |code| code >= 400).await;
    assert_eq!(beside.world.term().await, Some(beside.term));
    webhook.set(Admission::Quick);
    beside.another_leads().await;
    beside.ends("a slow webhook beside client-go", LEASE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_held_in_admission_is_given_up_before_client_go_s_first() {
    let Some(api) = RealApi::shared().await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let mut beside = Beside::at_work(&api, None).await;
    beside.alone();
    let webhook = Webhook::start().await;
    webhook.register(beside.world.client(), &beside.world.names.work, "", "configmaps").await;
    webhook.set(Admission::Held);
    webhook.asked().await;
    // A leader that stands still can reset nothing: what bounds its write is the `timeout` it was sent with.
    beside.world.replica(FIRST).signal(Signal::STOP);
    led_by_client_go(&beside.world).await;
    webhook.set(Admission::Quick);
    beside.other.said("first-write", 1).await;
    beside.world.replica(FIRST).signal(Signal::CONT);
    ended(&beside.world, FIRST, beside.term).await;
    assert_eq!(beside.ends("held in admission beside client-go", LEASE).await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_withholds_until_client_go_leads_is_at_most_the_one_write_in_flight() {
    let Some(api) = RealApi::shared().await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let relay = Relay::before(api.address()).await;
    let mut beside = Beside::at_work(&api, Some(relay.address())).await;
    beside.alone();
    relay.set(Weather::StalledRequests);
    ended(&beside.world, FIRST, beside.term).await;
    led_by_client_go(&beside.world).await;
    relay.set(Weather::Clear);
    beside.other.said("first-write", 1).await;
    let (taken, late) = beside.ends("requests withheld beside client-go", LEASE).await;
    assert_eq!(taken, 1);
    assert!(late <= 1, "{late} late writes of one that writes one at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn wall_clocks_that_are_set_let_nobody_of_ours_in_before_client_go_lets_go() {
    let Some(api) = RealApi::shared().await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let mut world = World::on(&api, profile("default")).await;
    let other = ClientGo::start(&world, OTHER, None, &ClientGo::DEFAULT_TIMING).await;
    other.said("first-write", 1).await;
    for name in [FIRST].into_iter().chain(OTHERS) {
        clock::start(&mut world, name).await;
        world.replica(name).logged("another holds the lock").await;
    }
    for (name, step) in [(FIRST, HOUR_SECONDS), (OTHERS[0], -HOUR_SECONDS)] {
        clock::set(&world, name, step);
        renewed_three_times(&world).await;
        assert_eq!(world.holder().await.as_deref(), Some(OTHER), "{name} set by {step} s");
    }
    lay_out_work(&world).await;
    let (beside, leader) = Beside::taken_over(world, other).await;

    // Ahead of where any of them is by now.
    clock::set(&beside.world, &leader, 3 * HOUR_SECONDS);
    ended(&beside.world, &leader, beside.term).await;
    let (_, late) = beside.ends("wall clocks set beside client-go", DEFAULT_LEASE).await;
    assert_eq!(late, 0, "a term that ends by its own clock writes nothing after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_update_client_go_and_ours_wait_alike_and_neither_is_let_in_early() {
    let Some(api) = RealApi::shared().await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let beside = Beside::at_work(&api, None).await;
    let before = leave_on_leases(&beside.world, &["get", "list", "watch", "create"]).await;
    ended(&beside.world, FIRST, beside.term).await;
    beside.client_go_tried("client-go to be refused", |code| code == 403).await;
    set_rules(&beside.world, &before).await;
    beside.another_leads().await;
    beside.ends("without the right to update, beside client-go", LEASE).await;
}
