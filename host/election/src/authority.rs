//! The right to act: a value that is passed, never a global. Reads no clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::Instant;

/// A fencing token: one stretch of leadership over one lock. Only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u64);

impl Term {
    /// The largest term that can be written; room to add to it without overflow.
    pub const MAX: Self = Self(1 << 62);

    /// A term in 1..=2^62; `None` outside.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 || number > Self::MAX.0 { None } else { Some(Self(number)) }
    }

    /// The number as it is written into `tenure.dev/term`.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to act in one term, as of one renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// The term it belongs to.
    pub term: Term,
    /// From here on nothing new starts; what runs may still write.
    pub soft_until: Instant,
    /// From here on nothing is written.
    pub hard_until: Instant,
}

/// How an authority stands at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// Everything is allowed.
    Firm,
    /// Cancelled: nothing new starts; what runs may still write.
    Soft,
    /// No byte leaves.
    Closed,
}

/// The authority of one running term, shared between the election thread, which moves its deadlines, and everything that
/// must look at them. Once closed it never opens again; the next term has one of its own.
#[derive(Debug)]
pub struct LiveTerm {
    term: Term,
    soft_boot_ns: AtomicU64,
    soft_wall_ns: AtomicU64,
    hard_boot_ns: AtomicU64,
    hard_wall_ns: AtomicU64,
    cancelled: AtomicBool,
    shut: AtomicBool,
    closed: AtomicBool,
}

impl LiveTerm {
    /// A term that starts with `authority`.
    #[must_use]
    pub fn new(authority: &Authority) -> Self {
        let live = Self {
            term: authority.term,
            soft_boot_ns: AtomicU64::new(0),
            soft_wall_ns: AtomicU64::new(0),
            hard_boot_ns: AtomicU64::new(0),
            hard_wall_ns: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            shut: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        live.extend(authority);
        live
    }

    /// The term.
    pub const fn term(&self) -> Term {
        self.term
    }

    /// Moves the deadlines after a renewal. Of another term: nothing happens.
    pub fn extend(&self, authority: &Authority) {
        if authority.term != self.term {
            return;
        }
        // A reader between two of these stores sees one clock's old and one's new deadline; the old one is nearer, and the
        // nearer one decides, so no order of stores can lengthen an authority.
        self.soft_boot_ns.store(nanoseconds(authority.soft_until.boot), Ordering::SeqCst);
        self.soft_wall_ns.store(nanoseconds(authority.soft_until.wall), Ordering::SeqCst);
        self.hard_boot_ns.store(nanoseconds(authority.hard_until.boot), Ordering::SeqCst);
        self.hard_wall_ns.store(nanoseconds(authority.hard_until.wall), Ordering::SeqCst);
    }

    /// Begins a drain: soft from now on, whatever renewals say. Never taken back.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Shuts admission: no new write is admitted, those admitted go on. Never taken back.
    pub fn shut_admission(&self) {
        self.cancel();
        self.shut.store(true, Ordering::SeqCst);
    }

    /// Ends the term: the gate closes. Never taken back.
    pub fn close(&self) {
        self.cancel();
        self.shut.store(true, Ordering::SeqCst);
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether it was told to stop, by [`Self::cancel`] or what goes further; says nothing about the clocks. A term that ran
    /// out without a word is soft all the same: whoever acts asks for [`Self::standing`].
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Whether [`Self::close`] was called; says nothing about the clocks.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether a new write may be admitted at `now`.
    #[must_use]
    pub fn admits(&self, now: Instant) -> bool {
        !self.shut.load(Ordering::SeqCst) && self.standing(now) != Standing::Closed
    }

    /// How the authority stands at `now`.
    pub fn standing(&self, now: Instant) -> Standing {
        if self.closed.load(Ordering::SeqCst) || now.has_reached(self.hard_until()) {
            Standing::Closed
        } else if self.cancelled.load(Ordering::SeqCst) || now.has_reached(self.soft_until()) {
            Standing::Soft
        } else {
            Standing::Firm
        }
    }

    /// When it turns soft unless renewed.
    pub fn soft_until(&self) -> Instant {
        Instant {
            boot: Duration::from_nanos(self.soft_boot_ns.load(Ordering::SeqCst)),
            wall: Duration::from_nanos(self.soft_wall_ns.load(Ordering::SeqCst)),
        }
    }

    /// When it ends unless renewed.
    pub fn hard_until(&self) -> Instant {
        Instant {
            boot: Duration::from_nanos(self.hard_boot_ns.load(Ordering::SeqCst)),
            wall: Duration::from_nanos(self.hard_wall_ns.load(Ordering::SeqCst)),
        }
    }
}

/// Saturates after 584 years, which is also the farthest a clock here can read.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u64, wall: u64) -> Instant {
        Instant { boot: Duration::from_secs(boot), wall: Duration::from_secs(wall) }
    }

    fn authority(term: u64, soft: u64, hard: u64) -> Authority {
        Authority { term: Term(term), soft_until: at(soft, 100 + soft), hard_until: at(hard, 100 + hard) }
    }

    #[test]
    fn whichever_clock_advanced_further_decides() {
        let live = LiveTerm::new(&authority(1, 10, 12));
        assert_eq!(live.standing(at(9, 109)), Standing::Firm);
        assert_eq!(live.standing(at(10, 50)), Standing::Soft);
        assert_eq!(live.standing(at(1, 110)), Standing::Soft);
        assert_eq!(live.standing(at(12, 50)), Standing::Closed);
        assert_eq!(live.standing(at(1, 112)), Standing::Closed);
    }

    #[test]
    fn a_closed_term_stays_closed() {
        let live = LiveTerm::new(&authority(1, 10, 12));
        live.close();
        live.extend(&authority(1, 20, 22));
        assert_eq!(live.standing(at(1, 101)), Standing::Closed);
        assert!(!live.admits(at(1, 101)));
    }

    #[test]
    fn a_drain_stays_soft_and_shutting_admission_lets_admitted_writes_go_on() {
        let live = LiveTerm::new(&authority(1, 10, 12));
        live.cancel();
        live.extend(&authority(1, 20, 22));
        assert_eq!((live.standing(at(11, 111)), live.admits(at(11, 111))), (Standing::Soft, true));
        live.shut_admission();
        assert_eq!((live.standing(at(11, 111)), live.admits(at(11, 111))), (Standing::Soft, false));
    }

    #[test]
    fn a_term_is_cancelled_by_a_word_and_not_by_its_clocks() {
        let live = LiveTerm::new(&authority(1, 10, 12));
        assert_eq!(live.standing(at(12, 112)), Standing::Closed);
        assert!(!live.is_cancelled());
        live.cancel();
        assert!(live.is_cancelled());
        assert_eq!(live.standing(at(10, 110)), Standing::Soft);
        for further in [LiveTerm::shut_admission, LiveTerm::close] {
            let live = LiveTerm::new(&authority(1, 10, 12));
            further(&live);
            assert!(live.is_cancelled());
        }
    }

    #[test]
    fn another_terms_authority_moves_nothing() {
        let live = LiveTerm::new(&authority(1, 10, 12));
        live.extend(&authority(2, 20, 22));
        assert_eq!(live.hard_until(), at(12, 112));
    }
}
