//! From leadership and wanted plugins to running ones. [`plan()`] decides, this drives: one term at a time, each plugin of it
//! a task. A term is told to be drained only when all its Stores are dropped and its writes are settled.

mod answer;
mod barrier;
pub(crate) mod budget;
mod call;
mod circuit;
mod event;
mod fence;
mod finalizer;
pub(crate) mod guest;
mod key;
mod mapped;
mod own_writes;
mod page;
mod plan;
mod prepared;
mod refused;
mod runner;
mod schedules;
mod task;
mod term;
mod watched;
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tenure_cluster::{TermWriter, WriterSettings};
use tenure_election::{LiveTerm, Standing, Term};
use tenure_lease::{ElectionHandle, Leadership};
use tenure_sandbox::World;
use tenure_settings::RunOn;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use self::answer::describe;
pub(crate) use self::finalizer::count_held;
pub(crate) use self::plan::Generation;
use self::plan::{Running, Stage, Step, Told, plan};
use self::runner::Runner;
pub(crate) use self::term::{House, TermContext, Writers};
use crate::catalog::Wanted;

/// Connections a term's writes use at most; a plugin's writes are short.
const CONNECTIONS_MAX: usize = 32;
/// How long writes may take to fail once their connections are reset.
const SEVERED_SETTLE_LIMIT: Duration = Duration::from_millis(100);

/// Runs the wanted plugins in every term this replica gets, and those that cannot write beside all terms.
#[derive(Clone)]
pub(crate) struct Supervisor {
    pub(crate) house: Arc<House>,
    pub(crate) election: ElectionHandle,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) wanted: watch::Receiver<Wanted>,
}

/// One plugin of the running term.
struct Started {
    running: Running,
    stop: CancellationToken,
    task: Id,
}

impl Supervisor {
    /// Serves term after term. Returns only when the election has ended.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        loop {
            let (live, unconfirmed) = {
                let now = self.leadership.borrow_and_update();
                (now.live.clone(), now.unconfirmed)
            };
            if let Some(live) = live {
                self.lead(live).await?;
                continue;
            }
            // A term that began and ended between two looks: nothing was started in it.
            if let Some(term) = unconfirmed {
                self.election.drained(term, false);
            }
            if self.leadership.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Runs the plugins that run on every replica, whoever leads. Returns only when the election has ended.
    pub(crate) async fn run_everywhere(mut self) -> anyhow::Result<()> {
        let context = Arc::new(TermContext::without_leadership(&self.house));
        self.run_plugins(&context).await
    }

    async fn lead(&mut self, live: Arc<LiveTerm>) -> anyhow::Result<()> {
        let term = live.term();
        let settings = WriterSettings {
            write_timeout: self.house.write_timeout,
            margin: self.house.margin,
            connections_max: CONNECTIONS_MAX,
        };
        let writer = TermWriter::open(&self.house.cluster, Arc::clone(&live), settings)
            .context("cannot prepare the connections of this term")?;
        self.house.writers.register(term, Arc::clone(&writer));
        writer.warm_up();
        let context = Arc::new(TermContext {
            house: Arc::clone(&self.house),
            live: Arc::clone(&live),
            writer: Some(Arc::clone(&writer)),
            election: Some(self.election.clone()),
            soft: CancellationToken::new(),
            kill: CancellationToken::new(),
        });
        self.run_plugins(&context).await?;
        // Every Store is dropped. What was admitted is still to be answered, until its connections are gone anyway.
        live.shut_admission();
        let settled = tokio::select! {
            settled = writer.settle(self.house.write_timeout) => settled,
            () = over(self.leadership.clone(), term) => {
                writer.settle(SEVERED_SETTLE_LIMIT.min(self.house.margin / 8)).await
            }
        };
        tracing::debug!(%term, unanswered = settled.unanswered, "term drained");
        self.election.drained(term, settled.unanswered);
        over(self.leadership.clone(), term).await;
        // Not before: a write without an answer is severed when the gate closes.
        self.house.writers.forget(term);
        Ok(())
    }

    /// Starts and stops plugins until the term ends and none is left.
    async fn run_plugins(&mut self, context: &Arc<TermContext>) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        let mut started: BTreeMap<String, Started> = BTreeMap::new();
        loop {
            let stage = self.stage(context);
            let wanted = self.wanted.borrow_and_update().clone();
            let runs_here = if context.writer.is_some() { RunOn::Leader } else { RunOn::All };
            let here = wanted
                .iter()
                .filter(|(_, ready)| ready.loaded.world() != World::LockPolicy && ready.manifest.run_on == runs_here);
            let generations = here.map(|(identity, ready)| (identity.clone(), ready.generation)).collect();
            let running = started.iter().map(|(identity, one)| (identity.clone(), one.running)).collect();
            for step in plan(stage, &generations, &running) {
                self.take(step, context, &wanted, &mut tasks, &mut started);
            }
            if stage != Stage::Open && tasks.is_empty() {
                return Ok(());
            }
            tokio::select! {
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        context.soft.cancel();
                        context.kill.cancel();
                    }
                }
                changed = self.wanted.changed() => match changed {
                    // With the election ends the catalog, too, and what belongs to no term hears of either first.
                    Err(_) if context.writer.is_none() => {
                        context.soft.cancel();
                        context.kill.cancel();
                    }
                    changed => changed.context("the catalog has ended")?,
                },
                Some(ended) = tasks.join_next_with_id() => {
                    let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
                    started.retain(|_, one| one.task != id);
                    let (_, worked) = ended.context("a plugin's task panicked")?;
                    worked?;
                }
            }
        }
    }

    fn take(
        &self,
        step: Step,
        context: &Arc<TermContext>,
        wanted: &Wanted,
        tasks: &mut JoinSet<anyhow::Result<()>>,
        started: &mut BTreeMap<String, Started>,
    ) {
        match step {
            Step::Start(identity, generation) => {
                let Some(ready) = wanted.get(&identity) else { return };
                // Gone from the board: gone from what is wanted, too, in a moment.
                let Some(metrics) = self.house.board.metrics(&identity) else { return };
                let stop = CancellationToken::new();
                let runner = Runner::new(Arc::clone(ready), Arc::clone(context), stop.clone(), metrics);
                let task = tasks.spawn(runner.run()).id();
                started.insert(identity, Started { running: Running { generation, told: Told::Work }, stop, task });
            }
            Step::Stop(identity) => {
                if let Some(one) = started.get_mut(&identity) {
                    one.stop.cancel();
                    one.running.told = Told::Stop;
                }
            }
            Step::Kill(identity) => {
                if let Some(one) = started.get_mut(&identity) {
                    // All of a term die together: the runners listen to the term itself.
                    one.stop.cancel();
                    one.running.told = Told::Die;
                }
            }
        }
    }

    fn stage(&mut self, context: &TermContext) -> Stage {
        if context.writer.is_none() {
            self.leadership.mark_unchanged();
            return if context.kill.is_cancelled() { Stage::Killed } else { Stage::Open };
        }
        let (kill, is_current) = {
            let leadership = self.leadership.borrow_and_update();
            let is_current = leadership.live.as_ref().is_some_and(|live| live.term() == context.live.term());
            (leadership.kill, is_current)
        };
        let closed = context.live.standing(self.house.clock.now()) == Standing::Closed;
        if kill || !is_current || closed || context.kill.is_cancelled() {
            context.soft.cancel();
            context.kill.cancel();
            return Stage::Killed;
        }
        // Soft is the elector's word, not this clock's: a renewal may be on its way here.
        if context.live.is_cancelled() {
            context.soft.cancel();
            return Stage::Draining;
        }
        Stage::Open
    }
}

/// Waits until a term's gate has closed.
async fn over(mut leadership: watch::Receiver<Leadership>, term: Term) {
    let ended = leadership.wait_for(|now| now.live.as_ref().is_none_or(|live| live.term() != term)).await;
    if ended.is_err() {
        tracing::debug!(%term, "the election is gone, and the term with it");
    }
}
