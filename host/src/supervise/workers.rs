//! The instances of one plugin: idle ones are kept for the next call, for a while. Makes no calls.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::call::Worker;
use super::key::Key;

/// An instance that has not been called for this long is dropped: the house holds a limited number for all plugins.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Idle instances, and the memory of those at work as it was when they left.
#[derive(Default)]
pub(crate) struct Workers {
    /// The one used last at the end, so that those in front grow old.
    idle: Vec<(Instant, Worker)>,
    busy_memory_bytes: HashMap<Key, u64>,
}

impl Workers {
    /// An idle instance for a call, if there is one.
    pub(crate) fn take(&mut self, key: &Key) -> Option<Worker> {
        let (_, worker) = self.idle.pop()?;
        self.busy_memory_bytes.insert(key.clone(), worker.memory_bytes());
        Some(worker)
    }

    /// A call has ended; its instance too, where there is none.
    pub(crate) fn bring_back(&mut self, key: &Key, worker: Option<Worker>, now: Instant) {
        self.busy_memory_bytes.remove(key);
        self.keep(worker, now);
    }

    /// An instance for a call to come, where there is one.
    pub(crate) fn keep(&mut self, worker: Option<Worker>, now: Instant) {
        self.idle.extend(worker.map(|worker| (now, worker)));
    }

    /// Drops those that nobody needed for long.
    pub(crate) fn retire_idle(&mut self, now: Instant) {
        self.idle.retain(|(since, _)| now.saturating_duration_since(*since) < IDLE_MAX);
    }

    /// Linear memory of all of them, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let idle: u64 = self.idle.iter().map(|(_, worker)| worker.memory_bytes()).sum();
        idle + self.busy_memory_bytes.values().sum::<u64>()
    }
}
