//! Request bodies in Kubernetes' protocol buffer form, which `kubectl create namespace|configmap|secret|...` sends, as JSON.
//!
//! Reads only; answers are JSON, which those clients accept. Driven by a table of field numbers derived from the published
//! definitions (`examples/proto_fields.rs`). Kinds that are not in it are refused, not guessed.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::registry;

/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";
const ENVELOPE: &str = "apimachinery.pkg.runtime.Unknown";
const META: &str = "apimachinery.pkg.apis.meta.v1";
/// Deepest nesting followed; a Pod's affinity in a CronJob has a dozen levels.
const DEPTH_MAX: usize = 32;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProtobufError {
    #[error("the body does not start with the magic bytes of the protobuf envelope")]
    NoEnvelope,
    #[error("the body ends in the middle of a field")]
    Truncated,
    #[error("field {number} of {message} has wire type {wire}, which its type does not have")]
    WireType { message: String, number: u32, wire: u8 },
    #[error("a string in {message} is not UTF-8")]
    NotUtf8 { message: String },
    #[error("{kind} of {api_version} is not read from protobuf here; send JSON")]
    UnknownKind { api_version: String, kind: String },
    #[error("the body is nested too deeply")]
    TooDeep,
}

type Result<T> = std::result::Result<T, ProtobufError>;
type Messages = BTreeMap<&'static str, BTreeMap<u32, (&'static str, &'static str)>>;

/// Message -> number -> (field, type).
static MESSAGES: LazyLock<Messages> = LazyLock::new(|| {
    let mut messages = Messages::new();
    for line in include_str!("tables/proto_fields.tsv").lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let fields = messages.entry(columns.next().unwrap_or_default()).or_default();
        for column in columns {
            let mut words = column.split(' ');
            if let (Some(Ok(number)), Some(field), Some(kind)) =
                (words.next().map(str::parse), words.next(), words.next())
            {
                fields.insert(number, (field, kind));
            }
        }
    }
    messages
});

/// Reads a whole body: the envelope names the kind of what it carries.
pub(crate) fn decode(body: &[u8]) -> Result<Value> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoEnvelope)?;
    let mut raw: &[u8] = &[];
    let (mut api_version, mut kind) = (String::new(), String::new());
    for field in fields(ENVELOPE, envelope) {
        match field? {
            (1, Wire::Bytes(bytes)) => {
                let types = message(&format!("{}.TypeMeta", parent(ENVELOPE)), bytes, DEPTH_MAX)?;
                api_version = types["apiVersion"].as_str().unwrap_or_default().to_owned();
                kind = types["kind"].as_str().unwrap_or_default().to_owned();
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let name = message_of(&api_version, &kind).filter(|name| MESSAGES.contains_key(name.as_str()));
    let name =
        name.ok_or_else(|| ProtobufError::UnknownKind { api_version: api_version.clone(), kind: kind.clone() })?;
    let mut object = message(&name, raw, DEPTH_MAX)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

fn parent(message: &str) -> &str {
    message.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// The message of a kind: `v1`, `Secret` is `k8s.io.api.core.v1.Secret`.
fn message_of(api_version: &str, kind: &str) -> Option<String> {
    if kind == "DeleteOptions" {
        return Some(format!("{META}.DeleteOptions"));
    }
    // Messages and schemas have the same names, but for what they begin with.
    registry::definition_of(api_version, kind).map(|definition| definition.trim_start_matches("io.k8s.").to_owned())
}

/// One value as it stands on the wire.
enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message in the order they come.
fn fields<'a>(name: &'a str, mut bytes: &'a [u8]) -> impl Iterator<Item = Result<(u32, Wire<'a>)>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = next_field(name, &mut bytes);
        if field.is_err() {
            bytes = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(name: &str, bytes: &mut &'a [u8]) -> Result<(u32, Wire<'a>)> {
    let tag = varint(bytes)?;
    let number = u32::try_from(tag >> 3).map_err(|_| ProtobufError::Truncated)?;
    let wire = (tag & 7) as u8;
    let value = match wire {
        0 => Wire::Varint(varint(bytes)?),
        1 => take(bytes, 8).map(|_| Wire::Fixed)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| ProtobufError::Truncated)?;
            Wire::Bytes(take(bytes, length)?)
        }
        5 => take(bytes, 4).map(|_| Wire::Fixed)?,
        _ => return Err(ProtobufError::WireType { message: name.to_owned(), number, wire }),
    };
    Ok((number, value))
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ProtobufError::Truncated)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
    *bytes = rest;
    Ok(taken)
}

/// A message as JSON. Fields the table does not know are passed over, as protocol buffers ask for.
fn message(name: &str, bytes: &[u8], depth_left: usize) -> Result<Value> {
    let depth_left = depth_left.checked_sub(1).ok_or(ProtobufError::TooDeep)?;
    let mut object = Map::new();
    for field in fields(name, bytes) {
        let (number, wire) = field?;
        let Some((field, kind)) = MESSAGES.get(name).and_then(|known| known.get(&number)) else { continue };
        let mismatch = |wire: u8| ProtobufError::WireType { message: name.to_owned(), number, wire };
        if let Some(item) = inner(kind, "repeated<") {
            let item = value(name, item, &wire, depth_left)?.ok_or_else(|| mismatch(0))?;
            match object.entry(*field).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(items) => items.push(item),
                _ => return Err(mismatch(2)),
            }
        } else if let Some(item) = inner(kind, "map<") {
            let Wire::Bytes(entry) = wire else { return Err(mismatch(0)) };
            let (key, item) = map_entry(name, item, entry, depth_left)?;
            object.entry(*field).or_insert_with(|| Value::Object(Map::new()))[key] = item;
        } else if let Some(value) = value(name, kind, &wire, depth_left)? {
            object.insert((*field).to_owned(), value);
        }
    }
    Ok(Value::Object(object))
}

fn inner<'a>(kind: &'a str, prefix: &str) -> Option<&'a str> {
    kind.strip_prefix(prefix)?.strip_suffix('>')
}

fn map_entry(name: &str, kind: &str, entry: &[u8], depth_left: usize) -> Result<(String, Value)> {
    let (mut key, mut item) = (String::new(), Value::String(String::new()));
    for field in fields(name, entry) {
        match field? {
            (1, Wire::Bytes(bytes)) => key = text(name, bytes)?,
            (2, wire) => item = value(name, kind, &wire, depth_left)?.unwrap_or(item),
            _ => {}
        }
    }
    Ok((key, item))
}

/// One value as JSON; `None` for a time that is not set.
fn value(message_name: &str, kind: &str, wire: &Wire<'_>, depth_left: usize) -> Result<Option<Value>> {
    let mismatch = |wire: u8| ProtobufError::WireType { message: message_name.to_owned(), number: 0, wire };
    let value = match (kind, wire) {
        ("bool", Wire::Varint(number)) => (*number != 0).into(),
        // Negative numbers are written as their two's complement in 64 bits.
        ("int32" | "int64", Wire::Varint(number)) => (*number as i64).into(),
        ("string", Wire::Bytes(bytes)) => text(message_name, bytes)?.into(),
        ("bytes", Wire::Bytes(bytes)) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        (kind, Wire::Bytes(bytes)) if kind.ends_with(".v1.Time") => return Ok(time(bytes, "%Y-%m-%dT%H:%M:%SZ")),
        (kind, Wire::Bytes(bytes)) if kind.ends_with(".v1.MicroTime") => {
            return Ok(time(bytes, "%Y-%m-%dT%H:%M:%S%.6fZ"));
        }
        (kind, Wire::Bytes(bytes))
            if [".v1.FieldsV1", ".runtime.RawExtension"].iter().any(|name| kind.ends_with(name)) =>
        {
            embedded_json(bytes)
        }
        (kind, Wire::Bytes(bytes)) if kind.ends_with(".resource.Quantity") => {
            message(kind, bytes, depth_left)?.get("string").cloned().unwrap_or_else(|| "0".into())
        }
        (kind, Wire::Bytes(bytes)) if kind.ends_with(".intstr.IntOrString") => {
            let read = message(kind, bytes, depth_left)?;
            let field = if read["type"] == 1 { "strVal" } else { "intVal" };
            read.get(field).cloned().unwrap_or_else(|| 0.into())
        }
        // A list with a name, such as the values of one key in UserInfo.
        (kind, Wire::Bytes(bytes)) if kind.ends_with(".ExtraValue") => {
            message(kind, bytes, depth_left)?.get("items").cloned().unwrap_or_else(|| Value::Array(Vec::new()))
        }
        (kind, Wire::Bytes(bytes)) => message(kind, bytes, depth_left)?,
        (_, Wire::Varint(_)) => return Err(mismatch(0)),
        (_, Wire::Fixed) => return Err(mismatch(1)),
    };
    Ok(Some(value))
}

fn text(message: &str, bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::NotUtf8 { message: message.to_owned() })
}

fn time(bytes: &[u8], format: &str) -> Option<Value> {
    let (mut seconds, mut nanoseconds) = (0_i64, 0_i32);
    for field in fields("Time", bytes).flatten() {
        match field {
            (1, Wire::Varint(number)) => seconds = number as i64,
            (2, Wire::Varint(number)) => nanoseconds = i32::try_from(number).unwrap_or(0),
            _ => {}
        }
    }
    // An unset time is written as the epoch.
    let time = Timestamp::new(seconds, nanoseconds).ok().filter(|time| *time != Timestamp::UNIX_EPOCH)?;
    Some(time.strftime(format).to_string().into())
}

/// Field sets and objects of any kind are JSON inside the message.
fn embedded_json(bytes: &[u8]) -> Value {
    let raw = fields("FieldsV1", bytes).flatten().find_map(|field| match field {
        (1, Wire::Bytes(raw)) => serde_json::from_slice(raw).ok(),
        _ => None,
    });
    raw.unwrap_or_else(|| Value::Object(Map::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut written = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        written.extend_from_slice(bytes);
        written
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &types), field(2, raw)].concat()
    }

    #[test]
    fn a_secret_is_read_with_its_maps_and_without_times_that_are_unset() {
        let metadata = [field(1, b"s"), field(3, b""), field(8, &[8, 0, 16, 0])].concat();
        let entry = [field(1, b"k"), field(2, b"hello")].concat();
        let raw = [field(1, &metadata), field(2, &entry), field(3, b"Opaque"), vec![5 << 3, 1]].concat();
        assert_eq!(
            decode(&envelope("v1", "Secret", &raw)).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": ""}, "data": {"k": "aGVsbG8="},
                "type": "Opaque", "immutable": true,
            })
        );
    }

    #[test]
    fn a_lease_keeps_its_empty_holder_and_its_microseconds() {
        // 1 s and 5 ms: nanoseconds 5_000_000 as a varint.
        let renewed = [vec![8, 1, 16], vec![0xc0, 0x96, 0xb1, 0x02]].concat();
        let spec = [field(1, b""), vec![2 << 3, 15], field(4, &renewed)].concat();
        let lease = decode(&envelope("coordination.k8s.io/v1", "Lease", &field(2, &spec))).unwrap();
        assert_eq!(
            lease["spec"],
            json!({"holderIdentity": "", "leaseDurationSeconds": 15, "renewTime": "1970-01-01T00:00:01.005000Z"})
        );
    }

    #[test]
    fn quantities_and_ports_have_their_json_forms() {
        let quantity = field(1, b"500m");
        let limits = [field(1, b"cpu"), field(2, &quantity)].concat();
        let container = [field(1, b"c"), field(8, &field(1, &limits))].concat();
        let pod = decode(&envelope("v1", "Pod", &field(2, &field(2, &container)))).unwrap();
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["resources"]["limits"], json!({"cpu": "500m"}), "{pod}");
        let named = field(4, &[vec![8, 1], field(3, b"http")].concat());
        let service = decode(&envelope("v1", "Service", &field(2, &field(1, &named)))).unwrap();
        assert_eq!(service["spec"]["ports"], json!([{"targetPort": "http"}]), "{service}");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert_eq!(decode(b"{}"), Err(ProtobufError::NoEnvelope));
        let truncated = &envelope("v1", "Secret", &field(1, b"abc"))[..10];
        assert_eq!(decode(truncated), Err(ProtobufError::Truncated));
        assert!(matches!(decode(&envelope("example.org/v1", "Widget", &[])), Err(ProtobufError::UnknownKind { .. })));
    }
}
