//! The two real clocks. The only place in this room that reads them.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use tenure_election::{Clock, Instant};

/// Reads CLOCK_BOOTTIME, which counts suspends and is never set, and CLOCK_REALTIME.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Instant {
        Instant {
            boot: since_zero(clock_gettime(ClockId::Boottime)),
            wall: since_zero(clock_gettime(ClockId::Realtime)),
        }
    }
}

/// The clock that a host hands to its rooms: [`BootClock`], or one that a test steps, where it is built with `failpoints` and the
/// environment asks for it.
#[must_use]
pub fn process_clock() -> Arc<dyn Clock> {
    #[cfg(feature = "failpoints")]
    if let Some(stepped) = crate::failpoints::stepped_clock() {
        return stepped;
    }
    Arc::new(BootClock)
}

/// A clock set to before its own zero reads as zero: nothing here lives that early.
fn since_zero(reading: Timespec) -> Duration {
    let seconds = u64::try_from(reading.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(reading.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_reading_never_falls() {
        let first = BootClock.now();
        let second = BootClock.now();
        assert!(second.boot >= first.boot);
    }

    #[test]
    fn wall_reading_counts_from_1970() {
        let years_50 = Duration::from_secs(50 * 365 * 24 * 3600);
        assert!(BootClock.now().wall > years_50, "a machine that runs this was set after 2020");
    }

    #[test]
    fn reading_before_zero_is_zero() {
        assert_eq!(since_zero(Timespec { tv_sec: -5, tv_nsec: 0 }), Duration::ZERO);
    }
}
