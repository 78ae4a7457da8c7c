//! What fields a kind has: their types, and how their lists and maps are merged. One form for Kubernetes' own kinds and for custom
//! resources.
//!
//! The definitions of built-in kinds come from a table derived from the published OpenAPI and the Go sources (`examples/kinds`);
//! each is read when it is first asked for.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde_json::{Map, Value};

use crate::resource::Resource;

/// One place of a kind and what is below it.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) form: Form,
    pub(crate) fields: BTreeMap<String, Schema>,
    /// Of a list's items.
    pub(crate) items: Option<Box<Schema>>,
    /// Of a map's values.
    pub(crate) values: Option<Box<Schema>>,
    pub(crate) default: Option<Value>,
    /// How Go writes the field when it is empty.
    pub(crate) empty: Empty,
    /// Go's name of the type, where it is not the plain one.
    go_type: Option<String>,
    apply: ApplyRule,
    patch: PatchRule,
    /// Unknown fields stay (`x-kubernetes-preserve-unknown-fields`).
    pub(crate) preserves_unknown: bool,
    /// The place holds a whole object, with kind and metadata (`x-kubernetes-embedded-resource`).
    pub(crate) embedded: bool,
    pub(crate) nullable: bool,
}

/// What JSON a place holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    #[default]
    Any,
    /// What the named definition says.
    Reference(&'static str),
    /// An object with named fields.
    Fields,
    /// An object with values of one form, or of any.
    Map,
    List,
    Text,
    Bytes,
    Integer32,
    Integer,
    Number,
    Boolean,
    IntegerOrText,
    Quantity,
    Time,
    MicroTime,
    /// The named definition, or something simpler in its place, such as a boolean.
    OrReference(&'static str),
}

/// What becomes of a field that is empty (Go's `omitempty`, and whether the field is a pointer).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// Null is left out, and so is an empty list or map.
    #[default]
    LeftOut,
    /// Any zero value is left out.
    ZeroLeftOut,
    /// Always written.
    Written,
}

/// How server-side apply merges a list or map (`x-kubernetes-list-type`, `x-kubernetes-map-type`).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum ApplyRule {
    /// Lists as one value, maps by key.
    #[default]
    Default,
    /// A list as a set of scalars.
    Set,
    /// A list of items told apart by these keys.
    Keyed(Vec<Key>),
    /// A map as one value.
    Atomic,
}

/// One key of a keyed list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// What an absent key means.
    pub(crate) default: Option<String>,
}

/// How a strategic merge patch merges a list (`x-kubernetes-patch-strategy`).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum PatchRule {
    #[default]
    Replace,
    /// A list of scalars, merged as a set.
    MergeSet,
    /// A list of items told apart by this key.
    MergeByKey(String),
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// A definition of the table: read when it is first asked for.
struct Definition {
    /// Field -> how Go treats it when it is empty.
    treated: &'static str,
    text: &'static str,
    schema: OnceLock<Schema>,
}

static DEFINITIONS: LazyLock<BTreeMap<&'static str, Definition>> = LazyLock::new(|| {
    let lines = include_str!("tables/schemas.tsv").lines().filter(|line| !line.starts_with('#'));
    let definitions = lines.filter_map(|line| {
        let mut columns = line.splitn(3, '\t');
        let (name, treated, text) = (columns.next()?, columns.next()?, columns.next()?);
        Some((name, Definition { treated, text, schema: OnceLock::new() }))
    });
    definitions.collect()
});

/// A definition by its name; one that is not in the table allows anything.
pub(crate) fn definition(name: &str) -> &'static Schema {
    static ANY: LazyLock<Schema> = LazyLock::new(Schema::default);
    let Some(definition) = DEFINITIONS.get(name) else { return &ANY };
    definition.schema.get_or_init(|| {
        let mut schema = Schema::parse(&published(name));
        let treated: BTreeMap<&str, &str> = serde_json::from_str(definition.treated).unwrap_or_default();
        for (field, treatment) in treated {
            let Some(field) = schema.fields.get_mut(field) else { continue };
            let (code, go_type) = treatment.split_once(' ').unwrap_or((treatment, ""));
            field.empty = if code == "k" { Empty::Written } else { Empty::ZeroLeftOut };
            field.go_type = Some(go_type.to_owned()).filter(|name| !name.is_empty());
        }
        schema.form = own_form(name).unwrap_or(schema.form);
        schema
    })
}

/// A definition as it is published, without its descriptions.
pub(crate) fn published(name: &str) -> Value {
    // The table is this program's own; a definition that is not JSON would be one that allows anything.
    DEFINITIONS.get(name).and_then(|definition| serde_json::from_str(definition.text).ok()).unwrap_or_default()
}

/// The definitions whose JSON is not what their schema says: types that read and write themselves.
fn own_form(definition: &str) -> Option<Form> {
    let own = match definition.strip_prefix(META) {
        Some("Time") => Form::Time,
        Some("MicroTime") => Form::MicroTime,
        _ if definition.ends_with(".resource.Quantity") => Form::Quantity,
        _ => match definition.strip_prefix(EXTENSIONS) {
            Some("OrBool" | "OrArray" | "OrStringArray") => Form::OrReference(EXTENSIONS),
            _ => return None,
        },
    };
    Some(own)
}

impl Schema {
    /// Reads a schema of OpenAPI, be it published or of a CustomResourceDefinition.
    pub(crate) fn parse(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let flag = |name: &str| value.get(name) == Some(&Value::Bool(true));
        let fields = value.get("properties").and_then(Value::as_object).into_iter().flatten();
        let fields: BTreeMap<String, Schema> =
            fields.map(|(name, schema)| (name.clone(), Schema::parse(schema))).collect();
        let values = value.get("additionalProperties");
        let items = value.get("items");
        Self {
            form: form(value, !fields.is_empty()),
            fields,
            items: items.map(|items| Box::new(Schema::parse(items))),
            values: values.filter(|values| values.is_object()).map(|values| Box::new(Schema::parse(values))),
            default: value.get("default").cloned(),
            empty: Empty::LeftOut,
            go_type: None,
            apply: apply_rule(value),
            patch: patch_rule(text("x-kubernetes-patch-strategy"), text("x-kubernetes-patch-merge-key")),
            preserves_unknown: flag("x-kubernetes-preserve-unknown-fields") || flag("additionalProperties"),
            embedded: flag("x-kubernetes-embedded-resource"),
            nullable: flag("nullable"),
        }
    }

    /// Items of a set or keyed list that are there a second time, each with what tells it apart.
    pub(crate) fn repeated_items(&self, items: &[Value]) -> Vec<(usize, Value)> {
        let identity = |item: &Value| match &self.apply {
            ApplyRule::Set => Some(item.clone()),
            ApplyRule::Keyed(keys) => {
                let key = |key: &Key| Some((key.name.clone(), item.get(&key.name)?.clone()));
                Some(keys.iter().filter_map(key).collect::<Map<_, _>>().into())
            }
            ApplyRule::Default | ApplyRule::Atomic => None,
        };
        let identities: Vec<Option<Value>> = items.iter().map(identity).collect();
        let mut repeated = Vec::new();
        for (index, identity) in identities.iter().enumerate() {
            let Some(identity) = identity else { continue };
            // Named at its second appearance, and not again.
            if identities[..index].iter().flatten().filter(|earlier| *earlier == identity).count() == 1 {
                repeated.push((index, identity.clone()));
            }
        }
        repeated
    }

    /// A place that holds what a definition says.
    pub(crate) fn reference(definition: &'static str) -> Self {
        Self { form: Form::Reference(definition), ..Self::default() }
    }

    /// The schema itself, or the one it refers to.
    pub(crate) fn target(&self) -> &Schema {
        match self.form {
            Form::Reference(name) => definition(name),
            _ => self,
        }
    }

    /// Go's name of the type, as its errors have it.
    pub(crate) fn go_type(&self) -> String {
        if let Some(name) = &self.go_type {
            return name.clone();
        }
        let of = |schema: &Option<Box<Schema>>| schema.as_ref().map_or("interface {}".to_owned(), |one| one.go_type());
        match self.form {
            Form::Reference(name) | Form::OrReference(name) => {
                let mut parts = name.rsplit('.');
                let kind = parts.next().unwrap_or_default();
                format!("{}.{kind}", parts.next().unwrap_or_default())
            }
            Form::List => format!("[]{}", of(&self.items)),
            Form::Map | Form::Fields => format!("map[string]{}", of(&self.values)),
            Form::Bytes => "[]uint8".to_owned(),
            Form::Integer32 | Form::IntegerOrText => "int32".to_owned(),
            Form::Integer => "int64".to_owned(),
            Form::Number => "float64".to_owned(),
            Form::Boolean => "bool".to_owned(),
            _ => "string".to_owned(),
        }
    }
}

fn form(value: &Value, has_fields: bool) -> Form {
    let reference = value.get("$ref").or_else(|| value.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    if let Some(name) = reference.and_then(|reference| reference.rsplit('/').next())
        && let Some((name, _)) = DEFINITIONS.get_key_value(name)
    {
        return own_form(name).unwrap_or(Form::Reference(name));
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("format") == "int-or-string" || value.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return Form::IntegerOrText;
    }
    match (text("type"), text("format")) {
        ("object", _) if has_fields => Form::Fields,
        ("object", _) => Form::Map,
        ("array", _) => Form::List,
        ("string", "byte") => Form::Bytes,
        ("string", _) => Form::Text,
        ("integer", "int32") => Form::Integer32,
        ("integer", _) => Form::Integer,
        ("number", _) => Form::Number,
        ("boolean", _) => Form::Boolean,
        _ => Form::Any,
    }
}

fn apply_rule(value: &Value) -> ApplyRule {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let list = |name: &str| value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    match (text("x-kubernetes-list-type"), text("x-kubernetes-map-type")) {
        ("map", _) => {
            let item = value.get("items").map(resolve).unwrap_or_default();
            let keys = list("x-kubernetes-list-map-keys").iter().filter_map(Value::as_str);
            ApplyRule::Keyed(keys.map(|key| Key { name: key.to_owned(), default: key_default(&item, key) }).collect())
        }
        ("set", _) => ApplyRule::Set,
        (_, "atomic") => ApplyRule::Atomic,
        // Objects without known fields cannot be merged; metav1.FieldsV1 is one. Those of custom resources say that they can.
        _ if text("type") == "object"
            && value.get("properties").is_none()
            && value.get("additionalProperties").is_none()
            && value.get("x-kubernetes-preserve-unknown-fields").is_none() =>
        {
            ApplyRule::Atomic
        }
        _ => ApplyRule::Default,
    }
}

/// The JSON of a schema, or of what it refers to.
fn resolve(value: &Value) -> Value {
    let reference = value.get("$ref").or_else(|| value.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    match reference.and_then(|reference| reference.rsplit('/').next()) {
        Some(name) => published(name),
        None => value.clone(),
    }
}

/// Keys with a default, such as a port's protocol, may be left out of an applied item.
fn key_default(item: &Value, key: &str) -> Option<String> {
    let default = item.pointer(&format!("/properties/{key}/default")).and_then(Value::as_str);
    default.filter(|default| !default.is_empty()).map(str::to_owned)
}

fn patch_rule(strategy: &str, key: &str) -> PatchRule {
    match (strategy.contains("merge"), key) {
        (false, _) => PatchRule::Replace,
        (true, "") => PatchRule::MergeSet,
        (true, key) => PatchRule::MergeByKey(key.to_owned()),
    }
}

/// The merge rules at one place of a kind and below it. `Copy`, so that walks can carry it along.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'a>(Option<&'a Schema>);

impl<'a> Shape<'a> {
    /// The rules of a whole object as its clients see it.
    pub(crate) fn of(resource: &'a Resource) -> Self {
        Shape(Some(resource.schema.schema()))
    }

    /// The rules of a whole object as it is stored.
    pub(crate) fn stored(resource: &'a Resource) -> Self {
        Shape(Some(resource.stored_schema.schema()))
    }

    /// The rules of a field, or of a map's value.
    pub(crate) fn field(self, name: &str) -> Self {
        let Some(schema) = self.0.map(Schema::target) else { return self };
        if name == "metadata" && schema.embedded {
            return Shape(Some(definition(OBJECT_META)));
        }
        Shape(schema.fields.get(name).or(schema.values.as_deref()))
    }

    /// The rules of a list's items.
    pub(crate) fn item(self) -> Self {
        Shape(self.0.and_then(|schema| schema.target().items.as_deref()))
    }

    pub(crate) fn apply(self) -> &'a ApplyRule {
        match self.0 {
            None => &ApplyRule::Default,
            Some(schema) if schema.apply == ApplyRule::Default => &schema.target().apply,
            Some(schema) => &schema.apply,
        }
    }

    pub(crate) fn patch(self) -> &'a PatchRule {
        self.0.map_or(&PatchRule::Replace, |schema| &schema.patch)
    }
}

/// The names of the definitions that `name` needs, itself among them, each with its published schema.
pub(crate) fn closure<'a>(names: impl IntoIterator<Item = &'a str>) -> Map<String, Value> {
    let mut wanted: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let mut found = Map::new();
    while let Some(name) = wanted.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let schema = published(&name);
        references(&schema, &mut wanted);
        found.insert(name, schema);
    }
    found
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            found.extend(reference.and_then(|reference| reference.rsplit('/').next()).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Registry, find};

    #[test]
    fn every_kind_merges_its_finalizers_as_a_set() {
        for resource in Registry::default().served().resources() {
            let finalizers = Shape::of(resource).field("metadata").field("finalizers");
            assert_eq!(finalizers.apply(), &ApplyRule::Set, "{resource:?}");
            assert_eq!(finalizers.patch(), &PatchRule::MergeSet, "{resource:?}");
        }
    }

    #[test]
    fn keys_carry_their_defaults() {
        let pod = Shape::of(find("", "v1", "pods").unwrap());
        let containers = pod.field("spec").field("containers");
        assert_eq!(containers.patch(), &PatchRule::MergeByKey("name".to_owned()));
        let ApplyRule::Keyed(keys) = containers.item().field("ports").apply() else { panic!("ports are keyed") };
        assert_eq!(keys[1], Key { name: "protocol".to_owned(), default: Some("TCP".to_owned()) });
        assert_eq!(containers.item().field("command").apply(), &ApplyRule::Default);
    }
}
