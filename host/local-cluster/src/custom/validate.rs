//! Which objects of a custom kind are valid: a JSON Schema validator's findings in the words of the API server.
//!
//! Source of the words: kube-openapi `pkg/validation/errors` and apiextensions-apiserver `pkg/apiserver/validation`.

use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind as Kind};
use jsonschema::paths::{Location, LocationSegment};
use serde_json::{Map, Value, json};

use super::Custom;
use crate::schema::Schema;
use crate::status::FieldError;

/// Formats that are checked; others are taken as any text, as the API server takes those it does not know.
const FORMATS: [&str; 8] = ["date", "date-time", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"];

impl Custom {
    /// What is wrong with an object, beside its metadata.
    pub(crate) fn validate(&self, value: &Value) -> Vec<FieldError> {
        let validator = self.validator.get_or_init(|| compile(&self.given).ok());
        let Some(validator) = validator else {
            // Checked when the definition came: only a change of the validator itself leads here.
            return vec![FieldError::invalid_text("", "", "the definition's schema cannot be compiled")];
        };
        let mut errors: Vec<FieldError> = validator.iter_errors(value).flat_map(|error| field_errors(&error)).collect();
        unique_items(&self.schema, value, &mut String::new(), &mut errors);
        errors
    }
}

/// A validator for a structural schema of OpenAPI v3.
pub(super) fn compile(schema: &Value) -> Result<jsonschema::Validator, String> {
    let mut schema = translated(schema);
    // What every object has is not a matter of its schema.
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| !["apiVersion", "kind", "metadata"].iter().any(|own| name == own));
        if required.is_empty() {
            schema.as_object_mut().map(|schema| schema.remove("required"));
        }
    }
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft7)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .offline()
        .build(&schema)
        .map_err(|error| error.to_string())
}

/// The same schema in JSON Schema's own vocabulary (draft 7, where 1.0 is an integer as it is to the API server).
fn translated(schema: &Value) -> Value {
    let Some(schema) = schema.as_object() else { return schema.clone() };
    let nullable = schema.get("nullable") == Some(&Value::Bool(true));
    let flexible = schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
    let exclusive = |keyword: &str| schema.get(keyword) == Some(&Value::Bool(true));
    let mut next = Map::new();
    for (keyword, value) in schema {
        let value = match keyword.as_str() {
            "properties" => {
                value.as_object().into_iter().flatten().map(|(name, one)| (name.clone(), translated(one))).collect()
            }
            "items" | "additionalProperties" | "not" => translated(value),
            "allOf" | "anyOf" | "oneOf" => value.as_array().into_iter().flatten().map(translated).collect(),
            "enum" if nullable => {
                let mut options = value.as_array().cloned().unwrap_or_default();
                options.push(Value::Null);
                Value::Array(options)
            }
            "type" if nullable => json!([value, "null"]),
            "format" if !value.as_str().is_some_and(|format| FORMATS.contains(&format)) => continue,
            "required" if value.as_array().is_none_or(Vec::is_empty) => continue,
            // Exclusive bounds are flags in OpenAPI, and bounds of their own in JSON Schema.
            "minimum" if exclusive("exclusiveMinimum") => {
                next.insert("exclusiveMinimum".to_owned(), value.clone());
                continue;
            }
            "maximum" if exclusive("exclusiveMaximum") => {
                next.insert("exclusiveMaximum".to_owned(), value.clone());
                continue;
            }
            "type" | "enum" | "format" | "required" | "minimum" | "maximum" | "multipleOf" | "minLength"
            | "maxLength" | "pattern" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => value.clone(),
            _ => continue,
        };
        next.insert(keyword.clone(), value);
    }
    if flexible {
        let types = if nullable { json!(["integer", "string", "null"]) } else { json!(["integer", "string"]) };
        next.insert("type".to_owned(), types);
    }
    Value::Object(next)
}

/// `spec.list[0].name`.
fn path(location: &Location) -> String {
    let mut path = String::new();
    for segment in location {
        match segment {
            LocationSegment::Property(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&name);
            }
            LocationSegment::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

fn field_errors(error: &ValidationError<'_>) -> Vec<FieldError> {
    let path = path(error.instance_path());
    let value = error.instance();
    let invalid = |why: String| FieldError::invalid(path.clone(), &value.to_string(), &format!("{path} in body {why}"));
    let count = |value: &Value| match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    vec![match error.kind() {
        Kind::Type { kind } => {
            let found = json_type(value);
            let why = format!("{path} in body must be of type {}: {found:?}", wanted_types(kind));
            FieldError::type_invalid(path, &format!("{found:?}"), &why)
        }
        Kind::Format { format } => {
            let text = value.to_string();
            let why = format!("{path} in body must be of type {format}: {text}");
            FieldError::type_invalid(path, &text, &why)
        }
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            FieldError::required(field, "")
        }
        Kind::Enum { options } => {
            let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let options: Vec<String> =
                options.as_array().into_iter().flatten().filter(|option| !option.is_null()).map(shown).collect();
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            FieldError::not_supported_value(path, value, &options)
        }
        Kind::MaxLength { limit } => FieldError::too_long(path, usize::try_from(*limit).unwrap_or(usize::MAX)),
        Kind::MinLength { limit } => invalid(format!("should be at least {limit} chars long")),
        Kind::Pattern { pattern } => invalid(format!("should match '{pattern}'")),
        Kind::Maximum { limit } => invalid(format!("should be less than or equal to {limit}")),
        Kind::ExclusiveMaximum { limit } => invalid(format!("should be less than {limit}")),
        Kind::Minimum { limit } => invalid(format!("should be greater than or equal to {limit}")),
        Kind::ExclusiveMinimum { limit } => invalid(format!("should be greater than {limit}")),
        Kind::MultipleOf { multiple_of } => invalid(format!("should be a multiple of {multiple_of}")),
        Kind::MaxItems { limit } | Kind::MaxProperties { limit } => FieldError::too_many(path, count(value), *limit),
        Kind::MinItems { limit } => {
            let why = format!("{path} in body should have at least {limit} items");
            FieldError::invalid(path, &count(value).to_string(), &why)
        }
        Kind::MinProperties { limit } => {
            let why = format!("{path} in body should have at least {limit} properties");
            FieldError::invalid(path, &count(value).to_string(), &why)
        }
        Kind::AnyOf { .. } => {
            let why = format!("{path:?} must validate at least one schema (anyOf)");
            FieldError::invalid_text("<nil>", "", &why)
        }
        Kind::OneOfNotValid { .. } => {
            let why = format!("{path:?} must validate one and only one schema (oneOf). Found none valid");
            FieldError::invalid_text("<nil>", "", &why)
        }
        Kind::OneOfMultipleValid { .. } => {
            let why = format!("{path:?} must validate one and only one schema (oneOf). Found 2 valid alternatives");
            FieldError::invalid_text("<nil>", "", &why)
        }
        Kind::Not { .. } => {
            FieldError::invalid_text("<nil>", "", &format!("{path:?} must not validate the schema (not)"))
        }
        _ => FieldError::invalid(path, &value.to_string(), &error.to_string()),
    }]
}

fn wanted_types(kind: &TypeKind) -> String {
    let types: Vec<String> = match kind {
        TypeKind::Single(one) => vec![one.to_string()],
        TypeKind::Multiple(many) => many.iter().map(|one| one.to_string()).collect(),
    };
    // Null was added for `nullable`, which is no type of its own.
    types.into_iter().filter(|name| name != "null").collect::<Vec<_>>().join(",")
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Sets have each value once, keyed lists each key.
fn unique_items(schema: &Schema, value: &Value, path: &mut String, errors: &mut Vec<FieldError>) {
    let length = path.len();
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let known = schema.fields.get(name);
                let Some(below) = known.or(schema.values.as_deref()) else { continue };
                match known {
                    Some(_) if path.is_empty() => path.push_str(name),
                    Some(_) => path.push_str(&format!(".{name}")),
                    None => path.push_str(&format!("[{name}]")),
                }
                unique_items(below, value, path, errors);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            let repeated = schema.repeated_items(items).into_iter();
            errors.extend(
                repeated.map(|(index, shown)| FieldError::duplicate(format!("{path}[{index}]"), &shown.to_string())),
            );
            let Some(below) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                unique_items(below, item, path, errors);
                path.truncate(length);
            }
        }
        _ => {}
    }
}
