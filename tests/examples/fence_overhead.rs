//! What the object fence costs a write at the API server: merge patches of one ConfigMap on a real one, one after the other, without
//! the policy, with it where the object has no token, and where it has one that each patch carries. Prints milliseconds.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::expect_used, reason = "without an API server there is nothing to measure")]

use std::time::Instant;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tenure_tests::{RealApi, until};

const FENCE: &str = include_str!("../../deploy/kustomize/components/object-fence/object-fence.yaml");
const TOKEN: &str = "fence.tenure.dev/measured";
/// Writes of each kind, after a tenth as many to warm up.
const WRITES: usize = 2000;

#[tokio::main]
async fn main() {
    let api = RealApi::own(|builder| builder).await.expect("kube-apiserver; `cargo xtask cluster build` makes it");
    let client = api.client().await;
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    for name in ["plain", "fenced", "canary"] {
        let token = if name == "plain" { json!({}) } else { json!({TOKEN: "5"}) };
        let object = json!({"metadata": {"name": name, "annotations": token}});
        let object: ConfigMap = serde_json::from_value(object).expect("a ConfigMap");
        config_maps.create(&PostParams::default(), &object).await.expect("created");
    }
    print("no policy", &measure(&config_maps, "plain", json!({})).await);
    print("no policy, again", &measure(&config_maps, "plain", json!({})).await);

    let (policy, binding) = FENCE.split_once("\n---\n").expect("two documents");
    let policy: ValidatingAdmissionPolicy = serde_saphyr::from_str(policy).expect("a policy");
    let binding: ValidatingAdmissionPolicyBinding = serde_saphyr::from_str(binding).expect("a binding");
    Api::all(client.clone()).create(&PostParams::default(), &policy).await.expect("created");
    Api::all(client).create(&PostParams::default(), &binding).await.expect("created");
    let smaller = Patch::Merge(json!({"metadata": {"annotations": {TOKEN: "1"}}}));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    until("the fence to stand", || async { config_maps.patch("canary", &dry, &smaller).await.is_err() }).await;
    print("policy, object without a token", &measure(&config_maps, "plain", json!({})).await);
    print("policy, object with a token", &measure(&config_maps, "fenced", json!({TOKEN: "5"})).await);
}

/// Milliseconds of each write, sorted.
async fn measure(config_maps: &Api<ConfigMap>, name: &str, annotations: Value) -> Vec<f64> {
    let mut took = Vec::with_capacity(WRITES);
    for number in 0..WRITES + WRITES / 10 {
        let change = json!({"metadata": {"annotations": annotations}, "data": {"number": number.to_string()}});
        let started = Instant::now();
        config_maps.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.expect("written");
        if number >= WRITES / 10 {
            took.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    took.sort_by(f64::total_cmp);
    took
}

fn print(what: &str, took: &[f64]) {
    println!("{what}: median {:.3} ms, p99 {:.3} ms", took[took.len() / 2], took[took.len() * 99 / 100]);
}
