//! Selectors through the API.

use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::rig::{CONFIG_MAPS, PODS, delete, get, merge, pod, post};

async fn labelled(cluster: &LocalCluster, name: &str, labels: Value) {
    let body = json!({"metadata": {"name": name, "labels": labels}});
    assert_eq!(post(cluster, CONFIG_MAPS, &body).await.0, 201);
}

async fn selected(cluster: &LocalCluster, path: &str) -> String {
    let (code, list) = get(cluster, path).await;
    assert_eq!(code, 200, "{list}");
    let names = list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap());
    names.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn lists_take_label_and_field_selectors_together() {
    let cluster = LocalCluster::new();
    labelled(&cluster, "a", json!({"app": "web", "tier": "1"})).await;
    labelled(&cluster, "b", json!({"app": "web"})).await;
    labelled(&cluster, "c", json!({"app": "db"})).await;
    for (query, expected) in [
        ("labelSelector=app%3Dweb", "a b"),
        ("labelSelector=app%20in%20(web,db),!tier", "b c"),
        ("labelSelector=app&fieldSelector=metadata.name!%3Db", "a c"),
        ("fieldSelector=metadata.name%3Dc,metadata.namespace%3Ddefault", "c"),
    ] {
        assert_eq!(selected(&cluster, &format!("{CONFIG_MAPS}?{query}")).await, expected, "{query}");
    }
    let (code, status) = get(&cluster, &format!("{CONFIG_MAPS}?fieldSelector=data.k%3D1")).await;
    assert_eq!(
        (code, &status["message"]),
        (400, &json!("\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""))
    );
}

#[tokio::test]
async fn pods_are_selected_by_phase_and_node() {
    let cluster = LocalCluster::new();
    let mut on_node = pod("a");
    on_node["spec"]["nodeName"] = "n1".into();
    post(&cluster, PODS, &on_node).await;
    post(&cluster, PODS, &pod("b")).await;
    merge(&cluster, &format!("{PODS}/b/status"), &json!({"status": {"phase": "Running"}})).await;
    assert_eq!(selected(&cluster, &format!("{PODS}?fieldSelector=spec.nodeName%3Dn1")).await, "a");
    assert_eq!(selected(&cluster, &format!("{PODS}?fieldSelector=status.phase%3DRunning")).await, "b");
}

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_it_is_selected() {
    let cluster = LocalCluster::new();
    labelled(&cluster, "a", json!({"app": "web"})).await;
    labelled(&cluster, "b", json!({"app": "db"})).await;
    let (code, deleted) = delete(&cluster, &format!("{CONFIG_MAPS}?labelSelector=app%3Dweb"), &Value::Null).await;
    assert_eq!((code, &deleted["kind"]), (200, &json!("ConfigMapList")));
    assert_eq!(selected(&cluster, CONFIG_MAPS).await, "b");
}
