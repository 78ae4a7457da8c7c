//! The fields a field selector may name, per kind, and their values taken from an object once, when it is stored.
//!
//! Source: the `SelectableFields` of each kind's strategy in kubernetes pkg/registry, and its field label conversions.

use serde_json::Value;

use crate::event_view;
use crate::resource::{Collection, Resource, View};

/// Values of the selectable fields beside name and namespace, in the order of [`names`].
pub(crate) type Fields = Box<[Box<str>]>;

/// Selectable fields of a collection beside `metadata.name` and `metadata.namespace`.
pub(crate) fn names(collection: Collection) -> &'static [&'static str] {
    match collection {
        Collection::Namespaces => &["status.phase"],
        Collection::Secrets => &["type"],
        Collection::Pods => &[
            "spec.hostNetwork",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.nominatedNodeName",
            "status.phase",
            "status.podIP",
        ],
        Collection::Events => &[
            "involvedObject.apiVersion",
            "involvedObject.fieldPath",
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.resourceVersion",
            "involvedObject.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        _ => &[],
    }
}

/// Selectable fields of the other kinds, which are looked up in the object when they are asked for.
fn looked_up(resource: &Resource) -> &[&'static str] {
    match (resource.group, resource.plural) {
        ("", "nodes") => &["spec.unschedulable"],
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("batch", "jobs") => &["status.successful"],
        ("certificates.k8s.io", _) => &["spec.signerName"],
        ("resource.k8s.io", "resourceslices") => &["spec.nodeName", "spec.driver"],
        _ => resource.custom().map_or(&[], |custom| &custom.selectable_fields),
    }
}

/// The values of the selectable fields of a stored object.
pub(crate) fn of(collection: Collection, value: &Value) -> Fields {
    names(collection).iter().map(|name| field(collection, value, name).into()).collect()
}

fn field(collection: Collection, value: &Value, name: &str) -> String {
    if collection == Collection::Events && name == "source" {
        // The reporting component stands in where no source is named (pkg/registry/core/event).
        let component = text(value, "source.component");
        return if component.is_empty() { text(value, "reportingComponent") } else { component };
    }
    if name == "status.podIP" {
        let first = value.pointer("/status/podIPs/0/ip").and_then(Value::as_str);
        return first.unwrap_or_default().to_owned();
    }
    text(value, name)
}

pub(crate) fn text(value: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(value, |value, part| value.get(part));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ if matches!(path, "spec.hostNetwork" | "spec.unschedulable") => "false".to_owned(),
        _ if path == "status.replicas" || path == "status.successful" => "0".to_owned(),
        _ => String::new(),
    }
}

/// A selectable field, found by the name `resource` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Namespace,
    /// Index into [`names`].
    Indexed(usize),
    /// Looked up in the object.
    Path(&'static str),
}

/// Finds a field by the name clients of `resource` use.
pub(crate) fn find(resource: &Resource, label: &str) -> Option<Field> {
    match label {
        "metadata.name" => return Some(Field::Name),
        "metadata.namespace" => return Some(Field::Namespace),
        _ => {}
    }
    let stored;
    let label = match (resource.view, label.split_once('.')) {
        // What has another name in this group is not known by its old one.
        (View::EventsGroup, _) if event_view::is_renamed(label) => return None,
        (View::EventsGroup, Some((first, rest))) => {
            stored = format!("{}.{rest}", event_view::stored_name(first));
            stored.as_str()
        }
        (View::EventsGroup, None) => event_view::stored_name(label),
        (View::Stored, _) => label,
    };
    // `name` is an old alias that core/v1 still accepts for namespaces.
    if resource.collection == Collection::Namespaces && label == "name" {
        return Some(Field::Name);
    }
    let indexed = names(resource.collection).iter().position(|name| *name == label).map(Field::Indexed);
    indexed.or_else(|| looked_up(resource).iter().find(|name| **name == label).map(|name| Field::Path(name)))
}
