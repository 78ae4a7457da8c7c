//! What people are told: log lines and events, made of the elector's reports and of failed calls, each at most as often as
//! it helps. Time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use tenure_election::{Instant, Observed, Report};

use crate::Lock;
use crate::events::{Loudness, Notice, Recorder};

/// The same complaint is repeated after so long at the earliest.
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// Complaints remembered. Past this the memory is dropped: a line too many is better than memory without end.
const REMEMBERED_MAX: usize = 128;

/// Tells people what the election does.
#[derive(Debug)]
pub(crate) struct Announcer {
    lock: Lock,
    recorder: Recorder,
    repeats: Repeats,
    waiting_told: bool,
    slow_path_total: u64,
    transitions_seen_total: u64,
    deaths_proved_total: u64,
}

impl Announcer {
    pub(crate) fn new(lock: Lock, recorder: Recorder) -> Self {
        Self {
            lock,
            recorder,
            repeats: Repeats::default(),
            waiting_told: false,
            slow_path_total: 0,
            transitions_seen_total: 0,
            deaths_proved_total: 0,
        }
    }

    /// Renewals that failed or were late while leading went on.
    pub(crate) fn slow_path_total(&self) -> u64 {
        self.slow_path_total
    }

    /// Changes of holder seen, own terms included.
    pub(crate) fn transitions_seen_total(&self) -> u64 {
        self.transitions_seen_total
    }

    /// Holders proved dead.
    pub(crate) fn deaths_proved_total(&self) -> u64 {
        self.deaths_proved_total
    }

    /// Logs one report about `lock`, and posts the events client-go's users know. A change of holder counts where people are
    /// shown it.
    pub(crate) fn report(
        &mut self,
        now: Instant,
        lock: &Lock,
        identity: &str,
        observed: Option<&Observed>,
        report: Report,
    ) {
        match report {
            Report::Started { term } => {
                tracing::info!(%lock, identity, %term, "became leader");
                self.transitions_seen_total += 1;
                self.waiting_told = false;
                self.post(now, Loudness::Normal, format!("{identity} became leader"), observed);
            }
            Report::Stopped { term, why, released } => {
                tracing::info!(%lock, identity, %term, why, released, "stopped leading");
                self.waiting_told = false;
                self.post(now, Loudness::Normal, format!("{identity} stopped leading"), observed);
            }
            Report::NewHolder { holder } => {
                if holder.is_empty() {
                    tracing::info!(%lock, "nobody holds the lock");
                } else {
                    tracing::info!(%lock, holder, "another holds the lock");
                }
                self.transitions_seen_total += u64::from(*lock == self.lock);
                self.waiting_told = false;
            }
            Report::ContainerKnown { container } => {
                tracing::info!(%lock, container, "the own container is known: a death here can be proved");
            }
            Report::ProvedDead { holder, container, wait } => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::info!(%lock, holder, container, wait_ms, "the holder is proved dead");
                self.deaths_proved_total += 1;
                let told = format!("{holder} is proved dead: its container {container} has ended");
                self.post(now, Loudness::Normal, told, observed);
            }
            Report::Waiting { why, until } => {
                let wait_ms = u64::try_from(until.boot.saturating_sub(now.boot).as_millis()).unwrap_or(u64::MAX);
                if std::mem::replace(&mut self.waiting_told, true) {
                    tracing::debug!(%lock, why, wait_ms, "waiting");
                } else {
                    tracing::info!(%lock, why, wait_ms, "waiting");
                }
            }
            Report::Warning { message } => {
                if self.repeats.is_news(now.boot, &message) {
                    tracing::warn!(%lock, "{message}");
                    self.post(now, Loudness::Warning, message, observed);
                } else {
                    tracing::debug!(%lock, "{message}");
                }
            }
            Report::SlowPath { why } => {
                if self.repeats.is_news(now.boot, &why) {
                    tracing::warn!(%lock, why, "a renewal failed or is late; still leading");
                } else {
                    tracing::debug!(%lock, why, "a renewal failed or is late; still leading");
                }
                self.slow_path_total += 1;
            }
        }
    }

    /// Logs a call that failed: an error or warning first, then at most once a minute. No event: what keeps the Lease from
    /// us keeps events from us, too.
    pub(crate) fn call_failed(&mut self, now: Instant, code: Option<u16>, message: &str) {
        let lock = &self.lock;
        let is_due = self.repeats.is_due(now.boot, message);
        match code {
            Some(401 | 403) if is_due => tracing::error!(%lock, "{message}"),
            _ if is_due => tracing::warn!(%lock, "{message}; still trying"),
            _ => tracing::debug!(%lock, "{message}"),
        }
    }

    /// Posts what is queued, within `limit`.
    pub(crate) async fn finish(self, limit: Duration) {
        self.recorder.finish(limit).await;
    }

    fn post(&self, now: Instant, loudness: Loudness, message: String, observed: Option<&Observed>) {
        let lease = observed.map(|observed| (observed.seen.uid.clone(), observed.seen.version));
        self.recorder.record(Notice { loudness, message, at: now.wall, lease });
    }
}

/// When each complaint was last made, on the boot clock.
#[derive(Debug, Default)]
struct Repeats {
    last_made: HashMap<String, Duration>,
}

impl Repeats {
    /// As [`Self::is_due`], of a message made around a cause: where the cause itself was told, it is no news.
    fn is_news(&mut self, boot: Duration, message: &str) -> bool {
        self.forget_old(boot);
        let cause_told = self.last_made.keys().any(|told| told != message && message.contains(told.as_str()));
        !cause_told && self.is_due(boot, message)
    }

    /// Whether `message` may be said now; if so, it counts as said.
    fn is_due(&mut self, boot: Duration, message: &str) -> bool {
        self.forget_old(boot);
        if self.last_made.contains_key(message) {
            return false;
        }
        if self.last_made.len() == REMEMBERED_MAX {
            self.last_made.clear();
        }
        self.last_made.insert(String::from(message), boot);
        true
    }

    fn forget_old(&mut self, boot: Duration) {
        self.last_made.retain(|_, made| boot.saturating_sub(*made) < REPEAT_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaint_is_made_once_a_minute() {
        let mut repeats = Repeats::default();
        let start = Duration::from_secs(1000);
        assert!(repeats.is_due(start, "forbidden"));
        assert!(!repeats.is_due(start + Duration::from_secs(59), "forbidden"));
        assert!(repeats.is_due(start + Duration::from_secs(59), "unreachable"));
        assert!(repeats.is_due(start + Duration::from_secs(60), "forbidden"));
        assert!(!repeats.is_due(start + Duration::from_secs(61), "forbidden"));
    }

    #[test]
    fn what_was_told_is_not_told_again_in_other_words() {
        let mut repeats = Repeats::default();
        let start = Duration::from_secs(1000);
        assert!(repeats.is_due(start, "forbidden to get leases"));
        assert!(!repeats.is_news(start, "the lock could not be read: forbidden to get leases; tried again"));
        assert!(repeats.is_news(start, "the lock's term was raised"));
        let later = start + REPEAT_AFTER;
        assert!(repeats.is_news(later, "the lock could not be read: forbidden to get leases; tried again"));
    }

    #[test]
    fn complaints_remembered_are_bounded() {
        let mut repeats = Repeats::default();
        for number in 0..10 * REMEMBERED_MAX {
            assert!(repeats.is_due(Duration::ZERO, &number.to_string()));
            assert!(repeats.last_made.len() <= REMEMBERED_MAX);
        }
    }
}
