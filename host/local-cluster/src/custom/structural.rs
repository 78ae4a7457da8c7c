//! Which schemas a definition may have: structural ones (apiextensions-apiserver `pkg/apiserver/schema` and
//! `pkg/apis/apiextensions/validation`).
//!
//! Types stand outside of value validations, every list has items, and what OpenAPI has beyond that is refused by name.

use serde_json::{Map, Value, json};

use super::validate;
use crate::status::FieldError;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Where in the object a schema stands, which decides what it must say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

struct Walk {
    errors: Vec<FieldError>,
}

/// What is wrong with the schema of a version, which stands at `path`.
pub(super) fn check(path: &str, schema: &Value) -> Vec<FieldError> {
    let mut walk = Walk { errors: Vec::new() };
    walk.check(path, schema, Level::Root);
    if schema.get("nullable") == Some(&Value::Bool(true)) {
        walk.errors.push(FieldError::forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    if walk.errors.is_empty()
        && let Err(why) = validate::compile(schema)
    {
        walk.errors.push(FieldError::invalid_text(path, "", &why));
    }
    walk.errors
}

/// Where a rule in CEL stands, if there is one.
pub(super) fn rule_in(schema: &Value) -> Option<String> {
    fn find(value: &Value, path: &str) -> Option<String> {
        match value {
            Value::Object(fields) => fields.iter().find_map(|(name, value)| {
                // An empty list of rules asks for nothing; under `properties` the name is that of a field.
                let is_rules =
                    name == "x-kubernetes-validations" && value.as_array().is_some_and(|one| !one.is_empty());
                if is_rules && !path.ends_with(".properties") {
                    return Some(if path.is_empty() { "the root".to_owned() } else { path[1..].to_owned() });
                }
                find(value, &format!("{path}.{name}"))
            }),
            Value::Array(items) => {
                items.iter().enumerate().find_map(|(index, item)| find(item, &format!("{path}[{index}]")))
            }
            _ => None,
        }
    }
    find(schema, "")
}

fn text<'a>(schema: &'a Value, keyword: &str) -> &'a str {
    schema.get(keyword).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword) == Some(&Value::Bool(true))
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// The one exception: what `x-kubernetes-int-or-string` may be spelled out with.
fn is_integer_or_string(any_of: Option<&Value>) -> bool {
    any_of == Some(&json!([{"type": "integer"}, {"type": "string"}]))
}

impl Walk {
    fn required(&mut self, path: String, why: &str) {
        self.errors.push(FieldError::required(path, why));
    }

    fn forbidden(&mut self, path: String, why: &str) {
        self.errors.push(FieldError::forbidden(path, why));
    }

    fn invalid(&mut self, path: String, value: &Value, why: &str) {
        self.errors.push(FieldError::invalid(path, &value.to_string(), why));
    }

    fn check(&mut self, path: &str, schema: &Value, level: Level) {
        self.check_keywords(path, schema);
        self.check_type(path, schema, level);
        self.check_lists(path, schema);
        self.check_metadata(path, schema, level);
        for (name, below) in properties(schema) {
            self.check(&format!("{path}.properties[{name}]"), below, Level::Field);
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            self.check(&format!("{path}.items"), items, Level::Item);
        }
        if let Some(values) = schema.get("additionalProperties") {
            let path = format!("{path}.additionalProperties");
            if level == Level::Root {
                self.forbidden(path.clone(), "must not be used at the root");
            }
            if schema
                .get("properties")
                .is_some_and(|fields| fields.as_object().is_some_and(|fields| !fields.is_empty()))
                && values != true
            {
                self.forbidden(path.clone(), "additionalProperties and properties are mutual exclusive");
            }
            if flag(schema, "x-kubernetes-embedded-resource") {
                self.forbidden(path.clone(), "must not be used if x-kubernetes-embedded-resource is set");
            }
            if values.is_object() {
                self.check(&path, values, Level::Field);
            }
        }
        self.check_junctors(path, schema);
    }

    fn check_keywords(&mut self, path: &str, schema: &Value) {
        if flag(schema, "uniqueItems") {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbidden(format!("{path}.uniqueItems"), why);
        }
        for keyword in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
            if schema.get(keyword).is_some_and(|value| !value.is_null() && *value != json!({})) {
                self.forbidden(format!("{path}.{keyword}"), &format!("{keyword} is not supported"));
            }
        }
        let pattern = text(schema, "pattern");
        if let Err(why) = validate::compile(&json!({"pattern": pattern})) {
            let why = format!("must be a valid regular expression, but isn't: {why}");
            self.invalid(format!("{path}.pattern"), &pattern.into(), &why);
        }
        if schema.get("items").is_some_and(Value::is_array) {
            self.forbidden(format!("{path}.items"), "items must be a schema object and not an array");
        }
        if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let path = format!("{path}.x-kubernetes-preserve-unknown-fields");
            self.invalid(path, &Value::Bool(false), "must be true or undefined");
        }
        if flag(schema, "x-kubernetes-int-or-string") {
            for other in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
                if flag(schema, other) {
                    let why = "must be false if x-kubernetes-int-or-string is true";
                    self.invalid(format!("{path}.{other}"), &Value::Bool(true), why);
                }
            }
        }
    }

    fn check_type(&mut self, path: &str, schema: &Value, level: Level) {
        let at = format!("{path}.type");
        let kind = text(schema, "type");
        let embedded = flag(schema, "x-kubernetes-embedded-resource");
        let free = flag(schema, "x-kubernetes-int-or-string") || flag(schema, "x-kubernetes-preserve-unknown-fields");
        if kind == "null" {
            self.forbidden(at.clone(), "type cannot be set to null, use nullable as an alternative");
        } else if !kind.is_empty() && !TYPES.contains(&kind) {
            self.errors.push(FieldError::not_supported(at.clone(), kind, &TYPES));
        }
        if embedded && kind != "object" {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            match kind {
                "" => self.required(at, why),
                _ => self.invalid(at, &kind.into(), why),
            }
        } else if kind.is_empty() && !free {
            let why = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.required(at, why);
        } else if level == Level::Root && !kind.is_empty() && kind != "object" {
            self.invalid(at, &kind.into(), "must be object at the root");
        }
        if kind == "array" && schema.get("items").is_none() {
            self.required(format!("{path}.items"), "must be specified");
        }
        if embedded && !flag(schema, "x-kubernetes-preserve-unknown-fields") && properties(schema).next().is_none() {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                       x-kubernetes-preserve-unknown-fields";
            self.required(format!("{path}.properties"), why);
        }
    }

    fn check_lists(&mut self, path: &str, schema: &Value) {
        let kind = text(schema, "type");
        for (keyword, wanted, known) in [
            ("x-kubernetes-map-type", "object", &["atomic", "granular"][..]),
            ("x-kubernetes-list-type", "array", &["atomic", "set", "map"]),
        ] {
            let Some(given) = schema.get(keyword).and_then(Value::as_str) else { continue };
            let why = format!("must be {wanted} if {keyword} is specified");
            match kind {
                "" => self.required(format!("{path}.type"), &why),
                kind if kind != wanted => self.invalid(format!("{path}.type"), &kind.into(), &why),
                _ => {}
            }
            if !known.contains(&given) {
                self.errors.push(FieldError::not_supported(format!("{path}.{keyword}"), given, known));
            }
        }
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let keys: Vec<&str> = keys.into_iter().flatten().filter_map(Value::as_str).collect();
        let list_type = text(schema, "x-kubernetes-list-type");
        if !keys.is_empty() && list_type != "map" {
            let at = format!("{path}.x-kubernetes-list-type");
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            match list_type {
                "" => self.required(at, why),
                other => self.invalid(at, &other.into(), why),
            }
        }
        let Some(items) = schema.get("items").filter(|_| matches!(list_type, "set" | "map")) else { return };
        if flag(items, "nullable") {
            let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
            self.forbidden(format!("{path}.items.nullable"), &why);
        }
        match list_type {
            "map" => self.check_keyed(path, schema, items, &keys),
            _ => self.check_set(path, items),
        }
    }

    fn check_set(&mut self, path: &str, items: &Value) {
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let (keyword, allowed) = match text(items, "type") {
            "array" => ("x-kubernetes-list-type", matches!(text(items, "x-kubernetes-list-type"), "" | "atomic")),
            "object" => ("x-kubernetes-map-type", text(items, "x-kubernetes-map-type") == "atomic"),
            _ => return,
        };
        if !allowed {
            let given = items.get("x-kubernetes-list-type").cloned().unwrap_or_default();
            self.invalid(format!("{path}.items.{keyword}"), &given, why);
        }
    }

    fn check_keyed(&mut self, path: &str, schema: &Value, items: &Value, keys: &[&str]) {
        let at_keys = format!("{path}.x-kubernetes-list-map-keys");
        if keys.is_empty() {
            self.required(at_keys.clone(), "must not be empty if x-kubernetes-list-type is map");
        }
        let kind = text(items, "type");
        if kind != "object" {
            let why = "must be object if parent array's x-kubernetes-list-type is map";
            self.invalid(format!("{path}.items.type"), &kind.into(), why);
            return;
        }
        let required = items.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let shown = schema.get("x-kubernetes-list-map-keys").cloned().unwrap_or_default();
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].contains(key) {
                self.invalid(at_keys.clone(), &shown, "must not contain duplicate entries");
            }
            let Some(field) = items.get("properties").and_then(|fields| fields.get(key)) else {
                self.invalid(at_keys.clone(), &shown, "entries must all be names of item properties");
                continue;
            };
            let at = format!("{path}.items.properties[{key}]");
            if matches!(text(field, "type"), "array" | "object") {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                self.invalid(format!("{at}.type"), &kind.into(), why);
            }
            if !required.contains(&Value::from(*key)) && field.get("default").is_none() {
                let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required \
                           property";
                self.required(format!("{at}.default"), why);
            }
            if flag(field, "nullable") {
                let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbidden(format!("{at}.nullable"), why);
            }
        }
    }

    /// Metadata is every object's own; a schema may only narrow its names.
    fn check_metadata(&mut self, path: &str, schema: &Value, level: Level) {
        if level != Level::Root && !flag(schema, "x-kubernetes-embedded-resource") {
            return;
        }
        let field = |name: &str| schema.get("properties").and_then(|fields| fields.get(name));
        for name in ["kind", "apiVersion"] {
            if let Some(field) = field(name).filter(|field| text(field, "type") != "string") {
                let kind = text(field, "type").into();
                self.invalid(format!("{path}.properties[{name}].type"), &kind, "must be string");
            }
        }
        let Some(metadata) = field("metadata") else { return };
        let at = format!("{path}.properties[metadata]");
        if text(metadata, "type") != "object" {
            self.invalid(format!("{at}.type"), &text(metadata, "type").into(), "must be object");
        }
        let only_names = properties(metadata).all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
        let known = ["type", "properties", "description"];
        let nothing_else = metadata.as_object().is_some_and(|all| all.keys().all(|one| known.contains(&one.as_str())));
        if level == Level::Root && !(only_names && nothing_else) {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.forbidden(at, why);
        }
    }

    /// Value validations below a junctor say nothing about structure.
    fn check_junctors(&mut self, path: &str, schema: &Value) {
        for junctor in JUNCTORS {
            let branches = schema.get(junctor).and_then(Value::as_array).into_iter().flatten();
            let exempt = junctor == "anyOf" && is_integer_or_string(schema.get(junctor));
            for (index, branch) in branches.enumerate().filter(|_| !exempt) {
                self.check_value_validation(&format!("{path}.{junctor}[{index}]"), branch);
            }
        }
        if let Some(not) = schema.get("not") {
            self.check_value_validation(&format!("{path}.not"), not);
        }
    }

    fn check_value_validation(&mut self, path: &str, schema: &Value) {
        for (keyword, must) in [
            ("type", "must be empty to be structural"),
            ("additionalProperties", "must be undefined to be structural"),
            ("default", "must be undefined to be structural"),
            ("title", "must be empty to be structural"),
            ("description", "must be empty to be structural"),
            ("nullable", "must be false to be structural"),
            ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
            ("x-kubernetes-embedded-resource", "must be false to be structural"),
            ("x-kubernetes-int-or-string", "must be false to be structural"),
            ("x-kubernetes-list-map-keys", "must be empty to be structural"),
            ("x-kubernetes-list-type", "must be undefined to be structural"),
            ("x-kubernetes-map-type", "must be undefined to be structural"),
        ] {
            if schema.get(keyword).is_some_and(|value| !value.is_null() && *value != false) {
                self.forbidden(format!("{path}.{keyword}"), must);
            }
        }
        for (name, below) in properties(schema) {
            self.check_value_validation(&format!("{path}.properties[{name}]"), below);
        }
        if let Some(items) = schema.get("items") {
            self.check_value_validation(&format!("{path}.items"), items);
        }
        self.check_junctors(path, schema);
    }
}
