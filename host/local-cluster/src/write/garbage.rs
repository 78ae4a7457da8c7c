//! The garbage collector: what belongs to nobody any more goes, and an owner waits for those that block it, or lets them go.
//!
//! As kube-controller-manager's does it (`pkg/controller/garbagecollector`), a moment after the write that gave cause, and by writes like
//! anybody's: they stand in the audit. Which objects are to be looked at, `dependents` knows.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{DeleteOptions, PatchFormat, Preconditions, Writer, metadata};
use crate::dependents::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER, Owner, Parting, Place};
use crate::object::{Key, Object};
use crate::query::{FieldValidation, WriteOptions};
use crate::registry::Served;
use crate::resource::Resource;
use crate::status::{Refusal, Result};
use crate::store::{Origin, Store};

/// Who writes, in the audit and in ownership records.
const MANAGER: &str = "tenure-local-cluster";
const USER_AGENT: &str = "tenure-local-cluster/garbage";

/// What an owner reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The owner, alive.
    Solid,
    /// The owner, which waits for its dependents to go.
    Waiting,
    /// Nothing, or another object of the same name.
    Dangling,
}

/// Looks at what the last writes gave cause to look at, if anything, on a task of its own.
pub(crate) fn collect_later(store: &Arc<Store>) {
    if store.is_garbage_due() {
        drop(tokio::spawn(collect(Arc::downgrade(store))));
    }
}

async fn collect(store: Weak<Store>) {
    while let Some(store) = store.upgrade() {
        let Some(place) = store.take_garbage_due() else { return };
        if let Err(refusal) = attend(&store, &place) {
            let key = &place.1;
            tracing::warn!(
                namespace = key.namespace,
                name = key.name,
                error = refusal.message,
                "could not collect an object"
            );
        }
        // A long chain must not keep others from being served.
        tokio::task::yield_now().await;
    }
}

fn attend(store: &Store, place: &Place) -> Result<()> {
    let (collection, key) = place;
    let Some(object) = store.get(*collection, key) else { return Ok(()) };
    let served = store.registry.served();
    let Some(resource) = served.collections().find(|resource| resource.collection == *collection).map(Arc::clone)
    else {
        return Ok(());
    };
    let collector = Collector { store, served: &served, resource, object: &object };
    match object.parting {
        Parting::Orphaning => collector.let_dependents_go(),
        Parting::Foreground => collector.wait_for_dependents(),
        Parting::Elsewhere => Ok(()),
        Parting::None if object.owners.is_empty() => Ok(()),
        Parting::None => collector.judge_owners(),
    }
}

/// One object that is looked at.
struct Collector<'a> {
    store: &'a Store,
    served: &'a Served,
    resource: Arc<Resource>,
    object: &'a Object,
}

/// What somebody else made otherwise is due again by their write; what is gone is as it should be.
fn unless_overtaken<T>(outcome: Result<T>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Refusal { code: 404 | 409, .. }) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

impl Collector<'_> {
    fn writer<'b>(&'b self, resource: &'b Arc<Resource>, key: &'b Key, verb: &'static str) -> Writer<'b> {
        let options =
            WriteOptions { dry_run: false, validation: FieldValidation::Ignore, field_manager: MANAGER.to_owned() };
        let origin = Origin {
            verb,
            resource: Arc::clone(resource),
            subresource: None,
            user_agent: USER_AGENT.to_owned(),
            field_manager: MANAGER.to_owned(),
            received_at: SystemTime::now(),
        };
        Writer {
            store: self.store,
            resource,
            namespace: &key.namespace,
            subresource: None,
            options,
            origin,
            now: Timestamp::now(),
        }
    }

    fn patch(&self, resource: &Arc<Resource>, key: &Key, format: PatchFormat, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        unless_overtaken(self.writer(resource, key, "patch").patch(&key.name, format, patch.as_bytes(), None))
    }

    /// Looks an owner up; `None` where its kind is not known, so that nothing can be said of it.
    fn find(&self, owner: &Owner) -> Option<Found> {
        let resource = self.served.find_kind(&owner.api_version, &owner.kind)?;
        let namespace = match (resource.namespaced, self.object.key.namespace.as_str()) {
            (false, _) => "",
            // An object of the cluster cannot belong to one of a namespace.
            (true, "") => return None,
            (true, namespace) => namespace,
        };
        let found = self.store.get(resource.collection, &Key::new(namespace, &owner.name));
        Some(match found.filter(|found| found.uid == owner.uid) {
            None => Found::Dangling,
            Some(found) if found.parting == Parting::Foreground => Found::Waiting,
            Some(_) => Found::Solid,
        })
    }

    /// An object that is not being deleted: it goes with the last of its owners.
    fn judge_owners(&self) -> Result<()> {
        let found: Option<Vec<(&Owner, Found)>> =
            self.object.owners.iter().map(|owner| Some((owner, self.find(owner)?))).collect();
        let Some(found) = found else { return Ok(()) };
        let of = |wanted: Found| found.iter().filter(move |(_, found)| *found == wanted).map(|(owner, _)| *owner);
        if of(Found::Solid).next().is_some() {
            let gone: Vec<Value> = of(Found::Dangling)
                .chain(of(Found::Waiting))
                .map(|owner| json!({"$patch": "delete", "uid": owner.uid}))
                .collect();
            if gone.is_empty() {
                return Ok(());
            }
            let patch = json!({"metadata": {"uid": self.object.uid, "ownerReferences": gone}});
            return self.patch(&self.resource, &self.object.key, PatchFormat::Strategic, &patch);
        }
        let dependents = self.store.dependents(&self.object.uid);
        if of(Found::Waiting).next().is_some() && !dependents.is_empty() {
            self.open_circle(&dependents)?;
            return self.delete("Foreground");
        }
        let value = self.object.value();
        let finalizers = metadata::of(&value).finalizers();
        if finalizers.contains(&ORPHAN_FINALIZER) {
            self.delete("Orphan")
        } else if finalizers.contains(&FOREGROUND_FINALIZER) {
            self.delete("Foreground")
        } else {
            self.delete("Background")
        }
    }

    /// A dependent that waits for this one, while this one waits for it: whoever comes to it first unblocks.
    fn open_circle(&self, dependents: &[Place]) -> Result<()> {
        let waits = |place: &&Place| {
            self.store.get(place.0, &place.1).is_some_and(|dependent| dependent.parting == Parting::Foreground)
        };
        if !dependents.iter().any(|place| waits(&place)) {
            return Ok(());
        }
        let unblocked: Vec<Value> =
            self.object.owners.iter().map(|owner| json!({"uid": owner.uid, "blockOwnerDeletion": false})).collect();
        let patch = json!({"metadata": {"uid": self.object.uid, "ownerReferences": unblocked}});
        self.patch(&self.resource, &self.object.key, PatchFormat::Strategic, &patch)
    }

    fn delete(&self, policy: &str) -> Result<()> {
        let options = DeleteOptions {
            preconditions: Preconditions::of(Some(&self.object.uid), None),
            propagation_policy: Some(policy.to_owned()),
            ..DeleteOptions::default()
        };
        let deleted = self.writer(&self.resource, &self.object.key, "delete").delete(&self.object.key.name, &options);
        super::finish_deletion(self.store, &self.object.key.namespace);
        unless_overtaken(deleted)
    }

    /// An owner whose dependents are to stay: it is taken from their references, and then need not wait.
    fn let_dependents_go(&self) -> Result<()> {
        let released = json!([{"$patch": "delete", "uid": self.object.uid}]);
        for (collection, key) in self.store.dependents(&self.object.uid) {
            let resource = self.served.collections().find(|resource| resource.collection == collection);
            let (Some(resource), Some(dependent)) = (resource, self.store.get(collection, &key)) else { continue };
            let patch = json!({"metadata": {"uid": dependent.uid, "ownerReferences": released}});
            self.patch(resource, &key, PatchFormat::Strategic, &patch)?;
        }
        self.remove_finalizer(ORPHAN_FINALIZER)
    }

    /// An owner that goes last. Its dependents are due themselves.
    fn wait_for_dependents(&self) -> Result<()> {
        let blocks = |place: &Place| {
            self.store.get(place.0, &place.1).is_some_and(|dependent| {
                dependent.owners.iter().any(|owner| owner.uid == self.object.uid && owner.blocks)
            })
        };
        if self.store.dependents(&self.object.uid).iter().any(blocks) {
            return Ok(());
        }
        self.remove_finalizer(FOREGROUND_FINALIZER)
    }

    fn remove_finalizer(&self, finalizer: &str) -> Result<()> {
        let Some(object) = self.store.get(self.resource.collection, &self.object.key) else { return Ok(()) };
        let value = object.value();
        let left: Vec<&str> =
            metadata::of(&value).finalizers().into_iter().filter(|present| *present != finalizer).collect();
        let patch = json!({
            "metadata": {"uid": object.uid, "resourceVersion": object.version.to_string(), "finalizers": left},
        });
        self.patch(&self.resource, &self.object.key, PatchFormat::Merge, &patch)?;
        super::finish_deletion(self.store, &self.object.key.namespace);
        Ok(())
    }
}
