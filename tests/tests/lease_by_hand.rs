//! What people and other programs do to the Lease while a leader works, on the API in memory: it stops at once, and never are
//! there two.

use serde_json::json;
use tenure_tests::scenes::by_hand;
use tenure_tests::{Options, World};

async fn world() -> World {
    World::with_replicas(2, Options::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_lease_ends_the_term_at_once() {
    by_hand::a_deleted_lease_ends_the_term(world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_lease_ends_the_term_and_is_not_a_release() {
    by_hand::an_edit_ends_the_term(world().await, json!({"spec": {"holderIdentity": ""}})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_given_to_another_ends_the_term_and_is_respected_until_it_expires() {
    let world = World::with_replicas(2, Options::told_by_the_gate()).await;
    let mut handled = by_hand::given_to_another(world).await;
    // How many the API took between the edit and the news of it is up to the scheduler; after the news the gate lets none out.
    let sent = handled.world.replica(&handled.leader).writes_of_the_ended(handled.term);
    assert!(!sent.is_empty(), "the gate logged no write of term {}", handled.term);
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_foreign_annotations_on_the_lease_do_no_harm() {
    // Profile default: what must not end the term is the edit, and a stall of seconds would end a fast one.
    let options = Options { profile: "default", ..Options::default() };
    by_hand::labels_and_foreign_annotations_do_no_harm(World::with_replicas(2, options).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_our_name_that_is_not_ours_ends_the_term_and_changes_the_name() {
    let forged = json!({"metadata": {"annotations": {"tenure.dev/attempt": "somebody/1"}}});
    by_hand::an_edit_ends_the_term(world().await, forged).await;
}
