//! One plugin in one term: from the cache's changes to calls of its instances. Owns the plugin's queue and its instances;
//! all of them are gone when [`Runner::run`] returns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use futures::stream::{self, BoxStream, SelectAll, StreamExt as _};
use tenure_cluster::{Change, FieldSelector, Object, Selector, WatchKey};
use tenure_console::{PluginMetrics, PluginState, ReconcileResult};
use tenure_reconcile::{Cause, Done, Queue, QueueSettings, Ready as ReadyKey};
use tenure_sandbox::{CallError, KillSwitch, Outcome};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::barrier;
use super::budget::Budget;
use super::call::{Call, Called, Ended, Worker, retry_after};
use super::circuit::Circuit;
use super::describe;
use super::finalizer::count_held;
use super::key::Key;
use super::mapped::{Mapped, Reach};
use super::own_writes::OwnWrites;
use super::prepared::Prepared;
use super::refused::Refused;
use super::schedules::{self, Schedules};
use super::task::{self, is_task};
use super::term::TermContext;
use super::watched::Watched;
use super::workers::Workers;
use crate::catalog::{Interest, Ready, Visible};

/// How often gauges and the row in status are brought up to date.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// A plugin that asks to be called again sooner is called again this soon: a loop through the host is a loop too.
const AGAIN_MIN: Duration = Duration::from_millis(50);

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
    /// Why the circuit is open, while it is.
    circuit_message: Option<String>,
    watched: Watched,
    mapped: Mapped,
    /// What of the cache the plugin may be shown, and the watches of which it is.
    visible: Visible,
    shown: BTreeSet<WatchKey>,
    /// Hidden ones that were filled meanwhile, or shown before: to be looked at as a whole when they are shown.
    unseen: BTreeSet<WatchKey>,
    /// Watches that have been filled in this term.
    filled: Vec<WatchKey>,
    /// Watches that do not follow the server now, and why.
    failing: BTreeMap<WatchKey, String>,
    workers: Workers,
    calls: JoinSet<Called>,
    own_writes: OwnWrites,
    metrics: PluginMetrics,
    adds_counted: u64,
    retries_counted: u64,
    refused: Refused,
    cpu_counted: Duration,
    /// A task has run in this term.
    ran: bool,
}

/// The end of a watch's task comes as `None`: a fault of this program.
type Changes = SelectAll<BoxStream<'static, (WatchKey, Option<Change>)>>;

impl Runner {
    pub(crate) fn new(
        ready: Arc<Ready>,
        term: Arc<TermContext>,
        stop: CancellationToken,
        metrics: PluginMetrics,
    ) -> Self {
        let settings = QueueSettings { concurrency: ready.budgets.concurrency_max, ..QueueSettings::default() };
        let budget = Arc::new(Budget::new(ready.budgets.requests_per_second));
        // A task's run lasts until it is told to end, also where the term goes on.
        let term = if is_task(&ready) { Arc::new(term.of_task(stop.clone())) } else { term };
        Self {
            refused: Refused::since_now(&ready.loaded, &budget),
            budget,
            queue: Queue::new(&settings, term.number()),
            schedules: Schedules::new(if ready.finishing { &[] } else { &ready.schedules }, schedules::wall_now()),
            circuit: Circuit::default(),
            circuit_message: None,
            watched: Watched::default(),
            mapped: Mapped::default(),
            visible: ready.visible.clone(),
            shown: BTreeSet::new(),
            unseen: BTreeSet::new(),
            filled: Vec::new(),
            failing: BTreeMap::new(),
            workers: Workers::default(),
            calls: JoinSet::new(),
            own_writes: OwnWrites::new(term.house.own_writes_wait_max),
            die: KillSwitch::new(),
            metrics,
            adds_counted: 0,
            retries_counted: 0,
            // An older runner of the same code has told what came before.
            cpu_counted: ready.loaded.cpu_used(),
            ran: false,
            ready,
            term,
            stop,
        }
    }

    /// Works until told to stop or to die; then no instance of it is left.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let (kill, stop) = (self.term.kill.clone(), self.stop.clone());
        let changes = tokio::select! {
            changes = self.open() => Some(changes),
            () = stop.cancelled() => None,
            () = kill.cancelled() => None,
        };
        let worked = match changes {
            Some(changes) => {
                self.show_state();
                self.work(changes).await
            }
            None => Ok(()),
        };
        if kill.is_cancelled() {
            self.die.kill();
            self.term.house.sandbox.kill_epoch();
        }
        // Dropping a call drops its Store; a guest that computes is reached at its next epoch.
        self.calls.shutdown().await;
        self.workers = Workers::default();
        self.queue.clear();
        self.show();
        self.metrics.set_running(Duration::ZERO, Duration::ZERO);
        self.term.house.board.set_stopped(&self.ready.identity);
        worked
    }

    /// Subscribes, and waits at the barrier: no key is handed out before it is passed.
    async fn open(&mut self) -> Changes {
        let mut changes = SelectAll::new();
        let keys = self.ready.watch_keys();
        for key in &keys {
            let key = key.clone();
            let subscription = self.term.house.cluster.hub().subscribe(key.clone());
            let stream = stream::unfold(subscription, |mut subscription| async move {
                subscription.next().await.map(|change| (Some(change), subscription))
            });
            let stream = stream.chain(stream::once(async { None }));
            changes.push(stream.map(move |change| (key.clone(), change)).boxed());
        }
        // The first key mostly finds its instance made. What keeps one from being made is told by the first call.
        let first = Worker::new(&self.ready, &self.term, &self.budget, self.metrics.clone(), self.die.clone());
        let ((), first) = tokio::join!(barrier::pass(&self.ready, &self.term, keys), first);
        self.workers.keep(first.ok(), Instant::now());
        changes
    }

    async fn work(&mut self, mut changes: Changes) -> anyhow::Result<()> {
        let (kill, stop) = (self.term.kill.clone(), self.stop.clone());
        self.look_at_rights();
        if is_task(&self.ready) && !self.ready.finishing {
            self.queue.add(Instant::now(), Key::Run, Cause::TermStarted);
        }
        let mut grace = None;
        let mut show = tokio::time::interval(SHOW_EVERY);
        show.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stopping = stop.is_cancelled();
            if stopping && self.calls.is_empty() {
                return Ok(());
            }
            if !stopping {
                self.hand_out();
            } else if is_task(&self.ready) && grace.is_none() {
                grace = Some(Instant::now() + self.term.house.shutdown_grace);
            }
            let wake = grace.unwrap_or_else(|| self.wake_at());
            tokio::select! {
                biased;
                () = kill.cancelled() => return Ok(()),
                () = stop.cancelled(), if !stopping => {}
                Some(called) = self.calls.join_next(), if !self.calls.is_empty() => self.called(called?),
                Some(key) = self.own_writes.seen() => self.queue.release(&key),
                () = self.visible.changed(), if !stopping => self.look_at_rights(),
                Some((key, change)) = changes.next(), if !stopping => match change {
                    Some(change) => self.changed(key, change),
                    None => bail!("the watch of {key} ended though nobody asked for it"),
                },
                () = tokio::time::sleep_until(wake.into()), if grace.is_some() => {
                    tracing::warn!(plugin = self.ready.identity, "the run did not end when it was told to; it is killed");
                    kill.cancel();
                }
                () = tokio::time::sleep_until(wake.into()), if !stopping => {
                    self.schedules.queue_due(&mut self.queue, Instant::now(), schedules::wall_now());
                }
                _ = show.tick() => self.show(),
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let may_call = self.circuit.calls_max(now) > 0;
        let budget = self.budget.empty_until(now);
        let queue = self.queue.poll_timeout().filter(|_| may_call && budget.is_none());
        let circuit = self.circuit.closes_at().filter(|_| !may_call);
        [queue, circuit, budget, self.schedules.next(now)].into_iter().flatten().fold(now + SHOW_EVERY, Instant::min)
    }

    /// Takes up what the plugin may be shown from now on, and lets go of what it may not. What is hidden is not deleted: no call
    /// tells of it, and those that wait are dropped.
    fn look_at_rights(&mut self) {
        for key in self.ready.watch_keys() {
            let shows = self.visible.shows(&key);
            if shows {
                if self.shown.insert(key.clone()) && self.unseen.remove(&key) {
                    self.changed(key, Change::Resynced);
                }
            } else {
                if self.shown.remove(&key) {
                    self.unseen.insert(key.clone());
                    tracing::warn!(plugin = self.ready.identity, watch = %key, "its account may no longer see what this watch holds");
                    self.watched.hide(self.ready.kind_of(&key.resource), key.namespace.as_deref());
                }
                if let Some(why) = self.visible.hidden_because(&key) {
                    self.failing.insert(key, why);
                    self.show_state();
                }
            }
        }
    }

    /// Whether the plugin may be told of this key's object.
    fn may_be_told(&self, key: &Key) -> bool {
        match key {
            Key::Object { kind, namespace, .. } => {
                let watch = self.ready.key_for(&self.ready.watches[*kind].resource, namespace.as_deref());
                watch.is_some_and(|watch| self.shown.contains(watch))
            }
            Key::Schedule(_) | Key::Run => true,
        }
    }

    fn changed(&mut self, key: WatchKey, change: Change) {
        if !self.shown.contains(&key) && !matches!(change, Change::Failing { .. }) {
            if change == Change::Resynced {
                self.unseen.insert(key);
            }
            return;
        }
        let now = Instant::now();
        let kind = self.ready.kind_of(&key.resource);
        let reached = self.reached(&key, &change);
        let news = match change {
            Change::Applied(object) => {
                Vec::from_iter(self.watched.applied(kind, &object, self.ready.interest(&key.resource, &object)))
            }
            Change::Deleted(object) => Vec::from_iter(self.watched.deleted(kind, &object)),
            Change::Resynced => self.resynced(kind, key),
            Change::Failing { code, message } => {
                tracing::warn!(plugin = self.ready.identity, watch = %key, code, message, "a watch of this plugin fails");
                self.failing.insert(key, message);
                self.show_state();
                Vec::new()
            }
        };
        for (key, cause) in news {
            self.queue.add(now, key, cause);
        }
        for key in reached.iter().flat_map(|reach| self.keys_of(reach)).collect::<Vec<_>>() {
            self.queue.add(now, key, Cause::Changed);
        }
    }

    /// What a change makes work for by the mappings of this plugin's watches.
    fn reached(&mut self, key: &WatchKey, change: &Change) -> BTreeSet<Reach> {
        let mut reached = BTreeSet::new();
        for (number, watch) in self.ready.mapping(key) {
            let rules = &watch.enqueue;
            reached.append(&mut match change {
                Change::Applied(object) => self.mapped.applied(number, rules, object, watch.selects(object)),
                Change::Deleted(object) => self.mapped.deleted(number, object),
                Change::Resynced => {
                    let hub = self.term.house.cluster.hub();
                    let mut present = hub.list(key, None, &watch.labels, &watch.fields);
                    present.retain(|object| watch.selects(object));
                    self.mapped.resynced(number, rules, key.namespace.as_deref(), &present)
                }
                Change::Failing { .. } => BTreeSet::new(),
            });
        }
        reached
    }

    /// The keys of what a change reaches. Only what the plugin is called for anyway: anything else has a change of its own
    /// still to come, or is none of its business.
    fn keys_of(&self, reach: &Reach) -> Vec<Key> {
        let Reach { kind, namespace, name, label } = reach;
        let resource = &self.ready.watches[*kind].resource;
        if let Some(name) = name
            && (namespace.is_some() || !resource.namespaced)
        {
            let key = Key::Object { kind: *kind, namespace: namespace.clone(), name: Arc::clone(name) };
            return Vec::from_iter(self.watched.selects(&key).then_some(key));
        }
        let labels = label.as_ref().map(|(key, value)| Selector::label(key, value)).unwrap_or_default();
        let hub = self.term.house.cluster.hub();
        let shared = self.ready.watch_keys().into_iter().filter(|key| key.resource == *resource);
        let objects = shared.flat_map(|key| hub.list(&key, namespace.as_deref(), &labels, &FieldSelector::default()));
        objects
            .filter(|object| name.as_ref().is_none_or(|name| *name == object.name))
            .map(|object| Key::of(*kind, &object))
            .filter(|key| self.watched.selects(key))
            .collect()
    }

    fn resynced(&mut self, kind: usize, key: WatchKey) -> Vec<(Key, Cause)> {
        if self.failing.remove(&key).is_some() {
            self.show_state();
        }
        let hub = self.term.house.cluster.hub();
        let all = hub.list(&key, None, &Selector::default(), &FieldSelector::default());
        let interest = |object: &Arc<Object>| self.ready.interest(&key.resource, object);
        let present = all.into_iter().map(|object| (Arc::clone(&object), interest(&object)));
        let present: Vec<_> = present.filter(|(_, interest)| *interest != Interest::None).collect();
        let news = self.watched.resynced(kind, key.namespace.as_deref(), &present);
        if self.filled.contains(&key) {
            return news;
        }
        self.filled.push(key);
        let first = |cause| if cause == Cause::Changed { Cause::TermStarted } else { cause };
        news.into_iter().map(|(key, cause)| (key, first(cause))).collect()
    }

    fn hand_out(&mut self) {
        loop {
            let now = Instant::now();
            // Without a budget most calls would only be told to come again: thousands of keys would be a busy loop.
            if self.calls.len() >= self.circuit.calls_max(now) || self.budget.empty_until(now).is_some() {
                return;
            }
            let Some(ready) = self.queue.poll(now) else { return };
            if !self.may_be_told(&ready.key) {
                self.queue.done(now, &ready.key, Done::Ok);
                continue;
            }
            self.metrics.observe_waited(now.saturating_duration_since(ready.queued_at));
            self.start(ready);
        }
    }

    fn start(&mut self, ready: ReadyKey<Key>) {
        if ready.key == Key::Run {
            let worker = self.workers.take();
            self.calls.spawn(self.call(ready, None).run(worker));
            return;
        }
        let prepared = Prepared::new(&self.ready, &self.term, &self.watched, &ready);
        if self.watched.is_settled(&ready.key, prepared.object().map(Arc::as_ref)) {
            self.queue.done(Instant::now(), &ready.key, Done::Ok);
            return;
        }
        let worker = self.workers.take();
        self.calls.spawn(self.call(ready, prepared.object().cloned()).make(worker, prepared));
    }

    fn call(&self, ready: ReadyKey<Key>, given: Option<Arc<Object>>) -> Call {
        Call {
            key: ready.key,
            cause: ready.cause,
            given,
            ready: Arc::clone(&self.ready),
            term: Arc::clone(&self.term),
            budget: Arc::clone(&self.budget),
            metrics: self.metrics.clone(),
            die: self.die.clone(),
        }
    }

    fn called(&mut self, called: Called) {
        let now = Instant::now();
        let Called { key, cause, given, result, took, writes, worker } = called;
        self.workers.keep(worker, now);
        let again = |after: Duration| after.max(AGAIN_MIN);
        let (done, counted) = match &result {
            Ok(Ended::Answered { outcome: Outcome { requeue_after_ms: Some(after), .. }, .. }) => {
                (Done::RequeueAfter(again(Duration::from_millis(*after))), Some(ReconcileResult::RequeueAfter))
            }
            Ok(Ended::Answered { .. }) => (Done::Ok, Some(ReconcileResult::Success)),
            Ok(Ended::Held) => (Done::Ok, None),
            Ok(Ended::Ran) => (Done::Ok, Some(ReconcileResult::Success)),
            // It was told to end: how it says so is no failure.
            Err(CallError::Guest(_)) if key == Key::Run && self.stop.is_cancelled() => (Done::Ok, None),
            Err(error) if key == Key::Run => (task::again(error, took, AGAIN_MIN), Some(ReconcileResult::Error)),
            Err(CallError::Guest(error)) => {
                (Done::Retry { after: retry_after(error).map(again) }, Some(ReconcileResult::Error))
            }
            Err(_) => (Done::Retry { after: None }, Some(ReconcileResult::Error)),
        };
        if let Some(counted) = counted {
            self.metrics.observe_reconcile(counted, took);
        }
        match result {
            Ok(Ended::Answered { released, .. }) => {
                self.dealt_with(&key, given.as_ref());
                if let Some(uid) = released {
                    self.watched.release(&key, uid);
                }
                self.returned(true, String::new());
            }
            Ok(Ended::Ran) => {
                self.ran = true;
                self.returned(true, String::new());
                self.show_state();
            }
            // Once the cache has seen the finalizer, for the same cause.
            Ok(Ended::Held) => self.queue.add(now, key.clone(), cause),
            Err(CallError::Guest(error)) if key == Key::Run && self.stop.is_cancelled() => {
                tracing::debug!(plugin = self.ready.identity, %error, "the run ended as it was told to");
            }
            Err(CallError::Guest(error)) => {
                let what = if key == Key::Run { "the run" } else { "reconcile" };
                tracing::warn!(plugin = self.ready.identity, %key, %error, "{what} failed; it is tried again with backoff");
                self.returned(false, format!("{key}: {error}"));
            }
            Err(CallError::Killed) => {}
            Err(error) => self.trapped(now, &key, &error),
        }
        let hub = self.term.house.cluster.hub();
        if let Some(until) = self.own_writes.wait_for(hub, &key, writes, now) {
            self.queue.hold(key.clone(), until);
        }
        self.queue.done(now, &key, done);
    }

    fn dealt_with(&mut self, key: &Key, given: Option<&Arc<Object>>) {
        if let Some(given) = given {
            self.watched.dealt_with(key, given);
        }
    }

    fn returned(&mut self, ok: bool, message: String) {
        if self.circuit.returned() {
            self.circuit_message = None;
            self.show_state();
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
                Circuit::TRAPS_MAX,
                wait.as_secs(),
            );
            tracing::error!(plugin = self.ready.identity, message, "circuit open");
            self.circuit_message = Some(message);
            self.show_state();
        }
    }

    fn finishing(&self) -> String {
        let keys = self.ready.watch_keys();
        let held = count_held(self.term.house.cluster.hub(), &keys, &self.ready.finalizer);
        format!("finishing: {held} objects carry its finalizer still")
    }

    fn show_state(&self) {
        let watches = self.failing.iter().map(|(key, why)| format!("the watch of {key} fails: {why}"));
        let (state, message) = match &self.circuit_message {
            Some(message) => (PluginState::CircuitOpen, Some(message.clone())),
            None if self.ready.finishing => (PluginState::Removing, Some(self.finishing())),
            None if self.ran => (PluginState::Completed, Some("it has run for this term".to_owned())),
            None => (PluginState::Running, watches.reduce(|all, one| format!("{all}; {one}"))),
        };
        self.term.house.board.set_running(&self.ready.identity, state, message);
    }

    fn show(&mut self) {
        let now = Instant::now();
        let statistics = self.queue.statistics();
        let retries = statistics.retries_total - self.retries_counted;
        self.metrics.count_added(statistics.adds_total - self.adds_counted);
        self.metrics.count_retried(retries);
        (self.adds_counted, self.retries_counted) = (statistics.adds_total, statistics.retries_total);
        self.metrics.set_depth(self.queue.depth());
        self.metrics.set_running(self.queue.unfinished_work(now), self.queue.longest_running(now));
        self.metrics.set_workers(self.calls.len(), self.ready.budgets.concurrency_max);
        self.workers.retire_idle(now);
        // A run that has lasted is a good one, however it will end.
        if is_task(&self.ready) && task::is_steady(self.queue.longest_running(now)) && self.circuit.returned() {
            self.circuit_message = None;
        }
        let (memory_bytes, queue_depth) = (self.ready.loaded.memory_bytes(), self.queue.depth() as u64);
        self.term.house.board.update(&self.ready.identity, |status| {
            status.queue_depth = queue_depth;
            status.retries += retries;
            status.memory_bytes = memory_bytes;
        });
        self.show_state();
        let used = self.ready.loaded.cpu_used();
        let more = used.saturating_sub(std::mem::replace(&mut self.cpu_counted, used));
        self.term.house.board.count_cpu(&self.ready.identity, more);
        let refused = self.refused.take(&self.ready.loaded, &self.budget);
        self.term.house.board.count_refused(&self.ready.identity, &refused);
    }
}
