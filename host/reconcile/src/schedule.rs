//! When a `[[schedule]]` comes due. Instants follow from the epoch and a name, so that every replica knows them without
//! having been told.

use std::time::Duration;

/// Shorter periods are a busy loop, not a schedule; objects that change are watched.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// Instants at a fixed distance from each other: `offset + n * period` since 1970, the offset following from a name, so
/// that plugins with the same period don't come due together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    period_ns: u128,
    offset_ns: u128,
}

/// A period that is too short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a schedule every {period:?} is too short; the shortest is {min:?}", min = PERIOD_MIN)]
pub struct InvalidPeriod {
    period: Duration,
}

impl Schedule {
    /// Every `period`, shifted by what follows from `name`: the identity of the plugin, and which of its schedules it is.
    ///
    /// # Errors
    /// When `period` is under a second.
    pub fn every(period: Duration, name: &str) -> Result<Self, InvalidPeriod> {
        if period < PERIOD_MIN {
            return Err(InvalidPeriod { period });
        }
        let period_ns = period.as_nanos();
        Ok(Self { period_ns, offset_ns: u128::from(fnv1a(name.as_bytes())) % period_ns })
    }

    /// The first instant after `after_wall`; both since 1970.
    #[must_use]
    pub fn next(&self, after_wall: Duration) -> Duration {
        let after_ns = after_wall.as_nanos();
        let next_ns = match after_ns.checked_sub(self.offset_ns) {
            None => self.offset_ns,
            Some(since_offset_ns) => self.offset_ns + (since_offset_ns / self.period_ns + 1) * self.period_ns,
        };
        let nanos = u32::try_from(next_ns % 1_000_000_000).unwrap_or(0);
        u64::try_from(next_ns / 1_000_000_000).map_or(Duration::MAX, |seconds| Duration::new(seconds, nanos))
    }
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
        }
    }
}
