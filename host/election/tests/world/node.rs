//! One machine: its clocks, its faults, and one elector with the driver's rules around it.

use std::collections::VecDeque;
use std::time::Duration;

use tenure_election::{Elector, Instant, LiveTerm, Outcome, Seen, Source, Standing};

/// What waits to be handed to an elector.
#[derive(Debug, Clone)]
pub enum Input {
    Record(Source, Option<Seen>),
    ReadFailed(String),
    Wrote(tenure_election::Attempt, Outcome),
    Drained(bool),
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
}

/// How long guests take to end once they are told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guests {
    /// So long.
    End(Duration),
    /// Until somebody says so.
    Stay,
}

pub struct Node {
    pub elector: Elector,
    pub live: Option<LiveTerm>,
    pub boot_offset: Duration,
    pub wall_offset: Duration,
    /// The clocks' rate in millionths.
    pub rate: u64,
    pub paused: bool,
    pub partitioned: bool,
    pub watching: Watching,
    pub fates: VecDeque<Fate>,
    pub refusal: Option<u16>,
    pub guests: Guests,
    pub inbox: VecDeque<Input>,
    /// The request under way: its number, and how to fail it.
    pub request: Option<(u64, Input)>,
    /// Whether Extend and plain renewals are written down.
    pub verbose: bool,
}

/// How the watch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watching {
    Works,
    /// Open, but nothing comes.
    Silent,
    /// Not allowed.
    Forbidden,
}

impl Node {
    pub fn new(elector: Elector, boot_offset: Duration, wall_offset: Duration, rate: u64) -> Self {
        Self {
            elector,
            live: None,
            boot_offset,
            wall_offset,
            rate,
            paused: false,
            partitioned: false,
            watching: Watching::Works,
            fates: VecDeque::new(),
            refusal: None,
            guests: Guests::End(Duration::from_millis(10)),
            inbox: VecDeque::new(),
            request: None,
            verbose: false,
        }
    }

    pub fn clock(&self, now: Duration) -> Instant {
        let passed = scale(now, self.rate, 1_000_000);
        Instant { boot: self.boot_offset + passed, wall: self.wall_offset + passed }
    }

    /// When, by the world's time, a clock of this machine comes to its reading in `at`.
    pub fn when(&self, at: Instant) -> Duration {
        let until = |reading: Duration, offset: Duration| {
            scale(reading.saturating_sub(offset), 1_000_000, self.rate) + Duration::from_nanos(1)
        };
        until(at.boot, self.boot_offset).min(until(at.wall, self.wall_offset))
    }

    /// Whether plugin writes of this machine would leave now.
    pub fn is_open(&self, now: Duration) -> bool {
        self.live.as_ref().is_some_and(|live| live.standing(self.clock(now)) != Standing::Closed)
    }

    /// Hands one input to the elector; the clocks are looked at first.
    pub fn hand(&mut self, now: Instant, input: Input) {
        self.elector.handle_timeout(now);
        match input {
            Input::Record(source, seen) => self.elector.handle_record(now, source, seen),
            Input::ReadFailed(message) => self.elector.handle_read_failed(now, message),
            Input::Wrote(attempt, outcome) => self.elector.handle_write(now, attempt, outcome),
            Input::Drained(unanswered) => self.elector.handle_drained(now, unanswered),
        }
    }
}

fn scale(time: Duration, by: u64, of: u64) -> Duration {
    let nanoseconds = time.as_nanos() * u128::from(by) / u128::from(of);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}
