//! Every course of events of a few candidates around one lock, by model checking: real electors, one API server, an ideal network
//! in every order, and at any point of it one crash with a restart, one pause, one lost answer, one deletion of the Lease.
//! Clocks agree and time jumps to the next deadline. The small model runs with every test; the large one is
//! `cargo xtask long`'s.

#![expect(clippy::print_stdout, reason = "how many states there were is the figure")]

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use stateright::{Checker, Model, Property};
use tenure_election::{
    Action, Authority, Elector, Identity, Instant, Outcome, Record, Settings, Source, Timing, Write,
};
use tenure_simulator::api::Api;

/// 5/3/1 s.
const TIMING: Timing = Timing::FAST;

/// Past this a model is too large for one machine; it says so, and what it saw counts.
const STATES_MAX: usize = 30_000_000;

/// docs/election.md's bound at these timings.
const LEADER_WITHIN: Duration = Duration::from_millis(8102);

/// What may happen, how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    crashes: u8,
    pauses: u8,
    lost_answers: u8,
    deletions: u8,
    /// All of them together at most.
    total: u8,
}

/// A request on its way, or its answer.
#[derive(Debug, Clone)]
enum Mail {
    Read { sent_at: Instant },
    Write(Write),
    Found { sent_at: Instant, seen: Option<tenure_election::Seen> },
    Wrote { attempt: tenure_election::Attempt, outcome: Outcome },
    Lost { attempt: Option<tenure_election::Attempt> },
}

#[derive(Debug, Clone)]
struct Candidate {
    elector: Elector,
    starts: u64,
    paused: bool,
    gate: Option<Authority>,
    mail: Option<(Mail, Duration)>,
    watched: u64,
}

#[derive(Debug, Clone)]
struct State {
    now: Duration,
    api: Api,
    candidates: Vec<Candidate>,
    left: Budget,
    terms: u32,
    /// When there was a leader last, or a fault.
    quiet_since: Duration,
}

impl Hash for State {
    /// By all that `Debug` shows, which is all there is.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        struct Into<'a, H>(&'a mut H);
        impl<H: Hasher> std::fmt::Write for Into<'_, H> {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        let mut text = DefaultHasher::new();
        let _ = write!(Into(&mut text), "{self:?}");
        hasher.write_u64(text.finish());
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Arrive(usize),
    Answer(usize),
    LoseAnswer(usize),
    Watch(usize),
    Advance,
    Restart(usize),
    Pause(usize),
    Resume(usize),
    Delete,
}

struct Lock {
    candidates: usize,
    budget: Budget,
    horizon: Duration,
}

fn clock(now: Duration) -> Instant {
    Instant { boot: Duration::from_secs(1000) + now, wall: Duration::from_secs(100) + now }
}

fn start(index: usize, starts: u64) -> Candidate {
    let settings = Settings { timing: TIMING, ..Settings::default() };
    let identity = Identity::new(format!("n{index}")).expect("an identity");
    let elector = Elector::new(settings, identity, 10 * starts + index as u64);
    Candidate { elector, starts, paused: false, gate: None, mail: None, watched: 0 }
}

impl Candidate {
    fn is_open(&self, now: Duration) -> bool {
        self.gate.is_some_and(|authority| !clock(now).has_reached(authority.hard_until))
    }

    /// Does what the elector says. Guests end at once.
    fn drive(&mut self, now: Duration, terms: &mut u32) {
        let read = clock(now);
        self.elector.handle_timeout(read);
        while let Some(action) = self.elector.poll_action(read) {
            match action {
                Action::Read { timeout } => self.mail = Some((Mail::Read { sent_at: read }, now + timeout)),
                Action::Write(write) => {
                    let until = now + write.timeout;
                    self.mail = Some((Mail::Write(write), until));
                }
                Action::Begin(authority) => {
                    *terms += 1;
                    self.gate = Some(authority);
                }
                Action::Extend(authority) => self.gate = Some(authority),
                Action::Close { .. } => {
                    self.gate = None;
                    self.elector.handle_drained(read, false);
                }
                Action::Cancel { .. } | Action::Kill { .. } | Action::ReadPod { .. } | Action::Report(_) => {}
            }
        }
    }

    fn take(&mut self, now: Duration, mail: Mail) {
        let read = clock(now);
        self.elector.handle_timeout(read);
        match mail {
            Mail::Found { sent_at, seen } => self.elector.handle_record(read, Source::Quorum { sent_at }, seen),
            Mail::Wrote { attempt, outcome } => self.elector.handle_write(read, attempt, outcome),
            Mail::Lost { attempt: Some(attempt) } | Mail::Write(Write { attempt, .. }) => {
                self.elector.handle_write(read, attempt, Outcome::Unknown { message: "timed out".to_owned() });
            }
            Mail::Lost { attempt: None } | Mail::Read { .. } => {
                self.elector.handle_read_failed(read, "timed out".to_owned());
            }
        }
    }
}

impl State {
    /// What the network does before time passes: it is prompt, in any order.
    fn prompt(&self, steps: &mut Vec<Step>) {
        for (index, candidate) in self.candidates.iter().enumerate() {
            match &candidate.mail {
                Some((Mail::Read { .. } | Mail::Write(_), _)) => steps.push(Step::Arrive(index)),
                Some((Mail::Found { .. } | Mail::Wrote { .. }, _)) if !candidate.paused => {
                    steps.push(Step::Answer(index))
                }
                _ => {}
            }
            if !candidate.paused && self.api.version > candidate.watched {
                steps.push(Step::Watch(index));
            }
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let running = self.candidates.iter().filter(|candidate| !candidate.paused);
        let deadlines = running.flat_map(|candidate| {
            let wake = candidate.elector.poll_timeout().map(|at| {
                let clocks = clock(Duration::ZERO);
                at.boot.saturating_sub(clocks.boot).min(at.wall.saturating_sub(clocks.wall))
            });
            wake.into_iter().chain(candidate.mail.as_ref().map(|(_, until)| *until))
        });
        deadlines.min().map(|at| at.max(self.now))
    }

    fn arrive(&mut self, index: usize) {
        let Some((mail, until)) = self.candidates[index].mail.take() else { return };
        let answer = match mail {
            Mail::Read { sent_at } => Mail::Found { sent_at, seen: self.api.object.clone() },
            Mail::Write(write) => {
                let (outcome, _) = self.api.commit(Duration::ZERO, &write.kind, &write.record);
                Mail::Wrote { attempt: write.attempt, outcome }
            }
            other => other,
        };
        self.candidates[index].mail = Some((answer, until));
    }

    fn drive(&mut self, index: usize) {
        if !self.candidates[index].paused {
            self.candidates[index].drive(self.now, &mut self.terms);
        }
    }

    fn advance(&mut self) {
        let Some(at) = self.next_deadline() else { return };
        self.now = at;
        for index in 0..self.candidates.len() {
            let candidate = &mut self.candidates[index];
            if candidate.paused {
                continue;
            }
            self.candidates[index].drive(at, &mut self.terms);
            if let Some((mail, _)) = self.candidates[index].mail.take_if(|(_, until)| at >= *until) {
                self.candidates[index].take(at, mail);
                self.drive(index);
            }
        }
    }
}

impl Model for Lock {
    type State = State;
    type Action = Step;

    /// The lock stands released by an earlier holder.
    fn init_states(&self) -> Vec<State> {
        let mut api = Api::default();
        let mark = [Record::TERM, Record::RELEASED].map(|key| (key.to_owned(), "7/old".to_owned()));
        let released =
            Record { lease_duration_seconds: 1, transitions: 1, annotations: mark.into(), ..Record::default() };
        api.edit(Duration::ZERO, |record| *record = released);
        let candidates = (0..self.candidates).map(|index| start(index, 1)).collect();
        let mut state =
            State { now: Duration::ZERO, api, candidates, left: self.budget, terms: 0, quiet_since: Duration::ZERO };
        (0..self.candidates).for_each(|index| state.drive(index));
        vec![state]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        state.prompt(steps);
        let waits = |step: &Step| matches!(step, Step::Arrive(index) if state.candidates[*index].paused);
        if steps.iter().all(waits) {
            steps.push(Step::Advance); // what a paused process sent may be under way for ever
        }
        for (index, candidate) in state.candidates.iter().enumerate() {
            if state.left.lost_answers > 0
                && matches!(candidate.mail, Some((Mail::Found { .. } | Mail::Wrote { .. }, _)))
            {
                steps.push(Step::LoseAnswer(index));
            }
            if state.left.crashes > 0 {
                steps.push(Step::Restart(index));
            }
            if candidate.paused {
                steps.push(Step::Resume(index));
            } else if state.left.pauses > 0 {
                steps.push(Step::Pause(index));
            }
        }
        if state.left.deletions > 0 && state.api.object.is_some() {
            steps.push(Step::Delete);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        if !matches!(step, Step::Arrive(_) | Step::Answer(_) | Step::Watch(_) | Step::Advance | Step::Resume(_)) {
            state.left.total = state.left.total.checked_sub(1)?;
        }
        let fault = !matches!(step, Step::Arrive(_) | Step::Answer(_) | Step::Watch(_) | Step::Advance);
        match step {
            Step::Arrive(index) => state.arrive(index),
            Step::Answer(index) => {
                let (mail, _) = state.candidates[index].mail.take()?;
                state.drive(index);
                state.candidates[index].take(state.now, mail);
                state.drive(index);
            }
            Step::LoseAnswer(index) => {
                state.left.lost_answers -= 1;
                let (mail, until) = state.candidates[index].mail.take()?;
                let attempt = if let Mail::Wrote { attempt, .. } = mail { Some(attempt) } else { None };
                state.candidates[index].mail = Some((Mail::Lost { attempt }, until));
            }
            Step::Watch(index) => {
                let (now, seen) = (clock(state.now), state.api.object.clone());
                state.candidates[index].watched = state.api.version;
                // Of a deletion it shows that there is nothing, which only asks for a read.
                state.candidates[index].elector.handle_record(now, Source::Watch, seen);
                state.drive(index);
            }
            Step::Advance => state.advance(),
            Step::Restart(index) => {
                state.left.crashes -= 1;
                state.candidates[index] = start(index, state.candidates[index].starts + 1);
                state.drive(index);
            }
            Step::Pause(index) => {
                state.left.pauses -= 1;
                state.candidates[index].paused = true;
            }
            Step::Resume(index) => {
                state.candidates[index].paused = false;
                state.drive(index);
                if let Some((mail, _)) = state.candidates[index].mail.take_if(|(_, until)| state.now >= *until) {
                    state.candidates[index].take(state.now, mail);
                    state.drive(index);
                }
            }
            Step::Delete => {
                state.left.deletions -= 1;
                state.api.delete();
            }
        }
        let leads = state.candidates.iter().any(|candidate| !candidate.paused && candidate.is_open(state.now));
        let stopped = state.candidates.iter().any(|candidate| candidate.paused);
        if fault || leads || stopped {
            state.quiet_since = state.now;
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two authorities", |_, state: &State| {
                state.candidates.iter().filter(|candidate| candidate.is_open(state.now)).count() < 2
            }),
            Property::always("a leader within the bound", |_, state: &State| {
                state.now - state.quiet_since <= LEADER_WITHIN
            }),
            Property::sometimes("somebody leads", |_, state: &State| state.terms > 0),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.now <= self.horizon
    }
}

fn explore(candidates: usize, budget: Budget, horizon: Duration) {
    let model = Lock { candidates, budget, horizon };
    let checker = model.checker().threads(2).target_state_count(STATES_MAX).spawn_dfs().join();
    println!(
        "{candidates} candidates, {budget:?}, {horizon:?}: {} states, {} of them different, depth {}{}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        if checker.state_count() < STATES_MAX { "" } else { "; not all there are" }
    );
    checker.assert_properties();
}

const NONE: Budget = Budget { crashes: 0, pauses: 0, lost_answers: 0, deletions: 0, total: 1 };
const CRASH: Budget = Budget { crashes: 1, ..NONE };
const PAUSE: Budget = Budget { pauses: 1, ..NONE };
const LOST_ANSWER: Budget = Budget { lost_answers: 1, ..NONE };
const DELETION: Budget = Budget { deletions: 1, ..NONE };

/// Long enough for a takeover after whatever happens in the first second.
const TAKEOVER: Duration = Duration::from_millis(6200);

#[test]
fn two_candidates_and_one_fault() {
    explore(2, CRASH, TAKEOVER);
    explore(2, DELETION, Duration::from_secs(1));
    explore(2, LOST_ANSWER, Duration::from_secs(3));
    explore(2, PAUSE, Duration::from_secs(1));
}

#[test]
#[ignore = "takes minutes; cargo xtask long runs it"]
fn two_candidates_and_any_two_faults() {
    let any = Budget { crashes: 1, pauses: 1, lost_answers: 1, deletions: 1, total: 2 };
    for alone in [DELETION, LOST_ANSWER, PAUSE] {
        explore(2, alone, TAKEOVER);
    }
    explore(2, any, Duration::from_secs(2));
}

#[test]
#[ignore = "takes minutes; cargo xtask long runs it"]
fn two_candidates_and_all_four_faults_at_the_beginning() {
    explore(2, Budget { crashes: 1, pauses: 1, lost_answers: 1, deletions: 1, total: 4 }, Duration::from_millis(1500));
}

#[test]
#[ignore = "takes minutes; cargo xtask long runs it"]
fn three_candidates_and_one_fault() {
    explore(3, CRASH, Duration::from_millis(5600));
    explore(3, DELETION, Duration::from_millis(5600));
    explore(3, LOST_ANSWER, Duration::from_secs(2));
    explore(3, PAUSE, Duration::from_secs(1));
}
