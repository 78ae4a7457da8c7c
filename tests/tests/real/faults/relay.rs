//! A relay between the leader and the API server that delays, withholds and loses bytes. The others reach the API directly.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tenure_tests::{Options, Plugin, RealApi, Relay, Weather, World, until};

use super::{FIRST, at_work, burst_goes_on, ended, goes_on, judged, later_term_writes};

/// More than a TLS record (16 KiB): the head of such a request is complete while its body is not.
const LONG_VALUE_BYTES: usize = 100 << 10;

/// A world on the shared server whose first leader goes through a relay.
async fn behind_a_relay(profile: &'static str) -> Option<(Relay, World, u64)> {
    let api = RealApi::shared().await?;
    let relay = Relay::before(api.address()).await;
    let (world, term) = at_work(&api, Options { profile, ..Options::default() }, Some(relay.address())).await;
    Some((relay, world, term))
}

fn slow(each_way: Duration) -> Weather {
    Weather::Slow { requests: each_way, answers: each_way }
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_and_half_open_connections_harm_nobody_and_delays_beyond_the_attempt_timeout_end_the_term() {
    let Some((relay, mut world, term)) = behind_a_relay("fast").await else { return };
    relay.set(slow(Duration::from_millis(100)));
    goes_on(&world, term, "at-100-ms").await;
    judged(&mut world, "100 ms each way");

    // What is new is heard of late, after the watch's own limit of silence; writes and renewals find new connections.
    relay.set(Weather::HalfOpen);
    burst_goes_on(&world, term).await;
    judged(&mut world, "half-open");
    relay.set(Weather::Clear);

    // The attempt timeout of the profile is 667 ms.
    relay.set(slow(Duration::from_millis(800)));
    ended(&world, FIRST, term).await;
    later_term_writes(&world, term).await;
    relay.set(Weather::Clear);
    goes_on(&world, term + 1, "afterwards").await;
    judged(&mut world, "800 ms each way");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_withholds_past_the_lease_is_at_most_the_one_write_in_flight() {
    let Some((relay, mut world, term)) = behind_a_relay("fast").await else { return };
    relay.set(Weather::StalledRequests);
    ended(&world, FIRST, term).await;
    later_term_writes(&world, term).await;
    relay.set(Weather::Clear);
    goes_on(&world, term + 1, "afterwards").await;
    judged(&mut world, "requests withheld");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_stalled_in_its_body_past_the_lease_is_given_up_by_the_api_server() {
    let Some((relay, mut world, term)) = behind_a_relay("fast").await else { return };
    let long = "x".repeat(LONG_VALUE_BYTES);
    let plugin: Plugin = world.probe("long", "burst", &long);
    world.drop_in(&plugin).await;
    world.remove_plugin("burster").await;
    world.config_map("long", &world.names.work, "long", json!({})).await;
    world.annotated(&world.names.work, "long", "probe/number").await;

    relay.set(Weather::StalledRequests);
    ended(&world, FIRST, term).await;
    until("a later term to lead", || async { world.term().await.is_some_and(|now| now > term) }).await;
    relay.set(Weather::Clear);
    later_term_writes(&world, term).await;
    super::stamped(&world, "afterwards").await;
    // The plugin that was removed may have been at its last, short write.
    let residue = judged(&mut world, "stalled in the body");
    assert!(residue.iter().all(|write| write.object != "configmaps/long"), "{residue:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_forbids_the_release() {
    // A lost answer must not also cost the term, on however busy a machine.
    let Some((relay, mut world, term)) = behind_a_relay("default").await else { return };
    relay.set(Weather::LostAnswers);
    until("a write whose answer is lost", || async {
        world.replicas[FIRST].gate_writes().iter().any(|write| write.outcome == "unknown" && write.bytes > 0)
    })
    .await;
    relay.set(Weather::Clear);
    goes_on(&world, term, "afterwards").await;
    judged(&mut world, "answers lost");

    let (leader, term) = (world.leader().await, world.term().await.expect("a term"));
    assert_eq!(leader, FIRST, "answers that were lost are read, and the term goes on");
    world.replica(FIRST).signal(Signal::TERM);
    assert!(world.replica(FIRST).ended().await.success());
    later_term_writes(&world, term).await;
    let told = world.replica(FIRST).logged("stopped leading").await;
    assert!(told.contains("without an answer") && told.contains("runs out by itself"), "{told}");
    let history = world.judge.history();
    assert!(history.iter().all(|state| !state.holder.is_empty()), "released in spite of a write without an answer");
    assert_eq!(world.residue(), []);
}
