//! What all plugins share in one term. Dropped with the term; the next has one of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tenure_cluster::{BarrierReport, Cluster, TermWriter, WatchKey, WriterStats};
use tenure_console::{LockMetrics, WriteFate};
use tenure_election::{Authority, Clock, Instant as Deadline, LiveTerm, Standing, Term, Token};
use tenure_lease::ElectionHandle;
use tenure_sandbox::Sandbox;
use tokio_util::sync::CancellationToken;

use crate::board::Board;

/// What lives as long as the process and every term uses.
pub(crate) struct House {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) board: Arc<Board>,
    pub(crate) lock_metrics: LockMetrics,
    pub(crate) writers: Arc<Writers>,
    /// How long an admitted write may take to be answered.
    pub(crate) write_timeout: Duration,
    /// The election's margin: what one delay on the network may cost.
    pub(crate) margin: Duration,
    /// How long guests have to come to their end where the term goes on or is drained.
    pub(crate) shutdown_grace: Duration,
    /// Within a term a key waits at most so long for the cache to see its last call's writes.
    pub(crate) own_writes_wait_max: Duration,
}

/// One term; or, without a writer, the life of this replica for plugins that cannot write.
pub(crate) struct TermContext {
    pub(crate) house: Arc<House>,
    pub(crate) live: Arc<LiveTerm>,
    pub(crate) writer: Option<Arc<TermWriter>>,
    /// Hears of fencing tokens that writes meet; there with the writer.
    pub(crate) election: Option<ElectionHandle>,
    /// Leadership ends: calls should come to their end.
    pub(crate) soft: CancellationToken,
    /// Guests must die.
    pub(crate) kill: CancellationToken,
}

impl TermContext {
    /// What belongs to no term: it begins and ends with this replica, and nothing is ever written in it.
    pub(crate) fn without_leadership(house: &Arc<House>) -> Self {
        let never = Deadline { boot: Deadline::NEVER, wall: Deadline::NEVER };
        // Its number is told to nobody: see `number`.
        let live = LiveTerm::new(&Authority { term: Term::MAX, soft_until: never, hard_until: never });
        Self {
            house: Arc::clone(house),
            live: Arc::new(live),
            writer: None,
            election: None,
            soft: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }

    /// This term for one task, which can be told to end, and be killed, before the term is.
    pub(crate) fn of_task(&self, stop: CancellationToken) -> Self {
        Self {
            house: Arc::clone(&self.house),
            live: Arc::clone(&self.live),
            writer: self.writer.clone(),
            election: self.election.clone(),
            soft: stop,
            kill: self.kill.child_token(),
        }
    }

    /// The term as its plugins are told of it; 0 where there is none.
    pub(crate) fn number(&self) -> u64 {
        if self.writer.is_some() { self.live.term().get() } else { 0 }
    }

    /// Whether guests are to be told that leadership ends.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.soft.is_cancelled() || self.live.standing(self.house.clock.now()) != Standing::Firm
    }

    /// Whether a guest may still ask anything.
    pub(crate) fn is_over(&self) -> bool {
        self.kill.is_cancelled() || self.live.standing(self.house.clock.now()) == Standing::Closed
    }

    /// Tells the election of a fencing token that is larger than this term's.
    pub(crate) fn met(&self, token: Token) {
        if let Some(election) = &self.election {
            election.token(token);
        }
    }

    /// Waits until the cache holds everything that was written before this call.
    pub(crate) async fn barrier(&self, keys: &[WatchKey], limit: Duration) -> BarrierReport {
        let started = Instant::now();
        let report = self.house.cluster.barrier(keys, limit).await;
        if report.is_ready() {
            self.house.lock_metrics.observe_barrier(started.elapsed());
        }
        report
    }
}

/// The writers of the terms that have not ended: for the election thread to sever, and to be counted.
pub(crate) struct Writers {
    open: Mutex<BTreeMap<Term, Open>>,
    metrics: LockMetrics,
}

struct Open {
    writer: Arc<TermWriter>,
    /// What the metrics have already.
    counted: WriterStats,
}

impl Writers {
    pub(crate) fn new(metrics: LockMetrics) -> Self {
        Self { open: Mutex::default(), metrics }
    }

    /// From now on the election thread can sever it.
    pub(crate) fn register(&self, term: Term, writer: Arc<TermWriter>) {
        self.lock().insert(term, Open { writer, counted: WriterStats::default() });
    }

    /// The term is over and settled.
    pub(crate) fn forget(&self, term: Term) {
        self.count();
        self.lock().remove(&term);
    }

    /// Resets every connection of a term. Called on the election thread the instant its gate closes.
    pub(crate) fn sever(&self, term: Term) {
        let writer = self.lock().get(&term).map(|open| Arc::clone(&open.writer));
        if let Some(writer) = writer {
            writer.sever();
        }
    }

    /// Brings the metrics up to date.
    pub(crate) fn count(&self) {
        for open in self.lock().values_mut() {
            let (now, before) = (open.writer.stats(), open.counted);
            self.metrics.count_writes(WriteFate::Admitted, now.admitted - before.admitted);
            self.metrics.count_writes(WriteFate::Answered, now.written - before.written);
            self.metrics.count_writes(WriteFate::RefusedLate, now.refused_late - before.refused_late);
            self.metrics.count_writes(WriteFate::Unanswered, now.unknown - before.unknown);
            open.counted = now;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Term, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
