//! One store of events under two groups: the names core/v1 and events.k8s.io/v1 have for the same fields.
//!
//! The stored form is core/v1. Source: kubernetes `pkg/apis/events/v1/conversion.go`.

use serde_json::Value;

/// (core/v1, events.k8s.io/v1)
const NAMES: [(&str, &str); 7] = [
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("involvedObject", "regarding"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
];

/// A field of events.k8s.io/v1 under its core/v1 name.
pub(crate) fn stored_name(field: &str) -> &str {
    NAMES.iter().find(|(_, events)| *events == field).map_or(field, |(core, _)| core)
}

/// Whether a path of core/v1 begins with a field that events.k8s.io/v1 calls otherwise.
pub(crate) fn is_renamed(path: &str) -> bool {
    let first = path.split('.').next().unwrap_or_default();
    events_name(first) != first
}

pub(crate) fn events_name(field: &str) -> &str {
    NAMES.iter().find(|(core, _)| *core == field).map_or(field, |(_, events)| events)
}

/// core/v1 -> events.k8s.io/v1
pub(crate) fn from_stored(value: Value) -> Value {
    let mut shown = rename(value, events_name);
    if let Some(fields) = shown.as_object_mut() {
        // Left out when empty in this group, written in the other.
        fields.retain(|name, value| !(name.starts_with("reporting") && value.as_str() == Some("")));
    }
    shown
}

/// events.k8s.io/v1 -> core/v1
pub(crate) fn to_stored(value: Value) -> Value {
    rename(value, stored_name)
}

/// Renames the top-level fields. Ownership records speak of the version their manager wrote, whichever group shows them.
fn rename(value: Value, name: fn(&str) -> &str) -> Value {
    let Value::Object(fields) = value else { return value };
    fields.into_iter().map(|(field, value)| (name(&field).to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_groups_show_the_same_event() {
        let core = json!({
            "metadata": {"name": "e", "managedFields": [{"apiVersion": "v1", "fieldsV1": {"f:message": {}}}]},
            "involvedObject": {"kind": "Lease"}, "message": "leads", "reason": "LeaderElection", "count": 1,
        });
        let events = from_stored(core.clone());
        assert_eq!(events["regarding"]["kind"], "Lease");
        assert_eq!(events["note"], "leads");
        assert_eq!(events["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:message": {}}));
        assert_eq!(to_stored(events), core);
    }
}
