//! What a lease's own timing allows for a takeover: Tenure's by its rules, others by client-go's loop. Pure.

use std::time::Duration;

use serde::Serialize;

use super::chronicle::{Tenancy, milliseconds};

/// Whose candidate it is, as far as the Lease tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Peer {
    Tenure,
    /// Any other; judged by client-go's rules.
    Other,
}

impl Peer {
    pub(super) fn of(tenancy: &Tenancy) -> Self {
        if tenancy.is_tenure { Self::Tenure } else { Self::Other }
    }
}

/// The draw by which Tenure's standbys spread after a release.
const TENURE_SPREAD: Duration = Duration::from_millis(30);
/// client-go waits between tries for the retry period and a draw of up to this much of it (`JitterFactor`).
const CLIENT_GO_JITTER: f64 = 1.2;

/// From when to when, in milliseconds. Without requests and delivery, which the lease does not bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Window {
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Window {
    /// From a release to the takeover.
    pub(super) fn after_release(peer: Peer, retry_period: Duration) -> Self {
        let max = match peer {
            Peer::Tenure => TENURE_SPREAD,
            // Its next try finds the Lease free.
            Peer::Other => longest_wait(retry_period),
        };
        Self { min: 0.0, max: milliseconds(Duration::ZERO, max) }
    }

    /// From the expiry of the last renewal to the takeover.
    pub(super) fn after_expiry(peer: Peer, retry_period: Duration) -> Self {
        let max = match peer {
            // It watches, and wakes at that instant.
            Peer::Tenure => Duration::ZERO,
            // It counts from the try that found the last renewal, and finds it expired at a try.
            Peer::Other => 2 * longest_wait(retry_period),
        };
        Self { min: 0.0, max: milliseconds(Duration::ZERO, max) }
    }

    /// The same, counted from `by_ms` earlier.
    pub(super) fn shifted_ms(self, by_ms: f64) -> Self {
        let to_hundredth = |ms: f64| (ms * 100.0).round() / 100.0;
        Self { min: to_hundredth(self.min + by_ms), max: to_hundredth(self.max + by_ms) }
    }

    /// The smallest that holds all of `windows`.
    pub(super) fn around(windows: impl Iterator<Item = Self>) -> Option<Self> {
        windows.reduce(|all, one| Self { min: all.min.min(one.min), max: all.max.max(one.max) })
    }
}

fn longest_wait(retry_period: Duration) -> Duration {
    retry_period.mul_f64(1.0 + CLIENT_GO_JITTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_go_at_its_defaults_may_take_two_of_its_longest_waits_after_expiry() {
        let retry = Duration::from_secs(2);
        assert_eq!(Window::after_release(Peer::Other, retry), Window { min: 0.0, max: 4400.0 });
        assert_eq!(Window::after_expiry(Peer::Other, retry), Window { min: 0.0, max: 8800.0 });
        assert_eq!(Window::after_release(Peer::Tenure, retry), Window { min: 0.0, max: 30.0 });
        assert_eq!(Window::after_expiry(Peer::Tenure, retry).shifted_ms(4200.5), Window { min: 4200.5, max: 4200.5 });
    }
}
