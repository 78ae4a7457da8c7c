//! From leadership and wanted plugins to running ones. [`plan()`] decides, this drives: one term at a time, each plugin of it
//! a task. A term is told to be drained only when all its Stores are dropped and its writes are settled.

mod answer;
mod budget;
mod call;
mod circuit;
mod event;
mod guest;
mod key;
mod page;
mod plan;
mod runner;
mod schedules;
mod term;
mod watched;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tenure_cluster::{TermWriter, WriterSettings};
use tenure_election::{LiveTerm, Standing};
use tenure_lease::{ElectionHandle, Leadership};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use self::answer::describe;
pub(crate) use self::plan::Generation;
use self::plan::{Running, Stage, Step, Told, plan};
use self::runner::Runner;
use self::term::TermContext;
pub(crate) use self::term::{House, Writers};
use crate::catalog::Wanted;

/// Connections a term's writes use at most; a plugin's writes are short.
const CONNECTIONS_MAX: usize = 32;
/// How long writes may take to fail once their connections are reset.
const SEVERED_SETTLE_LIMIT: Duration = Duration::from_millis(100);

/// Runs the wanted plugins in every term this replica gets.
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
            let live = self.leadership.borrow_and_update().live.clone();
            match live {
                Some(live) => self.lead(live).await?,
                None if self.leadership.changed().await.is_err() => return Ok(()),
                None => {}
            }
        }
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
        let context = Arc::new(TermContext {
            house: Arc::clone(&self.house),
            live: Arc::clone(&live),
            writer: Arc::clone(&writer),
            soft: CancellationToken::new(),
            kill: CancellationToken::new(),
        });
        self.run_plugins(&context).await?;
        // Every Store is dropped. What was admitted is still to be answered, unless its connections are gone anyway.
        live.shut_admission();
        let limit = if self.is_closed(&live) { SEVERED_SETTLE_LIMIT } else { self.house.write_timeout };
        let settled = writer.settle(limit).await;
        tracing::debug!(%term, unanswered = settled.unanswered, "term drained");
        self.house.writers.forget(term);
        self.election.drained(term, settled.unanswered);
        while self.leadership.borrow_and_update().live.as_ref().is_some_and(|now| now.term() == term) {
            if self.leadership.changed().await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Starts and stops plugins until the term ends and none is left.
    async fn run_plugins(&mut self, context: &Arc<TermContext>) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        let mut started: BTreeMap<String, Started> = BTreeMap::new();
        loop {
            let stage = self.stage(context);
            let wanted = self.wanted.borrow_and_update().clone();
            let generations = wanted.iter().map(|(identity, ready)| (identity.clone(), ready.generation)).collect();
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
                changed = self.wanted.changed() => changed.context("the catalog has ended")?,
                Some(ended) = tasks.join_next_with_id() => {
                    let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
                    started.retain(|_, one| one.task != id);
                    ended.context("a plugin's task panicked")?;
                }
            }
        }
    }

    fn take(
        &self,
        step: Step,
        context: &Arc<TermContext>,
        wanted: &Wanted,
        tasks: &mut JoinSet<()>,
        started: &mut BTreeMap<String, Started>,
    ) {
        match step {
            Step::Start(identity, generation) => {
                let Some(ready) = wanted.get(&identity) else { return };
                let stop = CancellationToken::new();
                let runner = Runner::new(Arc::clone(ready), Arc::clone(context), stop.clone());
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
        let (kill, is_current) = {
            let leadership = self.leadership.borrow_and_update();
            let is_current = leadership.live.as_ref().is_some_and(|live| live.term() == context.live.term());
            (leadership.kill, is_current)
        };
        let standing = context.live.standing(self.house.clock.now());
        if kill || !is_current || standing == Standing::Closed || context.kill.is_cancelled() {
            context.soft.cancel();
            context.kill.cancel();
            return Stage::Killed;
        }
        if standing == Standing::Soft {
            context.soft.cancel();
            return Stage::Draining;
        }
        Stage::Open
    }

    fn is_closed(&self, live: &LiveTerm) -> bool {
        live.standing(self.house.clock.now()) == Standing::Closed
    }
}
