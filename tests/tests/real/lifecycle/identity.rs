//! Two processes that go by one name: each knows its own writes, and people are told.

use rustix::process::Signal;
use serde_json::json;
use tenure_tests::scenes::{TARGET, successor_works};
use tenure_tests::{ClientGo, Options, RealApi, World, until};

use super::evidence::{assert_clean, lock_writes};

/// What both are given.
const TWIN: [(&str, &str); 2] = [("POD_NAME", "twin"), ("TENURE_ELECTION_IDENTITY", "twin")];

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_with_one_name_never_lead_at_once_and_people_are_warned() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = World::on(&api, Options::told_by_the_gate()).await;
    world.drop_in(&world.probe("probe", "burst", "1")).await;
    world.config_map("probe", &world.names.work, TARGET, json!({})).await;
    world.start_with("first", &TWIN).await;
    assert_eq!(world.leader().await, "twin");
    for name in ["second", "third"] {
        world.start_with(name, &TWIN).await;
        world.replica(name).logged("is held in the name").await;
    }
    until("an Event that warns of the shared name", || async {
        let events = world.lock_events().await;
        events.iter().any(|(kind, message)| kind == "Warning" && message.contains("held in the name twin"))
    })
    .await;

    // The one that leads goes, without a word; another comes after expiry, under a name of its own.
    let term = world.term().await.expect("a term");
    world.replica("first").kill();
    world.leader_of_a_term_above(term).await;
    successor_works(&world, term, "after").await;
    let holder = world.lease().await.and_then(|lease| lease.spec?.holder_identity).expect("a holder");
    assert!(holder.starts_with("twin_"), "{holder} is not a name of its own");

    // And comes back, beside two that live.
    let before = lock_writes(&world).len();
    world.start_with("first", &TWIN).await;
    until("renewals beside the one that came back", || async { lock_writes(&world).len() > before + 3 }).await;
    assert_clean(&world).await;
    for name in ["first", "second", "third"] {
        assert!(world.replica(name).is_running(), "{name} ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_with_one_name_never_lead_at_once_with_a_client_go_beside_them() {
    let Some(api) = RealApi::shared().await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let mut world = World::on(&api, Options::told_by_the_gate()).await;
    world.drop_in(&world.probe("probe", "burst", "1")).await;
    world.config_map("probe", &world.names.work, TARGET, json!({})).await;
    world.start_with("first", &TWIN).await;
    assert_eq!(world.leader().await, "twin");
    let mut other = ClientGo::start(&world, "client-go", None, &["--stay"]).await;
    other.said("new-leader", 1).await;
    world.start_with("second", &TWIN).await;
    world.replica("second").logged("is held in the name").await;

    let term = world.term().await.expect("a term");
    world.replica("first").kill();
    until("another to hold the lock", || async {
        let holder = world.lease().await.and_then(|lease| lease.spec?.holder_identity);
        holder.is_some_and(|holder| !holder.is_empty() && holder != "twin")
    })
    .await;
    other.signal(Signal::TERM);
    other.ended().await;
    world.leader_of_a_term_above(term).await;
    successor_works(&world, term, "after").await;
    assert_clean(&world).await;
}
