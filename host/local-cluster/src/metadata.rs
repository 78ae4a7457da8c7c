//! Reading and writing an object's `metadata` as JSON, by name.
//!
//! No rule about values: a missing or ill-typed field reads as absent, which cannot happen to what `decode` let through.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// An object's metadata, for reading.
#[derive(Clone, Copy)]
pub(crate) struct Metadata<'a>(Option<&'a Map<String, Value>>);

/// The metadata of `object`.
pub(crate) fn of(object: &Value) -> Metadata<'_> {
    Metadata(object.get("metadata").and_then(Value::as_object))
}

/// The metadata of `object` for writing; made where it is absent.
pub(crate) fn of_mut(object: &mut Value) -> &mut Map<String, Value> {
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    match metadata {
        Value::Object(map) => map,
        _ => unreachable!("made an object just above"),
    }
}

impl<'a> Metadata<'a> {
    pub(crate) fn get(self, field: &str) -> Option<&'a Value> {
        self.0?.get(field)
    }

    pub(crate) fn text(self, field: &str) -> &'a str {
        self.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn name(self) -> &'a str {
        self.text("name")
    }

    pub(crate) fn namespace(self) -> &'a str {
        self.text("namespace")
    }

    pub(crate) fn uid(self) -> &'a str {
        self.text("uid")
    }

    pub(crate) fn resource_version(self) -> &'a str {
        self.text("resourceVersion")
    }

    pub(crate) fn is_deleting(self) -> bool {
        self.get("deletionTimestamp").is_some()
    }

    pub(crate) fn finalizers(self) -> Vec<&'a str> {
        let list = self.get("finalizers").and_then(Value::as_array);
        list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }

    pub(crate) fn labels(self) -> BTreeMap<String, String> {
        let Some(labels) = self.get("labels").and_then(Value::as_object) else { return BTreeMap::new() };
        labels.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }
}
