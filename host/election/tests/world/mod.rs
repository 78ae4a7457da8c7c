//! Several electors around one API object, on machines with clocks of their own. Time is the world's and passes only when
//! told to; every run of the same commands is the same.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of the world")]

pub mod api;
pub mod commands;
pub mod node;

use std::collections::BTreeMap;
use std::time::Duration;

use tenure_election::{
    Action, Attempt, Elector, Identity, Instant, LiveTerm, Outcome, Record, Report, Seen, Settings, Source, Term,
    Write, WriteKind,
};

use api::{Api, WatchEvent};
use node::{Fate, Guests, Input, Node, Watching};

/// From a machine to the API server, and back.
const LATENCY: Duration = Duration::from_millis(1);

/// Wall clocks start here, so that first terms are short to read.
pub const WALL_START: Duration = Duration::from_secs(100);

#[derive(Debug, Clone)]
enum Event {
    Commit { node: String, number: u64, request: Request, answer: bool },
    Answer { node: String, number: u64, input: Input },
    TimeOut { node: String, number: u64 },
    Watch { node: String, source: Source, seen: Option<Seen> },
    Drained { node: String, term: Term },
}

#[derive(Debug, Clone)]
enum Request {
    Read { sent_at: Instant },
    Write(Write),
}

#[derive(Default)]
pub struct World {
    pub now: Duration,
    pub api: Api,
    pub nodes: BTreeMap<String, Node>,
    pub log: Vec<String>,
    /// What the oracles found.
    pub violations: Vec<String>,
    pub begun: Vec<(Duration, String, Term)>,
    pub watch_delay: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    numbers: u64,
    history: Vec<WatchEvent>,
}

impl World {
    pub fn start(&mut self, name: &str, identity: &str, settings: Settings, seed: u64, rate: u64) {
        let identity = Identity::new(identity).expect("an identity");
        let elector = Elector::new(settings, identity, seed);
        let boot_offset = Duration::from_secs(1000 * (1 + self.nodes.len() as u64));
        self.nodes.insert(name.to_owned(), Node::new(elector, boot_offset, WALL_START, rate));
        self.drive(name);
    }

    pub fn note(&mut self, node: &str, text: &str) {
        self.log.push(format!("{:>8.3} {node} {text}", self.now.as_secs_f64()));
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.numbers += 1;
        self.events.insert((self.now + after, self.numbers), event);
    }

    pub fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        loop {
            let event_at = self.events.keys().next().map(|(at, _)| *at);
            let wake = self
                .nodes
                .iter()
                .filter(|(_, node)| !node.paused)
                .filter_map(|(name, node)| Some((node.when(node.elector.poll_timeout()?), name.clone())))
                .min();
            match (event_at, wake) {
                (Some(at), wake) if at <= until && wake.as_ref().is_none_or(|(wake_at, _)| at <= *wake_at) => {
                    self.now = self.now.max(at);
                    let (_, event) = self.events.pop_first().expect("there is one");
                    self.happen(event);
                }
                (_, Some((at, name))) if at <= until => {
                    assert!(at > self.now || !self.is_spinning(&name), "{name} wants to be woken in the past");
                    self.now = self.now.max(at);
                    self.drive(&name);
                }
                _ => break,
            }
        }
        self.now = until;
    }

    /// A wake-up in the past must lead to something, or the driver would spin.
    fn is_spinning(&mut self, name: &str) -> bool {
        let before = self.log.len();
        let wanted = self.nodes[name].elector.poll_timeout();
        self.drive(name);
        self.log.len() == before && self.nodes[name].elector.poll_timeout() == wanted
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Commit { node, number, request, answer } => self.commit(&node, number, request, answer),
            Event::Answer { node, number, input } => {
                if self.nodes[&node].request.as_ref().is_some_and(|(under_way, _)| *under_way == number) {
                    self.nodes.get_mut(&node).expect("known").request = None;
                    self.hand(&node, input);
                }
            }
            Event::TimeOut { node, number } => {
                let machine = self.nodes.get_mut(&node).expect("known");
                if let Some((_, input)) = machine.request.take_if(|(under_way, _)| *under_way == number) {
                    self.hand(&node, input);
                }
            }
            Event::Watch { node, source, seen } => {
                if !self.nodes[&node].partitioned && self.nodes[&node].watching == Watching::Works {
                    self.hand(&node, Input::Record(source, seen));
                }
            }
            Event::Drained { node, term } => {
                if self.nodes[&node].live.as_ref().is_some_and(|live| live.term() == term) {
                    self.hand(&node, Input::Drained(false));
                }
            }
        }
    }

    fn commit(&mut self, node: &str, number: u64, request: Request, answer: bool) {
        let input = match request {
            Request::Read { sent_at } => Input::Record(Source::Quorum { sent_at }, self.api.object.clone()),
            Request::Write(write) => {
                let outcome = match self.nodes[node].refusal {
                    Some(code) => Outcome::Refused { code, message: "forbidden by the test".to_owned() },
                    None => {
                        let (outcome, event) = self.api.commit(&write);
                        self.publish(event);
                        outcome
                    }
                };
                match &outcome {
                    Outcome::Conflict => self.note(node, "<- conflict"),
                    Outcome::Refused { code, .. } => self.note(node, &format!("<- {code}")),
                    Outcome::Stored { created: true, .. } if write.kind != WriteKind::Create => {
                        self.note(node, "<- 201")
                    }
                    Outcome::Stored { .. } if !answer => self.note(node, "is stored, unknown to it"),
                    Outcome::Stored { .. } | Outcome::Unknown { .. } => {}
                }
                Input::Wrote(write.attempt, outcome)
            }
        };
        if answer {
            self.schedule(LATENCY, Event::Answer { node: node.to_owned(), number, input });
        }
    }

    /// Tells every watch.
    pub fn publish(&mut self, event: Option<WatchEvent>) {
        let Some(event) = event else { return };
        self.history.push(event.clone());
        let source = if event.deleted { Source::Deleted } else { Source::Watch };
        for node in self.nodes.keys().cloned().collect::<Vec<_>>() {
            let after = LATENCY + self.watch_delay;
            self.schedule(after, Event::Watch { node, source, seen: Some(event.seen.clone()) });
        }
    }

    /// What a reconnected watch sends first.
    pub fn send_current(&mut self, node: &str) {
        let seen = self.api.object.clone();
        self.schedule(LATENCY, Event::Watch { node: node.to_owned(), source: Source::Watch, seen });
    }

    /// Sends an event once more, or one of one's own.
    pub fn send_watch(&mut self, node: &str, source: Source, seen: Option<Seen>) {
        self.schedule(LATENCY, Event::Watch { node: node.to_owned(), source, seen });
    }

    pub fn hand(&mut self, name: &str, input: Input) {
        let now = self.now;
        let node = self.nodes.get_mut(name).expect("a node of that name");
        if node.paused {
            node.inbox.push_back(input);
            return;
        }
        let clock = node.clock(now);
        node.hand(clock, input);
        self.drive(name);
    }

    pub fn resume(&mut self, name: &str) {
        let now = self.now;
        let node = self.nodes.get_mut(name).expect("a node of that name");
        node.paused = false;
        let inbox = std::mem::take(&mut node.inbox);
        let clock = node.clock(now);
        node.elector.handle_timeout(clock);
        self.drive(name);
        for input in inbox {
            self.hand(name, input);
        }
    }

    /// Does what the elector says, until it says nothing.
    pub fn drive(&mut self, name: &str) {
        let now = self.now;
        for _ in 0..1000 {
            let node = self.nodes.get_mut(name).expect("a node of that name");
            if node.paused {
                return;
            }
            let clock = node.clock(now);
            match node.elector.poll_action(clock) {
                Some(action) => self.perform(name, clock, action),
                None => return,
            }
        }
        panic!("{name} never comes to rest");
    }

    fn perform(&mut self, name: &str, clock: Instant, action: Action) {
        match action {
            Action::Read { timeout } => {
                let failed = Input::ReadFailed("timed out".to_owned());
                self.send(name, Request::Read { sent_at: clock }, timeout, failed);
            }
            Action::Write(write) => {
                self.note_write(name, &write);
                let unknown = Outcome::Unknown { message: "timed out".to_owned() };
                let failed = Input::Wrote(write.attempt.clone(), unknown);
                self.send(name, Request::Write(write.clone()), write.timeout, failed);
            }
            Action::Begin(authority) => {
                self.note(name, &format!("begins term {}", authority.term));
                self.judge_begin(name, authority.term);
                self.nodes.get_mut(name).expect("known").live = Some(LiveTerm::new(&authority));
                self.judge_alone(name);
            }
            Action::Extend(authority) => {
                if self.nodes[name].verbose {
                    let left = authority.hard_until.boot - clock.boot;
                    self.note(name, &format!("extends term {}, {left:?} left", authority.term));
                }
                self.nodes[name].live.as_ref().expect("a running term").extend(&authority);
                self.judge_alone(name);
            }
            Action::Cancel { term, drain, kill_at } => {
                let left = kill_at.boot - clock.boot;
                self.note(name, &format!("cancels term {term} ({drain:?}), {left:?} to the kill"));
                self.nodes[name].live.as_ref().expect("a running term").cancel();
                self.end_guests(name, term);
            }
            Action::Kill { term } => {
                self.note(name, &format!("kills guests of term {term}"));
                self.nodes[name].live.as_ref().expect("a running term").shut_admission();
            }
            Action::Close { term } => {
                self.note(name, &format!("closes term {term}"));
                self.nodes[name].live.as_ref().expect("a running term").close();
                self.end_guests(name, term);
            }
            Action::Report(report) => self.note_report(name, clock, &report),
        }
    }

    fn end_guests(&mut self, name: &str, term: Term) {
        if let Guests::End(after) = self.nodes[name].guests {
            self.schedule(after, Event::Drained { node: name.to_owned(), term });
        }
    }

    fn send(&mut self, name: &str, request: Request, timeout: Duration, failed: Input) {
        self.numbers += 1;
        let number = self.numbers;
        let write = matches!(request, Request::Write(_));
        let node = self.nodes.get_mut(name).expect("known");
        assert!(node.request.is_none(), "one request at a time");
        node.request = Some((number, failed));
        let fate = if write { node.fates.pop_front() } else { None };
        let (after, answer, arrives) = match fate {
            Some(Fate::Delay(after)) => (after, false, true),
            _ if node.partitioned => (LATENCY, false, false),
            Some(Fate::LoseAnswer) => (LATENCY, false, true),
            Some(Fate::LoseRequest) => (LATENCY, false, false),
            None => (LATENCY, true, true),
        };
        let node = name.to_owned();
        self.schedule(timeout, Event::TimeOut { node: node.clone(), number });
        if arrives {
            self.schedule(after, Event::Commit { node, number, request, answer });
        }
    }

    fn note_write(&mut self, name: &str, write: &Write) {
        let Attempt { number, .. } = write.attempt;
        let record = &write.record;
        let on = match &write.kind {
            WriteKind::Create => "nothing".to_owned(),
            WriteKind::Replace { uid, version } => format!("{uid}@{version}"),
        };
        let held = self.nodes[name].elector.authority().is_some();
        let what = match (record.holder.is_empty(), record.annotations.get(Record::RELEASED)) {
            (false, _) if held && !self.nodes[name].verbose => return,
            (false, _) if held => "renews".to_owned(),
            (false, _) => format!("acquires as {}", record.annotations[Record::TERM]),
            (true, Some(mark)) => format!("releases {mark}"),
            (true, None) => "makes the lock, unheld,".to_owned(),
        };
        self.note(name, &format!("{what} on {on} (#{number}, transitions {})", record.transitions));
    }

    fn note_report(&mut self, name: &str, clock: Instant, report: &Report) {
        let text = match report {
            Report::Started { .. } => return,
            Report::Stopped { term, why, released } => {
                format!("stopped leading {term}{}: {why}", if *released { ", released" } else { "" })
            }
            Report::NewHolder { holder } => format!("sees holder {holder:?}"),
            Report::Waiting { why, until } => {
                format!("waits {:?}: {why}", until.boot - clock.boot)
            }
            Report::Warning { message } => format!("warns: {message}"),
            Report::SlowPath { why } => format!("slow path: {why}"),
        };
        self.note(name, &text);
    }

    /// Terms never fall.
    fn judge_begin(&mut self, name: &str, term: Term) {
        if let Some((_, other, last)) = self.begun.iter().max_by_key(|(_, _, term)| *term)
            && *last >= term
        {
            let text = format!("term {term} of {name} is not above {last} of {other}");
            self.violate(text);
        }
        self.begun.push((self.now, name.to_owned(), term));
    }

    /// No two authorities are open at one instant. They open only here, so this is where it is looked at.
    fn judge_alone(&mut self, name: &str) {
        let now = self.now;
        let others = self.nodes.iter().filter(|(other, node)| *other != name && node.is_open(now));
        let others = others.map(|(other, _)| other.clone()).collect::<Vec<_>>();
        if !others.is_empty() && self.nodes[name].is_open(now) {
            self.violate(format!("{name} and {} hold authority at once", others.join(", ")));
        }
    }

    fn violate(&mut self, text: String) {
        self.log.push(format!("{:>8.3} !! {text}", self.now.as_secs_f64()));
        self.violations.push(text);
    }
}
