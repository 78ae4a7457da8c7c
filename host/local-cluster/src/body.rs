//! A request's body: read as JSON or YAML, held against the kind the path speaks of, brought into its stored form.
//!
//! Owns the errors of decoding. Looks at no stored object.

use serde_json::Value;

use crate::decode;
use crate::duplicates;
use crate::event_view;
use crate::go_json;
use crate::metadata;
use crate::ownership;
use crate::protobuf::{self, ProtobufError};
use crate::query::FieldValidation;
use crate::registry::Served;
use crate::resource::{Resource, View};
use crate::status::{Refusal, Result};

/// Largest request body (kube-apiserver `MaxRequestBodyBytes`).
pub(crate) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// An object in its collection's stored form, and what the client should be warned about.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
}

/// How a body is written, by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Json,
    Yaml,
    Protobuf,
}

impl Syntax {
    /// The syntax of an object's body; JSON where nothing is said.
    pub(crate) fn of(content_type: &str) -> Result<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" | "*/*" => Ok(Syntax::Json),
            "application/yaml" => Ok(Syntax::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(Syntax::Protobuf),
            _ => Err(Refusal::new(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json, application/yaml, application/vnd.kubernetes.protobuf",
            )),
        }
    }
}

/// Reads a body that holds an object of `resource`.
fn parse(resource: &Resource, body: &[u8], syntax: Syntax) -> Result<Value> {
    parse_as(resource.kind, body, syntax)
}

/// Reads a body that holds an object of a kind.
pub(crate) fn parse_as(kind: &str, body: &[u8], syntax: Syntax) -> Result<Value> {
    let unrecognized = |why: String| {
        Refusal::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; {why} \
             ({})",
            kind,
            summary(body)
        ))
    };
    let value = match syntax {
        Syntax::Json => serde_json::from_slice(body)
            .map_err(|error| unrecognized(format!("json parse error: {}", go_json::syntax_error(body, &error))))?,
        Syntax::Yaml => parse_yaml(body).map_err(unrecognized)?,
        Syntax::Protobuf => parse_protobuf(body)?,
    };
    match value {
        Value::Object(_) => Ok(value),
        // To Go, null is an object with nothing in it.
        Value::Null => Ok(Value::Object(serde_json::Map::new())),
        other => Err(unrecognized(format!(
            "json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \
             \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            go_json::kind(&other)
        ))),
    }
}

/// Reads YAML, of which JSON is a part.
pub(crate) fn parse_yaml(body: &[u8]) -> std::result::Result<Value, String> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

fn parse_protobuf(body: &[u8]) -> Result<Value> {
    protobuf::decode(body).map_err(|error| match error {
        ProtobufError::UnknownKind { .. } => Refusal::new(415, "UnsupportedMediaType", error.to_string()),
        error => Refusal::bad_request(format!("the body cannot be read as protobuf: {error}")),
    })
}

/// Options of a deletion, which may come in any syntax.
pub(crate) fn parse_options(body: &[u8], content_type: &str) -> Result<Value> {
    match Syntax::of(content_type)? {
        Syntax::Protobuf => parse_protobuf(body),
        Syntax::Json => serde_json::from_slice(body).map_err(|error| {
            let why = go_json::syntax_error(body, &error);
            Refusal::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
        }),
        Syntax::Yaml => parse_yaml(body)
            .map_err(|why| Refusal::bad_request(format!("couldn't get version/kind; json parse error: {why}"))),
    }
}

/// The first bytes of a body, as apimachinery shows them in errors.
fn summary(body: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 30;
    let shown = &body[..body.len().min(SHOWN_BYTES_MAX)];
    let dots = if body.len() > SHOWN_BYTES_MAX { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{dots}", String::from_utf8_lossy(shown)),
        Some(_) => format!("{}{dots}", shown.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

/// Checks that `value` is of the kind the path speaks of. Absent `apiVersion` and `kind` are the path's.
fn check_kind(served: &Served, resource: &Resource, value: &Value) -> Result<()> {
    let text = |field: &str, absent: &'static str| match value.get(field) {
        None | Some(Value::Null) => Ok(absent.to_owned()),
        Some(Value::String(text)) if text.is_empty() => Ok(absent.to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(Refusal::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: json: \
             cannot unmarshal {} into Go struct field .{field} of type string ({})",
            resource.kind,
            go_json::kind(other),
            summary(value.to_string().as_bytes())
        ))),
    };
    if resource.custom().is_some() {
        return check_custom_kind(resource, value);
    }
    let api_version = text("apiVersion", resource.api_version)?;
    let kind = text("kind", resource.kind)?;
    if api_version == resource.api_version && kind == resource.kind {
        return Ok(());
    }
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let known = served.find_kind(&api_version, &kind);
    let why = match known {
        Some(known) if known.collection == resource.collection => {
            return Err(Refusal::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({})",
                resource.api_version
            )));
        }
        Some(known) => format!(
            "converting ({}.{kind}) to ({}.{}): unknown conversion",
            known.version,
            resource.internal_package(),
            resource.kind
        ),
        None => format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ),
    };
    Err(Refusal::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", resource.kind)))
}

/// Custom resources have no default kind: what is absent is an error, and so is another kind.
fn check_custom_kind(resource: &Resource, value: &Value) -> Result<()> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    for (field, name) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if text(field).is_empty() {
            let body = value.to_string();
            return Err(Refusal::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): Object '{name}' is missing in '{body}' ({})",
                resource.kind,
                summary(body.as_bytes())
            )));
        }
    }
    if text("apiVersion") != resource.api_version {
        return Err(Refusal::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            text("apiVersion"),
            resource.api_version
        )));
    }
    if text("kind") != resource.kind {
        let why = format!("must be {}", resource.kind);
        let error = crate::status::FieldError::invalid_text("kind", text("kind"), &why);
        return Err(Refusal::invalid(text("kind"), resource.group, metadata::of(value).name(), &[error]));
    }
    Ok(())
}

fn cannot_be_handled(resource: &Resource, kind: &str, why: &str) -> Refusal {
    Refusal::bad_request(format!(
        "{kind} in version {:?} cannot be handled as a {}: {why}",
        resource.version, resource.kind
    ))
}

/// Reads a whole body as an object of `resource` and holds it against its kind.
pub(crate) fn read(
    served: &Served,
    resource: &Resource,
    body: &[u8],
    syntax: Syntax,
    validation: FieldValidation,
) -> Result<Checked> {
    let repeated = if syntax == Syntax::Json { repeated_fields(body, validation) } else { Vec::new() };
    check(served, resource, parse(resource, body, syntax)?, &repeated, validation)
}

/// Complaints about fields a JSON text has twice; not looked for where nobody asked.
pub(crate) fn repeated_fields(json: &[u8], validation: FieldValidation) -> Vec<String> {
    match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn | FieldValidation::Strict => {
            duplicates::find(json).iter().map(|path| duplicate_field(path)).collect()
        }
    }
}

fn duplicate_field(path: &str) -> String {
    format!("duplicate field {path:?}")
}

/// Holds what an apply says against its kind's types; a field the kind does not have is an error of the schema, not a warning.
/// What it says stays as it is said.
pub(crate) fn check_applied(resource: &Resource, value: Value, repeated: &[String]) -> Result<Checked> {
    let (namespace, name) = (metadata::of(&value).namespace().to_owned(), metadata::of(&value).name().to_owned());
    let untyped = |why: &str| {
        let (group, version, kind) = (resource.group, resource.version, resource.kind);
        let object = format!("{namespace}/{name}; {group}/{version}, Kind={kind}");
        Refusal::new(500, "", format!("failed to create typed patch object ({object}): {why}"))
    };
    let (value, unknown_fields) = decode(resource, value, Reading::AsGiven).map_err(|why| untyped(&why))?;
    if let Some(path) = unknown_fields.first() {
        return Err(untyped(&format!(".{path}: field not declared in schema")));
    }
    if let Some(why) = ownership::repeated_item(resource, &value) {
        return Err(untyped(&why));
    }
    Ok(Checked { value, warnings: repeated.to_vec() })
}

/// Holds an object against its kind's types, and what is wrong with its fields against `validation`.
pub(crate) fn check(
    served: &Served,
    resource: &Resource,
    value: Value,
    repeated: &[String],
    validation: FieldValidation,
) -> Result<Checked> {
    check_kind(served, resource, &value)?;
    let refuse = |why: &str| cannot_be_handled(resource, resource.kind, why);
    let (value, unknown_fields) = decode(resource, value, Reading::Normal).map_err(|why| refuse(&why))?;
    let warnings = judge(repeated, &unknown_fields, validation, refuse)?;
    Ok(Checked { value, warnings })
}

/// An object that came out of an apply, in its normal form.
pub(crate) fn normal(resource: &Resource, value: Value) -> Result<Value> {
    let decoded = match resource.custom() {
        Some(custom) => custom.decode(value),
        None => decode::decode(resource.kind, resource.stored_schema.schema(), value),
    };
    decoded.map(|decoded| decoded.value).map_err(|error| cannot_be_handled(resource, resource.kind, &error.to_string()))
}

/// Holds the result of a patch against its kind's types. Its errors are about the patch, so they are of another form, and show it as
/// `shown`, or what came of it.
pub(crate) fn check_patched(
    served: &Served,
    resource: &Resource,
    patched: Value,
    repeated: &[String],
    validation: FieldValidation,
    shown: Option<String>,
) -> Result<Checked> {
    let shown = shown.unwrap_or_else(|| patched.to_string());
    let refuse = |why: &str| {
        let error = crate::status::FieldError::invalid_text("patch", &shown, why);
        Refusal::invalid("", "", "", &[error])
    };
    check_kind(served, resource, &patched).map_err(|refusal| refuse(&refusal.message))?;
    let (value, unknown_fields) = decode(resource, patched, Reading::Normal).map_err(|why| refuse(&why))?;
    let warnings = judge(repeated, &unknown_fields, validation, refuse)?;
    Ok(Checked { value, warnings })
}

/// Complaints about fields as a refusal, as warnings, or as nothing.
fn judge(
    repeated: &[String],
    unknown_fields: &[String],
    validation: FieldValidation,
    refuse: impl Fn(&str) -> Refusal,
) -> Result<Vec<String>> {
    let unknown = unknown_fields.iter().map(|path| format!("unknown field {path:?}"));
    // A field the kind does not have is not counted.
    let is_known = |complaint: &&String| !unknown_fields.iter().any(|path| **complaint == duplicate_field(path));
    let complaints: Vec<String> = repeated.iter().filter(is_known).cloned().chain(unknown).collect();
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            Err(refuse(&format!("strict decoding error: {}", complaints.join(", "))))
        }
        FieldValidation::Warn => Ok(complaints),
        FieldValidation::Strict | FieldValidation::Ignore => Ok(Vec::new()),
    }
}

/// The reader of a kind's JSON: Go's rules for Kubernetes' own kinds, those of definitions for custom ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Normal,
    AsGiven,
}

/// Types, then the stored form.
fn decode(
    resource: &Resource,
    mut value: Value,
    reading: Reading,
) -> std::result::Result<(Value, Vec<String>), String> {
    if let Some(object) = value.as_object_mut() {
        object.remove("apiVersion");
        object.remove("kind");
        // The typed form requires metadata to be an object; absent and null mean empty.
        if object.get("metadata").is_none_or(Value::is_null) {
            object.insert("metadata".to_owned(), Value::Object(serde_json::Map::new()));
        }
    }
    let schema = resource.schema.schema();
    let decoded = match (resource.custom(), reading) {
        (Some(custom), Reading::Normal) => custom.decode(value),
        (Some(custom), Reading::AsGiven) => custom.decode_as_given(value),
        (None, Reading::Normal) => decode::decode(resource.kind, schema, value),
        (None, Reading::AsGiven) => decode::decode_as_given(resource.kind, schema, value),
    };
    let decoded = decoded.map_err(|error| error.to_string())?;
    let mut stored = match resource.view {
        View::Stored => decoded.value,
        View::EventsGroup => event_view::to_stored(decoded.value),
    };
    metadata::of_mut(&mut stored);
    Ok((stored, decoded.unknown_fields))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn served() -> std::sync::Arc<Served> {
        crate::registry::Registry::default().served()
    }

    fn config_maps() -> &'static Resource {
        crate::registry::find("", "v1", "configmaps").unwrap()
    }

    #[test]
    fn another_kind_is_refused_in_the_words_of_the_api_server() {
        let refused = |value| check(&served(), config_maps(), value, &[], FieldValidation::Warn).unwrap_err().message;
        assert_eq!(
            refused(json!({"apiVersion": "v1", "kind": "Secret"})),
            "Secret in version \"v1\" cannot be handled as a ConfigMap: \
             converting (v1.Secret) to (core.ConfigMap): unknown conversion"
        );
        assert!(refused(json!({"apiVersion": "v1", "kind": "Foo"})).contains("no kind \"Foo\" is registered"));
    }

    #[test]
    fn strict_names_each_unknown_field() {
        let value = json!({"metadata": {"name": "a"}, "colour": 1, "shape": 2});
        let refusal = check(&served(), config_maps(), value.clone(), &[], FieldValidation::Strict).unwrap_err();
        assert_eq!(
            refusal.message,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
             unknown field \"colour\", unknown field \"shape\""
        );
        assert_eq!(check(&served(), config_maps(), value, &[], FieldValidation::Warn).unwrap().warnings.len(), 2);
    }

    #[test]
    fn what_is_not_json_is_a_bad_request_that_shows_its_beginning() {
        let refusal = parse(config_maps(), b"{\"a\": oops", Syntax::Json).unwrap_err();
        assert_eq!(refusal.code, 400);
        assert!(refusal.message.ends_with("({\"a\": oops)"), "{}", refusal.message);
        let refusal = parse(config_maps(), b"oops", Syntax::Json).unwrap_err();
        assert!(refusal.message.ends_with("(6f6f7073)"), "{}", refusal.message);
    }
}
