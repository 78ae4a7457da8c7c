//! What a Lease was, state by state: who held it, who renewed, who let go, and what should not have been. Pure: times are
//! readings of the drill's clock, handed in.

use std::collections::VecDeque;
use std::time::Duration;

use super::lease::LeaseState;

/// How much earlier than it was written a takeover may look, because a renewal before it was delivered late. Where the
/// record's own times agree that it was early, no such doubt is left.
const DELIVERY_ALLOWANCE: Duration = Duration::from_millis(500);
/// Renewals remembered of one holder: enough to see how far apart they are.
const RENEWALS_MAX: usize = 8;

/// What the watch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// The Lease as it is now.
    State(LeaseState),
    /// It was deleted, or is not there.
    Absent,
    /// The watch started over: states may have gone by unseen.
    Gap,
}

/// What one piece of news did to the holding of the Lease.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Nothing,
    Renewed,
    /// The holder let go.
    Released,
    /// Somebody holds it who did not before.
    Acquired {
        /// Whom it was taken from, unless it was free.
        from: Option<Box<Tenancy>>,
    },
    /// The watch missed something, or the Lease went.
    Lost,
}

/// One holder's time with the Lease.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tenancy {
    pub(super) holder: String,
    pub(super) is_tenure: bool,
    /// The longest duration its records named.
    pub(super) duration: Duration,
    /// When its writes were seen, the acquiring one included; the oldest are forgotten.
    renewals: VecDeque<Duration>,
    pub(super) last: LeaseState,
    /// Whether no state can have gone by unseen.
    pub(super) is_complete: bool,
    /// Whether the drill killed the holder.
    is_killed: bool,
}

impl Tenancy {
    /// When its last renewal, or its acquiring write, was seen.
    pub(super) fn last_renewal_at(&self) -> Duration {
        self.renewals.back().copied().unwrap_or_default()
    }

    /// When others may take over, by what was seen.
    pub(super) fn expires_at(&self) -> Duration {
        self.last_renewal_at() + self.duration
    }

    /// How many writes of its were seen after `mark`.
    pub(super) fn renewals_since(&self, mark: Duration) -> usize {
        self.renewals.iter().filter(|at| **at > mark).count()
    }

    /// The longest time between two writes of its, once there were three: client-go renews right after it has acquired.
    pub(super) fn renewal_interval(&self) -> Option<Duration> {
        let later = self.renewals.iter().skip(1);
        let between = self.renewals.iter().zip(later).map(|(one, next)| *next - *one);
        if self.renewals.len() < 3 { None } else { between.max() }
    }

    /// Whether a candidate of Tenure's need not wait for the expiry, because a kubelet may have said that the holder is dead.
    pub(super) fn may_be_proved_dead(&self) -> bool {
        self.is_killed && self.is_tenure && self.last.names_container
    }

    /// How far past its expiry a successor acquired, by the two record's own times; `None` where one is missing.
    pub(super) fn past_expiry_by_record_ms(&self, successor: &LeaseState) -> Option<f64> {
        Some(milliseconds(self.last.renewed? + self.duration, successor.acquired?))
    }
}

/// Kinds of what should not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SightKind {
    /// Two holders write in turn, neither of whose leases ran out.
    InterleavedRenewals,
    /// A former holder's release took the Lease from its successor.
    ReleaseOverSuccessor,
    /// A holder let go that nobody had told to.
    ReleaseUnasked,
    TakeoverBeforeExpiry,
    TransitionsFell,
    TermFell,
    LeaseDeleted,
}

/// Something that should not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) at: Duration,
    pub(super) kind: SightKind,
    /// Who did it, as far as that can be told.
    pub(super) by: Option<String>,
    pub(super) message: String,
}

/// All that is known of the Lease.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    last: Option<LeaseState>,
    tenancy: Option<Tenancy>,
    /// Who held it before, oldest first.
    former: Vec<String>,
    /// Whom the drill acted on last: it may let go.
    told: Option<String>,
    sights: Vec<Sight>,
}

impl Chronicle {
    /// The present holder's time, if there is a holder.
    pub(super) fn tenancy(&self) -> Option<&Tenancy> {
        self.tenancy.as_ref()
    }

    /// The Lease as it was seen last, if it is there.
    pub(super) fn last(&self) -> Option<&LeaseState> {
        self.last.as_ref()
    }

    /// Notes that this holder was told to end, or ended.
    pub(super) fn tell(&mut self, holder: &str) {
        self.told = Some(holder.to_owned());
    }

    /// Notes that this holder was killed.
    pub(super) fn kill(&mut self, holder: &str) {
        self.tell(holder);
        if let Some(tenancy) = self.tenancy.as_mut().filter(|tenancy| tenancy.holder == holder) {
            tenancy.is_killed = true;
        }
    }

    /// What should not be and was seen since this was last asked.
    pub(super) fn take_sights(&mut self) -> Vec<Sight> {
        std::mem::take(&mut self.sights)
    }

    /// Takes in what was seen at `at`.
    pub(super) fn observe(&mut self, at: Duration, news: News) -> Step {
        match news {
            News::State(state) => self.observe_state(at, state),
            News::Gap => {
                if let Some(tenancy) = &mut self.tenancy {
                    tenancy.is_complete = false;
                }
                Step::Lost
            }
            News::Absent => {
                if self.last.take().is_some() {
                    self.sight(at, SightKind::LeaseDeleted, None, "the Lease was deleted".into());
                }
                self.end_tenancy();
                Step::Lost
            }
        }
    }

    fn observe_state(&mut self, at: Duration, state: LeaseState) -> Step {
        if self.last.as_ref().is_some_and(|last| last.uid != state.uid) {
            self.observe(at, News::Absent);
        }
        let before = self.last.replace(state.clone());
        if let Some(before) = &before {
            self.look_for_falls(at, before, &state);
        }
        match self.tenancy.take() {
            None if state.holder.is_empty() => Step::Nothing,
            None => self.begin_tenancy(at, state, None),
            Some(tenancy) if tenancy.holder == state.holder => self.renew(at, tenancy, state),
            Some(tenancy) if state.holder.is_empty() => {
                self.look_at_release(at, &tenancy, before.as_ref(), &state);
                self.retire(tenancy.holder);
                Step::Released
            }
            Some(tenancy) => {
                self.look_for_haste(at, &tenancy, &state);
                self.retire(tenancy.holder.clone());
                self.begin_tenancy(at, state, Some(Box::new(tenancy)))
            }
        }
    }

    fn renew(&mut self, at: Duration, mut tenancy: Tenancy, state: LeaseState) -> Step {
        let is_renewal = tenancy.last.renewed != state.renewed;
        tenancy.duration = tenancy.duration.max(state.duration);
        tenancy.is_tenure = state.is_held_by_tenure();
        tenancy.last = state;
        if is_renewal {
            if tenancy.renewals.len() == RENEWALS_MAX {
                tenancy.renewals.pop_front();
            }
            tenancy.renewals.push_back(at);
        }
        self.tenancy = Some(tenancy);
        if is_renewal { Step::Renewed } else { Step::Nothing }
    }

    fn begin_tenancy(&mut self, at: Duration, state: LeaseState, from: Option<Box<Tenancy>>) -> Step {
        self.tenancy = Some(Tenancy {
            holder: state.holder.clone(),
            is_tenure: state.is_held_by_tenure(),
            duration: state.duration,
            renewals: VecDeque::from([at]),
            last: state,
            is_complete: true,
            is_killed: false,
        });
        Step::Acquired { from }
    }

    fn end_tenancy(&mut self) {
        if let Some(tenancy) = self.tenancy.take() {
            self.retire(tenancy.holder);
        }
    }

    fn retire(&mut self, holder: String) {
        self.former.retain(|former| *former != holder);
        self.former.push(holder);
    }

    fn look_for_falls(&mut self, at: Duration, before: &LeaseState, after: &LeaseState) {
        if let (Some(was), Some(is)) = (before.transitions, after.transitions)
            && is < was
        {
            self.sight(at, SightKind::TransitionsFell, None, format!("leaseTransitions fell from {was} to {is}"));
        }
        let Some(was) = before.term.as_ref().map(|term| term.number) else { return };
        match after.term.as_ref().map(|term| term.number) {
            Some(is) if is < was => {
                self.sight(at, SightKind::TermFell, None, format!("the term fell from {was} to {is}"))
            }
            None => self.sight(at, SightKind::TermFell, None, format!("the term {was} went from the Lease")),
            Some(_) => {}
        }
    }

    /// Whose release this is. The record does not say; Tenure's mark does, and client-go writes the transitions that it knew.
    fn look_at_release(&mut self, at: Duration, held: &Tenancy, before: Option<&LeaseState>, state: &LeaseState) {
        let holder = &held.holder;
        let mark = state.released_by.as_ref().filter(|_| before.is_none_or(|old| old.released_by != state.released_by));
        let transitions = held.last.transitions.zip(state.transitions);
        let transitions_fell = transitions.is_some_and(|(was, is)| is < was);
        match mark {
            Some(by) if by != holder => {
                let message = format!("{by} released the Lease that {holder} held");
                self.sight(at, SightKind::ReleaseOverSuccessor, Some(by), message);
            }
            None if transitions_fell => {
                let by = self.former.last().cloned();
                let message = format!(
                    "the Lease that {holder} held was released by a record from before its takeover, so probably by {}",
                    by.as_deref().unwrap_or("a former holder")
                );
                self.sight(at, SightKind::ReleaseOverSuccessor, by.as_deref(), message);
            }
            _ if self.told.as_ref() != Some(holder) => {
                let message =
                    format!("the Lease was released while {holder} held it, which nobody here had told to end");
                self.sight(at, SightKind::ReleaseUnasked, None, message);
            }
            _ => {}
        }
    }

    /// A takeover while the lease still ran.
    fn look_for_haste(&mut self, at: Duration, held: &Tenancy, state: &LeaseState) {
        if held.may_be_proved_dead() && state.is_held_by_tenure() {
            return;
        }
        let is_early_here = at < held.expires_at();
        let is_early_by_record = held.past_expiry_by_record_ms(state).is_some_and(|past_ms| past_ms < 0.0);
        let is_early_beyond_doubt = at + DELIVERY_ALLOWANCE < held.expires_at();
        if !held.is_complete || !is_early_here || !(is_early_by_record || is_early_beyond_doubt) {
            return;
        }
        let early_ms = milliseconds(at, held.expires_at());
        let (was, is) = (&held.holder, &state.holder);
        if self.former.contains(is) {
            let message =
                format!("{is}, who held it before, wrote over {was} {early_ms:.0} ms before {was}'s lease ran out");
            self.sight(at, SightKind::InterleavedRenewals, Some(is), message);
        } else {
            let message = format!("{is} took over from {was} {early_ms:.0} ms before {was}'s lease ran out");
            self.sight(at, SightKind::TakeoverBeforeExpiry, Some(is), message);
        }
    }

    fn sight(&mut self, at: Duration, kind: SightKind, by: Option<&str>, message: String) {
        self.sights.push(Sight { at, kind, by: by.map(str::to_owned), message });
    }
}

/// From one reading of a clock to another, signed, to the hundredth.
pub(super) fn milliseconds(from: Duration, to: Duration) -> f64 {
    ((to.as_secs_f64() - from.as_secs_f64()) * 100_000.0).round() / 100.0
}
