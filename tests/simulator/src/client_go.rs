//! A candidate that does as client-go's leader election does (0.34 to 0.37), defects included: it renews with the version it
//! last got, falls back to a read, counts from the answer, works on until its renew deadline, and lets go with a fresh version
//! but a stale record. Written from the facts in docs/election.md; decides for itself, is driven by the world.

use std::time::Duration;

use tenure_election::{Instant, Outcome, Record, Seen, WriteKind};

use crate::chance::Chance;

/// Its knobs.
#[derive(Debug, Clone, Copy)]
pub struct Knobs {
    /// LeaseDuration.
    pub lease: Duration,
    /// RenewDeadline.
    pub renew: Duration,
    /// RetryPeriod.
    pub retry: Duration,
    /// ReleaseOnCancel.
    pub release_on_cancel: bool,
}

/// What it asks the API server for.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A consistent read.
    Read,
    /// A write.
    Write {
        /// POST or PUT.
        kind: WriteKind,
        /// The content.
        record: Record,
    },
}

/// What it is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// The answer to a read.
    Object(Option<Seen>),
    /// The answer to a write.
    Wrote(Outcome),
    /// No answer.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Fast,
    Get,
    Put,
    ReleaseGet,
    ReleasePut,
}

/// One candidate.
#[derive(Debug)]
pub struct ClientGo {
    identity: String,
    knobs: Knobs,
    chance: Chance,
    observed: Option<Record>,
    observed_at: Duration,
    /// The object as the lock last got it: its version is what a PUT carries.
    object: Option<Seen>,
    sent: Option<Record>,
    step: Option<Step>,
    next_at: Duration,
    renew_by: Option<Duration>,
    working: bool,
    letting_go: bool,
    stopped: bool,
}

impl ClientGo {
    /// A candidate that knows nothing yet.
    #[must_use]
    pub fn new(identity: &str, knobs: Knobs, seed: u64) -> Self {
        Self {
            identity: identity.to_owned(),
            knobs,
            chance: Chance::new(seed),
            observed: None,
            observed_at: Duration::ZERO,
            object: None,
            sent: None,
            step: None,
            next_at: Duration::ZERO,
            renew_by: None,
            working: false,
            letting_go: false,
            stopped: false,
        }
    }

    /// Its name in the lock.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Its knobs.
    #[must_use]
    pub const fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// Whether its workload runs.
    #[must_use]
    pub const fn is_working(&self) -> bool {
        self.working
    }

    /// Whether it is done; its process ends.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Asked to end: its context is cancelled, and with it the request under way. Letting go has a context of its own; then
    /// nothing changes, and this says so.
    pub fn cancel(&mut self, now: Instant) -> bool {
        if self.letting_go {
            return false;
        }
        self.step = None;
        self.end(now);
        true
    }

    /// When to ask it next, by the boot clock.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        (self.step.is_none() && !self.stopped).then_some(self.next_at)
    }

    /// What it asks for next, and how long it waits for the answer.
    pub fn poll(&mut self, now: Instant) -> Option<(Ask, Duration)> {
        if self.next_at().is_none_or(|at| now.boot < at) {
            return None;
        }
        if self.letting_go {
            return Some(self.begin_release());
        }
        if self.working {
            let by = *self.renew_by.get_or_insert(now.boot + self.knobs.renew);
            if now.boot >= by {
                self.end(now);
                return if self.stopped { None } else { Some(self.begin_release()) };
            }
        }
        let wait = self.wait(now);
        if self.leads() && self.is_valid(now) {
            let ask = self.put(now, Step::Fast)?;
            return Some((ask, wait));
        }
        self.step = Some(Step::Get);
        Some((Ask::Read, wait))
    }

    /// What came of it; what it asks for at once, if anything.
    pub fn handle(&mut self, now: Instant, told: Told) -> Option<(Ask, Duration)> {
        let step = self.step.take()?;
        match (step, told) {
            (Step::Fast | Step::Put, Told::Wrote(Outcome::Stored { seen, .. })) => {
                self.observed = self.sent.take();
                self.observed_at = now.boot; // from the answer: its defect 4
                self.object = Some(seen);
                self.working = true;
                self.renew_by = None;
                self.next_at = now.boot + self.knobs.retry;
                None
            }
            (Step::Fast, _) => {
                self.step = Some(Step::Get);
                Some((Ask::Read, self.wait(now)))
            }
            (Step::Get, Told::Object(None)) => {
                let record = self.record(now, now.wall, 0, None);
                Some((self.write(Step::Put, WriteKind::Create, record), self.wait(now)))
            }
            (Step::Get, Told::Object(Some(seen))) => {
                let changed = self.observed.as_ref().is_none_or(|observed| !same(observed, &seen.record));
                if changed {
                    self.observed = Some(seen.record.clone());
                    self.observed_at = now.boot;
                }
                let held = !seen.record.holder.is_empty() && !self.leads() && self.is_valid(now);
                self.object = Some(seen);
                if held {
                    self.fail(now);
                    return None;
                }
                let ask = self.put(now, Step::Put)?;
                Some((ask, self.wait(now)))
            }
            (Step::ReleaseGet, Told::Object(Some(seen))) if self.leads() => {
                // Its defect 1: who leads is judged by the record it remembers, the version is the one just read.
                let transitions = self.observed.as_ref().map_or(0, |observed| observed.transitions);
                let mut record = self.record(now, now.wall, transitions, Some(&seen));
                record.holder = String::new();
                record.lease_duration_seconds = 1;
                let kind = WriteKind::Replace { uid: seen.uid, version: seen.version };
                Some((self.write(Step::ReleasePut, kind, record), self.knobs.renew))
            }
            (Step::ReleaseGet | Step::ReleasePut, _) => {
                self.stop();
                None
            }
            _ => {
                self.fail(now);
                None
            }
        }
    }

    fn leads(&self) -> bool {
        self.observed.as_ref().is_some_and(|observed| observed.holder == self.identity)
    }

    fn is_valid(&self, now: Instant) -> bool {
        let seconds = self.observed.as_ref().map_or(0, |observed| observed.lease_duration_seconds);
        self.observed_at + Duration::from_secs(seconds.into()) > now.boot
    }

    /// How long a request may take: half the renew deadline, and no longer than the round.
    fn wait(&self, now: Instant) -> Duration {
        let left = self.renew_by.map_or(self.knobs.renew, |by| by.saturating_sub(now.boot));
        (self.knobs.renew / 2).min(left)
    }

    fn fail(&mut self, now: Instant) {
        self.next_at = match self.renew_by {
            Some(by) => by.min(now.boot + self.knobs.retry),
            None => now.boot + self.knobs.retry + self.chance.between(Duration::ZERO, self.knobs.retry * 6 / 5),
        };
    }

    /// Renewing is over. It lets go while its workload still runs: its defect 3.
    fn end(&mut self, now: Instant) {
        if self.knobs.release_on_cancel && self.working {
            self.letting_go = true;
            self.next_at = now.boot;
        } else {
            self.stop();
        }
    }

    fn begin_release(&mut self) -> (Ask, Duration) {
        self.step = Some(Step::ReleaseGet);
        (Ask::Read, self.knobs.renew)
    }

    fn stop(&mut self) {
        self.working = false;
        self.stopped = true;
    }

    /// The PUT that takes or keeps the lock, on the object it last got.
    fn put(&mut self, now: Instant, step: Step) -> Option<Ask> {
        let object = self.object.clone()?;
        let observed = self.observed.as_ref()?;
        let (acquired, transitions) = if observed.holder == self.identity {
            (observed.acquire_time.unwrap_or(now.wall), observed.transitions)
        } else {
            (now.wall, observed.transitions + 1)
        };
        let record = self.record(now, acquired, transitions, Some(&object));
        let kind = WriteKind::Replace { uid: object.uid, version: object.version };
        Some(self.write(step, kind, record))
    }

    fn write(&mut self, step: Step, kind: WriteKind, record: Record) -> Ask {
        self.step = Some(step);
        self.sent = Some(record.clone());
        Ask::Write { kind, record }
    }

    fn record(&self, now: Instant, acquired: Duration, transitions: u32, base: Option<&Seen>) -> Record {
        Record {
            holder: self.identity.clone(),
            lease_duration_seconds: u32::try_from(self.knobs.lease.as_secs()).unwrap_or(u32::MAX),
            acquire_time: Some(acquired),
            renew_time: Some(now.wall),
            transitions,
            annotations: base.map(|seen| seen.record.annotations.clone()).unwrap_or_default(),
        }
    }
}

/// Whether two records are one to client-go, which knows no annotations.
fn same(a: &Record, b: &Record) -> bool {
    let fields = |it: &Record| (it.lease_duration_seconds, it.acquire_time, it.renew_time, it.transitions);
    a.holder == b.holder && fields(a) == fields(b)
}
