//! Losing a term without asking for it, and what follows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tenure_election::Phase;
use tenure_lease::{ElectionFailure, OnLoss};

use crate::world::{Candidate, World, annotation, eventually, holder, long, short, within};

/// What the sever hook was called with, 0 before.
fn severed(config: &mut tenure_lease::ElectionConfig) -> Arc<AtomicU64> {
    let severed = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&severed);
    config.sever = Arc::new(move |term| told.store(term.get(), Ordering::SeqCst));
    severed
}

/// A leader with renewals far apart: only its watch can tell it in time.
async fn leader(world: &World) -> (Candidate, Arc<tenure_election::LiveTerm>, Arc<AtomicU64>) {
    let mut config = world.config("a", long());
    let severed = severed(&mut config);
    let mut a = Candidate::start(config);
    let term = a.until_leading().await;
    (a, term, severed)
}

async fn stops_at_once(mut a: Candidate, term: Arc<tenure_election::LiveTerm>, severed: Arc<AtomicU64>) -> Candidate {
    let stopped = a.until("stopped", |leadership| leadership.live.is_none()).await;
    assert!(stopped.kill, "guests must die");
    assert!(term.is_closed());
    assert_eq!(severed.load(Ordering::SeqCst), term.term().get(), "severed before anybody was told");
    a.election.drained(term.term(), false);
    let settled = a.until("settled", |leadership| !leadership.kill).await;
    assert!(settled.live.is_none_or(|live| live.term() > term.term()));
    a
}

#[tokio::test]
async fn leader_stops_at_once_when_the_lease_is_deleted() {
    let world = World::new().await;
    let (a, term, severed) = leader(&world).await;
    world.delete_lease().await;
    stops_at_once(a, term, severed).await;
}

#[tokio::test]
async fn leader_stops_at_once_when_the_lease_is_emptied() {
    let world = World::new().await;
    let (a, term, severed) = leader(&world).await;
    world.patch_lease(json!({ "spec": { "holderIdentity": null } })).await;
    stops_at_once(a, term, severed).await;
}

#[tokio::test]
async fn leader_stops_at_once_when_the_lease_is_given_to_another() {
    let world = World::new().await;
    let (a, term, severed) = leader(&world).await;
    world.patch_lease(json!({ "spec": { "holderIdentity": "somebody-else" } })).await;
    let mut a = stops_at_once(a, term, severed).await;
    a.until_holder_is("somebody-else").await;
    assert_eq!(holder(&world.lease().await), "somebody-else", "what we do not hold is never touched");
}

#[tokio::test]
async fn record_in_our_name_that_we_did_not_write_ends_the_term_and_gives_us_another_name() {
    let world = World::new().await;
    let (a, term, severed) = leader(&world).await;
    world.patch_lease(json!({ "spec": { "leaseDurationSeconds": 601 } })).await;
    let mut a = stops_at_once(a, term, severed).await;
    let renamed = a.until("renamed", |leadership| leadership.identity != "a").await;
    assert!(renamed.identity.starts_with("a_"), "{}", renamed.identity);
    let warned = |events: &Vec<k8s_openapi::api::core::v1::Event>| {
        events.iter().any(|event| event.type_.as_deref() == Some("Warning"))
    };
    eventually("warned", || world.events(), warned).await;
}

#[tokio::test]
async fn term_that_a_slow_reader_never_saw_is_named_until_it_is_confirmed() {
    let world = World::new().await;
    let mut config = world.config("a", long());
    let aborted = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&aborted);
    config.abort = Arc::new(move || told.store(true, Ordering::SeqCst));
    let mut a = Candidate::start(config);
    let mut slow = a.election.watch();
    assert_eq!(slow.borrow().unconfirmed, None);
    let term = a.until_leading().await;
    assert_eq!(a.leadership.borrow().unconfirmed, None, "it simply leads");
    world.delete_lease().await;
    a.until("stopped", |leadership| leadership.live.is_none()).await;

    // All that is left to see of the term.
    let seen = slow.borrow_and_update().clone();
    assert!(seen.live.is_none() && seen.kill);
    assert_eq!(seen.unconfirmed, Some(term.term()));
    a.election.drained(term.term(), false);
    let settled = a.until("settled", |leadership| leadership.unconfirmed.is_none()).await;
    assert!(!settled.kill && !aborted.load(Ordering::SeqCst));
}

#[tokio::test]
async fn term_drained_without_being_told_to_is_closed_and_released() {
    let world = World::new().await;
    let (mut a, term, severed) = leader(&world).await;
    a.election.drained(term.term(), false);
    a.until("stopped", |leadership| leadership.live.is_none()).await;
    assert!(term.is_closed());
    assert_eq!(severed.load(Ordering::SeqCst), term.term().get());
    let lease = eventually("released", || world.lease(), |lease| holder(lease).is_empty()).await;
    assert_eq!(annotation(&lease, "tenure.dev/released"), annotation(&lease, "tenure.dev/term"));
    let standby = a.until("standing by", |leadership| leadership.phase == Phase::Standby).await;
    assert!(!standby.kill);
    assert_eq!(standby.unconfirmed, None);
}

#[tokio::test]
async fn unanswered_write_of_a_term_drained_without_being_told_to_forbids_its_release() {
    let world = World::new().await;
    let (mut a, term, _) = leader(&world).await;
    a.election.drained(term.term(), true);
    let over = |leadership: &tenure_lease::Leadership| leadership.live.is_none() && leadership.phase == Phase::Standby;
    a.until("standing by", over).await;
    assert!(term.is_closed());
    assert_eq!(holder(&world.lease().await), "a", "the lease is left to run out");
}

#[tokio::test]
async fn candidate_campaigns_again_after_a_term_drained_without_being_told_to() {
    let world = World::new().await;
    let mut a = world.candidate("a", short());
    let first = a.until_leading().await;
    a.election.drained(first.term(), false);
    let leads_anew =
        |leadership: &tenure_lease::Leadership| leadership.live.as_ref().is_some_and(|live| live.term() > first.term());
    a.until("leading in a new term", leads_anew).await;
}

#[tokio::test]
async fn candidate_that_lost_campaigns_again() {
    let world = World::new().await;
    let mut a = world.candidate("a", short());
    let first = a.until_leading().await;
    world.patch_lease(json!({ "spec": { "holderIdentity": "somebody-else" } })).await;
    a.until("stopped", |leadership| leadership.live.is_none()).await;
    a.election.drained(first.term(), false);
    let second = a.until_leading().await;
    assert!(second.term() > first.term(), "nobody renewed it, so it ran out");
}

#[tokio::test]
async fn election_ends_after_a_loss_where_settings_say_so() {
    let world = World::new().await;
    let mut config = world.config("a", long());
    config.on_loss = OnLoss::Exit;
    let mut a = Candidate::start(config);
    let term = a.until_leading().await;
    world.delete_lease().await;
    a.until("stopped", |leadership| leadership.live.is_none()).await;
    a.election.drained(term.term(), false);
    let ended = within("the end", a.election.ended()).await;
    assert_eq!(ended, Err(ElectionFailure::Lost { term: term.term() }));
}

#[tokio::test]
async fn process_is_aborted_when_guests_are_not_confirmed_gone() {
    let world = World::new().await;
    let mut config = world.config("a", long());
    let aborted = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&aborted);
    config.abort = Arc::new(move || told.store(true, Ordering::SeqCst));
    let mut a = Candidate::start(config);
    a.until_leading().await;
    assert!(!aborted.load(Ordering::SeqCst), "a running term is no reason");
    world.delete_lease().await;
    a.until("stopped", |leadership| leadership.live.is_none()).await;
    let asked = || async { aborted.load(Ordering::SeqCst) };
    eventually("aborted", asked, |aborted| *aborted).await;
}

#[tokio::test]
async fn panic_on_the_election_thread_ends_the_election_with_the_gate_closed() {
    let world = World::new().await;
    let mut config = world.config("a", long());
    config.sever = Arc::new(|_| panic!("the hook failed"));
    let mut a = Candidate::start(config);
    let term = a.until_leading().await;
    world.delete_lease().await;
    let ended = within("the end", a.election.ended()).await;
    assert_eq!(ended, Err(ElectionFailure::Panicked { message: String::from("the hook failed") }));
    assert!(term.is_closed());
    let last = a.leadership.borrow().clone();
    assert!(last.live.is_none() && last.kill);
    assert!(last.last_error.is_some_and(|error| error.contains("the hook failed")));
}

#[tokio::test]
async fn abandoned_election_closes_its_gate_and_keeps_the_lease() {
    let world = World::new().await;
    let mut config = world.config("a", long());
    let severed = severed(&mut config);
    let mut a = Candidate::start(config);
    let term = a.until_leading().await;
    let Candidate { election, mut leadership } = a;
    drop(election);
    // The sender goes with the thread.
    within("the thread's end", async { while leadership.changed().await.is_ok() {} }).await;
    assert!(term.is_closed());
    assert_eq!(severed.load(Ordering::SeqCst), term.term().get());
    assert_eq!(holder(&world.lease().await), "a");
}

#[tokio::test]
async fn two_candidates_never_hold_open_gates_at_once() {
    let world = World::new().await;
    let open: Arc<Mutex<Vec<Arc<tenure_election::LiveTerm>>>> = Arc::default();
    let mut candidates: Vec<_> = ["a", "b", "c"].iter().map(|name| world.candidate(name, long())).collect();
    for round in 0..3 {
        let leaders =
            || async { candidates.iter().position(|candidate| candidate.leadership.borrow().phase == Phase::Leading) };
        let leader = eventually("somebody leading", leaders, Option::is_some).await.expect("just seen");
        let mut leader = candidates.swap_remove(leader);
        let term = leader.until_leading().await;
        for earlier in open.lock().expect("no panic").iter() {
            assert!(earlier.is_closed(), "round {round}");
            assert!(earlier.term() < term.term(), "round {round}");
        }
        open.lock().expect("no panic").push(Arc::clone(&term));
        leader.shut_down(&term).await;
    }
    assert!(candidates.is_empty());
}
