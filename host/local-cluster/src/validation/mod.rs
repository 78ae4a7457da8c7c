//! Which objects are valid: names, labels, keys, and what must not change (kubernetes `pkg/apis/*/validation`).
//!
//! Checks what the kinds served here can get wrong in ways clients meet; a Pod's spec is held to its types and its containers'
//! names, not to every rule of its fields.

mod events;

use base64::Engine;
use serde_json::{Map, Value};

use crate::custom;
use crate::metadata;
use crate::resource::{Collection, Resource, View};
use crate::status::FieldError;
use crate::syntax;

/// Total size of an object's annotations, keys and values (`TotalAnnotationSizeLimitB`).
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Size of a ConfigMap's or Secret's data (`MaxSecretSize`).
const DATA_BYTES_MAX: usize = 1024 * 1024;

const MUST_BE_SET: &str = "must not be empty";
const IMMUTABLE: &str = "field is immutable";
const IMMUTABLE_WHEN_SET: &str = "field is immutable when `immutable` is set";

/// What is wrong with a new object; empty if nothing is.
pub(crate) fn of_new(resource: &Resource, value: &Value) -> Vec<FieldError> {
    let mut errors = of_metadata(resource, value);
    errors.extend(of_content(resource.collection, value));
    errors.extend(resource.custom().map(|custom| custom.validate(value)).unwrap_or_default());
    if resource.collection == Collection::CustomResourceDefinitions {
        errors.extend(custom::check(value));
    }
    if resource.collection == Collection::Events {
        errors.extend(events::of_new(resource, value));
    }
    errors
}

/// What is wrong with `next` in the place of `old`; empty if nothing is.
pub(crate) fn of_update(resource: &Resource, next: &Value, old: &Value) -> Vec<FieldError> {
    // The API server holds metadata to its rules for all kinds, and again in the rules of most kinds.
    let change = of_metadata_change(next, old);
    let metadata = of_metadata(resource, next);
    let repeated = of_mutable_metadata(next);
    let is_checked_by_kind = !matches!(resource.collection, Collection::Namespaces | Collection::Leases);
    let mut errors = metadata.clone();
    errors.extend(change.clone());
    errors.extend(repeated.clone());
    errors.extend(change);
    errors.extend(repeated);
    if is_checked_by_kind {
        errors.extend(metadata);
    }
    let content = of_content(resource.collection, next);
    let content_change = of_content_change(resource.collection, next, old);
    if resource.collection == Collection::Pods {
        errors.extend(content);
        errors.extend(content_change);
    } else {
        errors.extend(content_change);
        errors.extend(content);
    }
    errors.extend(resource.custom().map(|custom| custom.validate(next)).unwrap_or_default());
    if resource.collection == Collection::CustomResourceDefinitions {
        errors.extend(custom::check(next));
        errors.extend(custom::check_update(next, old));
    }
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
        Collection::Services => syntax::dns_label_from_a_letter,
        _ if resource.group == "rbac.authorization.k8s.io" => syntax::path_segment,
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
    errors.extend(of_mutable_metadata(value));
    errors.extend(of_finalizers(&read.finalizers()));
    errors
}

/// What is looked at again with every change: labels, annotations, owners.
fn of_mutable_metadata(value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let read = metadata::of(value);
    for (key, value) in map(read.get("labels")) {
        let value = value.as_str().unwrap_or_default();
        let keys = syntax::label_key(key);
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
    errors.extend(of_owners(read.get("ownerReferences")));
    errors
}

fn of_finalizers(finalizers: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for finalizer in finalizers {
        let complaints = syntax::qualified_name(finalizer);
        errors.extend(complaints.iter().map(|why| FieldError::invalid_text("metadata.finalizers", finalizer, why)));
    }
    let both = ["orphan", "foregroundDeletion"].iter().all(|policy| finalizers.contains(policy));
    if both {
        let shown = serde_json::json!(finalizers).to_string();
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid("metadata.finalizers", &shown, why));
    }
    for (index, finalizer) in finalizers.iter().enumerate() {
        if !finalizer.contains('/') && !["orphan", "foregroundDeletion", "kubernetes"].contains(finalizer) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid_text(format!("metadata.finalizers[{index}]"), finalizer, why));
        }
    }
    errors
}

fn of_owners(owners: Option<&Value>) -> Vec<FieldError> {
    const FIELD: &str = "metadata.ownerReferences";
    let mut errors = Vec::new();
    let owners = owners.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |owner: &Value, field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut controller: Option<String> = None;
    for owner in owners {
        let fields = [("apiVersion", "version must not be empty"), ("kind", MUST_BE_SET), ("name", MUST_BE_SET)];
        for (field, why) in fields.into_iter().chain([("uid", MUST_BE_SET)]) {
            if text(owner, field).is_empty() {
                errors.push(FieldError::invalid_text(format!("{FIELD}.{field}"), "", why));
            }
        }
        let (api_version, kind) = (text(owner, "apiVersion"), text(owner, "kind"));
        if api_version == "v1" && kind == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(FIELD, &shown_owner(owner), why));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let this = format!("{kind}/{}", text(owner, "name"));
            if let Some(other) = &controller {
                let shown: Vec<String> = owners.iter().map(shown_owner).collect();
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {other} and {this}"
                );
                errors.push(FieldError::invalid(FIELD, &format!("[{}]", shown.join(",")), &why));
            }
            controller = Some(this);
        }
    }
    errors
}

/// An owner reference with its fields in the order of its Go type.
fn shown_owner(owner: &Value) -> String {
    let fields = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let shown = fields.iter().filter_map(|field| owner.get(*field).map(|value| format!("\"{field}\":{value}")));
    format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
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
        _ => Vec::new(),
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
        // The sum has no field of its own; this is how the API server writes that.
        errors.push(FieldError::too_long("[]", DATA_BYTES_MAX));
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
    errors.extend(of_secret_type(value));
    errors
}

/// What the types that Kubernetes itself reads must hold.
fn of_secret_type(value: &Value) -> Vec<FieldError> {
    let missing = |key: &str| value.get("data").and_then(|data| data.get(key)).is_none();
    let required = |keys: &[&str]| -> Vec<FieldError> {
        let absent = keys.iter().filter(|key| missing(key));
        absent.map(|key| FieldError::required(format!("data[{key}]"), "")).collect()
    };
    match value.get("type").and_then(Value::as_str).unwrap_or_default() {
        "kubernetes.io/tls" => required(&["tls.crt", "tls.key"]),
        "kubernetes.io/ssh-auth" => required(&["ssh-privatekey"]),
        "kubernetes.io/basic-auth" if missing("username") && missing("password") => required(&["username", "password"]),
        "kubernetes.io/dockercfg" => of_json_data(value, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => of_json_data(value, ".dockerconfigjson"),
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            let account = metadata::of(value).get("annotations").and_then(|annotations| annotations.get(ACCOUNT));
            let named = account.and_then(Value::as_str).is_some_and(|name| !name.is_empty());
            let error = || FieldError::required(format!("metadata.annotations[{ACCOUNT}]"), "");
            if named { Vec::new() } else { vec![error()] }
        }
        _ => Vec::new(),
    }
}

fn of_json_data(value: &Value, key: &str) -> Vec<FieldError> {
    let field = format!("data[{key}]");
    let Some(text) = value.get("data").and_then(|data| data.get(key)).and_then(Value::as_str) else {
        return vec![FieldError::required(field, "")];
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(_) => Vec::new(),
        Err(error) => {
            let why = crate::go_json::syntax_error(&bytes, &error);
            vec![FieldError::invalid_text(field, "<secret contents redacted>", &why)]
        }
    }
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
        let image = text("image");
        if image.trim() != image {
            let why = "must not have leading or trailing whitespace";
            errors.push(FieldError::invalid_text(format!("{path}.image"), image, why));
        }
        if image.is_empty() {
            errors.push(FieldError::required(format!("{path}.image"), ""));
        }
    }
    let policy = value.pointer("/spec/restartPolicy").and_then(Value::as_str).unwrap_or_default();
    if !["Always", "OnFailure", "Never"].contains(&policy) {
        errors.push(FieldError::not_supported("spec.restartPolicy", policy, &["Always", "OnFailure", "Never"]));
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
    let list = |pod: &Value, name: &str| {
        pod.pointer(&format!("/spec/{name}")).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    for containers in ["containers", "initContainers"] {
        if list(next, containers).len() != list(old, containers).len() {
            let why = "pod updates may not add or remove containers";
            return vec![FieldError::forbidden(format!("spec.{containers}"), why)];
        }
    }
    let mut errors = of_toleration_change(&list(next, "tolerations"), &list(old, "tolerations"));
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
    if frozen(next) != frozen(old) {
        // The API server appends a diff of its Go types.
        let why = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
            `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
            `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        errors.push(FieldError::forbidden("spec", why));
    }
    errors
}

/// Tolerations may be added; of those there are only the seconds may change.
fn of_toleration_change(next: &[Value], old: &[Value]) -> Vec<FieldError> {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(fields) = toleration.as_object_mut() {
            fields.remove("tolerationSeconds");
        }
        toleration
    };
    let next: Vec<Value> = next.iter().map(without_seconds).collect();
    if old.iter().all(|old| next.contains(&without_seconds(old))) {
        return Vec::new();
    }
    let why = "existing toleration can not be modified except its tolerationSeconds";
    vec![FieldError::forbidden("spec.tolerations", why)]
}
