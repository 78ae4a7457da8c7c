//! Objects as the cache keeps them: the JSON a guest will read, and the few facts looked up without parsing it again.
//! Knows nothing of requests.
//!
//! Only `metadata` is looked into. The rest is passed over as text: an object may nest 10 000 levels deep, which no parser
//! here goes down, and whoever can write one must not end the watch that everybody shares.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ResourceKey;

/// One object of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its JSON, without `metadata.managedFields` (which is often larger than the rest).
    pub bytes: Bytes,
    /// `metadata.resourceVersion`; 0 where the server's is not a number.
    pub version: u64,
    /// `metadata.namespace`; `None` for a cluster-scoped object.
    pub namespace: Option<Arc<str>>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.uid`; empty where the server gives none.
    pub uid: Box<str>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deletion: bool,
}

impl Object {
    /// Parses one object.
    ///
    /// # Errors
    /// When it is no JSON object with `metadata.name`.
    pub fn parse(json: &[u8]) -> Result<Self, MalformedObject> {
        Self::read(serde_json::from_slice(json).map_err(MalformedObject::Json)?, None)
    }

    /// Takes an object out of the JSON around it. `default_kind` gives `apiVersion` and `kind` to items of a list, which
    /// carry neither.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(crate) fn read(json: &RawValue, default_kind: Option<&ResourceKey>) -> Result<Self, MalformedObject> {
        let fields = Fields::of(json)?.ok_or(MalformedObject::NotAnObject)?;
        let metadata = fields.get("metadata").map(Fields::of).transpose()?.flatten();
        let mut metadata = metadata.ok_or(MalformedObject::NoMetadata)?;
        metadata.0.retain(|(name, _)| name != "managedFields");
        let text = |field: &str| metadata.text(field).filter(|text| !text.is_empty());
        let name = Arc::from(text("name").ok_or(MalformedObject::NoName)?);
        let namespace = text("namespace").map(Arc::from);
        let uid = text("uid").unwrap_or_default().into_boxed_str();
        let version = text("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let deletion = text("deletionTimestamp").is_some();
        let labels: Option<Value> = metadata.get("labels").and_then(|labels| serde_json::from_str(labels.get()).ok());
        let labels = Labels::from_value(labels.as_ref());
        let metadata = written(metadata.pairs());
        let defaults =
            default_kind.map(|kind| [("apiVersion", quoted(&kind.api_version())), ("kind", quoted(&kind.kind))]);
        let absent = defaults.iter().flatten().filter(|(name, _)| fields.get(name).is_none());
        let absent = absent.map(|(name, text)| (*name, text.as_str()));
        let own = fields.pairs().map(|(name, text)| (name, if name == "metadata" { metadata.as_str() } else { text }));
        let bytes = written(absent.chain(own));
        // A boxed slice has no spare capacity, which a cache of many thousand objects would pay for.
        let bytes = Bytes::from(bytes.into_bytes().into_boxed_slice());
        Ok(Self { bytes, version, namespace, name, uid, labels, deletion })
    }

    /// Its `apiVersion`, `kind` and `metadata`, as JSON.
    #[must_use]
    pub fn metadata_json(&self) -> String {
        let fields = serde_json::from_slice(&self.bytes).ok().and_then(|json| Fields::of(json).ok().flatten());
        let mut fields = fields.unwrap_or_default();
        fields.0.retain(|(name, _)| matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
        written(fields.pairs())
    }

    /// Its JSON as text.
    #[must_use]
    pub fn json(&self) -> &str {
        // What serde_json writes is UTF-8; nothing else fills `bytes` in this room.
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    /// `metadata.ownerReferences`, read out of the JSON anew: few ask for them.
    #[must_use]
    pub fn owners(&self) -> Vec<OwnerReference> {
        let parsed: Option<Owned> = serde_json::from_slice(&self.bytes).ok();
        parsed.map(|owned| owned.metadata.owner_references).unwrap_or_default()
    }

    /// `metadata.finalizers`, read out of the JSON anew.
    #[must_use]
    pub fn finalizers(&self) -> Vec<String> {
        let parsed: Option<Held> = serde_json::from_slice(&self.bytes).ok();
        parsed.map(|held| held.metadata.finalizers).unwrap_or_default()
    }

    /// Whether this finalizer is on it. Cheap where it is not: asked about each object that changes.
    #[must_use]
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.json().contains(finalizer) && self.finalizers().iter().any(|present| present == finalizer)
    }

    /// The namespace, empty for a cluster-scoped object: how the cache's index spells it.
    pub(crate) fn namespace_or_empty(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }
}

/// The fields of a JSON object in their order, none of them gone into.
#[derive(Default)]
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// `None` when it is something else than an object.
    fn of(json: &'a RawValue) -> Result<Option<Self>, MalformedObject> {
        if !json.get().starts_with('{') {
            return Ok(None);
        }
        serde_json::from_str(json.get()).map(Some).map_err(MalformedObject::Json)
    }

    /// Of a field that stands there twice the last counts, as for those who parse the JSON later.
    fn get(&self, field: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(name, _)| name == field).map(|(_, value)| *value)
    }

    fn text(&self, field: &str) -> Option<String> {
        serde_json::from_str(self.get(field)?.get()).ok()
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.get()))
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(field) = map.next_entry()? {
                    fields.0.push(field);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// A JSON object of names and JSON texts.
fn written<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut json = "{".to_owned();
    for (name, text) in fields {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&quoted(name));
        json.push(':');
        json.push_str(text);
    }
    json.push('}');
    json
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Who an object belongs to (`OwnerReference` in `meta/v1`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// The owner's `apiVersion`.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name; it is in the object's own namespace, or in none.
    pub name: String,
    /// Whether it is the one owner that manages the object.
    #[serde(default)]
    pub controller: bool,
}

/// An object, as far as its owners go.
#[derive(Debug, serde::Deserialize)]
struct Owned {
    metadata: OwnedMetadata,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnedMetadata {
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
}

/// An object, as far as its finalizers go.
#[derive(Debug, serde::Deserialize)]
struct Held {
    metadata: HeldMetadata,
}

#[derive(Debug, serde::Deserialize)]
struct HeldMetadata {
    #[serde(default)]
    finalizers: Vec<String>,
}

/// An object's labels, sorted by key. Small: most objects have fewer than ten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value.as_ref())
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    fn from_value(value: Option<&Value>) -> Self {
        let Some(map) = value.and_then(Value::as_object) else { return Self::default() };
        map.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(labels: I) -> Self {
        let mut labels: Vec<_> = labels.into_iter().map(|(key, value)| (Box::from(key), Box::from(value))).collect();
        labels.sort();
        Self(labels.into_boxed_slice())
    }
}

/// Something the server sent that is no object of the API.
#[derive(Debug, thiserror::Error)]
pub enum MalformedObject {
    /// Not JSON.
    #[error("the server sent something that is not JSON")]
    Json(#[source] serde_json::Error),
    /// JSON, but not an object.
    #[error("the server sent JSON that is not an object")]
    NotAnObject,
    /// No `metadata`.
    #[error("the server sent an object without metadata")]
    NoMetadata,
    /// No `metadata.name`.
    #[error("the server sent an object without metadata.name")]
    NoName,
}

/// `metadata` of a list (`ListMeta` in `meta/v1`).
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ListMetadata {
    pub(crate) resource_version: Option<String>,
    #[serde(rename = "continue")]
    pub(crate) continue_token: Option<String>,
    pub(crate) remaining_item_count: Option<u64>,
}

/// One page of a list.
#[derive(Debug, Default)]
pub(crate) struct ListPage {
    pub(crate) metadata: ListMetadata,
    pub(crate) items: Vec<Object>,
}

impl ListPage {
    /// Parses a page without ever holding it as a tree, which takes ten times the room of its text.
    pub(crate) fn parse(json: &[u8], resource: &ResourceKey) -> Result<Self, MalformedObject> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        PageSeed { resource }.deserialize(&mut deserializer).map_err(MalformedObject::Json)
    }
}

struct PageSeed<'a> {
    resource: &'a ResourceKey,
}

impl<'de> DeserializeSeed<'de> for PageSeed<'_> {
    type Value = ListPage;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ListPage, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PageSeed<'_> {
    type Value = ListPage;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of the Kubernetes API")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ListPage, A::Error> {
        let mut page = ListPage::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => page.metadata = map.next_value()?,
                "items" => page.items = map.next_value_seed(ItemsSeed { resource: self.resource })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(page)
    }
}

struct ItemsSeed<'a> {
    resource: &'a ResourceKey,
}

impl<'de> DeserializeSeed<'de> for ItemsSeed<'_> {
    type Value = Vec<Object>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Object>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ItemsSeed<'_> {
    type Value = Vec<Object>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the items of a list, or null")
    }

    // Go writes an empty slice that was never made as null.
    fn visit_unit<E>(self) -> Result<Vec<Object>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Object>, A::Error> {
        let mut objects = Vec::new();
        while let Some(item) = items.next_element::<&'de RawValue>()? {
            objects.push(Object::read(item, Some(self.resource)).map_err(serde::de::Error::custom)?);
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::tests::config_maps;

    #[test]
    fn the_cache_keeps_the_object_but_not_its_managed_fields() {
        let object = Object::parse(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}, "metadata": {
                "name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"z": "1", "a": "2"}, "managedFields": [{"manager": "kubectl"}]}})
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        assert_eq!((object.version, &*object.name, object.namespace.as_deref()), (7, "a", Some("ns")));
        assert!(object.deletion);
        assert_eq!(object.labels.get("a"), Some("2"));
        assert_eq!(object.labels.get("b"), None);
        assert!(!object.json().contains("managedFields"));
        assert_eq!(serde_json::from_slice::<Value>(&object.bytes).unwrap()["data"]["k"], "v");
    }

    #[test]
    fn an_object_that_nests_as_deep_as_the_api_allows_is_held_as_it_is() {
        let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        let item = format!(
            r#"{{"apiVersion":"v1","kind":"X","metadata":{{"name":"a","resourceVersion":"7","managedFields":[{{"fieldsV1":{deep}}}]}},"spec":{deep}}}"#
        );
        let object = Object::parse(item.as_bytes()).unwrap();
        assert_eq!((&*object.name, object.version), ("a", 7));
        let kept = format!(
            r#"{{"apiVersion":"v1","kind":"X","metadata":{{"name":"a","resourceVersion":"7"}},"spec":{deep}}}"#
        );
        assert!(object.json() == kept, "all of it but its managed fields");
        assert_eq!(
            object.metadata_json(),
            r#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a","resourceVersion":"7"}}"#
        );
        let list =
            format!(r#"{{"metadata":{{"resourceVersion":"9"}},"items":[{item},{{"metadata":{{"name":"b"}}}}]}}"#);
        let page = ListPage::parse(list.as_bytes(), &config_maps()).unwrap();
        assert_eq!(page.items.iter().map(|object| &*object.name).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn owners_are_those_of_the_metadata_and_one_may_be_the_controller() {
        let owner = |name: &str| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "u"});
        let mut owners = [owner("one"), owner("two")];
        owners[1]["controller"] = true.into();
        let object = json!({"metadata": {"name": "a", "ownerReferences": owners}});
        let owners = Object::parse(object.to_string().as_bytes()).unwrap().owners();
        let facts: Vec<_> = owners.iter().map(|owner| (owner.name.as_str(), owner.controller)).collect();
        assert_eq!(facts, [("one", false), ("two", true)]);
        assert_eq!(Object::parse(br#"{"metadata":{"name":"a"}}"#).unwrap().owners(), []);
    }

    #[test]
    fn a_finalizer_is_one_of_the_metadata_and_whole() {
        let object =
            json!({"metadata": {"name": "a", "finalizers": ["x.dev/one"]}, "data": {"x.dev/two": "x.dev/two"}});
        let object = Object::parse(object.to_string().as_bytes()).unwrap();
        assert_eq!(object.finalizers(), ["x.dev/one"]);
        let present = ["x.dev/one", "x.dev/on", "x.dev/two"].map(|finalizer| object.has_finalizer(finalizer));
        assert_eq!(present, [true, false, false]);
        assert_eq!(Object::parse(br#"{"metadata":{"name":"a"}}"#).unwrap().finalizers(), [""; 0]);
    }

    #[test]
    fn items_of_a_list_get_the_kind_the_server_leaves_out() {
        let json = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "9", "continue": "c"},
            "items": [{"metadata": {"name": "a", "namespace": "ns", "resourceVersion": "3"}}]});
        let page = ListPage::parse(json.to_string().as_bytes(), &config_maps()).unwrap();
        assert_eq!(page.metadata.continue_token.as_deref(), Some("c"));
        let item: Value = serde_json::from_slice(&page.items[0].bytes).unwrap();
        assert_eq!((item["kind"].as_str(), item["apiVersion"].as_str()), (Some("ConfigMap"), Some("v1")));
    }

    #[test]
    fn a_list_whose_items_are_null_is_empty() {
        let page = ListPage::parse(br#"{"metadata":{"resourceVersion":"9"},"items":null}"#, &config_maps()).unwrap();
        assert!(page.items.is_empty());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(matches!(Object::parse(b"nonsense"), Err(MalformedObject::Json(_))));
        assert!(matches!(Object::parse(b"[]"), Err(MalformedObject::NotAnObject)));
        assert!(matches!(Object::parse(b"{}"), Err(MalformedObject::NoMetadata)));
        assert!(matches!(Object::parse(br#"{"metadata":{}}"#), Err(MalformedObject::NoName)));
    }
}
