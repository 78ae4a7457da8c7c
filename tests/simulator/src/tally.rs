//! What many seeds gave, in one line.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::episode::Episode;
use crate::judge::Exception;

/// Sums over episodes.
#[derive(Debug, Default)]
pub struct Tally {
    /// Seeds run.
    pub seeds: u64,
    /// Time simulated.
    pub simulated: Duration,
    /// Terms begun.
    pub terms: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Two authorities in one of the named cases.
    pub excepted: BTreeMap<Exception, u64>,
    /// Terms that fell because the last one was forgotten.
    pub terms_forgotten: u64,
    /// Late writes of plugins that passed their last look in time.
    pub residue: u64,
    /// Locks taken from the dead before they were over.
    pub taken_from_dead: u64,
    /// Yields of lock policies that were heeded.
    pub yields: u64,
    /// client-go's releases that overwrote another's record.
    pub overwritten: u64,
    /// The longest time for which two client-go workloads ran at once.
    pub client_go_overlap_max: Duration,
    /// Seeds in which an oracle found something.
    pub violations: u64,
}

impl Tally {
    /// Adds one episode.
    pub fn add(&mut self, episode: &Episode) {
        let judge = &episode.world.judge;
        self.seeds += 1;
        self.simulated += episode.world.now;
        self.terms += judge.begun.len() as u64;
        for (kind, times) in &episode.world.faults {
            *self.faults.entry(kind).or_default() += times;
        }
        for (exception, times) in &judge.excepted {
            *self.excepted.entry(*exception).or_default() += times;
        }
        self.terms_forgotten += judge.terms_forgotten;
        self.residue += judge.residue;
        self.taken_from_dead += judge.taken_from_dead;
        self.yields += judge.yields;
        self.overwritten += judge.overwritten;
        self.client_go_overlap_max = self.client_go_overlap_max.max(judge.client_go_overlap_max);
        self.violations += u64::from(episode.is_wrong());
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total: u64 = self.faults.values().sum();
        write!(
            f,
            "{:.1} simulated hours, {} seeds, {total} faults (",
            self.simulated.as_secs_f64() / 3600.0,
            self.seeds
        )?;
        for (index, (kind, times)) in self.faults.iter().enumerate() {
            write!(f, "{}{kind} {times}", if index == 0 { "" } else { ", " })?;
        }
        write!(f, "), {} terms, {} forgotten, excepted", self.terms, self.terms_forgotten)?;
        for (exception, times) in &self.excepted {
            write!(f, " {exception:?} {times}")?;
        }
        write!(
            f,
            ", {} residue, {} taken from the dead, {} yields, client-go: {} leases overwritten, two at once for {:.1} s at most; {} violations",
            self.residue,
            self.taken_from_dead,
            self.yields,
            self.overwritten,
            self.client_go_overlap_max.as_secs_f64(),
            self.violations
        )
    }
}
