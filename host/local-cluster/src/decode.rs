//! From a request's JSON to the normal form of a kind: types as published, unknown fields dropped and named, empty fields written or
//! left out as Go does.
//!
//! Decides nothing about values (that is `validation`) and sees no stored object. Source of the rules and of the words: Go's
//! encoding/json, and the types that read themselves (times, quantities).

use base64::Engine;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::quantity;
use crate::schema::{self, Empty, Form, Schema};

/// An object in its normal form, without `apiVersion` and `kind`.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    /// Paths of fields the kind does not have, as the API server writes them: `spec.containers[0].foo`.
    pub(crate) unknown_fields: Vec<String>,
}

/// The JSON does not fit the kind's types.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("json: cannot unmarshal {found} into Go struct field {structure}.{field} of type {go_type}")]
    Type { found: String, structure: String, field: String, go_type: String },
    #[error("json: cannot unmarshal {found} into Go value of type {go_type}")]
    Value { found: String, go_type: String },
    #[error("{0}")]
    Time(String),
    #[error("{}", quantity::INVALID)]
    Quantity,
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
}

/// Reads `value` as what `schema` describes.
pub(crate) fn decode(kind: &str, schema: &Schema, value: Value) -> Result<Decoded, DecodeError> {
    read(kind, schema, value, EmptyFields::AsGo)
}

/// The same for a configuration that is applied: empty fields stay as they were said, since each is somebody's.
pub(crate) fn decode_as_given(kind: &str, schema: &Schema, value: Value) -> Result<Decoded, DecodeError> {
    read(kind, schema, value, EmptyFields::AsGiven)
}

/// Reads the part of an object that stands at `path` there.
pub(crate) fn decode_at(path: &str, schema: &Schema, value: Value) -> Result<Decoded, DecodeError> {
    let structure = "ObjectMeta".to_owned();
    let mut reader = Reader { unknown_fields: Vec::new(), structure, fields: Vec::new(), empty: EmptyFields::AsGo };
    let value = if value.is_null() { Value::Object(Map::new()) } else { value };
    let value = reader.read(schema, value, &mut path.to_owned())?.unwrap_or_default();
    Ok(Decoded { value, unknown_fields: reader.unknown_fields })
}

/// What becomes of fields that are empty.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EmptyFields {
    AsGo,
    AsGiven,
}

fn read(kind: &str, schema: &Schema, value: Value, empty: EmptyFields) -> Result<Decoded, DecodeError> {
    let mut reader = Reader { unknown_fields: Vec::new(), structure: kind.to_owned(), fields: Vec::new(), empty };
    let mut value = reader.read(schema, value, &mut String::new())?.unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.remove("apiVersion");
        object.remove("kind");
    }
    Ok(Decoded { value, unknown_fields: reader.unknown_fields })
}

/// A kind's object of which nothing was said, as Go writes it.
pub(crate) fn empty(schema: &Schema) -> Value {
    zero(schema)
}

struct Reader {
    unknown_fields: Vec<String>,
    /// The innermost struct and the fields that lead to here: what Go's errors name.
    structure: String,
    fields: Vec<String>,
    empty: EmptyFields,
}

impl Reader {
    fn mismatch(&self, schema: &Schema, value: &Value) -> DecodeError {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if matches!(schema.form, Form::Integer | Form::Integer32) => {
                format!("number {number}")
            }
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let go_type = schema.go_type();
        if self.fields.is_empty() {
            return DecodeError::Value { found, go_type };
        }
        DecodeError::Type { found, structure: self.structure.clone(), field: self.fields.join("."), go_type }
    }

    /// `None` for null, which is as good as absent.
    fn read(&mut self, schema: &Schema, value: Value, path: &mut String) -> Result<Option<Value>, DecodeError> {
        Ok(Some(match (schema.form, value) {
            (_, Value::Null) => return Ok(None),
            (Form::Any, value) => value,
            (Form::Reference(name), value) => {
                let target = schema::definition(name);
                return match (target.form, value) {
                    (Form::Fields, Value::Object(object)) => self.read_struct(name, target, object, path).map(Some),
                    (Form::Fields, other) => Err(self.mismatch(schema, &other)),
                    (_, value) => self.read(target, value, path),
                };
            }
            (Form::OrReference(name), Value::Object(object)) => {
                self.read_struct(name, schema::definition(name), object, path)?
            }
            (Form::OrReference(name), Value::Array(items)) => {
                let schema = Schema::reference(name);
                let texts = items.iter().all(Value::is_string);
                if texts { Value::Array(items) } else { self.read_items(&schema, items, path)? }
            }
            (Form::OrReference(_), value) => value,
            (Form::Fields, Value::Object(object)) => {
                let structure = self.structure.clone();
                self.read_fields(&structure, schema, object, path)?
            }
            (Form::Map, Value::Object(entries)) => match &schema.values {
                None => Value::Object(entries),
                Some(values) => self.read_entries(values, entries, path)?,
            },
            (Form::List, Value::Array(items)) => match &schema.items {
                None => Value::Array(items),
                Some(schema) => self.read_items(schema, items, path)?,
            },
            (Form::Text, Value::String(text)) => Value::String(text),
            (Form::Bytes, Value::String(text)) => read_bytes(text)?,
            (Form::Integer32, Value::Number(number))
                if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) =>
            {
                Value::Number(number)
            }
            (Form::Integer, Value::Number(number)) if number.as_i64().is_some() => Value::Number(number),
            (Form::Number, Value::Number(number)) => Value::Number(number),
            (Form::Boolean, Value::Bool(flag)) => Value::Bool(flag),
            (Form::IntegerOrText, value @ Value::String(_)) => value,
            (Form::IntegerOrText, Value::Number(number)) if number.as_i64().is_some() => Value::Number(number),
            (Form::Quantity, Value::String(text)) => {
                Value::String(quantity::canonical(&text).ok_or(DecodeError::Quantity)?)
            }
            (Form::Quantity, Value::Number(number)) => {
                Value::String(quantity::canonical(&number.to_string()).ok_or(DecodeError::Quantity)?)
            }
            (Form::Quantity, _) => return Err(DecodeError::Quantity),
            (Form::Time, Value::String(text)) => read_time(&text, "2006-01-02T15:04:05Z07:00", "%Y-%m-%dT%H:%M:%SZ")?,
            (Form::MicroTime, Value::String(text)) => {
                read_time(&text, "2006-01-02T15:04:05.000000Z07:00", "%Y-%m-%dT%H:%M:%S%.6fZ")?
            }
            (_, value) => return Err(self.mismatch(schema, &value)),
        }))
    }

    fn read_struct(
        &mut self,
        definition: &str,
        schema: &Schema,
        object: Map<String, Value>,
        path: &mut String,
    ) -> Result<Value, DecodeError> {
        let structure = definition.rsplit('.').next().unwrap_or_default();
        let outer = std::mem::replace(&mut self.structure, structure.to_owned());
        let read = self.read_fields(structure, schema, object, path)?;
        self.structure = outer;
        Ok(read)
    }

    fn read_fields(
        &mut self,
        structure: &str,
        schema: &Schema,
        object: Map<String, Value>,
        path: &mut String,
    ) -> Result<Value, DecodeError> {
        let mut read = Map::new();
        let length = path.len();
        for (name, value) in object {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&name);
            match schema.fields.get(&name) {
                None if schema.preserves_unknown => {
                    read.insert(name, value);
                }
                None => self.unknown_fields.push(path.clone()),
                Some(field) => {
                    self.fields.push(name.clone());
                    let value = self.read(field, value, path)?;
                    match self.empty {
                        EmptyFields::AsGiven => {
                            read.insert(name, value.unwrap_or_default());
                        }
                        EmptyFields::AsGo => {
                            if let Some(value) = value.filter(|value| !is_left_out(field, value)) {
                                read.insert(name, value);
                            }
                        }
                    }
                    self.fields.pop();
                    structure.clone_into(&mut self.structure);
                }
            }
            path.truncate(length);
        }
        if self.empty == EmptyFields::AsGo {
            write_empty(schema, &mut read);
        }
        Ok(Value::Object(read))
    }

    fn read_entries(
        &mut self,
        values: &Schema,
        entries: Map<String, Value>,
        path: &mut String,
    ) -> Result<Value, DecodeError> {
        let length = path.len();
        let mut read = Map::new();
        for (key, value) in entries {
            path.push('.');
            path.push_str(&key);
            let value = self.read(values, value, path)?.unwrap_or_else(|| zero(values));
            read.insert(key, value);
            path.truncate(length);
        }
        Ok(Value::Object(read))
    }

    fn read_items(&mut self, schema: &Schema, items: Vec<Value>, path: &mut String) -> Result<Value, DecodeError> {
        let length = path.len();
        let mut read = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            path.push_str(&format!("[{index}]"));
            read.push(self.read(schema, item, path)?.unwrap_or_else(|| zero(schema)));
            path.truncate(length);
        }
        Ok(Value::Array(read))
    }
}

/// Fields that Go writes although nothing was said of them.
fn write_empty(schema: &Schema, object: &mut Map<String, Value>) {
    for (name, field) in schema.fields.iter().filter(|(_, field)| field.empty == Empty::Written) {
        object.entry(name.clone()).or_insert_with(|| zero(field));
    }
}

/// The zero value of a Go type, as JSON.
fn zero(schema: &Schema) -> Value {
    match schema.form {
        Form::Reference(name) => zero(schema::definition(name)),
        Form::Fields => {
            let mut object = Map::new();
            write_empty(schema, &mut object);
            Value::Object(object)
        }
        Form::Text => "".into(),
        Form::Integer | Form::Integer32 | Form::Number | Form::IntegerOrText => 0.into(),
        Form::Boolean => false.into(),
        Form::Quantity => "0".into(),
        Form::Any | Form::Map | Form::List | Form::Bytes | Form::Time | Form::MicroTime | Form::OrReference(_) => {
            Value::Null
        }
    }
}

fn is_left_out(field: &Schema, value: &Value) -> bool {
    match (field.empty, value) {
        (Empty::Written, _) => false,
        (_, Value::Null) => true,
        (_, Value::Array(items)) => items.is_empty() && field.form == Form::List,
        (_, Value::Object(entries)) => entries.is_empty() && field.form == Form::Map && field.values.is_some(),
        (Empty::LeftOut, _) => false,
        (Empty::ZeroLeftOut, Value::String(text)) => text.is_empty(),
        (Empty::ZeroLeftOut, Value::Number(number)) => number.as_f64() == Some(0.0),
        (Empty::ZeroLeftOut, Value::Bool(flag)) => !flag,
    }
}

fn read_bytes(text: String) -> Result<Value, DecodeError> {
    use base64::DecodeError as Illegal;
    match base64::engine::general_purpose::STANDARD.decode(&text) {
        Ok(_) => Ok(Value::String(text)),
        Err(Illegal::InvalidByte(at, _) | Illegal::InvalidLastSymbol(at, _) | Illegal::InvalidLength(at)) => {
            Err(DecodeError::Base64(at))
        }
        Err(Illegal::InvalidPadding) => Err(DecodeError::Base64(text.len())),
    }
}

/// Go's layout asks for six digits of the second, no fewer and no more, and then for the offset.
fn read_micros(text: &str, layout: &str) -> Result<(), DecodeError> {
    const SECONDS_BYTES: usize = "2006-01-02T15:04:05".len();
    const MICROS_BYTES: usize = ".000000".len();
    let rest = text.get(SECONDS_BYTES..).unwrap_or_default();
    let unfit = |found: &str, wanted: &str| {
        DecodeError::Time(format!("parsing time {text:?} as {layout:?}: cannot parse {found:?} as {wanted:?}"))
    };
    let micros = rest.get(..MICROS_BYTES).and_then(|micros| micros.strip_prefix('.'));
    if !micros.is_some_and(|micros| micros.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(unfit(rest, ".000000"));
    }
    match &rest[MICROS_BYTES..] {
        offset if offset.starts_with(['Z', '+', '-']) => Ok(()),
        offset => Err(unfit(offset, "Z07:00")),
    }
}

fn read_time(text: &str, layout: &str, format: &str) -> Result<Value, DecodeError> {
    let unreadable =
        || DecodeError::Time(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""));
    // RFC 3339 has both a time and an offset; other forms that jiff reads are none of Go's.
    let time: Timestamp = text.parse().map_err(|_| unreadable())?;
    if !text.contains('T') {
        return Err(unreadable());
    }
    if layout.contains(".000000") {
        read_micros(text, layout)?;
    }
    Ok(time.strftime(format).to_string().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::find;

    fn read(group: &str, plural: &str, value: Value) -> Result<Decoded, DecodeError> {
        let resource = find(group, "v1", plural).unwrap();
        decode(resource.kind, resource.schema.schema(), value)
    }

    #[test]
    fn unknown_fields_are_dropped_and_named_with_their_path() {
        let decoded = read(
            "",
            "pods",
            json!({
                "metadata": {"name": "a", "colour": 1},
                "spec": {"containers": [{"name": "c", "imag": "x"}]},
            }),
        )
        .unwrap();
        assert_eq!(decoded.unknown_fields, ["metadata.colour", "spec.containers[0].imag"]);
        assert!(decoded.value.pointer("/spec/containers/0/imag").is_none());
    }

    #[test]
    fn empty_fields_are_left_out_or_written_as_in_go() {
        let config_map = json!({"metadata": {"name": "a", "labels": {}}, "data": {}, "immutable": false});
        assert_eq!(
            read("", "configmaps", config_map).unwrap().value,
            json!({"metadata": {"name": "a"}, "immutable": false})
        );
        let deployment = read("apps", "deployments", json!({"spec": {"paused": false, "replicas": 0}})).unwrap().value;
        assert_eq!(
            deployment,
            json!({
                "metadata": {}, "status": {}, "spec": {
                    "replicas": 0, "selector": null, "strategy": {},
                    "template": {"metadata": {}, "spec": {"containers": null}},
                },
            })
            .as_object()
            .map(|expected| {
                let mut expected = expected.clone();
                expected["spec"].as_object_mut().unwrap().remove("selector");
                Value::Object(expected)
            })
            .unwrap()
        );
    }

    #[test]
    fn a_wrong_type_is_refused_in_the_words_of_go() {
        let refused = |group, plural, value| read(group, plural, value).unwrap_err().to_string();
        assert_eq!(
            refused("apps", "deployments", json!({"spec": {"replicas": "three"}})),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        assert_eq!(
            refused("", "configmaps", json!({"data": {"a": 1}})),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        );
        assert_eq!(
            refused("", "pods", json!({"spec": {"containers": {"name": "a"}}})),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
        );
    }

    #[test]
    fn times_and_quantities_come_out_in_their_normal_form() {
        let pod = json!({
            "metadata": {"creationTimestamp": "2026-01-01T01:00:00+01:00"},
            "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1000m", "memory": 1024}}}]},
        });
        let pod = read("", "pods", pod).unwrap().value;
        assert_eq!(pod["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "1", "memory": "1024"}));
        let lease = json!({"spec": {"renewTime": "2026-01-01T01:00:00.000000+01:00"}});
        assert_eq!(
            read("coordination.k8s.io", "leases", lease).unwrap().value["spec"]["renewTime"],
            "2026-01-01T00:00:00.000000Z"
        );
        let lease = json!({"spec": {"renewTime": "soon"}});
        assert_eq!(
            read("coordination.k8s.io", "leases", lease).unwrap_err().to_string(),
            "parsing time \"soon\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"soon\" as \"2006\""
        );
    }
}
