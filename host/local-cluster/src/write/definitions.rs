//! What follows from a write to a CustomResourceDefinition, or to an object of one: names accepted, kinds served, instances removed.
//!
//! Settled before the write is answered, where a real cluster's controllers take a moment: the kind is served by then.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::Value;

use super::{DeleteOptions, Writer, time_text};
use crate::custom::{self, Stage};
use crate::object::Key;
use crate::ownership;
use crate::query::{FieldValidation, WriteOptions};
use crate::registry;
use crate::resource::{Collection, Resource};
use crate::store::{Commit, Expected, Origin, Rejected, Store};

/// Who writes the status of definitions and removes their instances, in the audit.
const USER_AGENT: &str = "tenure-local-cluster/definitions";
/// As in `managedFields` of a real cluster, where the API server itself has these controllers.
const FIELD_MANAGER: &str = "kube-apiserver";

/// To be called after a commit to `resource`; `name` is what was written, if it was one object.
pub(crate) fn after_write(store: &Store, resource: &Resource, name: Option<&str>) {
    match (resource.collection, name, resource.custom()) {
        (Collection::CustomResourceDefinitions, Some(name), _) => settle(store, name),
        (Collection::CustomResourceDefinitions, None, _) => settle_all(store),
        // The last instance may have been what a definition waited for.
        (_, _, Some(custom)) if custom.terminating => settle(store, custom.definition),
        _ => {}
    }
}

/// Settles every definition: what a process starts with.
pub(crate) fn settle_all(store: &Store) {
    for definition in store.list(Collection::CustomResourceDefinitions, None).1 {
        settle(store, &definition.key.name);
    }
}

/// Brings one definition's status, the kinds it serves and its instances in line with it.
fn settle(store: &Store, name: &str) {
    loop {
        let Some(object) = store.get(Collection::CustomResourceDefinitions, &Key::new("", name)) else {
            store.registry.replace_custom(name, Vec::new());
            accept_refused(store);
            return;
        };
        let definition = object.value();
        let now = time_text(Timestamp::now());
        let next = match custom::stage(&definition) {
            Stage::Alive => Some(custom::accept(&store.registry.served(), &definition, &now)),
            Stage::Terminating => {
                let resources = custom::resources(&store.registry, &definition);
                store.registry.replace_custom(name, resources.clone());
                end_deletion(store, &definition, resources.first(), &now)
            }
        };
        let Some(next) = next.filter(|next| *next != definition) else {
            store.registry.replace_custom(name, custom::resources(&store.registry, &definition));
            // Somebody else may have settled a newer one meanwhile, and this would have put the older back.
            let newest = store.get(Collection::CustomResourceDefinitions, &object.key);
            if newest.is_some_and(|newest| newest.version == object.version) {
                return;
            }
            continue;
        };
        if !commit(store, &object.key, object.version, &definition, next) {
            return;
        }
    }
}

/// Names that are free again may be what another definition waits for.
fn accept_refused(store: &Store) {
    for object in store.list(Collection::CustomResourceDefinitions, None).1 {
        if !custom::is_accepted(&object.value()) {
            settle(store, &object.key.name);
        }
    }
}

/// Removes the instances; the definition without its finalizer once there are none.
fn end_deletion(store: &Store, definition: &Value, resource: Option<&Arc<Resource>>, now: &str) -> Option<Value> {
    if let Some(resource) = resource {
        let any_left = || !store.list(resource.collection, None).1.is_empty();
        let mut begun = definition.clone();
        custom::continue_deletion(&mut begun, now);
        if begun != *definition && any_left() {
            return Some(begun);
        }
        delete_instances(store, resource);
        if any_left() {
            return None;
        }
    }
    let mut next = definition.clone();
    custom::end_deletion(&mut next, now).then_some(next)
}

fn delete_instances(store: &Store, resource: &Arc<Resource>) {
    for object in store.list(resource.collection, None).1 {
        let writer = writer(store, resource, &object.key.namespace, "delete", None);
        if let Err(refusal) = writer.delete(&object.key.name, &DeleteOptions::default())
            && refusal.code != 404
        {
            let name = &object.key.name;
            tracing::warn!(?resource, name, error = refusal.message, "could not remove an instance of a definition");
        }
    }
}

/// Writes a definition's next state. False if it cannot be stored at all.
fn commit(store: &Store, key: &Key, version: u64, old: &Value, mut next: Value) -> bool {
    let Some(resource) = registry::definitions() else { return false };
    let writer = writer(store, resource, "", "update", Some("status"));
    ownership::after_update(&writer.ownership(), Some(old), &mut next);
    let collection = Collection::CustomResourceDefinitions;
    let remove = super::update::is_finished(collection, &next);
    let commit = Commit {
        collection,
        key,
        expected: Expected::Version(version),
        next: (!remove).then_some(next),
        origin: &writer.origin,
        code: 200,
    };
    match store.commit(commit) {
        Err(Rejected::NotPersisted(error)) => {
            tracing::warn!(name = key.name, %error, "could not write the status of a definition");
            false
        }
        // Or somebody else was first: look again.
        _ => true,
    }
}

fn writer<'a>(
    store: &'a Store,
    resource: &'a Arc<Resource>,
    namespace: &'a str,
    verb: &'static str,
    subresource: Option<&'a str>,
) -> Writer<'a> {
    let options = WriteOptions { dry_run: false, validation: FieldValidation::Ignore, field_manager: String::new() };
    let origin = Origin {
        verb,
        resource: Arc::clone(resource),
        subresource: subresource.map(str::to_owned),
        user_agent: USER_AGENT.to_owned(),
        field_manager: FIELD_MANAGER.to_owned(),
        received_at: SystemTime::now(),
    };
    Writer { store, resource, namespace, subresource, options, origin, now: Timestamp::now() }
}
