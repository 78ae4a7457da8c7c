//! Time as the election sees it: one instant, two readings. Reads no clock; a [`Clock`] is a port.

use std::time::Duration;

/// A moment, read on the boot clock (which counts suspends and is never set) and on the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    /// Since boot, suspends included (CLOCK_BOOTTIME).
    pub boot: Duration,
    /// Since 1970-01-01T00:00:00Z (CLOCK_REALTIME).
    pub wall: Duration,
}

impl Instant {
    /// A reading no clock comes to (35,000 years; fits a timerfd's seconds). What [`Elector::poll_timeout`] fills in for a
    /// clock that does not matter.
    ///
    /// [`Elector::poll_timeout`]: crate::Elector::poll_timeout
    pub const NEVER: Duration = Duration::from_secs(1 << 40);

    /// The instant `by` later on both clocks.
    #[must_use]
    pub const fn after(self, by: Duration) -> Self {
        Self { boot: self.boot.saturating_add(by), wall: self.wall.saturating_add(by) }
    }

    /// Whether either clock has come to `deadline`: whichever advanced further decides (rule 6).
    #[must_use]
    pub fn has_reached(self, deadline: Self) -> bool {
        self.boot >= deadline.boot || self.wall >= deadline.wall
    }
}

/// Where the time comes from: the driver's real clocks, a simulator's drifting ones.
pub trait Clock: Send + Sync + 'static {
    /// Reads both clocks.
    fn now(&self) -> Instant;
}
