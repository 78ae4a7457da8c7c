//! One candidate for several locks that it must hold all at once: one elector for each, in an order that is the same for all
//! candidates. Decides only what is between them; each keeps every rule for its own lock.
//!
//! Authority is what all of them have: it begins with the last lock, ends with the first that is lost, and its deadlines are the
//! nearest. So two candidates that share one lock never lead at once, whatever else each of them holds. A lock is claimed only
//! while all before it are held, and the first only when all can be had; whatever was taken in vain is let go again. All are held
//! in one term, above everything known of any of them, so that terms do not fall for those who know only one. With one lock it
//! says what its elector says.

use std::collections::VecDeque;
use std::time::Duration;

use crate::elector::{Leave, LeaveTerm};
use crate::{
    Action, Attempt, Authority, Drain, Elector, Identity, Instant, Observed, Outcome, PeerSeen, Phase, PodSeen, Report,
    Seen, Settings, Source, Token, Verdict,
};

/// One candidate for all of its locks: electors side by side, and the term in which it holds them all.
///
/// Used as an [`Elector`] is, with the lock's number beside what concerns one lock. At most one request on each lock is under
/// way at a time.
#[derive(Debug, Clone)]
pub struct JointElector {
    parts: Vec<Elector>,
    /// The lock that people are shown.
    shown: usize,
    settings: Settings,
    identity: Identity,
    running: Option<Running>,
    /// Some locks are held and not all, since this boot reading.
    half_since: Option<Duration>,
    /// Others hold several of the locks apart, since this boot reading.
    apart_since: Option<Duration>,
    actions: VecDeque<(usize, Action)>,
}

/// A term in which all locks are, or were, held.
#[derive(Debug, Clone)]
struct Running {
    authority: Authority,
    /// The lock by which its end began.
    cause: Option<usize>,
    cancelled: bool,
    killed: bool,
    closed: bool,
    /// What became of each lock at the end: why, and whether it was let go.
    stopped: Vec<Option<(String, bool)>>,
}

impl JointElector {
    /// A candidate for `locks` locks, one at least, of which people are shown number `shown`; `seed` as for [`Elector::new`].
    ///
    /// # Panics
    /// Without a lock, or when `shown` is none of them.
    #[must_use]
    pub fn new(settings: Settings, identity: Identity, locks: usize, shown: usize, seed: u64) -> Self {
        assert!(shown < locks, "one of the locks is shown");
        let part = |number: usize| {
            let seed = seed.wrapping_add(u64::try_from(number).unwrap_or(u64::MAX));
            Elector::new(settings.clone(), identity.clone(), seed)
        };
        let mut joint = Self {
            parts: (0..locks).map(part).collect(),
            shown,
            settings,
            identity,
            running: None,
            half_since: None,
            apart_since: None,
            actions: VecDeque::new(),
        };
        joint.arrange(Instant { boot: Duration::ZERO, wall: Duration::ZERO });
        joint
    }

    /// As [`Elector::handle_record`], of one lock.
    pub fn handle_record(&mut self, now: Instant, lock: usize, source: Source, seen: Option<Seen>) {
        self.hand(now, lock, |part| part.handle_record(now, source, seen));
    }

    /// As [`Elector::handle_read_failed`], of one lock.
    pub fn handle_read_failed(&mut self, now: Instant, lock: usize, message: String) {
        self.hand(now, lock, |part| part.handle_read_failed(now, message));
    }

    /// As [`Elector::handle_watch_unavailable`], of one lock.
    pub fn handle_watch_unavailable(&mut self, now: Instant, lock: usize, message: String) {
        self.hand(now, lock, |part| part.handle_watch_unavailable(now, message));
    }

    /// As [`Elector::handle_write`], of one lock.
    pub fn handle_write(&mut self, now: Instant, lock: usize, attempt: Attempt, outcome: Outcome) {
        self.hand(now, lock, |part| part.handle_write(now, attempt, outcome));
    }

    /// As [`Elector::handle_pod`], asked for by one lock.
    pub fn handle_pod(&mut self, now: Instant, lock: usize, seen: Option<PodSeen>) {
        self.hand(now, lock, |part| part.handle_pod(now, seen));
    }

    /// As [`Elector::handle_pod_failed`], asked for by one lock.
    pub fn handle_pod_failed(&mut self, now: Instant, lock: usize, forbidden: bool, message: String) {
        self.hand(now, lock, |part| part.handle_pod_failed(now, forbidden, message));
    }

    /// As [`Elector::handle_verdict`].
    pub fn handle_verdict(&mut self, now: Instant, verdict: Verdict) {
        // Without the first no other is claimed, and what drains one drains all.
        self.hand(now, 0, |part| part.handle_verdict(now, verdict));
    }

    /// As [`Elector::handle_peer`].
    pub fn handle_peer(&mut self, now: Instant, name: &str, seen: Option<PeerSeen>) {
        for lock in 0..self.parts.len() {
            self.hand(now, lock, |part| part.handle_peer(now, name, seen));
        }
    }

    /// As [`Elector::handle_token`].
    pub fn handle_token(&mut self, now: Instant, token: Token) {
        for lock in 0..self.parts.len() {
            if lock == 0 || matches!(token, Token::RefusedFor(_)) {
                self.hand(now, lock, |part| part.handle_token(now, token));
            }
        }
    }

    /// As [`Elector::begin_drain`].
    pub fn begin_drain(&mut self, now: Instant, why: Drain) {
        for part in &mut self.parts {
            part.begin_drain(now, why);
        }
        if self.running.is_none() {
            self.give_up(now);
        }
        self.settle(now);
    }

    /// As [`Elector::handle_drained`].
    pub fn handle_drained(&mut self, now: Instant, unanswered: bool) {
        for part in &mut self.parts {
            part.handle_drained(now, unanswered);
        }
        self.settle(now);
    }

    /// Time has passed; nothing else is known.
    pub fn handle_timeout(&mut self, now: Instant) {
        for part in &mut self.parts {
            part.handle_timeout(now);
        }
        self.settle(now);
    }

    /// As [`Elector::poll_action`], with the lock that it concerns.
    pub fn poll_action(&mut self, now: Instant) -> Option<(usize, Action)> {
        self.handle_timeout(now);
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            let mut parts = self.parts.iter_mut().enumerate();
            let (lock, action) = parts.find_map(|(lock, part)| Some((lock, part.poll_action(now)?)))?;
            self.take(now, lock, action);
            self.settle(now);
        }
    }

    /// As [`Elector::poll_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let give_up = self.give_up_at().map(|boot| Instant { boot, wall: Instant::NEVER });
        let next = self.parts.iter().filter_map(Elector::poll_timeout).chain(give_up);
        next.reduce(nearest)
    }

    /// The right to act while all locks are held, as of the last thing handed in; absent once the term was closed.
    #[must_use]
    pub fn authority(&self) -> Option<Authority> {
        self.running.as_ref().filter(|running| !running.closed).map(|running| running.authority)
    }

    /// What this candidate is to its locks together.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.running {
            Some(running) if running.closed => Phase::Releasing,
            Some(running) if running.cancelled => Phase::Draining,
            Some(_) => Phase::Leading,
            None => {
                let phases = || self.parts.iter().map(Elector::phase);
                if phases().all(|phase| phase == Phase::Finished) {
                    Phase::Finished
                } else if phases().any(|phase| phase == Phase::Releasing) {
                    Phase::Releasing
                } else if phases().any(|phase| phase == Phase::Acquiring || phase == Phase::Leading) {
                    Phase::Acquiring
                } else {
                    Phase::Standby
                }
            }
        }
    }

    /// The lock that people are shown, as last known.
    #[must_use]
    pub fn observed(&self) -> Option<Observed> {
        self.observed_of(self.shown)
    }

    /// One lock as last known.
    #[must_use]
    pub fn observed_of(&self, lock: usize) -> Option<Observed> {
        self.parts[lock].observed()
    }

    /// Who this candidate is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.parts[self.shown].identity()
    }

    fn hand(&mut self, now: Instant, lock: usize, fact: impl FnOnce(&mut Elector)) {
        fact(&mut self.parts[lock]);
        self.settle(now);
    }

    /// Takes what the electors have to say, and sees to what is between them.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut parts = self.parts.iter_mut().enumerate();
            let told = parts.find_map(|(lock, part)| Some((lock, part.poll_told()?)));
            match told {
                Some((lock, action)) => self.take(now, lock, action),
                None if !self.arrange(now) => return,
                None => {}
            }
        }
    }

    /// One thing that one elector says.
    fn take(&mut self, now: Instant, lock: usize, action: Action) {
        match action {
            Action::Begin(_) => self.begin_if_whole(now),
            Action::Extend(_) => self.extend(),
            Action::Cancel { drain, kill_at, .. } => self.cancel(now, lock, drain, kill_at),
            Action::Kill { .. } => {
                if let Some(running) = self.running.as_mut().filter(|it| !it.killed && !it.closed) {
                    running.killed = true;
                    self.actions.push_back((lock, Action::Kill { term: running.authority.term }));
                }
            }
            Action::Close { .. } => self.close(now, lock),
            Action::Report(Report::Started { .. }) => {}
            Action::Report(Report::Stopped { why, released, .. }) => self.take_stopped(lock, why, released),
            other @ (Action::Report(_) | Action::Read { .. } | Action::Write(_) | Action::ReadPod { .. }) => {
                self.actions.push_back((lock, other));
            }
        }
    }

    fn begin_if_whole(&mut self, now: Instant) {
        let Some(authority) = self.common_authority() else { return };
        let firm = self.parts.iter().filter(|part| part.is_holding()).all(|part| part.phase() == Phase::Leading);
        if self.running.is_some() || !firm || now.has_reached(authority.soft_until) {
            return;
        }
        let stopped = vec![None; self.parts.len()];
        self.running =
            Some(Running { authority, cause: None, cancelled: false, killed: false, closed: false, stopped });
        self.half_since = None;
        self.actions.push_back((self.shown, Action::Begin(authority)));
        self.actions.push_back((self.shown, Action::Report(Report::Started { term: authority.term })));
    }

    /// What all electors have in common: the highest term, the nearest deadlines.
    fn common_authority(&self) -> Option<Authority> {
        let mut all = self.parts.iter().map(Elector::authority);
        let first = all.next()??;
        all.try_fold(first, |common, next| {
            let next = next?;
            Some(Authority {
                term: common.term.max(next.term),
                soft_until: nearest(common.soft_until, next.soft_until),
                hard_until: nearest(common.hard_until, next.hard_until),
            })
        })
    }

    fn extend(&mut self) {
        let Some(common) = self.common_authority() else { return };
        let Some(running) = self.running.as_mut().filter(|running| !running.closed) else { return };
        let authority = Authority { term: running.authority.term, ..common };
        if authority != running.authority {
            running.authority = authority;
            self.actions.push_back((self.shown, Action::Extend(authority)));
        }
    }

    /// One lock's term turned soft: so does the whole, and the others with it.
    fn cancel(&mut self, now: Instant, lock: usize, drain: Option<Drain>, kill_at: Instant) {
        let Some(running) = self.running.as_mut().filter(|running| !running.cancelled) else { return };
        running.cancelled = true;
        running.cause.get_or_insert(lock);
        self.actions.push_back((lock, Action::Cancel { term: running.authority.term, drain, kill_at }));
        for (_, part) in self.parts.iter_mut().enumerate().filter(|(other, _)| *other != lock) {
            match drain {
                Some(why) => part.begin_drain(now, why),
                None => part.soften(),
            }
        }
    }

    /// One lock's term is over: so is the whole, at once.
    fn close(&mut self, now: Instant, lock: usize) {
        let Some(running) = self.running.as_mut().filter(|running| !running.closed) else { return };
        running.closed = true;
        running.cancelled = true;
        running.cause.get_or_insert(lock);
        self.actions.push_back((lock, Action::Close { term: running.authority.term }));
        for (_, part) in self.parts.iter_mut().enumerate().filter(|(other, _)| *other != lock) {
            part.end_term(now, "another lock that is held with it was lost".to_owned());
        }
    }

    fn take_stopped(&mut self, lock: usize, why: String, released: bool) {
        let Some(running) = &mut self.running else { return };
        running.stopped[lock] = Some((why, released));
        if running.stopped.iter().any(Option::is_none) {
            return;
        }
        let Some(Running { authority, cause, stopped, .. }) = self.running.take() else { return };
        let released = stopped.iter().flatten().all(|(_, released)| *released);
        let (why, _) = stopped.into_iter().flatten().nth(cause.unwrap_or(lock)).unwrap_or_default();
        let term = authority.term;
        self.actions.push_back((self.shown, Action::Report(Report::Stopped { term, why, released })));
    }

    /// Says which lock may be claimed next, and in which term; lets go of what was taken in vain. Whether it let go.
    fn arrange(&mut self, now: Instant) -> bool {
        self.agree_on_identity();
        if self.running.is_some() {
            self.allow(None);
            return false;
        }
        if let Some(ended) = self.parts.iter_mut().find(|part| part.has_ended()) {
            ended.handle_drained(now, false); // the whole never began: nothing ran
            return true;
        }
        let held = self.parts.iter().take_while(|part| part.is_holding()).count();
        let out_of_order = self.parts[held..].iter().any(Elector::is_holding);
        let term = self.parts[0].authority().map(|authority| authority.term);
        if held == 0 && !out_of_order {
            self.half_since = None;
            self.warn_of_others_apart(now);
            self.allow(self.first_claim(now));
            return false;
        }
        let half_since = *self.half_since.get_or_insert(now.boot);
        let late = now.boot >= half_since.saturating_add(self.settings.timing.renew());
        let firm = self.parts[..held].iter().all(|part| part.phase() == Phase::Leading);
        let Some(term) = term.filter(|_| firm && !out_of_order && !late && held < self.parts.len()) else {
            return self.give_up(now);
        };
        let can_be_had =
            |part: &Elector| part.attainable_at().is_some_and(|at| at <= now.boot) && part.takes_term(term);
        if !self.parts[held..].iter().all(can_be_had) {
            return self.give_up(now);
        }
        let leave = Leave { not_before: Duration::ZERO, term: LeaveTerm::Exactly(term) };
        self.allow(Some((held, leave)));
        false
    }

    /// The first lock is claimed when all others can be had, in a term that all of them take.
    fn first_claim(&self, now: Instant) -> Option<(usize, Leave)> {
        let mut leave = Leave::default();
        for other in &self.parts[1..] {
            leave.not_before = leave.not_before.max(other.attainable_at()?);
            let lowest = other.lowest_taken(now)?;
            leave.term = match leave.term {
                LeaveTerm::AtLeast(term) => LeaveTerm::AtLeast(term.max(lowest)),
                LeaveTerm::Any | LeaveTerm::Exactly(_) => LeaveTerm::AtLeast(lowest),
            };
        }
        Some((0, leave))
    }

    /// Lets one lock be claimed, and no other.
    fn allow(&mut self, claim: Option<(usize, Leave)>) {
        let never = Leave { not_before: Instant::NEVER, term: LeaveTerm::Any };
        for (lock, part) in self.parts.iter_mut().enumerate() {
            part.give_leave(claim.filter(|(of, _)| *of == lock).map_or(never, |(_, leave)| leave));
        }
    }

    /// Lets go of what is held without the rest; nothing ran under it.
    fn give_up(&mut self, now: Instant) -> bool {
        self.half_since = None;
        let mut let_go = false;
        for part in &mut self.parts {
            if part.is_holding() {
                part.begin_drain(now, Drain::Yield);
                part.handle_drained(now, false);
                let_go = true;
            }
        }
        self.allow(None);
        let_go
    }

    fn give_up_at(&self) -> Option<Duration> {
        self.half_since.map(|since| since.saturating_add(self.settings.timing.renew()))
    }

    /// All locks name one holder: a suffix that one of them was given goes to all, once none of them is held.
    fn agree_on_identity(&mut self) {
        let changed = self.parts.iter().map(Elector::identity).find(|identity| **identity != self.identity).cloned();
        if let Some(identity) = changed.filter(|_| self.parts.iter().all(Elector::is_standby)) {
            self.parts.iter_mut().for_each(|part| part.adopt(&identity));
            self.identity = identity;
        }
    }

    /// Two others that hold one lock each, and go on: they do not need both, so nobody who does can lead. During a rollout that
    /// changes the locks in the right order, this cannot last.
    fn warn_of_others_apart(&mut self, now: Instant) {
        if self.parts.len() == 1 {
            return;
        }
        let taken = self.parts.iter().filter(|part| part.attainable_at().is_none_or(|at| at > now.boot));
        let mut holders = taken.filter_map(Elector::observed).map(|observed| observed.seen.record.holder);
        let first = holders.find(|holder| !holder.is_empty());
        let other = holders.find(|holder| !holder.is_empty() && Some(holder) != first.as_ref());
        let Some((first, other)) = first.zip(other) else {
            self.apart_since = None;
            return;
        };
        let since = *self.apart_since.get_or_insert(now.boot);
        if now.boot >= since.saturating_add(self.settings.timing.lease()) {
            let told = format!(
                "{first} and {other} hold one each of the locks that this replica needs together, and may both lead: moving \
                 from one lock to another takes a rollout of all replicas to both locks between the two; undo the last"
            );
            self.parts[self.shown].warn(now, "apart", told);
        }
    }
}

/// The nearer of each clock's readings.
fn nearest(one: Instant, other: Instant) -> Instant {
    Instant { boot: one.boot.min(other.boot), wall: one.wall.min(other.wall) }
}
