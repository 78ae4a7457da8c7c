//! A leader stopped between its decision to write and the wire, past the end of its lease. Only the one write that stands after
//! its last look may come out when it wakes. That is judged by what arrives, too: a request whose connection is reset right
//! after it was sent is seldom committed, but it was sent.

use tenure_tests::scenes::stopped_writes::{POINT_OF_RESIDUE, POINTS_WITHOUT_RESIDUE, stop_and_wake_at};
use tenure_tests::{Options, RealApi, World};

use super::evidence::{arrivals_since, assert_nobody_came_early, assert_one_writer_a_term, figure};

/// What one stopped leader, beside two standbys, committed late, and what arrived of it after it woke.
async fn late_writes_and_arrivals(api: &RealApi, point: &str) -> (usize, usize) {
    let mut world = World::on(api, Options::default()).await;
    let woken = stop_and_wake_at(point, &mut world, 2).await;
    assert_one_writer_a_term(&world);
    assert_nobody_came_early(&world, super::LEASE);
    (woken.late_writes, arrivals_since(&world, woken.term, woken.at))
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_before_the_last_look_at_the_clocks_nothing_comes_out() {
    let Some(api) = RealApi::shared().await else { return };
    // Side by side: most of this is waiting for leases to run out.
    let api = &api;
    let each = POINTS_WITHOUT_RESIDUE.map(|point| async move { (point, late_writes_and_arrivals(api, point).await) });
    for (point, late) in futures::future::join_all(each).await {
        assert_eq!(late, (0, 0), "late writes and late arrivals of a leader stopped at {point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_after_the_last_look_at_most_the_one_write_comes_out() {
    let Some(api) = RealApi::shared().await else { return };
    let (committed, arrived) = late_writes_and_arrivals(&api, POINT_OF_RESIDUE).await;
    figure("late writes of a leader stopped after its last look", committed);
    figure("late arrivals of a leader stopped after its last look", arrived);
    assert!(committed <= 1 && arrived <= 1, "{arrived} writes came out, {committed} were committed");
}
