//! Who wrote what, in the order of resourceVersions: the record tests judge the order of writes by.
//!
//! Bounded; reads are not recorded (an intercept sees those).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::broadcast;

/// Entries a follower may lag behind before it is told that it missed some.
const FOLLOWER_ENTRIES_MAX: usize = 4096;

/// One write, refused, without effect or committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The resourceVersion the write committed; for a deletion, the one its `DELETED` event carries. `None` if nothing changed.
    pub version: Option<u64>,
    /// `create`, `update`, `patch`, `delete` or `deletecollection`, as RBAC names it.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural name of the resource.
    pub resource: String,
    /// Namespace of the object, if its kind has one.
    pub namespace: Option<String>,
    /// Name of the object; absent for a refused create that left it to the server.
    pub name: Option<String>,
    /// Subresource written, such as `status`.
    pub subresource: Option<String>,
    /// The request's `User-Agent`; the cluster's own removals in a deleted namespace carry `tenure-local-cluster/namespaces`.
    pub user_agent: String,
    /// The field manager in force: the parameter, or what the user agent stands for.
    pub field_manager: String,
    /// HTTP status of the answer (also when the answer was then lost on purpose).
    pub code: u16,
    /// When the request had been read, by this machine's clock.
    pub received_at: SystemTime,
}

#[derive(Debug)]
pub(crate) struct Audit {
    entries: Mutex<VecDeque<AuditEntry>>,
    entries_max: usize,
    followers: broadcast::Sender<AuditEntry>,
}

impl Audit {
    pub(crate) fn new(entries_max: usize) -> Self {
        let (followers, _) = broadcast::channel(FOLLOWER_ENTRIES_MAX);
        Self { entries: Mutex::new(VecDeque::new()), entries_max, followers }
    }

    pub(crate) fn record(&self, entry: AuditEntry) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        while entries.len() >= self.entries_max.max(1) {
            entries.pop_front();
        }
        entries.push_back(entry.clone());
        // Sent under the lock, so that followers see the same order. Without followers there is nobody to tell.
        let _ = self.followers.send(entry);
    }

    pub(crate) fn entries(&self) -> Vec<AuditEntry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<AuditEntry> {
        self.followers.subscribe()
    }
}
