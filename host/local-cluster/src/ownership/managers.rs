//! The entries of `managedFields`: read, written, told apart.

use serde_json::{Value, json};

use super::field_set::{FieldSet, Step};
use crate::event_view;
use crate::metadata;

/// How an entry's manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    /// When its fields last changed, RFC 3339.
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

impl Entry {
    /// Whether both are of one manager, writing the same way through the same door.
    pub(super) fn is_of_same(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.api_version == other.api_version
            && self.subresource == other.subresource
    }

    /// The manager as conflicts name it.
    pub(super) fn shown(&self) -> String {
        let mut shown = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            shown = format!("{shown} with subresource {:?}", self.subresource);
        }
        match self.operation {
            Operation::Apply => shown,
            Operation::Update => format!("{shown} using {}", self.api_version),
        }
    }

    fn from_json(entry: &Value) -> Self {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            manager: text("manager"),
            operation: if entry["operation"] == "Apply" { Operation::Apply } else { Operation::Update },
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: renamed(FieldSet::from_json(&entry["fieldsV1"]), &text("apiVersion"), event_view::stored_name),
        }
    }

    fn to_json(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager,
            "operation": if self.operation == Operation::Apply { "Apply" } else { "Update" },
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": renamed(self.fields.clone(), &self.api_version, event_view::events_name).to_json(),
        });
        if !self.time.is_empty() {
            entry["time"] = self.time.as_str().into();
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.as_str().into();
        }
        entry
    }
}

/// Entries about events.k8s.io/v1 name fields as that group does; everything here is about the stored form.
fn renamed(mut fields: FieldSet, api_version: &str, name: fn(&str) -> &str) -> FieldSet {
    if api_version != "events.k8s.io/v1" {
        return fields;
    }
    let rename = |(step, below): (Step, FieldSet)| match step {
        Step::Field(field) => (Step::Field(name(&field).to_owned()), below),
        other => (other, below),
    };
    fields.children = std::mem::take(&mut fields.children).into_iter().map(rename).collect();
    fields
}

fn list(object: &Value) -> &[Value] {
    metadata::of(object).get("managedFields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn read(object: &Value) -> Vec<Entry> {
    list(object).iter().map(Entry::from_json).collect()
}

/// A list with one empty entry is how a client clears the record.
pub(super) fn are_reset(object: &Value) -> bool {
    matches!(list(object), [only] if only.as_object().is_some_and(serde_json::Map::is_empty))
}

/// Writes the entries that own something, in the API server's order.
pub(super) fn write(mut entries: Vec<Entry>, object: &mut Value) {
    entries.retain(|entry| !entry.fields.is_empty());
    let order = |entry: &Entry| {
        (
            entry.operation,
            entry.time.clone(),
            entry.manager.clone(),
            entry.api_version.clone(),
            entry.subresource.clone(),
        )
    };
    entries.sort_by_key(order);
    let metadata = metadata::of_mut(object);
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), entries.iter().map(Entry::to_json).collect());
    }
}

/// Gives entries of `next` that own what they owned in `old` their old times.
pub(super) fn copy_times(old: &Value, next: &mut Value) {
    let old_entries = read(old);
    let mut entries = read(next);
    for entry in &mut entries {
        let same = old_entries.iter().find(|old| old.is_of_same(entry) && old.fields == entry.fields);
        if let Some(same) = same {
            entry.time.clone_from(&same.time);
        }
    }
    write(entries, next);
}
