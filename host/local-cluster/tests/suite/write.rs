//! Create, replace and patch: what is stored, what is refused, and in which words.

use http::Method;
use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::rig::{
    CONFIG_MAPS, LEASES, PODS, config_map, delete, get, lease, merge, namespace, patch_as, pod, post, put, read,
    request, send, version,
};

fn at(collection: &str, name: &str) -> String {
    format!("{collection}/{name}")
}

#[tokio::test]
async fn a_new_object_gets_what_the_server_sets() {
    let cluster = LocalCluster::new();
    let (code, created) = post(&cluster, CONFIG_MAPS, &config_map("a", json!({"k": "v"}))).await;
    assert_eq!(code, 201);
    assert_eq!(created["kind"], "ConfigMap");
    assert_eq!(created["metadata"]["namespace"], "default");
    assert_eq!(created["metadata"]["uid"].as_str().unwrap().len(), 36);
    assert!(created["metadata"]["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(version(&created), cluster.version());
    let record = &created["metadata"]["managedFields"][0];
    assert_eq!(record["manager"], "suite");
    assert_eq!(record["operation"], "Update");
    assert_eq!(record["fieldsV1"], json!({"f:data": {".": {}, "f:k": {}}}));
    assert_eq!(get(&cluster, &at(CONFIG_MAPS, "a")).await, (200, created));
}

#[tokio::test]
async fn every_commit_raises_the_one_version() {
    let cluster = LocalCluster::new();
    let (_, first) = post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    let (_, second) = post(&cluster, LEASES, &lease("l", "x")).await;
    let (_, third) = merge(&cluster, &at(CONFIG_MAPS, "a"), &json!({"data": {"k": "v"}})).await;
    assert!(version(&first) < version(&second) && version(&second) < version(&third));
}

#[tokio::test]
async fn a_generated_name_has_five_characters_more() {
    let cluster = LocalCluster::new();
    let body = json!({"metadata": {"generateName": "run-"}});
    let (code, created) = post(&cluster, CONFIG_MAPS, &body).await;
    assert_eq!(code, 201);
    let name = created["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("run-") && name.len() == 9, "{name}");
    let (_, other) = post(&cluster, CONFIG_MAPS, &body).await;
    assert_ne!(other["metadata"]["name"], created["metadata"]["name"]);
}

#[tokio::test]
async fn a_second_create_is_told_that_it_exists() {
    let cluster = LocalCluster::new();
    post(&cluster, LEASES, &lease("l", "x")).await;
    let (code, status) = post(&cluster, LEASES, &lease("l", "x")).await;
    assert_eq!((code, &status["reason"]), (409, &json!("AlreadyExists")));
    assert_eq!(status["message"], "leases.coordination.k8s.io \"l\" already exists");
    assert_eq!(status["details"], json!({"name": "l", "group": "coordination.k8s.io", "kind": "leases"}));
}

#[tokio::test]
async fn nothing_is_created_in_a_namespace_that_is_not_there() {
    let cluster = LocalCluster::new();
    let (code, status) = post(&cluster, "/api/v1/namespaces/nowhere/configmaps", &config_map("a", json!({}))).await;
    assert_eq!((code, &status["message"]), (404, &json!("namespaces \"nowhere\" not found")));
}

#[tokio::test]
async fn a_put_that_changes_nothing_keeps_the_version() {
    let cluster = LocalCluster::new();
    let (_, created) = post(&cluster, LEASES, &lease("l", "x")).await;
    let before = cluster.version();
    let (code, again) = put(&cluster, &at(LEASES, "l"), &created).await;
    assert_eq!((code, version(&again)), (200, version(&created)));
    assert_eq!(cluster.version(), before);
    assert_eq!(cluster.audit().last().unwrap().version, None);
    let (_, patched) = merge(&cluster, &at(LEASES, "l"), &json!({"spec": {"holderIdentity": "x"}})).await;
    assert_eq!(patched, created);
}

#[tokio::test]
async fn a_put_with_an_old_version_conflicts() {
    let cluster = LocalCluster::new();
    let (_, first) = post(&cluster, LEASES, &lease("l", "x")).await;
    let mut next = first.clone();
    next["spec"]["holderIdentity"] = "y".into();
    let (code, _) = put(&cluster, &at(LEASES, "l"), &next).await;
    assert_eq!(code, 200);
    next["spec"]["holderIdentity"] = "z".into();
    let (code, status) = put(&cluster, &at(LEASES, "l"), &next).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        status["message"],
        "Operation cannot be fulfilled on leases.coordination.k8s.io \"l\": the object has been modified; \
         please apply your changes to the latest version and try again"
    );
}

#[tokio::test]
async fn a_put_with_an_old_version_and_no_uid_brings_a_deleted_lease_back() {
    let cluster = LocalCluster::new();
    let (_, created) = post(&cluster, LEASES, &lease("l", "x")).await;
    delete(&cluster, &at(LEASES, "l"), &Value::Null).await;
    let mut back = created.clone();
    back["metadata"].as_object_mut().unwrap().remove("uid");
    let (code, brought_back) = put(&cluster, &at(LEASES, "l"), &back).await;
    assert_eq!(code, 201);
    assert_ne!(brought_back["metadata"]["uid"], created["metadata"]["uid"]);
}

#[tokio::test]
async fn a_put_with_the_uid_of_a_deleted_lease_conflicts() {
    let cluster = LocalCluster::new();
    let (_, created) = post(&cluster, LEASES, &lease("l", "x")).await;
    delete(&cluster, &at(LEASES, "l"), &Value::Null).await;
    let uid = created["metadata"]["uid"].as_str().unwrap();
    let (code, status) = put(&cluster, &at(LEASES, "l"), &created).await;
    assert_eq!(code, 409);
    let message = status["message"].as_str().unwrap();
    assert!(message.ends_with(&format!("UID in precondition: {uid}, UID in object meta: ")), "{message}");
    // Nor does it touch the Lease that took its place.
    let (_, second) = post(&cluster, LEASES, &lease("l", "y")).await;
    let (code, _) = put(&cluster, &at(LEASES, "l"), &created).await;
    assert_eq!(code, 409);
    assert_eq!(get(&cluster, &at(LEASES, "l")).await.1, second);
}

#[tokio::test]
async fn a_put_with_the_uid_of_a_deleted_config_map_finds_nothing() {
    let cluster = LocalCluster::new();
    let (_, created) = post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    delete(&cluster, &at(CONFIG_MAPS, "a"), &Value::Null).await;
    assert_eq!(put(&cluster, &at(CONFIG_MAPS, "a"), &created).await.0, 404);
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    assert_eq!(put(&cluster, &at(CONFIG_MAPS, "a"), &created).await.0, 409);
}

#[tokio::test]
async fn a_put_without_a_version_is_unconditional_only_where_the_kind_allows_it() {
    let cluster = LocalCluster::new();
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({"k": "1"}))).await;
    let (code, _) = put(&cluster, &at(CONFIG_MAPS, "a"), &config_map("a", json!({"k": "2"}))).await;
    assert_eq!(code, 200);
    post(&cluster, LEASES, &lease("l", "x")).await;
    let (code, status) = put(&cluster, &at(LEASES, "l"), &lease("l", "y")).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: \
         must be specified for an update"
    );
}

#[tokio::test]
async fn a_put_to_a_missing_object_creates_only_leases_and_events() {
    let cluster = LocalCluster::new();
    assert_eq!(put(&cluster, &at(CONFIG_MAPS, "a"), &config_map("a", json!({}))).await.0, 404);
    assert_eq!(put(&cluster, &at(LEASES, "l"), &lease("l", "x")).await.0, 201);
}

#[tokio::test]
async fn names_and_namespaces_must_be_those_of_the_path() {
    let cluster = LocalCluster::new();
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    let (code, status) = put(&cluster, &at(CONFIG_MAPS, "a"), &config_map("b", json!({}))).await;
    assert_eq!(
        (code, &status["message"]),
        (400, &json!("the name of the object (b) does not match the name on the URL (a)"))
    );
    let mut elsewhere = config_map("a", json!({}));
    elsewhere["metadata"]["namespace"] = "kube-system".into();
    let (code, status) = put(&cluster, &at(CONFIG_MAPS, "a"), &elsewhere).await;
    assert_eq!(
        (code, &status["message"]),
        (400, &json!("the namespace of the provided object does not match the namespace sent on the request"))
    );
    let (code, status) = post(&cluster, CONFIG_MAPS, &elsewhere).await;
    assert_eq!(
        (code, &status["message"]),
        (400, &json!("the namespace of the provided object does not match the namespace sent on the request"))
    );
}

#[tokio::test]
async fn an_invalid_object_is_refused_with_its_causes() {
    let cluster = LocalCluster::new();
    let body = json!({"metadata": {"name": "Upper", "labels": {"a b": "c d"}}, "data": {"k/k": ""}});
    let (code, status) = post(&cluster, CONFIG_MAPS, &body).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    let fields: Vec<&str> =
        status["details"]["causes"].as_array().unwrap().iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["metadata.name", "metadata.labels", "metadata.labels", "data[k/k]"]);
    assert!(status["message"].as_str().unwrap().starts_with(
        "ConfigMap \"Upper\" is invalid: [metadata.name: Invalid value: \"Upper\": a lowercase RFC 1123 subdomain must"
    ));
}

#[tokio::test]
async fn nonsense_is_a_bad_request() {
    let cluster = LocalCluster::new();
    let mut broken = request(Method::POST, CONFIG_MAPS, "application/json", &Value::Null);
    *broken.body_mut() = http_body_util::Full::new("{\"metadata\": ".into());
    let (code, status) = read(send(&cluster, broken).await).await;
    assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")));
    let (code, status) = post(&cluster, CONFIG_MAPS, &namespace("a")).await;
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        "Namespace in version \"v1\" cannot be handled as a ConfigMap: \
         converting (v1.Namespace) to (core.ConfigMap): unknown conversion"
    );
    let (code, _) = post(&cluster, CONFIG_MAPS, &config_map("a", json!({"k": 1}))).await;
    assert_eq!(code, 400);
    let request = request(Method::POST, CONFIG_MAPS, "application/cbor", &json!({}));
    assert_eq!(read(send(&cluster, request).await).await.0, 415);
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_about_or_dropped_as_asked() {
    let cluster = LocalCluster::new();
    let mut body = config_map("a", json!({}));
    body["colour"] = "red".into();
    let (code, status) = post(&cluster, &format!("{CONFIG_MAPS}?fieldValidation=Strict"), &body).await;
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: \
         strict decoding error: unknown field \"colour\""
    );
    let path = format!("{CONFIG_MAPS}?fieldValidation=Warn");
    let response = send(&cluster, request(Method::POST, &path, "application/json", &body)).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["warning"], "299 - \"unknown field \\\"colour\\\"\"");
    assert_eq!(read(response).await.1.get("colour"), None);
    body["metadata"]["name"] = "b".into();
    let path = format!("{CONFIG_MAPS}?fieldValidation=Ignore");
    let response = send(&cluster, request(Method::POST, &path, "application/json", &body)).await;
    assert_eq!((response.status().as_u16(), response.headers().get("warning")), (201, None));
}

#[tokio::test]
async fn a_field_that_comes_twice_is_refused_under_strict() {
    let cluster = LocalCluster::new();
    let path = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    let mut twice = request(Method::POST, &path, "application/json", &Value::Null);
    *twice.body_mut() = http_body_util::Full::new(r#"{"metadata":{"name":"a"},"data":{"k":"1","k":"2"}}"#.into());
    let (code, status) = read(send(&cluster, twice).await).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().unwrap().ends_with("strict decoding error: duplicate field \"data.k\""));
    let strict = format!("{CONFIG_MAPS}/a?fieldValidation=Strict");
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    let (code, status) = merge(&cluster, &strict, &json!({"colour": 1})).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    assert!(status["message"].as_str().unwrap().ends_with("strict decoding error: unknown field \"colour\""));
}

#[tokio::test]
async fn a_dry_run_answers_as_the_write_would_and_changes_nothing() {
    let cluster = LocalCluster::new();
    let before = cluster.version();
    let (code, created) = post(&cluster, &format!("{CONFIG_MAPS}?dryRun=All"), &config_map("a", json!({}))).await;
    assert_eq!(code, 201);
    assert!(created["metadata"]["uid"].is_string());
    assert_eq!(get(&cluster, &at(CONFIG_MAPS, "a")).await.0, 404);
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({"k": "1"}))).await;
    let path = format!("{CONFIG_MAPS}/a?dryRun=All");
    let (_, patched) = merge(&cluster, &path, &json!({"data": {"k": "2"}})).await;
    assert_eq!(patched["data"]["k"], "2");
    assert_eq!(delete(&cluster, &path, &Value::Null).await.0, 200);
    assert_eq!(get(&cluster, &at(CONFIG_MAPS, "a")).await.1["data"]["k"], "1");
    assert_eq!(cluster.version(), before + 1);
}

#[tokio::test]
async fn each_kind_of_patch_edits_the_object() {
    let cluster = LocalCluster::new();
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({"k": "1", "l": "1"}))).await;
    let path = at(CONFIG_MAPS, "a");
    let (code, patched) = merge(&cluster, &path, &json!({"data": {"k": null, "m": "1"}})).await;
    assert_eq!((code, &patched["data"]), (200, &json!({"l": "1", "m": "1"})));
    let operations = json!([{"op": "test", "path": "/data/l", "value": "1"}, {"op": "remove", "path": "/data/l"}]);
    let (code, patched) = patch_as(&cluster, &path, "application/json-patch+json", &operations).await;
    assert_eq!((code, &patched["data"]), (200, &json!({"m": "1"})));
    let (code, status) = patch_as(&cluster, &path, "application/json-patch+json", &operations).await;
    assert_eq!(
        (code, &status["message"]),
        (422, &json!("the server rejected our request due to an error in our request"))
    );
    let strategic = json!({"metadata": {"labels": {"a": "b"}}});
    let (code, patched) = patch_as(&cluster, &path, "application/strategic-merge-patch+json", &strategic).await;
    assert_eq!((code, &patched["metadata"]["labels"]), (200, &json!({"a": "b"})));
    assert_eq!(merge(&cluster, &at(CONFIG_MAPS, "b"), &json!({})).await.0, 404);
    assert_eq!(patch_as(&cluster, &path, "application/json", &json!({})).await.0, 415);
}

#[tokio::test]
async fn a_patch_conflicts_only_if_it_names_a_version() {
    let cluster = LocalCluster::new();
    let (_, first) = post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    let path = at(CONFIG_MAPS, "a");
    merge(&cluster, &path, &json!({"data": {"k": "1"}})).await;
    let old = json!({"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"k": "2"}});
    assert_eq!(merge(&cluster, &path, &old).await.0, 409);
    assert_eq!(merge(&cluster, &path, &json!({"data": {"k": "2"}})).await.0, 200);
    let (code, status) = merge(&cluster, &path, &json!({"metadata": {"uid": "another"}})).await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("metadata.uid")));
}

#[tokio::test]
async fn immutable_data_stays() {
    let cluster = LocalCluster::new();
    let mut body = config_map("a", json!({"k": "1"}));
    body["immutable"] = true.into();
    post(&cluster, CONFIG_MAPS, &body).await;
    let path = at(CONFIG_MAPS, "a");
    let (code, status) = merge(&cluster, &path, &json!({"data": {"k": "2"}})).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    assert_eq!(
        status["message"],
        "ConfigMap \"a\" is invalid: data: Forbidden: field is immutable when `immutable` is set"
    );
    assert_eq!(merge(&cluster, &path, &json!({"immutable": false})).await.0, 422);
    assert_eq!(merge(&cluster, &path, &json!({"metadata": {"labels": {"a": "b"}}})).await.0, 200);
}

#[tokio::test]
async fn status_and_spec_are_written_through_their_own_doors() {
    let cluster = LocalCluster::new();
    let (_, created) = post(&cluster, PODS, &pod("p")).await;
    assert_eq!(created["status"]["phase"], "Pending");
    assert_eq!(created["spec"]["restartPolicy"], "Always");
    let path = at(PODS, "p");
    let status = json!({"status": {"phase": "Running"}});
    assert_eq!(merge(&cluster, &path, &status).await.1["status"]["phase"], "Pending");
    let both = json!({"status": {"phase": "Running"}, "spec": {"schedulerName": "other"}});
    let (code, patched) = merge(&cluster, &format!("{path}/status"), &both).await;
    assert_eq!((code, &patched["status"]["phase"]), (200, &json!("Running")));
    assert_eq!(patched["spec"]["schedulerName"], "default-scheduler");
    let record = patched["metadata"]["managedFields"].as_array().unwrap();
    assert!(record.iter().any(|entry| entry["subresource"] == "status"), "{record:?}");
    assert_eq!(get(&cluster, &format!("{path}/status")).await.1, patched);
    assert_eq!(merge(&cluster, &path, &json!({"spec": {"nodeName": "n"}})).await.0, 422);
}

#[tokio::test]
async fn one_event_is_seen_through_both_groups() {
    let cluster = LocalCluster::new();
    let event = json!({
        "metadata": {"name": "e"}, "regarding": {"kind": "Lease", "name": "l", "namespace": "default"},
        "note": "a became leader", "reason": "LeaderElection", "type": "Normal", "action": "Acquire",
        "reportingController": "tenure", "reportingInstance": "a", "eventTime": "2026-01-01T00:00:00.000000Z",
    });
    let (code, created) = post(&cluster, "/apis/events.k8s.io/v1/namespaces/default/events", &event).await;
    assert_eq!((code, &created["note"]), (201, &json!("a became leader")));
    let (_, core) = get(&cluster, "/api/v1/namespaces/default/events/e").await;
    assert_eq!((&core["kind"], &core["apiVersion"]), (&json!("Event"), &json!("v1")));
    assert_eq!((&core["message"], &core["involvedObject"]["name"]), (&json!("a became leader"), &json!("l")));
    let selected = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dl,reason%3DLeaderElection";
    assert_eq!(get(&cluster, selected).await.1["items"].as_array().unwrap().len(), 1);
    let regarding = "/apis/events.k8s.io/v1/events?fieldSelector=regarding.name%3Dl";
    assert_eq!(get(&cluster, regarding).await.1["items"][0]["note"], "a became leader");
}

#[tokio::test]
async fn secrets_take_text_and_show_base64() {
    let cluster = LocalCluster::new();
    let secrets = "/api/v1/namespaces/default/secrets";
    let (code, created) =
        post(&cluster, secrets, &json!({"metadata": {"name": "s"}, "stringData": {"k": "hello"}})).await;
    assert_eq!((code, &created["data"]["k"], &created["type"]), (201, &json!("aGVsbG8="), &json!("Opaque")));
    assert_eq!(created.get("stringData"), None);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let cluster = LocalCluster::new();
    let (code, status) = post(&cluster, CONFIG_MAPS, &config_map("a", json!({"k": "x".repeat(4 << 20)}))).await;
    assert_eq!((code, &status["reason"]), (413, &json!("RequestEntityTooLarge")));
    let (code, status) = post(&cluster, CONFIG_MAPS, &config_map("a", json!({"k": "x".repeat(2 << 20)}))).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
}

#[tokio::test]
async fn concurrent_patches_are_all_kept() {
    let cluster = LocalCluster::new();
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..50 {
        let cluster = cluster.clone();
        writers.spawn(async move {
            let patch = json!({"data": {format!("k{number}"): "v"}});
            merge(&cluster, &at(CONFIG_MAPS, "a"), &patch).await.0
        });
    }
    while let Some(code) = writers.join_next().await {
        assert_eq!(code.unwrap(), 200);
    }
    let (_, object) = get(&cluster, &at(CONFIG_MAPS, "a")).await;
    assert_eq!(object["data"].as_object().unwrap().len(), 50);
}

#[tokio::test]
async fn of_concurrent_puts_with_one_version_one_wins() {
    let cluster = LocalCluster::new();
    let (_, created) = post(&cluster, LEASES, &lease("l", "nobody")).await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (cluster, mut next) = (cluster.clone(), created.clone());
        next["spec"]["holderIdentity"] = format!("holder-{number}").into();
        writers.spawn(async move { put(&cluster, &at(LEASES, "l"), &next).await.0 });
    }
    let codes = writers.join_all().await;
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 1);
    assert_eq!(codes.iter().filter(|code| **code == 409).count(), 19);
}
