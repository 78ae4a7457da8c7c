//! A machine: its clocks, and its link to the API server.

use std::collections::VecDeque;
use std::time::Duration;

use tenure_election::Instant;

/// A rate of exactly one second a second, in millionths.
pub const RATE_TRUE: u64 = 1_000_000;

/// Two clocks that run at one rate from where they were last set.
#[derive(Debug, Clone)]
pub struct Clocks {
    since: Duration,
    boot: Duration,
    wall: Duration,
    rate: u64,
}

impl Clocks {
    /// Clocks that read `boot` and `wall` at the world's `now`, and run at `rate` millionths.
    #[must_use]
    pub const fn new(now: Duration, boot: Duration, wall: Duration, rate: u64) -> Self {
        Self { since: now, boot, wall, rate }
    }

    /// What they read.
    #[must_use]
    pub fn read(&self, now: Duration) -> Instant {
        let passed = scale(now.saturating_sub(self.since), self.rate, RATE_TRUE);
        Instant { boot: self.boot + passed, wall: self.wall + passed }
    }

    /// When, by the world's time, either comes to its reading in `at`.
    #[must_use]
    pub fn when(&self, at: Instant) -> Duration {
        let until = |reading: Duration, from: Duration| {
            scale(reading.saturating_sub(from), RATE_TRUE, self.rate) + Duration::from_nanos(1)
        };
        self.since + until(at.boot, self.boot).min(until(at.wall, self.wall))
    }

    /// From now on they run at another rate.
    pub fn set_rate(&mut self, now: Duration, rate: u64) {
        let Instant { boot, wall } = self.read(now);
        *self = Self::new(now, boot, wall, rate);
    }

    /// The wall clock is set forward, or back.
    pub fn step_wall(&mut self, forward: bool, by: Duration) {
        self.wall = if forward { self.wall + by } else { self.wall.saturating_sub(by) };
    }
}

fn scale(time: Duration, by: u64, of: u64) -> Duration {
    let nanoseconds = time.as_nanos() * u128::from(by) / u128::from(of);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// What happens to the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is committed, its answer is lost.
    LoseAnswer,
    /// It is lost on its way.
    LoseRequest,
    /// It is committed so much later; its answer is lost.
    Delay(Duration),
    /// It is committed, and somebody on the way sends it once more so much later.
    Replay(Duration),
    /// A conflict is answered that is none.
    FalseConflict,
    /// 429 or 503: nothing is committed, no definite answer.
    Busy,
    /// It changes nothing and is answered with what stands there, as a PUT equal to it would be.
    Unchanged,
    /// 500 after the commit.
    BusyAfterCommit,
}

/// How the watch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watching {
    /// Events come.
    Works,
    /// Open, but nothing comes.
    Silent,
    /// Not allowed.
    Forbidden,
}

/// The way between one machine and the API server.
#[derive(Debug)]
pub struct Link {
    /// No request gets through.
    pub out_cut: bool,
    /// No answer and no watch event gets through.
    pub back_cut: bool,
    /// What is sent while a way is cut waits for it to heal, as in a socket that stays open, instead of being lost.
    pub holds: bool,
    /// How the watch does.
    pub watching: Watching,
    /// How long watch events take, in addition to the network.
    pub watch_delay: Duration,
    /// What happens to the next writes.
    pub fates: VecDeque<Fate>,
    /// The status with which writes are refused.
    pub refusal: Option<u16>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            out_cut: false,
            back_cut: false,
            holds: false,
            watching: Watching::Works,
            watch_delay: Duration::ZERO,
            fates: VecDeque::new(),
            refusal: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_come_to_when_the_clocks_say() {
        let mut clocks =
            Clocks::new(Duration::from_secs(5), Duration::from_secs(100), Duration::from_secs(50), 990_000);
        clocks.step_wall(true, Duration::from_secs(3));
        clocks.set_rate(Duration::from_secs(15), 1_010_000);
        let at = clocks.read(Duration::from_secs(25)).after(Duration::from_millis(7));
        let when = clocks.when(at);
        assert!(clocks.read(when).has_reached(at));
        assert!(!clocks.read(when - Duration::from_micros(1)).has_reached(at));
    }
}
