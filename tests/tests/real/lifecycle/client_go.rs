//! client-go in the same lock, its election unchanged: none of ours comes early, and ours stop. What client-go itself does to the
//! Lease, and writes late, is counted and said, not judged: it is not ours to prevent.

use rustix::process::Signal;
use serde_json::json;
use tenure_tests::scenes::{at_work, successor_works};
use tenure_tests::{ClientGo, LockWrite, Options, RealApi, Relay, Version, Weather, World, until, until_some};

use super::evidence::{assert_clean, assert_residue, client_go_writes, figure, lock_writes, writes_after};

/// The name of the candidate that is not ours.
const OTHER: &str = "client-go";

/// A lock that client-go and ours compete for.
struct Shared {
    api: RealApi,
    world: World,
}

impl Shared {
    /// No candidate yet; `None` where programs are lacking.
    async fn new() -> Option<Self> {
        let api = RealApi::shared().await?;
        if !ClientGo::is_there() {
            return None;
        }
        let world = World::on(&api, Options::told_by_the_gate()).await;
        Some(Self { api, world })
    }

    /// client-go leads and works, and three of ours know it.
    async fn led_by_client_go(&mut self, relay: Option<&Relay>) -> ClientGo {
        let other = ClientGo::start(&self.world, OTHER, relay.map(Relay::address), &[]).await;
        other.said("first-write", 1).await;
        for name in ["replica-0", "replica-1", "replica-2"] {
            self.world.start(name).await;
            self.world.replica(name).logged("another holds the lock").await;
        }
        other
    }

    /// One of ours leads and works without pause, and client-go, the only other candidate, knows it.
    async fn led_by_ours(mut self) -> (Self, ClientGo, u64) {
        self.world.start("ours").await;
        self.world.leader().await;
        self.world = at_work(self.world, "burst").await;
        let other = ClientGo::start(&self.world, OTHER, None, &[]).await;
        other.said("new-leader", 1).await;
        let term = self.world.term().await.expect("a term");
        (self, other, term)
    }

    /// The first write to the Lease after a version that fits.
    async fn lock_write(&self, what: &str, after: Version, fits: impl Fn(&LockWrite) -> bool) -> LockWrite {
        until_some(what, || async {
            lock_writes(&self.world).into_iter().find(|write| write.version > after && fits(write))
        })
        .await
    }

    /// When one of ours took the lock, after a version.
    async fn taken_by_ours(&self, after: Version) -> LockWrite {
        self.lock_write("one of ours to take the lock", after, |write| write.is_ours() && !write.holder.is_empty())
            .await
    }

    /// When client-go took it.
    async fn taken_by_client_go(&self, after: Version) -> LockWrite {
        self.lock_write("client-go to take the lock", after, |write| write.is_of_client_go() && write.holder == OTHER)
            .await
    }

    fn newest_version(&self) -> Version {
        lock_writes(&self.world).last().map_or_else(Version::default, |write| write.version)
    }

    /// What our term committed after `version`, when somebody else's write to the Lease was stored: residue, or it panics.
    async fn residue(&mut self, what: &str, term: u64, version: Version) -> usize {
        self.world.replica("ours").logged("stopped leading").await;
        self.world.judged().await;
        let late = writes_after(&self.world, term, version);
        let residue = assert_residue(&late, self.world.replica("ours"), term);
        figure(what, residue);
        residue
    }

    /// How many writes of client-go's were stored while one of ours held the lock: after `taken`, until now.
    async fn stale_writes_of_client_go(&self, what: &str, taken: Version) {
        self.world.judged().await;
        figure(what, client_go_writes(&self.world, taken));
    }

    /// client-go goes in order, and one of ours leads and works.
    async fn ends_with_ours(self, mut other: ClientGo) {
        let released = self.newest_version();
        other.signal(Signal::TERM);
        other.ended().await;
        self.converges(released).await;
    }

    /// One of ours leads, after `version`, and works; then everything is judged.
    async fn converges(self, version: Version) {
        self.taken_by_ours(version).await;
        let world = if self.world.get_config_map(&self.world.names.work, "target").await.is_some() {
            self.world
        } else {
            at_work(self.world, "stamp").await
        };
        successor_works(&world, 0, "at-last").await;
        assert_clean(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client_go_lets_go_and_ours_follow_at_once() {
    let Some(mut shared) = Shared::new().await else { return };
    let mut other = shared.led_by_client_go(None).await;
    other.signal(Signal::TERM);
    assert!(other.ended().await.success());
    let released = shared
        .lock_write("client-go's release", Version::default(), |write| {
            write.is_of_client_go() && write.holder.is_empty()
        })
        .await;
    shared.taken_by_ours(released.version).await;
    let next = shared.lock_write("the next write", released.version, |_| true).await;
    assert!(next.is_ours() && !next.holder.is_empty(), "{next:?} follows the release");
    shared.converges(released.version).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_let_go_and_nothing_of_theirs_comes_after_client_go() {
    let Some(shared) = Shared::new().await else { return };
    let (mut shared, other, term) = shared.led_by_ours().await;
    let before = shared.newest_version();
    shared.world.replica("ours").signal(Signal::TERM);
    assert!(shared.world.replica("ours").ended().await.success());
    let taken = shared.taken_by_client_go(before).await;
    other.said("first-write", 1).await;
    let late = shared.residue("writes of ours after a release to client-go", term, taken.version).await;
    assert_eq!(late, 0, "a release comes after the last write");
    shared.world.start("ours").await;
    shared.ends_with_ours(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_go_is_waited_for() {
    let Some(mut shared) = Shared::new().await else { return };
    let mut other = shared.led_by_client_go(None).await;
    other.kill();
    let last = shared.newest_version();
    shared.converges(last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_go_takes_over_from_a_killed_leader_of_ours() {
    let Some(shared) = Shared::new().await else { return };
    let (mut shared, other, term) = shared.led_by_ours().await;
    let before = shared.newest_version();
    shared.world.replica("ours").kill();
    let taken = shared.taken_by_client_go(before).await;
    other.said("first-write", 1).await;
    shared.world.judged().await;
    assert_eq!(writes_after(&shared.world, term, taken.version), [""; 0], "a killed process writes nothing");
    shared.world.start("ours").await;
    shared.ends_with_ours(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_of_ours_writes_nothing_after_client_go_took_over() {
    let Some(shared) = Shared::new().await else { return };
    let (mut shared, other, term) = shared.led_by_ours().await;
    let before = shared.newest_version();
    shared.world.replica("ours").signal(Signal::STOP);
    let taken = shared.taken_by_client_go(before).await;
    other.said("first-write", 1).await;
    shared.world.replica("ours").signal(Signal::CONT);
    let late = shared.residue("writes of ours after a pause, client-go leading", term, taken.version).await;
    assert_eq!(late, 0, "on waking the clocks come first");
    shared.ends_with_ours(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_client_go_wakes_beside_a_leader_of_ours() {
    let Some(mut shared) = Shared::new().await else { return };
    let mut other = shared.led_by_client_go(None).await;
    let before = shared.newest_version();
    other.signal(Signal::STOP);
    let taken = shared.taken_by_ours(before).await;
    shared.world = at_work(shared.world, "stamp").await;
    other.signal(Signal::CONT);
    other.ended().await;
    shared.stale_writes_of_client_go("stale writes of a client-go that was paused", taken.version).await;
    shared.converges(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_deleted_under_ours_goes_to_client_go_and_ours_stop() {
    let Some(shared) = Shared::new().await else { return };
    let (mut shared, other, term) = shared.led_by_ours().await;
    let before = shared.newest_version();
    shared.world.delete_lease().await;
    let taken = shared.taken_by_client_go(before).await;
    shared.residue("writes of ours after client-go took a deleted lease", term, taken.version).await;
    other.said("first-write", 1).await;
    shared.ends_with_ours(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_deleted_under_client_go_is_not_taken_early() {
    let Some(mut shared) = Shared::new().await else { return };
    let other = shared.led_by_client_go(None).await;
    let before = shared.newest_version();
    shared.world.delete_lease().await;
    // Whoever of ours is first makes a record that nobody holds; client-go, which heeds no absence, takes that.
    shared.taken_by_client_go(before).await;
    shared.ends_with_ours(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_given_to_client_go_by_hand_ends_our_term() {
    let Some(shared) = Shared::new().await else { return };
    let (mut shared, other, term) = shared.led_by_ours().await;
    let before = shared.newest_version();
    shared.world.edit_lease(json!({"spec": {"holderIdentity": OTHER}})).await;
    let edit = shared.lock_write("the edit", before, |write| write.holder == OTHER).await;
    shared.residue("writes of ours after the lease was given to client-go", term, edit.version).await;
    other.said("acquired", 1).await;
    shared.ends_with_ours(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_taken_from_client_go_by_hand_is_respected_until_it_expires() {
    let Some(mut shared) = Shared::new().await else { return };
    let mut other = shared.led_by_client_go(None).await;
    shared.world.edit_lease(json!({"spec": {"holderIdentity": "somebody-else"}})).await;
    let edit = shared.lock_write("the edit", Version::default(), |write| write.holder == "somebody-else").await;
    other.ended().await;
    shared.stale_writes_of_client_go("writes of client-go after its lease was given away", edit.version).await;
    shared.converges(edit.version).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_go_that_is_cut_off_and_healed_meets_a_leader_of_ours() {
    let Some(mut shared) = Shared::new().await else { return };
    let relay = Relay::before(shared.api.address()).await;
    let mut other = shared.led_by_client_go(Some(&relay)).await;
    let before = shared.newest_version();
    relay.set(Weather::HeldRequests);
    let taken = shared.taken_by_ours(before).await;
    shared.world = at_work(shared.world, "stamp").await;
    relay.set(Weather::Clear);
    other.ended().await;
    shared.stale_writes_of_client_go("stale writes of a client-go that was cut off", taken.version).await;
    let overwritten = lock_writes(&shared.world).into_iter();
    let overwritten = overwritten.filter(|write| write.version > taken.version && write.is_of_client_go()).count();
    figure("writes to our Lease by a client-go that was cut off", overwritten);
    let newest = shared.newest_version();
    shared.converges(newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_renew_undisturbed_beside_a_client_go_that_waits() {
    let Some(shared) = Shared::new().await else { return };
    let (shared, other, _) = shared.led_by_ours().await;
    let before = lock_writes(&shared.world).len();
    until("renewals", || async { lock_writes(&shared.world).len() > before + 6 }).await;
    let writes = lock_writes(&shared.world);
    let disturbed = writes[before..].iter().zip(&writes[before - 1..]).find(|(write, prior)| {
        write.is_of_client_go()
            && prior.is_ours()
            && write.received_at.duration_since(prior.received_at).unsigned_abs() < super::LEASE
    });
    assert!(disturbed.is_none(), "client-go wrote over a lease that ran: {disturbed:?}");
    assert_clean(&shared.world).await;
    drop(other);
}
