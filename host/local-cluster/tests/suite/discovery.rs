//! What the cluster says about itself, and what it says about what it is not.

use http::Method;
use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::rig::{CONFIG_MAPS, get, get_as, post, read, request, send};

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
    let (_, groups) = get(&cluster, "/apis").await;
    let versions = groups["groups"].as_array().unwrap().iter().flat_map(|group| group["versions"].as_array().unwrap());
    let versions = versions.map(|version| format!("/apis/{}", version["groupVersion"].as_str().unwrap()));
    for version in versions.chain(["/api/v1".to_owned()]) {
        let (_, list) = get(&cluster, &version).await;
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
async fn openapi_v2_claims_no_paths_and_no_definitions_in_either_form() {
    let cluster = LocalCluster::new();
    let (code, document) = get(&cluster, "/openapi/v2").await;
    assert_eq!((code, &document["swagger"]), (200, &json!("2.0")));
    assert_eq!((&document["paths"], &document["definitions"]), (&json!({}), &json!({})));
    assert!(document["info"]["description"].as_str().unwrap().contains("/openapi/v3"));
    for asked in ["v2@v1.0", "v2.v1.0"] {
        let mut request = request(Method::GET, "/openapi/v2", "", &Value::Null);
        let accept = format!("application/com.github.proto-openapi.spec.{asked}+protobuf");
        request.headers_mut().insert("accept", accept.parse().unwrap());
        let response = send(&cluster, request).await;
        assert_eq!(response.headers()["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
        let (code, bytes) = read(response).await;
        assert_eq!(code, 200);
        assert!(bytes.as_str().unwrap().starts_with("\n\u{3}2.0\u{12}"), "field 1: swagger, then field 2: info");
    }
    assert_eq!(get_as(&cluster, "/openapi/v2", "application/vnd.kubernetes.protobuf").await.0, 406);
}

#[tokio::test]
async fn what_is_not_implemented_says_so_with_a_status() {
    let cluster = LocalCluster::new();
    for path in [
        "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
        "/api/v1/componentstatuses",
        "/api/v1/namespaces/default/pods/a/log",
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

#[tokio::test]
async fn a_definition_changes_discovery_and_openapi_at_once() {
    let cluster = LocalCluster::new();
    let addresses = async |cluster: &LocalCluster| get(cluster, "/openapi/v3").await.1["paths"].clone();
    assert!(addresses(&cluster).await.get("apis/example.org/v1").is_none());
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut definition = crate::crds::definition();
    post(&cluster, definitions, &definition).await;
    let (_, list) = get(&cluster, "/apis/example.org/v1").await;
    let names: Vec<&str> =
        list["resources"].as_array().unwrap().iter().map(|resource| resource["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    let before = addresses(&cluster).await["apis/example.org/v1"]["serverRelativeURL"].clone();
    let (_, document) = get(&cluster, before.as_str().unwrap()).await;
    let schema = &document["components"]["schemas"]["org.example.v1.Widget"];
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    assert_eq!(schema["properties"]["spec"]["properties"]["size"]["maximum"], 10);
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["more"] =
        json!({"type": "string"});
    let changed = json!({"spec": {"versions": definition["spec"]["versions"]}});
    let (code, _) = crate::rig::merge(&cluster, &format!("{definitions}/widgets.example.org"), &changed).await;
    assert_eq!(code, 200);
    assert_ne!(addresses(&cluster).await["apis/example.org/v1"]["serverRelativeURL"], before);
}

#[tokio::test]
async fn openapi_has_the_schemas_of_built_in_kinds_without_descriptions() {
    let cluster = LocalCluster::new();
    let (_, document) = get(&cluster, "/openapi/v3/apis/apps/v1").await;
    let schemas = &document["components"]["schemas"];
    let replicas = &schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["replicas"];
    assert_eq!(replicas, &json!({"type": "integer", "format": "int32"}));
    assert!(schemas["io.k8s.api.core.v1.PodSpec"].is_object(), "what a kind refers to is in the same document");
    assert!(document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["patch"].is_object());
}
