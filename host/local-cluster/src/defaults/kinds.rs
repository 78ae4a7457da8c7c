//! Kinds beside Pods: workloads, services, storage, policy. Each function is the defaulting of one kind or of what several share.

use serde_json::{Value, json};

use super::pods::{items, template};
use super::{absent, default};
use crate::metadata;
use crate::resource::Resource;

pub(super) fn fill(resource: &Resource, value: &mut Value) {
    match (resource.group, resource.plural) {
        ("", "services") => service(value),
        ("", "replicationcontrollers") => replication_controller(value),
        ("", "podtemplates") => template(value),
        ("", "endpoints") => items(value, "subsets").for_each(protocols),
        ("", "persistentvolumes") => {
            default(&mut value["spec"], "volumeMode", "Filesystem".into());
            default(&mut value["spec"], "persistentVolumeReclaimPolicy", "Retain".into());
        }
        ("", "persistentvolumeclaims") => default(&mut value["spec"], "volumeMode", "Filesystem".into()),
        ("apps", plural) => workload(plural, value),
        ("batch", "jobs") => job(&mut value["spec"]),
        ("batch", "cronjobs") => cron_job(&mut value["spec"]),
        ("autoscaling", _) => autoscaler(&mut value["spec"]),
        ("networking.k8s.io", "networkpolicies") => network_policy(&mut value["spec"]),
        ("discovery.k8s.io", "endpointslices") => {
            for port in items(value, "ports") {
                default(port, "name", "".into());
                default(port, "protocol", "TCP".into());
            }
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => role_binding(value),
        ("storage.k8s.io", "storageclasses") => {
            default(value, "reclaimPolicy", "Delete".into());
            default(value, "volumeBindingMode", "Immediate".into());
        }
        ("scheduling.k8s.io", "priorityclasses") => default(value, "preemptionPolicy", "PreemptLowerPriority".into()),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations" | "validatingwebhookconfigurations") => {
            webhooks(resource, value);
        }
        _ => {}
    }
}

pub(super) fn fill_new(resource: &Resource, value: &mut Value) {
    match (resource.group, resource.plural) {
        ("", "persistentvolumes" | "persistentvolumeclaims") => value["status"] = json!({"phase": "Pending"}),
        ("apps", "daemonsets") => {
            let annotations = metadata::of_mut(value).entry("annotations").or_insert_with(|| json!({}));
            annotations["deprecated.daemonset.template.generation"] = "1".into();
        }
        ("batch", "jobs") => select_own_pods(value),
        _ => {}
    }
}

fn protocols(value: &mut Value) {
    for port in items(value, "ports") {
        default(port, "protocol", "TCP".into());
    }
}

fn service(value: &mut Value) {
    let spec = &mut value["spec"];
    default(spec, "type", "ClusterIP".into());
    default(spec, "sessionAffinity", "None".into());
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if spec["sessionAffinity"] == "ClientIP" && spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds").is_none()
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10_800}});
    }
    protocols(spec);
    for port in items(spec, "ports") {
        if absent(port, "targetPort") || port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = port["port"].clone();
        }
    }
    if kind == "ExternalName" {
        return;
    }
    default(spec, "internalTrafficPolicy", "Cluster".into());
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", "SingleStack".into());
    if kind == "NodePort" || kind == "LoadBalancer" {
        default(spec, "externalTrafficPolicy", "Cluster".into());
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true.into());
    }
}

fn replication_controller(value: &mut Value) {
    let spec = &mut value["spec"];
    default(spec, "replicas", 1.into());
    template(spec);
    if let Some(labels) = spec.pointer("/template/metadata/labels").cloned() {
        default(spec, "selector", labels.clone());
        let metadata = metadata::of_mut(value);
        metadata.entry("labels").or_insert(labels);
    }
}

fn workload(plural: &str, value: &mut Value) {
    let spec = &mut value["spec"];
    match plural {
        "deployments" => {
            default(spec, "replicas", 1.into());
            default(spec, "revisionHistoryLimit", 10.into());
            default(spec, "progressDeadlineSeconds", 600.into());
            let strategy = &mut spec["strategy"];
            default(strategy, "type", "RollingUpdate".into());
            rolling_update(strategy, &[("maxUnavailable", "25%".into()), ("maxSurge", "25%".into())]);
        }
        "replicasets" => default(spec, "replicas", 1.into()),
        "daemonsets" => {
            default(spec, "revisionHistoryLimit", 10.into());
            let strategy = &mut spec["updateStrategy"];
            default(strategy, "type", "RollingUpdate".into());
            rolling_update(strategy, &[("maxUnavailable", 1.into()), ("maxSurge", 0.into())]);
        }
        "statefulsets" => stateful_set(spec),
        _ => return,
    }
    template(spec);
}

fn rolling_update(strategy: &mut Value, bounds: &[(&str, Value)]) {
    if strategy["type"] != "RollingUpdate" {
        return;
    }
    default(strategy, "rollingUpdate", json!({}));
    for (field, bound) in bounds {
        default(&mut strategy["rollingUpdate"], field, bound.clone());
    }
}

fn stateful_set(spec: &mut Value) {
    default(spec, "replicas", 1.into());
    default(spec, "revisionHistoryLimit", 10.into());
    default(spec, "podManagementPolicy", "OrderedReady".into());
    let strategy = &mut spec["updateStrategy"];
    default(strategy, "type", "RollingUpdate".into());
    rolling_update(strategy, &[("partition", 0.into())]);
    default(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    let policy = &mut spec["persistentVolumeClaimRetentionPolicy"];
    default(policy, "whenDeleted", "Retain".into());
    default(policy, "whenScaled", "Retain".into());
    for claim in items(spec, "volumeClaimTemplates") {
        claim["apiVersion"] = "v1".into();
        claim["kind"] = "PersistentVolumeClaim".into();
        default(&mut claim["spec"], "volumeMode", "Filesystem".into());
        claim["status"] = json!({"phase": "Pending"});
    }
}

fn job(spec: &mut Value) {
    if absent(spec, "completions") && absent(spec, "parallelism") {
        spec["completions"] = 1.into();
    }
    default(spec, "parallelism", 1.into());
    default(spec, "backoffLimit", 6.into());
    default(spec, "completionMode", "NonIndexed".into());
    default(spec, "suspend", false.into());
    default(spec, "podReplacementPolicy", "TerminatingOrFailed".into());
    if spec.get("podFailurePolicy").is_some() {
        spec["podReplacementPolicy"] = "Failed".into();
    }
    template(spec);
}

/// A Job's Pods are told by its uid, unless their selector is written by hand (`generateSelector`).
fn select_own_pods(value: &mut Value) {
    if value.pointer("/spec/manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    let (name, uid) = (metadata::of(value).name().to_owned(), metadata::of(value).uid().to_owned());
    let spec = &mut value["spec"];
    let labels = &mut spec["template"]["metadata"]["labels"];
    for (label, text) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        labels[label] = text.as_str().into();
    }
    spec["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] = uid.into();
}

fn cron_job(spec: &mut Value) {
    default(spec, "concurrencyPolicy", "Allow".into());
    default(spec, "suspend", false.into());
    default(spec, "successfulJobsHistoryLimit", 3.into());
    default(spec, "failedJobsHistoryLimit", 1.into());
    if let Some(job) = spec.pointer_mut("/jobTemplate/spec") {
        template(job);
    }
}

fn autoscaler(spec: &mut Value) {
    default(spec, "minReplicas", 1.into());
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec["metrics"] = json!([{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
        }]);
    }
}

fn network_policy(spec: &mut Value) {
    for direction in ["ingress", "egress"] {
        items(spec, direction).for_each(protocols);
    }
    if absent(spec, "policyTypes") {
        let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
        spec["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}

fn role_binding(value: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    if absent(&value["roleRef"], "apiGroup") || value["roleRef"]["apiGroup"] == "" {
        value["roleRef"]["apiGroup"] = GROUP.into();
    }
    for subject in items(value, "subjects") {
        if subject["kind"] == "User" || subject["kind"] == "Group" {
            default(subject, "apiGroup", GROUP.into());
        }
    }
}

fn webhooks(resource: &Resource, value: &mut Value) {
    for webhook in items(value, "webhooks") {
        default(webhook, "failurePolicy", "Fail".into());
        default(webhook, "matchPolicy", "Equivalent".into());
        default(webhook, "namespaceSelector", json!({}));
        default(webhook, "objectSelector", json!({}));
        default(webhook, "timeoutSeconds", 10.into());
        if resource.plural.starts_with("mutating") {
            default(webhook, "reinvocationPolicy", "Never".into());
        }
        for rule in items(webhook, "rules") {
            default(rule, "scope", "*".into());
        }
        if let Some(service) = webhook.pointer_mut("/clientConfig/service") {
            default(service, "port", 443.into());
        }
    }
}
