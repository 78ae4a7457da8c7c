//! When a `[[schedule]]` comes due. Instants follow from the epoch and a name, so that every replica knows them without
//! having been told.

use std::time::Duration;

use crate::cron::Cron;

/// Shorter periods are a busy loop, not a schedule; objects that change are watched.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// When something comes due.
#[derive(Debug, Clone)]
pub struct Schedule(Recurrence);

#[derive(Debug, Clone)]
enum Recurrence {
    /// Instants at a fixed distance from each other: `offset + n * period` since 1970, the offset following from a name, so
    /// that plugins with the same period don't come due together.
    Every { period_ns: u128, offset_ns: u128 },
    /// Instants by the calendar, and how long after one it is still made up for.
    Cron { cron: Box<Cron>, catch_up: Duration },
}

/// A schedule that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// The period is too short.
    #[error("a schedule every {period:?} is too short; the shortest is {min:?}", min = PERIOD_MIN)]
    PeriodTooShort {
        /// The period.
        period: Duration,
    },
    /// Not a cron expression.
    #[error(
        "cron = {expression:?}: {problem}; write minute, hour, day of month, month and day of week, such as \"30 3 * * MON-FRI\""
    )]
    Cron {
        /// As given.
        expression: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Such as the 30th of February.
    #[error("cron = {expression:?} never comes due")]
    Never {
        /// As given.
        expression: String,
    },
    /// Not a time zone.
    #[error("time-zone = {name:?} is none of the IANA database; write one such as \"Europe/Berlin\" or \"UTC\"")]
    TimeZone {
        /// As given.
        name: String,
    },
}

impl Schedule {
    /// Every `period`, shifted by what follows from `name`: the identity of the plugin, and which of its schedules it is.
    ///
    /// # Errors
    /// When `period` is under a second.
    pub fn every(period: Duration, name: &str) -> Result<Self, InvalidSchedule> {
        if period < PERIOD_MIN {
            return Err(InvalidSchedule::PeriodTooShort { period });
        }
        let period_ns = period.as_nanos();
        Ok(Self(Recurrence::Every { period_ns, offset_ns: u128::from(fnv1a(name.as_bytes())) % period_ns }))
    }

    /// By a cron expression of five fields, read in a time zone of the IANA database. An instant that passed no longer than
    /// `catch_up` ago is made up for at a start.
    ///
    /// # Errors
    /// When one of the two is not what it is to be, or the expression never comes due.
    pub fn cron(expression: &str, time_zone: &str, catch_up: Duration) -> Result<Self, InvalidSchedule> {
        Ok(Self(Recurrence::Cron { cron: Box::new(Cron::new(expression, time_zone)?), catch_up }))
    }

    /// The first instant after `after_wall`; both since 1970. [`Duration::MAX`] where none ever comes.
    #[must_use]
    pub fn next(&self, after_wall: Duration) -> Duration {
        match &self.0 {
            Recurrence::Every { period_ns, offset_ns } => {
                let next_ns = match after_wall.as_nanos().checked_sub(*offset_ns) {
                    None => *offset_ns,
                    Some(since_offset_ns) => offset_ns + (since_offset_ns / period_ns + 1) * period_ns,
                };
                since_epoch(next_ns)
            }
            Recurrence::Cron { cron, .. } => cron.next(after_wall).unwrap_or(Duration::MAX),
        }
    }

    /// The last instant that is not after `at_wall`, if there was one; both since 1970.
    #[must_use]
    pub fn last(&self, at_wall: Duration) -> Option<Duration> {
        match &self.0 {
            Recurrence::Every { period_ns, offset_ns } => {
                let since_offset_ns = at_wall.as_nanos().checked_sub(*offset_ns)?;
                Some(since_epoch(offset_ns + since_offset_ns / period_ns * period_ns))
            }
            Recurrence::Cron { cron, .. } => cron.last(at_wall),
        }
    }

    /// The instant that whoever starts at `now_wall` makes up for, because nobody may have been there for it.
    #[must_use]
    pub fn missed(&self, now_wall: Duration) -> Option<Duration> {
        match &self.0 {
            Recurrence::Every { .. } => None,
            Recurrence::Cron { cron, catch_up } => cron.last(now_wall).filter(|last| now_wall - *last <= *catch_up),
        }
    }
}

fn since_epoch(nanos: u128) -> Duration {
    let subsecond = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    u64::try_from(nanos / 1_000_000_000).map_or(Duration::MAX, |seconds| Duration::new(seconds, subsecond))
}

/// FNV-1a, 64 bits: fixed for good, because replicas of different versions must agree.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_period_under_a_second_is_refused() {
        let refused = Schedule::every(Duration::from_millis(999), "a").unwrap_err();
        assert_eq!(refused.to_string(), "a schedule every 999ms is too short; the shortest is 1s");
    }

    /// Replicas of different versions must agree: this instant never changes.
    #[test]
    fn instants_follow_from_the_epoch_and_the_name() {
        let schedule = Schedule::every(Duration::from_secs(600), "tenure-plugins/label-propagator").unwrap();
        let first = schedule.next(Duration::from_secs(1_800_000_000));
        assert_eq!(first, Duration::new(1_800_000_041, 732_072_192));
        assert_eq!(schedule.next(first), first + Duration::from_secs(600));
    }

    #[test]
    fn plugins_with_the_same_period_come_due_apart() {
        let next =
            |name| Schedule::every(Duration::from_secs(600), name).unwrap().next(Duration::from_secs(1_800_000_000));
        assert_ne!(next("a"), next("b"));
    }

    #[test]
    fn only_a_cron_schedule_is_made_up_for_and_only_for_so_long() {
        let (hour, start) = (Duration::from_secs(3600), Duration::from_secs(1_800_000_000));
        let cron = Schedule::cron("0 * * * *", "UTC", Duration::from_secs(60)).unwrap();
        let due = cron.next(start);
        assert_eq!(cron.missed(due), Some(due));
        assert_eq!(cron.missed(due + Duration::from_secs(60)), Some(due));
        assert_eq!(cron.missed(due + Duration::from_secs(61)), None);
        let every = Schedule::every(hour, "a").unwrap();
        assert_eq!(every.missed(every.next(start)), None);
    }

    proptest! {
        #[test]
        fn the_next_instant_is_after_now_by_at_most_a_period(
            period_ms in 1000_u64..100_000_000, after_ms in 0_u64..4_000_000_000_000, name in "[a-z/]{1,20}",
        ) {
            let (period, after) = (Duration::from_millis(period_ms), Duration::from_millis(after_ms));
            let schedule = Schedule::every(period, &name).unwrap();
            let next = schedule.next(after);
            prop_assert!(next > after && next <= after + period);
            prop_assert_eq!(schedule.next(next), next + period);
            prop_assert_eq!(schedule.last(next), Some(next));
            prop_assert!(schedule.last(after).is_none_or(|last| last <= after && last + period == next));
        }
    }
}
