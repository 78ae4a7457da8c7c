//! Plugins that change while leadership does, and the circuit of one that breaks off.

use serde_json::json;
use tenure_tests::scenes::{finalizers::answer, reload};
use tenure_tests::{Options, Plugin, World};

async fn two_replicas() -> World {
    World::with_replicas(2, Options { config: reload::PATIENT.to_owned(), ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_while_chunks_are_missing() {
    reload::a_handover_while_chunks_are_missing(two_replicas().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_while_the_next_version_is_checked() {
    reload::a_handover_while_the_next_version_is_checked(two_replicas().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_while_the_swap_waits_for_a_call() {
    reload::a_handover_while_the_swap_waits_for_a_call(two_replicas().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_while_a_removed_plugin_ends() {
    reload::a_handover_while_a_removed_plugin_ends(two_replicas().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_tries_again_and_closes_when_the_try_is_good() {
    let world = World::with_replicas(1, Options::default()).await;
    answer(&world, "trap").await;
    world.drop_in(&Plugin::probe("probe", "moody", "1")).await;
    world.config_map("probe", "default", "target", json!({})).await;
    let row = world.plugin_state("probe", "circuit-open").await;
    assert!(row["message"].as_str().is_some_and(|message| message.contains("then tried once")), "{row}");
    answer(&world, "").await;
    world.annotated("default", "target", "probe/value").await;
    let row = world.plugin_state("probe", "running").await;
    assert_eq!(row["message"], serde_json::Value::Null, "{row}");
    world.judge.assert_clean();
}
