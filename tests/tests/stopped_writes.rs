//! A leader stopped between its decision to write and the wire, past the end of its lease: what comes out when it wakes?
//! Zero writes at every point but one, between the last look at the clocks and `write(2)`: there, at most the one.

use rustix::process::Signal;
use serde_json::json;
use tenure_tests::{Options, Plugin, World, until};

/// The writes of the stopped term that were committed after the takeover.
async fn late_writes_when_stopped_at(point: &str) -> usize {
    let mut world = World::new(Options::default()).await;
    world.start_with("stopped", &[("TENURE_STOP_AT", point)]);
    world.leader().await;
    world.start("successor");
    world.drop_in(&Plugin::probe("probe", "burst", "1")).await;
    world.config_map("probe", "default", "target", json!({})).await;
    world.replica("stopped").stopped().await;
    let term = world.term().await.expect("a term");
    world.leader_after("stopped").await;
    until("the successor to write", || async { world.judge.writes().iter().any(|(of, ..)| *of > term) }).await;
    world.replica("stopped").signal(Signal::CONT);
    world.replica("stopped").logged("stopped leading").await;
    // Whatever was on its way is there once the successor has written again, and again.
    let seen = world.judge.writes().len();
    until("the successor to go on", || async { world.judge.writes().len() > seen + 20 }).await;
    world.judge.assert_terms_rise();
    world.judge.late_writes().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_admission_nothing_comes_out() {
    assert_eq!(late_writes_when_stopped_at("after-admission").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_pool_checkout_nothing_comes_out() {
    assert_eq!(late_writes_when_stopped_at("after-checkout").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_before_the_last_look_at_the_clocks_nothing_comes_out() {
    assert_eq!(late_writes_when_stopped_at("before-last-look").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_the_last_look_at_most_the_one_write_comes_out() {
    let residue = late_writes_when_stopped_at("after-last-look").await;
    assert!(residue <= 1, "{residue} writes came out");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_half_a_body_nothing_comes_out() {
    assert_eq!(late_writes_when_stopped_at("half-body").await, 0);
}
