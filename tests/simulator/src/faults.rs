//! The faults: their kinds, how often each comes in a seed, and what each does to the world.

use std::time::Duration;

use tenure_election::{Drain, Phase, Source, Term, Token, Verdict};

use crate::api::{Api, apply_edit};
use crate::chance::Chance;
use crate::judge::Meddling;
use crate::kubelet::Misleading;
use crate::machine::{Fate, RATE_TRUE, Watching};
use crate::process::{Candidate, Guests, Input};
use crate::world::{WALL_START, World};

/// The most a clock errs in rate, in millionths (docs/election.md: 1 %).
const RATE_ERROR: u64 = 10_000;

/// The kinds, each with the weight it has where it comes at all.
pub(crate) const KINDS: [(&str, u64); 39] = [
    ("pause", 4),
    ("resume", 6),
    ("partition", 4),
    ("partition one way out", 2),
    ("partition one way back", 2),
    ("heal", 8),
    ("answer lost", 3),
    ("request lost", 2),
    ("PUT delayed", 3),
    ("PUT replayed", 2),
    ("409", 2),
    ("429 or 503", 2),
    ("500 after commit", 2),
    ("403", 1),
    ("watch silent", 2),
    ("watch repeats", 3),
    ("watch lists stale", 2),
    ("watch slow", 2),
    ("lease deleted", 2),
    ("label edited", 3),
    ("holder edited", 1),
    ("duration edited", 1),
    ("annotation lost", 1),
    ("release forged", 1),
    ("container edited", 2),
    ("etcd snapshot", 2),
    ("etcd restored", 1),
    ("wall clock set", 2),
    ("clock rate", 2),
    ("restart", 3),
    ("crash", 2),
    ("shutdown", 3),
    ("policy", 3),
    ("peer forged", 2),
    ("peer deleted", 1),
    ("guests", 3),
    ("pod misleads", 3),
    ("kubelet slow", 2),
    ("token", 1),
];

/// What cannot be missing: without it nothing would go on.
const ALWAYS: [&str; 2] = ["resume", "heal"];

/// Faults by the weights of one seed.
#[derive(Debug)]
pub(crate) struct Faults {
    weights: Vec<(&'static str, u64)>,
    saved: Option<Api>,
    /// When etcd was last restored.
    pub(crate) restored: Option<Duration>,
    /// When a candidate was last told to yield, by hand.
    pub(crate) yielded: Option<Duration>,
}

impl Faults {
    /// Each kind comes in about two of three seeds, more or less often.
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let weights = KINDS
            .iter()
            .map(|(kind, weight)| {
                let absent = chance.one_in(3) && !ALWAYS.contains(kind);
                (*kind, if absent { 0 } else { weight * (1 + chance.below(4)) })
            })
            .collect();
        Self { weights, saved: None, restored: None, yielded: None }
    }

    /// One fault, on one machine.
    pub(crate) fn strike(&mut self, world: &mut World, chance: &mut Chance) {
        let node = chance.index(world.nodes.len());
        let total = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = chance.below(total);
        let kind = self.weights.iter().find(|(_, weight)| {
            let found = at < *weight;
            at = at.saturating_sub(*weight);
            found
        });
        let Some((kind, _)) = kind.copied() else { return };
        if self.apply(world, chance, kind, node) {
            *world.faults.entry(kind).or_default() += 1;
            let name = world.nodes[node].name.clone();
            world.note_all(|| format!("-- {kind} ({name})"));
        }
    }

    /// Whether there was anything to do it to.
    fn apply(&mut self, world: &mut World, chance: &mut Chance, kind: &'static str, node: usize) -> bool {
        match kind {
            "lease deleted" | "label edited" | "holder edited" | "duration edited" | "annotation lost"
            | "release forged" | "container edited" | "etcd snapshot" | "etcd restored" => {
                return self.meddle(world, chance, kind);
            }
            "wall clock set" | "clock rate" => return turn_clocks(world, chance, kind, node),
            "restart" | "crash" | "shutdown" | "policy" | "guests" | "token" => {
                return self.trouble_process(world, chance, kind, node);
            }
            _ => {}
        }
        let machine = &mut world.nodes[node];
        match kind {
            "peer forged" | "peer deleted" => {
                // Somebody who need not exist, or one that would not take the lock, or has crashed.
                let name = format!("n{}", chance.below(6));
                world.store_candidacy(&name, (kind == "peer forged").then_some(true));
                true
            }
            "pod misleads" => {
                world.mislead(node, Misleading::ALL[chance.index(Misleading::ALL.len())]);
                true
            }
            "kubelet slow" => {
                machine.kubelet.delay = chance.milliseconds(0, 20_000);
                true
            }
            "pause" => {
                let runs = !machine.paused && !matches!(machine.candidate, Candidate::Down);
                machine.paused |= runs;
                runs
            }
            "resume" => {
                let paused = machine.paused;
                world.resume(node);
                paused
            }
            "heal" => heal(world, chance, node),
            _ => trouble_link(world, chance, kind, node),
        }
    }

    fn meddle(&mut self, world: &mut World, chance: &mut Chance, kind: &'static str) -> bool {
        let wall = WALL_START + world.now;
        match kind {
            "etcd snapshot" => {
                self.saved = Some(world.api.clone());
                return true;
            }
            "etcd restored" => {
                let Some(saved) = self.saved.clone() else { return false };
                self.restored = Some(world.now);
                restore(world, saved);
                return true;
            }
            _ if world.api.object.is_none() => return false,
            "lease deleted" => {
                let event = world.api.delete();
                world.judge.note_meddling(world.now, Meddling::Deleted);
                world.publish(event);
                return true;
            }
            _ => {}
        }
        let identities = world.nodes.iter().map(|node| node.identity.clone()).collect::<Vec<_>>();
        let holder = match chance.below(4) {
            0 => String::new(),
            1 => "somebody".to_owned(),
            _ => identities[chance.index(identities.len())].clone(),
        };
        let value = chance.below(1000).to_string();
        let seconds = (1 + chance.below(4)).to_string();
        let forged = forged_container(world).filter(|_| kind == "container edited");
        if kind == "container edited" && forged.is_none() {
            return false;
        }
        let meddling = match kind {
            "label edited" | "container edited" => None,
            "annotation lost" => Some(Meddling::TermLost),
            "release forged" => Some(Meddling::Forged),
            _ => Some(Meddling::Edited),
        };
        let before = world.api.object.clone();
        let event = world.api.edit(world.now, |record| match kind {
            "label edited" => apply_edit(record, "team", &value, wall),
            "container edited" => apply_edit(record, "container", &forged.clone().unwrap_or_default(), wall),
            "holder edited" => apply_edit(record, "holder", &holder, wall),
            "duration edited" => apply_edit(record, "duration", &seconds, wall),
            "annotation lost" => apply_edit(record, "term", "", wall),
            _ => {
                let mark = record.annotations.get(tenure_election::Record::TERM).cloned().unwrap_or_default();
                apply_edit(record, "holder", "", wall);
                apply_edit(record, "released", &mark, wall);
            }
        });
        world.judge.note_state(world.now, before.as_ref(), world.api.object.as_ref(), true);
        if let Some(meddling) = meddling {
            world.judge.note_meddling(world.now, meddling);
        }
        world.publish(Some(event));
        true
    }

    fn trouble_process(&mut self, world: &mut World, chance: &mut Chance, kind: &'static str, node: usize) -> bool {
        let at = world.now;
        let machine = &mut world.nodes[node];
        if matches!(machine.candidate, Candidate::Down) {
            return false;
        }
        match kind {
            "restart" => world.restart(node),
            "crash" => world.crash(node, chance.milliseconds(100, 30_000)),
            _ if machine.paused => return false,
            "shutdown" => world.begin_drain(node, Drain::Shutdown),
            "guests" => {
                machine.guests =
                    if chance.one_in(3) { Guests::Stay } else { Guests::End(chance.milliseconds(0, 2000)) };
            }
            _ => {
                let Some(ours) = machine.ours_mut() else { return false };
                let elector = &mut ours.elector;
                if kind == "token" {
                    let Some(authority) = elector.authority() else { return false };
                    let Some(term) = Term::new(authority.term.get() + chance.below(5)) else { return false };
                    world.hand(node, Input::Token(Token::RefusedFor(term)));
                    return true;
                }
                let verdict = match chance.below(6) {
                    0 => {
                        self.yielded = Some(at);
                        world.begin_drain(node, Drain::Yield);
                        return true;
                    }
                    _ if world.nodes[node].policy.is_none() => return false,
                    1 => Verdict::Campaign,
                    2 => Verdict::Keep,
                    3 | 4 => Verdict::Wait(chance.milliseconds(0, 600_000)),
                    _ => Verdict::Yield { reason: "hostile".to_owned() },
                };
                world.hand(node, Input::Verdict(verdict));
            }
        }
        true
    }
}

/// What names, as the holder's, the container that was in its Pod before.
fn forged_container(world: &World) -> Option<String> {
    let record = &world.api.object.as_ref()?.record;
    let pod = world.api.pods.get(record.holder.split('_').next()?)?;
    let container = pod.containers.first()?;
    let term = crate::process::term_of(record)?;
    Some(format!("{term}/{}/{}/{}/0", pod.uid, container.name, container.terminated.first()?.id))
}

fn trouble_link(world: &mut World, chance: &mut Chance, kind: &'static str, node: usize) -> bool {
    let link = &mut world.nodes[node].link;
    let holds = chance.one_in(2);
    match kind {
        "partition" => (link.out_cut, link.back_cut, link.holds) = (true, true, holds),
        "partition one way out" => (link.out_cut, link.holds) = (true, holds),
        "partition one way back" => (link.back_cut, link.holds) = (true, holds),
        "answer lost" => link.fates.push_back(Fate::LoseAnswer),
        "request lost" => link.fates.push_back(Fate::LoseRequest),
        "PUT delayed" => link.fates.push_back(Fate::Delay(chance.milliseconds(1, 20_000))),
        "PUT replayed" => link.fates.push_back(Fate::Replay(chance.milliseconds(1, 20_000))),
        "409" => link.fates.push_back(Fate::FalseConflict),
        "429 or 503" => link.fates.push_back(Fate::Busy),
        "500 after commit" => link.fates.push_back(Fate::BusyAfterCommit),
        "403" => link.refusal = Some(403),
        "watch silent" => {
            if link.watching == Watching::Forbidden {
                return false;
            }
            link.watching = Watching::Silent;
        }
        "watch slow" => link.watch_delay = chance.milliseconds(0, 3000),
        "watch repeats" => {
            let (count, length) = (1 + chance.index(3), world.history.len());
            for back in 0..count.min(length) {
                let at = length - 1 - chance.index(length.min(8 + back));
                repeat(world, node, at);
            }
            return length > 0;
        }
        "watch lists stale" => {
            // A list from an API server whose cache lags: an object, or none, as it was a while ago.
            if chance.one_in(4) {
                world.send_watch(node, Source::Watch, None);
            } else if let Some(at) = world.history.len().checked_sub(1 + chance.index(10)) {
                repeat(world, node, at);
            }
        }
        _ => return false,
    }
    true
}

fn repeat(world: &mut World, node: usize, at: usize) {
    let Some((event, epoch)) = world.history.get(at).cloned() else { return };
    // No server shows after a restore what it lost by it; what was under way then is sent with its own delay.
    if epoch == world.epoch {
        let source = if event.deleted { Source::Deleted } else { Source::Watch };
        world.send_watch(node, source, Some(event.seen));
    }
}

/// The ways are open again, and the watch: it goes on where it ended, or lists anew.
fn heal(world: &mut World, chance: &mut Chance, node: usize) -> bool {
    let link = &mut world.nodes[node].link;
    let was = link.out_cut || link.back_cut || link.refusal.is_some() || link.watching == Watching::Silent;
    link.refusal = None;
    if link.watching == Watching::Silent {
        link.watching = Watching::Works;
    }
    world.heal(node);
    if chance.one_in(2) {
        let from = world.history.len().saturating_sub(1 + chance.index(12));
        for at in from..world.history.len() {
            repeat(world, node, at);
        }
    }
    world.send_current(node);
    was
}

fn turn_clocks(world: &mut World, chance: &mut Chance, kind: &'static str, node: usize) -> bool {
    let now = world.now;
    let clocks = &mut world.nodes[node].clocks;
    if kind == "clock rate" {
        clocks.set_rate(now, rate(chance));
    } else {
        clocks.step_wall(chance.one_in(2), chance.milliseconds(1, 40_000));
    }
    if !world.nodes[node].paused {
        world.drive(node);
    }
    true
}

/// The least, the most, or anything between.
pub(crate) fn rate(chance: &mut Chance) -> u64 {
    match chance.below(4) {
        0 => RATE_TRUE - RATE_ERROR,
        1 => RATE_TRUE + RATE_ERROR,
        _ => RATE_TRUE - RATE_ERROR + chance.below(2 * RATE_ERROR + 1),
    }
}

fn restore(world: &mut World, saved: Api) {
    let released = saved.object.as_ref().is_some_and(|seen| {
        let annotations = &seen.record.annotations;
        let mark = annotations.get(tenure_election::Record::TERM);
        seen.record.holder.is_empty() && annotations.get(tenure_election::Record::RELEASED) == mark
    });
    let (version, fenced) = (saved.version, saved.fenced_term);
    world.api.restore(saved);
    world.epoch += 1;
    let ours = world.nodes.iter().filter_map(|node| Some((node.process, node.ours()?.known.version_max)));
    let unseen = ours.filter(|(_, seen)| *seen <= version).map(|(process, _)| process);
    world.judge.note_restore(world.now, released, fenced, unseen);
    for node in 0..world.nodes.len() {
        world.send_current(node);
    }
}

/// Processes that ended in order start again, as a Deployment would have them.
pub(crate) fn revive(world: &mut World) {
    for node in 0..world.nodes.len() {
        let finished = world.nodes[node].ours().is_some_and(|ours| ours.elector.phase() == Phase::Finished);
        if finished {
            world.crash(node, Duration::from_secs(1));
        }
    }
}
