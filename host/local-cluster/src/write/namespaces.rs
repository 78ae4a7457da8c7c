//! The namespaces every cluster starts with, and the end of a deleted one: its content goes, then its finalizer, then itself.
//!
//! The content goes a moment after the DELETE was answered, as with the namespace controller of a real cluster: a client that
//! deletes a namespace and then, by name, what was in it finds it there. What finalizers hold goes with them.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{DeleteOptions, Writer, metadata};
use crate::body::Checked;
use crate::object::{Key, Object};
use crate::query::{FieldValidation, WriteOptions};
use crate::resource::{Collection, Resource};
use crate::store::{Commit, Expected, Origin, Rejected, Store};

/// Namespaces a cluster starts with.
const INITIAL_NAMESPACES: [&str; 3] = ["default", "kube-public", "kube-system"];
/// Who removes the content of a namespace, in the audit.
const USER_AGENT: &str = "tenure-local-cluster/namespaces";
/// Time between the DELETE of a namespace and that of its content. The namespace controller waits 5 s; a test need not.
const CONTENT_DELAY: Duration = Duration::from_millis(250);
/// The finalizer in a namespace's spec that stands for its content.
const CONTENT_FINALIZER: &str = "kubernetes";

fn writer<'a>(store: &'a Store, resource: &'a Arc<Resource>, namespace: &'a str, verb: &'static str) -> Writer<'a> {
    let field_manager = "tenure-local-cluster".to_owned();
    let options = WriteOptions { dry_run: false, validation: FieldValidation::Ignore, field_manager: String::new() };
    let origin = Origin {
        verb,
        resource: Arc::clone(resource),
        subresource: None,
        user_agent: USER_AGENT.to_owned(),
        field_manager,
        received_at: SystemTime::now(),
    };
    Writer { store, resource, namespace, subresource: None, options, origin, now: Timestamp::now() }
}

/// Makes the namespaces a cluster starts with, where they are missing.
pub(crate) fn make_initial(store: &Store) {
    let resource = crate::registry::namespaces();
    for name in INITIAL_NAMESPACES {
        let value = json!({"metadata": {"name": name}});
        if let Err(refusal) = writer(store, resource, "", "create").create(Checked { value, warnings: Vec::new() })
            && refusal.reason != "AlreadyExists"
        {
            tracing::warn!(namespace = name, error = refusal.message, "could not make an initial namespace");
        }
    }
}

fn is_terminating(namespace: &Object) -> bool {
    namespace.fields.first().is_some_and(|phase| &**phase == "Terminating")
}

/// Deletes the content of a namespace that is being deleted, after a moment.
pub(crate) async fn delete_content_later(store: Weak<Store>, namespace: String) {
    tokio::time::sleep(CONTENT_DELAY).await;
    if let Some(store) = store.upgrade() {
        delete_content(&store, &namespace);
        super::collect_later(&store);
    }
}

/// Deletes the content of `namespace`, and itself when nothing is left, if it is being deleted.
pub(crate) fn delete_content(store: &Store, namespace: &str) {
    let key = Key::new("", namespace);
    if !store.get(Collection::Namespaces, &key).is_some_and(|namespace| is_terminating(&namespace)) {
        return;
    }
    let options = DeleteOptions::default();
    let served = store.registry.served();
    for resource in served.collections().filter(|resource| resource.namespaced) {
        let (_, objects) = store.list(resource.collection, Some(namespace));
        for object in objects {
            let outcome = writer(store, resource, namespace, "delete").delete(&object.key.name, &options);
            if let Err(refusal) = outcome
                && refusal.code != 404
            {
                tracing::warn!(
                    namespace,
                    name = object.key.name,
                    error = refusal.message,
                    "could not remove an object"
                );
            }
        }
    }
    finish_deletion(store, namespace);
}

/// Removes `namespace` if it is being deleted and nothing is left in it.
pub(crate) fn finish_deletion(store: &Store, namespace: &str) {
    while let Some(object) = store.get(Collection::Namespaces, &Key::new("", namespace)) {
        if !is_terminating(&object) || !finalize(store, &object) {
            return;
        }
    }
}

/// Takes the content finalizer from an empty namespace and removes it if nothing else holds it. True if it is to be looked at again.
fn finalize(store: &Store, object: &Object) -> bool {
    let resource = crate::registry::namespaces();
    let content_left = store.has_content(&object.key.name);
    let mut next = object.value();
    if content_left {
        return false;
    }
    if let Some(Value::Array(finalizers)) = next.pointer_mut("/spec/finalizers") {
        finalizers.retain(|finalizer| finalizer != CONTENT_FINALIZER);
    }
    let remove = super::update::is_finished(Collection::Namespaces, &next);
    let value = object.value();
    if !remove && next == value {
        return false;
    }
    debug_assert!(metadata::of(&next).is_deleting(), "only a namespace being deleted is finalized");
    let origin = writer(store, resource, "", if remove { "delete" } else { "update" }).origin;
    let commit = Commit {
        collection: Collection::Namespaces,
        key: &object.key,
        expected: Expected::Version(object.version),
        next: (!remove).then_some(next),
        origin: &origin,
        code: 200,
    };
    match store.commit(commit) {
        Ok(_) => false,
        Err(Rejected::NotPersisted(error)) => {
            tracing::warn!(namespace = object.key.name, %error, "could not finalize a namespace");
            false
        }
        // Something moved: a write to the namespace, or an object that came in at the last moment.
        Err(_) => true,
    }
}
