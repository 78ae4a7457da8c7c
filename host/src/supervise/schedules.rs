//! A plugin's `[[schedule]]` entries: when each comes due, on the wall clock, translated for a queue that counts otherwise.

use std::time::{Duration, Instant, SystemTime};

use tenure_reconcile::{Cause, Queue, Schedule};

use super::key::Key;

/// The schedules of one plugin and when each comes due next, since 1970.
pub(crate) struct Schedules(Vec<(Schedule, Duration)>);

impl Schedules {
    /// Due for the first time after now, or at once for what is to be made up for.
    pub(crate) fn new(schedules: &[Schedule], now_wall: Duration) -> Self {
        let due = |schedule: &Schedule| schedule.missed(now_wall).unwrap_or_else(|| schedule.next(now_wall));
        Self(schedules.iter().map(|schedule| (schedule.clone(), due(schedule))).collect())
    }

    /// How long until the next one is due.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let due = self.0.iter().map(|(_, due)| *due).min()?;
        now.checked_add(due.saturating_sub(wall_now()))
    }

    /// Queues what is due; instants that were slept through count once.
    pub(crate) fn queue_due(&mut self, queue: &mut Queue<Key>, now: Instant, now_wall: Duration) {
        for (number, (schedule, due)) in self.0.iter_mut().enumerate() {
            if *due <= now_wall {
                *due = schedule.next(now_wall);
                queue.add(now, Key::Schedule(number), Cause::Scheduled);
            }
        }
    }
}

/// The wall clock, since 1970.
pub(crate) fn wall_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tenure_reconcile::QueueSettings;

    use super::*;

    #[test]
    fn what_came_due_while_nobody_led_is_made_up_for_once() {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let hourly = |catch_up| Schedule::cron("0 * * * *", "UTC", catch_up).unwrap();
        let due = hourly(minute).next(Duration::from_secs(1_800_000_000));
        let mut queue = Queue::new(&QueueSettings::default(), 1);
        let mut schedules = Schedules::new(&[hourly(minute), hourly(Duration::ZERO)], due + minute);
        for wait in [minute, 2 * minute] {
            schedules.queue_due(&mut queue, now, due + wait);
        }
        let handed_out = queue.poll(now).expect("the one with a time to make up for it");
        assert_eq!((&handed_out.key, handed_out.cause), (&Key::Schedule(0), Cause::Scheduled));
        let _ = queue.done(now, &handed_out.key, tenure_reconcile::Done::Ok);
        assert!(queue.poll(now).is_none());
        schedules.queue_due(&mut queue, now, due + 60 * minute);
        assert_eq!(queue.depth(), 2, "the next instant is there for both");
    }
}
