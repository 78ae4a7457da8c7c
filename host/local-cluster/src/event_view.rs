//! One store of events under two groups: the names core/v1 and events.k8s.io/v1 have for the same fields.
//!
//! The stored form is core/v1. Source: kubernetes `pkg/apis/events/v1/conversion.go`.

use serde_json::{Map, Value};

use crate::metadata;

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

fn events_name(field: &str) -> &str {
    NAMES.iter().find(|(core, _)| *core == field).map_or(field, |(_, events)| events)
}

/// core/v1 -> events.k8s.io/v1
pub(crate) fn from_stored(value: Value) -> Value {
    rename(value, "events.k8s.io/v1", events_name)
}

/// events.k8s.io/v1 -> core/v1
pub(crate) fn to_stored(value: Value) -> Value {
    rename(value, "v1", stored_name)
}

/// Renames the top-level fields, here and in the ownership records that speak of this version.
fn rename(value: Value, to_version: &str, name: fn(&str) -> &str) -> Value {
    let Value::Object(fields) = value else { return value };
    let mut renamed =
        Value::Object(fields.into_iter().map(|(field, value)| (name(&field).to_owned(), value)).collect());
    if metadata::of(&renamed).get("managedFields").is_some()
        && let Some(Value::Array(entries)) = metadata::of_mut(&mut renamed).get_mut("managedFields")
    {
        for entry in entries {
            entry["apiVersion"] = to_version.into();
            if let Some(Value::Object(owned)) = entry.get_mut("fieldsV1") {
                let rename_owned = |(path, owned): (String, Value)| match path.strip_prefix("f:") {
                    Some(field) => (format!("f:{}", name(field)), owned),
                    None => (path, owned),
                };
                *owned = std::mem::take(owned).into_iter().map(rename_owned).collect::<Map<_, _>>();
            }
        }
    }
    renamed
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
        assert_eq!(events["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:note": {}}));
        assert_eq!(to_stored(events), core);
    }
}
