//! How many requests a plugin may make per second: one bucket a plugin, shared by its instances.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock as _;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tenure_sandbox::Error;

/// A plugin's requests per second; as many may come at once.
pub(crate) struct Budget {
    requests_per_second: NonZeroU32,
    limiter: DefaultDirectRateLimiter,
    refused: AtomicU64,
    /// When the last refusal said that there is something again.
    empty_until: Mutex<Option<Instant>>,
}

impl Budget {
    pub(crate) fn new(requests_per_second: NonZeroU32) -> Self {
        let limiter = RateLimiter::direct(Quota::per_second(requests_per_second));
        Self { requests_per_second, limiter, refused: AtomicU64::new(0), empty_until: Mutex::default() }
    }

    /// Takes one request out of the budget.
    pub(crate) fn take(&self) -> Result<(), Error> {
        self.limiter.check().map_err(|until| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let wait = until.wait_time_from(governor::clock::DefaultClock::default().now());
            let wait = wait.max(Duration::from_millis(1));
            self.note_empty(Instant::now(), wait);
            Error {
                retry_after_ms: Some(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)),
                ..Error::limited(format!(
                    "more than {} requests in one second; limits.requests-per-second in the manifest, within the host's",
                    self.requests_per_second
                ))
            }
        })
    }

    /// How many requests there was no room for.
    pub(crate) fn refused_total(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A time that was told stands: a call that asks again and again must not put off all others.
    fn note_empty(&self, now: Instant, wait: Duration) {
        let mut until = self.empty_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_none_or(|until| until <= now) {
            *until = Some(now + wait);
        }
    }

    /// Until when nothing is to be had, if somebody was refused and that time has not come.
    pub(crate) fn empty_until(&self, now: Instant) -> Option<Instant> {
        self.empty_until.lock().unwrap_or_else(PoisonError::into_inner).filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_is_used_up_says_how_long_to_wait() {
        let budget = Budget::new(NonZeroU32::new(3).unwrap());
        let start = Instant::now();
        for _ in 0..3 {
            budget.take().unwrap();
        }
        assert_eq!(budget.empty_until(start), None, "nobody was refused");
        let error = budget.take().unwrap_err();
        let until = budget.empty_until(start).unwrap();
        assert_eq!(budget.empty_until(until), None);
        budget.note_empty(start, Duration::from_secs(60));
        assert_eq!(budget.empty_until(start), Some(until), "it is not put off");
        assert_eq!(error.reason, "Limited");
        assert!(error.retry_after_ms.is_some_and(|wait| (1..=1000).contains(&wait)), "{error:?}");
        assert_eq!(budget.refused_total(), 1);
    }
}
