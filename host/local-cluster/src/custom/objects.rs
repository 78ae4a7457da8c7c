//! Objects of a custom kind before they are validated: metadata read, unknown fields pruned and named, defaults filled in.
//!
//! Source: apiextensions-apiserver `pkg/apiserver/schema/{pruning,defaulting}`.

use serde_json::{Map, Value};

use super::Custom;
use crate::decode::{self, DecodeError, Decoded};
use crate::schema::{OBJECT_META, Schema, definition};

impl Custom {
    /// An object in its normal form.
    pub(crate) fn decode(&self, value: Value) -> Result<Decoded, DecodeError> {
        let mut decoded = self.decode_as_given(value)?;
        fill_defaults(&self.schema, &mut decoded.value);
        Ok(decoded)
    }

    /// The same for a configuration that is applied: without defaults, which are nobody's.
    pub(crate) fn decode_as_given(&self, mut value: Value) -> Result<Decoded, DecodeError> {
        let mut unknown_fields = Vec::new();
        let Value::Object(object) = &mut value else { return Ok(Decoded { value, unknown_fields }) };
        let metadata = object.remove("metadata").unwrap_or_default();
        let metadata = decode::decode_at("metadata", definition(OBJECT_META), metadata)?;
        unknown_fields.extend(metadata.unknown_fields);
        prune_fields(&self.schema, object, &mut String::new(), &mut unknown_fields);
        object.remove("apiVersion");
        object.remove("kind");
        object.insert("metadata".to_owned(), metadata.value);
        Ok(Decoded { value, unknown_fields })
    }
}

fn prune(schema: &Schema, value: &mut Value, path: &mut String, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => prune_fields(schema, fields, path, unknown),
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            let length = path.len();
            for (index, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{index}]"));
                prune(schema, item, path, unknown);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn prune_fields(schema: &Schema, fields: &mut Map<String, Value>, path: &mut String, unknown: &mut Vec<String>) {
    let length = path.len();
    fields.retain(|name, value| {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        let known = schema.fields.get(name).or(schema.values.as_deref());
        let of_object = schema.embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
        let keep = known.is_some() || schema.preserves_unknown || of_object;
        match known {
            Some(known) => prune(known, value, path, unknown),
            None if !keep => unknown.push(path.clone()),
            None => {}
        }
        path.truncate(length);
        keep
    });
}

fn fill_defaults(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in &schema.fields {
                // Null where null is not allowed is as good as absent.
                if !field.nullable && fields.get(name).is_some_and(Value::is_null) {
                    fields.remove(name);
                }
                if let Some(default) = &field.default
                    && !fields.contains_key(name)
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields.iter_mut() {
                if let Some(schema) = schema.fields.get(name).or(schema.values.as_deref()) {
                    fill_defaults(schema, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items.iter_mut().for_each(|item| fill_defaults(schema, item));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_schema_does_not_know_is_pruned_and_named() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer", "default": 3},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
            }},
        }}));
        let mut value = json!({"spec": {"size": null, "other": 1, "free": {"x": {"y": 1}}, "list": [{"a": "1", "b": 2}], "map": {"k": "v"}}});
        let mut unknown = Vec::new();
        prune(&schema, &mut value, &mut String::new(), &mut unknown);
        fill_defaults(&schema, &mut value);
        assert_eq!(
            value,
            json!({"spec": {"size": 3, "free": {"x": {"y": 1}}, "list": [{"a": "1"}], "map": {"k": "v"}}})
        );
        unknown.sort();
        assert_eq!(unknown, ["spec.list[0].b", "spec.other"]);
    }
}
