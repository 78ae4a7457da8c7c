//! What people and other programs do to the Lease while a leader works: it stops at once, and never are there two.

use serde_json::json;
use tenure_tests::{Options, Plugin, World, until, until_some};

async fn bursting() -> (World, String, u64) {
    let world = World::with_replicas(2, Options::default()).await;
    world.drop_in(&Plugin::probe("probe", "burst", "1")).await;
    world.config_map("probe", "default", "target", json!({})).await;
    world.annotated("default", "target", "probe/term").await;
    let (leader, term) = (world.leader().await, world.term().await.expect("a term"));
    (world, leader, term)
}

/// Waits until a later term has written, then judges.
async fn judged(world: &mut World, leader: &str, term: u64) {
    world.replica(leader).logged("stopped leading").await;
    until("a later term to write", || async { world.judge.writes().iter().any(|(of, ..)| *of > term) }).await;
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_lease_ends_the_term_at_once() {
    let (mut world, leader, term) = bursting().await;
    world.delete_lease().await;
    judged(&mut world, &leader, term).await;
    let history = world.judge.history();
    let deleted = history.iter().find(|state| state.deleted).expect("the deletion was seen").version;
    let next = world.judge.terms().into_iter().find(|(other, ..)| *other > term).expect("a later term");
    assert!(next.2 > deleted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_lease_ends_the_term_and_is_not_a_release() {
    let (mut world, leader, term) = bursting().await;
    world.edit_lease(json!({"spec": {"holderIdentity": ""}})).await;
    judged(&mut world, &leader, term).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_given_to_another_ends_the_term_and_is_respected_until_it_expires() {
    let (mut world, leader, term) = bursting().await;
    world.edit_lease(json!({"spec": {"holderIdentity": "somebody-else"}})).await;
    world.replica(&leader).logged("stopped leading").await;
    let foreign = until_some("the edit", || async {
        world.judge.history().into_iter().find(|state| state.holder == "somebody-else")
    })
    .await;
    judged(&mut world, &leader, term).await;
    let between = world.judge.writes().into_iter().filter(|(of, version, _)| *of == term && *version > foreign.version);
    // What had passed its look at the clocks when the edit was committed is residue; a burst writes one at a time.
    assert!(between.count() <= 1, "more than the one write in flight came after the edit");
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_foreign_annotations_on_the_lease_do_no_harm() {
    let (world, leader, term) = bursting().await;
    world.edit_lease(json!({"metadata": {"labels": {"team": "a"}, "annotations": {"note": "hello"}}})).await;
    until_some("three renewals after the edit", || async {
        let lease = world.lease().await?;
        let edited = lease.metadata.labels.as_ref()?.contains_key("team");
        let renewed = world.judge.history().len() > 5;
        (edited && renewed).then_some(())
    })
    .await;
    let lease = world.lease().await.expect("the lease");
    assert_eq!(lease.metadata.annotations.as_ref().and_then(|all| all.get("note")).map(String::as_str), Some("hello"));
    assert_eq!((world.leader().await, world.term().await), (leader, Some(term)));
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_our_name_that_is_not_ours_ends_the_term_and_changes_the_name() {
    let (mut world, leader, term) = bursting().await;
    world.edit_lease(json!({"metadata": {"annotations": {"tenure.dev/attempt": "somebody/1"}}})).await;
    judged(&mut world, &leader, term).await;
}
