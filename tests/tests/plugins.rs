//! The example plugins through the whole host.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use tenure_tests::{Options, Plugin, World, until};

async fn label(world: &World, namespace: &str, labels: serde_json::Value) {
    let namespaces: Api<Namespace> = Api::all(world.client());
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    namespaces.patch(namespace, &PatchParams::default(), &patch).await.expect("the namespace can be labelled");
}

async fn labels(world: &World, namespace: &str, name: &str) -> BTreeMap<String, String> {
    let found = world.get_config_map(namespace, name).await;
    found.and_then(|found| found.metadata.labels).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn label_propagator_follows_a_namespace_and_leaves_other_labels_alone() {
    let world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&Plugin::built("label-propagator")).await;
    world.namespace("shop", &[("team", "blue")]).await;
    world.config_map("mine", "shop", "settings", json!({"a": "1"})).await;
    until("the label to arrive", || async {
        labels(&world, "shop", "settings").await.get("team").is_some_and(|team| team == "blue")
    })
    .await;
    label(&world, "shop", json!({"team": "green"})).await;
    until("the label to follow", || async {
        labels(&world, "shop", "settings").await.get("team").is_some_and(|team| team == "green")
    })
    .await;
    label(&world, "shop", json!({"team": null})).await;
    until("the label to go", || async { !labels(&world, "shop", "settings").await.contains_key("team") }).await;
    assert_eq!(labels(&world, "shop", "settings").await.get("probe").map(String::as_str), Some("mine"));
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn configmap_replicator_keeps_copies_true_and_removes_them_with_their_source() {
    let mut world = World::with_replicas(2, Options::default()).await;
    world.drop_in(&Plugin::built("configmap-replicator")).await;
    world.namespace("platform", &[]).await;
    world.namespace("shop", &[]).await;
    let wish = json!({"metadata": {"annotations": {"configmap-replicator.tenure.dev/copy": "platform/ca"}}});
    let namespaces: Api<Namespace> = Api::all(world.client());
    namespaces.patch("shop", &PatchParams::default(), &Patch::Merge(wish)).await.expect("annotated");
    let source = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.crt": "one"}, "metadata": {
        "name": "ca", "namespace": "platform", "labels": {"configmap-replicator.tenure.dev/source": "true"}}});
    world.apply_config_map(&source).await;
    let has = async |value: &str| {
        let copy = world.get_config_map("shop", "ca").await;
        copy.and_then(|copy| copy.data?.get("ca.crt").cloned()).is_some_and(|found| found == value)
    };
    until("the copy", || has("one")).await;
    let copies: Api<ConfigMap> = world.api("shop");
    let drift = Patch::Merge(json!({"data": {"ca.crt": "drifted"}}));
    copies.patch("ca", &PatchParams::default(), &drift).await.expect("patched");
    until("the drift to be mended", || has("one")).await;
    copies.delete("ca", &DeleteParams::default()).await.expect("deleted");
    until("the deleted copy to be remade", || has("one")).await;

    // The source goes while nobody leads: its finalizer keeps it until the next leader has removed the copies.
    let leader = world.leader().await;
    let sources: Api<ConfigMap> = world.api("platform");
    world.replica(&leader).kill();
    sources.delete("ca", &DeleteParams::default()).await.expect("deleted");
    until("copy and source to be gone", || async {
        world.get_config_map("shop", "ca").await.is_none() && world.get_config_map("platform", "ca").await.is_none()
    })
    .await;
    world.judge.assert_clean();
}
