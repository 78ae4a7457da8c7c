//! The instances of one plugin: idle ones are kept for the next call, for a while. Makes no calls.

use std::time::{Duration, Instant};

use super::call::Worker;

/// An instance that has not been called for this long is dropped: the house holds a limited number for all plugins.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Idle instances.
#[derive(Default)]
pub(crate) struct Workers {
    /// The one used last at the end, so that those in front grow old.
    idle: Vec<(Instant, Worker)>,
}

impl Workers {
    /// An idle instance for a call, if there is one.
    pub(crate) fn take(&mut self) -> Option<Worker> {
        self.idle.pop().map(|(_, worker)| worker)
    }

    /// An instance for a call to come, where there is one.
    pub(crate) fn keep(&mut self, worker: Option<Worker>, now: Instant) {
        self.idle.extend(worker.map(|worker| (now, worker)));
    }

    /// Drops those that nobody needed for long.
    pub(crate) fn retire_idle(&mut self, now: Instant) {
        self.idle.retain(|(since, _)| now.saturating_duration_since(*since) < IDLE_MAX);
    }
}
