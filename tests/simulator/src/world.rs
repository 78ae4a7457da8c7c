//! Several candidates around one API server, on machines with clocks of their own. Time is the world's and passes only when
//! told to; every run of the same commands is the same. Knows which event comes next and what the network does with a
//! request; what a process does is in `driver`.

use std::collections::BTreeMap;
use std::time::Duration;

use tenure_election::{
    Attempt, Elector, Identity, Instant, LiveTerm, Outcome, Record, Seen, Settings, Source, Term, WriteKind,
};

use crate::api::{Api, WatchEvent};
use crate::chance::Chance;
use crate::client_go::{Ask, ClientGo, Knobs, Told};
use crate::judge::{Judge, LockWrite, Meddling, Open};
use crate::machine::{Clocks, Fate, Watching};
use crate::policy::Candidacy;
use crate::process::{Candidate, Input, Node, Ours, Pending, Recipe};

/// From a machine to the API server, and back, at least.
pub const LATENCY: Duration = Duration::from_millis(1);

/// What a clock is read late by, so that it has come to its reading.
const ONE: Duration = Duration::from_nanos(1);

/// Wall clocks start here, so that first terms are short to read.
pub const WALL_START: Duration = Duration::from_secs(100);

/// What happens at some time.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Arrive { node: usize, sent: Sent, answered: bool, again: bool },
    Answer { node: usize, number: u64, answer: Answer },
    TimeOut { node: usize, number: u64 },
    Watch { node: usize, source: Source, seen: Option<Seen>, epoch: u64 },
    Drained { node: usize, process: u64, term: Term },
    Abort { node: usize, process: u64, term: Term },
    Start { node: usize, process: u64 },
    Work { node: usize, process: u64 },
    Look { node: usize, write: PluginWrite },
    Land { node: usize, write: PluginWrite, answered: bool },
    Settled { node: usize, write: PluginWrite, refused_for: Option<u64> },
    KubeletLooks { node: usize, process: u64, started: Duration },
    KubeletWrites { node: usize },
    PodAsked { node: usize, process: u64, pod: String },
    PodTold { node: usize, process: u64, answer: Input },
    AskPolicy { node: usize, process: u64 },
    Candidacy { name: String, campaigns: Option<bool> },
    ShowCandidacy { node: usize, name: String, candidacy: Option<Candidacy> },
}

/// A request on its way.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    number: u64,
    process: u64,
    what: Request,
    fate: Option<Fate>,
    /// How often the store had been restored when what the request is prepared on was told.
    epoch: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Request {
    Read { sent_at: Instant },
    Write { sent_at: Instant, attempt: Attempt, kind: WriteKind, record: Record },
    ClientGo(Ask),
}

#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Ours(Input),
    ClientGo(Told),
}

/// A plugin's write through the gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PluginWrite {
    pub(crate) by: Open,
    pub(crate) admitted_at: Duration,
}

/// How the network does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network {
    /// Latency varies by up to this.
    pub spread: Duration,
    /// Whether plugins write while their host leads.
    pub plugins_write: bool,
    /// Whether the driver's rule that unconfirmed guests abort the process holds.
    pub aborts: bool,
}

/// The whole.
#[derive(Debug)]
pub struct World {
    /// The true time.
    pub now: Duration,
    /// The API server.
    pub api: Api,
    /// How often its store was restored.
    pub epoch: u64,
    /// The machines.
    pub nodes: Vec<Node>,
    /// The network.
    pub network: Network,
    /// What was seen, as text; written only where `tracing`.
    pub log: Vec<String>,
    /// Whether the log is written.
    pub tracing: bool,
    /// The oracles.
    pub judge: Judge,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    pub(crate) chance: Chance,
    pub(crate) history: Vec<(WatchEvent, u64)>,
    held: Vec<(usize, Event)>,
    events: BTreeMap<(Duration, u64), Event>,
    numbers: u64,
    violations_told: usize,
}

impl World {
    /// An empty one; `seed` is for latencies and what else is left to chance.
    #[must_use]
    pub fn new(seed: u64, tracing: bool) -> Self {
        Self {
            now: Duration::ZERO,
            api: Api::default(),
            epoch: 0,
            nodes: Vec::new(),
            network: Network::default(),
            log: Vec::new(),
            tracing,
            judge: Judge::default(),
            faults: BTreeMap::new(),
            chance: Chance::new(seed),
            history: Vec::new(),
            held: Vec::new(),
            events: BTreeMap::new(),
            numbers: 0,
            violations_told: 0,
        }
    }

    /// The machine of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// A new machine.
    pub fn add_machine(&mut self, name: &str, rate: u64) -> usize {
        let boot = Duration::from_secs(1000 * (1 + self.nodes.len() as u64));
        self.nodes.push(Node::new(name, Clocks::new(self.now, boot, WALL_START + self.now, rate)));
        self.nodes.len() - 1
    }

    fn place(&mut self, node: usize, identity: &str, candidate: Candidate) {
        self.note_ended(node);
        self.numbers += 1;
        let process = self.numbers;
        let machine = &mut self.nodes[node];
        machine.request = None;
        (machine.ends, machine.paused) = (false, false);
        machine.inbox.clear();
        machine.told.clear();
        identity.clone_into(&mut machine.identity);
        machine.process = process;
        machine.candidate = candidate;
        if self.network.plugins_write {
            self.schedule(Duration::ZERO, Event::Work { node, process });
        }
        if self.nodes[node].policy.is_some() {
            self.schedule(LATENCY, Event::AskPolicy { node, process });
            self.list_candidacies(node);
        }
        self.note_started(node);
        self.drive(node);
    }

    /// A process of ours starts on a machine; what ran there is killed.
    ///
    /// # Panics
    /// When `identity` is none.
    pub fn start(&mut self, node: usize, identity: &str, settings: Settings, seed: u64) {
        let name = Identity::new(identity).expect("an identity");
        let settings = self.contained(node, settings);
        let elector = Elector::new(settings.clone(), name, seed);
        self.nodes[node].recipe = Recipe::Ours(settings.clone());
        self.place(node, identity, Candidate::Ours(Box::new(Ours::new(elector, settings, self.now))));
        if self.nodes[node].link.watching == Watching::Forbidden {
            self.forbid_watch(node);
        }
    }

    /// A process like client-go's starts on a machine; what ran there is killed.
    pub fn start_client_go(&mut self, node: usize, identity: &str, knobs: Knobs, seed: u64) {
        self.nodes[node].recipe = Recipe::ClientGo(knobs);
        self.place(node, identity, Candidate::ClientGo(Box::new(ClientGo::new(identity, knobs, seed))));
    }

    /// The process on a machine is killed; `back` later the same starts anew.
    pub fn crash(&mut self, node: usize, back: Duration) {
        self.note_ended(node);
        let process = self.nodes[node].process;
        self.note(node, || format!("is gone, and starts again in {back:?}"));
        self.schedule(back, Event::Start { node, process });
        let machine = &mut self.nodes[node];
        machine.candidate = Candidate::Down;
        machine.request = None;
    }

    /// Writes a line down.
    pub fn note(&mut self, node: usize, text: impl FnOnce() -> String) {
        if self.tracing {
            let line = format!("{:>8.3} {} {}", self.now.as_secs_f64(), self.nodes[node].name, text());
            self.log.push(line);
        }
    }

    /// Writes down what concerns no machine.
    pub fn note_all(&mut self, text: impl FnOnce() -> String) {
        if self.tracing {
            self.log.push(format!("{:>8.3} {}", self.now.as_secs_f64(), text()));
        }
    }

    /// The next number: of requests, processes, events.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn schedule(&mut self, after: Duration, event: Event) {
        let number = self.number();
        self.events.insert((self.now + after, number), event);
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
            let wakes = self.nodes.iter().enumerate();
            let wake = wakes.filter_map(|(node, machine)| Some((machine.wakes_at()?, node))).min();
            match (event_at, wake) {
                (Some(at), wake) if at <= until && wake.is_none_or(|(wake_at, _)| at <= wake_at) => {
                    self.now = self.now.max(at);
                    if let Some((_, event)) = self.events.pop_first() {
                        self.happen(event);
                    }
                    idle = 0;
                }
                (_, Some((at, node))) if at <= until => {
                    idle = if at > self.now { 0 } else { idle + 1 };
                    assert!(idle < 100, "{} asks to be woken in the past again and again", self.nodes[node].name);
                    self.now = self.now.max(at);
                    self.drive(node);
                }
                _ => break,
            }
            self.look_on();
        }
        self.now = until;
    }

    /// The oracles look at all gates.
    pub fn look_on(&mut self) {
        let mut open = Vec::new();
        let mut working = 0;
        for node in &self.nodes {
            if let Some(term) = node.open_term(self.now) {
                open.push(Open { process: node.process, term });
            }
            working += usize::from(node.client_go().is_some_and(ClientGo::is_working) && !node.paused);
        }
        if open.len() > 1 {
            self.judge.judge_alone(self.now, &open);
        }
        self.judge.note_working(self.now, working);
        for text in &self.judge.violations[self.violations_told..] {
            self.log.push(format!("{:>8.3} !! {text}", self.now.as_secs_f64()));
        }
        self.violations_told = self.judge.violations.len();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { node, sent, answered, again } => self.arrive(node, sent, answered, again),
            Event::Answer { node, number, answer } => {
                if self.nodes[node].link.back_cut {
                    self.hold_or_lose(node, Event::Answer { node, number, answer });
                } else if self.nodes[node].request.as_ref().is_some_and(|request| request.number == number) {
                    self.nodes[node].request = None;
                    match answer {
                        Answer::Ours(input) => self.hand(node, input),
                        Answer::ClientGo(told) => self.tell(node, told),
                    }
                }
            }
            Event::TimeOut { node, number } => {
                if let Some(request) = self.nodes[node].request.take_if(|request| request.number == number) {
                    match request.failed {
                        Some(input) => self.hand(node, input),
                        None => self.tell(node, Told::Nothing),
                    }
                }
            }
            Event::Watch { node, source, seen, epoch } => self.show(node, source, seen, epoch),
            Event::Drained { node, process, term } => self.confirm(node, process, term),
            Event::Abort { node, process, term } => self.abort_unconfirmed(node, process, term),
            Event::Start { node, process } => {
                if self.nodes[node].process == process {
                    self.restart(node);
                }
            }
            Event::Work { node, process } => self.work(node, process),
            Event::Look { node, write } => self.look_last(node, write),
            Event::Land { node, write, answered } => self.land(node, write, answered),
            Event::Settled { node, write, refused_for } => self.settle(node, write, refused_for),
            Event::KubeletLooks { node, process, started } => self.kubelet_looks(node, process, started),
            Event::KubeletWrites { node } => self.kubelet_writes(node),
            Event::PodAsked { node, process, pod } => self.answer_pod(node, process, &pod),
            Event::PodTold { node, process, answer } => self.tell_of_pod(node, process, answer),
            Event::AskPolicy { node, process } => self.ask_policy(node, process),
            Event::Candidacy { name, campaigns } => self.store_candidacy(&name, campaigns),
            Event::ShowCandidacy { node, name, candidacy } => self.show_candidacy(node, &name, candidacy),
        }
    }

    /// What is sent on a way that is cut waits for it to heal, or is lost.
    fn hold_or_lose(&mut self, node: usize, event: Event) {
        if self.nodes[node].link.holds {
            self.held.push((node, event));
        }
    }

    /// Both ways are open again; what waited is sent on.
    pub fn heal(&mut self, node: usize) {
        let link = &mut self.nodes[node].link;
        (link.out_cut, link.back_cut) = (false, false);
        let (sent_on, held) = std::mem::take(&mut self.held).into_iter().partition(|(whose, _)| *whose == node);
        self.held = held;
        let sent_on: Vec<(usize, Event)> = sent_on;
        for (_, event) in sent_on {
            let after = self.latency();
            self.schedule(after, event);
        }
    }

    /// Forgets what is still on the network, so that the faults are over.
    pub fn clear_network(&mut self) {
        self.held.clear();
        let pending = self.nodes.iter().filter_map(|node| node.request.as_ref().map(|request| request.number));
        let pending = pending.collect::<Vec<_>>();
        let soon = self.now + Duration::from_millis(100);
        self.events.retain(|(at, _), event| match event {
            Event::Arrive { sent, .. } => pending.contains(&sent.number) && *at <= soon,
            Event::Watch { .. } => *at <= soon,
            _ => true,
        });
    }

    pub(crate) fn latency(&mut self) -> Duration {
        let spread = self.network.spread;
        if spread.is_zero() {
            return LATENCY;
        }
        // Most are quick; one in sixteen takes up to the spread.
        let most = if self.chance.one_in(16) { spread } else { spread / 20 };
        LATENCY + self.chance.between(Duration::ZERO, most)
    }

    pub(crate) fn send(&mut self, node: usize, what: Request, timeout: Duration, failed: Option<Input>) {
        let number = self.number();
        let write = matches!(what, Request::Write { .. } | Request::ClientGo(Ask::Write { .. }));
        let machine = &mut self.nodes[node];
        assert!(machine.request.is_none(), "one request at a time");
        machine.request = Some(Pending { number, failed });
        let fate = if write { machine.link.fates.pop_front() } else { None };
        let epoch = machine.ours().map_or(self.epoch, |ours| ours.known.epoch);
        let sent = Sent { number, process: machine.process, what, fate, epoch };
        let clocks = &self.nodes[node].clocks;
        let timeout = clocks.when(clocks.read(self.now).after(timeout)).saturating_sub(self.now + ONE);
        self.schedule(timeout, Event::TimeOut { node, number });
        let latency = self.latency();
        let arrive = |answered| Event::Arrive { node, sent: sent.clone(), answered, again: false };
        match fate {
            Some(Fate::Delay(after)) => self.schedule(after, arrive(false)),
            _ if self.nodes[node].link.out_cut => self.hold_or_lose(node, arrive(true)),
            Some(Fate::LoseAnswer) => self.schedule(latency, arrive(false)),
            Some(Fate::LoseRequest) => {}
            Some(Fate::Replay(after)) => {
                self.schedule(latency, arrive(true));
                self.schedule(
                    latency + after,
                    Event::Arrive { node, sent: sent.clone(), answered: false, again: true },
                );
            }
            Some(Fate::FalseConflict | Fate::Busy | Fate::Unchanged | Fate::BusyAfterCommit) | None => {
                self.schedule(latency, arrive(true))
            }
        }
    }

    fn arrive(&mut self, node: usize, sent: Sent, answered: bool, again: bool) {
        let Sent { number, process, fate, epoch, .. } = sent;
        let answer = match sent.what {
            Request::Read { sent_at } => {
                let seen = self.api.object.clone();
                Answer::Ours(Input::Record(Source::Quorum { sent_at }, seen, self.epoch))
            }
            Request::Write { attempt, kind, record, sent_at } => {
                let outcome = self.commit(node, (process, true), fate.filter(|_| !again), epoch, &kind, &record);
                if let (Outcome::Stored { .. }, Some(ours)) = (&outcome, self.nodes[node].ours_mut()) {
                    ours.grounds.push(sent_at.boot);
                }
                self.note_outcome(node, &kind, &outcome, answered);
                let outcome = match fate {
                    Some(Fate::BusyAfterCommit) => Outcome::Unknown { message: "500 from the test".to_owned() },
                    _ => outcome,
                };
                Answer::Ours(Input::Wrote(attempt, outcome, self.epoch))
            }
            Request::ClientGo(Ask::Read) => Answer::ClientGo(Told::Object(self.api.object.clone())),
            Request::ClientGo(Ask::Write { kind, record }) => {
                let outcome = self.commit(node, (process, false), fate.filter(|_| !again), epoch, &kind, &record);
                self.note_foreign(node, &record, &outcome);
                Answer::ClientGo(match fate {
                    Some(Fate::BusyAfterCommit) => Told::Nothing,
                    _ => Told::Wrote(outcome),
                })
            }
        };
        if answered {
            let after = self.latency();
            self.schedule(after, Event::Answer { node, number, answer });
        }
    }

    fn commit(
        &mut self,
        node: usize,
        (process, ours): (u64, bool),
        fate: Option<Fate>,
        epoch: u64,
        kind: &WriteKind,
        record: &Record,
    ) -> Outcome {
        match (fate, self.nodes[node].link.refusal) {
            (Some(Fate::FalseConflict), _) => return Outcome::Conflict,
            (Some(Fate::Busy), _) => return Outcome::Unknown { message: "429 from the test".to_owned() },
            (Some(Fate::Unchanged), _) => {
                let unchanged = |seen: &Seen| Outcome::Stored { seen: seen.clone(), created: false };
                return self.api.object.as_ref().map_or(Outcome::Conflict, unchanged);
            }
            (_, Some(code)) => return Outcome::Refused { code, message: "forbidden by the test".to_owned() },
            _ => {}
        }
        let base = self.api.object.clone();
        let (outcome, event) = self.api.commit(self.now, kind, record);
        if event.is_some() {
            if epoch < self.epoch && !matches!(kind, WriteKind::Create) {
                self.judge.note_meddling(self.now, Meddling::Collided);
            }
            let write = LockWrite { now: self.now, process, ours, kind, record, base: base.as_ref() };
            self.judge.take_lock_write(&write);
            self.judge.note_state(self.now, base.as_ref(), self.api.object.as_ref(), false);
            if let (false, true, Some(base)) = (ours, record.holder.is_empty(), &base) {
                let by = self.nodes[node].identity.clone();
                self.judge.take_client_go_release(&by, base);
            }
        }
        self.publish(event);
        outcome
    }

    /// Tells every watch.
    pub fn publish(&mut self, event: Option<WatchEvent>) {
        let Some(event) = event else { return };
        self.history.push((event.clone(), self.epoch));
        let source = if event.deleted { Source::Deleted } else { Source::Watch };
        for node in 0..self.nodes.len() {
            let after = self.latency() + self.nodes[node].link.watch_delay;
            self.schedule(after, Event::Watch { node, source, seen: Some(event.seen.clone()), epoch: self.epoch });
        }
    }

    /// What a watch that is opened anew sends first.
    pub fn send_current(&mut self, node: usize) {
        let seen = self.api.object.clone();
        self.send_watch(node, Source::Watch, seen);
        self.list_candidacies(node);
    }

    /// Sends an event once more, or one of one's own.
    pub fn send_watch(&mut self, node: usize, source: Source, seen: Option<Seen>) {
        self.schedule(LATENCY, Event::Watch { node, source, seen, epoch: self.epoch });
    }

    fn show(&mut self, node: usize, source: Source, seen: Option<Seen>, epoch: u64) {
        let machine = &self.nodes[node];
        if machine.link.back_cut || machine.link.watching != Watching::Works {
            return;
        }
        // Judged is what the lock says at this moment; after a restore an event may be from a past that is none.
        let current = seen.clone().filter(|seen| self.epoch == 0 && self.api.object.as_ref() == Some(seen));
        self.hand(node, Input::Record(source, seen, epoch));
        let machine = &self.nodes[node];
        let Some(seen) = current.filter(|seen| !machine.paused && !self.judge.is_own(machine.process, &seen.record))
        else {
            return;
        };
        if let Some(term) = machine.open_term(self.now) {
            let name = machine.name.clone();
            self.judge.judge_told(&name, &seen.record.holder, term);
        }
    }

    /// The running term of a machine.
    #[must_use]
    pub fn live(&self, node: usize) -> Option<&LiveTerm> {
        self.nodes[node].ours()?.live.as_ref()
    }
}
