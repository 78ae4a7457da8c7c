//! What news of the lock and answers to our writes change: floors, ownership, authority, identity (rules 1, 2, 5, 7).

use super::Elector;
use super::campaign::SPREAD;
use super::messages::{Outcome, Report, Seen, WriteKind};
use super::news::{Applied, Change};
use super::tenancy::{Ending, Role};
use super::terms::{Mark, is_credible};
use super::writes::{Purpose, Sent, Stored, is_never_held};
use crate::{Identity, Instant, Record};

/// What an identity may have at most; a suffix must fit.
const IDENTITY_BYTES_MAX: usize = 253;

impl Elector {
    /// How the write that was under way ended.
    pub(super) fn take_answer(&mut self, now: Instant, sent: Sent, outcome: Outcome) {
        let confirmed = self.writes.stored.as_ref().is_some_and(|stored| stored.is_by(&sent.write.attempt));
        if confirmed && !matches!(outcome, Outcome::Stored { .. }) {
            return; // the watch has shown it stored
        }
        match outcome {
            Outcome::Stored { seen, created } => self.take_stored(now, sent, &seen, created),
            Outcome::Conflict => {
                self.pace(&sent, true);
                self.fail(format!("{} met a conflict", name(&sent)));
                self.want_read(now.boot);
            }
            Outcome::Refused { code, message } => {
                self.pace(&sent, false);
                self.fail(format!("{} was refused", name(&sent)));
                let verb = if sent.write.kind == WriteKind::Create { "create" } else { "update" };
                self.warn(
                    now,
                    "refused",
                    format!(
                        "{} was refused ({code}): {message}; this replica cannot lead until its Role allows get, create \
                         and update on the lock's object, and what it writes is valid (verb refused: {verb})",
                        name(&sent)
                    ),
                );
                if code == 404 {
                    self.want_read(now.boot); // the object is gone; only a read may say so
                }
            }
            Outcome::Unknown { message } => {
                self.pace(&sent, false);
                self.fail(format!("{} had no definite answer: {message}", name(&sent)));
                self.writes.leave_unanswered(sent);
                self.want_read(now.boot);
            }
        }
    }

    fn take_stored(&mut self, now: Instant, sent: Sent, seen: &Seen, created: bool) {
        let create = sent.write.kind == WriteKind::Create;
        if created != create {
            // The object had been deleted and our write brought it back: whoever else saw it gone may act by now.
            self.warn(
                now,
                "created",
                format!(
                    "{} was answered as if the object had {}existed",
                    name(&sent),
                    if create { "" } else { "not " }
                ),
            );
            self.pace(&sent, false);
            self.writes.stored = None;
            self.news.disown();
            self.end_term(now, "the lock's object was replaced by a write that should not have created it".to_owned());
            self.want_read(now.boot);
        } else if !sent.replaces(seen) {
            self.fail(format!("{} changed nothing", name(&sent)));
            self.pace(&sent, false);
            self.writes.leave_unanswered(sent);
            self.want_read(now.boot);
        } else if seen.version > self.news.version() {
            self.writes.leave_unanswered(sent); // found again right below, by its content
            self.take_record(now, seen, false);
        }
        self.warnings.forget("refused");
    }

    /// When to write next after a write that wasn't stored.
    fn pace(&mut self, sent: &Sent, at_once: bool) {
        let timing = self.settings.timing;
        match &mut self.role {
            Role::Held(held) => held.retry_after_failure(sent.sent_at, at_once, timing.attempt_timeout()),
            Role::Releasing(releasing) => releasing.retry_after_failure(sent, at_once, timing.attempt_timeout()),
            Role::Standby | Role::Ended(_) | Role::Finished => {
                self.campaign.not_before = sent.sent_at.boot.saturating_add(timing.retry());
            }
        }
    }

    fn fail(&mut self, why: String) {
        if self.is_holding() {
            self.slow_path(why);
        }
    }

    /// There is no object.
    pub(super) fn take_absence(&mut self, now: Instant, version: Option<u64>) {
        self.writes.stored = None;
        self.news.apply_absence(now, version);
        self.end_term(now, "the lock's object is gone".to_owned());
        self.finish_release(now, Ending::NotOurs);
    }

    /// The object in a version that counts.
    pub(super) fn take_record(&mut self, now: Instant, seen: &Seen, regressed: bool) {
        let found = self.writes.settle(seen);
        let known = self.writes.stored.as_ref().is_some_and(|stored| stored.is(seen));
        let claims =
            found.as_ref().is_some_and(|sent| matches!(sent.purpose, Purpose::Acquire { .. } | Purpose::Renew));
        let own = claims || known && found.is_none();
        let last_holder = self.news.state().map(|state| state.seen.record.holder.clone());
        let term_floor = self.floors.seen().map_or(0, crate::Term::get);
        self.note_term(now, &seen.record, own || found.is_some());
        if claims {
            self.writes.stored = Some(Stored { uid: seen.uid.clone(), record: seen.record.clone() });
        } else if !own && !self.releases_same(seen) {
            self.writes.stored = None;
        }
        let spread = self.chance.below(SPREAD);
        let change = self.news.apply(now, seen.clone(), Applied { own, regressed, term_floor, spread });
        if own {
            if let Some(sent) = found {
                self.take_own(now, &sent);
            }
            return;
        }
        let by_us = found.is_some();
        self.take_foreign(now, seen, found.as_ref(), last_holder.as_ref());
        if change == Change::Claim {
            if !seen.record.holder.is_empty() {
                self.campaign.wait_no_more(); // what the policy said was about the last holder's going
            }
            if !by_us && last_holder.as_ref() != Some(&seen.record.holder) {
                self.report(Report::NewHolder { holder: seen.record.holder.clone() });
            }
        }
        if change != Change::Version {
            self.campaign.not_before = now.boot;
        }
        if change == Change::Claim && matches!(self.role, Role::Standby) && self.shutdown_by.is_none() {
            self.report_waiting(now);
        }
    }

    /// Says what a standby waits for, where it has to wait.
    pub(super) fn report_waiting(&mut self, now: Instant) {
        let Some(observed) = self.observed().filter(|_| self.writes.stored.is_none()) else { return };
        let record = &observed.seen.record;
        let why = match record.holder.as_str() {
            "" if is_never_held(record) => {
                "the lock is new; whoever held one that was deleted may act until then (first-create)".to_owned()
            }
            "" => "nobody holds the lock, but it was not released in order: who held it may act until then".to_owned(),
            holder => format!("{holder} holds the lock; it may be taken when nothing has changed until then"),
        };
        if observed.expires.boot > now.boot.saturating_add(SPREAD) {
            self.report(Report::Waiting { why, until: observed.expires });
        }
    }

    /// While a release is outstanding, a record held by us in the same term stays ours to release.
    fn releases_same(&self, seen: &Seen) -> bool {
        matches!(self.role, Role::Releasing(_)) && self.writes.stored.as_ref().is_some_and(|stored| stored.holds(seen))
    }

    /// Our own write is stored: a term begins, or goes on.
    fn take_own(&mut self, now: Instant, sent: &Sent) {
        match sent.purpose {
            Purpose::Acquire { term } => {
                let authority = self.authority_from(term, sent.sent_at);
                // Late, or overtaken: what was acquired is a record of ours to take again, or to release.
                let in_time = !now.has_reached(authority.soft_until) && self.floors.admits(term);
                if matches!(self.role, Role::Standby) && self.shutdown_by.is_none() && in_time {
                    self.begin(sent.sent_at, authority);
                }
            }
            Purpose::Renew => self.extend(sent.sent_at),
            Purpose::Unheld | Purpose::Release => {}
        }
    }

    /// A record that is no claim of ours.
    fn take_foreign(&mut self, now: Instant, seen: &Seen, found: Option<&Sent>, last_holder: Option<&String>) {
        if found.is_some_and(|sent| sent.purpose == Purpose::Release) {
            self.finish_release(now, Ending::Released);
            return;
        }
        let holder = &seen.record.holder;
        if *holder == self.identity.as_str() && !self.releases_same(seen) {
            self.take_new_identity(now);
        }
        let why = match holder.as_str() {
            "" => "the lock was emptied".to_owned(),
            _ if last_holder == Some(holder) => format!("the lock's record was overwritten in the name of {holder}"),
            _ => format!("the lock was given to {holder}"),
        };
        self.end_term(now, why);
        if !self.releases_same(seen) {
            self.finish_release(now, Ending::NotOurs);
        }
    }

    /// Floors from the lock's mark, whoever wrote it (rule 7).
    fn note_term(&mut self, now: Instant, record: &Record, own: bool) {
        let Some(text) = record.annotations.get(Record::TERM) else { return };
        let Some(mark) = Mark::parse(text) else {
            let told = format!(
                "the lock's annotation {} is unreadable ({text:?}) and counts as absent; it should say <term>/<identity>",
                Record::TERM
            );
            self.warn(now, "term-unreadable", told);
            return;
        };
        let raised = self.floors.seen().is_some_and(|floor| mark.term > floor);
        let by_its_holder = record.holder.is_empty() || mark.identity == record.holder;
        if !own && (raised && !by_its_holder || !is_credible(mark.term, now)) {
            let told = format!(
                "the lock's term was raised to {} out of order; terms go on above it: see who writes {}",
                mark.term,
                Record::TERM
            );
            self.warn(now, "term-raised", told);
        }
        self.floors.note_seen(mark.term);
    }

    /// Somebody else writes in our name: from now on we have another.
    fn take_new_identity(&mut self, now: Instant) {
        let suffix = format!("_{}", self.chance.hex());
        let mut base = self.given.as_str().to_owned();
        base.truncate(IDENTITY_BYTES_MAX - suffix.len());
        let Ok(identity) = Identity::new(base + &suffix) else { return };
        let told = format!(
            "the lock is held in the name {}, but not by this process (an earlier start, a second process with the same \
             identity, or an edit); from now on this one is {identity}",
            self.identity
        );
        self.identity = identity;
        self.warn(now, "identity", told);
    }
}

fn name(sent: &Sent) -> &'static str {
    match sent.purpose {
        Purpose::Unheld => "creating the lock",
        Purpose::Acquire { .. } => "acquiring the lock",
        Purpose::Renew => "renewing the lock",
        Purpose::Release => "releasing the lock",
    }
}
