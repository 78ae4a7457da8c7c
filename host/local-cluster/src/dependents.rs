//! Who belongs to whom, by the uid of the owner, and which objects a change leaves to be looked at.
//!
//! Kept by the store with each commit, so that the garbage collector neither searches nor polls. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::metadata;
use crate::object::{Key, Object};
use crate::resource::Collection;

/// Finalizers that stand for a propagation policy: the object stays until its dependents let go of it, or are gone.
pub(crate) const ORPHAN_FINALIZER: &str = "orphan";
/// See [`ORPHAN_FINALIZER`].
pub(crate) const FOREGROUND_FINALIZER: &str = "foregroundDeletion";

/// Where an object is stored.
pub(crate) type Place = (Collection, Key);

/// One entry of an object's `ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The owner's deletion in the foreground waits for this dependent.
    pub(crate) blocks: bool,
}

/// The owners an object names.
pub(crate) fn owners_of(value: &Value) -> Vec<Owner> {
    let owners = metadata::of(value).get("ownerReferences").and_then(Value::as_array);
    let read = |owner: &Value| {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Owner {
            api_version: text("apiVersion"),
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
            blocks: owner.get("blockOwnerDeletion") == Some(&Value::Bool(true)),
        }
    };
    owners.into_iter().flatten().map(read).collect()
}

/// How far an object's own deletion concerns those that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// It is not being deleted.
    None,
    /// It is being deleted, and waits for something else.
    Elsewhere,
    /// It waits until its dependents have let go of it.
    Orphaning,
    /// It waits until those dependents are gone that block it.
    Foreground,
}

/// What `value` says of its own deletion.
pub(crate) fn parting_of(value: &Value) -> Parting {
    let metadata = metadata::of(value);
    if !metadata.is_deleting() {
        return Parting::None;
    }
    let finalizers = metadata.finalizers();
    if finalizers.contains(&ORPHAN_FINALIZER) {
        Parting::Orphaning
    } else if finalizers.contains(&FOREGROUND_FINALIZER) {
        Parting::Foreground
    } else {
        Parting::Elsewhere
    }
}

/// The index and the objects to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Dependents {
    by_owner: BTreeMap<String, BTreeSet<Place>>,
    /// Owners that wait for their dependents, by uid.
    waiting: BTreeMap<String, Place>,
    due: BTreeSet<Place>,
}

impl Dependents {
    /// Notes that an object became `next`, or went.
    pub(crate) fn note(&mut self, collection: Collection, previous: Option<&Object>, next: Option<&Object>) {
        let Some(object) = next.or(previous) else { return };
        let place = (collection, object.key.clone());
        for owner in previous.map(|previous| previous.owners.as_slice()).unwrap_or_default() {
            if let Some(places) = self.by_owner.get_mut(&owner.uid) {
                places.remove(&place);
                if places.is_empty() {
                    self.by_owner.remove(&owner.uid);
                }
            }
            // Whoever waited for this one may have nothing left to wait for.
            self.due.extend(self.waiting.get(&owner.uid).cloned());
        }
        let Some(next) = next else {
            self.waiting.remove(&object.uid);
            self.due.remove(&place);
            self.due.extend(self.by_owner.get(&object.uid).into_iter().flatten().cloned());
            return;
        };
        for owner in &next.owners {
            self.by_owner.entry(owner.uid.clone()).or_default().insert(place.clone());
        }
        if !next.owners.is_empty() {
            self.due.insert(place.clone());
        }
        match next.parting {
            Parting::None => {}
            Parting::Elsewhere => drop(self.waiting.remove(&next.uid)),
            Parting::Orphaning | Parting::Foreground => {
                self.waiting.insert(next.uid.clone(), place.clone());
                self.due.extend(self.by_owner.get(&next.uid).into_iter().flatten().cloned());
                self.due.insert(place);
            }
        }
    }

    /// The objects that name this uid as an owner.
    pub(crate) fn of(&self, uid: &str) -> Vec<Place> {
        self.by_owner.get(uid).into_iter().flatten().cloned().collect()
    }

    pub(crate) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Takes one of the objects to be looked at.
    pub(crate) fn take_due(&mut self) -> Option<Place> {
        self.due.pop_first()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, owner: Option<&str>) -> Object {
        let owners: Vec<Value> = owner.map(|uid| json!({"uid": uid})).into_iter().collect();
        let metadata = json!({"name": name, "namespace": "n", "uid": name, "ownerReferences": owners});
        Object::new(Collection::ConfigMaps, json!({"metadata": metadata}), 1)
    }

    fn due(dependents: &mut Dependents) -> Vec<String> {
        std::iter::from_fn(|| dependents.take_due()).map(|(_, key)| key.name).collect()
    }

    #[test]
    fn what_is_owned_is_looked_at_when_it_comes_and_when_its_owner_goes() {
        let mut dependents = Dependents::default();
        let (owner, owned) = (object("owner", None), object("owned", Some("owner")));
        dependents.note(Collection::ConfigMaps, None, Some(&owner));
        assert!(!dependents.is_due());
        dependents.note(Collection::ConfigMaps, None, Some(&owned));
        assert_eq!(due(&mut dependents), ["owned"]);
        dependents.note(Collection::ConfigMaps, Some(&owner), None);
        assert_eq!(due(&mut dependents), ["owned"]);
        dependents.note(Collection::ConfigMaps, Some(&owned), None);
        assert!(!dependents.is_due() && dependents.of("owner").is_empty());
    }
}
