//! Leadership passing from one process to another, on the API in memory.

use std::time::Duration;

use tenure_tests::scenes::handover;
use tenure_tests::{Options, World};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_hands_over_by_release_and_the_old_leader_ends_well() {
    handover::sigterm_hands_over_by_release(World::with_replicas(3, Options::default()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_comes_after_the_last_write_of_the_term() {
    handover::release_comes_after_the_last_write(World::with_replicas(2, Options::default()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_a_running_call_finish_what_it_began() {
    handover::a_drain_lets_a_running_call_finish(World::with_replicas(2, Options::default()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_at_expiry() {
    handover::a_killed_leader_is_replaced_at_expiry(World::with_replicas(3, Options::default()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_paused_past_its_lease_writes_nothing_when_it_wakes() {
    let world = World::with_replicas(3, Options::default()).await;
    handover::a_paused_leader_writes_nothing_when_it_wakes(world, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_guest_is_killed_and_the_lock_released() {
    handover::a_deaf_guest_is_killed_and_the_lock_released(World::with_replicas(2, Options::default()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_may_lead_in_turn_and_come_back() {
    handover::every_replica_leads_in_turn_and_comes_back(World::with_replicas(3, Options::default()).await).await;
}
