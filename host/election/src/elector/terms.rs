//! Term numbers (rule 7): reading the mark in the lock, and the floors a new term must be above. Reports nothing.

use std::time::Duration;

use crate::{Instant, Record, Term};

/// How far ahead of our wall clock a token may be that we let raise the floor: more is no term somebody started.
const TOKEN_AHEAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What `tenure.dev/term` says: `<term>/<identity>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) term: Term,
    pub(crate) identity: String,
}

impl Mark {
    /// Reads a mark; `None` where it is not `<term>/<identity>` with a term in 1..=2^62 in plain digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, identity) = text.split_once('/')?;
        let plain = !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || identity.is_empty() {
            return None;
        }
        Some(Self { term: Term::new(number.parse().ok()?)?, identity: identity.to_owned() })
    }

    /// What stands in a record, if it is readable.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        Self::parse(record.annotations.get(Record::TERM)?)
    }

    /// Whether a record's term is that of whoever holds it, or let it go in order: nobody led since.
    pub(crate) fn is_of_its_last_holder(record: &Record) -> bool {
        let mark = record.annotations.get(Record::TERM);
        let released = record.holder.is_empty() && mark == record.annotations.get(Record::RELEASED);
        Self::of(record).is_some_and(|mark| released || mark.identity == record.holder)
    }

    /// As it is written.
    pub(crate) fn text(term: Term, identity: &str) -> String {
        format!("{term}/{identity}")
    }
}

/// What a new term must be above.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floors {
    /// The highest that stood in the lock, whoever wrote it.
    seen: Option<Term>,
    /// The highest this process sent, stored or not.
    sent: Option<Term>,
    /// The highest a write was refused for.
    refused: Option<Term>,
    /// The highest that began here.
    begun: Option<Term>,
}

impl Floors {
    /// The next term; `None` when there is none left to write. `fresh`: the lock does not say the term of whoever led last, so
    /// it may be unknown here; the wall clock's milliseconds, where terms start, are above it.
    pub(crate) fn next(&self, now: Instant, fresh: bool) -> Option<Term> {
        let start = wall_milliseconds(now.wall).clamp(1, Term::MAX.get());
        match self.seen.max(self.sent).max(self.refused) {
            Some(floor) if fresh => Term::new(start.max(floor.get() + 1)),
            Some(floor) => Term::new(floor.get() + 1),
            None => Term::new(start),
        }
    }

    /// Whether a term that was chosen elsewhere may be written: above every floor but what this process itself sent in it, and
    /// above where terms started at `fresh_since`, if the lock does not say the term of whoever led last.
    pub(crate) fn allow(&self, term: Term, fresh_since: Option<Instant>) -> bool {
        let started = fresh_since.map_or(0, |since| wall_milliseconds(since.wall));
        self.seen.max(self.refused) < Some(term) && self.sent <= Some(term) && started <= term.get()
    }

    /// The highest that stood in the lock.
    pub(crate) const fn seen(&self) -> Option<Term> {
        self.seen
    }

    /// Notes a term that stands in the lock.
    pub(crate) fn note_seen(&mut self, term: Term) {
        self.seen = self.seen.max(Some(term));
    }

    /// Notes a term that goes out in a request.
    pub(crate) fn note_sent(&mut self, term: Term) {
        self.sent = self.sent.max(Some(term));
    }

    /// Notes a token for which a write was refused; `false` when it is too far ahead of our wall clock to be believed.
    pub(crate) fn note_refused(&mut self, term: Term, now: Instant) -> bool {
        let credible = is_credible(term, now);
        if credible {
            self.refused = self.refused.max(Some(term));
        }
        credible
    }

    /// Notes a term that begins.
    pub(crate) fn note_begun(&mut self, term: Term) {
        self.begun = self.begun.max(Some(term));
    }

    /// Whether a term that was sent earlier may still begin: nothing higher has come up since, and it has not begun already.
    pub(crate) fn admits(&self, term: Term) -> bool {
        self.seen <= Some(term) && self.refused < Some(term) && self.begun < Some(term)
    }
}

/// Whether a term is not further than a day ahead of our wall clock.
pub(crate) fn is_credible(term: Term, now: Instant) -> bool {
    term.get() <= wall_milliseconds(now.wall.saturating_add(TOKEN_AHEAD_MAX))
}

fn wall_milliseconds(wall: Duration) -> u64 {
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Instant = Instant { boot: Duration::from_secs(5), wall: Duration::from_secs(1000) };

    fn term(number: u64) -> Term {
        Term::new(number).expect("in range")
    }

    #[test]
    fn a_mark_reads_back_and_anything_else_is_unreadable() {
        let mark = Mark::parse("17/pod-a_uid").expect("readable");
        assert_eq!((mark.term, mark.identity.as_str()), (term(17), "pod-a_uid"));
        for text in
            ["", "17", "17/", "/a", "0/a", "+1/a", "01/a", "1e3/a", "4611686018427387905/a", "99999999999999999999/a"]
        {
            assert_eq!(Mark::parse(text), None, "{text}");
        }
        assert!(Mark::parse("4611686018427387904/a").is_some());
    }

    #[test]
    fn wall_milliseconds_are_only_a_starting_value() {
        let mut floors = Floors::default();
        assert_eq!(floors.next(NOW, false), Some(term(1_000_000)));
        floors.note_seen(term(3));
        assert_eq!(floors.next(NOW, false), Some(term(4)));
        assert_eq!(floors.next(NOW, true), Some(term(1_000_000)));
        floors.note_seen(term(2_000_000));
        assert_eq!(floors.next(NOW, true), Some(term(2_000_001)));
    }

    #[test]
    fn the_last_term_has_no_successor() {
        let mut floors = Floors::default();
        floors.note_seen(Term::MAX);
        assert_eq!(floors.next(NOW, false), None);
    }

    #[test]
    fn a_term_chosen_elsewhere_may_be_what_was_sent_before_and_no_more() {
        let mut floors = Floors::default();
        assert!(floors.allow(term(5), None));
        floors.note_sent(term(5));
        assert!(floors.allow(term(5), None) && !floors.allow(term(4), None));
        floors.note_seen(term(5));
        assert!(!floors.allow(term(5), None) && floors.allow(term(6), None));
        assert!(floors.note_refused(term(6), NOW));
        assert!(!floors.allow(term(6), None) && floors.allow(term(7), None));
        // Where nobody says who led last, terms started at the clock's reading.
        assert!(!floors.allow(term(999_999), Some(NOW)) && floors.allow(term(1_000_000), Some(NOW)));
    }

    #[test]
    fn a_token_raises_the_floor_only_within_a_day_of_the_wall_clock() {
        let day = 24 * 60 * 60 * 1000;
        let mut floors = Floors::default();
        floors.note_seen(term(3));
        assert!(!floors.note_refused(term(1_000_001 + day), NOW));
        assert_eq!(floors.next(NOW, false), Some(term(4)));
        assert!(floors.note_refused(term(1_000_000 + day), NOW));
        assert_eq!(floors.next(NOW, false), Some(term(1_000_001 + day)));
    }

    proptest! {
        #[test]
        fn reading_a_mark_never_panics_and_is_exact(text in ".{0,40}") {
            if let Some(mark) = Mark::parse(&text) {
                prop_assert_eq!(Mark::text(mark.term, &mark.identity), text);
            }
        }

        #[test]
        fn a_new_term_is_above_every_floor(seen in 1..1u64 << 61, sent in 1..1u64 << 61, refused in 1..1u64 << 61) {
            let mut floors = Floors::default();
            floors.note_seen(term(seen));
            floors.note_sent(term(sent));
            let believed = floors.note_refused(term(refused), NOW);
            let next = floors.next(NOW, false).expect("room above");
            prop_assert!(next.get() > seen && next.get() > sent && (!believed || next.get() > refused));
        }
    }
}
