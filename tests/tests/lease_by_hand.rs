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
    let handled = by_hand::given_to_another(world().await).await;
    let (judge, term) = (&handled.world.judge, handled.term);
    let given = judge.history().into_iter().find(|state| state.holder == "somebody-else").expect("the edit").version;
    let between = judge.writes().into_iter().filter(|(of, version, _)| *of == term && *version > given);
    // What had passed its look at the clocks when the edit was committed is residue; a burst writes one at a time.
    assert!(between.count() <= 1, "more than the one write in flight came after the edit");
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_foreign_annotations_on_the_lease_do_no_harm() {
    by_hand::labels_and_foreign_annotations_do_no_harm(world().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_our_name_that_is_not_ours_ends_the_term_and_changes_the_name() {
    let forged = json!({"metadata": {"annotations": {"tenure.dev/attempt": "somebody/1"}}});
    by_hand::an_edit_ends_the_term(world().await, forged).await;
}
