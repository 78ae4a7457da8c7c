//! What holds whatever happens, in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::scenarios::start;
use super::*;

/// One thing that can happen to a queue of a few keys.
#[derive(Debug, Clone)]
enum Step {
    Add(u8, Cause),
    AddLater(u8, u64),
    Poll,
    Done(u8, Done),
    Hold(u8, u64),
    Release(u8),
    Pass(u64),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..6_u8;
    let cause =
        prop_oneof![Just(Cause::Changed), Just(Cause::Deleted), Just(Cause::Scheduled), Just(Cause::TermStarted)];
    let wait = || (0..2000_u64).prop_map(Duration::from_millis);
    let done = prop_oneof![
        Just(Done::Ok),
        wait().prop_map(Done::RequeueAfter),
        proptest::option::of(wait()).prop_map(|after| Done::Retry { after }),
    ];
    prop_oneof![
        4 => (key.clone(), cause).prop_map(|(key, cause)| Step::Add(key, cause)),
        1 => (key.clone(), 0..2000_u64).prop_map(|(key, ms)| Step::AddLater(key, ms)),
        4 => Just(Step::Poll),
        4 => (key.clone(), done).prop_map(|(key, done)| Step::Done(key, done)),
        1 => (key.clone(), 0..2000_u64).prop_map(|(key, ms)| Step::Hold(key, ms)),
        1 => key.prop_map(Step::Release),
        2 => (0..800_u64).prop_map(Step::Pass),
        1 => Just(Step::Clear),
    ]
}

impl Queue<u8> {
    /// What each operation has to leave behind.
    fn assert_consistent(&self) {
        for (key, entry) in &self.entries {
            assert!(!entry.is_empty(), "{key}: nothing is known about it, and it takes memory");
            let offered = entry.queued.is_some_and(|queued| self.ready.get(&queued.position) == Some(key));
            let wanted = entry.queued.is_some() && entry.hold.is_none() && !self.running.contains_key(key);
            assert_eq!(offered, wanted, "{key}: {entry:?}");
            let timers = [entry.retry.map(|it| it.0), entry.delayed.map(|it| it.0), entry.hold];
            for id in timers.into_iter().flatten() {
                assert_eq!(self.timers.get(&id).map(|timer| timer.0), Some(*key));
            }
        }
        let timers = |entry: &Entry| {
            usize::from(entry.retry.is_some())
                + usize::from(entry.delayed.is_some())
                + usize::from(entry.hold.is_some())
        };
        assert_eq!(self.timers.len(), self.entries.values().map(timers).sum::<usize>());
        assert_eq!(self.ready.values().collect::<BTreeSet<_>>().len(), self.ready.len());
        assert!(self.ready.values().all(|key| self.entries.contains_key(key)));
        assert!(self.running.len() <= self.concurrency);
    }
}

proptest! {
    #[test]
    fn keys_run_alone_in_bounds_and_unheld_and_nothing_added_is_lost(
        concurrency in 1..4_usize, seed: u64, steps in prop::collection::vec(step(), 1..150),
    ) {
        let settings = QueueSettings {
            concurrency,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
        };
        let mut queue = Queue::<u8>::new(&settings, seed);
        let mut now = start();
        let mut running = BTreeSet::new();
        let mut abandoned = BTreeSet::new();
        let mut held = BTreeMap::new();
        // Keys that must still be called after what was added last, and those among them that were deleted.
        let (mut owed, mut owed_deleted) = (BTreeSet::new(), BTreeSet::new());
        for step in steps {
            match step {
                Step::Add(key, cause) => {
                    queue.add(now, key, cause);
                    owed.insert(key);
                    if cause == Cause::Deleted {
                        owed_deleted.insert(key);
                    }
                }
                Step::AddLater(key, ms) => {
                    queue.add_at(now, key, Cause::Scheduled, now + Duration::from_millis(ms));
                    owed.insert(key);
                }
                Step::Poll => {
                    if let Some(ready) = queue.poll(now) {
                        prop_assert!(running.insert(ready.key), "{} runs beside itself", ready.key);
                        prop_assert!(running.len() <= concurrency);
                        prop_assert!(held.get(&ready.key).is_none_or(|until| *until <= now), "{} is held", ready.key);
                        if owed_deleted.contains(&ready.key) {
                            prop_assert_eq!(ready.cause, Cause::Deleted);
                        }
                        owed_deleted.remove(&ready.key);
                        owed.remove(&ready.key);
                    }
                }
                Step::Done(key, done) => {
                    let was_running = running.remove(&key);
                    prop_assert_eq!(queue.done(now, &key, done).is_some(), was_running);
                    if was_running && !abandoned.remove(&key) && done != Done::Ok {
                        owed.insert(key);
                    }
                }
                Step::Hold(key, ms) => {
                    let until = now + Duration::from_millis(ms);
                    queue.hold(key, until);
                    held.insert(key, until);
                }
                Step::Release(key) => {
                    queue.release(&key);
                    held.remove(&key);
                }
                Step::Pass(ms) => now += Duration::from_millis(ms),
                Step::Clear => {
                    queue.clear();
                    abandoned = running.clone();
                    held.clear();
                    owed.clear();
                    owed_deleted.clear();
                }
            }
            queue.assert_consistent();
        }
        for key in std::mem::take(&mut running) {
            prop_assert!(queue.done(now, &key, Done::Ok).is_some());
        }
        // Once everything ends well, everything owed is called, and the queue is empty.
        let mut rounds = 0;
        while let Some(at) = queue.poll_timeout().or((queue.depth() > 0).then_some(now)) {
            now = now.max(at);
            while let Some(ready) = queue.poll(now) {
                owed.remove(&ready.key);
                prop_assert!(queue.done(now, &ready.key, Done::Ok).is_some());
            }
            queue.assert_consistent();
            rounds += 1;
            prop_assert!(rounds < 100, "the queue never becomes idle");
        }
        // A retry that a later success made needless, and nothing else, may go without a call.
        prop_assert!(queue.is_idle());
        prop_assert!(owed.is_empty(), "{owed:?} were never called");
    }

    #[test]
    fn keys_come_in_the_order_they_were_added(keys in prop::collection::vec(0..50_u8, 1..200)) {
        let mut queue = Queue::<u8>::new(&QueueSettings { concurrency: 64, ..QueueSettings::default() }, 1);
        let now = start();
        let mut expected = Vec::new();
        for key in keys {
            queue.add(now, key, Cause::Changed);
            if !expected.contains(&key) {
                expected.push(key);
            }
        }
        let order = std::iter::from_fn(|| queue.poll(now)).map(|ready| ready.key).collect::<Vec<_>>();
        prop_assert_eq!(order, expected);
    }
}

/// A hundred thousand keys, each added, failed, retried and done. Quadratic work would not end here.
#[test]
fn many_keys_pass_and_leave_nothing_behind() {
    let settings = QueueSettings { concurrency: 100, ..QueueSettings::default() };
    let mut queue = Queue::<u32>::new(&settings, 1);
    let (mut now, mut calls) = (start(), 0_u32);
    for key in 0..100_000 {
        queue.add(now, key, Cause::TermStarted);
    }
    while !queue.is_idle() {
        while let Some(ready) = queue.poll(now) {
            let done = if ready.failures == 0 { Done::Retry { after: None } } else { Done::Ok };
            assert!(queue.done(now, &ready.key, done).is_some());
            calls += 1;
        }
        now = queue.poll_timeout().unwrap_or(now);
    }
    assert_eq!((calls, queue.entries.len(), queue.depth()), (200_000, 0, 0));
}
