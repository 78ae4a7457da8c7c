//! A limit on how long somebody may take *while this process runs*. Reads no clock.

use std::time::Duration;

/// Counts down only time in which this thread was seen running: a process that was stopped or a machine that was suspended
/// gave the sandbox no chance to answer, so a pause of any length costs at most one slice.
#[derive(Debug)]
pub(crate) struct Countdown {
    left: Duration,
    slice: Duration,
    last_look: Duration,
}

/// How many looks a limit is cut into: what a pause can cost at most is one of them.
const SLICES: u32 = 10;

impl Countdown {
    /// `limit` from now on; `now` on the boot clock.
    pub(crate) fn new(now: Duration, limit: Duration) -> Self {
        Self { left: limit, slice: limit / SLICES, last_look: now }
    }

    /// Counts what passed since the last look, at most a slice of it; whether the limit is over.
    #[must_use]
    pub(crate) fn is_over(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.last_look).min(self.slice);
        self.last_look = now;
        self.left = self.left.saturating_sub(passed);
        self.left.is_zero()
    }

    /// When to look next, on the boot clock.
    pub(crate) fn next_look(&self) -> Duration {
        self.last_look + self.slice.min(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);
    const START: Duration = Duration::from_secs(100);

    /// Looks whenever asked to until it is over.
    fn runs_out_at(countdown: &mut Countdown) -> Duration {
        loop {
            let now = countdown.next_look();
            if countdown.is_over(now) {
                return now;
            }
        }
    }

    #[test]
    fn limit_is_over_after_exactly_the_limit_without_pauses() {
        let mut countdown = Countdown::new(START, LIMIT);
        assert_eq!(runs_out_at(&mut countdown), START + LIMIT);
    }

    #[test]
    fn pause_costs_one_slice_however_long_it_was() {
        let mut countdown = Countdown::new(START, LIMIT);
        let woken = START + Duration::from_secs(3600);
        assert!(!countdown.is_over(woken));
        assert_eq!(runs_out_at(&mut countdown), woken + LIMIT - LIMIT / SLICES);
    }

    #[test]
    fn early_looks_count_what_passed() {
        let mut countdown = Countdown::new(START, LIMIT);
        assert!(!countdown.is_over(START + Duration::from_millis(20)));
        assert_eq!(runs_out_at(&mut countdown), START + LIMIT);
    }
}
