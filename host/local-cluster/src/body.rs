//! A request's body: read as JSON or YAML, held against the kind the path speaks of, brought into its stored form.
//!
//! Owns the errors of decoding. Looks at no stored object.

use serde_json::Value;

use crate::duplicates;
use crate::event_view;
use crate::metadata;
use crate::protobuf::{self, ProtobufError};
use crate::query::FieldValidation;
use crate::resource::{RESOURCES, Resource, View};
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
    let unrecognized = |why: String| {
        Refusal::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             {why} ({})",
            resource.kind,
            summary(body)
        ))
    };
    let value = match syntax {
        Syntax::Json => serde_json::from_slice(body).map_err(|error| unrecognized(error.to_string()))?,
        Syntax::Yaml => parse_yaml(body).map_err(unrecognized)?,
        Syntax::Protobuf => parse_protobuf(body)?,
    };
    if Value::is_object(&value) { Ok(value) } else { Err(unrecognized("expected a JSON object".to_owned())) }
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
        Syntax::Json | Syntax::Yaml => parse_yaml(body)
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
fn check_kind(resource: &Resource, value: &Value) -> Result<()> {
    let text = |field: &str, absent: &'static str| match value.get(field) {
        None | Some(Value::Null) => Ok(absent.to_owned()),
        Some(Value::String(text)) if text.is_empty() => Ok(absent.to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(cannot_be_handled(resource, resource.kind, &format!("{field} must be a string"))),
    };
    let api_version = text("apiVersion", resource.api_version)?;
    let kind = text("kind", resource.kind)?;
    if api_version == resource.api_version && kind == resource.kind {
        return Ok(());
    }
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let known = RESOURCES.iter().find(|known| known.api_version == api_version && known.kind == kind);
    let why = match known {
        Some(known) if known.collection == resource.collection => {
            return Err(Refusal::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({})",
                resource.api_version
            )));
        }
        Some(known) => format!(
            "converting ({}.{kind}) to ({}.{}): unknown conversion",
            known.version, resource.internal_package, resource.kind
        ),
        None => format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ),
    };
    Err(Refusal::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", resource.kind)))
}

fn cannot_be_handled(resource: &Resource, kind: &str, why: &str) -> Refusal {
    Refusal::bad_request(format!(
        "{kind} in version {:?} cannot be handled as a {}: {why}",
        resource.version, resource.kind
    ))
}

/// Reads a whole body as an object of `resource` and holds it against its kind.
pub(crate) fn read(
    resource: &'static Resource,
    body: &[u8],
    syntax: Syntax,
    validation: FieldValidation,
) -> Result<Checked> {
    let repeated = if syntax == Syntax::Json { repeated_fields(body, validation) } else { Vec::new() };
    check(resource, parse(resource, body, syntax)?, &repeated, validation)
}

/// Complaints about fields a JSON text has twice; not looked for where nobody asked.
pub(crate) fn repeated_fields(json: &[u8], validation: FieldValidation) -> Vec<String> {
    match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn | FieldValidation::Strict => {
            duplicates::find(json).iter().map(|path| format!("duplicate field {path:?}")).collect()
        }
    }
}

/// Holds an object against its kind's types, and what is wrong with its fields against `validation`.
pub(crate) fn check(
    resource: &'static Resource,
    value: Value,
    repeated: &[String],
    validation: FieldValidation,
) -> Result<Checked> {
    check_kind(resource, &value)?;
    let refuse = |why: &str| cannot_be_handled(resource, resource.kind, why);
    let (value, unknown_fields) = decode(resource, value).map_err(|why| refuse(&why))?;
    let warnings = judge(repeated, &unknown_fields, validation, refuse)?;
    Ok(Checked { value, warnings })
}

/// Holds the result of a patch against its kind's types. Its errors are about the patch, so they are of another form.
pub(crate) fn check_patched(
    resource: &'static Resource,
    patched: Value,
    repeated: &[String],
    validation: FieldValidation,
) -> Result<Checked> {
    let shown = patched.to_string();
    let refuse = |why: &str| {
        let error = crate::status::FieldError::invalid_text("patch", &shown, why);
        Refusal::invalid("", "", "", &[error])
    };
    check_kind(resource, &patched).map_err(|refusal| refuse(&refusal.message))?;
    let (value, unknown_fields) = decode(resource, patched).map_err(|why| refuse(&why))?;
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
    let complaints: Vec<String> = repeated.iter().cloned().chain(unknown).collect();
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            Err(refuse(&format!("strict decoding error: {}", complaints.join(", "))))
        }
        FieldValidation::Warn => Ok(complaints),
        FieldValidation::Strict | FieldValidation::Ignore => Ok(Vec::new()),
    }
}

/// Types, then the stored form.
fn decode(resource: &'static Resource, mut value: Value) -> std::result::Result<(Value, Vec<String>), String> {
    if let Some(object) = value.as_object_mut() {
        object.remove("apiVersion");
        object.remove("kind");
        // The typed form requires metadata to be an object; absent and null mean empty.
        if object.get("metadata").is_none_or(Value::is_null) {
            object.insert("metadata".to_owned(), Value::Object(serde_json::Map::new()));
        }
    }
    let decoded = (resource.decode)(value).map_err(|error| format!("json: {error}"))?;
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

    fn config_maps() -> &'static Resource {
        crate::resource::find("", "v1", "configmaps").unwrap()
    }

    #[test]
    fn another_kind_is_refused_in_the_words_of_the_api_server() {
        let refused = |value| check(config_maps(), value, &[], FieldValidation::Warn).unwrap_err().message;
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
        let refusal = check(config_maps(), value.clone(), &[], FieldValidation::Strict).unwrap_err();
        assert_eq!(
            refusal.message,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
             unknown field \"colour\", unknown field \"shape\""
        );
        assert_eq!(check(config_maps(), value, &[], FieldValidation::Warn).unwrap().warnings.len(), 2);
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
