//! From a request's JSON to the checked, normal form of a kind: types as published, unknown fields dropped and named.
//!
//! Decides nothing about values (that is `validation`) and sees no stored object.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// An object in its normal form, without `apiVersion` and `kind`.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    /// Paths of fields the kind does not have, as the API server writes them: `spec.containers[0].foo`.
    pub(crate) unknown_fields: Vec<String>,
}

/// The JSON does not fit the kind's types.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DecodeError(#[from] serde_json::Error);

/// Reads `value` as `T` and writes it back. The round trip is what drops unknown fields and normalises times and quantities.
pub(crate) fn decode_typed<T: DeserializeOwned + Serialize>(value: Value) -> Result<Decoded, DecodeError> {
    let mut unknown_fields = Vec::new();
    let typed: T = serde_ignored::deserialize(value, |path| unknown_fields.push(field_path(&path)))?;
    let mut value = serde_json::to_value(typed)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("apiVersion");
        object.remove("kind");
        drop_empty(object);
    }
    Ok(Decoded { value, unknown_fields })
}

/// Go's `omitempty` for the maps and lists at the top and in the metadata: they are absent when empty.
fn drop_empty(object: &mut Map<String, Value>) {
    object.retain(|name, value| name == "metadata" || name == "spec" || name == "status" || !is_empty(value));
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !is_empty(value));
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => {
            let parent = field_path(parent);
            if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") }
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => field_path(parent),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Pod};
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_dropped_and_named_with_their_path() {
        let decoded = decode_typed::<Pod>(json!({
            "metadata": {"name": "a", "colour": 1},
            "spec": {"containers": [{"name": "c", "imag": "x"}]},
        }))
        .unwrap();
        assert_eq!(decoded.unknown_fields, ["metadata.colour", "spec.containers[0].imag"]);
        assert!(decoded.value.pointer("/spec/containers/0/imag").is_none());
    }

    #[test]
    fn empty_maps_are_absent_as_in_go() {
        let decoded =
            decode_typed::<ConfigMap>(json!({"metadata": {"name": "a", "labels": {}}, "data": {}, "immutable": false}))
                .unwrap();
        assert_eq!(decoded.value, json!({"metadata": {"name": "a"}, "immutable": false}));
    }

    #[test]
    fn a_wrong_type_is_refused() {
        assert!(decode_typed::<ConfigMap>(json!({"data": {"a": 1}})).is_err());
    }
}
