//! A stored object: its JSON bytes and the little that is looked at without parsing them.
//!
//! Immutable once made. Never sees the store.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use crate::dependents::{self, Owner, Parting};
use crate::fields::{self, Fields};
use crate::metadata;
use crate::resource::{Collection, Resource};

/// What an object is stored under. The namespace is empty for kinds without one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// One version of one object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: Key,
    pub(crate) version: u64,
    pub(crate) uid: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) fields: Fields,
    pub(crate) owners: Vec<Owner>,
    pub(crate) parting: Parting,
    /// JSON in the collection's stored form, without `apiVersion` and `kind`: lists show items so.
    pub(crate) bytes: Bytes,
}

impl Object {
    /// Stamps `version` into `value` and freezes it. An object that was never stored has version 0, which is not shown.
    pub(crate) fn new(collection: Collection, mut value: Value, version: u64) -> Self {
        if version > 0 {
            metadata::of_mut(&mut value).insert("resourceVersion".to_owned(), version.to_string().into());
        }
        let read = metadata::of(&value);
        Self {
            key: Key::new(read.namespace(), read.name()),
            version,
            uid: read.uid().to_owned(),
            labels: read.labels(),
            fields: fields::of(collection, &value),
            owners: dependents::owners_of(&value),
            parting: dependents::parting_of(&value),
            bytes: Bytes::from(value.to_string()),
        }
    }

    /// The object as JSON in its stored form.
    pub(crate) fn value(&self) -> Value {
        // The bytes are this program's own serialisation; a failure to read them back would be memory corruption.
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// The same content under another version, as a watch shows an object that left its selection.
    pub(crate) fn restamped(&self, collection: Collection, version: u64) -> Self {
        Self::new(collection, self.value(), version)
    }

    /// The complete JSON of the object as `resource` serves it.
    pub(crate) fn native(&self, resource: &Resource) -> Bytes {
        let item = self.list_item(resource);
        let mut whole = BytesMut::with_capacity(item.len() + 64);
        whole.put_slice(b"{\"kind\":\"");
        whole.put_slice(resource.kind.as_bytes());
        whole.put_slice(b"\",\"apiVersion\":\"");
        whole.put_slice(resource.api_version.as_bytes());
        whole.put_slice(b"\",");
        whole.put_slice(&item[1..]);
        whole.freeze()
    }

    /// The object's JSON as it stands in a list of a built-in kind: without `apiVersion` and `kind`.
    pub(crate) fn list_item(&self, resource: &Resource) -> Bytes {
        match resource.view {
            crate::resource::View::Stored => self.bytes.clone(),
            crate::resource::View::EventsGroup => Bytes::from(crate::event_view::from_stored(self.value()).to_string()),
        }
    }
}
