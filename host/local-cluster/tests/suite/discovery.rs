//! What the cluster says about itself, and what it says about what it is not.

use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::rig::{CONFIG_MAPS, get, get_as, post};

#[tokio::test]
async fn plain_and_aggregated_discovery_list_the_same_resources() {
    let cluster = LocalCluster::new();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (_, groups) = get(&cluster, "/apis").await;
    let (_, aggregated) = get_as(&cluster, "/apis", accept).await;
    assert_eq!(aggregated["kind"], "APIGroupDiscoveryList");
    for (group, together) in groups["groups"].as_array().unwrap().iter().zip(aggregated["items"].as_array().unwrap()) {
        assert_eq!(group["name"], together["metadata"]["name"]);
        let version = group["preferredVersion"]["groupVersion"].as_str().unwrap();
        let (_, apart) = get(&cluster, &format!("/apis/{version}")).await;
        let names = |list: &Value, field: &str| -> Vec<Value> {
            let entries = list.as_array().unwrap().iter().map(|entry| entry[field].clone());
            entries.filter(|name| !name.as_str().unwrap().contains('/')).collect()
        };
        assert_eq!(names(&apart["resources"], "name"), names(&together["versions"][0]["resources"], "resource"));
    }
}

#[tokio::test]
async fn every_listed_resource_is_served() {
    let cluster = LocalCluster::new();
    for version in ["/api/v1", "/apis/coordination.k8s.io/v1", "/apis/events.k8s.io/v1"] {
        let (_, list) = get(&cluster, version).await;
        for resource in list["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            if !name.contains('/') {
                assert_eq!(get(&cluster, &format!("{version}/{name}")).await.0, 200, "{version}/{name}");
            }
        }
    }
}

#[tokio::test]
async fn kubectl_finds_that_fields_are_validated_here() {
    let cluster = LocalCluster::new();
    let (_, index) = get(&cluster, "/openapi/v3").await;
    let address = index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap();
    let (_, document) = get(&cluster, address).await;
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "ConfigMap");
    assert!(patch["parameters"].as_array().unwrap().iter().any(|parameter| parameter["name"] == "fieldValidation"));
}

#[tokio::test]
async fn what_is_not_implemented_says_so_with_a_status() {
    let cluster = LocalCluster::new();
    for path in [
        "/apis/apps/v1/namespaces/default/deployments",
        "/api/v1/nodes",
        "/api/v1/namespaces/default/pods/a/log",
        "/openapi/v2",
    ] {
        let (code, status) = get(&cluster, path).await;
        assert_eq!((code, &status["kind"]), (501, &json!("Status")), "{path}");
        assert!(status["message"].as_str().unwrap().starts_with("the local cluster does not implement "), "{path}");
    }
    let (code, _) = post(&cluster, "/api/v1/namespaces/default/pods/a/eviction", &json!({})).await;
    assert_eq!(code, 501);
    assert_eq!(get(&cluster, "/nonsense").await.0, 404);
    assert_eq!(post(&cluster, "/api/v1/configmaps", &json!({})).await.0, 405);
    assert_eq!(post(&cluster, &format!("{CONFIG_MAPS}/a"), &json!({})).await.0, 405);
}

#[tokio::test]
async fn probes_and_version_answer() {
    let cluster = LocalCluster::new();
    for probe in ["/healthz", "/readyz", "/livez"] {
        assert_eq!(get(&cluster, probe).await, (200, json!("ok")));
    }
    assert_eq!(get(&cluster, "/version").await.1["minor"], "36");
}
