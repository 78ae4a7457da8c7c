//! Plugins that change in the middle of a handover, on a real API server.

use tenure_tests::scenes::reload;
use tenure_tests::{Options, RealApi, World};

use super::evidence::assert_clean;

async fn three_replicas() -> Option<World> {
    let api = RealApi::shared().await?;
    let mut options = Options::told_by_the_gate();
    options.config.push_str(reload::PATIENT);
    Some(World::on(&api, options).await.staffed(3).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_while_chunks_are_missing() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&reload::a_handover_while_chunks_are_missing(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_while_the_next_version_is_checked() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&reload::a_handover_while_the_next_version_is_checked(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_while_the_swap_waits_for_a_call() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&reload::a_handover_while_the_swap_waits_for_a_call(world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_while_a_removed_plugin_ends() {
    let Some(world) = three_replicas().await else { return };
    assert_clean(&reload::a_handover_while_a_removed_plugin_ends(world).await).await;
}
