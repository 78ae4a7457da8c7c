//! Components of the kustomize base that the API server itself takes part in.

use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use kube::api::{Api, PostParams};
use tenure_tests::{LEASE, Options, RealApi, World, until};

const FLOW_SCHEMA: &str = include_str!("../../../deploy/kustomize/components/flow-schema/flow-schema.yaml");

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
