//! Components of the kustomize base that the API server itself takes part in.

use std::path::PathBuf;

use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::Value;
use tenure_tests::{LEASE, Options, RealApi, World, until};

const FLOW_SCHEMA: &str = include_str!("../../../deploy/kustomize/components/flow-schema/flow-schema.yaml");
const POD_MONITOR: &str = include_str!("../../../deploy/kustomize/components/monitoring/pod-monitor.yaml");
const ALERTS: &str = include_str!("../../../deploy/kustomize/components/monitoring/alerts.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_the_lock_have_the_priority_of_leader_election() {
    let Some(api) = RealApi::shared().await else { return };
    let world = World::on(&api, Options::default()).await;
    let namespace = &world.names.system;
    let schema = FLOW_SCHEMA.replace("tenure-leases", namespace).replace("tenure-system", namespace);
    let schema: FlowSchema = serde_saphyr::from_str(&schema).expect("a FlowSchema");
    let schemas: Api<FlowSchema> = Api::all(world.client());
    let uid = schemas.create(&PostParams::default(), &schema).await.expect("created").metadata.uid.expect("a uid");

    let client = world.client_of("replica-0").await;
    let flow_of = async |path: &str| {
        let request = http::Request::get(path).body(kube::client::Body::empty()).expect("a request");
        let answer = client.send(request).await.expect("an answer");
        answer.headers().get("x-kubernetes-pf-flowschema-uid").and_then(|uid| uid.to_str().ok()).map(str::to_owned)
    };
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}");
    until("the schema to be in force", || async { flow_of(&lease).await.as_deref() == Some(uid.as_str()) }).await;
    let other = flow_of(&format!("/api/v1/namespaces/{}/configmaps", world.names.plugins)).await;
    assert!(other.is_some_and(|other| other != uid), "only the lock has it");
}

/// The folder of the Prometheus operator's kinds; a loud word where there is none, which only a person's machine may do.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn kinds_of_the_prometheus_operator() -> Option<PathBuf> {
    let missing = "TENURE_MONITORING does not name the Prometheus operator's CustomResourceDefinitions; `cargo xtask test` gets them";
    let folder = std::env::var_os("TENURE_MONITORING").map(PathBuf::from);
    if folder.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
        eprintln!("SKIPPED: {missing}");
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_the_prometheus_operator_is_as_its_own_kinds_have_it() {
    let Some(api) = RealApi::shared().await else { return };
    let Some(folder) = kinds_of_the_prometheus_operator() else { return };
    let world = World::on(&api, Options::default()).await;
    let (client, namespace) = (world.client(), &world.names.system);
    for (plural, text) in [("podmonitors", POD_MONITOR), ("prometheusrules", ALERTS)] {
        let kind = std::fs::read_to_string(folder.join(format!("monitoring.coreos.com_{plural}.yaml")));
        let kind: Value = serde_saphyr::from_str(&kind.expect("the kind is there")).expect("a definition");
        let name = kind["metadata"]["name"].as_str().expect("a name").to_owned();
        let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
        let as_test = PatchParams::apply("test").force();
        kinds.patch(&name, &as_test, &Patch::Apply(&kind)).await.expect("the kind is applied");

        let path = format!("/apis/monitoring.coreos.com/v1/namespaces/{namespace}/{plural}?fieldValidation=Strict");
        let mut object: Value = serde_saphyr::from_str(text).expect("an object");
        object["metadata"]["namespace"] = namespace.as_str().into();
        let post = async |object: &Value| {
            let body = serde_json::to_vec(object).expect("JSON");
            let request = http::Request::post(&path).header("content-type", "application/json").body(body);
            client.request::<Value>(request.expect("a request")).await
        };
        let mut mistyped = object.clone();
        mistyped["spec"]["mistyped"] = true.into();
        until(&format!("{plural} to be served"), || async {
            let refused = post(&mistyped).await.expect_err("a field that the kind does not know is refused");
            refused.to_string().contains("unknown field \"spec.mistyped\"")
        })
        .await;
        let created = post(&object).await.expect("what is shipped is taken");
        assert_eq!(created["spec"], object["spec"], "the kind has pruned something");
    }
}
