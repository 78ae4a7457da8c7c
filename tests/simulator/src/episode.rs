//! One seed: candidates and faults drawn from it, faults in eras, and after each era calm, in which a leader must come.

use std::time::Duration;

use tenure_election::{FirstCreate, OwnContainer, Phase, Settings, Timing};

use crate::chance::Chance;
use crate::client_go::Knobs;
use crate::faults::{Faults, rate, revive};
use crate::machine::{Link, Watching};
use crate::policy::Policy;
use crate::process::{Candidate, Guests, Recipe};
use crate::world::{Network, World};

/// Times of faults in one episode.
const ERAS: u32 = 3;

/// Faults in one of them.
const FAULTS: u64 = 30;

/// Two clocks that err by 1 % in opposite ways (docs/election.md, "a leader comes").
const BOTH_CLOCKS: f64 = 1.0203;

/// After a leader is there: until its plugin's writes get through the fence, which may cost it a term.
const WRITES_WITHIN: Duration = Duration::from_secs(30);

/// Who may be among the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cast {
    /// As the seed says.
    Drawn,
    /// Ours alone.
    Ours,
    /// Only candidates like client-go's.
    ClientGo,
}

/// What came of a seed.
#[derive(Debug)]
pub struct Episode {
    /// The seed.
    pub seed: u64,
    /// The world as it was in the end.
    pub world: World,
}

impl Episode {
    /// Runs a seed; with its trace if `tracing`.
    #[must_use]
    pub fn run(seed: u64, cast: Cast, tracing: bool) -> Self {
        let mut chance = Chance::new(seed);
        let mut world = World::new(chance.number(), tracing);
        set_stage(&mut world, &mut chance, cast);
        let mut faults = Faults::draw(&mut chance);
        for _ in 0..ERAS {
            let longest = world.nodes.iter().map(|node| node.lease()).max().unwrap_or_default();
            for _ in 0..FAULTS {
                faults.strike(&mut world, &mut chance);
                revive(&mut world);
                world.look_on();
                let pause = if chance.one_in(3) { longest / 10 } else { longest };
                let pause = chance.between(Duration::ZERO, pause);
                world.advance(pause);
                if !world.judge.violations.is_empty() {
                    return Self { seed, world };
                }
            }
            calm(&mut world, &faults);
            if !world.judge.violations.is_empty() {
                break;
            }
        }
        Self { seed, world }
    }

    /// Whether anything was found that must never be.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        !self.world.judge.violations.is_empty()
    }

    /// What was found, and how to see it again.
    #[must_use]
    pub fn told(&self) -> String {
        format!("seed={} {}", self.seed, self.world.judge.violations.join("; "))
    }
}

fn set_stage(world: &mut World, chance: &mut Chance, cast: Cast) {
    world.network = Network {
        spread: chance.milliseconds(1, 400),
        plugins_write: chance.below(3) > 0,
        aborts: chance.below(4) > 0,
    };
    let common = timing(chance);
    let mixed = chance.one_in(4);
    let first_create = if chance.one_in(12) { FirstCreate::Immediate } else { FirstCreate::Wait };
    let one_identity = chance.one_in(10);
    let ours = if cast == Cast::ClientGo { 0 } else { 2 + chance.below(3) };
    // In one of four nobody looks at Pods, in one of four not everybody does.
    let contained = chance.below(4);
    // In one of three nobody has a lock policy, in one of three not everybody has, and each has one of its own.
    let policies = chance.below(3);
    for number in 0..ours {
        let name = format!("n{number}");
        let identity = if one_identity && number < 2 { "same".to_owned() } else { name.clone() };
        let settings = Settings {
            timing: if mixed { timing(chance) } else { common },
            shutdown_grace: chance.milliseconds(0, 4000),
            write_timeout: chance.milliseconds(500, 5000),
            release_on_cancel: !chance.one_in(10),
            first_create,
            container: (contained > 1 || contained == 1 && chance.one_in(2)).then(any_container),
            ..Settings::default()
        };
        let node = world.add_machine(&name, rate(chance));
        if chance.one_in(20) {
            world.nodes[node].link.watching = Watching::Forbidden;
        }
        if policies > 1 || policies == 1 && chance.one_in(2) {
            world.nodes[node].policy = Some(Policy::draw(chance, ours));
        }
        world.start(node, &identity, settings, chance.number());
    }
    let foreign = match cast {
        Cast::ClientGo => 3,
        Cast::Drawn if chance.one_in(3) => 1 + chance.below(2),
        Cast::Drawn | Cast::Ours => 0,
    };
    for number in 0..foreign {
        let name = format!("g{number}");
        let node = world.add_machine(&name, rate(chance));
        let knobs = Knobs {
            lease: common.lease(),
            renew: common.renew(),
            retry: common.retry(),
            release_on_cancel: !chance.one_in(4),
        };
        world.start_client_go(node, &name, knobs, chance.number());
    }
}

/// Filled in when the process starts.
pub(crate) fn any_container() -> OwnContainer {
    let (pod, pod_uid, container) = (String::new(), String::new(), String::new());
    OwnContainer { pod, pod_uid, container, started: Duration::ZERO }
}

fn timing(chance: &mut Chance) -> Timing {
    match chance.below(8) {
        0..=3 => Timing::FAST,
        4..=6 => Timing::DEFAULT,
        _ => Timing::LAZY,
    }
}

/// Faults stop; a leader must come within the time that is promised, and its plugin's writes must get through.
fn calm(world: &mut World, faults: &Faults) {
    world.note_all(|| "-- calm".to_owned());
    let spread = std::mem::replace(&mut world.network.spread, Duration::from_millis(20));
    world.clear_network();
    for node in 0..world.nodes.len() {
        let machine = &mut world.nodes[node];
        let watching = if machine.link.watching == Watching::Forbidden { Watching::Forbidden } else { Watching::Works };
        machine.link = Link { watching, ..Link::default() };
        machine.guests = Guests::End(Duration::from_millis(10));
        world.heal(node);
        world.resume(node);
        if world.nodes[node].ends || matches!(world.nodes[node].candidate, Candidate::Down) {
            world.restart(node);
        }
        world.send_current(node);
        world.end_guests_now(node);
    }
    let bound = leader_within(world, faults);
    let begun = world.now;
    let leads = |world: &World| world.nodes.iter().any(|node| node.leads());
    while !leads(world) && world.now - begun < bound {
        world.advance(Duration::from_millis(20));
    }
    if !leads(world) {
        let text = format!("nobody leads {bound:?} after the faults stopped");
        world.judge.violations.push(text);
    } else if world.network.plugins_write && world.nodes.iter().all(|node| node.client_go().is_none()) {
        // Each with a policy may give the lock up once before it leads for a minute.
        let yields = world.nodes.iter().filter(|node| node.policy.is_some()).count();
        await_write(world, bound * (1 + u32::try_from(yields).unwrap_or(u32::MAX)) + WRITES_WITHIN);
    }
    world.look_on();
    world.network.spread = spread;
}

/// docs/election.md: 1.0203 W + retry-period + three attempts; a policy delays by two leases at most, whatever it is; a yield by
/// hand keeps its candidate out for one, a restore of etcd costs one more. client-go waits up to 2.2 retry-periods between two tries.
fn leader_within(world: &World, faults: &Faults) -> Duration {
    let mut longest = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for node in &world.nodes {
        let (lease, retry, attempt) = match &node.recipe {
            Recipe::Ours(Settings { timing, .. }) => (timing.lease(), timing.retry(), timing.attempt_timeout()),
            Recipe::ClientGo(knobs) => (knobs.lease, knobs.retry * 11 / 5, knobs.retry),
            Recipe::Nothing => continue,
        };
        longest = (longest.0.max(lease), longest.1.max(retry), longest.2.max(attempt));
    }
    let (lease, retry, attempt) = longest;
    let waits = world.nodes.iter().any(|node| node.policy.is_some());
    let yields = faults.yielded.is_some_and(|at| world.now < at + lease * 3);
    let policy = if waits { lease * 2 } else { Duration::ZERO } + if yields { lease } else { Duration::ZERO };
    // A standby ignores a watch that shows a lower version, and hears of the restore when its claim meets a conflict.
    let restored = faults.restored.is_some_and(|at| world.now < at + lease.mul_f64(BOTH_CLOCKS));
    let policy = policy + if restored { lease } else { Duration::ZERO };
    // Whoever drains when faults stop leads until it has let go, or given up.
    let drains =
        world.nodes.iter().filter_map(|node| node.ours()).filter(|ours| ours.elector.phase() == Phase::Draining);
    let drain = drains.map(|ours| ours.settings.shutdown_grace + ours.settings.write_timeout).max().unwrap_or_default();
    (lease + policy + drain).mul_f64(BOTH_CLOCKS) + retry + attempt * 3
}

/// Whoever leads when faults stop may be about to learn that it no longer does.
fn await_write(world: &mut World, within: Duration) {
    let (begun, stored) = (world.now, world.judge.fenced_writes);
    while world.judge.fenced_writes == stored && world.now - begun < within {
        world.advance(Duration::from_millis(50));
        if !world.judge.violations.is_empty() {
            return;
        }
    }
    if world.judge.fenced_writes == stored {
        let text = format!("no write of a leader's plugin gets through the fence {within:?} after the faults stopped");
        world.judge.violations.push(text);
    }
}
