//! Read your writes: a key waits until the cache has seen what its last call wrote to what the plugin watches. Holds no
//! keys itself, the queue does.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tenure_cluster::Hub;
use tokio::task::JoinSet;

use super::guest::WriteMade;
use super::key::Key;

/// The waits of one plugin.
pub(crate) struct OwnWrites {
    limit: Duration,
    waits: JoinSet<(Key, u64, bool)>,
    /// The newest wait of each key; the end of an older one releases nothing.
    newest: HashMap<Key, u64>,
    started: u64,
}

impl OwnWrites {
    /// Waits last at most `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, waits: JoinSet::new(), newest: HashMap::new(), started: 0 }
    }

    /// Until when to hold `key` back, if the cache has not seen all of `writes` yet.
    pub(crate) fn wait_for(&mut self, hub: &Hub, key: &Key, writes: Vec<WriteMade>, now: Instant) -> Option<Instant> {
        let unseen: Vec<_> =
            writes.into_iter().filter(|write| hub.seen_version(&write.watch) < write.version).collect();
        if unseen.is_empty() {
            return None;
        }
        self.started += 1;
        self.newest.insert(key.clone(), self.started);
        let (hub, key, number, limit) = (hub.clone(), key.clone(), self.started, self.limit);
        self.waits.spawn(async move {
            let all =
                futures::future::join_all(unseen.iter().map(|write| hub.wait_seen(&write.watch, write.version, limit)));
            let seen = all.await.into_iter().all(|seen| seen);
            (key, number, seen)
        });
        Some(now + self.limit)
    }

    /// The next key whose writes have all been seen. Pending while there is none.
    pub(crate) async fn seen(&mut self) -> Option<Key> {
        while let Some(waited) = self.waits.join_next().await {
            let Ok((key, number, seen)) = waited else { continue };
            if self.newest.get(&key) == Some(&number) {
                self.newest.remove(&key);
                if seen {
                    return Some(key);
                }
            }
        }
        std::future::pending().await
    }
}
