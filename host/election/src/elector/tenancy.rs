//! The life of a term (rules 5, 8, 9): begin, extend, soft, kill, close, drained, release. Closing always comes out before any
//! write that lets the lock go.

use std::time::Duration;

use super::messages::{Action, Drain, Report, Write, WriteKind};
use super::writes::{Purpose, Sent, releasing, renewing};
use super::{Elector, RELEASE_WITHIN};
use crate::{Authority, Instant, Term};

/// What this candidate is to the lock, with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// Campaigns.
    Standby,
    /// A term runs; its gate is open.
    Held(Held),
    /// The gate is closed; guests are not yet confirmed gone.
    Ended(Ended),
    /// All is quiet; the lock is to be let go.
    Releasing(Releasing),
    /// Shut down, and done.
    Finished,
}

/// A running term.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) authority: Authority,
    pub(crate) stage: Stage,
    drain: Option<Drain>,
    /// Why it drains, for people.
    why: String,
    /// The boot reading of the next renewal.
    renew_at: Duration,
    /// Writes in a row that were not stored.
    failures: u32,
}

/// How far a term is wound down. Readings are the boot clock's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not at all.
    Firm,
    /// Ran out; renewals no longer count.
    Soft,
    /// Drains until then; renewals go on.
    Draining {
        /// When guests are killed.
        kill_at: Duration,
    },
    /// Guests are killed, admitted writes are being answered; renewals go on.
    Killed {
        /// When waiting for answers ends.
        settle_by: Duration,
    },
}

/// A closed term.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    term: Term,
    why: String,
    drain: Option<Drain>,
    /// Admitted writes were given up: no release.
    gave_up: bool,
}

/// What became of the lock when a term was wound up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was let go.
    Released,
    /// It stands in our name, or may; nobody takes it before it has run out.
    RunsOut,
    /// It is gone, or another's.
    NotOurs,
}

/// A lock to be let go.
#[derive(Debug, Clone)]
pub(crate) struct Releasing {
    /// The term that ended; absent when none began under the record.
    term: Option<Term>,
    why: String,
    drain: Option<Drain>,
    /// The boot reading of the next try.
    pub(crate) not_before: Duration,
    give_up_at: Duration,
    conflicts: u32,
}

impl Held {
    /// The boot reading of the next renewal; none once the term ran out.
    pub(crate) fn next_renewal_at(&self) -> Option<Duration> {
        (self.stage != Stage::Soft).then_some(self.renew_at)
    }

    /// After a renewal that wasn't stored: once at once where that may help, then an attempt's time apart.
    pub(crate) fn retry_after_failure(&mut self, sent_at: Instant, at_once: bool, pause: Duration) {
        self.failures += 1;
        self.renew_at = if at_once && self.failures == 1 { sent_at.boot } else { sent_at.boot.saturating_add(pause) };
    }
}

impl Releasing {
    /// After a write that wasn't stored: a conflict gives the release one more try.
    pub(crate) fn retry_after_failure(&mut self, sent: &Sent, conflict: bool, pause: Duration) {
        if sent.purpose != Purpose::Release {
            return;
        }
        if conflict {
            self.conflicts += 1;
        } else {
            self.not_before = sent.sent_at.boot.saturating_add(pause);
        }
    }
}

impl Elector {
    pub(super) fn authority_from(&self, term: Term, sent_at: Instant) -> Authority {
        let soft_until = sent_at.after(self.settings.timing.renew());
        Authority { term, soft_until, hard_until: soft_until.after(self.settings.timing.grace()) }
    }

    /// A term begins with the acquiring write, counted from its sending.
    pub(super) fn begin(&mut self, sent_at: Instant, authority: Authority) {
        self.left_unanswered = false;
        self.floors.note_begun(authority.term);
        self.role = Role::Held(Held {
            authority,
            stage: Stage::Firm,
            drain: None,
            why: String::new(),
            renew_at: sent_at.boot.saturating_add(self.settings.timing.retry()),
            failures: 0,
        });
        self.actions.push_back(Action::Begin(authority));
        self.report(Report::Started { term: authority.term });
    }

    /// A renewal is stored.
    pub(super) fn extend(&mut self, sent_at: Instant) {
        let retry = self.settings.timing.retry();
        let Role::Held(held) = &self.role else { return };
        let authority = self.authority_from(held.authority.term, sent_at);
        let Role::Held(held) = &mut self.role else { return };
        // A term that turned soft by itself is on its way out; and an older attempt found late gives nothing.
        if held.stage == Stage::Soft || authority.soft_until.boot <= held.authority.soft_until.boot {
            return;
        }
        held.authority = authority;
        held.renew_at = sent_at.boot.saturating_add(retry);
        held.failures = 0;
        self.actions.push_back(Action::Extend(authority));
    }

    /// Looks at the clocks; everything that is handed in or asked for does this first (rule 6).
    pub(super) fn look(&mut self, now: Instant) {
        match &mut self.role {
            Role::Held(held) if now.has_reached(held.authority.hard_until) => {
                self.end_term(now, "its renewals were not stored in time".to_owned());
                // Nobody was heard of for long. After a restore of etcd another record may have the very version of ours.
                self.want_read(now.boot);
            }
            Role::Held(held) => {
                let term = held.authority.term;
                match held.stage {
                    Stage::Firm if now.has_reached(held.authority.soft_until) => {
                        held.stage = Stage::Soft;
                        let kill_at = held.authority.hard_until;
                        self.actions.push_back(Action::Cancel { term, drain: None, kill_at });
                    }
                    Stage::Draining { kill_at } if now.boot >= kill_at => {
                        let settle_by = now.boot.saturating_add(self.settings.write_timeout);
                        held.stage = Stage::Killed { settle_by };
                        self.actions.push_back(Action::Kill { term });
                    }
                    Stage::Killed { settle_by } if now.boot >= settle_by => self.give_up_answers(now),
                    Stage::Firm | Stage::Soft | Stage::Draining { .. } | Stage::Killed { .. } => {}
                }
            }
            Role::Releasing(releasing) if now.boot >= releasing.give_up_at => {
                self.finish_release(now, Ending::RunsOut);
            }
            Role::Standby | Role::Ended(_) | Role::Releasing(_) | Role::Finished => {}
        }
        self.finish_standby(now);
    }

    /// The next instant at which the clocks alone change something.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let boot_only = |boot: Duration| Instant { boot, wall: Instant::NEVER };
        match &self.role {
            Role::Held(held) => {
                let hard = held.authority.hard_until;
                Some(match held.stage {
                    Stage::Firm => held.authority.soft_until,
                    Stage::Soft => hard,
                    Stage::Draining { kill_at: boot } | Stage::Killed { settle_by: boot } => {
                        Instant { boot: hard.boot.min(boot), wall: hard.wall }
                    }
                })
            }
            Role::Releasing(releasing) => Some(boot_only(releasing.give_up_at)),
            Role::Standby => self.shutdown_by.map(boot_only),
            Role::Ended(_) | Role::Finished => None,
        }
    }

    /// Begins to let go in order.
    pub(super) fn drain(&mut self, now: Instant, why: Drain, told: String) {
        let grace = self.settings.shutdown_grace;
        if why == Drain::Shutdown && self.shutdown_by.is_none() {
            self.shutdown_by = Some(now.boot.saturating_add(RELEASE_WITHIN));
        }
        match &mut self.role {
            Role::Held(held) => {
                if held.drain.is_none() || why == Drain::Shutdown {
                    held.drain = Some(why);
                    held.why = told;
                }
                if held.stage == Stage::Firm {
                    let kill_at = now.after(grace);
                    held.stage = Stage::Draining { kill_at: kill_at.boot };
                    let term = held.authority.term;
                    self.actions.push_back(Action::Cancel { term, drain: Some(why), kill_at });
                }
            }
            Role::Ended(Ended { drain, .. }) | Role::Releasing(Releasing { drain, .. }) => {
                if why == Drain::Shutdown {
                    *drain = Some(why);
                }
            }
            Role::Standby | Role::Finished => {}
        }
        self.finish_standby(now);
    }

    /// The running term turns soft before its own deadline: another lock that is held with this one has.
    pub(crate) fn soften(&mut self) {
        if let Role::Held(held) = &mut self.role
            && held.stage == Stage::Firm
        {
            held.stage = Stage::Soft;
        }
    }

    /// The running term, if there is one, is over: its gate closes before anything else comes out.
    pub(crate) fn end_term(&mut self, now: Instant, why: String) {
        let Some(held) = self.take_held() else { return };
        let term = held.authority.term;
        self.actions.push_back(Action::Close { term });
        self.role = Role::Ended(Ended { term, why, drain: held.drain, gave_up: false });
        self.campaign.not_before = now.boot;
    }

    /// Admitted writes were not answered in time: no release.
    fn give_up_answers(&mut self, now: Instant) {
        self.end_term(now, "admitted writes were not answered in time".to_owned());
        if let Role::Ended(ended) = &mut self.role {
            ended.gave_up = true;
        }
    }

    fn take_held(&mut self) -> Option<Held> {
        match std::mem::replace(&mut self.role, Role::Standby) {
            Role::Held(held) => Some(held),
            other => {
                self.role = other;
                None
            }
        }
    }

    /// All Stores are dropped.
    pub(super) fn take_drained(&mut self, now: Instant, unanswered: bool) {
        if let Role::Held(held) = &self.role {
            let why = match held.stage {
                Stage::Firm => return, // nobody asked this term to end: what was confirmed is an older one
                Stage::Soft => "its renewals were not stored in time".to_owned(),
                Stage::Draining { .. } | Stage::Killed { .. } if unanswered => {
                    format!("{}; admitted writes stayed without an answer", held.why)
                }
                Stage::Draining { .. } | Stage::Killed { .. } => held.why.clone(),
            };
            self.end_term(now, why);
        }
        match std::mem::replace(&mut self.role, Role::Standby) {
            Role::Ended(ended) => {
                self.left_unanswered = unanswered || ended.gave_up;
                let Ended { term, why, drain, .. } = ended;
                let drain = drain.or(self.shutdown_by.map(|_| Drain::Shutdown));
                self.role = Role::Releasing(Releasing::new(now, Some(term), why, drain));
                if drain.is_none() || !self.may_release() {
                    self.finish_release(now, self.left_standing());
                }
            }
            other => self.role = other,
        }
    }

    /// Whether the lock stands in our name and may be let go.
    fn may_release(&self) -> bool {
        self.settings.release_on_cancel && !self.left_unanswered && self.holds_record()
    }

    fn left_standing(&self) -> Ending {
        if self.holds_record() { Ending::RunsOut } else { Ending::NotOurs }
    }

    fn holds_record(&self) -> bool {
        let stored = self.writes.stored.as_ref();
        stored.zip(self.news.state()).is_some_and(|(stored, state)| stored.holds(&state.seen))
    }

    /// Shut down while no term runs: releases what was acquired too late, waits for what may still be stored, or is done.
    fn finish_standby(&mut self, now: Instant) {
        let Some(by) = self.shutdown_by else { return };
        if !matches!(self.role, Role::Standby) {
            return;
        }
        let undecided = self.writes.in_flight().is_some() || self.writes.may_still_act() && self.reads.wanted;
        if now.boot < by && undecided {
            return;
        }
        self.role = if now.boot < by && self.may_release() {
            let releasing = Releasing::new(now, None, "shut down".to_owned(), Some(Drain::Shutdown));
            Role::Releasing(Releasing { give_up_at: by, ..releasing })
        } else {
            Role::Finished
        };
    }

    /// The renewal, when it is time.
    pub(super) fn poll_renewal(&mut self, now: Instant) -> Option<Write> {
        let Role::Held(held) = &self.role else { return None };
        if held.next_renewal_at().is_none_or(|at| now.boot < at) {
            return None;
        }
        let seen = &self.news.state()?.seen;
        let mut record = renewing(now, &seen.record);
        self.name_container(&mut record);
        let kind = WriteKind::Replace { uid: seen.uid.clone(), version: seen.version };
        let timeout = self.settings.timing.attempt_timeout();
        Some(self.writes.send(now, Purpose::Renew, kind, record, timeout))
    }

    /// The release, when it is time and the lock is still ours: one, and one more after a conflict (rule 8).
    pub(super) fn poll_release(&mut self, now: Instant) -> Option<Write> {
        let Role::Releasing(releasing) = &self.role else { return None };
        if now.boot < releasing.not_before {
            return None;
        }
        if releasing.conflicts > 1 || !self.may_release() {
            self.finish_release(now, self.left_standing());
            return None;
        }
        let seen = &self.news.state()?.seen;
        let record = self::releasing(now, &seen.record);
        let kind = WriteKind::Replace { uid: seen.uid.clone(), version: seen.version };
        let timeout = self.settings.timing.attempt_timeout();
        Some(self.writes.send(now, Purpose::Release, kind, record, timeout))
    }

    /// The end of a term, told.
    pub(super) fn finish_release(&mut self, now: Instant, ending: Ending) {
        match std::mem::replace(&mut self.role, Role::Standby) {
            Role::Releasing(Releasing { term, why, drain, .. }) => {
                if drain == Some(Drain::Yield) {
                    self.campaign.out_until = now.boot.saturating_add(self.settings.timing.lease());
                }
                if let Some(term) = term {
                    let why = match ending {
                        Ending::RunsOut if drain.is_some() => {
                            format!("{why}; not released: the lease runs out by itself")
                        }
                        Ending::NotOurs if drain.is_some() => {
                            format!("{why}; the lock is no longer ours and was left alone")
                        }
                        Ending::Released | Ending::RunsOut | Ending::NotOurs => why,
                    };
                    self.report(Report::Stopped { term, why, released: ending == Ending::Released });
                }
                if self.shutdown_by.is_some() {
                    self.role = Role::Finished;
                } else {
                    self.report_waiting(now);
                }
            }
            other => self.role = other,
        }
    }
}

impl Releasing {
    fn new(now: Instant, term: Option<Term>, why: String, drain: Option<Drain>) -> Self {
        Self {
            term,
            why,
            drain,
            not_before: now.boot,
            give_up_at: now.boot.saturating_add(RELEASE_WITHIN),
            conflicts: 0,
        }
    }
}
