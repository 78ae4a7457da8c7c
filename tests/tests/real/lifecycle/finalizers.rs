//! Deletions that a finalizer of the host's holds, on a real API server.

use tenure_tests::scenes::finalizers;

use super::evidence::assert_clean;
use super::three_replicas;

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_while_nobody_leads_is_not_missed() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&finalizers::a_deletion_while_nobody_leads_is_not_missed(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_cleaned_up_stays_through_a_handover() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&finalizers::what_is_not_cleaned_up_stays_through_a_handover(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_selected_any_more_is_let_go() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&finalizers::what_is_not_selected_any_more_is_let_go(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_plugin_s_finalizers_are_told_of_until_it_is_back() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&finalizers::a_removed_plugin_s_finalizers_are_told_of_until_it_is_back(world).await).await;
}
