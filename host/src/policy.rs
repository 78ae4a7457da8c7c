//! The lock policy on this replica, leader or not: asks the plugin that the settings name, ahead of time, and hands the elector
//! what it says. Owns when it is asked and what counts as no answer; what a verdict may do is the elector's to bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tenure_console::PluginState;
use tenure_election::{Observed, Phase, Record, Verdict};
use tenure_lease::{Candidacy, ElectionHandle, Leadership};
use tenure_sandbox::{Candidate, Instance, KillSwitch, LockRecord, Observation, Verdict as Said, World};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::catalog::{Ready, Wanted};
use crate::supervise::budget::Budget;
use crate::supervise::guest::Guest;
use crate::supervise::{Generation, House, TermContext, describe};

/// What one answer may take, reads included: what is asked ahead of time is still to be there in time.
const DECIDE_LIMIT: Duration = Duration::from_millis(100);
/// From one question to the next at least: news come in groups.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// After an answer that was none, so that one that traps at once is not started again and again.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// What is told of a yield's reason.
const REASON_CHARS_MAX: usize = 200;

/// Asks the policy for as long as the process runs.
pub(crate) struct PolicyAsker {
    /// The plugin that the settings name.
    pub(crate) identity: String,
    /// `<namespace>/<name>`.
    pub(crate) lock: String,
    pub(crate) labels: Vec<(String, String)>,
    /// What waits on a free lock may come to.
    pub(crate) wait_max: Duration,
    /// It is asked as often as the lock is renewed, also when nothing changes.
    pub(crate) ask_every: Duration,
    pub(crate) house: Arc<House>,
    pub(crate) election: ElectionHandle,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) wanted: watch::Receiver<Wanted>,
    /// Whether every plugin that was there at the start has been loaded or refused; nobody is asked before.
    pub(crate) synced: Arc<AtomicBool>,
    pub(crate) own: watch::Sender<Candidacy>,
    pub(crate) peers: watch::Receiver<Vec<Candidacy>>,
}

/// An instance of the policy, and which load of it that is.
struct Running {
    generation: Generation,
    instance: Instance,
}

impl PolicyAsker {
    /// Returns when the election has ended.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut running: Option<Running> = None;
        let mut asked_at = Instant::now();
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                changed = self.leadership.changed() => if changed.is_err() { return Ok(()) },
                changed = self.wanted.changed() => if changed.is_err() { return Ok(()) },
                changed = self.peers.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep_until(asked_at + self.ask_every) => {}
            }
            tokio::time::sleep_until(asked_at + pause).await;
            asked_at = Instant::now();
            let Some(leads) = self.role().filter(|_| self.synced.load(Ordering::SeqCst)) else { continue };
            let answer = self.ask(leads, &mut running).await;
            if self.role() != Some(leads) {
                continue; // asked about another role than this is by now
            }
            pause = if answer.is_ok() { PAUSE_MIN } else { PAUSE_AFTER_FAILURE };
            self.take(leads, answer);
        }
    }

    /// Whether this replica leads; nothing while it is about to begin or to end.
    fn role(&self) -> Option<bool> {
        match self.leadership.borrow().phase {
            Phase::Standby | Phase::Acquiring => Some(false),
            Phase::Leading => Some(true),
            Phase::Draining | Phase::Releasing | Phase::Finished => None,
        }
    }

    /// The verdict, or why there is none.
    async fn ask(&mut self, leads: bool, running: &mut Option<Running>) -> Result<Verdict, String> {
        let ready = self.wanted.borrow_and_update().get(&self.identity).cloned();
        let Some(ready) = ready else {
            *running = None;
            return Err("it is not loaded (see the plugin's row in `tenure status`)".to_owned());
        };
        if ready.loaded.world() != World::LockPolicy {
            *running = None;
            return Err(format!("it is no lock policy: its world is `{}`", ready.loaded.world().name()));
        }
        if running.as_ref().is_none_or(|running| running.generation != ready.generation) {
            *running = Some(self.start(&ready).await?);
        }
        let observation = self.observe(leads);
        let Some(Running { instance, .. }) = running else { return Err("it does not run".to_owned()) };
        let said = match instance.decide(observation, DECIDE_LIMIT).await {
            Ok(said) => said,
            Err(error) => {
                if error.discards_instance() {
                    *running = None;
                }
                return Err(describe(&error));
            }
        };
        let verdict = in_the_electors_words(said);
        if verdict.fits(leads) {
            return Ok(verdict);
        }
        let role = if leads { "the leader" } else { "a standby" };
        Err(format!("it says `{}` to {role}", word(&verdict)))
    }

    async fn start(&self, ready: &Arc<Ready>) -> Result<Running, String> {
        // It belongs to no term, and its world has no import that writes.
        let term = Arc::new(TermContext::without_leadership(&self.house));
        let budget = Arc::new(Budget::new(ready.budgets.requests_per_second));
        let metrics = self.house.board.metrics(&self.identity).ok_or("it has just gone")?;
        let guest = Guest::new(ready, &term, &budget, metrics);
        let started = ready.loaded.instantiate(guest, ready.budgets.instance.clone(), KillSwitch::new()).await;
        let instance = started.map_err(|error| describe(&error))?;
        Ok(Running { generation: ready.generation, instance })
    }

    fn observe(&mut self, leads: bool) -> Observation {
        let (own, peers) = (self.own.borrow().clone(), self.peers.borrow_and_update().clone());
        let observed = self.leadership.borrow_and_update().observed.clone();
        let record = observed.map(|observed| self.record(&observed));
        Observation {
            lock: self.lock.clone(),
            leads,
            record,
            own: candidate(Candidacy { load: load_percent(), ..own }),
            labels: self.labels.clone(),
            peers: peers.into_iter().map(candidate).collect(),
            wait_max_ms: milliseconds(self.wait_max),
        }
    }

    fn record(&self, observed: &Observed) -> LockRecord {
        let record = &observed.seen.record;
        let now = self.house.clock.now().boot;
        let term = record.annotations.get(Record::TERM).and_then(|mark| mark.split('/').next());
        LockRecord {
            holder: record.holder.clone(),
            term: term.and_then(|term| term.parse().ok()),
            lease_duration_ms: u64::from(record.lease_duration_seconds) * 1000,
            transitions: record.transitions,
            unchanged_ms: milliseconds(now.saturating_sub(observed.first_seen.boot)),
            free_in_ms: milliseconds(observed.expires.boot.saturating_sub(now)),
        }
    }

    /// Hands the verdict to the elector and to the other candidates; without one, the default policy's.
    fn take(&self, leads: bool, answer: Result<Verdict, String>) {
        let board = &self.house.board;
        let verdict = match answer {
            Ok(verdict) => {
                board.set_running(&self.identity, PluginState::Running, None);
                board.set_result(&self.identity, true, word(&verdict).to_owned());
                verdict
            }
            Err(why) => {
                let default = if leads { Verdict::Keep } else { Verdict::Campaign };
                let told = format!(
                    "the lock policy {} gives no verdict: {why}; the default policy decides ({})",
                    self.identity,
                    word(&default)
                );
                board.set_running(&self.identity, PluginState::CircuitOpen, Some(told.clone()));
                board.set_result(&self.identity, false, why);
                self.house.lock_metrics.count_policy_failure();
                self.election.warn(told);
                default
            }
        };
        self.own.send_if_modified(|own| {
            let changed = own.verdict != word(&verdict);
            word(&verdict).clone_into(&mut own.verdict);
            own.load = load_percent();
            changed
        });
        self.election.verdict(verdict);
    }
}

fn in_the_electors_words(said: Said) -> Verdict {
    match said {
        Said::Campaign => Verdict::Campaign,
        Said::Wait { ms } => Verdict::Wait(Duration::from_millis(ms.into())),
        Said::Keep => Verdict::Keep,
        Said::Yield { reason } => {
            let plain = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
            Verdict::Yield { reason: plain.take(REASON_CHARS_MAX).collect() }
        }
    }
}

/// A verdict, as candidate Leases and status say it.
fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Campaign => "campaign",
        Verdict::Wait(_) => "wait",
        Verdict::Keep => "keep",
        Verdict::Yield { .. } => "yield",
    }
}

fn candidate(candidacy: Candidacy) -> Candidate {
    let campaigns = candidacy.campaigns();
    let Candidacy { name, zone, version, load, .. } = candidacy;
    Candidate { name, zone, version, load, campaigns }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The one-minute average of processes that want to run, in percent of the processors; 0 where the system does not say.
fn load_percent() -> u32 {
    let loaded = std::fs::read_to_string("/proc/loadavg").ok();
    let hundredths = loaded.and_then(|text| text.split(['.', ' ']).take(2).collect::<String>().parse::<u32>().ok());
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    hundredths.unwrap_or(0) / u32::try_from(processors).unwrap_or(1)
}
