//! The test of the image, in Pods: the program starts in it without anything else, as nobody, on a file system it cannot
//! write; it resolves a name of the cluster, and trusts exactly whom it is told to.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::kubectl::{Kubectl, text};
use crate::image::NAME;

const NAMESPACE: &str = "trial-image";

/// A Pod that ends by itself, on a busy machine.
const POD_LIMIT: Duration = Duration::from_secs(120);

/// The authority of the cluster, as each Pod is given it.
const CLUSTERS_AUTHORITY: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// What the image brings along: those the rest of the world trusts.
const WORLDS_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Tries it on a cluster whose nodes have it.
pub(super) fn run(kubectl: &Kubectl) -> anyhow::Result<()> {
    let file = kubectl.kubeconfig.with_file_name("trial-image.json");
    std::fs::write(&file, objects().to_string()).with_context(|| format!("cannot write {}", file.display()))?;
    kubectl.ask(&["apply", "--filename", &file.display().to_string()])?;

    let (phase, said) = end_of(kubectl, "trusting")?;
    ensure!(phase == "Succeeded", "`tenure status` did not reach https://kubernetes.default.svc from a Pod: {said}");
    ensure!(said.contains("node-1"), "`tenure status --leases` lists no node: {said}");
    // The same with authorities that never signed for this cluster; so it was not trust in everybody.
    let (phase, said) = end_of(kubectl, "distrusting")?;
    ensure!(phase == "Failed", "the API server was trusted without its authority: {said}");
    ensure!(said.contains("certificate"), "it failed for another reason than the certificate: {said}");
    Ok(())
}

/// How a Pod ended and what it printed.
fn end_of(kubectl: &Kubectl, pod: &str) -> anyhow::Result<(String, String)> {
    let mut phase = String::new();
    kubectl
        .until(&format!("the end of Pod {pod}"), POD_LIMIT, |kubectl| {
            phase = text(&kubectl.get(&["pod", pod, "--namespace", NAMESPACE])?, "/status/phase");
            Ok(matches!(phase.as_str(), "Succeeded" | "Failed"))
        })
        .with_context(|| kubectl.ask(&["describe", "pod", pod, "--namespace", NAMESPACE]).unwrap_or_default())?;
    Ok((phase, kubectl.ask(&["logs", pod, "--namespace", NAMESPACE])?))
}

fn objects() -> Value {
    let metadata = |name: &str| json!({"name": name, "namespace": NAMESPACE});
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    });
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("reader")});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": NAMESPACE},
        "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAMESPACE},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": NAMESPACE}],
    });
    let kubeconfigs = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("kubeconfigs"),
        "data": {
            "trusting": kubeconfig(CLUSTERS_AUTHORITY).to_string(),
            "distrusting": kubeconfig(WORLDS_AUTHORITIES).to_string(),
        },
    });
    let items = [namespace, account, role, binding, kubeconfigs, pod("trusting"), pod("distrusting")];
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// The API server by its name, and the Pod's own token.
fn kubeconfig(authority: &str) -> Value {
    let cluster = json!({"server": "https://kubernetes.default.svc", "certificate-authority": authority});
    let user = json!({"tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"});
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "pod",
        "clusters": [{"name": "pod", "cluster": cluster}],
        "users": [{"name": "pod", "user": user}],
        "contexts": [{"name": "pod", "context": {"cluster": "pod", "user": "pod"}}],
    })
}

fn pod(kubeconfig: &str) -> Value {
    let file = format!("/etc/kubeconfigs/{kubeconfig}");
    let container = json!({
        "name": "tenure", "image": NAME, "imagePullPolicy": "Never",
        "args": ["status", "--kubeconfig", file, "--leases", "--namespace", "kube-node-lease"],
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "kubeconfigs", "mountPath": "/etc/kubeconfigs", "readOnly": true}],
    });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": kubeconfig, "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never", "serviceAccountName": "reader", "enableServiceLinks": false,
            // The user is the image's own, by number.
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "kubeconfigs", "configMap": {"name": "kubeconfigs"}}],
        },
    })
}
