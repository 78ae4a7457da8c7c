//! Shares of the processor: what guests computed is charged to their plugin and to all plugins together, and who is ahead of
//! its share waits at the next epoch, or before its next call. Counts processor time, so a busy machine charges nobody twice.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::common::Limit;
use crate::loaded::{Loaded, World};

/// What may be used at once after a rest, as time at the full share: calls are short, and their pauses shall not be lost.
const BURST: Duration = Duration::from_secs(1);
/// One processor, in thousandths.
const ONE_PROCESSOR_MILLIS: u64 = 1000;
/// The part of the processors that guests get together where nobody says how much.
const ALL_GUESTS_PERCENT: u64 = 75;

/// What has been used of one share.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// When what was used has been paid off at the share's rate.
    paid_off: Mutex<Option<Instant>>,
    used_ns: AtomicU64,
}

impl Account {
    /// Charges processor time to a share of so many thousandths of one processor.
    pub(crate) fn charge(&self, now: Instant, used: Duration, millis_max: u32) {
        let used_ns = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        self.used_ns.fetch_add(used_ns, Ordering::Relaxed);
        let worth_ns = u128::from(used_ns) * u128::from(ONE_PROCESSOR_MILLIS) / u128::from(millis_max.max(1));
        let worth = Duration::from_nanos(u64::try_from(worth_ns).unwrap_or(u64::MAX));
        let mut paid_off = self.lock();
        let from = paid_off.unwrap_or(now).max(now);
        *paid_off = from.checked_add(worth).or(Some(from));
    }

    /// How long whoever uses this share has to wait.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let ahead = self.lock().map_or(Duration::ZERO, |paid_off| paid_off.saturating_duration_since(now));
        ahead.saturating_sub(BURST)
    }

    /// All that was ever used.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    /// An instant is written whole: a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.paid_off.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drives a guest, and charges what it computes. The epoch ticks while it does, and only then.
pub(crate) async fn metered<F: Future>(guest: F, plugin: &Loaded, millis_max: u32) -> F::Output {
    let Loaded { shared, common, .. } = plugin;
    let mut guest = pin!(guest);
    poll_fn(|context| {
        let _ticking = shared.ticker.running();
        let before = thread_time();
        let polled = guest.as_mut().poll(context);
        let used = thread_time().saturating_sub(before);
        let now = Instant::now();
        common.processor.charge(now, used, millis_max);
        shared.processor.charge(now, used, shared.guests_cpu_millis_max);
        polled
    })
    .await
}

/// Returns once neither the plugin nor all guests together are ahead of their share. A lock policy waits for nobody: its verdict
/// is due, and its calls are bounded.
pub(crate) async fn within_shares(plugin: &Loaded) {
    let Loaded { shared, common, .. } = plugin;
    while plugin.world() != World::LockPolicy {
        let now = Instant::now();
        let (own, all) = (common.processor.wait(now), shared.processor.wait(now));
        if own.is_zero() && all.is_zero() {
            return;
        }
        common.count_refused(if own >= all { Limit::Cpu } else { Limit::GuestsCpu });
        tokio::time::sleep(own.max(all)).await;
    }
}

/// What guests get together where nobody says how much, in thousandths of one processor.
pub(crate) fn usual_guests_cpu_millis() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    u32::try_from(processors * ONE_PROCESSOR_MILLIS * ALL_GUESTS_PERCENT / 100).unwrap_or(u32::MAX)
}

/// Processor time of this thread: a poll of a guest begins and ends on one.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    #[test]
    fn whoever_computes_all_the_time_gets_its_share_and_no_more() {
        for millis_max in [50, 250, 1000, 3000] {
            let account = Account::default();
            let start = Instant::now();
            let mut now = start;
            let end = start + Duration::from_secs(60);
            // Three threads' worth: more than any of these shares but the last.
            while now < end {
                for _ in 0..3 {
                    account.charge(now, TICK, millis_max);
                }
                now += TICK.max(account.wait(now));
            }
            let most = (BURST + Duration::from_secs(60)) * millis_max / 1000 + 3 * TICK;
            let least = Duration::from_secs(60) * millis_max / 1000;
            assert!((least..=most).contains(&account.used()), "{millis_max}: {:?}", account.used());
        }
    }

    #[test]
    fn short_work_after_a_rest_waits_for_nothing() {
        let account = Account::default();
        let start = Instant::now();
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            account.charge(now, Duration::from_millis(90), 100);
            assert_eq!(account.wait(now), Duration::ZERO, "within its share, after {second} s");
        }
        let now = start + Duration::from_secs(9);
        account.charge(now, Duration::from_millis(500), 100);
        assert!(account.wait(now) > Duration::from_secs(4));
    }

    #[test]
    fn a_share_that_was_used_up_long_ago_is_whole_again() {
        let account = Account::default();
        let start = Instant::now();
        account.charge(start, Duration::from_secs(10), 1000);
        assert_eq!(account.wait(start), Duration::from_secs(9));
        let later = start + Duration::from_secs(3600);
        assert_eq!(account.wait(later), Duration::ZERO);
        account.charge(later, TICK, 1000);
        assert_eq!(account.wait(later), Duration::ZERO);
    }
}
