//! A standby's claim on the lock (rules 3 and 10): when it is made, and what is written. What is known of the lock is in
//! `news`.

use std::time::Duration;

use super::Elector;
use super::messages::{Write, WriteKind};
use super::news::{Known, Way};
use super::tenancy::Role;
use super::terms::Mark;
use super::writes::{Purpose, acquiring, unheld};
use crate::{FirstCreate, Instant, Term};

/// Over how long standbys spread their first try at a released lock.
pub(crate) const SPREAD: Duration = Duration::from_millis(30);

/// The least time between two yields a policy asks for.
const YIELD_PAUSE: Duration = Duration::from_secs(60);

/// What delays a claim besides the lock itself. Readings are the boot clock's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Campaign {
    /// After a try that failed.
    pub(crate) not_before: Duration,
    /// After a yield: one lease duration for the others.
    pub(crate) out_until: Duration,
    /// The policy's last wait: when it was first said, and for how long.
    waiting: Option<(Duration, Duration)>,
    /// The policy's last yield that was heeded: when, and the term it ended.
    yielded: Option<(Duration, Term)>,
    /// What the other locks of this candidate allow.
    leave: Leave,
}

/// What a candidate that must hold several locks allows one of them. By default what a lock that is alone has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Leave {
    /// Not claimed before this boot reading.
    pub(crate) not_before: Duration,
    /// Which term a claim has.
    pub(crate) term: LeaveTerm,
}

/// Which term a claim has, as far as other locks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LeaveTerm {
    /// As this lock says.
    #[default]
    Any,
    /// As this lock says, but not a lower one.
    AtLeast(Term),
    /// This one, which another lock is held in; as long as this lock takes it.
    Exactly(Term),
}

impl Campaign {
    /// A policy is asked again and again: a wait that is said again does not begin anew.
    pub(crate) fn wait(&mut self, now: Instant, pause: Duration) {
        let said = self.waiting.map_or(now.boot, |(said, _)| said);
        self.waiting = Some((said, pause));
    }

    pub(crate) fn wait_no_more(&mut self) {
        self.waiting = None;
    }

    /// Whether a policy may yield now; notes that it does.
    pub(crate) fn may_yield(&mut self, now: Instant, term: Term) -> bool {
        let may = self.yielded.is_none_or(|(last, _)| now.boot >= last.saturating_add(YIELD_PAUSE));
        if may {
            self.yielded = Some((now.boot, term));
        }
        may
    }

    /// The term that a policy gave up last.
    pub(crate) fn yielded_term(&self) -> Option<Term> {
        self.yielded.map(|(_, term)| term)
    }

    /// When a lock free from `free_at` on is claimed: as the policy says, but never later than `wait_max` after it became free.
    fn claim_at(&self, free_at: Duration, wait_max: Duration) -> Duration {
        let Some((said, pause)) = self.waiting else { return free_at };
        said.max(free_at).saturating_add(pause).min(free_at.saturating_add(wait_max))
    }
}

impl Elector {
    /// The boot reading of the next claim, as things stand.
    pub(super) fn next_claim_at(&self) -> Option<Duration> {
        if self.shutdown_by.is_some() {
            return None;
        }
        let leave = self.campaign.leave.not_before;
        let at = match self.news.known() {
            Known::Nothing => return None,
            Known::Absent(absence) => {
                let at = absence.since.boot.max(self.campaign.not_before);
                // The unheld record only starts the count: nothing to delay but a try that failed.
                return if self.creates_at_once() { not_later_than_ever(at.max(leave)) } else { Some(at) };
            }
            Known::Present(state) => {
                let free_at = self.news.free_at()?;
                match state.way {
                    Way::Own => free_at,
                    Way::Released { .. } | Way::Expiry => {
                        self.campaign.claim_at(free_at, self.settings.timing.policy_wait_max())
                    }
                }
            }
        };
        not_later_than_ever(at.max(self.campaign.not_before).max(self.out_until()).max(leave))
    }

    /// Says what the other locks of this candidate allow from now on.
    pub(crate) fn give_leave(&mut self, leave: Leave) {
        self.campaign.leave = leave;
    }

    /// The boot reading from which on the lock may be had, as far as it goes by the lock itself; absent where that is not known
    /// yet, and while a term of this candidate is not over.
    pub(crate) fn attainable_at(&self) -> Option<Duration> {
        if self.shutdown_by.is_some() || !matches!(self.role, Role::Standby) {
            return None;
        }
        match self.news.known() {
            Known::Nothing => None,
            Known::Absent(absence) => self.creates_at_once().then_some(absence.since.boot),
            Known::Present(_) => self.news.free_at().map(|at| at.max(self.out_until())),
        }
    }

    fn claim_term(&self, now: Instant) -> Option<Term> {
        match self.campaign.leave.term {
            LeaveTerm::Any => self.lowest_term(now),
            LeaveTerm::AtLeast(term) => self.lowest_term(now).map(|lowest| lowest.max(term)),
            LeaveTerm::Exactly(term) => Some(term),
        }
    }

    /// The least term that a claim on this lock would have by itself.
    fn lowest_term(&self, now: Instant) -> Option<Term> {
        self.floors.next(now, self.is_fresh())
    }

    /// The least term, chosen now, that this lock takes: the clock may have been set back since what stands there was first seen.
    pub(crate) fn lowest_taken(&self, now: Instant) -> Option<Term> {
        let first_seen = self.news.state().map_or(now.wall, |state| state.first_seen.wall);
        self.lowest_term(Instant { wall: now.wall.max(first_seen), ..now })
    }

    /// Whether a claim may have a term that another lock is held in: it is above everything that anybody can have led in here,
    /// which is all that is known; and where the lock does not say who led last, where terms started when that was first seen.
    pub(crate) fn takes_term(&self, term: Term) -> bool {
        let fresh_since = self.news.state().filter(|_| self.is_fresh()).map(|state| state.first_seen);
        self.floors.allow(term, fresh_since)
    }

    fn is_fresh(&self) -> bool {
        self.news.state().is_none_or(|state| !Mark::is_of_its_last_holder(&state.seen.record))
    }

    /// Whether a lock that does not exist is created held: only where nobody was ever seen to have one.
    pub(super) fn creates_at_once(&self) -> bool {
        self.settings.first_create == FirstCreate::Immediate && !self.news.ever_present()
    }

    /// The write that claims the lock, when it is time.
    pub(super) fn poll_campaign(&mut self, now: Instant) -> Option<Write> {
        if self.next_claim_at().is_none_or(|at| now.boot < at) {
            return None;
        }
        let timeout = self.settings.timing.attempt_timeout();
        let base = self.news.state().map(|state| state.seen.clone());
        if base.is_none() && !self.creates_at_once() {
            let record = unheld(now, &self.settings, self.floors.next(now, true), self.identity.as_str());
            return Some(self.writes.send(now, Purpose::Unheld, WriteKind::Create, record, timeout));
        }
        let Some(term) = self.claim_term(now) else {
            self.campaign.not_before = now.boot.saturating_add(self.settings.timing.lease());
            self.warn(
                now,
                "last-term",
                "the lock carries the last term there is; remove its annotation tenure.dev/term and restart all replicas"
                    .to_owned(),
            );
            return None;
        };
        self.floors.note_sent(term);
        let mut record =
            acquiring(now, &self.settings, base.as_ref().map(|seen| &seen.record), term, self.identity.as_str());
        self.name_container(&mut record);
        let kind = base.map_or(WriteKind::Create, |seen| WriteKind::Replace { uid: seen.uid, version: seen.version });
        Some(self.writes.send(now, Purpose::Acquire { term }, kind, record, timeout))
    }
}

fn not_later_than_ever(at: Duration) -> Option<Duration> {
    (at < Instant::NEVER).then_some(at)
}
