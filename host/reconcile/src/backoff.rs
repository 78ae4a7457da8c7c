//! How long a failing key waits. Chance comes from a seed.

use std::time::Duration;

/// Waits that double with each failure in a row, from a minimum to a maximum, each up to a quarter shorter by chance, so
/// that keys which failed together don't come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    state: u64,
}

impl Backoff {
    /// Waits between about `min` and `max`; with `min` above `max`, all are `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min: min.min(max), max, state: seed }
    }

    /// The wait after the `failures`-th failure in a row, counted from 1.
    #[must_use]
    pub fn wait(&mut self, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let base = self.min.saturating_mul(doubled).min(self.max);
        let quarter_ns = u64::try_from(base.as_nanos() / 4).unwrap_or(u64::MAX);
        base - Duration::from_nanos(self.next_below(quarter_ns.saturating_add(1)))
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): enough for jitter, and the same everywhere.
    fn next_below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let scaled = (u128::from(mixed) * u128::from(limit)) >> 64;
        u64::try_from(scaled).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_less_at_most_a_quarter() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(300), 7);
        for failures in 1..200 {
            let whole = Duration::from_millis(50).saturating_mul(2_u32.saturating_pow(failures - 1));
            let whole = whole.min(Duration::from_secs(300));
            let wait = backoff.wait(failures);
            assert!(wait <= whole && wait >= whole * 3 / 4, "{failures}: {wait:?} of {whole:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_and_another_one_others() {
        let waits = |seed| {
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(300), seed);
            (1..10).map(|failures| backoff.wait(failures)).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
