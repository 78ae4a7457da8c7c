//! One candidate for one lock: what goes in, what comes out, and in which order. The rules' parts are in the modules:
//! `news` (3, 4), `proof` (3d), `writes` (1, 2), `terms` (7), `answers` (what news and answers change), `campaign` (3, 10),
//! `tenancy` (5, 8, 9), `policy`. No clocks, threads or I/O.

mod answers;
mod campaign;
mod messages;
mod news;
mod policy;
mod proof;
mod reports;
mod tenancy;
mod terms;
mod writes;

use std::collections::VecDeque;
use std::time::Duration;

use crate::chance::Chance;
use crate::{Authority, Identity, Instant, Settings};

use campaign::Campaign;
pub(crate) use campaign::{Leave, LeaveTerm};
pub use messages::{
    Action, Attempt, Drain, Observed, Outcome, PeerSeen, Phase, Report, Seen, Source, Token, Verdict, Write, WriteKind,
};
use news::{Judgement, News};
use policy::Peers;
pub use policy::{PEER_SILENT_AFTER, PEERS_MAX};
use proof::Looks;
use reports::Warnings;
use tenancy::{Role, Stage};
use terms::Floors;
use writes::{Purpose, Writes};

/// What a shutdown may take beyond `shutdown_grace` and `write_timeout`: the rest of the termination grace period that the
/// deployment is to give.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

/// One candidate for one lock: a state machine without clocks, threads or I/O.
///
/// The driver hands it facts (`handle_*`, `begin_drain`), then takes actions until [`Self::poll_action`] returns nothing,
/// then waits for the next fact or for [`Self::poll_timeout`]. At most one request on the lock is under way at a time, and one
/// read of a Pod beside it; each is to be answered exactly once, its own timeout included.
#[derive(Debug, Clone)]
pub struct Elector {
    settings: Settings,
    /// The identity given; suffixes are added to this one.
    given: Identity,
    identity: Identity,
    chance: Chance,
    news: News,
    floors: Floors,
    writes: Writes,
    reads: Reads,
    looks: Looks,
    role: Role,
    campaign: Campaign,
    peers: Peers,
    /// Once asked to shut down: the boot reading at which a standby gives up what is outstanding.
    shutdown_by: Option<Duration>,
    /// Whether plugin writes of the last term stayed without an answer: then its record is never released.
    left_unanswered: bool,
    warnings: Warnings,
    actions: VecDeque<Action>,
}

/// The consistent reads.
#[derive(Debug, Clone)]
struct Reads {
    under_way: bool,
    /// When the one under way was sent.
    sent: Duration,
    /// Nothing may be written before a read has counted.
    wanted: bool,
    /// Not before this boot reading.
    not_before: Duration,
    /// Where the watch is unavailable: when to read next.
    poll_at: Option<Duration>,
}

impl Elector {
    /// A candidate that knows nothing yet and first reads the lock. `seed` must be drawn anew from the system's randomness
    /// for each process: the attempts' nonce, fresh identity suffixes, spread and jitter come from it.
    #[must_use]
    pub fn new(settings: Settings, identity: Identity, seed: u64) -> Self {
        let mut chance = Chance::new(seed, identity.as_str());
        let nonce = chance.hex() + &chance.hex();
        Self {
            news: News::new(settings.timing.lease()),
            settings,
            given: identity.clone(),
            identity,
            chance,
            floors: Floors::default(),
            writes: Writes::new(nonce),
            reads: Reads {
                under_way: false,
                sent: Duration::ZERO,
                wanted: true,
                not_before: Duration::ZERO,
                poll_at: None,
            },
            looks: Looks::default(),
            role: Role::Standby,
            campaign: Campaign::default(),
            peers: Peers::default(),
            shutdown_by: None,
            left_unanswered: false,
            warnings: Warnings::default(),
            actions: VecDeque::new(),
        }
    }

    /// News of the lock's object.
    pub fn handle_record(&mut self, now: Instant, source: Source, seen: Option<Seen>) {
        self.look(now);
        let quorum = matches!(source, Source::Quorum { .. });
        if quorum {
            self.reads.under_way = false;
        } else {
            self.reads.poll_at = None;
        }
        match self.news.judge(source, seen.as_ref(), self.writes.in_flight().is_some()) {
            Judgement::Old => {}
            Judgement::Ask => self.want_read(now.boot),
            Judgement::Counts { regressed } => {
                if quorum {
                    self.reads.wanted = false;
                    self.warnings.forget("read");
                    self.schedule_poll(now);
                } else {
                    self.news.note_watched(now);
                    self.reads.not_before = now.boot; // whoever hears from the API server may ask it as well
                }
                match (source, seen) {
                    (Source::Deleted, Some(seen)) => self.take_absence(now, Some(seen.version)),
                    (_, Some(seen)) => self.take_record(now, &seen, regressed),
                    (_, None) => self.take_absence(now, None),
                }
            }
        }
    }

    /// The read that was asked for has failed, or was not answered in time.
    #[expect(clippy::needless_pass_by_value, reason = "facts are handed over, not lent")]
    pub fn handle_read_failed(&mut self, now: Instant, message: String) {
        self.look(now);
        self.reads.under_way = false;
        let timing = self.settings.timing;
        let pause = if self.is_holding() { timing.attempt_timeout() } else { timing.retry() };
        self.reads.wanted = true;
        self.reads.not_before = self.reads.sent.saturating_add(pause);
        if self.is_holding() {
            self.slow_path(format!("the lock could not be read: {message}"));
        } else {
            self.warn(now, "read", format!("the lock could not be read: {message}; it is tried again every {pause:?}"));
        }
    }

    /// The lock cannot be watched (403): it is polled instead, until a watch event comes.
    #[expect(clippy::needless_pass_by_value, reason = "facts are handed over, not lent")]
    pub fn handle_watch_unavailable(&mut self, now: Instant, message: String) {
        self.look(now);
        if self.reads.poll_at.is_some() {
            return;
        }
        let retry = self.settings.timing.retry();
        let told = format!(
            "the lock cannot be watched: {message}; it is read every {retry:?} instead, so that a release is seen late; a \
             Role that allows list and watch on it mends this"
        );
        self.warn(now, "watch", told);
        self.reads.poll_at = Some(now.boot);
        self.schedule_poll(now);
    }

    /// How a write ended.
    #[expect(clippy::needless_pass_by_value, reason = "facts are handed over, not lent")]
    pub fn handle_write(&mut self, now: Instant, attempt: Attempt, outcome: Outcome) {
        self.look(now);
        if let Some(sent) = self.writes.land(&attempt) {
            self.news.note_settled(now);
            self.take_answer(now, sent, outcome);
        } else if let Outcome::Stored { seen, .. } = outcome
            && self.writes.awaits(&attempt)
            && seen.version > self.news.version()
        {
            self.take_record(now, &seen, false);
        }
    }

    /// A fencing token was met outside the lock.
    pub fn handle_token(&mut self, now: Instant, token: Token) {
        self.look(now);
        let running = self.authority().map(|authority| authority.term);
        match token {
            Token::OnObject(term) => {
                if running.is_some_and(|running| term > running) {
                    self.warn(
                        now,
                        "token-object",
                        format!(
                            "an object carries term {term}, above the running one; writes to it are denied until `tenure \
                             fence reset`"
                        ),
                    );
                }
            }
            Token::RefusedFor(term) if !self.floors.note_refused(term, now) => {
                self.warn(
                    now,
                    "token-refused",
                    format!(
                        "a write was refused for term {term}, more than a day ahead of this machine's clock; it is not \
                         believed: reset the object's fence, or set the clock"
                    ),
                );
            }
            Token::RefusedFor(term) => {
                if running.is_some_and(|running| term > running) {
                    self.end_term(now, format!("a write was refused for the larger term {term}"));
                }
            }
        }
    }

    /// Begins to let go in order: soft now, then `shutdown_grace`, then release.
    pub fn begin_drain(&mut self, now: Instant, why: Drain) {
        self.look(now);
        let told = match why {
            Drain::Shutdown => "shut down",
            Drain::Yield => "yielded",
        };
        self.drain(now, why, told.to_owned());
    }

    /// All Stores of the term are dropped; `unanswered`: some admitted write has had no definite answer. Once a term.
    pub fn handle_drained(&mut self, now: Instant, unanswered: bool) {
        self.look(now);
        self.take_drained(now, unanswered);
    }

    /// Time has passed; nothing else is known.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.look(now);
    }

    /// What to do next; `now` is the `sent_at` of a write that comes out.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        self.look(now);
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if let Some(action) = self.poll_look(now) {
            return Some(action);
        }
        if self.writes.in_flight().is_some() || self.reads.under_way {
            return None;
        }
        if self.next_read_at().is_some_and(|at| now.boot >= at) {
            self.reads.under_way = true;
            self.reads.sent = now.boot;
            return Some(Action::Read { timeout: self.settings.timing.attempt_timeout() });
        }
        if self.reads.wanted {
            return None;
        }
        let write = match self.role {
            Role::Standby => self.poll_campaign(now),
            Role::Held(_) => self.poll_renewal(now),
            Role::Releasing(_) => self.poll_release(now),
            Role::Ended(_) | Role::Finished => None,
        };
        write.map(Action::Write).or_else(|| self.actions.pop_front())
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_action`] next: as soon as *either* clock comes to its reading.
    /// A clock that does not matter reads [`Instant::NEVER`]. Absent: only when something is handed in.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut consider = |boot: Duration, wall: Duration| {
            let sooner = next.unwrap_or(Instant { boot: Instant::NEVER, wall: Instant::NEVER });
            next = Some(Instant { boot: sooner.boot.min(boot), wall: sooner.wall.min(wall) });
        };
        if let Some(deadline) = self.next_deadline() {
            consider(deadline.boot, deadline.wall);
        }
        if let Some(boot) = self.next_step_at() {
            consider(boot, Instant::NEVER);
        }
        if let Some(boot) = self.next_look_at() {
            consider(boot, Instant::NEVER);
        }
        next
    }

    /// The right to act in the running term, as of the last thing handed in; absent once the term was closed.
    #[must_use]
    pub fn authority(&self) -> Option<Authority> {
        if let Role::Held(held) = &self.role { Some(held.authority) } else { None }
    }

    /// What this candidate is to the lock.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.role {
            Role::Standby => match self.writes.in_flight() {
                Some(sent) if matches!(sent.purpose, Purpose::Acquire { .. }) => Phase::Acquiring,
                _ => Phase::Standby,
            },
            Role::Held(held) if held.stage == Stage::Firm => Phase::Leading,
            Role::Held(_) => Phase::Draining,
            Role::Ended(_) | Role::Releasing(_) => Phase::Releasing,
            Role::Finished => Phase::Finished,
        }
    }

    /// The lock as last known; absent when there is none, or nothing is known yet.
    #[must_use]
    pub fn observed(&self) -> Option<Observed> {
        let state = self.news.state()?;
        let expires = if state.way == news::Way::Own {
            state.first_seen.after(self.settings.timing.lease())
        } else {
            let boot = self.news.free_at()?;
            state.first_seen.after(boot.saturating_sub(state.first_seen.boot))
        };
        Some(Observed { seen: state.seen.clone(), first_seen: state.first_seen, expires })
    }

    /// Who this candidate is; gets a new suffix when somebody else writes in its name.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What was said already, without looking at the clocks: everything but requests.
    pub(crate) fn poll_told(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Goes on under a name that another lock of this candidate was given.
    pub(crate) fn adopt(&mut self, identity: &Identity) {
        self.identity = identity.clone();
    }

    pub(crate) fn is_holding(&self) -> bool {
        matches!(self.role, Role::Held(_))
    }

    /// Whether a term is closed whose guests are not yet confirmed gone.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.role, Role::Ended(_))
    }

    pub(crate) fn is_standby(&self) -> bool {
        matches!(self.role, Role::Standby)
    }

    fn want_read(&mut self, not_before: Duration) {
        self.reads.wanted = true;
        self.reads.not_before = not_before;
    }

    /// Where the lock is polled: the next read, a retry-period later with jitter 1.2.
    fn schedule_poll(&mut self, now: Instant) {
        if self.reads.poll_at.is_some() {
            let retry = self.settings.timing.retry();
            self.reads.poll_at = Some(now.boot + retry + self.chance.below(retry / 5));
        }
    }

    /// The boot reading of the next read. A holder does not poll: its renewals tell.
    fn next_read_at(&self) -> Option<Duration> {
        match self.role {
            Role::Finished => None,
            _ if self.reads.wanted => Some(self.reads.not_before),
            Role::Standby => self.reads.poll_at,
            Role::Held(_) | Role::Ended(_) | Role::Releasing(_) => None,
        }
    }

    /// The boot reading of the next request; absent while one is under way.
    fn next_step_at(&self) -> Option<Duration> {
        if self.writes.in_flight().is_some() || self.reads.under_way {
            return None;
        }
        let write = match &self.role {
            _ if self.reads.wanted => None,
            Role::Standby => self.next_claim_at(),
            Role::Held(held) => held.next_renewal_at(),
            Role::Releasing(releasing) => Some(releasing.not_before),
            Role::Ended(_) | Role::Finished => None,
        };
        write.into_iter().chain(self.next_read_at()).min()
    }
}
