//! The scale subresource of workloads and of custom resources.

use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::crds::{WIDGETS, widget, with_widgets};
use crate::rig::{get, merge, post, put};

fn workload() -> Value {
    json!({
        "metadata": {"name": "x"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    })
}

#[tokio::test]
async fn workloads_are_read_and_scaled_through_one_kind() {
    let cluster = LocalCluster::new();
    for plural in ["deployments", "replicasets", "statefulsets"] {
        let path = format!("/apis/apps/v1/namespaces/default/{plural}");
        assert_eq!(post(&cluster, &path, &workload()).await.0, 201);
        let scale = format!("{path}/x/scale");
        let (code, read) = get(&cluster, &scale).await;
        assert_eq!((code, &read["kind"], &read["apiVersion"]), (200, &json!("Scale"), &json!("autoscaling/v1")));
        assert_eq!(
            (&read["spec"], &read["status"]),
            (&json!({"replicas": 2}), &json!({"replicas": 0, "selector": "app=a"}))
        );
        let (code, scaled) = merge(&cluster, &scale, &json!({"spec": {"replicas": 5}})).await;
        assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(5)), "{scaled}");
        let (_, object) = get(&cluster, &format!("{path}/x")).await;
        assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(5), &json!(2)));
        let record = object["metadata"]["managedFields"].as_array().unwrap();
        let through_scale = record.iter().find(|entry| entry["subresource"] == "scale").unwrap();
        assert_eq!(through_scale["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    }
}

#[tokio::test]
async fn a_scale_that_cannot_be_is_refused() {
    let cluster = LocalCluster::new();
    let path = "/apis/apps/v1/namespaces/default/deployments";
    post(&cluster, path, &workload()).await;
    let scale = format!("{path}/x/scale");
    let body = |replicas: i64, version: &str| json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "x", "resourceVersion": version}, "spec": {"replicas": replicas}});
    let (code, status) = put(&cluster, &scale, &body(-1, "")).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "Scale.autoscaling \"x\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
    assert_eq!(put(&cluster, &scale, &body(3, "1")).await.0, 409);
    assert_eq!(put(&cluster, &scale, &body(3, "")).await.0, 200);
    assert_eq!(get(&cluster, &format!("{path}/y/scale")).await.0, 404);
    assert_eq!(get(&cluster, "/apis/apps/v1/namespaces/default/daemonsets/x/scale").await.0, 404);
}

#[tokio::test]
async fn custom_resources_scale_where_their_definition_says() {
    let cluster = with_widgets().await;
    post(&cluster, WIDGETS, &widget("w", json!({"size": 1}))).await;
    let path = format!("{WIDGETS}/w");
    merge(&cluster, &format!("{path}/status"), &json!({"status": {"replicas": 3, "selector": "a=b"}})).await;
    let (_, read) = get(&cluster, &format!("{path}/scale")).await;
    assert_eq!((&read["spec"], &read["status"]), (&json!({"replicas": 1}), &json!({"replicas": 3, "selector": "a=b"})));
    let (code, _) = merge(&cluster, &format!("{path}/scale"), &json!({"spec": {"replicas": 7}})).await;
    assert_eq!((code, &get(&cluster, &path).await.1["spec"]["replicas"]), (200, &json!(7)));
}
