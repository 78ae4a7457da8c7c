//! What a lock policy implements and what it is asked.

use std::{collections::BTreeMap, time::Duration};

use serde::de::DeserializeOwned;

use crate::{Reader, Result};

/// A lock policy: says whether this replica takes, leaves or gives up the lock. It runs on every replica.
///
/// What it says is bounded by the host: waits on a free lock come to [`Observation::wait_max`] at most, a yield is heeded once a
/// minute and only while a peer campaigns. Without an answer in 100 ms a free lock is taken and a held one kept.
pub trait LockPolicy: Sized + 'static {
    /// The manifest's `[settings]`. `#[serde(deny_unknown_fields)]` catches misspelt keys; `()` takes none.
    type Settings: DeserializeOwned;

    /// Called once, before the first question.
    ///
    /// # Errors
    /// When the settings make no sense. Each question then ends in a trap, which the host reports.
    fn new(settings: Self::Settings) -> Result<Self>;

    /// Asked ahead of time, on every change and every few seconds. The last verdict holds until the next.
    fn decide(&mut self, observation: &Observation, reader: &Reader) -> Verdict;
}

/// What a candidate is to the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It does not hold it.
    Standby,
    /// It holds it.
    Leader,
}

/// The lock's record, as this candidate last saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRecord {
    /// Empty: nobody.
    pub holder: String,
    /// The holder's term, or the last one's; absent where the record has none that can be read.
    pub term: Option<u64>,
    /// `spec.leaseDurationSeconds`.
    pub lease_duration: Duration,
    /// How often the lock changed hands.
    pub transitions: u32,
    /// For how long it has been seen to say this.
    pub unchanged: Duration,
    /// Until it may be taken, if nothing changes.
    pub free_in: Duration,
}

/// A candidate: this replica, or a peer as its candidate Lease describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its Pod's name, or its host's.
    pub name: String,
    /// Where it runs; absent where nobody told it.
    pub zone: Option<String>,
    /// The version of Tenure.
    pub version: String,
    /// The load of its machine, in percent of its processors.
    pub load: u32,
    /// Whether its last verdict was to campaign.
    pub campaigns: bool,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The lock: `<namespace>/<name>`.
    pub lock: String,
    /// What this replica is to it.
    pub role: Role,
    /// Absent where there is no record yet.
    pub record: Option<LockRecord>,
    /// This replica.
    pub own: Candidate,
    /// The labels it was given (`election.labels`).
    pub labels: BTreeMap<String, String>,
    /// The others that have been heard of within the last 90 s.
    pub peers: Vec<Candidate>,
    /// What waits on a free lock may come to, all together.
    pub wait_max: Duration,
}

/// The answer. A standby campaigns or waits, a leader keeps or yields; anything else counts as no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take the lock as soon as it is free.
    Campaign,
    /// Leave a free lock alone for so long, from when it is free; said again, it does not begin anew. Whole milliseconds.
    Wait(Duration),
    /// Go on leading.
    Keep,
    /// Give the lock up, for this reason.
    Yield(String),
}
