//! Coming to lead, and letting go in order.

use std::time::Duration;

use serde_json::json;
use tenure_election::{Drain, FirstCreate, Phase};
use tenure_lease::PodRef;

use crate::world::{Candidate, World, annotation, brisk, eventually, holder, long, short, within};

#[tokio::test]
async fn first_candidate_leads_and_says_so_in_the_lease() {
    let world = World::new().await;
    let mut a = world.candidate("a", long());
    let term = a.until_leading().await;

    let lease = world.lease().await;
    let spec = lease.spec.clone().expect("a spec");
    assert_eq!(holder(&lease), "a");
    assert_eq!(spec.lease_duration_seconds, Some(600));
    assert_eq!(annotation(&lease, "tenure.dev/term"), Some(format!("{}/a", term.term())));
    assert!(annotation(&lease, "tenure.dev/attempt").is_some());
}

#[tokio::test]
async fn first_start_without_a_lease_waits_one_lease_duration() {
    let world = World::new().await;
    let mut config = world.config("a", short());
    config.settings.first_create = FirstCreate::Wait;
    let clock = config.clock.clone();
    let started = clock.now();
    let mut a = Candidate::start(config);
    a.until_leading().await;
    assert!(clock.now().boot - started.boot >= short().lease());
}

#[tokio::test]
async fn leader_renews_and_moves_its_deadlines() {
    let world = World::new().await;
    let mut a = world.candidate("a", brisk());
    let term = a.until_leading().await;
    let first = term.hard_until();
    let renewed = || async { term.hard_until() };
    eventually("renewed", renewed, |until| until.boot > first.boot && until.wall > first.wall).await;
    assert!(!term.is_closed());
}

#[tokio::test]
async fn successor_takes_over_on_release_without_waiting_for_expiry() {
    let world = World::new().await;
    let mut a = world.candidate("a", long());
    let first = a.until_leading().await;
    let mut b = world.candidate("b", long());
    b.until_holder_is("a").await;

    a.shut_down(&first).await;
    let second = b.until_leading().await;
    assert!(second.term() > first.term());
    assert!(first.is_closed());
    assert_eq!(holder(&world.lease().await), "b");
}

#[tokio::test]
async fn lease_that_nobody_renews_is_taken_over_at_its_expiry_and_not_before() {
    let world = World::new().await;
    let mut a = world.candidate("a", short());
    let first = a.until_leading().await;
    let config = world.config("b", short());
    let clock = config.clock.clone();
    let mut b = Candidate::start(config);
    b.until_holder_is("a").await;
    drop(a);
    let second = b.until_leading().await;
    let taken = clock.now();
    assert!(second.term() > first.term());
    // Its last renewal was seen after it was sent, and its authority counts from then.
    let last_sent = first.soft_until().boot - short().renew();
    assert!(taken.boot - last_sent >= short().lease());
    assert!(first.hard_until().boot < taken.boot, "the gates were never open at once");
}

#[tokio::test]
async fn release_comes_after_drained_and_renewals_go_on_until_then() {
    let world = World::new().await;
    let mut a = world.candidate("a", brisk());
    let term = a.until_leading().await;
    a.election.begin_drain(Drain::Shutdown);
    let draining = a.until("draining", |leadership| leadership.phase == Phase::Draining).await;
    assert!(draining.live.is_some_and(|live| !live.is_closed()), "admitted writes go on in a drain");

    // Two more renewals: the whole lease has no reason to end while guests are still there.
    for _ in 0..2 {
        let version = world.lease().await.metadata.resource_version;
        let lease = || world.lease();
        let lease = eventually("renewed", lease, |lease| lease.metadata.resource_version != version).await;
        assert_eq!(holder(&lease), "a");
        assert_eq!(annotation(&lease, "tenure.dev/released"), None);
    }
    a.election.drained(term.term(), false);
    assert_eq!(within("the end", a.election.ended()).await, Ok(()));
    let lease = world.lease().await;
    assert_eq!(holder(&lease), "");
    assert_eq!(annotation(&lease, "tenure.dev/released"), annotation(&lease, "tenure.dev/term"));
}

#[tokio::test]
async fn unanswered_write_forbids_the_release() {
    let world = World::new().await;
    let mut a = world.candidate("a", long());
    let term = a.until_leading().await;
    a.election.begin_drain(Drain::Shutdown);
    a.until("draining", |leadership| leadership.phase == Phase::Draining).await;
    a.election.drained(term.term(), true);
    assert_eq!(within("the end", a.election.ended()).await, Ok(()));
    let lease = world.lease().await;
    assert_eq!(holder(&lease), "a", "the lease is left to run out");
    assert_eq!(annotation(&lease, "tenure.dev/released"), None);
    assert!(term.is_closed());
}

#[tokio::test]
async fn kill_comes_at_the_end_of_shutdown_grace_and_shuts_admission() {
    let world = World::new().await;
    let mut config = world.config("a", long());
    config.settings.shutdown_grace = Duration::from_millis(100);
    let clock = config.clock.clone();
    let mut a = Candidate::start(config);
    let term = a.until_leading().await;
    a.election.begin_drain(Drain::Shutdown);
    let killed = a.until("killed", |leadership| leadership.kill).await;
    assert!(killed.live.is_some(), "the gate stays open for what was admitted");
    assert!(!term.admits(clock.now()));
    assert!(!term.is_closed());
    a.election.drained(term.term(), false);
    assert_eq!(within("the end", a.election.ended()).await, Ok(()));
}

#[tokio::test]
async fn standby_that_shuts_down_ends_at_once() {
    let world = World::new().await;
    let mut a = world.candidate("a", long());
    a.until_leading().await;
    let mut b = world.candidate("b", long());
    b.until_holder_is("a").await;
    b.election.begin_drain(Drain::Shutdown);
    assert_eq!(within("the end", b.election.ended()).await, Ok(()));
    assert_eq!(within("the end, asked again", b.election.ended()).await, Ok(()));
    assert_eq!(holder(&world.lease().await), "a");
}

#[tokio::test]
async fn what_others_put_on_the_lease_stays_there() {
    let world = World::new().await;
    let mut a = world.candidate("a", brisk());
    let term = a.until_leading().await;
    world
        .patch_lease(
            json!({ "metadata": { "labels": { "team": "storage" }, "annotations": { "example.com/note": "hi" } } }),
        )
        .await;
    let before = world.lease().await.spec.and_then(|spec| spec.renew_time);
    let lease = || world.lease();
    let lease =
        eventually("renewed", lease, |lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone()) != before)
            .await;
    assert_eq!(
        lease.metadata.labels.as_ref().and_then(|labels| labels.get("team")).map(String::as_str),
        Some("storage")
    );
    assert_eq!(annotation(&lease, "example.com/note").as_deref(), Some("hi"));
    assert!(!term.is_closed(), "a label is no reason to stop");
}

#[tokio::test]
async fn events_tell_who_became_leader_and_who_stopped() {
    let world = World::new().await;
    let mut config = world.config("a", long());
    config.pod = Some(PodRef { name: String::from("pod-a"), uid: String::from("1234") });
    let mut a = Candidate::start(config);
    let term = a.until_leading().await;
    a.shut_down(&term).await;

    let events = world.events().await;
    let messages: Vec<_> = events.iter().filter_map(|event| event.message.as_deref()).collect();
    assert!(messages.contains(&"a became leader"), "{messages:?}");
    assert!(messages.contains(&"a stopped leading"), "{messages:?}");
    for event in &events {
        assert_eq!(event.reason.as_deref(), Some("LeaderElection"));
        assert_eq!(event.involved_object.kind.as_deref(), Some("Lease"));
        assert_eq!(event.involved_object.uid, world.lease().await.metadata.uid);
        assert_eq!(event.related.as_ref().and_then(|pod| pod.name.as_deref()), Some("pod-a"));
    }
}
