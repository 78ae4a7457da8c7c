//! The objects, the one rising resourceVersion, and the only way to change either: [`Store::commit`].
//!
//! One lock, held for lookups and for the commit itself, never for parsing, validating or merging: writers compute their next
//! object from a snapshot and say which version it was computed from; a commit against another version is turned away and tried
//! again. Knows nothing of HTTP.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use serde_json::Value;

use crate::audit::{Audit, AuditEntry};
use crate::dependents::{Dependents, Place};
use crate::history::{Change, History, TooOld};
use crate::journal::{Journal, OpenError};
use crate::object::{Key, Object};
use crate::registry::Registry;
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

/// The objects of one collection.
#[derive(Debug)]
struct Objects {
    /// What the collection is journaled under.
    name: String,
    by_key: BTreeMap<Key, Arc<Object>>,
}

/// A collection nothing was ever stored in.
static NO_OBJECTS: BTreeMap<Key, Arc<Object>> = BTreeMap::new();

#[derive(Debug)]
struct State {
    version: u64,
    collections: BTreeMap<Collection, Objects>,
    journal: Option<Journal>,
    dependents: Dependents,
}

#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    /// Made when a collection is first written or watched.
    histories: RwLock<BTreeMap<Collection, Arc<History>>>,
    bounds: Bounds,
    /// The version the process started with: nothing older can be resumed from.
    first_version: u64,
    pub(crate) registry: Registry,
    pub(crate) audit: Audit,
    collects_garbage: bool,
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
    pub(crate) resource: Arc<Resource>,
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
    pub(crate) fn open(bounds: Bounds, directory: Option<&Path>, collects_garbage: bool) -> Result<Self, OpenError> {
        let mut version = 0;
        let registry = Registry::default();
        let mut collections: BTreeMap<Collection, Objects> = BTreeMap::new();
        let restore = |record: crate::journal::Record| {
            version = version.max(record.version);
            if record.collection.is_empty() {
                return;
            }
            let collection = registry.collection(&record.collection);
            let objects = collections
                .entry(collection)
                .or_insert_with(|| Objects { name: record.collection, by_key: BTreeMap::new() });
            match record.object {
                Some(value) => {
                    let object = Object::new(collection, value, record.version);
                    objects.by_key.insert(object.key.clone(), Arc::new(object));
                }
                None => {
                    objects.by_key.remove(&Key { namespace: record.namespace, name: record.name });
                }
            }
        };
        let journal = directory.map(|directory| Journal::open(directory, restore)).transpose()?;
        let mut dependents = Dependents::default();
        for (collection, objects) in &collections {
            objects.by_key.values().for_each(|object| dependents.note(*collection, None, Some(object)));
        }
        let state = Mutex::new(State { version, collections, journal, dependents });
        let histories = RwLock::new(BTreeMap::new());
        let audit = Audit::new(bounds.audit_entries_max);
        Ok(Self { state, histories, bounds, first_version: version, registry, audit, collects_garbage })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section leaves the state half changed, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn history(&self, collection: Collection) -> Arc<History> {
        let histories = self.histories.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(history) = histories.get(&collection) {
            return Arc::clone(history);
        }
        drop(histories);
        let mut histories = self.histories.write().unwrap_or_else(PoisonError::into_inner);
        let history = histories.entry(collection).or_insert_with(|| {
            let Bounds { history_changes_max, history_bytes_max, .. } = self.bounds;
            Arc::new(History::new(self.first_version, history_changes_max, history_bytes_max))
        });
        Arc::clone(history)
    }

    /// The newest resourceVersion.
    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    pub(crate) fn get(&self, collection: Collection, key: &Key) -> Option<Arc<Object>> {
        self.lock().objects(collection).get(key).cloned()
    }

    /// Whether anything is stored in a namespace.
    pub(crate) fn has_content(&self, namespace: &str) -> bool {
        self.lock().has_content(namespace)
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

    /// The objects that name this uid as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<Place> {
        self.lock().dependents.of(uid)
    }

    /// Whether there are objects the garbage collector is to look at.
    pub(crate) fn is_garbage_due(&self) -> bool {
        self.collects_garbage && self.lock().dependents.is_due()
    }

    /// Takes one of them.
    pub(crate) fn take_garbage_due(&self) -> Option<Place> {
        self.lock().dependents.take_due()
    }

    /// Makes one change and tells its watchers, or says why not. Returns the object as stored; for a removal, its last state
    /// under the version of the removal.
    pub(crate) fn commit(&self, commit: Commit<'_>) -> Result<Arc<Object>, Rejected> {
        let Commit { collection, key, expected, next, origin, code } = commit;
        let mut state = self.lock();
        let previous = state.objects(collection).get(key).cloned();
        match (expected, &previous) {
            (Expected::Absent, None) => state.admit_creation(key)?,
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
        state
            .persist(origin.resource.collection_name, key, version, (!deleted).then_some(&object))
            .map_err(Rejected::NotPersisted)?;
        state.version = version;
        let objects = state
            .collections
            .entry(collection)
            .or_insert_with(|| Objects { name: origin.resource.collection_name.to_owned(), by_key: BTreeMap::new() });
        if deleted {
            objects.by_key.remove(key);
        } else {
            objects.by_key.insert(key.clone(), Arc::clone(&object));
        }
        self.audit.record(origin.entry(Some(version), &key.namespace, &key.name, code));
        state.dependents.note(collection, previous.as_deref(), (!deleted).then_some(object.as_ref()));
        // Still under the lock: watchers must see versions in order.
        self.history(collection).push(Change { version, object: Arc::clone(&object), previous, deleted });
        Ok(object)
    }
}

impl State {
    fn objects(&self, collection: Collection) -> &BTreeMap<Key, Arc<Object>> {
        self.collections.get(&collection).map_or(&NO_OBJECTS, |objects| &objects.by_key)
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
            objects.by_key.range(Key::new(namespace, "")..).next().is_some_and(|(key, _)| key.namespace == namespace)
        })
    }

    fn admit_creation(&self, key: &Key) -> Result<(), Rejected> {
        if key.namespace.is_empty() {
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

    fn persist(&mut self, collection: &str, key: &Key, version: u64, object: Option<&Arc<Object>>) -> io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        if journal.is_due_for_compaction() {
            let objects = self
                .collections
                .values()
                .flat_map(|objects| objects.by_key.values().map(|object| (objects.name.as_str(), object.as_ref())));
            journal.compact(self.version, objects)?;
        }
        journal.append(collection, key, version, object.map(AsRef::as_ref))
    }
}
