//! The look at the clocks. Once it has failed it fails for ever: a term that ended is never revived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tenure_election::{Clock, Instant, LiveTerm, Standing, Term};

/// The term's authority has ended; nothing may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the authority of term {0} has ended")]
pub(crate) struct Closed(pub(crate) Term);

/// Looks at the clocks for one term.
pub(crate) struct Lookout {
    live: Arc<LiveTerm>,
    clock: Arc<dyn Clock>,
    failed: AtomicBool,
}

impl Lookout {
    pub(crate) fn new(live: Arc<LiveTerm>, clock: Arc<dyn Clock>) -> Self {
        Self { live, clock, failed: AtomicBool::new(false) }
    }

    pub(crate) fn term(&self) -> Term {
        self.live.term()
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Whether bytes of an admitted write may go out: the instant that was read, or that they may not.
    pub(crate) fn look(&self) -> Result<Instant, Closed> {
        let now = self.clock.now();
        if self.failed.load(Ordering::SeqCst) || self.live.standing(now) == Standing::Closed {
            self.fail();
            return Err(self.closed());
        }
        Ok(now)
    }

    /// Whether a new write may be admitted. Shut in a drain, while admitted writes still go out.
    pub(crate) fn admit(&self) -> Result<Instant, Closed> {
        let now = self.look()?;
        if self.live.admits(now) { Ok(now) } else { Err(self.closed()) }
    }

    /// Lets nothing out from here on, whatever the clocks say.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    /// What is left of the authority at `now`, on whichever clock has less.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        let until = self.live.hard_until();
        until.boot.saturating_sub(now.boot).min(until.wall.saturating_sub(now.wall))
    }

    fn closed(&self) -> Closed {
        Closed(self.live.term())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use tenure_election::Authority;

    use super::*;

    /// A clock that stands still until it is moved.
    pub(crate) struct SetClock(Mutex<Instant>);

    impl SetClock {
        pub(crate) fn new() -> Arc<Self> {
            Arc::new(Self(Mutex::new(start())))
        }

        pub(crate) fn set(&self, now: Instant) {
            *self.0.lock().unwrap() = now;
        }
    }

    impl Clock for SetClock {
        fn now(&self) -> Instant {
            *self.0.lock().unwrap()
        }
    }

    pub(crate) fn start() -> Instant {
        Instant { boot: Duration::from_secs(1000), wall: Duration::from_secs(1_700_000_000) }
    }

    /// A term that turns soft 10 s and ends 12 s after [`start`].
    pub(crate) fn live_term() -> Arc<LiveTerm> {
        Arc::new(LiveTerm::new(&Authority {
            term: Term::new(7).unwrap(),
            soft_until: start().after(Duration::from_secs(10)),
            hard_until: start().after(Duration::from_secs(12)),
        }))
    }

    #[test]
    fn a_look_that_failed_is_never_taken_back() {
        let (clock, live) = (SetClock::new(), live_term());
        let lookout = Lookout::new(Arc::clone(&live), Arc::clone(&clock) as Arc<dyn Clock>);
        assert!(lookout.look().is_ok());
        clock.set(start().after(Duration::from_secs(12)));
        assert_eq!(lookout.look(), Err(Closed(live.term())));
        clock.set(start());
        assert_eq!(lookout.look(), Err(Closed(live.term())), "the wall clock was set back, the term is still over");
    }

    #[test]
    fn the_clock_with_less_left_decides() {
        let lookout = Lookout::new(live_term(), SetClock::new());
        let wall_ahead = Instant { wall: start().wall + Duration::from_secs(5), ..start() };
        assert_eq!(lookout.left(start()), Duration::from_secs(12));
        assert_eq!(lookout.left(wall_ahead), Duration::from_secs(7));
        assert_eq!(lookout.left(start().after(Duration::from_secs(60))), Duration::ZERO);
    }

    #[test]
    fn a_drain_shuts_admission_and_lets_admitted_bytes_out() {
        let live = live_term();
        let lookout = Lookout::new(Arc::clone(&live), SetClock::new());
        live.shut_admission();
        assert!(lookout.admit().is_err());
        assert!(lookout.look().is_ok());
        live.close();
        assert!(lookout.look().is_err());
    }
}
