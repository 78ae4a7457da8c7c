//! People with kubectl and the Lease: the term ends, whoever comes next has waited, and the identity changes where it must.

use rustix::process::Signal;
use serde_json::json;
use tenure_tests::scenes::by_hand::{self, Handled};
use tenure_tests::{Version, until};

use super::evidence::{
    assert_clean, assert_nobody_came_early, assert_one_writer_a_term, assert_residue, figure, lock_writes, writes_after,
};
use super::{three_replicas, three_replicas_at};

/// Counts what the term that was ended committed after somebody else had written to the Lease at `version`.
fn residue_after(handled: &mut Handled, what: &str, version: Version) {
    let late = writes_after(&handled.world, handled.term, version);
    let (leader, term) = (handled.leader.clone(), handled.term);
    figure(what, assert_residue(&late, handled.world.replica(&leader), term));
}

/// The version a person's edit was stored as: the first write that is no candidate's.
fn edit_version(handled: &Handled) -> Version {
    let writes = lock_writes(&handled.world);
    writes.iter().find(|write| !write.is_ours()).expect("the edit is in the audit log").version
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_lease_ends_the_term_and_everyone_waits() {
    let Some(world) = three_replicas().await else { return };
    let mut handled = by_hand::a_deleted_lease_ends_the_term(world).await;
    let deleted = handled.world.judge.history().into_iter().find(|state| state.deleted).expect("a deletion").version;
    residue_after(&mut handled, "writes after the lease was deleted", deleted);
    assert_clean(&handled.world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_deleted_again_and_again_is_led_once_it_is_left_alone() {
    let Some(world) = three_replicas().await else { return };
    let mut handled = Handled::bursting(world).await;
    for round in 1..=5 {
        handled.world.delete_lease().await;
        // Somebody starts the count anew, by a record that nobody holds.
        until(&format!("a lease after deletion {round}"), || async { handled.world.lease().await.is_some() }).await;
    }
    handled.taken_over_after_a_wait().await;
    let deletions = handled.world.judge.history().into_iter().filter(|state| state.deleted).count();
    assert_eq!(deletions, 5);
    assert_clean(&handled.world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_deleted_in_a_drain_is_not_brought_back_by_the_release() {
    let Some(world) = three_replicas().await else { return };
    let Handled { mut world, leader, term } = Handled::bursting(world).await;
    world.replica(&leader).signal(Signal::TERM);
    world.delete_lease().await;
    assert!(world.replica(&leader).ended().await.success());
    world.leader_of_a_term_above(term).await;
    assert_clean(&world).await;
    let judge = &world.judge;
    let deleted = judge.history().into_iter().find(|state| state.deleted).expect("the deletion was seen").version;
    let revived = judge.history().into_iter().find(|state| state.version > deleted && state.term == Some(term));
    assert_eq!(revived, None, "the term came back after the deletion at {deleted:?}");
}

/// In client-go's form: that of a late release by somebody who no longer holds it.
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_lease_ends_the_term_and_is_not_a_release() {
    let Some(world) = three_replicas().await else { return };
    let emptied = json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}});
    let mut handled = by_hand::an_edit_ends_the_term(world, emptied).await;
    let version = edit_version(&handled);
    residue_after(&mut handled, "writes after the lease was emptied", version);
    assert_clean(&handled.world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_given_to_another_is_respected_until_it_expires() {
    let Some(world) = three_replicas().await else { return };
    let mut handled = by_hand::given_to_another(world).await;
    let version = edit_version(&handled);
    residue_after(&mut handled, "writes after the lease was given away", version);
    assert_clean(&handled.world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_foreign_annotations_do_no_harm() {
    let Some(world) = three_replicas_at("default").await else { return };
    assert_clean(&by_hand::labels_and_foreign_annotations_do_no_harm(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_duration_ends_the_term_and_lets_nobody_in_sooner() {
    let Some(world) = three_replicas().await else { return };
    let mut handled = by_hand::an_edit_ends_the_term(world, json!({"spec": {"leaseDurationSeconds": 1}})).await;
    let version = edit_version(&handled);
    residue_after(&mut handled, "writes after the duration was changed", version);
    assert_clean(&handled.world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_is_removed_ends_the_term_and_is_not_a_release() {
    let Some(world) = three_replicas().await else { return };
    let mut handled = by_hand::an_edit_ends_the_term(world, json!({"spec": null})).await;
    let version = edit_version(&handled);
    residue_after(&mut handled, "writes after the spec was removed", version);
    assert_clean(&handled.world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_term_ends_the_term_and_the_next_is_above_it() {
    let Some(world) = three_replicas().await else { return };
    let mut handled = Handled::bursting(world).await;
    let raised = handled.term + 1_000;
    let mark = format!("{raised}/somebody");
    handled.world.edit_lease(json!({"metadata": {"annotations": {"tenure.dev/term": mark}}})).await;
    handled.world.leader_of_a_term_above(raised).await;
    handled.taken_over().await;
    let version = edit_version(&handled);
    residue_after(&mut handled, "writes after the term was raised", version);
    assert_one_writer_a_term(&handled.world);
    assert_nobody_came_early(&handled.world, super::LEASE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_attempt_ends_the_term_and_changes_the_name() {
    let Some(world) = three_replicas().await else { return };
    let forged = json!({"metadata": {"annotations": {"tenure.dev/attempt": "somebody/1"}}});
    let before = world.lease().await.and_then(|lease| lease.spec?.holder_identity).expect("a holder");
    let mut handled = by_hand::an_edit_ends_the_term(world, forged).await;
    let version = edit_version(&handled);
    residue_after(&mut handled, "writes after an attempt was forged", version);
    let leader = handled.leader.clone();
    handled.world.replica(&leader).logged(&format!("{before}_")).await;
    assert_clean(&handled.world).await;
}
