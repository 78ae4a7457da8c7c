//! A leader stopped between its decision to write and the wire, past the end of its lease: what comes out when it wakes?
//! Zero writes at every point but one, between the last look at the clocks and `write(2)`: there, at most the one.

use tenure_tests::scenes::stopped_writes::{POINT_OF_RESIDUE, stop_and_wake_at};
use tenure_tests::{Options, World};

async fn late_writes(point: &str) -> usize {
    stop_and_wake_at(point, &mut World::new(Options::default()).await, 1).await.late_writes
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_admission_nothing_comes_out() {
    assert_eq!(late_writes("after-admission").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_pool_checkout_nothing_comes_out() {
    assert_eq!(late_writes("after-checkout").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_before_the_last_look_at_the_clocks_nothing_comes_out() {
    assert_eq!(late_writes("before-last-look").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_the_last_look_at_most_the_one_write_comes_out() {
    let residue = late_writes(POINT_OF_RESIDUE).await;
    assert!(residue <= 1, "{residue} writes came out");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_half_a_body_nothing_comes_out() {
    assert_eq!(late_writes("half-body").await, 0);
}
