//! Which objects are valid: names, labels, keys, and what must not change (kubernetes `pkg/apis/*/validation`).
//!
//! Checks what the kinds served here can get wrong in ways clients meet; a Pod's spec is held to its types and its containers'
//! names, not to every rule of its fields.

mod events;

use base64::Engine;
use serde_json::{Map, Value};

use crate::metadata;
use crate::resource::{Collection, Resource, View};
use crate::status::FieldError;
use crate::syntax;

/// Total size of an object's annotations, keys and values (`TotalAnnotationSizeLimitB`).
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Size of a ConfigMap's or Secret's data (`MaxSecretSize`).
const DATA_BYTES_MAX: usize = 1024 * 1024;

const IMMUTABLE: &str = "field is immutable";
const IMMUTABLE_WHEN_SET: &str = "field is immutable when `immutable` is set";

/// What is wrong with a new object; empty if nothing is.
pub(crate) fn of_new(resource: &Resource, value: &Value) -> Vec<FieldError> {
    let mut errors = of_metadata(resource, value);
    errors.extend(of_content(resource.collection, value));
    if resource.collection == Collection::Events {
        errors.extend(events::of_new(resource, value));
    }
    errors
}

/// What is wrong with `next` in the place of `old`; empty if nothing is.
pub(crate) fn of_update(resource: &Resource, next: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = of_metadata(resource, next);
    errors.extend(of_metadata_change(next, old));
    errors.extend(of_content_change(resource.collection, next, old));
    errors.extend(of_content(resource.collection, next));
    if resource.collection == Collection::Events {
        errors.extend(events::of_update(resource, next, old));
    }
    errors
}

fn of_metadata(resource: &Resource, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let read = metadata::of(value);
    let name_rule = match resource.collection {
        Collection::Namespaces => syntax::dns_label,
        // Old clients name events as they like; the newer group holds them to more.
        Collection::Events if resource.view == View::Stored => syntax::path_segment,
        _ => syntax::dns_subdomain,
    };
    let generate_name = read.text("generateName");
    if !generate_name.is_empty() {
        // A base may end in a dash: characters follow.
        let example = format!("{}a", generate_name.trim_end_matches('-'));
        let complaints = name_rule(&example);
        errors
            .extend(complaints.iter().map(|why| FieldError::invalid_text("metadata.generateName", generate_name, why)));
    }
    if read.name().is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        let complaints = name_rule(read.name());
        errors.extend(complaints.iter().map(|why| FieldError::invalid_text("metadata.name", read.name(), why)));
    }
    for (key, value) in map(read.get("labels")) {
        let value = value.as_str().unwrap_or_default();
        let keys = syntax::qualified_name(key);
        errors.extend(keys.iter().map(|why| FieldError::invalid_text("metadata.labels", key, why)));
        let values = syntax::label_value(value);
        errors.extend(values.iter().map(|why| FieldError::invalid_text("metadata.labels", value, why)));
    }
    let mut annotation_bytes = 0;
    for (key, value) in map(read.get("annotations")) {
        annotation_bytes += key.len() + value.as_str().map_or(0, str::len);
        let keys = syntax::qualified_name(&key.to_lowercase());
        errors.extend(keys.iter().map(|why| FieldError::invalid_text("metadata.annotations", key, why)));
    }
    if annotation_bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_BYTES_MAX));
    }
    for finalizer in read.finalizers() {
        let complaints = syntax::qualified_name(finalizer);
        errors.extend(complaints.iter().map(|why| FieldError::invalid_text("metadata.finalizers", finalizer, why)));
        let standard = ["orphan", "foregroundDeletion", "kubernetes"].contains(&finalizer);
        if complaints.is_empty() && !finalizer.contains('/') && !standard {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid_text("metadata.finalizers", finalizer, why));
        }
    }
    errors.extend(of_owners(read.get("ownerReferences")));
    errors
}

fn of_owners(owners: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let owners = owners.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (index, owner) in owners.iter().enumerate() {
        for (field, what) in [("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")] {
            if owner.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                let field = format!("metadata.ownerReferences[{index}].{field}");
                errors.push(FieldError::invalid_text(field, "", &format!("{what} must not be empty")));
            }
        }
    }
    errors
}

fn of_metadata_change(next: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (next, old) = (metadata::of(next), metadata::of(old));
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if next.get(field) != old.get(field) {
            let shown = next.get(field).map_or("null".to_owned(), Value::to_string);
            errors.push(FieldError::invalid(format!("metadata.{field}"), &shown, IMMUTABLE));
        }
    }
    if old.is_deleting() {
        let known = old.finalizers();
        let added: Vec<&str> = next.finalizers().into_iter().filter(|finalizer| !known.contains(finalizer)).collect();
        if !added.is_empty() {
            let added: Vec<String> = added.iter().map(|finalizer| format!("{finalizer:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            errors.push(FieldError::forbidden("metadata.finalizers", &why));
        }
    }
    errors
}

fn map(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn of_content(collection: Collection, value: &Value) -> Vec<FieldError> {
    match collection {
        Collection::ConfigMaps => of_config_map(value),
        Collection::Secrets => of_secret(value),
        Collection::Leases => of_lease(value),
        Collection::Pods => of_pod(value),
        Collection::Events | Collection::Namespaces | Collection::ServiceAccounts => Vec::new(),
    }
}

fn bytes_of_base64(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    base64::engine::general_purpose::STANDARD.decode(text).map_or(text.len(), |bytes| bytes.len())
}

fn of_config_map(value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut bytes = 0;
    for (key, text) in map(value.get("data")) {
        let complaints = syntax::config_key(key);
        errors.extend(complaints.iter().map(|why| FieldError::invalid_text(format!("data[{key}]"), key, why)));
        if value.get("binaryData").is_some_and(|binary| binary.get(key).is_some()) {
            let why = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid_text(format!("data[{key}]"), key, why));
        }
        bytes += text.as_str().map_or(0, str::len);
    }
    for (key, binary) in map(value.get("binaryData")) {
        let complaints = syntax::config_key(key);
        errors.extend(complaints.iter().map(|why| FieldError::invalid_text(format!("binaryData[{key}]"), key, why)));
        bytes += bytes_of_base64(binary);
    }
    if bytes > DATA_BYTES_MAX {
        // An empty field: the sum has no field of its own.
        errors.push(FieldError::too_long("", DATA_BYTES_MAX));
    }
    errors
}

fn of_secret(value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut bytes = 0;
    for (key, binary) in map(value.get("data")) {
        let complaints = syntax::config_key(key);
        errors.extend(complaints.iter().map(|why| FieldError::invalid_text(format!("data[{key}]"), key, why)));
        bytes += bytes_of_base64(binary);
    }
    if bytes > DATA_BYTES_MAX {
        errors.push(FieldError::too_long("data", DATA_BYTES_MAX));
    }
    errors
}

fn of_lease(value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let number = |field: &str| value.pointer(&format!("/spec/{field}")).and_then(Value::as_i64);
    if let Some(seconds) = number("leaseDurationSeconds")
        && seconds <= 0
    {
        let why = "must be greater than 0";
        errors.push(FieldError::invalid("spec.leaseDurationSeconds", &seconds.to_string(), why));
    }
    if let Some(transitions) = number("leaseTransitions")
        && transitions < 0
    {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.leaseTransitions", &transitions.to_string(), why));
    }
    errors
}

fn of_pod(value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let containers = value.pointer("/spec/containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        errors.push(FieldError::required("spec.containers", ""));
    }
    let mut names = std::collections::BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = format!("spec.containers[{index}]");
        let text = |field: &str| container.get(field).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            let complaints = syntax::dns_label(name);
            errors.extend(complaints.iter().map(|why| FieldError::invalid_text(format!("{path}.name"), name, why)));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &format!("{name:?}")));
            }
        }
        if text("image").is_empty() {
            errors.push(FieldError::required(format!("{path}.image"), ""));
        }
    }
    let policy = value.pointer("/spec/restartPolicy").and_then(Value::as_str).unwrap_or_default();
    if !["Always", "OnFailure", "Never"].contains(&policy) {
        errors.push(FieldError::not_supported("spec.restartPolicy", policy, &["Always", "Never", "OnFailure"]));
    }
    errors
}

fn of_content_change(collection: Collection, next: &Value, old: &Value) -> Vec<FieldError> {
    match collection {
        Collection::ConfigMaps | Collection::Secrets => of_immutable_data(collection, next, old),
        Collection::Pods => of_pod_change(next, old),
        _ => Vec::new(),
    }
}

fn of_immutable_data(collection: Collection, next: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if collection == Collection::Secrets && next.get("type") != old.get("type") {
        let shown = next.get("type").map_or("\"\"".to_owned(), Value::to_string);
        errors.push(FieldError::invalid("type", &shown, IMMUTABLE));
    }
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return errors;
    }
    if next.get("immutable") != Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden("immutable", IMMUTABLE_WHEN_SET));
    }
    for field in ["data", "binaryData"] {
        if next.get(field) != old.get(field) {
            errors.push(FieldError::forbidden(field, IMMUTABLE_WHEN_SET));
        }
    }
    errors
}

/// Of a Pod's spec only a few fields may change once it exists.
fn of_pod_change(next: &Value, old: &Value) -> Vec<FieldError> {
    let frozen = |pod: &Value| {
        let mut spec = pod.get("spec").cloned().unwrap_or_default();
        for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"] {
            if let Some(spec) = spec.as_object_mut() {
                spec.remove(field);
            }
        }
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    container.remove("image");
                    container.remove("imagePullPolicy");
                }
            }
        }
        spec
    };
    if frozen(next) == frozen(old) {
        return Vec::new();
    }
    let why = "pod updates may not change fields other than `spec.containers[*].image`, \
        `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing \
        tolerations), `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    vec![FieldError::forbidden("spec", why)]
}
