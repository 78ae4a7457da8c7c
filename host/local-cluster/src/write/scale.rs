//! The scale subresource: one number of a workload, read and written through a kind that all of them share (`autoscaling/v1.Scale`).
//!
//! Source: kubernetes `pkg/registry/apps/*/storage` (ScaleREST) and apiextensions-apiserver `pkg/registry/customresource/etcd.go`.

use serde_json::{Map, Value, json};

use super::update::Step;
use super::{Answer, Content, Existing, PatchFormat, Writer, metadata};
use crate::body::{self, Syntax};
use crate::custom::ScalePaths;
use crate::decode;
use crate::ownership;
use crate::patching;
use crate::resource::Resource;
use crate::schema;
use crate::status::{FieldError, Refusal, Result};

const DEFINITION: &str = "io.k8s.api.autoscaling.v1.Scale";
const API_VERSION: &str = "autoscaling/v1";

/// The scale of a stored object.
pub(crate) fn of(resource: &Resource, object: &Value) -> Value {
    let read = metadata::of(object);
    let paths = paths(resource);
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let mut shown = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = read.get(field) {
            shown.insert(field.to_owned(), value.clone());
        }
    }
    let mut scale = json!({
        "kind": "Scale", "apiVersion": API_VERSION, "metadata": shown, "spec": {},
        "status": {"replicas": number(&paths.status_replicas)},
    });
    match number(&paths.replicas) {
        0 => {}
        replicas => scale["spec"]["replicas"] = replicas.into(),
    }
    let selector = match &paths.selector {
        Some(pointer) => object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned(),
        None if resource.custom().is_some() => String::new(),
        None => selector_text(object.pointer("/spec/selector")),
    };
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

fn paths(resource: &Resource) -> ScalePaths {
    resource.custom().and_then(|custom| custom.scale.clone()).unwrap_or_else(|| ScalePaths {
        replicas: "/spec/replicas".to_owned(),
        status_replicas: "/status/replicas".to_owned(),
        selector: None,
    })
}

/// A selector as one line, by key; a ReplicationController's is a plain map.
fn selector_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector.and_then(Value::as_object) else { return String::new() };
    let is_plain = selector.values().all(Value::is_string);
    let exact = if is_plain { Some(selector) } else { selector.get("matchLabels").and_then(Value::as_object) };
    let exact = exact
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    let mut parts: Vec<(String, String)> = exact.collect();
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let text = |field: &str| expression[field].as_str().unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let mut values: Vec<&str> = values.filter_map(Value::as_str).collect();
        values.sort_unstable();
        let (key, values) = (text("key"), values.join(","));
        let part = match text("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        parts.push((key.to_owned(), part));
    }
    parts.sort();
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(",")
}

impl Writer<'_> {
    /// PUT of a Scale.
    pub(crate) fn put_scale(&self, name: &str, body: &[u8], syntax: Syntax) -> Result<Answer> {
        let scale = body::parse_as("Scale", body, syntax)?;
        for (field, wanted) in [("kind", "Scale"), ("apiVersion", API_VERSION)] {
            let given = scale.get(field).and_then(Value::as_str).unwrap_or(wanted);
            if given != wanted {
                let why = format!("the {field} in the data ({given}) does not match the expected {field} ({wanted})");
                return Err(Refusal::bad_request(why));
            }
        }
        self.set_scale(name, &mut |_| Ok(scale.clone()))
    }

    /// PATCH of a Scale.
    pub(crate) fn patch_scale(&self, name: &str, format: PatchFormat, patch: &[u8]) -> Result<Answer> {
        if format == PatchFormat::Apply {
            return Err(Refusal::not_implemented("server-side apply of the scale subresource; patch or replace it"));
        }
        let edit = patching::Edit::parse(format, patch)?;
        self.set_scale(name, &mut |current| edit.apply(self.resource, current))
    }

    fn set_scale(&self, name: &str, next: &mut dyn FnMut(Value) -> Result<Value>) -> Result<Answer> {
        let key = self.key(name);
        loop {
            let existing = self.existing(&key).ok_or_else(|| Refusal::not_found(self.resource, name))?;
            let current = of(self.resource, &existing.value);
            let scale = checked(self.resource, name, next(current)?)?;
            let namespace = metadata::of(&scale).namespace();
            if !namespace.is_empty() && namespace != self.namespace {
                let why = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(Refusal::bad_request(why));
            }
            if let Step::Answered(answer) = self.scale_once(&key, &existing, &scale)? {
                return Ok(Answer { content: self.shown(answer.content), ..answer });
            }
        }
    }

    fn scale_once(&self, key: &crate::object::Key, existing: &Existing, scale: &Value) -> Result<Step> {
        let mut object = existing.value.clone();
        let replicas = scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| 0.into());
        set(&mut object, &paths(self.resource).replicas, replicas);
        let version = match metadata::of(scale).resource_version() {
            // A Scale that names no version scales whatever is there.
            "" => existing.object.version.to_string(),
            given => given.to_owned(),
        };
        metadata::of_mut(&mut object).insert("resourceVersion".to_owned(), version.into());
        let mut managed = |existing: &Value, next: &mut Value| {
            ownership::after_update(&self.ownership(), Some(existing), next);
            // What is owned through a Scale is translated to its object, and the time is lost on the way.
            let entries = next.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
            for entry in entries.into_iter().flatten().filter(|entry| entry["subresource"] == "scale") {
                entry.as_object_mut().map(|entry| entry.remove("time"));
            }
        };
        self.replace(key, existing, object, Vec::new(), &mut managed)
    }

    fn shown(&self, content: Content) -> Content {
        match content {
            Content::Object(object) => Content::Plain(of(self.resource, &object.value())),
            plain => plain,
        }
    }
}

/// A Scale with the types and values it must have.
fn checked(resource: &Resource, name: &str, mut scale: Value) -> Result<Value> {
    if let Some(scale) = scale.as_object_mut() {
        scale.remove("apiVersion");
        scale.remove("kind");
    }
    let decoded = decode::decode("Scale", schema::definition(DEFINITION), scale).map_err(|error| {
        Refusal::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {error}"))
    })?;
    let scale = decoded.value;
    super::update::check_name(metadata::of(&scale).name(), name)?;
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 && resource.custom().is_some() {
        let error = FieldError::invalid(".spec.replicas", &replicas.to_string(), "should be a non-negative integer");
        return Err(Refusal::invalid(resource.kind, resource.group, name, &[error]));
    }
    if replicas < 0 {
        let error = FieldError::invalid("spec.replicas", &replicas.to_string(), "must be greater than or equal to 0");
        return Err(Refusal::invalid("Scale", "autoscaling", name, &[error]));
    }
    Ok(scale)
}

/// Sets what `pointer` leads to, making the objects on the way.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let place = pointer.split('/').skip(1).fold(object, |place, step| {
        if !place.is_object() {
            *place = json!({});
        }
        &mut place[step]
    });
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_one_line_in_the_order_of_its_keys() {
        let selector = json!({
            "matchLabels": {"b": "1"},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "Exists"}],
        });
        assert_eq!(selector_text(Some(&selector)), "a in (x,y),b=1,c");
        assert_eq!(selector_text(Some(&json!({"app": "x"}))), "app=x");
        assert_eq!(selector_text(None), "");
    }
}
