//! What the API server fills in where a client said nothing.
//!
//! Only what clients can observe of the kinds served here (kubernetes pkg/apis/*/v1/defaults.go and the strategies).

use serde_json::{Value, json};

use crate::metadata;
use crate::resource::Collection;

/// Fills in a new object. What only the server sets starts from its first value, whatever the client sent.
pub(crate) fn fill_new(collection: Collection, value: &mut Value) {
    match collection {
        Collection::Namespaces => new_namespace(value),
        Collection::Pods => new_pod(value),
        _ => {}
    }
    fill(collection, value);
}

/// Fills in an object that replaces `old`.
pub(crate) fn fill_replaced(collection: Collection, value: &mut Value, old: &Value) {
    fill(collection, value);
    if collection == Collection::Pods && value.get("spec") != old.get("spec") {
        let generation = metadata::of(old).get("generation").and_then(Value::as_i64).unwrap_or(0);
        metadata::of_mut(value).insert("generation".to_owned(), (generation + 1).into());
    }
}

fn fill(collection: Collection, value: &mut Value) {
    match collection {
        Collection::Namespaces => namespace(value),
        Collection::Secrets => secret(value),
        Collection::Pods => pod(value),
        Collection::ConfigMaps | Collection::ServiceAccounts | Collection::Events | Collection::Leases => {}
    }
}

fn absent(value: &Value, field: &str) -> bool {
    value.get(field).is_none_or(Value::is_null)
}

fn default(value: &mut Value, field: &str, filling: Value) {
    if absent(value, field) {
        value[field] = filling;
    }
}

/// The finalizer in a namespace's spec that stands for its content.
const CONTENT_FINALIZER: &str = "kubernetes";

fn new_namespace(value: &mut Value) {
    value["status"] = json!({"phase": "Active"});
    match value.pointer_mut("/spec/finalizers") {
        Some(Value::Array(finalizers)) if finalizers.iter().any(|present| present == CONTENT_FINALIZER) => {}
        Some(Value::Array(finalizers)) => finalizers.push(CONTENT_FINALIZER.into()),
        _ => value["spec"] = json!({"finalizers": [CONTENT_FINALIZER]}),
    }
}

fn namespace(value: &mut Value) {
    let name = metadata::of(value).name().to_owned();
    let metadata = metadata::of_mut(value);
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    labels["kubernetes.io/metadata.name"] = name.into();
}

/// `stringData` is written, never read: it lands in `data`.
fn secret(value: &mut Value) {
    use base64::Engine;
    let Some(object) = value.as_object_mut() else { return };
    if let Some(Value::Object(texts)) = object.remove("stringData") {
        let data = object.entry("data").or_insert_with(|| json!({}));
        for (key, text) in texts {
            let text = text.as_str().unwrap_or_default();
            data[key] = base64::engine::general_purpose::STANDARD.encode(text).into();
        }
    }
    default(value, "type", "Opaque".into());
}

fn new_pod(value: &mut Value) {
    let class = quality_of_service(value.get("spec").unwrap_or(&Value::Null));
    value["status"] = json!({"phase": "Pending", "qosClass": class});
    metadata::of_mut(value).insert("generation".to_owned(), 1.into());
}

fn pod(value: &mut Value) {
    default(value, "spec", json!({}));
    let spec = &mut value["spec"];
    default(spec, "restartPolicy", "Always".into());
    default(spec, "dnsPolicy", "ClusterFirst".into());
    default(spec, "schedulerName", "default-scheduler".into());
    default(spec, "terminationGracePeriodSeconds", 30.into());
    default(spec, "securityContext", json!({}));
    default(spec, "enableServiceLinks", true.into());
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            default_container(container);
        }
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
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        default(port, "protocol", "TCP".into());
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
