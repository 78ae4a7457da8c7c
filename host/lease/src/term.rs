//! One term of ours from its beginning until its guests are confirmed gone: its flags, and who may say what when. Reads no
//! clock and sees no API; `driver` asks and tells.

use std::sync::Arc;
use std::time::Duration;

use tenure_election::{Authority, Instant, LiveTerm, Term};

use crate::countdown::Countdown;

/// What a word that a term's guests are gone is to the election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Confirmation {
    /// The term was told to stop, and has.
    Answer,
    /// Nobody told it to stop: nothing runs under a lease that goes on.
    Unasked,
    /// It was said before.
    Repeated,
}

/// A term that began and is not over.
#[derive(Debug)]
pub(crate) struct RunningTerm {
    live: Arc<LiveTerm>,
    /// Its end was asked for: by a shutdown, or by a policy that yields.
    asked: bool,
    kill: bool,
    drained: bool,
    /// Runs while the gate is closed and nobody has confirmed.
    countdown: Option<Countdown>,
}

impl RunningTerm {
    pub(crate) fn new(authority: &Authority) -> Self {
        let live = Arc::new(LiveTerm::new(authority));
        Self { live, asked: false, kill: false, drained: false, countdown: None }
    }

    pub(crate) fn term(&self) -> Term {
        self.live.term()
    }

    /// What to publish of it: nothing once the gate is closed.
    pub(crate) fn open(&self) -> Option<Arc<LiveTerm>> {
        (!self.live.is_closed()).then(|| Arc::clone(&self.live))
    }

    /// Whether guests must die now.
    pub(crate) fn must_die(&self) -> bool {
        self.kill
    }

    /// Whether its end was asked for.
    pub(crate) fn was_asked_to_end(&self) -> bool {
        self.asked
    }

    /// Moves the deadlines. By how much, on the boot clock: they stand at a fixed distance from when their write was sent,
    /// so this is also the time between the last two renewals.
    pub(crate) fn extend(&self, authority: &Authority) -> Duration {
        let since_last = authority.soft_until.boot.saturating_sub(self.live.soft_until().boot);
        self.live.extend(authority);
        since_last
    }

    /// Soft from now on.
    pub(crate) fn cancel(&mut self, asked: bool) {
        self.live.cancel();
        self.asked |= asked;
    }

    /// No new write is admitted; guests die.
    pub(crate) fn kill(&mut self) {
        self.live.shut_admission();
        self.kill = true;
    }

    /// Closes the gate. Unless they were confirmed before, its guests must be confirmed gone `within` this time.
    pub(crate) fn close(&mut self, now: Instant, within: Duration) {
        self.live.close();
        self.kill = true;
        if !self.drained {
            self.countdown = Some(Countdown::new(now.boot, within));
        }
    }

    /// Takes the word that its guests are gone: once.
    pub(crate) fn confirm(&mut self) -> Confirmation {
        if self.drained {
            return Confirmation::Repeated;
        }
        self.drained = true;
        self.countdown = None;
        if self.live.is_cancelled() { Confirmation::Answer } else { Confirmation::Unasked }
    }

    /// The term, if it was told to stop and its guests are not confirmed gone.
    pub(crate) fn unconfirmed(&self) -> Option<Term> {
        (self.live.is_cancelled() && !self.drained).then(|| self.term())
    }

    /// Closed and confirmed.
    pub(crate) fn is_over(&self) -> bool {
        self.drained && self.live.is_closed()
    }

    /// When to look again whether the confirmation is overdue, on the boot clock.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        self.countdown.as_ref().map(Countdown::next_look)
    }

    /// Counts what passed; whether the confirmation is overdue.
    #[must_use]
    pub(crate) fn is_overdue(&mut self, now: Instant) -> bool {
        self.countdown.as_mut().is_some_and(|countdown| countdown.is_over(now.boot))
    }

    /// Nothing more is waited for: whoever was to be told was told.
    pub(crate) fn stop_waiting(&mut self) {
        self.countdown = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant { boot: Duration::from_secs(100), wall: Duration::from_secs(1_000_000) };
    const WITHIN: Duration = Duration::from_millis(500);

    fn authority(sent_at: Instant) -> Authority {
        let soft_until = sent_at.after(Duration::from_secs(10));
        Authority { term: Term::new(7).unwrap(), soft_until, hard_until: soft_until.after(Duration::from_secs(2)) }
    }

    fn running() -> RunningTerm {
        RunningTerm::new(&authority(NOW))
    }

    #[test]
    fn word_that_nobody_asked_for_is_told_apart_and_kept() {
        let mut term = running();
        assert_eq!(term.confirm(), Confirmation::Unasked);
        assert!(!term.is_over(), "its gate is open");
        term.cancel(true);
        assert_eq!(term.unconfirmed(), None);
        term.close(NOW, WITHIN);
        assert!(term.is_over());
        assert_eq!(term.next_look(), None);
        assert_eq!(term.confirm(), Confirmation::Repeated);
    }

    #[test]
    fn term_told_to_stop_in_any_way_is_unconfirmed_until_confirmed() {
        let told: [fn(&mut RunningTerm); 3] =
            [|term| term.cancel(false), RunningTerm::kill, |term| term.close(NOW, WITHIN)];
        for tell in told {
            let mut term = running();
            assert_eq!(term.unconfirmed(), None, "it simply leads");
            tell(&mut term);
            assert_eq!(term.unconfirmed(), Term::new(7));
            assert_eq!(term.confirm(), Confirmation::Answer);
            assert_eq!(term.unconfirmed(), None);
        }
    }

    #[test]
    fn term_confirmed_in_its_drain_is_over_when_its_gate_closes() {
        let mut term = running();
        term.cancel(true);
        assert_eq!(term.confirm(), Confirmation::Answer);
        assert!(!term.is_over(), "the gate is still open for the release to come");
        term.close(NOW, WITHIN);
        assert!(term.is_over());
        assert_eq!(term.next_look(), None);
    }

    #[test]
    fn closed_term_is_overdue_after_its_limit_until_confirmed() {
        let mut term = running();
        assert!(!term.is_overdue(NOW.after(WITHIN * 10)), "an open gate is no reason");
        term.close(NOW, WITHIN);
        while let Some(boot) = term.next_look().filter(|boot| *boot < NOW.boot + WITHIN) {
            assert!(!term.is_overdue(Instant { boot, wall: NOW.wall }));
        }
        assert!(term.is_overdue(NOW.after(WITHIN)));
        assert_eq!(term.confirm(), Confirmation::Answer);
        assert!(!term.is_overdue(NOW.after(WITHIN * 2)));
    }

    #[test]
    fn kill_shuts_admission_and_leaves_the_gate_open() {
        let mut term = running();
        term.cancel(true);
        term.kill();
        let live = term.open().unwrap();
        assert!(term.must_die());
        assert!(!live.admits(NOW));
        term.close(NOW, WITHIN);
        assert!(term.open().is_none());
    }

    #[test]
    fn extending_tells_the_time_between_two_renewals() {
        let term = running();
        let apart = Duration::from_millis(2_150);
        assert_eq!(term.extend(&authority(NOW.after(apart))), apart);
        assert_eq!(term.open().unwrap().soft_until(), authority(NOW.after(apart)).soft_until);
    }
}
