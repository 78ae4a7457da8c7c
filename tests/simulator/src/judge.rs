//! The oracles. They see what is stored, what is begun and which gates are open, and the true time; never an elector. Each
//! exception is one that docs/election.md names, and is decided by what really happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tenure_election::{Record, Seen, WriteKind};

use crate::process::{Knowledge, term_of};

/// How much faster than true time a clock may run, in the count of a lease.
const RATE_MAX: f64 = 1.0102;

/// A term that was begun.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The true time.
    pub at: Duration,
    /// By which process.
    pub process: u64,
    /// Its machine.
    pub name: String,
    /// The term.
    pub term: u64,
    /// The candidate's lease duration.
    pub lease: Duration,
    /// The candidate's wall clock when it sent the acquiring write, in milliseconds.
    pub wall_milliseconds: u64,
    /// When the process started.
    pub started_at: Duration,
    /// What it knew.
    pub known: Knowledge,
    /// When the write that acquired it was stored.
    stored_at: Duration,
    /// The term has been forgotten by everyone but those who saw it.
    lost: bool,
}

impl Begun {
    /// A term that begins.
    #[must_use]
    pub fn new(at: Duration, (process, name): (u64, &str), term: u64, lease: Duration, known: Knowledge) -> Self {
        let (wall_milliseconds, started_at) = (0, Duration::ZERO);
        let (name, stored_at, lost) = (name.to_owned(), at, false);
        Self { at, process, name, term, lease, wall_milliseconds, started_at, known, stored_at, lost }
    }
}

/// What somebody did to the lock that is no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// The object was deleted.
    Deleted,
    /// Fields were changed; the term stayed.
    Edited,
    /// The term was taken out.
    TermLost,
    /// A release mark was forged.
    Forged,
    /// The store went back; whether the lock stood released there.
    Restored {
        /// Whether the lock stood released.
        released: bool,
    },
    /// A write prepared before a restore was stored after it, because version numbers were given out twice.
    Collided,
}

/// Why two authorities at once are no violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exception {
    /// A forged release mark.
    ForgedRelease,
    /// etcd restored to a released record, met by a candidate that was started since.
    RestoredRelease,
    /// etcd restored under a candidate that has seen nothing newer than the snapshot: to it, nothing happened.
    RestoredUnseen,
    /// A deletion, edit or restore met by a candidate with a shorter lease that has not seen the holder's.
    ShorterLease,
    /// A write prepared before a restore, stored after it.
    RestoredVersions,
    /// `first-create = "immediate"`.
    ImmediateCreate,
}

/// An open gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Whose.
    pub process: u64,
    /// Of which term.
    pub term: u64,
}

/// A write to the lock, as it is committed.
#[derive(Debug)]
pub struct LockWrite<'a> {
    /// The true time.
    pub now: Duration,
    /// Who sent it.
    pub process: u64,
    /// Whether it is one of ours.
    pub ours: bool,
    /// POST or PUT.
    pub kind: &'a WriteKind,
    /// What is stored.
    pub record: &'a Record,
    /// What stood there.
    pub base: Option<&'a Seen>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Judge {
    /// What must never be.
    pub violations: Vec<String>,
    /// Two authorities at once in one of the named cases.
    pub excepted: BTreeMap<Exception, u64>,
    /// Terms that fell because nobody who could know of the last one was there.
    pub terms_forgotten: u64,
    /// All terms begun.
    pub begun: Vec<Begun>,
    /// Plugin writes that landed after a successor began, and passed their last look before.
    pub residue: u64,
    /// Plugin writes that the fence let through.
    pub fenced_writes: u64,
    /// Locks taken from the dead before they were over.
    pub taken_from_dead: u64,
    /// Releases of client-go's kind that overwrote another's record.
    pub overwritten: u64,
    /// The longest time for which two client-go workloads ran at once.
    pub client_go_overlap_max: Duration,
    /// Yields of lock policies that were heeded.
    pub yields: u64,
    meddled: Vec<(Duration, Meddling)>,
    unseen: BTreeSet<(Duration, u64)>,
    judged: BTreeSet<(u64, u64)>,
    /// Since when the lock says what it says to an elector.
    state_since: Duration,
    /// What a candidate wrote last, and what hands have made of it since, each with its time.
    stood: Vec<(Seen, Duration)>,
    /// The last record of each process of ours that was stored.
    stored: BTreeMap<u64, (Record, Duration)>,
    /// When each process last released.
    released: BTreeMap<u64, Duration>,
    /// When a held record was last created, and by whom.
    created_held: Option<(Duration, u64)>,
    overlap_since: Option<Duration>,
    fenced_term: u64,
    /// When each process ended that has.
    dead: BTreeMap<u64, Duration>,
    /// Terms that took the lock before it was over, each with the term it was taken from.
    early: BTreeMap<u64, u64>,
}

impl Judge {
    /// Somebody meddled with the lock or the store.
    pub fn note_meddling(&mut self, now: Duration, what: Meddling) {
        self.meddled.push((now, what));
    }

    /// A candidate wrote the lock, or (`by_hand`) somebody else did. What says to electors what was there before has stood since
    /// then; so has what stood there since a candidate's last write, and which one edit changed and the next put back.
    pub fn note_state(&mut self, now: Duration, before: Option<&Seen>, after: Option<&Seen>, by_hand: bool) {
        let same = |a: &Seen, b: &Seen| a.uid == b.uid && same_state(&a.record, &b.record);
        if before.zip(after).is_some_and(|(before, after)| same(before, after)) {
            return;
        }
        if !by_hand {
            self.stood.clear();
        }
        let stood = after.and_then(|after| self.stood.iter().find(|(stood, _)| same(stood, after)));
        self.state_since = stood.map_or(now, |(_, at)| *at);
        if stood.is_none() {
            self.stood.extend(after.cloned().zip(Some(now)));
        }
    }

    /// The store went back, and the fenced object with it; `unseen`: processes that have seen nothing newer.
    pub fn note_restore(&mut self, now: Duration, released: bool, fenced_term: u64, unseen: impl Iterator<Item = u64>) {
        self.note_meddling(now, Meddling::Restored { released });
        self.unseen.extend(unseen.map(|process| (now, process)));
        self.fenced_term = fenced_term;
    }

    /// A process has ended.
    pub fn note_death(&mut self, now: Duration, process: u64) {
        self.dead.insert(process, now);
    }

    fn violate(&mut self, text: String) {
        self.violations.push(text);
    }

    fn meddling_between(&self, from: Duration, to: Duration) -> impl Iterator<Item = (Duration, Meddling)> + use<'_> {
        self.meddled.iter().copied().filter(move |(at, _)| (from..=to).contains(at))
    }

    /// A write to the lock is committed (called before it is).
    pub fn take_lock_write(&mut self, write: &LockWrite<'_>) {
        let LockWrite { now, process, record, base, .. } = *write;
        if record.holder.is_empty() && base.is_some_and(|seen| !seen.record.holder.is_empty()) {
            self.judge_release(write);
        }
        if write.ours && !record.holder.is_empty() {
            self.judge_patience(write);
        }
        if write.ours && base.is_none() && !record.holder.is_empty() {
            self.created_held = Some((now, process));
        }
        if write.ours {
            self.stored.insert(process, (record.clone(), now));
        }
    }

    /// Nobody of ours empties a record that is not its own; client-go does.
    fn judge_release(&mut self, write: &LockWrite<'_>) {
        let LockWrite { now, process, record, base, .. } = *write;
        let Some(base) = base else { return };
        if write.ours {
            let mark = record.annotations.get(Record::RELEASED);
            let owner = mark.and_then(|mark| mark.split_once('/')).map(|(_, identity)| identity);
            if owner != Some(base.record.holder.as_str()) || mark != base.record.annotations.get(Record::TERM) {
                let text =
                    format!("process {process} released a record of {:?} with mark {mark:?}", base.record.holder);
                self.violate(text);
            }
            self.released.insert(process, now);
        }
    }

    /// Nobody of ours takes a held record before its duration is over by the fastest clock, but from a process that is dead,
    /// and whose writes are over.
    fn judge_patience(&mut self, write: &LockWrite<'_>) {
        let LockWrite { now, process, record, base, .. } = *write;
        let Some(base) = base.filter(|seen| !seen.record.holder.is_empty()) else { return };
        let own = self.is_own(process, &base.record);
        let renewal = base.record.holder == record.holder && term_of(&base.record) == term_of(record);
        let restored = self.meddled.iter().any(|(_, what)| matches!(what, Meddling::Restored { .. }));
        if own || renewal || restored {
            return;
        }
        let promised = Duration::from_secs(base.record.lease_duration_seconds.into());
        let passed = now.saturating_sub(self.state_since);
        if passed.mul_f64(RATE_MAX) < promised && self.is_dead_for_long(now, &base.record) {
            self.taken_from_dead += 1;
            self.early.extend(term_of(record).zip(term_of(&base.record)));
        } else if passed.mul_f64(RATE_MAX) < promised {
            let text = format!(
                "process {process} took the lock of {:?} {passed:?} after it was renewed for {promised:?}",
                base.record.holder
            );
            self.violate(text);
        }
    }

    /// Whether the process that wrote a record ended so long ago that what it had sent is carried out, or never will be.
    fn is_dead_for_long(&self, now: Duration, record: &Record) -> bool {
        let writer = self.stored.iter().find(|(_, (stored, _))| same_state(stored, record));
        let died_at = writer.and_then(|(process, _)| self.dead.get(process));
        let timeout = record.annotations.get(Record::CONTAINER).and_then(|mark| mark.rsplit_once('/'));
        let timeout = timeout.and_then(|(_, milliseconds)| milliseconds.parse().ok()).map(Duration::from_millis);
        died_at.zip(timeout).is_some_and(|(at, timeout)| now.saturating_sub(*at).mul_f64(RATE_MAX) >= timeout)
    }

    /// client-go let go: whose record was it?
    pub fn take_client_go_release(&mut self, by: &str, base: &Seen) {
        if base.record.holder != by {
            self.overwritten += 1;
        }
    }

    /// A term begins. Terms never fall, but where the last one was forgotten: by a restore or a forged
    /// release; or by a deletion or the loss of the
    /// annotation, while the wall clock of whoever begins now is behind it. Whoever knew of it is above it in any case.
    pub fn take_begin(&mut self, mut begun: Begun) {
        begun.stored_at = self.stored.get(&begun.process).map_or(begun.at, |(_, at)| *at);
        let mut wrong = Vec::new();
        for last in self.begun.iter_mut().filter(|last| last.term >= begun.term) {
            let known = begun.known.terms.contains_key(&last.term);
            let since = self.meddled.iter().filter(|(at, _)| *at >= last.stored_at);
            let forgotten = since.fold(last.lost, |forgotten, (_, what)| {
                forgotten
                    || match what {
                        // A forged mark says that the number in the Lease is the last holder's, where it may be none's.
                        Meddling::Restored { .. } | Meddling::Collided | Meddling::Forged => true,
                        Meddling::Deleted | Meddling::TermLost => begun.wall_milliseconds <= last.term,
                        Meddling::Edited => false,
                    }
            });
            if forgotten && !known {
                last.lost = true;
                self.terms_forgotten += 1;
            } else {
                wrong.push(format!(
                    "term {} of {} is not above {} of {}{}",
                    begun.term,
                    begun.name,
                    last.term,
                    last.name,
                    if known { ", which it knew" } else { "" }
                ));
            }
        }
        self.violations.extend(wrong);
        self.begun.push(begun);
    }

    /// No two authorities at one instant.
    pub fn judge_alone(&mut self, now: Duration, open: &[Open]) {
        for (index, one) in open.iter().enumerate() {
            for other in &open[index + 1..] {
                let pair = (one.term.min(other.term), one.term.max(other.term));
                if self.judged.insert(pair) {
                    self.judge_pair(now, *one, *other);
                }
            }
        }
    }

    fn judge_pair(&mut self, now: Duration, one: Open, other: Open) {
        let find = |open: Open| {
            self.begun.iter().rev().find(|begun| begun.term == open.term && begun.process == open.process).cloned()
        };
        let (Some(one), Some(other)) = (find(one), find(other)) else { return };
        let (older, newer) = if one.at <= other.at { (one, other) } else { (other, one) };
        match self.exception(now, &older, &newer) {
            Some(exception) => *self.excepted.entry(exception).or_default() += 1,
            None => self.violate(format!(
                "{} in term {} and {} in term {} hold authority at once",
                older.name, older.term, newer.name, newer.term
            )),
        }
    }

    fn exception(&self, now: Duration, older: &Begun, newer: &Begun) -> Option<Exception> {
        if self.created_held.is_some_and(|(at, process)| process == newer.process && at <= newer.at && at >= older.at) {
            return Some(Exception::ImmediateCreate);
        }
        // A write that collided may stand in the lock for as long as it is believed.
        let collided_from = now.saturating_sub(older.lease.max(newer.lease) * 2);
        if self.meddling_between(collided_from, now).any(|(_, what)| what == Meddling::Collided) {
            return Some(Exception::RestoredVersions);
        }
        let longest_seen =
            newer.known.terms.get(&older.term).map_or(Duration::ZERO, |it| Duration::from_secs((*it).into()));
        let excepted = self.meddling_between(older.stored_at, newer.at).find_map(|(at, what)| match what {
            Meddling::Forged => Some(Exception::ForgedRelease),
            Meddling::Restored { .. } if self.unseen.contains(&(at, newer.process)) => Some(Exception::RestoredUnseen),
            Meddling::Restored { released: true } if newer.started_at >= at => Some(Exception::RestoredRelease),
            Meddling::Deleted | Meddling::Edited | Meddling::TermLost | Meddling::Restored { .. }
                if newer.lease < older.lease && longest_seen < older.lease =>
            {
                Some(Exception::ShorterLease)
            }
            _ => None,
        });
        excepted.or_else(|| self.inherited_exception(now, older, newer))
    }

    /// Whoever took the lock early from one who had it at the same time as a third has it at the same time, too.
    fn inherited_exception(&self, now: Duration, older: &Begun, newer: &Begun) -> Option<Exception> {
        let from = self.early.get(&newer.term).filter(|from| **from < newer.term)?;
        let from = self.begun.iter().find(|begun| begun.term == *from && begun.process != older.process)?;
        (from.at >= older.at).then(|| self.exception(now, older, from)).flatten()
    }

    /// A plugin's write passes its last look at the clocks.
    pub fn judge_look(&mut self, now: Duration, name: &str, open: Open) {
        let successor = self.begun.iter().rev().find(|begun| begun.term > open.term && begun.process != open.process);
        let Some(successor) = successor.cloned() else { return };
        let own =
            self.begun.iter().rev().find(|begun| begun.term == open.term && begun.process == open.process).cloned();
        if own.is_some_and(|own| own.at < successor.at && self.exception(now, &own, &successor).is_none()) {
            self.violate(format!("{name} began a write(2) in term {} after term {} began", open.term, successor.term));
        }
    }

    /// A plugin's write reached the API server.
    pub fn take_plugin_write(&mut self, by: Open, admitted_at: Duration, stored: bool) {
        if self.released.get(&by.process).is_some_and(|at| admitted_at < *at) {
            let text =
                format!("a write of term {} by process {} landed after its lock was released", by.term, by.process);
            self.violate(text);
        }
        if self.begun.iter().any(|begun| begun.term > by.term && begun.process != by.process) {
            self.residue += 1;
        }
        if stored {
            self.fenced_writes += 1;
            if by.term < self.fenced_term {
                let text =
                    format!("a write of term {} to the fenced object after one of {}", by.term, self.fenced_term);
                self.violate(text);
            }
            self.fenced_term = self.fenced_term.max(by.term);
        }
    }

    /// Whether a record is what a process of ours wrote last. Beside a holder a mark of release says nothing: somebody may have
    /// emptied and marked the record, and put the holder back.
    #[must_use]
    pub fn is_own(&self, process: u64, record: &Record) -> bool {
        let Some((stored, _)) = self.stored.get(&process) else { return false };
        let mut shown = record.clone();
        if !shown.holder.is_empty() {
            shown.annotations.remove(Record::RELEASED);
        }
        same_state(stored, &shown)
    }

    /// A policy's yield was heeded: one a minute at most, and only to somebody who would take the lock.
    pub fn judge_yield(&mut self, name: &str, to_somebody: bool, since_last: Option<Duration>) {
        self.yields += 1;
        if !to_somebody {
            self.violate(format!("{name} yielded, and nobody it knows to live campaigns"));
        }
        if let Some(since_last) = since_last.filter(|since| *since < Duration::from_secs(60)) {
            self.violate(format!("{name} yielded {since_last:?} after it had yielded"));
        }
    }

    /// A watch event showed a process of ours that the lock, as it stands, is another's; and yet its gate is open.
    pub fn judge_told(&mut self, name: &str, holder: &str, term: u64) {
        self.violate(format!("{name} keeps its gate open in term {term} after it was shown {holder:?} in the lock"));
    }

    /// An authority counts from the sending of a write that is stored.
    pub fn judge_grounds(&mut self, name: &str, term: u64, stored: bool) {
        if !stored {
            self.violate(format!("{name} has an authority in term {term} that counts from no write that was stored"));
        }
    }

    /// How many workloads like client-go's run at the moment.
    pub fn note_working(&mut self, now: Duration, working: usize) {
        match (working > 1, self.overlap_since) {
            (true, None) => self.overlap_since = Some(now),
            (false, Some(since)) => {
                self.client_go_overlap_max = self.client_go_overlap_max.max(now - since);
                self.overlap_since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
}

/// Whether two records say the same to an elector.
fn same_state(a: &Record, b: &Record) -> bool {
    a.holder == b.holder
        && a.lease_duration_seconds == b.lease_duration_seconds
        && a.renew_time == b.renew_time
        && [Record::TERM, Record::ATTEMPT, Record::RELEASED]
            .iter()
            .all(|key| a.annotations.get(*key) == b.annotations.get(*key))
}
