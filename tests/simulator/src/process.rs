//! The processes: one of ours (an elector, its running term, its guests), or one like client-go. What the driver does around
//! an elector is in `driver`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tenure_election::{
    Attempt, Elector, Instant, LiveTerm, Outcome, PeerSeen, Phase, PodSeen, Record, Seen, Settings, Source, Standing,
    Token, Verdict,
};

use crate::client_go::{ClientGo, Knobs, Told};
use crate::kubelet::Kubelet;
use crate::machine::{Clocks, Link};
use crate::policy::{Candidacies, Policy};

/// What waits to be handed to an elector.
#[derive(Debug, Clone)]
pub enum Input {
    /// News of the lock; with the restore count of the store it was told by.
    Record(Source, Option<Seen>, u64),
    /// A read that failed.
    ReadFailed(String),
    /// How a write ended; with the restore count.
    Wrote(Attempt, Outcome, u64),
    /// Guests are gone.
    Drained(bool),
    /// A write was refused for a larger token.
    Token(Token),
    /// What the lock policy says.
    Verdict(Verdict),
    /// Another's candidate Lease.
    Peer(String, Option<PeerSeen>),
    /// A Pod that was asked for.
    Pod(Option<PodSeen>),
    /// A Pod that could not be read; whether it is forbidden.
    PodFailed(bool, String),
}

/// How long guests take to end once they are told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guests {
    /// So long.
    End(Duration),
    /// Until somebody says so.
    Stay,
}

/// What a process of ours has come to know, as far as the oracles' exceptions depend on it.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    /// The highest version of the lock in the store it last heard from, since that was restored.
    pub version_max: u64,
    /// The terms it has seen in the lock, or begun itself, with the longest lease duration it saw under each, in seconds.
    pub terms: BTreeMap<u64, u32>,
    /// How often the store it last heard from had been restored.
    pub epoch: u64,
}

/// A process of ours.
#[derive(Debug)]
pub struct Ours {
    /// The real one.
    pub elector: Elector,
    /// Its settings.
    pub settings: Settings,
    /// The running term, or the last.
    pub live: Option<LiveTerm>,
    /// Whether the guests of the last term are confirmed gone.
    pub confirmed: bool,
    /// When it started, by the true time.
    pub started_at: Duration,
    /// The boot readings at which its writes were sent that were stored.
    pub grounds: Vec<Duration>,
    /// The plugin's writes that have had no answer yet.
    pub admitted: u32,
    /// While writes of the gate may be on the network without an answer.
    pub unanswered_until: Duration,
    /// What it knows.
    pub known: Knowledge,
    /// What it knows of candidate Leases.
    pub candidacies: Candidacies,
}

/// What runs on a machine.
#[derive(Debug)]
pub enum Candidate {
    /// One of ours.
    Ours(Box<Ours>),
    /// One like client-go.
    ClientGo(Box<ClientGo>),
    /// Nothing at the moment.
    Down,
}

/// What is started on a machine, again after a crash.
#[derive(Debug, Clone)]
pub enum Recipe {
    /// Nothing yet.
    Nothing,
    /// One of ours.
    Ours(Settings),
    /// One like client-go.
    ClientGo(Knobs),
}

/// A request under way: its number, and what it asked for.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Counts all requests of the world.
    pub number: u64,
    /// What to hand in when there is no answer; absent for client-go.
    pub failed: Option<Input>,
}

/// A machine and the process on it.
#[derive(Debug)]
pub struct Node {
    /// The machine's name.
    pub name: String,
    /// The name given to its process.
    pub identity: String,
    /// Which process this is; counts all of the world.
    pub process: u64,
    /// What runs.
    pub candidate: Candidate,
    /// What is to run.
    pub recipe: Recipe,
    /// The machine's clocks.
    pub clocks: Clocks,
    /// The way to the API server.
    pub link: Link,
    /// What tells of its containers.
    pub kubelet: Kubelet,
    /// The lock policy of its process, if it has one.
    pub policy: Option<Policy>,
    /// Whether the process was asked to end.
    pub ends: bool,
    /// Whether the process is stopped.
    pub paused: bool,
    /// How its guests behave.
    pub guests: Guests,
    /// What came while it was stopped.
    pub inbox: VecDeque<Input>,
    /// The same for client-go.
    pub told: VecDeque<Told>,
    /// The request under way.
    pub request: Option<Pending>,
    /// Whether Extend and plain renewals are written down.
    pub verbose: bool,
}

impl Node {
    /// A machine on which nothing runs yet.
    #[must_use]
    pub fn new(name: &str, clocks: Clocks) -> Self {
        Self {
            name: name.to_owned(),
            identity: name.to_owned(),
            process: 0,
            candidate: Candidate::Down,
            recipe: Recipe::Nothing,
            clocks,
            link: Link::default(),
            kubelet: Kubelet::new(name),
            policy: None,
            ends: false,
            paused: false,
            guests: Guests::End(Duration::from_millis(10)),
            inbox: VecDeque::new(),
            told: VecDeque::new(),
            request: None,
            verbose: false,
        }
    }

    /// The process, if it is ours.
    #[must_use]
    pub fn ours(&self) -> Option<&Ours> {
        if let Candidate::Ours(ours) = &self.candidate { Some(ours) } else { None }
    }

    /// The process, if it is ours.
    pub fn ours_mut(&mut self) -> Option<&mut Ours> {
        if let Candidate::Ours(ours) = &mut self.candidate { Some(ours) } else { None }
    }

    /// The process, if it is like client-go.
    #[must_use]
    pub fn client_go(&self) -> Option<&ClientGo> {
        if let Candidate::ClientGo(client_go) = &self.candidate { Some(client_go) } else { None }
    }

    /// When it wants to be woken, by the world's time.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Duration> {
        if self.paused {
            return None;
        }
        match &self.candidate {
            Candidate::Ours(ours) => Some(self.clocks.when(ours.elector.poll_timeout()?)),
            Candidate::ClientGo(client_go) if self.request.is_none() => {
                Some(self.clocks.when(Instant { boot: client_go.next_at()?, wall: Instant::NEVER }))
            }
            Candidate::ClientGo(_) | Candidate::Down => None,
        }
    }

    /// The term of the gate, if plugin writes of this machine would leave now.
    #[must_use]
    pub fn open_term(&self, now: Duration) -> Option<u64> {
        let live = self.ours()?.live.as_ref().filter(|live| !live.is_closed())?;
        (live.standing(self.clocks.read(now)) != Standing::Closed).then(|| live.term().get())
    }

    /// Whether its process leads, in its own eyes.
    #[must_use]
    pub fn leads(&self) -> bool {
        match &self.candidate {
            Candidate::Ours(ours) => ours.elector.phase() == Phase::Leading,
            Candidate::ClientGo(client_go) => client_go.is_working(),
            Candidate::Down => false,
        }
    }

    /// The lease duration of its process.
    #[must_use]
    pub fn lease(&self) -> Duration {
        match &self.candidate {
            Candidate::Ours(ours) => ours.settings.timing.lease(),
            Candidate::ClientGo(client_go) => client_go.knobs().lease,
            Candidate::Down => Duration::ZERO,
        }
    }
}

impl Ours {
    /// A process that starts.
    #[must_use]
    pub fn new(elector: Elector, settings: Settings, started_at: Duration) -> Self {
        Self {
            elector,
            settings,
            live: None,
            confirmed: true,
            started_at,
            grounds: Vec::new(),
            admitted: 0,
            unanswered_until: Duration::ZERO,
            known: Knowledge::default(),
            candidacies: Candidacies::default(),
        }
    }

    /// Hands one input to the elector, and notes what it knows afterwards.
    pub fn hand(&mut self, now: Instant, input: Input) {
        let told = match &input {
            Input::Record(_, seen, epoch) => Some((seen.clone(), *epoch)),
            Input::Wrote(_, Outcome::Stored { seen, .. }, epoch) => Some((Some(seen.clone()), *epoch)),
            Input::Wrote(..) | Input::ReadFailed(_) | Input::Drained(_) | Input::Token(_) => None,
            Input::Pod(_) | Input::PodFailed(..) | Input::Verdict(_) | Input::Peer(..) => None,
        };
        match input {
            Input::Record(source, seen, _) => self.elector.handle_record(now, source, seen),
            Input::ReadFailed(message) => self.elector.handle_read_failed(now, message),
            Input::Wrote(attempt, outcome, _) => self.elector.handle_write(now, attempt, outcome),
            Input::Drained(unanswered) => self.elector.handle_drained(now, unanswered),
            Input::Token(token) => self.elector.handle_token(now, token),
            Input::Verdict(verdict) => self.elector.handle_verdict(now, verdict),
            Input::Peer(name, seen) => {
                self.candidacies.note(now.boot, &name, seen);
                self.elector.handle_peer(now, &name, seen);
            }
            Input::Pod(seen) => self.elector.handle_pod(now, seen),
            Input::PodFailed(forbidden, message) => self.elector.handle_pod_failed(now, forbidden, message),
        }
        let Some((seen, epoch)) = told else { return };
        let observed = self.elector.observed();
        if observed.as_ref().map(|observed| &observed.seen) == seen.as_ref() {
            // It counted: the next write is prepared on it, and what was seen before a restore is no measure any more.
            if epoch > self.known.epoch {
                self.known.version_max = 0;
            }
            self.known.epoch = epoch;
        }
        if let Some(observed) = observed {
            self.known.version_max = self.known.version_max.max(observed.seen.version);
            if let Some(term) = term_of(&observed.seen.record) {
                let longest = self.known.terms.entry(term).or_default();
                *longest = observed.seen.record.lease_duration_seconds.max(*longest);
            }
        }
    }
}

/// The number in the lock's mark.
#[must_use]
pub fn term_of(record: &Record) -> Option<u64> {
    record.annotations.get(Record::TERM)?.split_once('/')?.0.parse().ok()
}
