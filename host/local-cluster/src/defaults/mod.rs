//! What the API server fills in where a client said nothing.
//!
//! Only what clients can observe (kubernetes pkg/apis/*/v1/defaults.go and the strategies). Kinds that are named nowhere below have no
//! defaults here beside the empty fields Go writes.

mod kinds;
mod pods;

use serde_json::{Value, json};

use crate::metadata;
use crate::resource::{Collection, Resource};

/// Fills in what the published defaults say: what a client that leaves it out has said all the same, and owns.
pub(crate) fn fill_declared(resource: &Resource, value: &mut Value) {
    fill(resource, value);
}

/// Fills in a new object. What only the server sets starts from its first value, whatever the client sent.
pub(crate) fn fill_new(resource: &Resource, value: &mut Value) {
    if resource.has_status() && resource.plural != "nodes" {
        value["status"] = resource.empty().get("status").cloned().unwrap_or_default();
        if value["status"].is_null()
            && let Some(object) = value.as_object_mut()
        {
            object.remove("status");
        }
    }
    if resource.generation {
        metadata::of_mut(value).insert("generation".to_owned(), 1.into());
    }
    fill(resource, value);
    match resource.collection {
        Collection::Namespaces => new_namespace(value),
        Collection::Leases => lease(value),
        Collection::Pods => pods::new_pod(value),
        _ => kinds::fill_new(resource, value),
    }
}

/// Fills in an object that replaces `old`, and counts its generation on if more than its metadata and status changed.
pub(crate) fn fill_replaced(resource: &Resource, value: &mut Value, old: &Value) {
    fill(resource, value);
    if resource.collection == Collection::Leases {
        lease(value);
    }
    if resource.generation && is_changed(resource, value, old) {
        let generation = metadata::of(old).get("generation").and_then(Value::as_i64).unwrap_or(0);
        metadata::of_mut(value).insert("generation".to_owned(), (generation + 1).into());
    }
}

fn is_changed(resource: &Resource, value: &Value, old: &Value) -> bool {
    let status = resource.has_status();
    let counted = |name: &String| name != "metadata" && !(status && name == "status");
    let fields = |value: &Value| -> Vec<(String, Value)> {
        let fields = value.as_object().into_iter().flatten().filter(|(name, _)| counted(name));
        fields.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    fields(value) != fields(old)
}

fn fill(resource: &Resource, value: &mut Value) {
    match resource.collection {
        Collection::Namespaces => namespace(value),
        Collection::Secrets => secret(value),
        Collection::Pods => pods::pod(value),
        Collection::CustomResourceDefinitions => crate::custom::fill(value),
        _ => kinds::fill(resource, value),
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

/// Fields of coordinated leader election are dropped, as by a server on which its feature gate is off.
fn lease(value: &mut Value) {
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("strategy");
        spec.remove("preferredHolder");
    }
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
