//! Pods and the templates of Pods.

use serde_json::{Value, json};

use super::default;

/// A new Pod waits to be scheduled.
pub(super) fn new_pod(value: &mut Value) {
    let class = quality_of_service(value.get("spec").unwrap_or(&Value::Null));
    value["status"] = json!({"phase": "Pending", "qosClass": class});
}

pub(super) fn pod(value: &mut Value) {
    default(value, "spec", json!({}));
    let spec = &mut value["spec"];
    default(spec, "enableServiceLinks", true.into());
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            request_what_is_limited(container);
        }
    }
    pod_spec(spec);
}

/// The `template` of a workload.
pub(super) fn template(spec: &mut Value) {
    if let Some(spec) = spec.pointer_mut("/template/spec") {
        pod_spec(spec);
    }
}

pub(super) fn items<'a>(value: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

fn pod_spec(spec: &mut Value) {
    default(spec, "restartPolicy", "Always".into());
    default(spec, "dnsPolicy", "ClusterFirst".into());
    default(spec, "schedulerName", "default-scheduler".into());
    default(spec, "terminationGracePeriodSeconds", 30.into());
    default(spec, "securityContext", json!({}));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(spec, list) {
            default_container(container);
        }
    }
    for volume in items(spec, "volumes") {
        default_volume(volume);
    }
}

fn default_container(container: &mut Value) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tagged = image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let latest = !tagged || (image.ends_with(":latest") && !image.contains('@'));
    default(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" }.into());
    default(container, "terminationMessagePath", "/dev/termination-log".into());
    default(container, "terminationMessagePolicy", "File".into());
    default(container, "resources", json!({}));
    for port in items(container, "ports") {
        default(port, "protocol", "TCP".into());
    }
    for variable in items(container, "env") {
        if let Some(reference) = variable.pointer_mut("/valueFrom/fieldRef") {
            default(reference, "apiVersion", "v1".into());
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe) else { continue };
        for (field, number) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            default(probe, field, number.into());
        }
        default_handler(probe);
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = container.pointer_mut(&format!("/lifecycle/{hook}")) {
            default_handler(hook);
        }
    }
}

fn default_handler(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet") {
        default(get, "path", "/".into());
        default(get, "scheme", "HTTP".into());
    }
    if let Some(call) = handler.get_mut("grpc") {
        default(call, "service", "".into());
    }
}

fn default_volume(volume: &mut Value) {
    const FILE_MODE: i32 = 0o644;
    if volume.as_object().is_some_and(|fields| fields.keys().all(|name| name == "name")) {
        volume["emptyDir"] = json!({});
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, "defaultMode", FILE_MODE.into());
            field_references(source);
            for part in items(source, "sources") {
                if let Some(token) = part.get_mut("serviceAccountToken") {
                    default(token, "expirationSeconds", 3600.into());
                }
                if let Some(fields) = part.get_mut("downwardAPI") {
                    field_references(fields);
                }
            }
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        default(path, "type", "".into());
    }
}

fn field_references(source: &mut Value) {
    for item in items(source, "items") {
        if let Some(reference) = item.get_mut("fieldRef") {
            default(reference, "apiVersion", "v1".into());
        }
    }
}

fn request_what_is_limited(container: &mut Value) {
    let Some(limits) = container.pointer("/resources/limits").and_then(Value::as_object).cloned() else { return };
    for (name, limit) in limits {
        let requests = &mut container["resources"]["requests"];
        if requests.get(&name).is_none() {
            requests[name] = limit;
        }
    }
}

/// BestEffort without any request or limit, Guaranteed with equal ones for cpu and memory everywhere, else Burstable.
fn quality_of_service(spec: &Value) -> &'static str {
    let containers = ["containers", "initContainers"];
    let containers =
        containers.iter().filter_map(|list| spec.get(list).and_then(Value::as_array)).flatten().collect::<Vec<_>>();
    let resource = |container: &Value, part: &str, name: &str| {
        container.get("resources").and_then(|all| all.get(part)).and_then(|part| part.get(name)).cloned()
    };
    let mut any = false;
    let mut guaranteed = true;
    for container in containers {
        for name in ["cpu", "memory"] {
            let (request, limit) = (resource(container, "requests", name), resource(container, "limits", name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
