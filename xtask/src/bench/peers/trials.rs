//! The parts of the measurement: what is done to which candidates, and what is read off the audit log afterwards.

use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use super::audit::{Audit, now_us};
use super::candidate::{Contender, Work};
use super::fleet::{Fleet, Places, Plan};
use super::network::Network;
use super::results::Samples;
use super::server::Server;
use crate::process;

/// From a signal to the successor's first write: the lease's 15 s, client-go's 2 s of retry and jitter, and room.
const SUCCESSOR_LIMIT: Duration = Duration::from_secs(60);

/// 2000 writes, one after the other, on a loaded machine.
const CONVERGED_LIMIT: Duration = Duration::from_secs(120);

/// ConfigMaps where there are few.
const FEW: usize = 10;

/// ConfigMaps where there are many.
pub(crate) const MANY: usize = 2000;

/// How long a leader is stopped: past every deadline of a lease of 15 s.
const PAUSE: Duration = Duration::from_secs(25);

/// How long one is watched after it came back: client-go works on for its renew deadline of 10 s.
const AFTERMATH: Duration = Duration::from_secs(16);

/// The shortest and the longest cut: within client-go's release that is tried for 10 s after the renew deadline.
const CUT_SECONDS: [u64; 4] = [17, 18, 19, 20];

/// How long nothing is done to candidates while requests and processor time are counted.
const QUIET: Duration = Duration::from_secs(120);

/// Between two kills, so that no takeover falls on another contender's.
const STAGGER: Duration = Duration::from_secs(5);

/// Everything a part needs.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) audit: Audit,
    pub(crate) places: Places,
    /// What was asked for; each part makes its own share of it.
    pub(crate) trials: u32,
}

impl Bench {
    /// All three, settled. Each with ConfigMaps of these names.
    fn fleets(&mut self, plan: Plan, names: &[String]) -> anyhow::Result<Vec<Fleet>> {
        let networks = Contender::ALL.map(|_| Vec::new());
        self.fleets_in(plan, names, networks.into())
    }

    fn fleets_in(&mut self, plan: Plan, names: &[String], networks: Vec<Vec<Network>>) -> anyhow::Result<Vec<Fleet>> {
        let mut fleets = Vec::new();
        for (contender, networks) in Contender::ALL.into_iter().zip(networks) {
            let mut fleet = Fleet::make(contender, plan, &self.places, &self.server, networks)?;
            self.server.config_maps(&fleet.namespace, names)?;
            fleet.fill()?;
            fleets.push(fleet);
        }
        for fleet in &mut fleets {
            let leader = fleet.settled(&mut self.audit)?;
            println!("    {} leads among {}", leader.user, fleet.contender.name());
        }
        Ok(fleets)
    }

    /// SIGTERM to the leader, one contender after the other, again and again.
    pub(crate) fn handover(&mut self) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        for (part, warm, trials) in [("handover", true, self.trials * 2), ("handover-cold", false, self.trials)] {
            let plan = Plan { part, work: Work::Beat, warm, candidates: 2 };
            let mut fleets = self.fleets(plan, &[BEAT.to_owned()])?;
            for trial in 1..=trials {
                for fleet in &mut fleets {
                    let leader = fleet.settled(&mut self.audit)?.user;
                    let asked_us = fleet.signal(&leader, Signal::TERM)?;
                    let (held, first) = self.successor(fleet, asked_us)?;
                    fleet.ended(&leader)?;
                    fleet.fill()?;
                    let who = fleet.contender;
                    if warm {
                        samples.add("handover-held", who, milliseconds(held.at_us - asked_us));
                        samples.add("handover-written", who, milliseconds(first.answered_us - asked_us));
                        samples.add("first-warm-few", who, milliseconds(first.received_us - held.at_us));
                    } else {
                        samples.add("first-cold-few", who, milliseconds(first.received_us - held.at_us));
                    }
                }
                println!("    {part}, trial {trial} of {trials}");
            }
        }
        Ok(samples)
    }

    /// SIGKILL to the leaders, and a label changed that only their successors can copy.
    pub(crate) fn crash(&mut self) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        let plan = Plan { part: "crash", work: Work::Labels, warm: true, candidates: 2 };
        let mut fleets = self.fleets(plan, &names(FEW))?;
        for trial in 1..=self.trials {
            for after in self.kill_all(&mut fleets, trial, FEW)? {
                samples.add("crash-held", after.contender, seconds(after.held_us - after.killed_us));
                samples.add("crash-expiry", after.contender, milliseconds(after.held_us - after.expiry_us));
                samples.add("first-warm-ten", after.contender, milliseconds(after.first_us - after.held_us));
            }
            println!("    crash, trial {trial} of {}", self.trials);
        }
        Ok(samples)
    }

    /// The same with many objects; and many objects to bring up to date at once, in and after a change of leader.
    pub(crate) fn many(&mut self) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        let trials = (self.trials / 2).max(1);
        for (part, warm) in [("many", true), ("many-cold", false)] {
            let plan = Plan { part, work: Work::Labels, warm, candidates: 2 };
            let mut fleets = self.fleets(plan, &names(MANY))?;
            for trial in 1..=trials {
                let first = if warm { "first-warm-many" } else { "first-cold-many" };
                for after in self.kill_all(&mut fleets, trial, MANY)? {
                    samples.add(first, after.contender, milliseconds(after.first_us - after.held_us));
                    if warm {
                        samples.add("converged-term", after.contender, seconds(after.last_us - after.held_us));
                    }
                }
                for fleet in fleets.iter_mut().filter(|_| warm) {
                    let leader = fleet.settled(&mut self.audit)?;
                    samples.add("converged-live", fleet.contender, self.relabel(fleet, &leader.user, trial)?);
                }
                println!("    {part}, trial {trial} of {trials}");
            }
            for fleet in &mut fleets {
                let leader = fleet.settled(&mut self.audit)?.user;
                if warm {
                    resident(fleet, &leader, &mut samples, ["resident-leader-many", "resident-standby-many"])?;
                }
                self.server.clear(&fleet.namespace)?;
            }
        }
        Ok(samples)
    }

    /// SIGSTOP to the leaders, side by side, until others have taken over; what they still write when they wake.
    pub(crate) fn pause(&mut self) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        let plan = Plan { part: "pause", work: Work::Beat, warm: true, candidates: 2 };
        let mut fleets = self.fleets(plan, &[BEAT.to_owned()])?;
        let trials = self.trials.div_ceil(3);
        for trial in 1..=trials {
            let mut leaders = Vec::new();
            for fleet in &mut fleets {
                let leader = fleet.settled(&mut self.audit)?.user;
                let stopped_us = fleet.signal(&leader, Signal::STOP)?;
                leaders.push((leader, stopped_us));
            }
            wait(PAUSE)?;
            for (fleet, (leader, stopped_us)) in fleets.iter_mut().zip(&leaders) {
                self.successor(fleet, *stopped_us)?;
                fleet.signal(leader, Signal::CONT)?;
            }
            wait(AFTERMATH)?;
            for (fleet, (_, stopped_us)) in fleets.iter().zip(&leaders) {
                self.count_late(fleet, *stopped_us, "pause", &mut samples)?;
            }
            println!("    pause, trial {trial} of {trials}");
        }
        Ok(samples)
    }

    /// The leaders' cables are pulled, side by side, and plugged in again when others have taken over.
    pub(crate) fn cut(&mut self) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        let plan = Plan { part: "cut", work: Work::Beat, warm: true, candidates: 3 };
        let server = self.server.ready.address.parse().context("the API server's address is none")?;
        let mut numbers = 0..;
        let mut networks = Vec::new();
        for _ in Contender::ALL {
            let some: anyhow::Result<Vec<_>> =
                numbers.by_ref().take(plan.candidates).map(|number| Network::make(number, server)).collect();
            networks.push(some?);
        }
        let mut fleets = self.fleets_in(plan, &[BEAT.to_owned()], networks)?;
        let trials = (self.trials / 2).max(1);
        for (trial, cut) in (1..=trials).zip(CUT_SECONDS.into_iter().cycle()) {
            let mut leaders = Vec::new();
            for fleet in &mut fleets {
                let leader = fleet.settled(&mut self.audit)?.user;
                let cut_us = now_us();
                fleet.network(&leader)?.cut()?;
                leaders.push((leader, cut_us));
            }
            wait(Duration::from_secs(cut))?;
            for (fleet, (leader, _)) in fleets.iter().zip(&leaders) {
                fleet.network(leader)?.heal()?;
            }
            wait(AFTERMATH)?;
            for (fleet, (_, cut_us)) in fleets.iter().zip(&leaders) {
                self.successor(fleet, *cut_us)?;
                self.count_late(fleet, *cut_us, "cut", &mut samples)?;
            }
            println!("    cut, trial {trial} of {trials}, {cut} s");
        }
        Ok(samples)
    }

    /// Three candidates each, left alone.
    pub(crate) fn quiet(&mut self) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        let plan = Plan { part: "quiet", work: Work::Labels, warm: true, candidates: 3 };
        let mut fleets = self.fleets(plan, &names(FEW))?;
        let mut before = Vec::new();
        for fleet in &mut fleets {
            let leader = fleet.settled(&mut self.audit)?.user;
            let standby = fleet.standbys(&leader).pop().context("three candidates and no standby")?;
            let used = [fleet.candidate(&leader)?.processor()?, fleet.candidate(&standby)?.processor()?];
            before.push((leader, standby, used));
        }
        let from_us = now_us();
        wait(QUIET)?;
        let until_us = now_us();
        self.audit.read()?;
        let minutes = seconds(until_us - from_us) / 60.0;
        for (fleet, (leader, standby, used)) in fleets.iter_mut().zip(before) {
            let who = fleet.contender;
            let (lock, all) = self.audit.requests(&format!("{}-", who.name()), from_us, until_us);
            samples.add("requests-lock", who, lock as f64 / minutes);
            samples.add("requests-all", who, all as f64 / minutes);
            for (key, user, used) in [("processor-leader", &leader, used[0]), ("processor-standby", &standby, used[1])]
            {
                let more = fleet.candidate(user)?.processor()?.saturating_sub(used);
                samples.add(key, who, more.as_secs_f64() / minutes);
            }
            resident(fleet, &leader, &mut samples, ["resident-leader", "resident-standby"])?;
        }
        Ok(samples)
    }

    /// Who took over after a moment, and its first write.
    fn successor(
        &mut self,
        fleet: &Fleet,
        since_us: i64,
    ) -> anyhow::Result<(super::audit::Takeover, super::audit::Event)> {
        let what = format!("a successor's first write among {}", fleet.contender.name());
        self.audit.until(&what, SUCCESSOR_LIMIT, |audit| {
            let held = audit.takeover_after(&fleet.lock(), since_us)?;
            let first = audit.writes(&fleet.namespace, &held.user, held.version).first().copied()?.clone();
            Some((held, first))
        })
    }

    fn kill_all(&mut self, fleets: &mut [Fleet], trial: u32, count: usize) -> anyhow::Result<Vec<AfterKill>> {
        let mut leaders = Vec::new();
        for fleet in &mut *fleets {
            leaders.push(fleet.settled(&mut self.audit)?.user);
        }
        let mut killed = Vec::new();
        for (fleet, leader) in fleets.iter_mut().zip(&leaders) {
            killed.push(fleet.signal(leader, Signal::KILL)?);
            fleet.ended(leader)?;
            self.server.label(&fleet.namespace, &format!("after-{trial}"))?;
            wait(STAGGER)?;
        }
        let mut all = Vec::new();
        for (fleet, killed_us) in fleets.iter_mut().zip(killed) {
            let (held, first) = self.successor(fleet, killed_us)?;
            let expiry_us = self.audit.expiry_before(&fleet.lock(), &held).context("a takeover from nobody")?;
            let last_us = self.converged(fleet, &held.user, held.version, count)?;
            let (contender, held_us, first_us) = (fleet.contender, held.at_us, first.received_us);
            all.push(AfterKill { contender, killed_us, expiry_us, held_us, first_us, last_us });
        }
        // Not before: a process that starts takes the processor from a takeover.
        fleets.iter_mut().try_for_each(Fleet::fill)?;
        Ok(all)
    }

    /// Seconds from a Namespace's changed label to its last ConfigMap's.
    fn relabel(&mut self, fleet: &Fleet, leader: &str, trial: u32) -> anyhow::Result<f64> {
        let after = self.audit.last_write(&fleet.namespace).map_or(0, |write| write.version);
        let from_us = now_us();
        self.server.label(&fleet.namespace, &format!("live-{trial}"))?;
        Ok(seconds(self.converged(fleet, leader, after, MANY)? - from_us))
    }

    fn converged(&mut self, fleet: &Fleet, user: &str, after: u64, count: usize) -> anyhow::Result<i64> {
        let what = format!("{count} ConfigMaps written by {user}");
        self.audit.until(&what, CONVERGED_LIMIT, |audit| audit.converged(&fleet.namespace, user, after, count))
    }

    fn count_late(&mut self, fleet: &Fleet, since_us: i64, part: &str, samples: &mut Samples) -> anyhow::Result<()> {
        self.audit.read()?;
        let late = self.audit.late(&fleet.lock(), &fleet.namespace, since_us);
        samples.add(&format!("{part}-late"), fleet.contender, late.writes as f64);
        samples.add(&format!("{part}-two-leaders"), fleet.contender, late.tenths as f64 / 10.0);
        Ok(())
    }
}

/// The name that the beat's object has in all programs.
const BEAT: &str = "beat";

/// One takeover after a kill.
struct AfterKill {
    contender: Contender,
    killed_us: i64,
    expiry_us: i64,
    held_us: i64,
    first_us: i64,
    last_us: i64,
}

fn resident(fleet: &mut Fleet, leader: &str, samples: &mut Samples, keys: [&str; 2]) -> anyhow::Result<()> {
    let standby = fleet.standbys(leader).pop().context("a leader without a standby")?;
    for (key, user) in keys.into_iter().zip([leader, &standby]) {
        let kib = fleet.candidate(user)?.resident_kib()?;
        samples.add(key, fleet.contender, kib as f64 / 1024.0);
    }
    Ok(())
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("object-{number}")).collect()
}

fn milliseconds(us: i64) -> f64 {
    us as f64 / 1e3
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

/// Waits for a time that is part of the measurement.
fn wait(time: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < time {
        anyhow::ensure!(!process::interrupted(), "interrupted");
        std::thread::sleep(Duration::from_millis(20).min(time.saturating_sub(begun.elapsed())));
    }
    Ok(())
}
