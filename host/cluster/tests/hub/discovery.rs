//! Kind to resource.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tenure_cluster::{ApiError, GetQuery, ListQuery, ResolveError};

use super::fake::{cluster, config_maps, object};

fn core() -> Value {
    json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
        {"name": "configmaps", "singularName": "configmap", "namespaced": true, "kind": "ConfigMap", "verbs": ["get", "list", "watch"]},
        {"name": "namespaces", "singularName": "namespace", "namespaced": false, "kind": "Namespace", "verbs": ["get"]},
        {"name": "namespaces/status", "singularName": "", "namespaced": false, "kind": "Namespace", "verbs": ["get"]}]})
}

#[tokio::test(start_paused = true)]
async fn a_kind_is_asked_for_once() {
    let (cluster, mut api) = cluster();
    let asker = Arc::clone(&cluster);
    let first = tokio::spawn(async move { asker.resolve("v1", "Namespace").await });
    let call = api.next().await;
    assert_eq!(call.url, "/api/v1");
    call.answer(200, &core());
    let resource = first.await.unwrap().unwrap();
    assert_eq!((resource.key.plural.as_str(), resource.key.namespaced), ("namespaces", false));
    assert_eq!(resource.subresources, ["status"]);
    assert_eq!(cluster.resolve("v1", "ConfigMap").await.unwrap().key, config_maps().resource);
    assert!(api.is_quiet());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kind_is_not_found_with_a_hint_and_asked_again_only_after_a_while() {
    let (cluster, mut api) = cluster();
    let asker = Arc::clone(&cluster);
    let first = tokio::spawn(async move { asker.resolve("v1", "Configmap").await });
    api.next().await.answer(200, &core());
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), r#"the cluster serves no kind "Configmap" in "v1"; did you mean "ConfigMap"?"#);
    assert!(matches!(cluster.resolve("v1", "Widget").await, Err(ResolveError::NotFound { nearest: None, .. })));
    assert!(api.is_quiet(), "answered from memory");
    tokio::time::advance(Duration::from_secs(3)).await;
    let asker = Arc::clone(&cluster);
    let later = tokio::spawn(async move { asker.resolve("v1", "Widget").await });
    let mut grown = core();
    grown["resources"][1]["kind"] = json!("Widget");
    api.next().await.answer(200, &grown);
    assert_eq!(later.await.unwrap().unwrap().key.kind, "Widget");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_is_not_found_with_the_version_that_was_meant() {
    let (cluster, mut api) = cluster();
    let asker = tokio::spawn(async move { cluster.resolve("apps/v2", "Deployment").await });
    api.next().await.refuse(404, "NotFound");
    let groups = api.next().await;
    assert_eq!(groups.url, "/apis");
    groups.answer(
        200,
        &json!({"groups": [{"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}]}]}),
    );
    let error = asker.await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the cluster serves no kind "Deployment" in "apps/v2"; did you mean apiVersion "apps/v1"?"#
    );
}

#[tokio::test(start_paused = true)]
async fn live_reads_say_what_the_server_said() {
    let (cluster, mut api) = cluster();
    let asker = Arc::clone(&cluster);
    let get = tokio::spawn(async move {
        asker
            .get_live(
                &config_maps().resource,
                Some("ns"),
                "a",
                &GetQuery { metadata_only: true, ..GetQuery::default() },
            )
            .await
    });
    let call = api.next().await;
    assert_eq!(call.url, "/api/v1/namespaces/ns/configmaps/a");
    assert_eq!(call.accept, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    call.answer(200, &object("a", 7));
    assert_eq!(get.await.unwrap().unwrap().version, 7);

    let asker = Arc::clone(&cluster);
    let query = ListQuery { label_selector: Some("app=a".into()), limit: Some(1), ..ListQuery::default() };
    let list = tokio::spawn(async move { asker.list_live(&config_maps().resource, &query).await });
    let call = api.next().await;
    assert_eq!(call.url, "/api/v1/configmaps?limit=1&labelSelector=app%3Da");
    call.answer(200, &json!({"metadata": {"resourceVersion": "9", "continue": "n", "remainingItemCount": 4}, "items": [object("a", 7)]}));
    let page = list.await.unwrap().unwrap();
    assert_eq!((page.items.len(), page.continue_token.as_deref(), page.remaining), (1, Some("n"), Some(4)));

    let get =
        tokio::spawn(
            async move { cluster.get_live(&config_maps().resource, Some("ns"), "a", &GetQuery::default()).await },
        );
    // No answer at all: given up, not waited for without end.
    let call = api.next().await;
    assert!(matches!(get.await.unwrap(), Err(ApiError::Timeout { .. })));
    drop(call);
}
