//! Deletion: answers, preconditions, finalizers, grace, namespaces.

use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::rig::{
    CONFIG_MAPS, Events, LEASES, PODS, config_map, delete, get, lease, merge, namespace, pod, post, version,
};

#[tokio::test]
async fn a_deleted_object_is_answered_with_a_status_and_gone() {
    let cluster = LocalCluster::new();
    let (_, created) = post(&cluster, LEASES, &lease("l", "x")).await;
    let path = format!("{LEASES}/l");
    let (code, status) = delete(&cluster, &path, &Value::Null).await;
    assert_eq!((code, &status["status"]), (200, &json!("Success")));
    assert_eq!(
        status["details"],
        json!({
            "name": "l", "group": "coordination.k8s.io", "kind": "leases", "uid": created["metadata"]["uid"],
        })
    );
    let (code, status) = delete(&cluster, &path, &Value::Null).await;
    assert_eq!((code, &status["message"]), (404, &json!("leases.coordination.k8s.io \"l\" not found")));
}

#[tokio::test]
async fn preconditions_hold_a_deletion_back() {
    let cluster = LocalCluster::new();
    let (_, created) = post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    let path = format!("{CONFIG_MAPS}/a");
    let (code, status) = delete(&cluster, &path, &json!({"preconditions": {"uid": "another"}})).await;
    assert_eq!(code, 409);
    let uid = created["metadata"]["uid"].as_str().unwrap();
    assert_eq!(
        status["message"],
        format!(
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (another) does not match the UID \
             in record ({uid}). The object might have been deleted and then recreated"
        )
    );
    let old = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(delete(&cluster, &path, &old).await.0, 409);
    let right = json!({"preconditions": {"uid": uid, "resourceVersion": created["metadata"]["resourceVersion"]}});
    assert_eq!(delete(&cluster, &path, &right).await.0, 200);
}

#[tokio::test]
async fn finalizers_keep_an_object_until_the_last_is_taken_away() {
    let cluster = LocalCluster::new();
    let mut body = config_map("a", json!({}));
    body["metadata"]["finalizers"] = json!(["x.dev/one", "x.dev/two"]);
    let (_, created) = post(&cluster, CONFIG_MAPS, &body).await;
    let path = format!("{CONFIG_MAPS}/a");
    let from = version(&created);
    let mut events = Events::open(&cluster, &format!("{CONFIG_MAPS}?watch=1&resourceVersion={from}")).await;
    let (code, deleting) = delete(&cluster, &path, &json!({"propagationPolicy": "Background"})).await;
    assert_eq!((code, &deleting["kind"]), (200, &json!("ConfigMap")));
    assert!(deleting["metadata"]["deletionTimestamp"].is_string());
    let before = cluster.version();
    delete(&cluster, &path, &Value::Null).await;
    assert_eq!(cluster.version(), before, "deleting again changes nothing");
    let more = json!({"metadata": {"finalizers": ["x.dev/one", "x.dev/three"]}});
    let (code, status) = merge(&cluster, &path, &more).await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("metadata.finalizers")));
    merge(&cluster, &path, &json!({"metadata": {"finalizers": ["x.dev/one"]}})).await;
    assert_eq!(get(&cluster, &path).await.0, 200);
    assert_eq!(merge(&cluster, &path, &json!({"metadata": {"finalizers": null}})).await.0, 200);
    assert_eq!(get(&cluster, &path).await.0, 404);
    for expected in ["MODIFIED a", "MODIFIED a", "DELETED a"] {
        assert_eq!(events.next_line().await, expected);
    }
}

#[tokio::test]
async fn a_pod_on_a_node_waits_for_its_kubelet_and_another_does_not() {
    let cluster = LocalCluster::new();
    let mut on_node = pod("a");
    on_node["spec"]["nodeName"] = "n".into();
    post(&cluster, PODS, &on_node).await;
    post(&cluster, PODS, &pod("b")).await;
    assert_eq!(delete(&cluster, &format!("{PODS}/b"), &Value::Null).await.1["kind"], "Pod");
    assert_eq!(get(&cluster, &format!("{PODS}/b")).await.0, 404);
    let path = format!("{PODS}/a");
    let (_, deleting) = delete(&cluster, &path, &Value::Null).await;
    assert_eq!(deleting["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(get(&cluster, &path).await.0, 200);
    assert_eq!(delete(&cluster, &path, &json!({"gracePeriodSeconds": 0})).await.0, 200);
    assert_eq!(get(&cluster, &path).await.0, 404);
}

#[tokio::test]
async fn a_deleted_namespace_takes_its_content_with_it() {
    let cluster = LocalCluster::new();
    post(&cluster, "/api/v1/namespaces", &namespace("team")).await;
    let inside = "/api/v1/namespaces/team/configmaps";
    post(&cluster, inside, &config_map("plain", json!({}))).await;
    let mut held = config_map("held", json!({}));
    held["metadata"]["finalizers"] = json!(["x.dev/one"]);
    post(&cluster, inside, &held).await;
    let from = cluster.version();
    let mut spaces = Events::open(&cluster, &format!("/api/v1/namespaces?watch=1&resourceVersion={from}")).await;
    let mut objects = Events::open(&cluster, &format!("{inside}?watch=1&resourceVersion={from}")).await;
    let (code, deleting) = delete(&cluster, "/api/v1/namespaces/team", &Value::Null).await;
    assert_eq!((code, &deleting["status"]["phase"]), (200, &json!("Terminating")));
    let (code, status) = post(&cluster, inside, &config_map("late", json!({}))).await;
    assert_eq!((code, &status["details"]["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
    assert_eq!(
        status["message"],
        "configmaps \"late\" is forbidden: unable to create new content in namespace team because it is being terminated"
    );
    assert_eq!(objects.next_line().await, "MODIFIED held");
    assert_eq!(objects.next_line().await, "DELETED plain");
    assert_eq!(spaces.next_line().await, "MODIFIED team");
    assert_eq!(get(&cluster, "/api/v1/namespaces/team").await.0, 200);
    merge(&cluster, &format!("{inside}/held"), &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(spaces.next_line().await, "DELETED team");
    assert_eq!(get(&cluster, "/api/v1/namespaces/team").await.0, 404);
}

#[tokio::test]
async fn options_of_a_deletion_are_the_querys_only_without_a_body() {
    let cluster = LocalCluster::new();
    let path = format!("{CONFIG_MAPS}/a");
    let in_query = [
        ("dryRun=All", 200),
        ("dryRun=Some", 422),
        ("propagationPolicy=Sideways", 422),
        ("gracePeriodSeconds=soon", 400),
        ("uid=another", 409),
        ("resourceVersion=1", 409),
    ];
    for (query, code) in in_query {
        for path in [format!("{path}?{query}"), format!("{CONFIG_MAPS}?{query}")] {
            post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
            assert_eq!(delete(&cluster, &path, &Value::Null).await.0, code, "{path}");
            assert_eq!(get(&cluster, CONFIG_MAPS).await.1["items"][0]["metadata"]["name"], "a", "{path}");
            let (code, answer) = delete(&cluster, &path, &json!({})).await;
            assert_eq!(code, 200, "{path}: {answer}");
            assert_eq!(get(&cluster, CONFIG_MAPS).await.1["items"], json!([]), "{path}: the body alone decides");
        }
    }
}

#[tokio::test]
async fn dry_run_in_the_body_deletes_nothing() {
    let cluster = LocalCluster::new();
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    for path in [format!("{CONFIG_MAPS}/a"), CONFIG_MAPS.to_owned()] {
        assert_eq!(delete(&cluster, &path, &json!({"dryRun": ["All"]})).await.0, 200, "{path}");
        assert_eq!(delete(&cluster, &path, &json!({"dryRun": ["Some"]})).await.0, 422, "{path}");
    }
    assert_eq!(get(&cluster, &format!("{CONFIG_MAPS}/a")).await.0, 200);
}

#[tokio::test]
async fn grace_in_the_query_does_not_count_beside_a_body() {
    let cluster = LocalCluster::new();
    let mut on_node = pod("a");
    on_node["spec"]["nodeName"] = "n".into();
    post(&cluster, PODS, &on_node).await;
    let path = format!("{PODS}/a?gracePeriodSeconds=0");
    let (_, deleting) = delete(&cluster, &path, &json!({"gracePeriodSeconds": 7})).await;
    assert_eq!(deleting["metadata"]["deletionGracePeriodSeconds"], 7);
    assert_eq!(delete(&cluster, &path, &Value::Null).await.0, 200);
    assert_eq!(get(&cluster, &format!("{PODS}/a")).await.0, 404);
}

#[tokio::test]
async fn the_namespaces_of_the_system_stay() {
    let cluster = LocalCluster::new();
    let (code, status) = delete(&cluster, "/api/v1/namespaces/default", &Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(status["message"], "namespaces \"default\" is forbidden: this namespace may not be deleted");
}
