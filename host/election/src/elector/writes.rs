//! Attempts (rules 1 and 2): what was sent, which of it may still be stored, and whether a record is one of them. Builds
//! the records; decides nothing about when.

use std::time::Duration;

use super::messages::{Attempt, Seen, Write, WriteKind};
use super::terms::Mark;
use crate::{Instant, Record, Settings, Term};

/// The smallest step of a time in a Lease.
const RENEW_TIME_UNIT: Duration = Duration::from_micros(1);

/// Unanswered writes remembered. Each version of the object can be overwritten once, so those that wait for the same version
/// exclude each other and only the newest matter; more than these in a row without one answer outlast any lease.
const UNANSWERED_MAX: usize = 64;

/// What a write is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Makes an object that nobody holds.
    Unheld,
    /// Takes the lock.
    Acquire {
        /// The term it would begin.
        term: Term,
    },
    /// Keeps it.
    Renew,
    /// Lets it go.
    Release,
}

/// One write as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) purpose: Purpose,
    pub(crate) sent_at: Instant,
    pub(crate) write: Write,
}

impl Sent {
    /// Whether `record` is what this write stores: nonce, number, renewTime and all the rest the election reads.
    fn stores(&self, record: &Record) -> bool {
        same_election(&self.write.record, record)
    }

    /// The version it replaces; none for a create.
    pub(crate) fn base_version(&self) -> Option<u64> {
        match self.write.kind {
            WriteKind::Create => None,
            WriteKind::Replace { version, .. } => Some(version),
        }
    }

    /// Whether the object it was to replace is the one that was stored, in a newer version.
    pub(crate) fn replaces(&self, seen: &Seen) -> bool {
        match &self.write.kind {
            WriteKind::Create => true,
            WriteKind::Replace { uid, version } => *uid == seen.uid && seen.version > *version,
        }
    }
}

/// The record this process wrote last and knows to be stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) uid: String,
    pub(crate) record: Record,
}

impl Stored {
    /// Whether `seen` is it, but for labels and foreign annotations.
    pub(crate) fn is(&self, seen: &Seen) -> bool {
        self.uid == seen.uid && same_election(&self.record, &seen.record)
    }

    /// Whether it was stored by this attempt.
    pub(crate) fn is_by(&self, attempt: &Attempt) -> bool {
        self.record.annotations.get(Record::ATTEMPT) == Some(&attempt.to_string())
    }

    /// Whether `seen` is held by us in the same term, whatever else changed (rule 8).
    pub(crate) fn holds(&self, seen: &Seen) -> bool {
        self.uid == seen.uid
            && self.record.holder == seen.record.holder
            && self.record.annotations.get(Record::TERM) == seen.record.annotations.get(Record::TERM)
    }
}

/// Everything this process wrote that still matters.
#[derive(Debug, Clone)]
pub(crate) struct Writes {
    nonce: String,
    number: u64,
    in_flight: Option<Sent>,
    unanswered: Vec<Sent>,
    pub(crate) stored: Option<Stored>,
}

impl Writes {
    pub(crate) fn new(nonce: String) -> Self {
        Self { nonce, number: 0, in_flight: None, unanswered: Vec::new(), stored: None }
    }

    pub(crate) fn in_flight(&self) -> Option<&Sent> {
        self.in_flight.as_ref()
    }

    /// Whether a write that was given up may yet be stored and would take or let go the lock.
    pub(crate) fn may_still_act(&self) -> bool {
        self.unanswered.iter().any(|sent| sent.purpose != Purpose::Unheld)
    }

    /// Sends `record`: numbers it, and remembers it as under way.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        purpose: Purpose,
        kind: WriteKind,
        mut record: Record,
        timeout: Duration,
    ) -> Write {
        self.number += 1;
        let attempt = Attempt { nonce: self.nonce.clone(), number: self.number };
        if purpose != Purpose::Release {
            record.annotations.insert(Record::ATTEMPT.to_owned(), attempt.to_string());
        }
        let write = Write { attempt, kind, record, timeout };
        self.in_flight = Some(Sent { purpose, sent_at: now, write: write.clone() });
        write
    }

    /// Takes the write under way out of flight, if it is this one.
    pub(crate) fn land(&mut self, attempt: &Attempt) -> Option<Sent> {
        self.in_flight.take_if(|sent| sent.write.attempt == *attempt)
    }

    /// A write without a definite answer: possible until the version moves on.
    pub(crate) fn leave_unanswered(&mut self, sent: Sent) {
        if self.unanswered.len() == UNANSWERED_MAX {
            self.unanswered.remove(0);
        }
        self.unanswered.push(sent);
    }

    /// Whether an answer to `attempt` may still come that matters.
    pub(crate) fn awaits(&self, attempt: &Attempt) -> bool {
        self.unanswered.iter().any(|sent| sent.write.attempt == *attempt)
    }

    /// Finds the write of ours that stored `seen`, answered or not yet; those that waited for an older version are past.
    pub(crate) fn settle(&mut self, seen: &Seen) -> Option<Sent> {
        let matches = |sent: &Sent| sent.stores(&seen.record) && sent.replaces(seen);
        let found = self.unanswered.iter().chain(&self.in_flight).find(|sent| matches(sent)).cloned();
        self.unanswered.retain(|sent| sent.base_version().is_some_and(|version| version >= seen.version));
        found
    }
}

/// Whether two records say the same to the election: who, for how long, since when, in which term, by which write.
fn same_election(a: &Record, b: &Record) -> bool {
    a.holder == b.holder
        && a.lease_duration_seconds == b.lease_duration_seconds
        && a.renew_time == b.renew_time
        && [Record::TERM, Record::ATTEMPT].iter().all(|key| a.annotations.get(*key) == b.annotations.get(*key))
        && (!a.holder.is_empty() || a.annotations.get(Record::RELEASED) == b.annotations.get(Record::RELEASED))
}

/// A record nobody holds, from which W is counted (rule 3c). It carries where terms start, above what is known of them, so
/// that they do not fall for those who start after a deletion.
pub(crate) fn unheld(now: Instant, settings: &Settings, start: Option<Term>, identity: &str) -> Record {
    let mut record = Record {
        lease_duration_seconds: lease_seconds(settings),
        renew_time: Some(whole_microseconds(now.wall)),
        ..Record::default()
    };
    if let Some(term) = start {
        record.annotations.insert(Record::TERM.to_owned(), Mark::text(term, identity));
    }
    record
}

/// Whether nobody has held this object yet.
pub(crate) fn is_never_held(record: &Record) -> bool {
    record.holder.is_empty() && record.acquire_time.is_none() && record.transitions == 0
}

/// The record that takes the lock from `base`, if there is one.
pub(crate) fn acquiring(
    now: Instant,
    settings: &Settings,
    base: Option<&Record>,
    term: Term,
    identity: &str,
) -> Record {
    let mut annotations = base.map(|record| record.annotations.clone()).unwrap_or_default();
    annotations.remove(Record::RELEASED);
    annotations.extend(settings.annotations.clone());
    annotations.insert(Record::TERM.to_owned(), Mark::text(term, identity));
    let transitions = match base {
        // A create counts 0, and so does the first to hold what was created unheld.
        None => 0,
        Some(record) if record.holder == identity || is_never_held(record) => record.transitions,
        Some(record) => record.transitions.saturating_add(1),
    };
    let renew_time = next_renew_time(now, base);
    Record {
        holder: identity.to_owned(),
        lease_duration_seconds: lease_seconds(settings),
        acquire_time: Some(renew_time),
        renew_time: Some(renew_time),
        transitions,
        annotations,
    }
}

/// The record that keeps the lock.
pub(crate) fn renewing(now: Instant, base: &Record) -> Record {
    let mut record = base.clone();
    record.annotations.remove(Record::RELEASED);
    record.renew_time = Some(next_renew_time(now, Some(base)));
    record
}

/// The record that lets the lock go: client-go's, and our mark.
pub(crate) fn releasing(now: Instant, base: &Record) -> Record {
    let mut annotations = base.annotations.clone();
    annotations.remove(Record::ATTEMPT);
    annotations.remove(Record::CONTAINER);
    if let Some(mark) = base.annotations.get(Record::TERM) {
        annotations.insert(Record::RELEASED.to_owned(), mark.clone());
    }
    let renew_time = next_renew_time(now, Some(base));
    Record {
        holder: String::new(),
        lease_duration_seconds: 1,
        acquire_time: Some(renew_time),
        renew_time: Some(renew_time),
        transitions: base.transitions,
        annotations,
    }
}

fn lease_seconds(settings: &Settings) -> u32 {
    u32::try_from(settings.timing.lease().as_secs()).unwrap_or(u32::MAX)
}

/// A write equal to what is stored keeps the version, so the time always moves (rule 1).
fn next_renew_time(now: Instant, base: Option<&Record>) -> Duration {
    let stored = base.and_then(|record| record.renew_time);
    whole_microseconds(now.wall).max(stored.map_or(Duration::ZERO, |time| time.saturating_add(RENEW_TIME_UNIT)))
}

fn whole_microseconds(time: Duration) -> Duration {
    Duration::new(time.as_secs(), time.subsec_micros() * 1000)
}
