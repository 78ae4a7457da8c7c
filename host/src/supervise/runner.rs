//! One plugin in one term: from the cache's changes to calls of its instances. Owns the plugin's queue and its instances;
//! all of them are gone when [`Runner::run`] returns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, SelectAll, StreamExt as _};
use tenure_cluster::{Change, FieldSelector, GetQuery, Selector, WatchKey};
use tenure_console::{PluginMetrics, PluginState, ReconcileResult};
use tenure_reconcile::{Cause, Done, Queue, QueueSettings, Ready as ReadyKey};
use tenure_sandbox::{CallError, KillSwitch, ObjectRef, Outcome, Request};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer::describe;
use super::budget::Budget;
use super::call::{Call, Called, Worker, retry_after};
use super::circuit::Circuit;
use super::guest::WriteMade;
use super::key::Key;
use super::schedules::Schedules;
use super::term::TermContext;
use super::watched::Watched;
use crate::catalog::Ready;

/// How long the barrier may take before it is tried again; a watch that is forbidden never gets through it.
const BARRIER_LIMIT: Duration = Duration::from_secs(10);
/// How long a plugin waits after a barrier that did not get through.
const BARRIER_RETRY: Duration = Duration::from_secs(1);
/// How often gauges and the row in status are brought up to date.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// One plugin at work.
pub(crate) struct Runner {
    ready: Arc<Ready>,
    term: Arc<TermContext>,
    /// Start no further call.
    stop: CancellationToken,
    die: KillSwitch,
    budget: Arc<Budget>,
    queue: Queue<Key>,
    schedules: Schedules,
    circuit: Circuit,
    watched: Watched,
    /// Watches that have been filled in this term.
    filled: Vec<WatchKey>,
    idle: Vec<Worker>,
    calls: JoinSet<Called>,
    /// Waits for the cache to see what a call wrote.
    own_writes: JoinSet<Option<Key>>,
    metrics: PluginMetrics,
    adds_counted: u64,
    retries_counted: u64,
}

type Changes = SelectAll<BoxStream<'static, (WatchKey, Change)>>;

impl Runner {
    pub(crate) fn new(ready: Arc<Ready>, term: Arc<TermContext>, stop: CancellationToken) -> Self {
        let settings = QueueSettings { concurrency: ready.budgets.concurrency_max, ..QueueSettings::default() };
        Self {
            metrics: term.house.board.enter(&ready.identity, &ready.key),
            budget: Arc::new(Budget::new(ready.budgets.requests_per_second)),
            queue: Queue::new(&settings, term.live.term().get()),
            schedules: Schedules::new(&ready.schedules),
            circuit: Circuit::default(),
            watched: Watched::default(),
            filled: Vec::new(),
            idle: Vec::new(),
            calls: JoinSet::new(),
            own_writes: JoinSet::new(),
            die: KillSwitch::new(),
            adds_counted: 0,
            retries_counted: 0,
            ready,
            term,
            stop,
        }
    }

    /// Works until told to stop or to die; then no instance of it is left.
    pub(crate) async fn run(mut self) {
        let (kill, stop) = (self.term.kill.clone(), self.stop.clone());
        let changes = tokio::select! {
            changes = self.open() => Some(changes),
            () = stop.cancelled() => None,
            () = kill.cancelled() => None,
        };
        if let Some(changes) = changes {
            self.set_state(PluginState::Running, None);
            self.work(changes).await;
        }
        if kill.is_cancelled() {
            self.die.kill();
            self.term.house.sandbox.kill_epoch();
        }
        // Dropping a call drops its Store; a guest that computes is reached at its next epoch.
        self.calls.shutdown().await;
        self.idle.clear();
        self.term.house.board.set_stopped(&self.ready.identity);
    }

    /// Subscribes, and waits at the barrier: no key is handed out before it is passed.
    async fn open(&mut self) -> Changes {
        let mut changes = SelectAll::new();
        let keys = self.ready.watch_keys();
        for key in &keys {
            let key = key.clone();
            let subscription = self.term.house.cluster.hub().subscribe(key.clone());
            let stream = futures::stream::unfold(subscription, |mut subscription| async move {
                subscription.next().await.map(|change| (change, subscription))
            });
            changes.push(stream.map(move |change| (key.clone(), change)).boxed());
        }
        while !keys.is_empty() {
            let report = self.term.barrier(&keys, BARRIER_LIMIT).await;
            if report.is_ready() {
                tracing::debug!(plugin = self.ready.identity, ?report, "barrier passed");
                break;
            }
            tracing::warn!(
                plugin = self.ready.identity,
                ?report,
                "the cache is not complete yet; no key is handed out"
            );
            self.set_state(PluginState::Ready, Some(format!("waiting for a complete cache: {report:?}")));
            tokio::time::sleep(BARRIER_RETRY).await;
        }
        changes
    }

    async fn work(&mut self, mut changes: Changes) {
        let (kill, stop) = (self.term.kill.clone(), self.stop.clone());
        let mut show = tokio::time::interval(SHOW_EVERY);
        show.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stopping = stop.is_cancelled();
            if stopping && self.calls.is_empty() {
                return;
            }
            if !stopping {
                self.hand_out();
            }
            let wake = self.wake_at();
            tokio::select! {
                biased;
                () = kill.cancelled() => return,
                () = stop.cancelled(), if !stopping => {}
                Some(called) = self.calls.join_next(), if !self.calls.is_empty() => match called {
                    Ok(called) => self.called(called),
                    Err(error) => tracing::error!(plugin = self.ready.identity, %error, "a call's task failed"),
                },
                Some(seen) = self.own_writes.join_next(), if !self.own_writes.is_empty() => {
                    if let Ok(Some(key)) = seen {
                        self.queue.release(&key);
                    }
                }
                Some((key, change)) = changes.next(), if !stopping => self.changed(key, change),
                () = tokio::time::sleep_until(wake.into()), if !stopping => self.schedules.queue_due(&mut self.queue),
                _ = show.tick() => self.show(),
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let times = [self.queue.poll_timeout(), self.schedules.next(now), self.circuit.closes_at()];
        times.into_iter().flatten().filter(|at| *at > now).fold(now + SHOW_EVERY, Instant::min)
    }

    fn changed(&mut self, key: WatchKey, change: Change) {
        let now = Instant::now();
        let kind = self.ready.kind_of(&key.resource);
        let news = match change {
            Change::Applied(object) => {
                Vec::from_iter(self.watched.applied(kind, &object, self.ready.selects(&key.resource, &object)))
            }
            Change::Deleted(object) => Vec::from_iter(self.watched.deleted(kind, &object)),
            Change::Resynced => {
                let hub = self.term.house.cluster.hub();
                let mut present = hub.list(&key, None, &Selector::default(), &FieldSelector::default());
                present.retain(|object| self.ready.selects(&key.resource, object));
                let news = self.watched.resynced(kind, key.namespace.as_deref(), &present);
                let first = !self.filled.contains(&key);
                if first {
                    self.filled.push(key);
                }
                let cause = |cause| if first && cause == Cause::Changed { Cause::TermStarted } else { cause };
                news.into_iter().map(|(key, why)| (key, cause(why))).collect()
            }
            Change::Failing { code, message } => {
                tracing::warn!(plugin = self.ready.identity, watch = %key, code, message, "a watch of this plugin fails");
                self.set_state(PluginState::Running, Some(format!("the watch of {key} fails: {message}")));
                Vec::new()
            }
        };
        for (key, cause) in news {
            self.queue.add(now, key, cause);
        }
    }

    fn hand_out(&mut self) {
        loop {
            let now = Instant::now();
            if self.calls.len() >= self.circuit.calls_max(now) {
                return;
            }
            let Some(ready) = self.queue.poll(now) else { return };
            self.metrics.observe_waited(now.saturating_duration_since(ready.queued_at));
            self.start(ready);
        }
    }

    fn start(&mut self, ready: ReadyKey<Key>) {
        let worker = self.idle.pop();
        let prepared = self.request(&ready);
        let (plugin, term, die) = (Arc::clone(&self.ready), Arc::clone(&self.term), self.die.clone());
        let budget = Arc::clone(&self.budget);
        self.calls.spawn(async move {
            let request = prepared.read(&term).await;
            Call { key: ready.key, request, ready: plugin, term, budget, die, worker }.make().await
        });
    }

    /// What the guest will be told, but for the one thing that may have to be read live.
    fn request(&self, ready: &ReadyKey<Key>) -> Prepared {
        let Key::Object { kind, namespace, name } = &ready.key else {
            return Prepared { request: schedule_request(&self.ready, ready), live: None };
        };
        let watch = &self.ready.watches[*kind];
        let object = ObjectRef {
            kind: watch.kind.clone(),
            namespace: namespace.as_deref().map(str::to_owned),
            name: name.to_string(),
        };
        let cached = self
            .ready
            .key_for(&watch.resource, namespace.as_deref())
            .filter(|_| self.watched.selects(&ready.key))
            .and_then(|key| self.term.house.cluster.hub().get(key, namespace.as_deref(), name));
        let cause = match &cached {
            Some(object) if !object.deletion => super::guest::cause(ready.cause),
            _ => tenure_sandbox::Cause::Deleted,
        };
        let body =
            cached.as_ref().or_else(|| self.watched.last_known(&ready.key)).map(|object| object.json().to_owned());
        // The cache did not show the plugin's own last write in time: what it has may be older than that.
        let live = (ready.hold_expired && cached.is_some()).then(|| watch.resource.clone());
        Prepared { request: Request { cause, object, body, extra: Vec::new() }, live }
    }

    fn called(&mut self, called: Called) {
        let now = Instant::now();
        if let Some(worker) = called.worker {
            self.idle.push(worker);
        }
        let identity = self.ready.identity.as_str();
        let key = called.key;
        let (done, result) = match &called.result {
            Ok(Outcome { requeue_after_ms: Some(after), .. }) => {
                (Done::RequeueAfter(Duration::from_millis(*after)), ReconcileResult::RequeueAfter)
            }
            Ok(_) => (Done::Ok, ReconcileResult::Success),
            Err(CallError::Guest(error)) => (Done::Retry { after: retry_after(error) }, ReconcileResult::Error),
            Err(_) => (Done::Retry { after: None }, ReconcileResult::Error),
        };
        self.metrics.observe_reconcile(result, called.took);
        match &called.result {
            Ok(_) => {
                self.watched.dealt_with(&key);
                self.returned(true, String::new());
            }
            Err(CallError::Guest(error)) => {
                tracing::warn!(plugin = identity, %key, %error, "reconcile failed; it is tried again with backoff");
                self.returned(false, format!("{key}: {error}"));
            }
            Err(CallError::Killed) => {}
            Err(error) => self.trapped(now, &key, error),
        }
        self.await_own_writes(now, &key, called.writes);
        self.queue.done(now, &key, done);
    }

    fn returned(&mut self, ok: bool, message: String) {
        if self.circuit.returned() {
            self.set_state(PluginState::Running, None);
        }
        self.term.house.board.set_result(&self.ready.identity, ok, message);
    }

    fn trapped(&mut self, now: Instant, key: &Key, error: &CallError) {
        match error {
            CallError::Timeout { .. } => self.metrics.count_timed_out(),
            _ => self.metrics.count_trapped(),
        }
        let message = describe(error);
        tracing::warn!(plugin = self.ready.identity, %key, error = message, "a call broke off; its instance is discarded");
        self.term.house.board.set_result(&self.ready.identity, false, format!("{key}: {message}"));
        if self.circuit.trapped(now) {
            let wait = self.circuit.closes_at().map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            let message = format!(
                "{} calls broke off, one after another; left alone for {} s, then tried once. The last: {message}",
                Circuit::traps_max(),
                wait.as_secs(),
            );
            tracing::error!(plugin = self.ready.identity, message, "circuit open");
            self.set_state(PluginState::CircuitOpen, Some(message));
        }
    }

    /// Keeps a key back until the cache has seen what its last call wrote to what this plugin watches.
    fn await_own_writes(&mut self, now: Instant, key: &Key, writes: Vec<WriteMade>) {
        let hub = self.term.house.cluster.hub();
        let unseen: Vec<_> =
            writes.into_iter().filter(|write| hub.seen_version(&write.watch) < write.version).collect();
        if unseen.is_empty() {
            return;
        }
        let limit = self.term.house.own_writes_wait_max;
        self.queue.hold(key.clone(), now + limit);
        let (term, key) = (Arc::clone(&self.term), key.clone());
        self.own_writes.spawn(async move {
            for write in unseen {
                if !term.house.cluster.hub().wait_seen(&write.watch, write.version, limit).await {
                    return None;
                }
            }
            Some(key)
        });
    }

    fn set_state(&self, state: PluginState, message: Option<String>) {
        self.term.house.board.set_running(&self.ready.identity, state, message);
    }

    fn show(&mut self) {
        let now = Instant::now();
        let statistics = self.queue.statistics();
        self.metrics.count_added(statistics.adds_total - self.adds_counted);
        self.metrics.count_retried(statistics.retries_total - self.retries_counted);
        let retries = statistics.retries_total - self.retries_counted;
        (self.adds_counted, self.retries_counted) = (statistics.adds_total, statistics.retries_total);
        self.metrics.set_depth(self.queue.depth());
        self.metrics.set_running(self.queue.unfinished_work(now), self.queue.longest_running(now));
        self.metrics.set_workers(self.calls.len(), self.ready.budgets.concurrency_max);
        let memory_bytes = self.idle.iter().map(Worker::memory_bytes).sum();
        let queue_depth = self.queue.depth() as u64;
        self.term.house.board.update(&self.ready.identity, |status| {
            status.queue_depth = queue_depth;
            status.retries += retries;
            status.memory_bytes = memory_bytes;
        });
    }
}

/// A request that may still need its object read from the API server.
struct Prepared {
    request: Request,
    live: Option<tenure_cluster::ResourceKey>,
}

impl Prepared {
    async fn read(mut self, term: &TermContext) -> Request {
        if let Some(resource) = self.live {
            let object = &self.request.object;
            let (namespace, name) = (object.namespace.as_deref(), &object.name);
            match term.house.cluster.get_live(&resource, namespace, name, &GetQuery::default()).await {
                Ok(object) => self.request.body = Some(object.json().to_owned()),
                Err(error) => tracing::warn!(%error, "live read failed; the call goes on with the cached object"),
            }
        }
        self.request
    }
}

fn schedule_request(plugin: &Ready, ready: &ReadyKey<Key>) -> Request {
    let (namespace, name) = plugin.identity.split_once('/').unwrap_or(("", &plugin.identity));
    Request {
        cause: super::guest::cause(ready.cause),
        object: ObjectRef {
            kind: tenure_sandbox::Kind { api_version: "tenure.dev/v1".into(), kind: "Schedule".into() },
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        },
        body: None,
        extra: vec![("schedule".into(), ready.key.to_string())],
    }
}
