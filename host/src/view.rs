//! What the console shows of this replica. Reads only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tenure_console::{
    Health, LockMetrics, LockStatus, Metrics, Readiness, Replica, Role, STATUS_VERSION, Status, View,
};
use tenure_election::{Phase, Record};
use tenure_lease::{Leadership, Lock};
use tokio::sync::watch;

use crate::board::Board;
use crate::supervise::Writers;
use crate::throttling::Throttled;

/// How long past its lease a leader may go on without a renewal before a restart would help; what
/// kube-controller-manager gives client-go's check.
const HEALTH_TOLERANCE: Duration = Duration::from_secs(20);

/// The replica as the console sees it.
pub(crate) struct ReplicaView {
    pub(crate) lock: Lock,
    /// Whether there is an election at all.
    pub(crate) elects: bool,
    /// `<namespace>/<pod>`.
    pub(crate) pod: Option<String>,
    pub(crate) started: jiff::Timestamp,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) board: Arc<Board>,
    pub(crate) sources_synced: Arc<AtomicBool>,
    pub(crate) lock_metrics: LockMetrics,
    pub(crate) writers: Arc<Writers>,
    /// How the settings stand to their file, where that needs saying.
    pub(crate) settings: watch::Receiver<Option<String>>,
}

impl View for ReplicaView {
    fn health(&self) -> Health {
        match self.leadership.borrow().lease_health.check(HEALTH_TOLERANCE) {
            Ok(()) => Health::healthy(),
            Err(overdue) => Health::unhealthy(overdue.to_string()),
        }
    }

    fn ready(&self) -> Readiness {
        if !self.sources_synced.load(Ordering::SeqCst) {
            return Readiness::waiting("the plugin sources have not been read yet");
        }
        match &self.leadership.borrow().last_error {
            None => Readiness::ready(),
            Some(error) => Readiness::waiting(error.clone()),
        }
    }

    fn status(&self) -> Status {
        let leadership = self.leadership.borrow().clone();
        Status {
            version: STATUS_VERSION,
            replica: Replica {
                identity: leadership.identity.clone(),
                pod: self.pod.clone(),
                started: self.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                role: if self.elects { role(leadership.phase) } else { Role::Single },
                program_version: env!("CARGO_PKG_VERSION").to_owned(),
                settings: self.settings.borrow().clone(),
            },
            locks: vec![self.lock_status(&leadership)],
            plugins: self.board.rows(),
        }
    }

    fn before_scrape(&self, _metrics: &Metrics) {
        let (term, slow_path_total, deaths_proved_total) = {
            let now = self.leadership.borrow();
            (now.live.as_ref().map(|live| live.term().get()), now.slow_path_total, now.deaths_proved_total)
        };
        self.lock_metrics.set_term(term);
        self.lock_metrics.set_slow_path_total(slow_path_total);
        self.lock_metrics.set_deaths_proved_total(deaths_proved_total);
        if let Some(throttled) = Throttled::of_this_container() {
            self.lock_metrics.set_throttled_total(throttled.periods, throttled.time);
        }
        self.writers.count();
    }
}

impl ReplicaView {
    fn lock_status(&self, leadership: &Leadership) -> LockStatus {
        let record = leadership.observed.as_ref().map(|observed| &observed.seen.record);
        let holder = record.map(|record| record.holder.clone()).filter(|holder| !holder.is_empty());
        let now = jiff::Timestamp::now().as_second();
        let acquired = record.and_then(|record| record.acquire_time).map(|since| since.as_secs());
        LockStatus {
            namespace: self.lock.namespace.clone(),
            name: self.lock.name.clone(),
            phase: phase(leadership.phase).to_owned(),
            age_seconds: holder.as_ref().and(acquired).map(|then| u64::try_from(now).unwrap_or(0).saturating_sub(then)),
            holder,
            term: record.and_then(term),
            transitions: record.map_or(0, |record| record.transitions),
            last_error: leadership.last_error.clone(),
        }
    }
}

fn term(record: &Record) -> Option<u64> {
    record.annotations.get(Record::TERM)?.split('/').next()?.parse().ok()
}

fn role(phase: Phase) -> Role {
    match phase {
        Phase::Leading => Role::Leader,
        Phase::Draining | Phase::Releasing => Role::Draining,
        Phase::Standby | Phase::Acquiring | Phase::Finished => Role::Standby,
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Standby => "standby",
        Phase::Acquiring => "acquiring",
        Phase::Leading => "leading",
        Phase::Draining => "draining",
        Phase::Releasing => "releasing",
        Phase::Finished => "finished",
    }
}
