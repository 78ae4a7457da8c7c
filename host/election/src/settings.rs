//! The knobs of one lock, checked. The arithmetic behind them is in docs/election.md.

use std::time::Duration;

use crate::{Annotations, OwnContainer};

/// How much a machine's boot clock may err in rate, in percent; everything below allows for two that err in opposite ways.
const CLOCK_ERROR_PERCENT: u32 = 1;

/// Below this an attempt ends before an ordinary answer is back.
const ATTEMPT_TIMEOUT_MIN: Duration = Duration::from_millis(200);

/// `spec.leaseDurationSeconds` is a positive int32.
const LEASE_MAX: Duration = Duration::from_secs(i32::MAX as u64);

/// What a candidate does where no lock's object exists yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstCreate {
    /// Waits one lease duration: a holder may live on whose record was deleted.
    #[default]
    Wait,
    /// Creates and holds it at once. Gives up the promise for that case; for `tenure dev`.
    Immediate,
}

/// The durations of one lock, checked against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    lease: Duration,
    renew: Duration,
    retry: Duration,
    grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Timing {
    /// 15/10/2 s: client-go's.
    pub const DEFAULT: Self = Self::profile(15, 10, 2);
    /// 5/3/1 s: for demonstrations and near API servers.
    pub const FAST: Self = Self::profile(5, 3, 1);
    /// 60/40/10 s: for many locks or far API servers.
    pub const LAZY: Self = Self::profile(60, 40, 10);

    const fn profile(lease: u64, renew: u64, retry: u64) -> Self {
        Self {
            lease: Duration::from_secs(lease),
            renew: Duration::from_secs(renew),
            retry: Duration::from_secs(retry),
            grace: Duration::from_millis((lease - renew) * 500),
        }
    }

    /// Checks durations against each other; without `grace` it is half of what lies between `renew` and `lease`.
    ///
    /// # Errors
    /// When they are no whole seconds (the record has no others), when an attempt would get less than 200 ms, or when
    /// authority could outlast the lease on clocks that err by 1 %. The message has the numbers.
    pub fn new(
        lease: Duration,
        renew: Duration,
        retry: Duration,
        grace: Option<Duration>,
    ) -> Result<Self, InvalidTiming> {
        for (name, value) in [("lease-duration", lease), ("renew-deadline", renew), ("retry-period", retry)] {
            if value.subsec_nanos() != 0 || value.is_zero() {
                return Err(InvalidTiming(format!("{name} {value:?} must be whole seconds, at least 1s")));
            }
        }
        if lease > LEASE_MAX {
            return Err(InvalidTiming(format!("lease-duration {lease:?} must be at most {LEASE_MAX:?}")));
        }
        if lease <= renew {
            return Err(InvalidTiming(format!(
                "lease-duration {lease:?} must be longer than renew-deadline {renew:?}"
            )));
        }
        if renew <= retry {
            return Err(InvalidTiming(format!("renew-deadline {renew:?} must be longer than retry-period {retry:?}")));
        }
        let timing = Self { lease, renew, retry, grace: grace.unwrap_or((lease - renew) / 2) };
        let grace = timing.grace;
        if renew.saturating_add(grace) >= lease {
            return Err(InvalidTiming(format!(
                "lease-duration {lease:?} must be longer than renew-deadline {renew:?} + grace {grace:?}"
            )));
        }
        if timing.attempt_timeout() < ATTEMPT_TIMEOUT_MIN {
            return Err(InvalidTiming(format!(
                "renew-deadline {renew:?} and retry-period {retry:?} leave {:?} for an attempt; at least \
                 {ATTEMPT_TIMEOUT_MIN:?} are needed: lengthen renew-deadline",
                timing.attempt_timeout()
            )));
        }
        if timing.margin().is_zero() {
            return Err(InvalidTiming(format!(
                "lease-duration {lease:?} must be longer than renew-deadline {renew:?} + grace {grace:?} on clocks that \
                 err by {CLOCK_ERROR_PERCENT} % ({:?}): lengthen lease-duration or shorten grace",
                timing.longest_authority()
            )));
        }
        Ok(timing)
    }

    /// What works, at a cost: one warning for each.
    #[must_use]
    pub fn warnings(&self) -> Vec<TimingWarning> {
        let Self { lease, renew, .. } = *self;
        let margin = self.margin();
        let margin_low = Duration::from_millis(500).max(lease / 20);
        let mut warnings = Vec::new();
        if margin < margin_low {
            warnings.push(TimingWarning(format!(
                "margin {margin:?} is below {margin_low:?}: a write may arrive after the lease has run out where killing, \
                 scheduling and the network take longer; shorten grace or lengthen lease-duration {lease:?}"
            )));
        }
        if lease < Duration::from_secs(5) {
            warnings.push(TimingWarning(format!(
                "lease-duration {lease:?} is below 5s: an API server that answers slowly for a moment costs leadership"
            )));
        }
        if lease > Duration::from_secs(60) {
            warnings.push(TimingWarning(format!(
                "lease-duration {lease:?} is above 60s: after a crash nobody leads for that long"
            )));
        }
        if renew * 3 > lease * 2 {
            warnings.push(TimingWarning(format!(
                "renew-deadline {renew:?} is above two thirds of lease-duration {lease:?}: little is left between losing \
                 leadership and another's taking it over"
            )));
        }
        warnings
    }

    /// How long a record stands without a change before others may take it (`spec.leaseDurationSeconds`).
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// From a renewal's sending to the soft deadline.
    #[must_use]
    pub const fn renew(&self) -> Duration {
        self.renew
    }

    /// From one renewal's sending to the next.
    #[must_use]
    pub const fn retry(&self) -> Duration {
        self.retry
    }

    /// From the soft deadline to the hard one.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        self.grace
    }

    /// The most that a lock policy's waits delay a claim on a free lock.
    #[must_use]
    pub fn policy_wait_max(&self) -> Duration {
        self.lease * 2
    }

    /// How long one request waits for its answer: a lost answer, the read after it and a second write fit into `renew`.
    #[must_use]
    pub fn attempt_timeout(&self) -> Duration {
        self.retry.min((self.renew - self.retry) / 3)
    }

    /// What is left of a lease after the longest authority: covers killing, scheduling, and one delay on the network.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.lease.saturating_sub(self.longest_authority())
    }

    /// `renew + grace` of a slow clock, as a fast one counts it.
    fn longest_authority(&self) -> Duration {
        (self.renew + self.grace) / (100 - CLOCK_ERROR_PERCENT) * (100 + CLOCK_ERROR_PERCENT)
    }
}

/// Everything one elector needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// lease, renew, retry, grace.
    pub timing: Timing,
    /// How long guests have after a drain begins; replaces grace there. Default 10 s.
    pub shutdown_grace: Duration,
    /// How long an admitted write may take to be answered. Default 5 s.
    pub write_timeout: Duration,
    /// Whether a term that ends in order is written into the lock at once (client-go's ReleaseOnCancel). Default true.
    pub release_on_cancel: bool,
    /// What to do where there is no lock yet.
    pub first_create: FirstCreate,
    /// Annotations that the acquiring write carries besides the election's own, such as where the console listens.
    pub annotations: Annotations,
    /// The container this process runs in, so that others may learn of its end from its Pod's status; with it, this
    /// candidate looks at theirs. Absent: neither.
    pub container: Option<OwnContainer>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timing: Timing::DEFAULT,
            shutdown_grace: Duration::from_secs(10),
            write_timeout: Duration::from_secs(5),
            release_on_cancel: true,
            first_create: FirstCreate::Wait,
            annotations: Annotations::new(),
            container: None,
        }
    }
}

/// Timing that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTiming(pub String);

/// Timing that works, at a cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimingWarning(pub String);

impl std::fmt::Display for TimingWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timing(lease: u64, renew: u64, retry: u64, grace: Option<u64>) -> Result<Timing, InvalidTiming> {
        let seconds = Duration::from_secs;
        Timing::new(seconds(lease), seconds(renew), seconds(retry), grace.map(seconds))
    }

    fn refusal(lease: u64, renew: u64, retry: u64, grace: Option<u64>) -> String {
        timing(lease, renew, retry, grace).expect_err("refused").to_string()
    }

    #[test]
    fn the_profiles_have_the_documented_figures() {
        let figures = |timing: Timing| {
            let milliseconds = [timing.grace(), timing.margin(), timing.attempt_timeout()].map(|time| time.as_millis());
            assert_eq!(Timing::new(timing.lease(), timing.renew(), timing.retry(), None), Ok(timing));
            assert_eq!(timing.warnings(), vec![]);
            milliseconds
        };
        assert_eq!(figures(Timing::DEFAULT), [2500, 2247, 2000]);
        assert_eq!(figures(Timing::FAST), [1000, 919, 666]);
        assert_eq!(figures(Timing::LAZY), [10_000, 8989, 10_000]);
    }

    #[test]
    fn timing_that_cannot_work_is_refused_with_the_numbers() {
        assert_eq!(refusal(10, 10, 2, None), "lease-duration 10s must be longer than renew-deadline 10s");
        assert_eq!(refusal(12, 10, 2, Some(3)), "lease-duration 12s must be longer than renew-deadline 10s + grace 3s");
        assert_eq!(refusal(15, 2, 2, None), "renew-deadline 2s must be longer than retry-period 2s");
        assert_eq!(refusal(0, 10, 2, None), "lease-duration 0ns must be whole seconds, at least 1s");
        assert!(
            refusal(600, 594, 2, Some(5))
                .starts_with("lease-duration 600s must be longer than renew-deadline 594s + grace 5s on clocks")
        );
        let half = Duration::from_millis(2500);
        let refused = Timing::new(Duration::from_secs(15), Duration::from_secs(10), half, None).expect_err("refused");
        assert_eq!(refused.to_string(), "retry-period 2.5s must be whole seconds, at least 1s");
    }

    #[test]
    fn timing_that_is_thin_starts_with_a_warning() {
        let first = |lease, renew, retry, grace| {
            timing(lease, renew, retry, grace).expect("accepted").warnings()[0].to_string()
        };
        assert!(first(15, 10, 2, Some(4)).starts_with("margin"));
        assert!(first(4, 2, 1, None).starts_with("lease-duration 4s is below 5s"));
        assert!(first(90, 50, 10, None).starts_with("lease-duration 90s is above 60s"));
        assert!(first(30, 21, 2, None).starts_with("renew-deadline 21s is above two thirds"));
    }

    proptest! {
        #[test]
        fn no_accepted_timing_outlasts_its_lease(lease in 0u64..200, renew in 0u64..200, retry in 0u64..50, grace in proptest::option::of(0u64..60)) {
            if let Ok(timing) = timing(lease, renew, retry, grace) {
                let longest = (timing.renew() + timing.grace()).mul_f64(1.01 / 0.99);
                prop_assert!(longest < timing.lease());
                prop_assert!(timing.attempt_timeout() >= ATTEMPT_TIMEOUT_MIN);
                prop_assert!(timing.retry() + 3 * timing.attempt_timeout() <= timing.renew());
            }
        }
    }
}
