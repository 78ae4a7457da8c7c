//! Writes: each verb computes the next object from a snapshot and commits it if the snapshot still holds.
//!
//! Shared here: who writes, what is answered, and how a rejected commit is told. The verbs are the modules below.

mod create;
mod definitions;
mod delete;
mod garbage;
mod namespaces;
mod patch;
mod scale;
mod services;
mod update;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use self::definitions::{after_write, settle_all};
pub(crate) use self::delete::{DeleteOptions, Preconditions};
pub(crate) use self::garbage::collect_later;
pub(crate) use self::namespaces::{delete_content, delete_content_later, finish_deletion, make_initial};
pub(crate) use self::patch::PatchFormat;
pub(crate) use self::scale::of as scale_of;
use crate::body::Checked;
use crate::custom;
use crate::metadata;
use crate::object::{Key, Object};
use crate::query::WriteOptions;
use crate::resource::{Collection, Resource};
use crate::status::{Refusal, Result};
use crate::store::{Commit, Expected, Origin, Rejected, Store};

/// What a write is answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) content: Content,
    /// For `Warning` headers.
    pub(crate) warnings: Vec<String>,
    /// Whether the store changed (and so the audit already has its entry).
    pub(crate) committed: bool,
}

/// The body of an answer to a write.
#[derive(Debug)]
pub(crate) enum Content {
    Object(Arc<Object>),
    /// JSON that is no stored object: a Status, a Scale.
    Plain(Value),
}

/// One write on its way.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) store: &'a Store,
    pub(crate) resource: &'a Arc<Resource>,
    /// Namespace in the path, empty for kinds without one.
    pub(crate) namespace: &'a str,
    pub(crate) subresource: Option<&'a str>,
    pub(crate) options: WriteOptions,
    pub(crate) origin: Origin,
    pub(crate) now: Timestamp,
}

/// The object a write was computed from, parsed once.
struct Existing {
    object: Arc<Object>,
    value: Value,
}

/// What became of a commit.
enum Committed {
    Stored(Arc<Object>),
    /// Somebody else was first: compute again.
    Moved,
}

impl Writer<'_> {
    fn key(&self, name: &str) -> Key {
        Key::new(self.namespace, name)
    }

    fn existing(&self, key: &Key) -> Option<Existing> {
        let object = self.store.get(self.resource.collection, key)?;
        Some(Existing { value: object.value(), object })
    }

    /// Times as `metav1.Time` has them: whole seconds, UTC.
    fn now_text(&self) -> String {
        time_text(self.now)
    }

    /// The path's namespace and the object's must agree; an object may leave it out.
    fn adopt_namespace(&self, value: &mut Value) -> Result<()> {
        let given = metadata::of(value).namespace().to_owned();
        if self.namespace.is_empty() {
            metadata::of_mut(value).remove("namespace");
            return Ok(());
        }
        if !given.is_empty() && given != self.namespace {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        metadata::of_mut(value).insert("namespace".to_owned(), self.namespace.into());
        Ok(())
    }

    fn commit(&self, key: &Key, expected: Expected, next: Option<Value>, code: u16) -> Result<Committed> {
        let collection = self.resource.collection;
        let commit = Commit { collection, key, expected, next, origin: &self.origin, code };
        match self.store.commit(commit) {
            Ok(object) => Ok(Committed::Stored(object)),
            Err(Rejected::Moved | Rejected::NamespaceNotEmpty) => Ok(Committed::Moved),
            Err(Rejected::NamespaceMissing) => Err(self.namespace_missing()),
            Err(Rejected::NamespaceTerminating) => Err(self.namespace_terminating(&key.name)),
            Err(Rejected::NotPersisted(error)) => Err(Refusal::internal(format!(
                "Internal error occurred: the object could not be written to disk: {error}"
            ))),
        }
    }

    /// What would be stored and then not done.
    fn refuse_unsupported(&self, value: &Value) -> Result<()> {
        if self.resource.collection == Collection::CustomResourceDefinitions {
            return custom::refuse_unsupported(value);
        }
        Ok(())
    }

    fn namespace_missing(&self) -> Refusal {
        Refusal::not_found(crate::registry::namespaces(), self.namespace)
    }

    fn namespace_terminating(&self, name: &str) -> Refusal {
        let namespace = self.namespace;
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut refusal = Refusal::forbidden(self.resource, name, &why);
        if let Some(details) = &mut refusal.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        refusal
    }

    /// An answer that carries an object which was not stored: a dry run, or a write without effect.
    fn unstored(&self, code: u16, value: Value, version: u64, warnings: Vec<String>) -> Answer {
        let object = Arc::new(Object::new(self.resource.collection, value, version));
        Answer { code, content: Content::Object(object), warnings, committed: false }
    }

    fn stored(code: u16, object: Arc<Object>, warnings: Vec<String>) -> Answer {
        Answer { code, content: Content::Object(object), warnings, committed: true }
    }

    /// The whole JSON of an existing object as this resource's clients see it, for patches to work on.
    fn native(&self, existing: &Existing) -> Value {
        serde_json::from_slice(&existing.object.native(self.resource)).unwrap_or_default()
    }
}

pub(crate) fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What a request carries, checked: an object in its stored form and the warnings that go with it.
type Prepared = Checked;
