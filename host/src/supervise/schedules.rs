//! A plugin's `[[schedule]]` entries: when each comes due, on the wall clock, translated for a queue that counts otherwise.

use std::time::{Duration, Instant, SystemTime};

use tenure_reconcile::{Cause, Queue, Schedule};

use super::key::Key;

/// The schedules of one plugin and when each comes due next, since 1970.
pub(crate) struct Schedules(Vec<(Schedule, Duration)>);

impl Schedules {
    /// Due for the first time after now.
    pub(crate) fn new(schedules: &[Schedule]) -> Self {
        let now = wall_now();
        Self(schedules.iter().map(|schedule| (schedule.clone(), schedule.next(now))).collect())
    }

    /// How long until the next one is due.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let due = self.0.iter().map(|(_, due)| *due).min()?;
        Some(now + due.saturating_sub(wall_now()))
    }

    /// Queues what is due; instants that were slept through count once.
    pub(crate) fn queue_due(&mut self, queue: &mut Queue<Key>) {
        let now = wall_now();
        for (number, (schedule, due)) in self.0.iter_mut().enumerate() {
            if *due <= now {
                *due = schedule.next(now);
                queue.add(Instant::now(), Key::Schedule(number), Cause::Scheduled);
            }
        }
    }
}

fn wall_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
