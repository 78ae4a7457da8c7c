//! The recent changes of one collection, and the bell that wakes its watchers.
//!
//! A bounded ring: what fell out can no longer be resumed from. Watchers read it with a cursor of their own, so a slow one costs
//! nothing but its place. Never takes the store's lock.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::object::Object;

/// Most changes handed to a watcher at once; it comes back for more and lets others in between.
const BATCH_CHANGES_MAX: usize = 256;

/// One committed change.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    /// The object after the change; for a deletion its last state under the version of the deletion.
    pub(crate) object: Arc<Object>,
    /// The object before the change, absent for a creation.
    pub(crate) previous: Option<Arc<Object>>,
    pub(crate) deleted: bool,
}

/// The version asked for is older than what the ring still holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooOld {
    pub(crate) oldest: u64,
}

#[derive(Debug)]
struct Ring {
    changes: VecDeque<Change>,
    bytes: usize,
    /// Every change above this version is in the ring.
    complete_above: u64,
}

#[derive(Debug)]
pub(crate) struct History {
    ring: RwLock<Ring>,
    bell: watch::Sender<u64>,
    changes_max: usize,
    bytes_max: usize,
}

impl History {
    /// A ring that starts out empty at `version`.
    pub(crate) fn new(version: u64, changes_max: usize, bytes_max: usize) -> Self {
        let ring = Ring { changes: VecDeque::new(), bytes: 0, complete_above: version };
        Self { ring: RwLock::new(ring), bell: watch::Sender::new(version), changes_max, bytes_max }
    }

    /// Adds the newest change and wakes the watchers.
    pub(crate) fn push(&self, change: Change) {
        let version = change.version;
        {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            ring.bytes += change.object.bytes.len();
            ring.changes.push_back(change);
            while ring.changes.len() > self.changes_max || ring.bytes > self.bytes_max {
                let Some(dropped) = ring.changes.pop_front() else { break };
                ring.bytes -= dropped.object.bytes.len();
                ring.complete_above = dropped.version;
            }
        }
        self.bell.send_replace(version);
    }

    /// Changes above `version`, oldest first, at most a batch of them.
    pub(crate) fn since(&self, version: u64) -> Result<Vec<Change>, TooOld> {
        self.above(version, BATCH_CHANGES_MAX)
    }

    /// All changes above `version`, oldest first.
    pub(crate) fn all_since(&self, version: u64) -> Result<Vec<Change>, TooOld> {
        self.above(version, usize::MAX)
    }

    fn above(&self, version: u64, changes_max: usize) -> Result<Vec<Change>, TooOld> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if version < ring.complete_above {
            return Err(TooOld { oldest: ring.complete_above });
        }
        let start = ring.changes.partition_point(|change| change.version <= version);
        Ok(ring.changes.range(start..).take(changes_max).cloned().collect())
    }

    /// Rings at every change; the value is the version of the newest.
    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::Collection;

    fn change(version: u64) -> Change {
        let value = json!({"metadata": {"name": "a", "namespace": "n"}});
        let object = Arc::new(Object::new(Collection::ConfigMaps, value, version));
        Change { version, object, previous: None, deleted: false }
    }

    fn versions(changes: &[Change]) -> Vec<u64> {
        changes.iter().map(|change| change.version).collect()
    }

    #[test]
    fn a_cursor_reads_only_what_it_has_not_seen() {
        let history = History::new(3, 10, usize::MAX);
        for version in [4, 7, 9] {
            history.push(change(version));
        }
        assert_eq!(versions(&history.since(3).unwrap()), [4, 7, 9]);
        assert_eq!(versions(&history.since(4).unwrap()), [7, 9]);
        assert_eq!(versions(&history.since(8).unwrap()), [9]);
        assert!(history.since(9).unwrap().is_empty());
    }

    #[test]
    fn what_fell_out_of_the_ring_is_too_old() {
        let by_count = History::new(0, 2, usize::MAX);
        let by_bytes = History::new(0, 100, change(1).object.bytes.len() * 2);
        for history in [by_count, by_bytes] {
            for version in [1, 2, 3] {
                history.push(change(version));
            }
            assert_eq!(history.since(0).unwrap_err(), TooOld { oldest: 1 });
            assert_eq!(versions(&history.since(1).unwrap()), [2, 3]);
        }
    }
}
