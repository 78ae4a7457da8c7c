//! Tasks on the real API server: one run a term, through every way a term ends.

use tenure_tests::scenes::task;
use tenure_tests::{Options, RealApi, World};

use super::evidence::assert_clean;
use super::three_replicas;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_once_a_term() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&task::a_task_runs_once_a_term(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_in_the_middle_of_a_run_ends_it_and_the_successor_begins_the_next() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&task::a_handover_ends_a_run_and_begins_the_next(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leaders_run_begins_anew() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&task::a_killed_leaders_run_begins_anew(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ignores_the_cancellation_is_killed_and_the_lock_released() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&task::a_deaf_task_is_killed_and_the_lock_released(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_begun_again_until_one_ends_well() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&task::a_failed_run_is_begun_again(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_task_ends_its_run_and_begins_another_when_it_may() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&task::a_suspended_task_ends_its_run(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_task_ends_before_the_new_one_begins_whether_it_hears_or_not() {
    let Some(api) = RealApi::shared().await else { return };
    for first in ["linger", "deaf"] {
        let world = task::hasty(World::on(&api, Options::told_by_the_gate()).await).await;
        assert_clean(&task::a_replaced_task_ends_before_the_new_one_begins(world, first).await).await;
    }
}
