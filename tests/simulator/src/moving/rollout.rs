//! One seed: rollouts from lock to lock, faults in and between them, and calm after each, in which a leader must come.

use std::time::Duration;

use tenure_election::{Source, Timing};

use super::{Event, Loss, Moving, NEW, OLD};
use crate::chance::Chance;
use crate::machine::RATE_TRUE;
use crate::world::LATENCY;

/// Faults while all replicas hold the same locks, and between the restarts of two of them.
const FAULTS: u64 = 12;
const FAULTS_IN_ROLLOUT: u64 = 3;

/// A rollout gives up a replica that does not end in order after this.
const KILLED_AFTER: Duration = Duration::from_secs(30);

/// Sums over seeds.
#[derive(Debug, Default)]
pub struct Moves {
    /// Seeds run.
    pub seeds: u64,
    /// Time simulated.
    pub simulated: Duration,
    /// Faults of all kinds.
    pub faults: u64,
    /// Terms begun on the old lock alone, on both, on the new one alone.
    pub terms: [u64; 3],
    /// Seeds in which an oracle found something.
    pub violations: u64,
}

impl Moves {
    /// Adds one seed.
    pub fn add(&mut self, world: &Moving) {
        self.seeds += 1;
        self.simulated += world.now;
        self.faults += world.faults;
        for begun in &world.begun {
            let by = match begun.locks.as_slice() {
                [OLD] => 0,
                [NEW] => 2,
                _ => 1,
            };
            self.terms[by] += 1;
        }
        self.violations += u64::from(!world.violations.is_empty());
    }
}

impl std::fmt::Display for Moves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        let ([old, both, new], Self { seeds, faults, violations, .. }) = (self.terms, self);
        write!(
            f,
            "{hours:.1} simulated hours of moves, {seeds} seeds, {faults} faults, terms: {old} on the old lock, {both} on both, \
             {new} on the new one; {violations} violations"
        )
    }
}

impl Moving {
    /// One seed: all replicas on one lock, then all on both, then all on the other, under faults.
    #[must_use]
    pub fn run(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let timing = if chance.one_in(2) { Timing::FAST } else { Timing::DEFAULT };
        let mut world = Self::new(chance.number(), timing);
        let (from, to) = if chance.one_in(4) { (NEW, OLD) } else { (OLD, NEW) };
        for number in 0..2 + chance.below(2) {
            let rate = RATE_TRUE - 10_000 + chance.below(20_001);
            world.add(&format!("n{number}"), &[from], rate);
            world.advance(chance.milliseconds(0, 3000));
        }
        for stage in [vec![from], vec![OLD, NEW], vec![to]] {
            let mut order = (0..world.replicas.len()).collect::<Vec<_>>();
            let first = chance.index(order.len());
            order.rotate_left(first);
            for node in order {
                world.roll(node, &stage, &mut chance);
                world.trouble(FAULTS_IN_ROLLOUT, &mut chance);
            }
            world.trouble(FAULTS, &mut chance);
            world.calm();
            if !world.violations.is_empty() {
                break;
            }
        }
        world
    }

    /// Replaces the process of one replica, in order or not, and waits for the next to run.
    fn roll(&mut self, node: usize, locks: &[usize], chance: &mut Chance) {
        if self.replicas[node].next == locks {
            return;
        }
        self.set_next(node, locks);
        let (process, begun) = (self.replicas[node].process, self.now);
        if chance.one_in(4) {
            self.crash(node);
        } else {
            self.resume(node);
            self.shut_down(node);
        }
        while self.replicas[node].process == process {
            if self.now - begun > KILLED_AFTER {
                self.crash(node);
            }
            self.advance(Duration::from_millis(100));
        }
    }

    fn trouble(&mut self, faults: u64, chance: &mut Chance) {
        for _ in 0..faults {
            let node = chance.index(self.replicas.len());
            let lock = chance.index(2);
            self.faults += 1;
            let replica = &mut self.replicas[node];
            match chance.below(14) {
                0 | 1 => replica.paused = replica.elector.is_some(),
                2 | 3 => self.resume(node),
                4 => replica.cut = true,
                5 | 6 => replica.cut = false,
                7 => replica.losses.push_back(Loss::Answer),
                8 => replica.losses.push_back(Loss::Request),
                9 => replica.losses.push_back(Loss::Late(chance.milliseconds(1, 20_000))),
                10 => replica.refused[lock] = !replica.refused[lock],
                11 => replica.guests = chance.milliseconds(0, 1500),
                12 if chance.one_in(3) && self.locks[lock].object.is_some() => self.delete(lock),
                12 => {
                    if self.locks[lock].object.is_some() {
                        self.edit(lock, |record| {
                            record.annotations.insert("team".to_owned(), faults.to_string());
                        });
                    }
                }
                _ => self.crash(node),
            }
            let longest = if chance.one_in(3) { self.timing.lease() } else { self.timing.lease() / 8 };
            self.advance(chance.between(Duration::ZERO, longest));
        }
    }

    /// Faults stop; a leader comes within twice what is promised for one lock: a try in vain costs a lease.
    fn calm(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Arrive { answered: false, .. }));
        for node in 0..self.replicas.len() {
            let replica = &mut self.replicas[node];
            replica.cut = false;
            replica.refused = [false; 2];
            replica.losses.clear();
            self.resume(node);
            let process = self.replicas[node].process;
            for lock in self.replicas[node].locks.clone() {
                let seen = self.locks[lock].object.clone();
                self.schedule(LATENCY, Event::Watch { node, process, lock, source: Source::Watch, seen });
            }
        }
        let timing = self.timing;
        let bound = (timing.lease().mul_f64(1.0203) + timing.retry() + timing.attempt_timeout() * 3) * 2;
        // Whoever leads at this moment may be about to learn that it does not.
        self.advance(timing.attempt_timeout() * 3);
        if !self.await_leader(bound) {
            let held = self.locks.each_ref().map(|lock| lock.object.as_ref().map(|seen| seen.record.holder.clone()));
            let locks = self.replicas.iter().map(|it| it.locks.clone()).collect::<Vec<_>>();
            self.violations.push(format!("nobody leads {bound:?} after the faults stopped: {held:?} {locks:?}"));
        }
    }
}
