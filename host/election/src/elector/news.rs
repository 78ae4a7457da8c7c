//! What is known of the lock: which news counts (rule 4) and from when on the lock may be taken (rule 3). Decides nothing
//! about our own terms.

use std::time::Duration;

use super::messages::{Seen, Source};
use super::proof::{Trace, same_container};
use super::terms::Mark;
use crate::{Instant, Record};

/// The lock as it stood when last told.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// Nobody told us yet.
    Nothing,
    /// There is no object.
    Absent(Absence),
    /// There is one.
    Present(Box<State>),
}

/// The lack of an object.
#[derive(Debug, Clone)]
pub(crate) struct Absence {
    pub(crate) since: Instant,
    /// W of whoever may still act on the record that went.
    wait: Duration,
}

/// One exact state of the object; versions that change nothing of the election keep it.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) seen: Seen,
    pub(crate) first_seen: Instant,
    /// W: the largest lease duration that may be running under it.
    pub(crate) wait: Duration,
    pub(crate) way: Way,
    /// Whether its holder is known to be one process that lived.
    pub(crate) trace: Trace,
    /// That process is dead, and from this boot reading on so are its last writes.
    pub(crate) dead_from: Option<Duration>,
}

/// How a state may be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is our own last write: at once, with a new term.
    Own,
    /// Its holder let go: after a short spread.
    Released {
        /// Drawn, so that standbys do not all write in the same millisecond.
        spread: Duration,
    },
    /// Only when it has not changed for W.
    Expiry,
}

/// What a piece of news is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Judgement {
    /// It counts; `regressed` when its version is lower than one known before (etcd was restored).
    Counts {
        /// The version went back.
        regressed: bool,
    },
    /// Older than what is known.
    Old,
    /// Worth nothing by itself; a consistent read must tell.
    Ask,
}

/// What applying news changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Only labels, foreign annotations, or nothing: the same state in a newer version.
    Version,
    /// A renewal by the same holder in the same term.
    Renewal,
    /// Another holder, term, or object.
    Claim,
}

/// The newest news that count, and what follows from them.
#[derive(Debug, Clone)]
pub(crate) struct News {
    lease: Duration,
    known: Known,
    /// The highest version since the last that regressed; watch events up to it are old.
    version: u64,
    /// When the last write was answered or given up, by the boot clock.
    settled: Duration,
    /// When a watch event last counted, by the boot clock.
    watched: Duration,
    /// Until when, by the boot clock, somebody may act whose record was overwritten out of order.
    owed: Duration,
    ever_present: bool,
}

impl News {
    pub(crate) fn new(lease: Duration) -> Self {
        Self {
            lease,
            known: Known::Nothing,
            version: 0,
            settled: Duration::ZERO,
            watched: Duration::ZERO,
            owed: Duration::ZERO,
            ever_present: false,
        }
    }

    pub(crate) const fn known(&self) -> &Known {
        &self.known
    }

    pub(crate) fn state(&self) -> Option<&State> {
        if let Known::Present(state) = &self.known { Some(state) } else { None }
    }

    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// Whether this candidate has seen an object of this lock at all.
    pub(crate) const fn ever_present(&self) -> bool {
        self.ever_present
    }

    /// A write was answered or given up: answers to reads sent before it are old from now on.
    pub(crate) fn note_settled(&mut self, now: Instant) {
        self.settled = self.settled.max(now.boot);
    }

    /// What a piece of news is worth (rule 4).
    pub(crate) fn judge(&self, source: Source, seen: Option<&Seen>, writing: bool) -> Judgement {
        match (source, seen) {
            (Source::Watch, Some(seen)) if seen.version > self.version => Judgement::Counts { regressed: false },
            (Source::Watch, Some(_)) => Judgement::Old,
            (Source::Watch | Source::Deleted, None) => Judgement::Ask,
            (Source::Deleted, Some(seen)) => match &self.known {
                _ if seen.version <= self.version => Judgement::Old,
                Known::Present(state) if state.seen.uid == seen.uid => Judgement::Counts { regressed: false },
                _ => Judgement::Ask,
            },
            (Source::Quorum { sent_at }, _) if writing || sent_at.boot < self.settled => Judgement::Ask,
            (Source::Quorum { sent_at }, seen) => {
                let regressed = match seen {
                    Some(seen) => seen.version < self.version,
                    None => matches!(self.known, Known::Present(_)),
                };
                // The watch may have overtaken the read while it was under way: then it is the read that is old.
                if regressed && sent_at.boot < self.watched {
                    Judgement::Ask
                } else {
                    Judgement::Counts { regressed: regressed && seen.is_some() }
                }
            }
        }
    }

    /// Notes that a watch event counted.
    pub(crate) fn note_watched(&mut self, now: Instant) {
        self.watched = self.watched.max(now.boot);
    }

    /// There is no object; `version` is the deletion's, where it is known.
    pub(crate) fn apply_absence(&mut self, now: Instant, version: Option<u64>) {
        self.version = self.version.max(version.unwrap_or(0));
        if !matches!(self.known, Known::Absent(_)) {
            self.known = Known::Absent(Absence { since: now, wait: self.wait() });
        }
    }

    /// The object as it stands; `own`: it is this process' last write; `spread`: to wait if it turns out to be released.
    pub(crate) fn apply(&mut self, now: Instant, seen: Seen, how: Applied) -> Change {
        self.ever_present = true;
        self.version = seen.version;
        if let Known::Present(state) = &mut self.known
            && !how.regressed
            && same_state(&state.seen, &seen)
        {
            if !same_container(&state.seen.record, &seen.record) {
                (state.trace, state.dead_from) = (Trace::Broken, None);
            }
            state.seen = seen;
            return Change::Version;
        }
        let lease = Duration::from_secs(seen.record.lease_duration_seconds.into()).max(self.lease);
        let same_claim = self.state().is_some_and(|state| same_claim(&state.seen, &seen));
        let way = if how.own {
            Way::Own
        } else if !how.regressed && self.is_release(&seen, how.term_floor) {
            Way::Released { spread: how.spread }
        } else {
            Way::Expiry
        };
        let wait = if same_claim || how.regressed {
            lease.max(self.wait())
        } else if seen.record.holder.is_empty() {
            self.wait() // the duration in an unheld record says nothing
        } else {
            lease
        };
        if !same_claim && way == Way::Expiry && !is_orderly(&seen.record, how.term_floor) {
            self.owed = self.owed.max(self.still_acting_until(now, &seen));
        }
        let last = self.state().filter(|_| same_claim);
        let trace = last.map_or(Trace::Unseen, |last| Trace::after(last, now, &seen));
        self.known = Known::Present(Box::new(State { seen, first_seen: now, wait, way, trace, dead_from: None }));
        if same_claim { Change::Renewal } else { Change::Claim }
    }

    /// The boot reading from which on the lock may be taken; absent where there is nothing to take.
    pub(crate) fn free_at(&self) -> Option<Duration> {
        let state = self.state()?;
        Some(match state.way {
            Way::Own => state.first_seen.boot,
            Way::Released { spread } => (state.first_seen.boot + spread).max(self.owed),
            Way::Expiry => {
                let expires = state.first_seen.boot.saturating_add(state.wait);
                state.dead_from.map_or(expires, |dead_from| dead_from.min(expires)).max(self.owed)
            }
        })
    }

    /// Whoever holds the lock is dead; from `dead_from` on, by the boot clock, nothing that it sent is carried out any more.
    pub(crate) fn note_dead(&mut self, dead_from: Duration) {
        if let Known::Present(state) = &mut self.known {
            state.dead_from = Some(dead_from);
        }
    }

    /// Our own record is no longer to be taken at once, because it isn't ours after all.
    pub(crate) fn disown(&mut self) {
        if let Known::Present(state) = &mut self.known
            && state.way == Way::Own
        {
            state.way = Way::Expiry;
        }
    }

    /// W as it stands.
    fn wait(&self) -> Duration {
        match &self.known {
            Known::Nothing => self.lease,
            Known::Absent(absence) => absence.wait,
            Known::Present(state) => state.wait,
        }
    }

    /// Until when somebody may act whose record `next` overwrote without waiting for it. It may have renewed right before,
    /// unseen; or it may have come and gone unseen, where the term is another or the object was gone meanwhile.
    fn still_acting_until(&self, now: Instant, next: &Seen) -> Duration {
        let whole = now.boot.saturating_add(self.wait());
        match &self.known {
            // Where one of Tenure's wrote before, it may have been overwritten right before we came.
            Known::Nothing if next.record.annotations.contains_key(Record::TERM) => whole,
            Known::Nothing => Duration::ZERO,
            Known::Absent(_) => whole,
            Known::Present(state) if !same_lineage(&state.seen, next) => whole,
            Known::Present(state) => match state.way {
                Way::Own | Way::Released { .. } => Duration::ZERO,
                Way::Expiry if state.seen.record.holder.is_empty() => state.first_seen.boot.saturating_add(state.wait),
                Way::Expiry => whole,
            },
        }
    }

    /// Whether a record says that its holder let go in order (rule 3b).
    fn is_release(&self, seen: &Seen, term_floor: u64) -> bool {
        let record = &seen.record;
        if !record.holder.is_empty() {
            return false;
        }
        let mark = record.annotations.get(Record::TERM);
        if let Some(mark) = mark
            && record.annotations.get(Record::RELEASED) == Some(mark)
            && Mark::parse(mark).is_some_and(|mark| mark.term.get() >= term_floor)
        {
            return true;
        }
        // client-go lets go by emptying the holder, with no mark; only where we saw it hold the lock ourselves, and where
        // nobody can have held it in between: a term would have changed, or the count of holders.
        self.state().is_some_and(|state| {
            let last = &state.seen.record;
            same_lineage(&state.seen, seen)
                && last.transitions == record.transitions
                && !last.holder.is_empty()
                && !is_marked_by_holder(last)
        })
    }
}

/// How to take a new state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applied {
    /// It is this process' last write.
    pub(crate) own: bool,
    /// Its version is lower than one known before.
    pub(crate) regressed: bool,
    /// The highest term seen before it; 0 for none.
    pub(crate) term_floor: u64,
    /// How long to wait if it is a release.
    pub(crate) spread: Duration,
}

/// A holder whose term is in the lock under its own name: one of Tenure's.
fn is_marked_by_holder(record: &Record) -> bool {
    Mark::of(record).is_some_and(|mark| mark.identity == record.holder)
}

/// Whether the record is one that only a candidate of Tenure's writes, with a term of its own above all before: it kept
/// rule 3 with whoever was before it.
fn is_orderly(record: &Record, term_floor: u64) -> bool {
    record.holder.is_empty()
        || record.annotations.contains_key(Record::ATTEMPT)
            && Mark::of(record).is_some_and(|mark| mark.identity == record.holder && mark.term.get() > term_floor)
}

/// Whether nothing changed by which a holder shows that it lives.
fn same_state(a: &Seen, b: &Seen) -> bool {
    let (ours, theirs) = (&a.record, &b.record);
    same_claim(a, b)
        && ours.lease_duration_seconds == theirs.lease_duration_seconds
        && ours.renew_time == theirs.renew_time
        && [Record::ATTEMPT, Record::RELEASED]
            .iter()
            .all(|key| ours.annotations.get(*key) == theirs.annotations.get(*key))
}

fn same_claim(a: &Seen, b: &Seen) -> bool {
    same_lineage(a, b) && a.record.holder == b.record.holder
}

/// The same object with no term of ours begun or lost in between.
fn same_lineage(a: &Seen, b: &Seen) -> bool {
    a.uid == b.uid && a.record.annotations.get(Record::TERM) == b.record.annotations.get(Record::TERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: Judgement = Judgement::Counts { regressed: false };
    const REGRESSED: Judgement = Judgement::Counts { regressed: true };

    fn at(seconds: u64) -> Instant {
        let reading = Duration::from_secs(seconds);
        Instant { boot: reading, wall: reading }
    }

    fn seen(uid: &str, version: u64) -> Seen {
        Seen { uid: uid.to_owned(), version, record: Record::default() }
    }

    fn news() -> News {
        let mut news = News::new(Duration::from_secs(15));
        let how = Applied { own: false, regressed: false, term_floor: 0, spread: Duration::ZERO };
        let _ = news.apply(at(1), seen("u", 7), how);
        news
    }

    fn read(sent_at: u64) -> Source {
        Source::Quorum { sent_at: at(sent_at) }
    }

    #[test]
    fn only_newer_watch_events_count() {
        let news = news();
        let judge = |source, seen: Seen| news.judge(source, Some(&seen), false);
        assert_eq!(judge(Source::Watch, seen("u", 7)), Judgement::Old);
        assert_eq!(judge(Source::Watch, seen("v", 6)), Judgement::Old);
        assert_eq!(judge(Source::Watch, seen("u", 8)), COUNTS);
        assert_eq!(judge(Source::Deleted, seen("u", 7)), Judgement::Old);
        assert_eq!(judge(Source::Deleted, seen("v", 8)), Judgement::Ask);
        assert_eq!(judge(Source::Deleted, seen("u", 8)), COUNTS);
    }

    #[test]
    fn a_read_sent_before_the_last_write_was_answered_is_asked_anew() {
        let mut news = news();
        news.note_settled(at(5));
        assert_eq!(news.judge(read(4), Some(&seen("u", 7)), false), Judgement::Ask);
        assert_eq!(news.judge(read(4), None, false), Judgement::Ask);
        assert_eq!(news.judge(read(6), Some(&seen("u", 7)), true), Judgement::Ask);
        assert_eq!(news.judge(read(6), Some(&seen("u", 7)), false), COUNTS);
        assert_eq!(news.judge(read(6), None, false), COUNTS);
    }

    #[test]
    fn a_read_the_watch_has_overtaken_is_asked_anew_and_one_sent_later_counts_although_lower() {
        let mut news = news();
        news.note_watched(at(5));
        assert_eq!(news.judge(read(4), Some(&seen("u", 6)), false), Judgement::Ask);
        assert_eq!(news.judge(read(4), None, false), Judgement::Ask);
        assert_eq!(news.judge(read(6), Some(&seen("u", 6)), false), REGRESSED);
    }
}
