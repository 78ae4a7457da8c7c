//! What the election tells the rest of the process: one value, replaced on every change.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tenure_election::{Clock, Identity, LiveTerm, Observed, Phase, Term};

/// How this candidate stands, as of the last thing that happened. Values in between may be skipped by a slow reader, so
/// each says everything.
#[derive(Debug, Clone)]
pub struct Leadership {
    /// What this candidate is to the lock.
    pub phase: Phase,
    /// The running term, from its beginning until its gate closes. What must stop looks at its flags and deadlines, not at
    /// this field: a term may be over before anyone has read that it is.
    pub live: Option<Arc<LiveTerm>>,
    /// Guests must die now: the kill of a drain came, or the gate closed. Stays until `drained` was told.
    pub kill: bool,
    /// The term that was told to stop and whose guests nobody has confirmed gone yet. Whoever starts guests answers for it with
    /// `drained`, also when it never saw the term in `live` and so started nothing: an unconfirmed end aborts the process.
    pub unconfirmed: Option<Term>,
    /// The lock's object as last known.
    pub observed: Option<Observed>,
    /// This candidate's name in the lock; gets a new suffix when somebody else uses it too.
    pub identity: String,
    /// What is wrong at the moment, if anything: a forbidden Lease, an unreachable API server.
    pub last_error: Option<String>,
    /// Renewals that failed or were late while leading went on (`leader_election_slowpath_total`).
    pub slow_path_total: u64,
    /// Changes of holder that were seen, this candidate's own terms included.
    pub transitions_seen_total: u64,
    /// Holders proved dead before their lock expired.
    pub deaths_proved_total: u64,
    /// By how much the last renewal left later than retry-period after the one before; zero before the first renewal.
    pub last_renewal_lateness: Duration,
    /// When the lock was last renewed, for `/healthz`.
    pub lease_health: Arc<RenewalHealth>,
}

impl Leadership {
    /// A candidate that has seen nothing yet.
    pub(crate) fn before_anything(identity: &Identity, lease_health: Arc<RenewalHealth>) -> Self {
        Self {
            phase: Phase::Standby,
            live: None,
            kill: false,
            unconfirmed: None,
            observed: None,
            identity: identity.to_string(),
            last_error: None,
            slow_path_total: 0,
            transitions_seen_total: 0,
            deaths_proved_total: 0,
            last_renewal_lateness: Duration::ZERO,
            lease_health,
        }
    }

    /// Whether a reader of `other` would learn nothing new.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let same_term = match (&self.live, &other.live) {
            (Some(live), Some(others)) => Arc::ptr_eq(live, others),
            (None, None) => true,
            _ => false,
        };
        same_term
            && self.phase == other.phase
            && self.kill == other.kill
            && self.unconfirmed == other.unconfirmed
            && self.observed == other.observed
            && self.identity == other.identity
            && self.last_error == other.last_error
            && self.slow_path_total == other.slow_path_total
            && self.transitions_seen_total == other.transitions_seen_total
            && self.deaths_proved_total == other.deaths_proved_total
            && self.last_renewal_lateness == other.last_renewal_lateness
    }

    /// Whether a term runs (`leader_election_master_status`). For people and metrics: whoever acts needs the [`LiveTerm`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.live.is_some()
    }
}

/// Whether a leader renews, by client-go's rule (`leaderelection.HealthzAdaptor`): a leader whose last renewal is older than
/// the lease duration and a tolerance is unhealthy; a standby is always healthy. Reads the clock itself, so it notices an
/// election thread that is stuck.
pub struct RenewalHealth {
    clock: Arc<dyn Clock>,
    lease_duration: Duration,
    leading: AtomicBool,
    renewed_boot_ns: AtomicU64,
}

/// A leader that has not renewed for too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the election has not renewed its lease for {}.{:03} s, the lease lasts {} s: the election thread is stuck, restart this process",
    since_renewal.as_secs(), since_renewal.subsec_millis(), lease_duration.as_secs()
)]
pub struct RenewalOverdue {
    /// Since the last renewal was answered.
    pub since_renewal: Duration,
    /// How long a lease lasts.
    pub lease_duration: Duration,
}

impl RenewalHealth {
    pub(crate) fn new(clock: Arc<dyn Clock>, lease_duration: Duration) -> Self {
        Self { clock, lease_duration, leading: AtomicBool::new(false), renewed_boot_ns: AtomicU64::new(0) }
    }

    /// client-go's check; kube-controller-manager and its like use a tolerance of 20 s.
    ///
    /// # Errors
    /// When this candidate leads and has not renewed for longer than the lease duration and `tolerance`.
    pub fn check(&self, tolerance: Duration) -> Result<(), RenewalOverdue> {
        if !self.leading.load(Ordering::SeqCst) {
            return Ok(());
        }
        let since_renewal = self.since_renewal();
        if since_renewal > self.lease_duration.saturating_add(tolerance) {
            return Err(RenewalOverdue { since_renewal, lease_duration: self.lease_duration });
        }
        Ok(())
    }

    /// On the boot clock, since a term began or a renewal was answered.
    fn since_renewal(&self) -> Duration {
        let renewed = Duration::from_nanos(self.renewed_boot_ns.load(Ordering::SeqCst));
        self.clock.now().boot.saturating_sub(renewed)
    }

    /// A term began, or a renewal was answered.
    pub(crate) fn renewed(&self) {
        let boot_ns = u64::try_from(self.clock.now().boot.as_nanos()).unwrap_or(u64::MAX);
        self.renewed_boot_ns.store(boot_ns, Ordering::SeqCst);
        self.leading.store(true, Ordering::SeqCst);
    }

    /// The term is over.
    pub(crate) fn stopped(&self) {
        self.leading.store(false, Ordering::SeqCst);
    }
}

impl fmt::Debug for RenewalHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenewalHealth")
            .field("lease_duration", &self.lease_duration)
            .field("leading", &self.leading)
            .field("since_renewal", &self.since_renewal())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tenure_election::Instant;

    use super::*;

    struct HandClock(Mutex<Duration>);

    impl HandClock {
        fn advance(&self, by: Duration) {
            *self.0.lock().unwrap() += by;
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> Instant {
            let boot = *self.0.lock().unwrap();
            Instant { boot, wall: boot }
        }
    }

    const LEASE: Duration = Duration::from_secs(15);
    const TOLERANCE: Duration = Duration::from_secs(20);

    fn health() -> (Arc<HandClock>, RenewalHealth) {
        let clock = Arc::new(HandClock(Mutex::new(Duration::from_secs(1000))));
        let health = RenewalHealth::new(clock.clone(), LEASE);
        (clock, health)
    }

    #[test]
    fn term_left_to_confirm_is_news() {
        let (_, health) = health();
        let before = Leadership::before_anything(&Identity::new("me").unwrap(), Arc::new(health));
        let after = Leadership { unconfirmed: Term::new(7), ..before.clone() };
        assert!(before.says_the_same_as(&before.clone()));
        assert!(!before.says_the_same_as(&after));
    }

    #[test]
    fn standby_is_healthy_however_long_ago_it_led() {
        let (clock, health) = health();
        assert_eq!(health.check(TOLERANCE), Ok(()));
        health.renewed();
        health.stopped();
        clock.advance(Duration::from_secs(3600));
        assert_eq!(health.check(TOLERANCE), Ok(()));
    }

    #[test]
    fn leader_is_healthy_up_to_lease_and_tolerance() {
        let (clock, health) = health();
        health.renewed();
        clock.advance(LEASE + TOLERANCE);
        assert_eq!(health.check(TOLERANCE), Ok(()));
    }

    #[test]
    fn leader_that_stopped_renewing_is_unhealthy_until_it_renews() {
        let (clock, health) = health();
        health.renewed();
        let overdue = LEASE + TOLERANCE + Duration::from_millis(1);
        clock.advance(overdue);
        assert_eq!(health.check(TOLERANCE), Err(RenewalOverdue { since_renewal: overdue, lease_duration: LEASE }));
        health.renewed();
        assert_eq!(health.check(TOLERANCE), Ok(()));
    }

    #[test]
    fn overdue_message_names_both_durations() {
        let overdue = RenewalOverdue { since_renewal: Duration::from_millis(35_250), lease_duration: LEASE };
        assert!(overdue.to_string().contains("35.250 s"), "{overdue}");
        assert!(overdue.to_string().contains("15 s"), "{overdue}");
    }
}
