//! Leadership passing from one process to another.

use std::time::Duration;

use tenure_tests::scenes::{at_work, handover};
use tenure_tests::{Options, RealApi, World};

use super::evidence::{assert_clean, assert_nobody_came_early, assert_one_writer_a_term, lock_writes};
use super::three_replicas;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_hands_over_by_release_and_the_old_leader_ends_well() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&handover::sigterm_hands_over_by_release(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_comes_after_the_last_write_of_the_term() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&handover::release_comes_after_the_last_write(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_at_expiry() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&handover::a_killed_leader_is_replaced_at_expiry(world).await).await;
}

/// At the default timing, and as long as the field's own pause test.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_paused_for_25_s_writes_nothing_when_it_wakes() {
    let Some(api) = RealApi::shared().await else { return };
    let world = World::on(&api, Options { profile: "default", ..Options::default() }).await.staffed(3).await;
    let world = handover::a_paused_leader_writes_nothing_when_it_wakes(world, Duration::from_secs(25)).await;
    assert_one_writer_a_term(&world);
    assert_nobody_came_early(&world, Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_guest_is_killed_and_the_lock_released() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&handover::a_deaf_guest_is_killed_and_the_lock_released(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_may_lead_in_turn_and_come_back() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&handover::every_replica_leads_in_turn_and_comes_back(world).await).await;
}

/// As installed: nobody has ever seen the lock, so nobody takes it before a lease has passed.
#[tokio::test(flavor = "multi_thread")]
async fn three_that_start_at_once_without_a_lease_make_one_leader() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = World::on(&api, Options { profile: "default", ..Options::default() }).await;
    for name in ["replica-0", "replica-1", "replica-2"] {
        world.start_with(name, &[("TENURE_ELECTION_FIRST_CREATE", "wait")]).await;
    }
    let leader = world.leader().await;
    let world = at_work(world, "stamp").await;
    let writes = lock_writes(&world);
    assert!(writes[0].holder.is_empty(), "{:?} is held from the start", writes[0]);
    assert!(writes[1].holder.starts_with(&leader), "{:?} follows", writes[1]);
    assert_clean(&world).await;
    assert_eq!(world.judge.terms().len(), 1, "one term: {:?}", world.judge.terms());
}
