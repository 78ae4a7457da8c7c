//! One trial: from the action on, what is waited for, until when, and what came. Pure.

use std::time::Duration;

use serde::Serialize;

use super::allowance::{Peer, Window};
use super::chronicle::{Chronicle, Step, Tenancy, milliseconds};
use crate::cli::DrillMode;

/// What the driver has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Feed it news until [`Trial::deadline`].
    Watching,
    /// Let the paused holder go on, then call [`Trial::resume`].
    ToResume,
    Over,
}

/// A trial under way.
#[derive(Debug)]
pub(super) struct Trial {
    number: u32,
    mode: DrillMode,
    holder: Tenancy,
    retry_period: Duration,
    /// The last renewal that was seen before the action.
    renewed_at: Duration,
    action_at: Duration,
    give_up_at: Duration,
    released_at: Option<Duration>,
    takeover: Option<Takeover>,
    term_rose_at: Option<Duration>,
    /// Until when the successor's first renewal is waited for; then, what comes after a pause.
    until: Option<Duration>,
    is_established: bool,
    resumed_at: Option<Duration>,
    /// Writes in the holder's name after the action.
    renewals_after: u32,
    failure: Option<String>,
    is_over: bool,
}

#[derive(Debug)]
struct Takeover {
    at: Duration,
    holder: String,
    peer: Peer,
    /// Whom it was taken from, where it was not free.
    from: Option<Tenancy>,
    by_record_ms: Option<f64>,
    /// It came before the expiry, and rightly so.
    is_by_proof_of_death: bool,
}

/// What a trial came to. Times are milliseconds after the action, unless they say otherwise.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    pub(super) trial: u32,
    pub(super) holder: String,
    pub(super) holder_kind: Peer,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) successor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) successor_kind: Option<Peer>,
    /// How long before the action the holder's last renewal had been seen.
    pub(super) since_renewal_ms: f64,
    pub(super) lease_duration_ms: f64,
    /// Writes in the holder's name that were seen after the action.
    pub(super) renewals_after_action: u32,
    pub(super) release_ms: Option<f64>,
    pub(super) takeover_ms: Option<f64>,
    pub(super) release_to_takeover_ms: Option<f64>,
    /// The takeover's distance from the expiry of the last renewal seen; only where nothing was released.
    pub(super) past_expiry_ms: Option<f64>,
    /// The same by the times that stand in the two records: two wall clocks, but no watch.
    pub(super) past_expiry_by_record_ms: Option<f64>,
    pub(super) term_ms: Option<f64>,
    /// Whether the takeover came before the expiry, of a holder that was killed and whose death a kubelet may have proved.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) by_proof_of_death: bool,
    /// What the lease's timing allows for the takeover.
    pub(super) takeover_allowed_ms: Option<Window>,
    /// The same, counted from the release or, where there was none, from the expiry.
    #[serde(skip)]
    pub(super) takeover_window: Option<Window>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resume: Option<Resume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
}

/// What a holder did that was paused and went on.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Resume {
    pub(super) resumed_ms: f64,
    /// For how long after that the Lease was looked at.
    pub(super) watched_ms: f64,
    pub(super) renewed_over_successor: bool,
    pub(super) released_successors_lease: bool,
    pub(super) successor_still_holds: bool,
}

impl Trial {
    /// Begins with the action, done to `holder` at `action_at`. A takeover is waited for until `give_up_at`.
    pub(super) fn begin(
        number: u32,
        mode: DrillMode,
        holder: Tenancy,
        retry_period: Duration,
        action_at: Duration,
        give_up_at: Duration,
    ) -> Self {
        Self {
            number,
            mode,
            renewed_at: holder.last_renewal_at(),
            holder,
            retry_period,
            action_at,
            give_up_at,
            released_at: None,
            takeover: None,
            term_rose_at: None,
            until: None,
            is_established: false,
            resumed_at: None,
            renewals_after: 0,
            failure: None,
            is_over: false,
        }
    }

    /// What comes next.
    pub(super) fn stage(&self) -> Stage {
        let is_paused = self.mode == DrillMode::Pause && self.resumed_at.is_none();
        match (self.is_over, is_paused && self.is_established) {
            (true, _) => Stage::Over,
            (false, true) => Stage::ToResume,
            (false, false) => Stage::Watching,
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn deadline(&self) -> Duration {
        self.until.unwrap_or(self.give_up_at)
    }

    /// Takes in what the chronicle made of a piece of news seen at `at`.
    pub(super) fn observe(&mut self, at: Duration, step: &Step, chronicle: &Chronicle) {
        let present = chronicle.tenancy();
        match step {
            Step::Lost if self.takeover.is_none() => self.holder.is_complete = false,
            Step::Nothing | Step::Lost => {}
            Step::Renewed => self.observe_renewal(at, present),
            Step::Released if self.takeover.is_none() => self.released_at = self.released_at.or(Some(at)),
            Step::Released => {}
            Step::Acquired { from } => self.observe_takeover(at, from.as_deref(), present),
        }
        let number = |tenancy: &Tenancy| tenancy.last.term.as_ref().map(|term| term.number);
        let present = present.filter(|present| present.is_tenure);
        if self.term_rose_at.is_none() && present.and_then(number) > number(&self.holder) && present.is_some() {
            self.term_rose_at = Some(at);
        }
    }

    fn observe_renewal(&mut self, at: Duration, present: Option<&Tenancy>) {
        let Some(present) = present else { return };
        match &self.takeover {
            None if present.holder == self.holder.holder => {
                if at > self.action_at {
                    self.renewals_after += 1;
                }
                self.holder = present.clone();
            }
            Some(takeover) if takeover.holder == present.holder && !self.is_established => self.establish(),
            _ => {}
        }
    }

    fn observe_takeover(&mut self, at: Duration, from: Option<&Tenancy>, present: Option<&Tenancy>) {
        let Some(present) = present else { return };
        if self.takeover.is_some() || present.holder == self.holder.holder {
            return;
        }
        if at < self.action_at {
            self.fail(format!("{} had taken over before the action came", present.holder));
            return;
        }
        self.takeover = Some(Takeover {
            at,
            holder: present.holder.clone(),
            peer: Peer::of(present),
            is_by_proof_of_death: present.is_tenure
                && from.is_some_and(|from| from.may_be_proved_dead() && at < from.expires_at()),
            from: from.cloned(),
            by_record_ms: from.and_then(|from| from.past_expiry_by_record_ms(&present.last)),
        });
        self.until = Some(at + 2 * self.holder.duration);
    }

    /// The successor has renewed: its tenure stands.
    fn establish(&mut self) {
        self.is_established = true;
        if self.mode != DrillMode::Pause {
            self.is_over = true;
        }
    }

    /// The paused holder was let go at `at`. It is watched for one lease duration, in which whoever renews by the rules has
    /// found out and given up.
    pub(super) fn resume(&mut self, at: Duration) {
        self.resumed_at = Some(at);
        self.until = Some(at + self.holder.duration);
        self.is_over = self.failure.is_some();
    }

    /// The deadline has passed.
    pub(super) fn handle_timeout(&mut self, now: Duration) {
        if now < self.deadline() {
            return;
        }
        if self.takeover.is_none() {
            let waited_s = (now.saturating_sub(self.action_at)).as_secs();
            let holder = &self.holder.holder;
            self.fail(match self.renewals_after {
                0 => format!("nobody took over within {waited_s} s"),
                1 => format!("nobody took over within {waited_s} s; {holder} renewed once more"),
                times => format!(
                    "nobody took over within {waited_s} s: {holder} renewed {times} times more (a restart in the same name \
                     cannot be told from it)"
                ),
            });
        } else if !self.is_established {
            self.fail("the successor did not renew within two lease durations".into());
        } else {
            self.is_over = true;
        }
    }

    /// It cannot be brought to its end. A paused holder still has to be let go.
    pub(super) fn fail(&mut self, why: String) {
        self.failure = self.failure.take().or(Some(why));
        self.is_established = true;
        self.is_over = self.mode != DrillMode::Pause || self.resumed_at.is_some();
    }

    /// Whom it was done to.
    pub(super) fn holder(&self) -> &str {
        &self.holder.holder
    }

    /// What it came to, at `now`; `interfered` says what the chronicle saw of the resumed one: that it renewed over its
    /// successor, and that it released the successor's Lease.
    pub(super) fn outcome(&self, now: Duration, chronicle: &Chronicle, interfered: (bool, bool)) -> Outcome {
        let since_action = |at: Duration| milliseconds(self.action_at, at);
        let takeover = self.takeover.as_ref();
        // No distance from an expiry that nobody waited for.
        let waited = takeover.filter(|takeover| !takeover.is_by_proof_of_death);
        let from = waited.and_then(|takeover| takeover.from.as_ref()).filter(|from| from.is_complete);
        let still_holds = takeover
            .is_some_and(|takeover| chronicle.tenancy().is_some_and(|present| present.holder == takeover.holder));
        let holder = &self.holder;
        let window = takeover.map(|takeover| match self.released_at {
            _ if takeover.is_by_proof_of_death => {
                (self.action_at, Window { min: 0.0, max: since_action(holder.expires_at()) })
            }
            Some(at) => (at, Window::after_release(takeover.peer, self.retry_period)),
            None => (holder.expires_at(), Window::after_expiry(takeover.peer, self.retry_period)),
        });
        Outcome {
            trial: self.number,
            holder: holder.holder.clone(),
            holder_kind: Peer::of(holder),
            successor: takeover.map(|takeover| takeover.holder.clone()),
            successor_kind: takeover.map(|takeover| takeover.peer),
            since_renewal_ms: milliseconds(self.renewed_at, self.action_at),
            lease_duration_ms: milliseconds(Duration::ZERO, holder.duration),
            renewals_after_action: self.renewals_after,
            release_ms: self.released_at.map(since_action),
            takeover_ms: takeover.map(|takeover| since_action(takeover.at)),
            release_to_takeover_ms: takeover.zip(self.released_at).map(|(taken, freed)| milliseconds(freed, taken.at)),
            past_expiry_ms: takeover.zip(from).map(|(taken, from)| milliseconds(from.expires_at(), taken.at)),
            past_expiry_by_record_ms: takeover.filter(|_| from.is_some()).and_then(|takeover| takeover.by_record_ms),
            term_ms: self.term_rose_at.map(since_action),
            by_proof_of_death: takeover.is_some_and(|takeover| takeover.is_by_proof_of_death),
            takeover_allowed_ms: window.map(|(from, window)| window.shifted_ms(since_action(from))),
            takeover_window: window.map(|(_, window)| window),
            resume: self.resumed_at.map(|at| Resume {
                resumed_ms: since_action(at),
                watched_ms: milliseconds(at, now),
                renewed_over_successor: interfered.0,
                released_successors_lease: interfered.1,
                successor_still_holds: still_holds,
            }),
            failure: self.failure.clone(),
        }
    }
}
