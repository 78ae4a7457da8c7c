//! The queue itself: which key is worked on next. Every operation costs O(log n) in the number of keys.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::cause::Pending;
use crate::{Backoff, Cause};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;

/// Longer waits are cut to this: past it nobody remembers why, and clocks could not count it.
const WAIT_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The knobs of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// Keys worked on at the same time; 0 counts as 1.
    pub concurrency: usize,
    /// The wait after a first failure.
    pub backoff_min: Duration,
    /// The longest wait after failures.
    pub backoff_max: Duration,
}

impl Default for QueueSettings {
    /// One key at a time; waits of 50 ms to 5 min.
    fn default() -> Self {
        Self { concurrency: 1, backoff_min: Duration::from_millis(50), backoff_max: Duration::from_secs(300) }
    }
}

/// A key to work on. Whoever takes it must say [`Queue::done`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a key that was handed out stays running until it is done"]
pub struct Ready<K> {
    /// What to work on.
    pub key: K,
    /// Why.
    pub cause: Cause,
    /// How often the key failed in a row until now.
    pub failures: u32,
    /// When the oldest of what this call answers for was queued.
    pub queued_at: Instant,
    /// The key was held ([`Queue::hold`]) and nobody released it in time: what is known about it may be old.
    pub hold_expired: bool,
}

/// How the work on a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Well; nothing more to do.
    Ok,
    /// Well; call again after this time.
    RequeueAfter(Duration),
    /// Badly; call again after backoff, or after exactly as long as the other side asked for.
    Retry {
        /// What was asked for, such as `Retry-After`.
        after: Option<Duration>,
    },
}

/// Counters since the queue was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Keys queued; one that is queued already does not count (`workqueue_adds_total`).
    pub adds_total: u64,
    /// Calls asked for again after some time or a failure (`workqueue_retries_total`).
    pub retries_total: u64,
}

/// Keys to work on, each at most once at a time.
///
/// A key that is added while it waits is called once; while it is worked on, once more afterwards. Keys come in the order
/// they were added, so one that is added all the time cannot starve others. A key nothing is known about takes no memory.
#[derive(Debug)]
pub struct Queue<K> {
    concurrency: usize,
    backoff: Backoff,
    entries: HashMap<K, Entry>,
    /// What can be handed out, by position. A key is here exactly if something is queued for it, it is not running, and
    /// nobody holds it.
    ready: BTreeMap<u64, K>,
    running: HashMap<K, Run>,
    timers: BTreeMap<TimerId, (K, Timer)>,
    position_next: u64,
    statistics: Statistics,
}

/// When, and a number that tells timers of one instant apart.
type TimerId = (Instant, u64);

#[derive(Debug, Clone, Copy)]
enum Timer {
    Retry,
    Delayed,
    Hold,
}

#[derive(Debug, Default)]
struct Entry {
    queued: Option<Queued>,
    failures: u32,
    /// What the last call asked for. Any call in between replaces it: its result says anew whether and when.
    retry: Option<(TimerId, Pending)>,
    /// What was added for later. It stays whatever happens in between.
    delayed: Option<(TimerId, Pending)>,
    hold: Option<TimerId>,
    hold_expired: bool,
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    pending: Pending,
    queued_at: Instant,
    position: u64,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    started_at: Instant,
    pending: Pending,
    /// The queue was cleared meanwhile: how it ends counts for nothing.
    abandoned: bool,
}

impl Entry {
    const fn is_empty(&self) -> bool {
        self.queued.is_none()
            && self.failures == 0
            && self.retry.is_none()
            && self.delayed.is_none()
            && self.hold.is_none()
            && !self.hold_expired
    }
}

impl<K: Ord + Clone + Hash> Queue<K> {
    /// An empty queue; `seed` is where its jitter comes from.
    #[must_use]
    pub fn new(settings: &QueueSettings, seed: u64) -> Self {
        Self {
            concurrency: settings.concurrency.max(1),
            backoff: Backoff::new(settings.backoff_min, settings.backoff_max, seed),
            entries: HashMap::new(),
            ready: BTreeMap::new(),
            running: HashMap::new(),
            timers: BTreeMap::new(),
            position_next: 0,
            statistics: Statistics::default(),
        }
    }

    /// Queues `key`, also past a backoff it may be in: news deserve a look at once.
    #[expect(clippy::needless_pass_by_value, reason = "it takes its keys, as every collection does")]
    pub fn add(&mut self, now: Instant, key: K, cause: Cause) {
        self.enqueue(now, &key, Pending::new(cause));
    }

    /// Queues `key` at an instant. Of several, the earliest counts, for all their causes.
    pub fn add_at(&mut self, now: Instant, key: K, cause: Cause, at: Instant) {
        if at <= now {
            return self.add(now, key, cause);
        }
        let mut pending = Pending::new(cause);
        let mut at = at.min(now + WAIT_MAX);
        if let Some((timer, earlier)) = self.entries.entry(key.clone()).or_default().delayed.take() {
            self.timers.remove(&timer);
            pending = earlier.merged(pending);
            at = at.min(timer.0);
        }
        let timer = self.start_timer(at, key.clone(), Timer::Delayed);
        self.entries.entry(key).or_default().delayed = Some((timer, pending));
    }

    /// The next key to work on, if there is one and fewer than the concurrency are being worked on. After `None`, come back
    /// at [`Self::poll_timeout`], or after any other call.
    pub fn poll(&mut self, now: Instant) -> Option<Ready<K>> {
        self.fire_timers(now);
        if self.running.len() >= self.concurrency {
            return None;
        }
        let (_, key) = self.ready.pop_first()?;
        let entry = self.entries.get_mut(&key)?;
        let queued = entry.queued.take()?;
        let mut pending = queued.pending;
        if let Some((timer, retry)) = entry.retry.take() {
            self.timers.remove(&timer);
            pending = retry.merged(pending);
        }
        let ready = Ready {
            key: key.clone(),
            cause: pending.cause,
            failures: entry.failures,
            queued_at: queued.queued_at,
            hold_expired: std::mem::take(&mut entry.hold_expired),
        };
        self.forget_if_empty(&key);
        self.running.insert(key, Run { started_at: now, pending, abandoned: false });
        Some(ready)
    }

    /// Takes back a key that [`Self::poll`] handed out, and says how long the work took; `None` for a key that was not
    /// running.
    pub fn done(&mut self, now: Instant, key: &K, done: Done) -> Option<Duration> {
        let run = *self.running.get(key)?;
        if !run.abandoned {
            self.settle(now, key, run, done);
        }
        self.running.remove(key);
        // What came while it ran queues behind everything that waited meanwhile.
        let position = self.take_position();
        if let Some(queued) = self.entries.get_mut(key).and_then(|entry| entry.queued.as_mut()) {
            queued.position = position;
        }
        self.offer(key);
        self.forget_if_empty(key);
        Some(now.saturating_duration_since(run.started_at))
    }

    /// Keeps `key` back until it is released or `until` has come, also if it is running: then its next call waits. A later
    /// hold replaces an earlier one. Where nobody releases it, the next [`Ready`] says so.
    pub fn hold(&mut self, key: K, until: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        if let Some(timer) = entry.hold.take() {
            self.timers.remove(&timer);
        }
        if let Some(queued) = &entry.queued {
            self.ready.remove(&queued.position);
        }
        let timer = self.start_timer(until, key.clone(), Timer::Hold);
        self.entries.entry(key).or_default().hold = Some(timer);
    }

    /// Ends a hold; the key keeps the place it had in the queue.
    pub fn release(&mut self, key: &K) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.hold_expired = false;
        if let Some(timer) = entry.hold.take() {
            self.timers.remove(&timer);
        }
        self.offer(key);
        self.forget_if_empty(key);
    }

    /// When to poll next though nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Keys that could be handed out now (`workqueue_depth`); not those held, delayed, backing off or running.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.ready.len()
    }

    /// Keys that are being worked on.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether `key` is being worked on.
    #[must_use]
    pub fn is_running(&self, key: &K) -> bool {
        self.running.contains_key(key)
    }

    /// Whether nothing is running, waiting or due at some time.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.ready.is_empty() && self.timers.is_empty()
    }

    /// How long the longest of the running works has taken so far (`workqueue_longest_running_processor_seconds`).
    #[must_use]
    pub fn longest_running(&self, now: Instant) -> Duration {
        self.durations(now).max().unwrap_or_default()
    }

    /// How long all running works have taken so far, together (`workqueue_unfinished_work_seconds`).
    #[must_use]
    pub fn unfinished_work(&self, now: Instant) -> Duration {
        self.durations(now).sum()
    }

    /// Counters since the queue was made.
    #[must_use]
    pub const fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Calls asked for again after some time or a failure (`workqueue_retries_total`).
    #[must_use]
    pub const fn retries_total(&self) -> u64 {
        self.statistics.retries_total
    }

    /// Drops everything that waits: the term is over. Running keys still have to be taken back, how they end counts for
    /// nothing, and until then they are not handed out again.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.ready.clear();
        self.timers.clear();
        self.running.values_mut().for_each(|run| run.abandoned = true);
    }

    fn settle(&mut self, now: Instant, key: &K, run: Run, done: Done) {
        let failures = self.entries.get(key).map_or(0, |entry| entry.failures);
        let (failures, retry) = match done {
            Done::Ok => (0, None),
            Done::RequeueAfter(wait) => (0, Some((wait, Pending::new(Cause::Retried(0))))),
            Done::Retry { after } => {
                let failures = failures.saturating_add(1);
                let wait = after.unwrap_or_else(|| self.backoff.wait(failures));
                // A deletion that was not dealt with stays one: nothing else tells the plugin what to clean up.
                let again = if run.pending.cause == Cause::Deleted {
                    run.pending
                } else {
                    Pending::new(Cause::Retried(failures))
                };
                (failures, Some((wait, again)))
            }
        };
        if failures == 0 && run.pending.then_changed {
            self.enqueue_before(now, key, Pending::new(Cause::Changed));
        }
        if failures > 0 || retry.is_some() || self.entries.contains_key(key) {
            self.entries.entry(key.clone()).or_default().failures = failures;
        }
        if let Some((wait, pending)) = retry {
            self.statistics.retries_total += 1;
            let timer = self.start_timer(now + wait.min(WAIT_MAX), key.clone(), Timer::Retry);
            self.entries.entry(key.clone()).or_default().retry = Some((timer, pending));
        }
    }

    fn enqueue(&mut self, now: Instant, key: &K, pending: Pending) {
        let position = self.take_position();
        let entry = self.entries.entry(key.clone()).or_default();
        match &mut entry.queued {
            Some(queued) => queued.pending = queued.pending.merged(pending),
            None => {
                entry.queued = Some(Queued { pending, queued_at: now, position });
                self.statistics.adds_total += 1;
            }
        }
        self.offer(key);
    }

    /// As [`Self::enqueue`], for what happened before that which is queued already.
    fn enqueue_before(&mut self, now: Instant, key: &K, pending: Pending) {
        match self.entries.get_mut(key).and_then(|entry| entry.queued.as_mut()) {
            Some(queued) => queued.pending = pending.merged(queued.pending),
            None => self.enqueue(now, key, pending),
        }
    }

    /// Makes the key ready, if it has something queued and nothing keeps it.
    fn offer(&mut self, key: &K) {
        let Some(entry) = self.entries.get(key) else { return };
        if let Some(queued) = &entry.queued
            && entry.hold.is_none()
            && !self.running.contains_key(key)
        {
            self.ready.insert(queued.position, key.clone());
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        while let Some(first) = self.timers.first_entry()
            && first.key().0 <= now
        {
            let (key, timer) = first.remove();
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let due = match timer {
                Timer::Retry => entry.retry.take(),
                Timer::Delayed => entry.delayed.take(),
                Timer::Hold => {
                    entry.hold = None;
                    entry.hold_expired = true;
                    None
                }
            };
            match due {
                Some((_, pending)) => self.enqueue(now, &key, pending),
                None => self.offer(&key),
            }
        }
    }

    fn start_timer(&mut self, at: Instant, key: K, timer: Timer) -> TimerId {
        let id = (at, self.take_position());
        self.timers.insert(id, (key, timer));
        id
    }

    fn take_position(&mut self) -> u64 {
        self.position_next += 1;
        self.position_next
    }

    fn forget_if_empty(&mut self, key: &K) {
        if self.entries.get(key).is_some_and(Entry::is_empty) {
            self.entries.remove(key);
        }
    }

    fn durations(&self, now: Instant) -> impl Iterator<Item = Duration> + '_ {
        self.running.values().map(move |run| now.saturating_duration_since(run.started_at))
    }
}
