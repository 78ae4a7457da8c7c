//! Draws from a seed: the process nonce, new identity suffixes, spread and jitter. Never a source of randomness itself:
//! the same seed draws the same numbers.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Uniqueness comes from the seed;
/// nothing here is a secret.
#[derive(Debug, Clone)]
pub(crate) struct Chance {
    state: u64,
}

impl Chance {
    /// Draws that depend on the seed and on who draws, so that two candidates that were handed one seed still differ.
    pub(crate) fn new(seed: u64, who: &str) -> Self {
        let mut chance = Self { state: seed };
        for byte in who.bytes() {
            chance.state = chance.number() ^ u64::from(byte);
        }
        chance
    }

    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 64 bits as 16 hex digits.
    pub(crate) fn hex(&mut self) -> String {
        format!("{:016x}", self.number())
    }

    /// A duration below `limit`; zero where the limit is.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        let nanoseconds = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.number().checked_rem(nanoseconds).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_draws_the_same_and_names_tell_candidates_apart() {
        assert_eq!(Chance::new(7, "a").hex(), Chance::new(7, "a").hex());
        assert_ne!(Chance::new(7, "a").hex(), Chance::new(7, "b").hex());
        assert_ne!(Chance::new(7, "a").hex(), Chance::new(8, "a").hex());
    }

    #[test]
    fn draws_stay_below_their_limit() {
        let mut chance = Chance::new(1, "a");
        let limit = Duration::from_millis(30);
        assert!((0..1000).all(|_| chance.below(limit) < limit));
        assert_eq!(chance.below(Duration::ZERO), Duration::ZERO);
    }
}
