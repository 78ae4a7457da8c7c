//! The objects, the one rising resourceVersion, and the only way to change either: [`Store::commit`].
//!
//! One lock, held for lookups and for the commit itself, never for parsing, validating or merging: writers compute their next
//! object from a snapshot and say which version it was computed from; a commit against another version is turned away and tried
//! again. Knows nothing of HTTP.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::Value;

use crate::audit::{Audit, AuditEntry};
use crate::history::{Change, History, TooOld};
use crate::journal::{Journal, OpenError};
use crate::object::{Key, Object};
use crate::resource::{Collection, Resource};

/// Bounds of what the store remembers beside the objects themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Changes kept per collection for watches to resume from.
    pub(crate) history_changes_max: usize,
    /// Bytes of objects those changes may hold per collection.
    pub(crate) history_bytes_max: usize,
    /// Audit entries kept.
    pub(crate) audit_entries_max: usize,
}

#[derive(Debug)]
struct State {
    version: u64,
    collections: BTreeMap<Collection, BTreeMap<Key, Arc<Object>>>,
    journal: Option<Journal>,
}

#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    histories: BTreeMap<Collection, History>,
    pub(crate) audit: Audit,
}

/// The state a commit was computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Absent,
    Version(u64),
}

/// Who asks for a commit: what the audit will say.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) verb: &'static str,
    pub(crate) resource: &'static Resource,
    pub(crate) subresource: Option<String>,
    pub(crate) user_agent: String,
    pub(crate) field_manager: String,
    pub(crate) received_at: SystemTime,
}

impl Origin {
    pub(crate) fn entry(&self, version: Option<u64>, namespace: &str, name: &str, code: u16) -> AuditEntry {
        AuditEntry {
            version,
            verb: self.verb,
            group: self.resource.group.to_owned(),
            resource: self.resource.plural.to_owned(),
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: (!name.is_empty()).then(|| name.to_owned()),
            subresource: self.subresource.clone(),
            user_agent: self.user_agent.clone(),
            field_manager: self.field_manager.clone(),
            code,
            received_at: self.received_at,
        }
    }
}

/// One change, computed and validated, to be made if the state is still `expected`.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) collection: Collection,
    pub(crate) key: &'a Key,
    pub(crate) expected: Expected,
    /// The object to store, or `None` to remove it.
    pub(crate) next: Option<Value>,
    pub(crate) origin: &'a Origin,
    /// The HTTP status this write is answered with.
    pub(crate) code: u16,
}

/// Why a commit was not made.
#[derive(Debug)]
pub(crate) enum Rejected {
    /// The object is not what the commit was computed from: compute again.
    Moved,
    /// A creation in a namespace that does not exist.
    NamespaceMissing,
    /// A creation in a namespace that is being deleted.
    NamespaceTerminating,
    /// The removal of a namespace that still has objects.
    NamespaceNotEmpty,
    /// The journal could not be written; nothing changed.
    NotPersisted(io::Error),
}

impl Store {
    pub(crate) fn open(bounds: Bounds, directory: Option<&Path>) -> Result<Self, OpenError> {
        let mut version = 0;
        let mut collections: BTreeMap<Collection, BTreeMap<Key, Arc<Object>>> =
            Collection::ALL.into_iter().map(|collection| (collection, BTreeMap::new())).collect();
        let restore = |record: crate::journal::Record| {
            version = version.max(record.version);
            let Some(collection) = Collection::from_plural(&record.collection) else { return };
            let objects = collections.entry(collection).or_default();
            match record.object {
                Some(value) => {
                    let object = Object::new(collection, value, record.version);
                    objects.insert(object.key.clone(), Arc::new(object));
                }
                None => {
                    objects.remove(&Key { namespace: record.namespace, name: record.name });
                }
            }
        };
        let journal = directory.map(|directory| Journal::open(directory, restore)).transpose()?;
        let history = || History::new(version, bounds.history_changes_max, bounds.history_bytes_max);
        let histories = Collection::ALL.into_iter().map(|collection| (collection, history())).collect();
        let state = Mutex::new(State { version, collections, journal });
        Ok(Self { state, histories, audit: Audit::new(bounds.audit_entries_max) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section leaves the state half changed, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn history(&self, collection: Collection) -> &History {
        &self.histories[&collection]
    }

    /// The newest resourceVersion.
    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    pub(crate) fn get(&self, collection: Collection, key: &Key) -> Option<Arc<Object>> {
        self.lock().objects(collection).get(key).cloned()
    }

    /// The objects of a collection, in one namespace or all, ordered by namespace and name, and the version they are of.
    pub(crate) fn list(&self, collection: Collection, namespace: Option<&str>) -> (u64, Vec<Arc<Object>>) {
        let state = self.lock();
        (state.version, state.in_namespace(collection, namespace))
    }

    /// The same as it was at `version`: later changes are undone, as far back as the history reaches.
    pub(crate) fn list_at(
        &self,
        collection: Collection,
        namespace: Option<&str>,
        version: u64,
    ) -> Result<Vec<Arc<Object>>, TooOld> {
        let (objects, changes) = {
            let state = self.lock();
            (state.in_namespace(collection, namespace), self.history(collection).all_since(version)?)
        };
        let mut objects: BTreeMap<Key, Arc<Object>> =
            objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        for change in changes.into_iter().rev() {
            if namespace.is_some_and(|namespace| namespace != change.object.key.namespace) {
                continue;
            }
            match change.previous {
                Some(previous) => objects.insert(previous.key.clone(), previous),
                None => objects.remove(&change.object.key),
            };
        }
        Ok(objects.into_values().collect())
    }

    /// Makes one change and tells its watchers, or says why not. Returns the object as stored; for a removal, its last state
    /// under the version of the removal.
    pub(crate) fn commit(&self, commit: Commit<'_>) -> Result<Arc<Object>, Rejected> {
        let Commit { collection, key, expected, next, origin, code } = commit;
        let mut state = self.lock();
        let previous = state.objects(collection).get(key).cloned();
        match (expected, &previous) {
            (Expected::Absent, None) => state.admit_creation(collection, key)?,
            (Expected::Version(version), Some(object)) if object.version == version => {}
            _ => return Err(Rejected::Moved),
        }
        let deleted = next.is_none();
        if deleted && collection == Collection::Namespaces && state.has_content(&key.name) {
            return Err(Rejected::NamespaceNotEmpty);
        }
        let version = state.version + 1;
        let object = match (next, &previous) {
            (Some(value), _) => Object::new(collection, value, version),
            (None, Some(previous)) => previous.restamped(collection, version),
            (None, None) => return Err(Rejected::Moved),
        };
        let object = Arc::new(object);
        state.persist(collection, key, version, (!deleted).then_some(&object)).map_err(Rejected::NotPersisted)?;
        state.version = version;
        let objects = state.collections.entry(collection).or_default();
        if deleted {
            objects.remove(key);
        } else {
            objects.insert(key.clone(), Arc::clone(&object));
        }
        self.audit.record(origin.entry(Some(version), &key.namespace, &key.name, code));
        // Still under the lock: watchers must see versions in order.
        self.history(collection).push(Change { version, object: Arc::clone(&object), previous, deleted });
        Ok(object)
    }
}

impl State {
    fn objects(&self, collection: Collection) -> &BTreeMap<Key, Arc<Object>> {
        &self.collections[&collection]
    }

    fn in_namespace(&self, collection: Collection, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let objects = self.objects(collection);
        match namespace {
            None => objects.values().cloned().collect(),
            Some(namespace) => objects
                .range(Key::new(namespace, "")..)
                .take_while(|(key, _)| key.namespace == namespace)
                .map(|(_, object)| Arc::clone(object))
                .collect(),
        }
    }

    fn has_content(&self, namespace: &str) -> bool {
        self.collections.values().any(|objects| {
            objects.range(Key::new(namespace, "")..).next().is_some_and(|(key, _)| key.namespace == namespace)
        })
    }

    fn admit_creation(&self, collection: Collection, key: &Key) -> Result<(), Rejected> {
        if !collection.resource().namespaced {
            return Ok(());
        }
        let namespace = self.objects(Collection::Namespaces).get(&Key::new("", &key.namespace));
        let namespace = namespace.ok_or(Rejected::NamespaceMissing)?;
        // The phase is the one selectable field of a namespace.
        if namespace.fields.first().is_some_and(|phase| &**phase == "Terminating") {
            return Err(Rejected::NamespaceTerminating);
        }
        Ok(())
    }

    fn persist(
        &mut self,
        collection: Collection,
        key: &Key,
        version: u64,
        object: Option<&Arc<Object>>,
    ) -> io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        if journal.is_due_for_compaction() {
            let objects = self
                .collections
                .iter()
                .flat_map(|(collection, objects)| objects.values().map(move |object| (*collection, object.as_ref())));
            journal.compact(self.version, objects)?;
        }
        journal.append(collection, key, version, object.map(AsRef::as_ref))
    }
}
