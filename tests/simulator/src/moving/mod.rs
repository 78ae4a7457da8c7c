//! Replicas that hold several locks together, moved from one lock to another by rollouts while they lead, crash, stop, and are
//! cut off; and oracles that judge. Smaller than `world`: two locks, nobody like client-go, and no case in which a promise is
//! excepted. Pure: every run of a seed is the same.

mod rollout;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tenure_election::{
    Action, Attempt, Authority, Drain, Identity, Instant, JointElector, LiveTerm, Outcome, Phase, Record, Report, Seen,
    Settings, Source, Standing, Term, Timing, WriteKind,
};

use crate::api::{Api, WatchEvent};
use crate::chance::Chance;
use crate::machine::Clocks;
use crate::process::term_of;
use crate::world::{LATENCY, WALL_START};

pub use rollout::Moves;

/// The lock that is left.
pub const OLD: usize = 0;

/// The lock that is moved to.
pub const NEW: usize = 1;

/// What a clock is read late by, so that it has come to its reading.
const ONE: Duration = Duration::from_nanos(1);

/// How soon a process that ended starts again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
enum Event {
    Arrive { node: usize, process: u64, number: u64, lock: usize, what: Request, answered: bool },
    Answer { node: usize, number: u64, input: Input },
    TimeOut { node: usize, number: u64, input: Input },
    Watch { node: usize, process: u64, lock: usize, source: Source, seen: Option<Seen> },
    Drained { node: usize, process: u64, term: Term },
    Start { node: usize, process: u64 },
}

#[derive(Debug, Clone)]
enum Request {
    Read { sent_at: Instant },
    Write { sent_at: Instant, attempt: Attempt, kind: WriteKind, record: Record },
}

/// What is handed to an elector; locks are the world's.
#[derive(Debug, Clone)]
enum Input {
    Record(usize, Source, Option<Seen>),
    ReadFailed(usize),
    Wrote(usize, Attempt, Outcome),
    Drained,
}

/// What happens to the next write of a replica.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Answer,
    Request,
    Late(Duration),
}

/// A replica, and what runs there at the moment.
#[derive(Debug)]
pub struct Replica {
    name: String,
    process: u64,
    /// The locks that its process holds together, and those that the next is to.
    locks: Vec<usize>,
    next: Vec<usize>,
    elector: Option<JointElector>,
    live: Option<LiveTerm>,
    clocks: Clocks,
    paused: bool,
    cut: bool,
    /// Locks of which no write gets through.
    pub refused: [bool; 2],
    guests: Duration,
    losses: VecDeque<Loss>,
    requests: [Option<u64>; 2],
    inbox: VecDeque<Input>,
    /// For each lock, the boot readings at which the writes were sent that are stored.
    grounds: [Vec<Duration>; 2],
}

/// A term that was begun.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Its number.
    pub term: u64,
    /// By whom.
    pub name: String,
    /// The locks it is held by.
    pub locks: Vec<usize>,
}

/// The whole.
#[derive(Debug)]
pub struct Moving {
    /// The true time.
    pub now: Duration,
    /// The locks' objects.
    pub locks: [Api; 2],
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// What must never be.
    pub violations: Vec<String>,
    /// All terms begun.
    pub begun: Vec<Begun>,
    /// What was said by all.
    pub log: Vec<String>,
    /// How many faults there were.
    pub faults: u64,
    /// An object was deleted: then terms start at somebody's wall clock.
    deleted: bool,
    timing: Timing,
    chance: Chance,
    events: BTreeMap<(Duration, u64), Event>,
    numbers: u64,
}

impl Moving {
    /// Nobody yet; `seed` is for what is left to chance.
    #[must_use]
    pub fn new(seed: u64, timing: Timing) -> Self {
        Self {
            now: Duration::ZERO,
            locks: [Api::default(), Api::default()],
            replicas: Vec::new(),
            violations: Vec::new(),
            begun: Vec::new(),
            log: Vec::new(),
            faults: 0,
            deleted: false,
            timing,
            chance: Chance::new(seed),
            events: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// A replica that holds these locks together starts on a machine of its own.
    pub fn add(&mut self, name: &str, locks: &[usize], rate: u64) -> usize {
        let boot = Duration::from_secs(1000 * (1 + self.replicas.len() as u64));
        self.replicas.push(Replica {
            name: name.to_owned(),
            process: 0,
            locks: Vec::new(),
            next: locks.to_vec(),
            elector: None,
            live: None,
            clocks: Clocks::new(self.now, boot, WALL_START + self.now, rate),
            paused: false,
            cut: false,
            refused: [false; 2],
            guests: Duration::from_millis(10),
            losses: VecDeque::new(),
            requests: [None; 2],
            inbox: VecDeque::new(),
            grounds: [Vec::new(), Vec::new()],
        });
        let node = self.replicas.len() - 1;
        self.start(node);
        node
    }

    fn start(&mut self, node: usize) {
        self.numbers += 1;
        let (process, seed) = (self.numbers, self.chance.number());
        let settings = Settings { timing: self.timing, shutdown_grace: Duration::from_secs(2), ..Settings::default() };
        let replica = &mut self.replicas[node];
        replica.process = process;
        replica.locks = replica.next.clone();
        let identity = Identity::new(format!("{}_{process}", replica.name)).expect("an identity");
        let shown = replica.locks.len() - 1;
        replica.elector = Some(JointElector::new(settings, identity, replica.locks.len(), shown, seed));
        replica.live = None;
        replica.paused = false;
        replica.requests = [None; 2];
        replica.inbox.clear();
        replica.grounds = [Vec::new(), Vec::new()];
        for lock in self.replicas[node].locks.clone() {
            let seen = self.locks[lock].object.clone();
            self.schedule(LATENCY, Event::Watch { node, process, lock, source: Source::Watch, seen });
        }
        self.drive(node);
    }

    /// What runs on a machine is killed, and starts again.
    pub fn crash(&mut self, node: usize) {
        let replica = &mut self.replicas[node];
        if replica.elector.take().is_some() {
            replica.live = None;
            let process = replica.process;
            self.schedule(RESTART_AFTER, Event::Start { node, process });
        }
    }

    /// What runs on a machine is asked to end, and starts again once it has.
    pub fn shut_down(&mut self, node: usize) {
        let now = self.replicas[node].clocks.read(self.now);
        if let Some(elector) = self.replicas[node].elector.as_mut() {
            elector.begin_drain(now, Drain::Shutdown);
        }
        self.drive(node);
    }

    /// From its next start on, a replica holds these locks.
    pub fn set_next(&mut self, node: usize, locks: &[usize]) {
        self.replicas[node].next = locks.to_vec();
    }

    /// The wall clock of a machine is set back.
    pub fn set_wall_back(&mut self, node: usize, by: Duration) {
        self.replicas[node].clocks.step_wall(false, by);
        self.drive(node);
    }

    /// Deletes a lock's object.
    pub fn delete(&mut self, lock: usize) {
        self.deleted = true;
        let event = self.locks[lock].delete();
        self.publish(lock, event);
    }

    /// Somebody edits a lock's object.
    pub fn edit(&mut self, lock: usize, change: impl FnOnce(&mut Record)) {
        let event = self.locks[lock].edit(self.now, change);
        self.publish(lock, Some(event));
    }

    /// Whoever leads, and its term.
    #[must_use]
    pub fn leader(&self) -> Option<(&str, u64)> {
        let leads = |replica: &&Replica| replica.elector.as_ref().is_some_and(|it| it.phase() == Phase::Leading);
        let replica = self.replicas.iter().find(leads)?;
        Some((&replica.name, replica.live.as_ref()?.term().get()))
    }

    /// Advances until somebody leads; whether that came within `bound`.
    pub fn await_leader(&mut self, bound: Duration) -> bool {
        let begun = self.now;
        while self.leader().is_none() && self.now - begun < bound {
            self.advance(Duration::from_millis(20));
        }
        self.leader().is_some()
    }

    fn resume(&mut self, node: usize) {
        if !std::mem::take(&mut self.replicas[node].paused) {
            return;
        }
        self.drive(node);
        while let Some(input) = self.replicas[node].inbox.pop_front() {
            self.hand(node, input);
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.numbers += 1;
        self.events.insert((self.now + after, self.numbers), event);
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// When an elector asks to be woken without end and without doing anything.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        let mut idle = 0;
        loop {
            let event_at = self.events.keys().next().map(|(at, _)| *at);
            let wakes =
                self.replicas.iter().enumerate().filter_map(|(node, replica)| Some((replica.wakes_at()?, node)));
            match (event_at, wakes.min()) {
                (Some(at), wake) if at <= until && wake.is_none_or(|(wake_at, _)| at <= wake_at) => {
                    self.now = self.now.max(at);
                    if let Some((_, event)) = self.events.pop_first() {
                        self.happen(event);
                    }
                    idle = 0;
                }
                (_, Some((at, node))) if at <= until => {
                    idle = if at > self.now { 0 } else { idle + 1 };
                    assert!(idle < 100, "{} asks to be woken in the past again and again", self.replicas[node].name);
                    self.now = self.now.max(at);
                    self.drive(node);
                }
                _ => break,
            }
            self.judge_alone();
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { node, process, number, lock, what, answered } => {
                let input = self.arrive(node, process, lock, what);
                if answered {
                    let after = LATENCY + self.chance.milliseconds(0, 40);
                    self.schedule(after, Event::Answer { node, number, input });
                }
            }
            Event::Answer { node, number, input } | Event::TimeOut { node, number, input } => {
                let replica = &mut self.replicas[node];
                let awaited = replica.requests.iter_mut().find(|request| **request == Some(number));
                if let Some(request) =
                    awaited.filter(|_| !replica.cut || matches!(input, Input::ReadFailed(_)) || is_unknown(&input))
                {
                    *request = None;
                    self.hand(node, input);
                }
            }
            Event::Watch { node, process, lock, source, seen } => {
                let replica = &self.replicas[node];
                if replica.process == process && !replica.cut && replica.elector.is_some() {
                    // An empty list only asks for a read.
                    let current = seen.is_some() && self.locks[lock].object == seen && !replica.paused;
                    self.hand(node, Input::Record(lock, source, seen));
                    if current {
                        self.judge_told(node, lock);
                    }
                }
            }
            Event::Drained { node, process, term } => {
                let replica = &self.replicas[node];
                if replica.process == process && replica.live.as_ref().is_some_and(|live| live.term() == term) {
                    self.hand(node, Input::Drained);
                }
            }
            Event::Start { node, process } => {
                if self.replicas[node].process == process {
                    self.start(node);
                }
            }
        }
    }

    fn arrive(&mut self, node: usize, process: u64, lock: usize, what: Request) -> Input {
        match what {
            Request::Read { sent_at } => {
                Input::Record(lock, Source::Quorum { sent_at }, self.locks[lock].object.clone())
            }
            Request::Write { sent_at, attempt, kind, record } => {
                if self.replicas[node].refused[lock] && self.replicas[node].process == process {
                    let refused = Outcome::Refused { code: 403, message: "forbidden by the test".to_owned() };
                    return Input::Wrote(lock, attempt, refused);
                }
                let (outcome, event) = self.locks[lock].commit(self.now, &kind, &record);
                if event.is_some() && self.replicas[node].process == process {
                    self.replicas[node].grounds[lock].push(sent_at.boot);
                }
                self.publish(lock, event);
                Input::Wrote(lock, attempt, outcome)
            }
        }
    }

    fn publish(&mut self, lock: usize, event: Option<WatchEvent>) {
        let Some(WatchEvent { seen, deleted }) = event else { return };
        let source = if deleted { Source::Deleted } else { Source::Watch };
        for node in 0..self.replicas.len() {
            let process = self.replicas[node].process;
            if self.replicas[node].locks.contains(&lock) {
                let after = LATENCY + self.chance.milliseconds(0, 40);
                self.schedule(after, Event::Watch { node, process, lock, source, seen: Some(seen.clone()) });
            }
        }
    }

    /// Hands one input to a process; the clocks are looked at first.
    fn hand(&mut self, node: usize, input: Input) {
        if self.replicas[node].paused {
            self.replicas[node].inbox.push_back(input);
            return;
        }
        self.drive(node);
        let replica = &mut self.replicas[node];
        let now = replica.clocks.read(self.now);
        let part = |lock: usize| replica.locks.iter().position(|held| *held == lock).expect("a lock of its own");
        let Some(elector) = replica.elector.as_mut() else { return };
        match input {
            Input::Record(lock, source, seen) => elector.handle_record(now, part(lock), source, seen),
            Input::ReadFailed(lock) => elector.handle_read_failed(now, part(lock), "timed out".to_owned()),
            Input::Wrote(lock, attempt, outcome) => elector.handle_write(now, part(lock), attempt, outcome),
            Input::Drained => elector.handle_drained(now, false),
        }
        self.drive(node);
    }

    /// Does what a process says, until it says nothing.
    fn drive(&mut self, node: usize) {
        for _ in 0..1000 {
            let replica = &mut self.replicas[node];
            let now = replica.clocks.read(self.now);
            let Some(elector) = replica.elector.as_mut().filter(|_| !replica.paused) else { return };
            if let Some((part, action)) = elector.poll_action(now) {
                self.perform(node, now, part, action);
                continue;
            }
            if elector.phase() == Phase::Finished {
                self.crash(node);
            }
            return;
        }
        panic!("{} never comes to rest", self.replicas[node].name);
    }

    fn perform(&mut self, node: usize, now: Instant, part: usize, action: Action) {
        let lock = self.replicas[node].locks[part];
        match action {
            Action::Read { timeout } => {
                self.send(node, lock, Request::Read { sent_at: now }, timeout, Input::ReadFailed(lock));
            }
            Action::Write(write) => {
                let unknown = Outcome::Unknown { message: "timed out".to_owned() };
                let failed = Input::Wrote(lock, write.attempt.clone(), unknown);
                let request =
                    Request::Write { sent_at: now, attempt: write.attempt, kind: write.kind, record: write.record };
                self.send(node, lock, request, write.timeout, failed);
            }
            Action::ReadPod { .. } => panic!("nobody is told of Pods here"),
            Action::Begin(authority) => {
                let replica = &mut self.replicas[node];
                replica.live = Some(LiveTerm::new(&authority));
                let (name, locks) = (replica.name.clone(), replica.locks.clone());
                self.judge_begin(Begun { term: authority.term.get(), name, locks });
                self.judge_grounds(node, &authority);
            }
            Action::Extend(authority) => {
                self.live(node).extend(&authority);
                self.judge_grounds(node, &authority);
            }
            Action::Cancel { term, .. } => {
                self.live(node).cancel();
                self.end_guests(node, term);
            }
            Action::Kill { .. } => self.live(node).shut_admission(),
            Action::Close { term } => {
                self.live(node).close();
                self.end_guests(node, term);
            }
            Action::Report(report) => self.note(node, lock, &report),
        }
    }

    fn live(&self, node: usize) -> &LiveTerm {
        self.replicas[node].live.as_ref().expect("a running term")
    }

    fn end_guests(&mut self, node: usize, term: Term) {
        let (after, process) = (self.replicas[node].guests, self.replicas[node].process);
        self.schedule(after, Event::Drained { node, process, term });
    }

    fn note(&mut self, node: usize, lock: usize, report: &Report) {
        let what = match report {
            Report::Started { term } => format!("leads in {term}"),
            Report::Stopped { term, why, released } => format!("led in {term}, released {released}: {why}"),
            Report::Warning { message } => format!("warns: {message}"),
            _ => return,
        };
        self.log.push(format!("{:>8.3} {} (lock {lock}) {what}", self.now.as_secs_f64(), self.replicas[node].name));
    }

    fn send(&mut self, node: usize, lock: usize, what: Request, timeout: Duration, failed: Input) {
        self.numbers += 1;
        let (number, now) = (self.numbers, self.now);
        let replica = &mut self.replicas[node];
        assert!(replica.requests[lock].replace(number).is_none(), "one request on a lock at a time");
        let process = replica.process;
        let timeout = replica.clocks.when(replica.clocks.read(now).after(timeout)).saturating_sub(now + ONE);
        let loss = if matches!(what, Request::Write { .. }) { replica.losses.pop_front() } else { None };
        let cut = replica.cut;
        self.schedule(timeout, Event::TimeOut { node, number, input: failed });
        let arrive = |answered| Event::Arrive { node, process, number, lock, what, answered };
        let after = LATENCY + self.chance.milliseconds(0, 40);
        match loss {
            Some(Loss::Late(after)) => self.schedule(after, arrive(false)),
            Some(Loss::Request) => {}
            _ if cut => {}
            Some(Loss::Answer) => self.schedule(after, arrive(false)),
            None => self.schedule(after, arrive(true)),
        }
    }

    /// No two open gates at one instant.
    fn judge_alone(&mut self) {
        let open = self.replicas.iter().filter(|replica| replica.is_open(self.now)).collect::<Vec<_>>();
        if open.len() > 1 {
            let text =
                format!("{:.3}: {} and {} hold authority at once", self.now.as_secs_f64(), open[0].name, open[1].name);
            if self.violations.last() != Some(&text) {
                self.violations.push(text);
            }
        }
    }

    /// Terms only rise, whichever locks they are held by; and each lock says the term.
    fn judge_begin(&mut self, begun: Begun) {
        for lock in &begun.locks {
            let stands = self.locks[*lock].object.as_ref().and_then(|seen| term_of(&seen.record));
            if !self.deleted && stands.is_some_and(|stands| stands < begun.term) {
                self.violations.push(format!("{} leads in {}, and a lock says {stands:?}", begun.name, begun.term));
            }
        }
        if let Some(last) = self.begun.last().filter(|last| last.term >= begun.term && !self.deleted) {
            let text = format!("term {} of {} is not above {} of {}", begun.term, begun.name, last.term, last.name);
            self.violations.push(text);
        }
        self.begun.push(begun);
    }

    /// An authority counts from the sending of a stored write, and no lock was written earlier than that.
    fn judge_grounds(&mut self, node: usize, authority: &Authority) {
        let replica = &self.replicas[node];
        let sent = authority.soft_until.boot.saturating_sub(self.timing.renew());
        let grounds = replica.locks.iter().map(|lock| replica.grounds[*lock].iter().max().copied().unwrap_or_default());
        let grounds = grounds.collect::<Vec<_>>();
        let covered = grounds.iter().all(|ground| *ground >= sent);
        let counted = replica.locks.iter().any(|lock| replica.grounds[*lock].contains(&sent));
        if !covered || !counted {
            let text =
                format!("{} counts its authority from {sent:?}, and its writes were sent at {grounds:?}", replica.name);
            self.violations.push(text);
        }
    }

    /// A watch event showed that one of the locks is another's: then the gate is closed.
    fn judge_told(&mut self, node: usize, lock: usize) {
        let replica = &self.replicas[node];
        let held = self.locks[lock].object.as_ref().is_some_and(|seen| {
            replica.elector.as_ref().is_some_and(|elector| seen.record.holder == elector.identity().as_str())
        });
        if !held && replica.is_open(self.now) {
            self.violations.push(format!("{} keeps its gate open without lock {lock}", replica.name));
        }
    }
}

fn is_unknown(input: &Input) -> bool {
    matches!(input, Input::Wrote(_, _, Outcome::Unknown { .. }))
}

impl Replica {
    fn is_open(&self, now: Duration) -> bool {
        let live = self.live.as_ref().filter(|live| !live.is_closed() && self.elector.is_some());
        live.is_some_and(|live| live.standing(self.clocks.read(now)) != Standing::Closed)
    }

    fn wakes_at(&self) -> Option<Duration> {
        let elector = self.elector.as_ref().filter(|_| !self.paused)?;
        Some(self.clocks.when(elector.poll_timeout()?))
    }
}
