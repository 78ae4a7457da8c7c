//! Server-side apply through the API.

use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::rig::{CONFIG_MAPS, PODS, apply, config_map, get, merge, patch_as, post, version};

fn path(name: &str) -> String {
    format!("{CONFIG_MAPS}/{name}")
}

#[tokio::test]
async fn the_first_apply_creates_and_the_same_again_changes_nothing() {
    let cluster = LocalCluster::new();
    let (code, created) = apply(&cluster, &path("a"), "one", &config_map("a", json!({"k": "1"}))).await;
    assert_eq!(code, 201);
    assert_eq!(created["metadata"]["managedFields"][0]["operation"], "Apply");
    let (code, again) = apply(&cluster, &path("a"), "one", &config_map("a", json!({"k": "1"}))).await;
    assert_eq!((code, version(&again)), (200, version(&created)));
}

#[tokio::test]
async fn appliers_share_an_object_without_overwriting_each_other() {
    let cluster = LocalCluster::new();
    apply(&cluster, &path("a"), "one", &config_map("a", json!({"k": "1"}))).await;
    apply(&cluster, &path("a"), "two", &config_map("a", json!({"l": "1"}))).await;
    let (_, both) = get(&cluster, &path("a")).await;
    assert_eq!(both["data"], json!({"k": "1", "l": "1"}));
    let (_, left) = apply(&cluster, &path("a"), "one", &config_map("a", json!({"m": "1"}))).await;
    assert_eq!(left["data"], json!({"l": "1", "m": "1"}));
}

#[tokio::test]
async fn a_conflict_names_its_manager_and_field_and_force_takes_it() {
    let cluster = LocalCluster::new();
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({"k": "1", "l": "1"}))).await;
    let wanted = config_map("a", json!({"k": "2", "l": "2"}));
    let (code, status) = apply(&cluster, &path("a"), "two", &wanted).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        status["message"],
        "Apply failed with 2 conflicts: conflicts with \"suite\" using v1:\n- .data.k\n- .data.l"
    );
    assert_eq!(
        status["details"]["causes"][0],
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"suite\" using v1", "field": ".data.k"})
    );
    let (code, forced) = apply(&cluster, &format!("{}?force=true", path("a")), "two", &wanted).await;
    assert_eq!((code, &forced["data"]["k"]), (200, &json!("2")));
}

#[tokio::test]
async fn containers_of_two_appliers_live_side_by_side() {
    let cluster = LocalCluster::new();
    let with = |container: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}});
    let pod = format!("{PODS}/p");
    let (code, _) = apply(&cluster, &pod, "one", &with(json!({"name": "a", "image": "x:1"}))).await;
    assert_eq!(code, 201);
    let (code, patched) = apply(&cluster, &pod, "one", &with(json!({"name": "a", "image": "x:2"}))).await;
    assert_eq!((code, &patched["spec"]["containers"][0]["image"]), (200, &json!("x:2")));
    // Defaults that nobody applied stay.
    assert_eq!(patched["spec"]["containers"][0]["terminationMessagePath"], "/dev/termination-log");
    let labels = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"l": "1"}}});
    let (code, labelled) = apply(&cluster, &pod, "two", &labels).await;
    assert_eq!((code, &labelled["spec"]), (200, &patched["spec"]));
}

#[tokio::test]
async fn what_an_update_took_is_no_longer_the_appliers_to_remove() {
    let cluster = LocalCluster::new();
    apply(&cluster, &path("a"), "one", &config_map("a", json!({"k": "1", "l": "1"}))).await;
    merge(&cluster, &path("a"), &json!({"data": {"k": "2"}})).await;
    let (_, after) = apply(&cluster, &path("a"), "one", &config_map("a", json!({"l": "1"}))).await;
    assert_eq!(after["data"], json!({"k": "2", "l": "1"}));
}

#[tokio::test]
async fn an_apply_must_say_who_and_what() {
    let cluster = LocalCluster::new();
    let object = config_map("a", json!({}));
    let (code, status) = patch_as(&cluster, &path("a"), "application/apply-patch+yaml", &object).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    assert_eq!(apply(&cluster, &path("a"), "one", &json!({"metadata": {"name": "a"}})).await.0, 400);
    assert_eq!(apply(&cluster, &path("b"), "one", &object).await.0, 400);
    let forced = format!("{}?force=true", path("a"));
    assert_eq!(merge(&cluster, &forced, &json!({})).await.0, 422);
}

#[tokio::test]
async fn yaml_is_read_as_well() {
    let cluster = LocalCluster::new();
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: |\n    two\n    lines\n";
    let mut request = crate::rig::request(
        http::Method::PATCH,
        &format!("{}?fieldManager=one", path("a")),
        "application/apply-patch+yaml",
        &Value::Null,
    );
    *request.body_mut() = http_body_util::Full::new(yaml.into());
    let (code, created) = crate::rig::read(crate::rig::send(&cluster, request).await).await;
    assert_eq!((code, &created["data"]["k"]), (201, &json!("two\nlines\n")));
}
