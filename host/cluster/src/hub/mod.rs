//! The shared object cache: one watch per resource and scope, however many plugins read it.
//!
//! Owns the watches' tasks and what they have seen. A watch starts with its first subscription and ends with its last.
//! Selectors are the subscribers' affair; who may read what is not decided here.

mod lines;
mod store;
mod watcher;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::reader::Reader;
use crate::{FieldSelector, Object, Selector, WatchKey};
use store::Store;
use watcher::Watcher;

/// Changes a subscriber may be behind before it has to list the cache again, which is cheaper than keeping more superseded
/// objects alive for it.
const CHANGES_MAX: usize = 1024;

/// How a watch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchState {
    /// Nobody subscribed to it, or the first list is under way.
    Syncing,
    /// The cache follows the server.
    Synced,
    /// It does not, and says why; what was seen before is kept. It is tried again, slowly after a 403 or 404.
    Failing {
        /// HTTP status code; 0 when there was no answer.
        code: u16,
        /// For people.
        message: String,
    },
}

/// Something a subscriber should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An object was added or changed.
    Applied(Arc<Object>),
    /// An object is gone; this is its last known state.
    Deleted(Arc<Object>),
    /// The cache was filled, or changes were lost on the way to this subscriber: list the cache again.
    Resynced,
    /// The watch does not work; [`Change::Resynced`] follows when it does again.
    Failing {
        /// HTTP status code; 0 when there was no answer.
        code: u16,
        /// For people.
        message: String,
    },
}

/// The shared object cache. Clones share it.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    reader: Reader,
    watches: Mutex<HashMap<WatchKey, Watch>>,
}

struct Watch {
    watched: Arc<Watched>,
    subscriptions: usize,
    task: AbortOnDropHandle<()>,
}

/// What the task of one watch and its readers share.
pub(crate) struct Watched {
    key: WatchKey,
    store: RwLock<Store>,
    state: watch::Sender<WatchState>,
    /// The newest version seen; every change of the cache is told here after it was made.
    version: watch::Sender<u64>,
    /// Taken when the task ends by a panic, which ends the subscriptions.
    changes: Mutex<Option<broadcast::Sender<Change>>>,
    /// Asks for a new connection: somebody knows of news that did not come.
    nudge: Notify,
}

impl Hub {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { shared: Arc::new(Shared { reader, watches: Mutex::default() }) }
    }

    /// Subscribes to a watch, starting it if nobody did before. Must be called in a tokio runtime.
    #[must_use]
    pub fn subscribe(&self, key: WatchKey) -> Subscription {
        let mut watches = self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = match watches.entry(key) {
            Entry::Occupied(entry) if !entry.get().task.is_finished() => entry.into_mut(),
            Entry::Occupied(mut entry) => {
                let fresh = self.start(entry.key().clone());
                entry.insert(fresh);
                entry.into_mut()
            }
            Entry::Vacant(entry) => {
                let fresh = self.start(entry.key().clone());
                entry.insert(fresh)
            }
        };
        watch.subscriptions += 1;
        let watched = Arc::clone(&watch.watched);
        let changes = watched.changes.lock().unwrap_or_else(PoisonError::into_inner);
        // Subscribed before the state is read: what happens in between comes as a change.
        let receiver = changes.as_ref().map(broadcast::Sender::subscribe);
        drop(changes);
        let first = match &*watched.state.borrow() {
            WatchState::Syncing => None,
            WatchState::Synced => Some(Change::Resynced),
            WatchState::Failing { code, message } => Some(Change::Failing { code: *code, message: message.clone() }),
        };
        Subscription { shared: Arc::clone(&self.shared), watched, receiver, first }
    }

    /// The object as last seen. `None` when it was not seen, or nobody subscribed to `key`.
    #[must_use]
    pub fn get(&self, key: &WatchKey, namespace: Option<&str>, name: &str) -> Option<Arc<Object>> {
        self.watched(key)?.get(namespace.unwrap_or_default(), name)
    }

    /// The objects as last seen, by namespace and name. Empty when nobody subscribed to `key`.
    #[must_use]
    pub fn list(
        &self,
        key: &WatchKey,
        namespace: Option<&str>,
        labels: &Selector,
        fields: &FieldSelector,
    ) -> Vec<Arc<Object>> {
        self.watched(key).map(|watched| watched.read().select(namespace, labels, fields)).unwrap_or_default()
    }

    /// How the watch stands.
    #[must_use]
    pub fn state(&self, key: &WatchKey) -> WatchState {
        self.watched(key).map_or(WatchState::Syncing, |watched| watched.state.borrow().clone())
    }

    /// The newest version the watch has seen; 0 before the first list, or when nobody subscribed.
    #[must_use]
    pub fn seen_version(&self, key: &WatchKey) -> u64 {
        self.watched(key).map_or(0, |watched| watched.seen_version())
    }

    /// Waits until the cache has seen `version` (of a write's answer) or newer, at most `limit`. `false`: it has not, or
    /// nobody is subscribed; then read live.
    ///
    /// A watch delivers the versions of its resource in order, so a newer version of any object proves that this one came.
    pub async fn wait_seen(&self, key: &WatchKey, version: u64, limit: Duration) -> bool {
        let Some(watched) = self.watched(key) else { return false };
        let mut seen = watched.version.subscribe();
        timeout(limit, seen.wait_for(|seen| *seen >= version)).await.is_ok_and(|seen| seen.is_ok())
    }

    /// How many watches are open.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn watched(&self, key: &WatchKey) -> Option<Arc<Watched>> {
        let watches = self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.get(key).map(|watch| Arc::clone(&watch.watched))
    }

    fn start(&self, key: WatchKey) -> Watch {
        let watched = Arc::new(Watched {
            key,
            store: RwLock::default(),
            state: watch::Sender::new(WatchState::Syncing),
            version: watch::Sender::new(0),
            changes: Mutex::new(Some(broadcast::Sender::new(CHANGES_MAX))),
            nudge: Notify::new(),
        });
        let task = tokio::spawn(Watcher::new(self.shared.reader.clone(), Arc::clone(&watched)).run());
        Watch { watched, subscriptions: 0, task: AbortOnDropHandle::new(task) }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("watches", &self.watches()).finish()
    }
}

impl Watched {
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.read().get(namespace, name).cloned()
    }

    pub(crate) fn seen_version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Told after each change of the cache, also when the version stays.
    pub(crate) fn progress(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn nudge(&self) {
        self.nudge.notify_one();
    }

    pub(crate) fn read(&self) -> std::sync::RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: Change) {
        if let Some(changes) = &*self.changes.lock().unwrap_or_else(PoisonError::into_inner) {
            // Nobody listening is no fault: the subscription may just be going.
            let _ = changes.send(change);
        }
    }
}

/// One subscriber's view of a watch. Dropping the last one ends the watch and forgets its objects.
pub struct Subscription {
    shared: Arc<Shared>,
    watched: Arc<Watched>,
    receiver: Option<broadcast::Receiver<Change>>,
    first: Option<Change>,
}

impl Subscription {
    /// The next change. Begins with [`Change::Resynced`] as soon as the cache is filled. `None` only if the watch's task died,
    /// which is a fault of this program. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Change> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        match self.receiver.as_mut()?.recv().await {
            Ok(change) => Some(change),
            Err(RecvError::Lagged(_)) => Some(Change::Resynced),
            Err(RecvError::Closed) => None,
        }
    }

    /// What it is subscribed to.
    #[must_use]
    pub fn key(&self) -> &WatchKey {
        &self.watched.key
    }

    /// How the watch stands.
    #[must_use]
    pub fn state(&self) -> WatchState {
        self.watched.state.borrow().clone()
    }

    /// Waits for the cache to be filled: at once when it is, never while the watch fails.
    pub async fn synced(&self) {
        let mut state = self.watched.state.subscribe();
        // The sender lives in `watched`, so this cannot end early.
        let _ = state.wait_for(|state| *state == WatchState::Synced).await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut watches = self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut entry) = watches.entry(self.watched.key.clone()) else { return };
        // A watch whose task died is replaced; its subscriptions are not the new one's.
        if Arc::ptr_eq(&entry.get().watched, &self.watched) {
            entry.get_mut().subscriptions -= 1;
            if entry.get().subscriptions == 0 {
                entry.remove();
            }
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("key", self.key()).field("state", &self.state()).finish_non_exhaustive()
    }
}
