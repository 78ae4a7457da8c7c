//! Lock policies and the candidate Leases around them, as the host has them: a process asks its policy from time to time, hands
//! the verdict in, and writes it into a Lease of its own, which the others watch.

use std::collections::BTreeMap;
use std::time::Duration;

use tenure_election::{Instant, PeerSeen, Phase, Verdict};

use crate::chance::Chance;
use crate::machine::Watching;
use crate::process::Input;
use crate::world::{Event, World};

/// A candidate Lease is written on change, and as often as this.
const WRITTEN_EVERY: Duration = Duration::from_secs(30);

/// What decides for the processes on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Anything, at any time.
    Random,
    /// Waits for ever, and yields whenever it leads.
    Hostile,
    /// Never waits and always yields.
    Restless,
    /// The machine of this name is to lead.
    Prefers(String),
}

/// A candidate Lease.
#[derive(Debug, Clone, Copy)]
pub struct Candidacy {
    /// The version it was stored in.
    pub version: u64,
    /// Whether it says that its candidate campaigns.
    pub campaigns: bool,
}

/// What a process knows of candidate Leases, and has written into its own.
#[derive(Debug, Default)]
pub struct Candidacies {
    /// Others', with when, by the boot clock, a change of theirs was last shown.
    pub heard: BTreeMap<String, (Candidacy, Option<Duration>)>,
    /// What was last written, and when by the boot clock.
    written: Option<(bool, Duration)>,
    /// When, by the boot clock, its policy last gave the lock up.
    pub yielded: Option<Duration>,
}

impl Policy {
    /// One of them, for a world of these machines.
    pub(crate) fn draw(chance: &mut Chance, machines: u64) -> Self {
        match chance.below(4) {
            0 => Self::Random,
            1 => Self::Hostile,
            2 => Self::Restless,
            _ => Self::Prefers(format!("n{}", chance.below(machines))),
        }
    }

    fn decide(&self, chance: &mut Chance, name: &str, leads: bool, known: &Candidacies) -> Verdict {
        let yields = || Verdict::Yield { reason: "the test says so".to_owned() };
        match self {
            Self::Random => match chance.below(4) {
                0 => Verdict::Campaign,
                1 => Verdict::Wait(chance.milliseconds(0, 600_000)),
                2 => Verdict::Keep,
                _ => yields(),
            },
            Self::Hostile if leads => yields(),
            Self::Hostile => Verdict::Wait(Duration::MAX),
            Self::Restless if leads => yields(),
            Self::Restless => Verdict::Campaign,
            Self::Prefers(preferred) => {
                let there = known.heard.get(preferred).is_some_and(|(candidacy, _)| candidacy.campaigns);
                match (leads, there && name != preferred) {
                    (true, true) => yields(),
                    (true, false) => Verdict::Keep,
                    (false, true) => Verdict::Wait(Duration::from_secs(5)),
                    (false, false) => Verdict::Campaign,
                }
            }
        }
    }
}

impl World {
    /// The process of a machine asks its policy.
    pub(crate) fn ask_policy(&mut self, node: usize, process: u64) {
        let Some(policy) = self.nodes[node].policy.clone().filter(|_| self.nodes[node].process == process) else {
            return;
        };
        let next = self.chance.milliseconds(100, 2000);
        self.schedule(next, Event::AskPolicy { node, process });
        let machine = &self.nodes[node];
        let Some(ours) = machine.ours().filter(|_| !machine.paused) else { return };
        let leads = ours.elector.phase() == Phase::Leading;
        let verdict = policy.decide(&mut self.chance, &machine.name, leads, &ours.candidacies);
        let campaigns = verdict == Verdict::Campaign;
        self.hand(node, Input::Verdict(verdict));
        self.write_candidacy(node, campaigns);
    }

    /// A verdict made the process of a machine begin to let go.
    pub(crate) fn judge_yield(&mut self, node: usize, now: Instant) {
        let machine = &mut self.nodes[node];
        let name = machine.name.clone();
        let Some(ours) = machine.ours_mut() else { return };
        let known = &mut ours.candidacies;
        let campaigning = known.heard.values().filter(|(candidacy, _)| candidacy.campaigns);
        let last_heard = campaigning.filter_map(|(_, at)| *at).max();
        let to_somebody = last_heard.is_some_and(|at| now.boot.saturating_sub(at) < Duration::from_secs(90));
        let since_last = known.yielded.replace(now.boot).map(|last| now.boot.saturating_sub(last));
        self.judge.judge_yield(&name, to_somebody, since_last);
    }

    fn write_candidacy(&mut self, node: usize, campaigns: bool) {
        let boot = self.nodes[node].clocks.read(self.now).boot;
        let Some(ours) = self.nodes[node].ours_mut() else { return };
        let written = ours.candidacies.written;
        if written.is_some_and(|(last, at)| last == campaigns && boot.saturating_sub(at) < WRITTEN_EVERY) {
            return;
        }
        ours.candidacies.written = Some((campaigns, boot));
        if !self.nodes[node].link.out_cut {
            let after = self.latency();
            let name = self.nodes[node].name.clone();
            self.schedule(after, Event::Candidacy { name, campaigns: Some(campaigns) });
        }
    }

    /// A candidate Lease is stored, or deleted; every watch is told.
    pub(crate) fn store_candidacy(&mut self, name: &str, campaigns: Option<bool>) {
        self.api.version += 1;
        let candidacy = campaigns.map(|campaigns| Candidacy { version: self.api.version, campaigns });
        match candidacy {
            Some(candidacy) => self.api.candidacies.insert(name.to_owned(), candidacy),
            None => self.api.candidacies.remove(name),
        };
        for node in 0..self.nodes.len() {
            let after = self.latency() + self.nodes[node].link.watch_delay;
            self.schedule(after, Event::ShowCandidacy { node, name: name.to_owned(), candidacy });
        }
    }

    /// A watch of candidate Leases shows one.
    pub(crate) fn show_candidacy(&mut self, node: usize, name: &str, candidacy: Option<Candidacy>) {
        let link = &self.nodes[node].link;
        if !link.back_cut && link.watching == Watching::Works {
            self.tell_of_peer(node, name, candidacy, false);
        }
    }

    /// The candidate Leases as a watch that is opened anew lists them.
    pub(crate) fn list_candidacies(&mut self, node: usize) {
        for (name, candidacy) in self.api.candidacies.clone() {
            self.tell_of_peer(node, &name, Some(candidacy), true);
        }
    }

    fn tell_of_peer(&mut self, node: usize, name: &str, candidacy: Option<Candidacy>, listed: bool) {
        if self.nodes[node].name != name {
            let seen = candidacy.map(|Candidacy { version, campaigns }| PeerSeen { version, campaigns, listed });
            self.hand(node, Input::Peer(name.to_owned(), seen));
        }
    }
}

impl Candidacies {
    /// What a process was shown.
    pub(crate) fn note(&mut self, boot: Duration, name: &str, seen: Option<PeerSeen>) {
        let Some(PeerSeen { version, campaigns, listed }) = seen else {
            self.heard.remove(name);
            return;
        };
        let last = self.heard.get(name).copied();
        let changed = last.map_or(!listed, |(last, _)| last.version != version);
        let at = if changed { Some(boot) } else { last.and_then(|(_, at)| at) };
        self.heard.insert(name.to_owned(), (Candidacy { version, campaigns }, at));
    }
}
