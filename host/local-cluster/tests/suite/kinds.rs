//! Every built-in kind: created, listed, patched, applied, watched and deleted in the same way.

use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::rig::{Events, apply, delete, get, get_as, merge, patch_as, post, put};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "example.org/c:1"}]},
            },
        },
    })
}

/// Path, object of the kind without its metadata, and a default the server fills in.
fn examples() -> Vec<(&'static str, Value, &'static str, Value)> {
    let template = json!({
        "metadata": {"labels": {"app": "a"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example.org/c:1"}]},
    });
    let running = json!({
        "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "example.org/c:1"}]},
    });
    let selector = json!({"matchLabels": {"app": "a"}});
    let workload = json!({"spec": {"selector": selector, "template": running}});
    vec![
        (
            "/apis/apps/v1/namespaces/default/deployments",
            workload.clone(),
            "/spec/strategy/type",
            json!("RollingUpdate"),
        ),
        ("/apis/apps/v1/namespaces/default/replicasets", workload.clone(), "/spec/replicas", json!(1)),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            workload.clone(),
            "/spec/podManagementPolicy",
            json!("OrderedReady"),
        ),
        (
            "/apis/apps/v1/namespaces/default/daemonsets",
            workload,
            "/spec/updateStrategy/rollingUpdate/maxUnavailable",
            json!(1),
        ),
        (
            "/apis/batch/v1/namespaces/default/jobs",
            json!({"spec": {"template": template}}),
            "/spec/backoffLimit",
            json!(6),
        ),
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}}),
            "/spec/concurrencyPolicy",
            json!("Allow"),
        ),
        (
            "/api/v1/namespaces/default/services",
            json!({"spec": {"ports": [{"port": 80}]}}),
            "/spec/ports/0/targetPort",
            json!(80),
        ),
        ("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", json!({"rules": []}), "/rules", json!([])),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", json!({}), "/rules", Value::Null),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            json!({"roleRef": {"kind": "Role", "name": "r"}}),
            "/roleRef/apiGroup",
            json!("rbac.authorization.k8s.io"),
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
            json!({"spec": {}}),
            "/status/loadBalancer",
            json!({}),
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            json!({"spec": {"minAvailable": 1}}),
            "/spec/minAvailable",
            json!(1),
        ),
        (
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}}),
            "/spec/minReplicas",
            json!(1),
        ),
        ("/api/v1/nodes", json!({}), "/metadata/name", json!("x")),
        ("/api/v1/persistentvolumes", json!({"spec": {}}), "/status/phase", json!("Pending")),
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            json!({"provisioner": "example.org/p"}),
            "/reclaimPolicy",
            json!("Delete"),
        ),
    ]
}

#[tokio::test]
async fn every_common_kind_goes_through_its_whole_life() {
    let cluster = LocalCluster::new();
    for (path, mut object, pointer, default) in examples() {
        object["metadata"] = json!({"name": "x"});
        let mut events = Events::open(&cluster, &format!("{path}?watch=true")).await;
        let (code, created) = post(&cluster, path, &object).await;
        assert_eq!((code, created.pointer(pointer)), (201, Some(&default)), "{path}: {created}");
        assert_eq!(events.next_line().await, "ADDED x", "{path}");
        let (code, patched) = merge(&cluster, &format!("{path}/x"), &json!({"metadata": {"labels": {"a": "b"}}})).await;
        assert_eq!((code, &patched["metadata"]["labels"]["a"]), (200, &json!("b")), "{path}");
        assert_eq!(patched["metadata"].get("generation"), created["metadata"].get("generation"), "{path}");
        assert_eq!(events.next_line().await, "MODIFIED x", "{path}");
        assert_eq!(get(&cluster, &format!("{path}?labelSelector=a%3Db")).await.1["items"][0]["metadata"]["name"], "x");
        let (_, table) = get_as(&cluster, path, TABLE).await;
        let cells = table["rows"][0]["cells"].as_array().unwrap();
        assert_eq!(cells.len(), table["columnDefinitions"].as_array().unwrap().len(), "{path}");
        assert!(!cells.contains(&json!("<unknown>")) || path.ends_with("nodes"), "{path}: {cells:?}");
        assert_eq!(delete(&cluster, &format!("{path}/x"), &Value::Null).await.0, 200, "{path}");
        assert_eq!(events.next_line().await, "DELETED x", "{path}");
        assert_eq!(get(&cluster, &format!("{path}/x")).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn a_spec_that_changes_counts_and_a_status_that_changes_does_not() {
    let cluster = LocalCluster::new();
    let path = format!("{DEPLOYMENTS}/d");
    let (_, created) = post(&cluster, DEPLOYMENTS, &deployment("d")).await;
    assert_eq!((&created["metadata"]["generation"], &created["status"]), (&json!(1), &json!({})));
    let (_, scaled) = merge(&cluster, &path, &json!({"spec": {"replicas": 3}, "status": {"replicas": 9}})).await;
    assert_eq!((&scaled["metadata"]["generation"], &scaled["status"]), (&json!(2), &json!({})));
    let both = json!({"spec": {"replicas": 5}, "status": {"replicas": 3, "readyReplicas": 2}});
    let (_, reported) = merge(&cluster, &format!("{path}/status"), &both).await;
    assert_eq!((&reported["metadata"]["generation"], &reported["spec"]["replicas"]), (&json!(2), &json!(3)));
    assert_eq!(reported["status"], json!({"replicas": 3, "readyReplicas": 2}));
}

#[tokio::test]
async fn a_strategic_patch_and_an_apply_merge_the_containers_of_a_template() {
    let cluster = LocalCluster::new();
    let path = format!("{DEPLOYMENTS}/d");
    post(&cluster, DEPLOYMENTS, &deployment("d")).await;
    let containers = |spec: Value| json!({"spec": {"template": {"spec": {"containers": [spec]}}}});
    let patch = containers(json!({"name": "side", "image": "example.org/s:1"}));
    let (code, patched) = patch_as(&cluster, &path, "application/strategic-merge-patch+json", &patch).await;
    let names = |object: &Value| -> Vec<String> {
        let containers = object.pointer("/spec/template/spec/containers").unwrap().as_array().unwrap();
        containers.iter().map(|container| container["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((code, names(&patched)), (200, vec!["side".to_owned(), "c".to_owned()]));
    let mut applied = containers(json!({"name": "third", "image": "example.org/t:1"}));
    applied["apiVersion"] = "apps/v1".into();
    applied["kind"] = "Deployment".into();
    applied["metadata"] = json!({"name": "d"});
    let (code, after) = apply(&cluster, &path, "me", &applied).await;
    assert_eq!((code, names(&after).len()), (200, 3), "{after}");
    let mine = after["metadata"]["managedFields"].as_array().unwrap().iter().find(|entry| entry["manager"] == "me");
    assert_eq!(
        mine.unwrap()["fieldsV1"],
        json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"third\"}": {".": {}, "f:image": {}, "f:name": {}},
        }}}}})
    );
}

#[tokio::test]
async fn types_are_held_against_the_published_ones_in_the_words_of_the_api_server() {
    let cluster = LocalCluster::new();
    let refused = async |spec: Value| {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec});
        let (code, status) = post(&cluster, DEPLOYMENTS, &object).await;
        (code, status["message"].as_str().unwrap().to_owned())
    };
    let begin = "Deployment in version \"v1\" cannot be handled as a Deployment: ";
    for (spec, why) in [
        (
            json!({"replicas": "three"}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"replicas": 1.5}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"template": {"spec": {"restartPolicy": 3}}}),
            "json: cannot unmarshal number into Go struct field PodSpec.spec.template.spec.restartPolicy of type \
             v1.RestartPolicy",
        ),
        (
            json!({"strategy": {"rollingUpdate": {"maxSurge": true}}}),
            "json: cannot unmarshal bool into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of \
             type int32",
        ),
        (json!([]), "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
    ] {
        assert_eq!(refused(spec).await, (400, format!("{begin}{why}")));
    }
    let mut strict = deployment("d");
    strict["spec"]["template"]["spec"]["containers"][0]["imag"] = "x".into();
    let (code, status) = post(&cluster, &format!("{DEPLOYMENTS}?fieldValidation=Strict"), &strict).await;
    assert_eq!(code, 400);
    let message = status["message"].as_str().unwrap();
    assert!(message.ends_with("unknown field \"spec.template.spec.containers[0].imag\""), "{message}");
}

#[tokio::test]
async fn a_service_gets_an_address_of_its_own_and_keeps_it() {
    let cluster = LocalCluster::new();
    let path = "/api/v1/namespaces/default/services";
    let service =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let (_, a) = post(&cluster, path, &service("a")).await;
    let (_, b) = post(&cluster, path, &service("b")).await;
    assert!(a["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."), "{a}");
    assert_ne!(a["spec"]["clusterIP"], b["spec"]["clusterIP"]);
    assert_ne!(a["spec"]["ports"][0]["nodePort"], b["spec"]["ports"][0]["nodePort"]);
    let (code, replaced) = put(&cluster, &format!("{path}/a"), &service("a")).await;
    assert_eq!((code, &replaced["spec"]), (200, &a["spec"]));
    assert_eq!(a["status"], json!({"loadBalancer": {}}));
}

#[tokio::test]
async fn two_versions_of_one_kind_are_served_once_and_the_other_says_where() {
    let cluster = LocalCluster::new();
    let (code, status) = get(&cluster, "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers").await;
    assert_eq!(code, 501);
    assert!(status["message"].as_str().unwrap().contains("autoscaling/v2"), "{status}");
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let body = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}});
    assert_eq!(put(&cluster, lease, &body).await.0, 201, "a kind whose strategy lets a PUT create");
    assert_eq!(put(&cluster, &format!("{DEPLOYMENTS}/d"), &deployment("d")).await.0, 404, "and one whose does not");
}

#[tokio::test]
async fn what_kubernetes_does_not_have_is_not_found_and_what_is_not_built_is_not_implemented() {
    let cluster = LocalCluster::new();
    assert_eq!(get(&cluster, "/apis/example.org/v1/namespaces/default/widgets").await.0, 404);
    let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(post(&cluster, review, &json!({})).await.0, 501);
}
