//! The loop on the election thread: wait, look at the clocks, tell the elector, do what it says.
//!
//! Nothing here decides. After any wait the clocks come first: an answer that sat in a queue while the process was stopped
//! must not be taken before the deadlines it missed.

use std::sync::Arc;
use std::time::Duration;

use tenure_election::{
    Action, Attempt, Authority, Clock, Drain, Instant, JointElector, Outcome, PeerSeen, Phase, PodSeen, Report, Seen,
    Source, Term, Token, Verdict, Write, WriteKind,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::announce::Announcer;
use crate::api::{CallFailure, LockApi, WriteAnswer};
use crate::object::{LockObject, Memory, created_with};
use crate::start::ElectionFailure;
use crate::term::{Confirmation, RunningTerm};
use crate::timers::{Timers, Wakeup};
use crate::watch::News;
use crate::{Leadership, OnLoss, RenewalHealth};

/// How long a closed term's guests may take at most to be confirmed gone; less where the margin is thin.
const DRAINED_WITHIN_MAX: Duration = Duration::from_millis(500);
/// The last events may take so long when the thread ends in order.
const LAST_EVENTS_WITHIN: Duration = Duration::from_secs(1);
/// A deadline that stays in the past wakes the thread no more often than this.
const WAKE_EVERY_MIN: Duration = Duration::from_millis(1);

/// What the process asks of the election.
#[derive(Debug)]
pub(crate) enum Command {
    BeginDrain(Drain),
    Drained { term: Term, unanswered: bool },
    Verdict(Verdict),
    Peer { name: String, seen: Option<PeerSeen> },
    Token(Token),
    Warn(String),
}

/// What the driver is made of.
pub(crate) struct Parts {
    pub(crate) elector: JointElector,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retry: Duration,
    pub(crate) margin: Duration,
    pub(crate) on_loss: OnLoss,
    pub(crate) sever: Arc<dyn Fn(Term) + Send + Sync>,
    pub(crate) abort: Arc<dyn Fn() + Send + Sync>,
    /// The locks, in the elector's order.
    pub(crate) apis: Vec<LockApi>,
    /// The one that people are shown.
    pub(crate) shown: usize,
    pub(crate) pods_namespace: String,
    pub(crate) timers: Timers,
    pub(crate) announcer: Announcer,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) news: mpsc::Receiver<(usize, News)>,
    /// A task for each lock.
    pub(crate) watching: JoinSet<()>,
    pub(crate) publisher: watch::Sender<Leadership>,
    pub(crate) health: Arc<RenewalHealth>,
}

/// The loop's state.
pub(crate) struct Driver {
    parts: Parts,
    /// What is known of each lock's object.
    known: Vec<Known>,
    calls: JoinSet<Answer>,
    term: Option<RunningTerm>,
    lateness: Duration,
    shutting_down: bool,
    lost: Option<Term>,
}

/// What is known of one lock's object.
#[derive(Debug, Default)]
struct Known {
    memory: Memory,
    /// What the last write, read and watch failed with; each is mended by its own kind, the write also by one of another's.
    write_error: Option<String>,
    read_error: Option<String>,
    watch_error: Option<String>,
}

impl Known {
    fn errors(&self) -> impl Iterator<Item = &String> {
        [&self.write_error, &self.read_error, &self.watch_error].into_iter().flatten()
    }
}

/// How a call about a lock ended.
struct Answer {
    lock: usize,
    what: Answered,
}

enum Answered {
    Read { sent_at: Instant, result: Result<Option<LockObject>, CallFailure> },
    Write { attempt: Attempt, answer: WriteAnswer },
    Pod { result: Result<Option<PodSeen>, CallFailure> },
}

/// What ended a wait.
enum Event {
    Timer,
    Answer(Answer),
    News(usize, News),
    Command(Command),
    /// Nobody holds the election any more.
    Abandoned,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            known: parts.apis.iter().map(|_| Known::default()).collect(),
            parts,
            calls: JoinSet::new(),
            term: None,
            lateness: Duration::ZERO,
            shutting_down: false,
            lost: None,
        }
    }

    /// Runs until a shutdown's drain is done, the term is lost under [`OnLoss::Exit`], or something that must not fail does.
    pub(crate) async fn run(mut self) -> Result<(), ElectionFailure> {
        let ended = loop {
            let handled = self.turn();
            if self.parts.elector.phase() == Phase::Finished {
                break self.lost.map_or(Ok(()), |term| Err(ElectionFailure::Lost { term }));
            }
            let event = match self.wait(handled).await {
                Ok(Event::Abandoned) => break Ok(()),
                Ok(event) => event,
                Err(failure) => break Err(failure),
            };
            // The clocks first, and what follows from them; then the news.
            self.turn();
            self.take(event);
        };
        self.close_what_is_open();
        self.parts.watching.abort_all();
        self.parts.announcer.finish(LAST_EVENTS_WITHIN).await;
        ended
    }

    /// Looks at the clocks and does what the elector says; the instant up to which that is done.
    fn turn(&mut self) -> Instant {
        let now = self.parts.clock.now();
        self.parts.elector.handle_timeout(now);
        self.count_down(now);
        loop {
            let now = self.parts.clock.now();
            let Some((lock, action)) = self.parts.elector.poll_action(now) else { break };
            self.perform(now, lock, action);
        }
        self.publish();
        now
    }

    async fn wait(&mut self, handled: Instant) -> Result<Event, ElectionFailure> {
        let mut wakeup = Wakeup::default();
        if let Some(deadline) = self.parts.elector.poll_timeout() {
            wakeup.at(deadline);
        }
        if let Some(look) = self.term.as_ref().and_then(RunningTerm::next_look) {
            wakeup.at_boot(look);
        }
        wakeup.boot = wakeup.boot.map(|boot| boot.max(handled.boot + WAKE_EVERY_MIN));
        let Parts { timers, clock, commands, news, watching, .. } = &mut self.parts;
        timers.arm(&**clock, handled, wakeup)?;
        tokio::select! {
            biased;
            fired = timers.fired() => Ok(fired.map(|()| Event::Timer)?),
            command = commands.recv() => Ok(command.map_or(Event::Abandoned, Event::Command)),
            Some(answer) = self.calls.join_next() => match answer {
                Ok(answer) => Ok(Event::Answer(answer)),
                Err(error) => Err(ElectionFailure::task("request", error)),
            },
            Some((lock, news)) = news.recv() => Ok(Event::News(lock, news)),
            Some(ended) = watching.join_next() => match ended {
                Ok(()) => Err(ElectionFailure::TaskEnded { task: "watch", message: String::from("it returned") }),
                Err(error) => Err(ElectionFailure::task("watch", error)),
            },
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Timer | Event::Abandoned => {}
            Event::Answer(Answer { lock, what }) => match what {
                Answered::Read { sent_at, result } => self.take_read(lock, sent_at, result),
                Answered::Write { attempt, answer } => self.take_write(lock, attempt, answer),
                Answered::Pod { result } => self.take_pod(lock, result),
            },
            Event::News(lock, news) => self.take_news(lock, news),
            Event::Command(command) => self.take_command(command),
        }
    }

    fn take_read(&mut self, lock: usize, sent_at: Instant, result: Result<Option<LockObject>, CallFailure>) {
        let now = self.parts.clock.now();
        match result {
            Ok(object) => {
                self.known[lock].read_error = None;
                let seen = object.as_ref().map(|object| object.seen().clone());
                if let Some(object) = object {
                    self.known[lock].memory.keep(object);
                }
                self.observe(now, lock, Source::Quorum { sent_at }, seen);
            }
            Err(failure) => {
                self.known[lock].read_error = Some(self.told(now, &failure));
                self.parts.elector.handle_read_failed(now, lock, failure.message);
            }
        }
    }

    fn take_write(&mut self, lock: usize, attempt: Attempt, answer: WriteAnswer) {
        let now = self.parts.clock.now();
        let outcome = match answer {
            WriteAnswer::Stored { object, created } => {
                self.known[lock].write_error = None;
                let seen = object.seen().clone();
                self.known[lock].memory.keep(object);
                Outcome::Stored { seen, created }
            }
            WriteAnswer::Conflict => {
                self.known[lock].write_error = None;
                Outcome::Conflict
            }
            WriteAnswer::Refused(failure) => {
                self.known[lock].write_error = Some(self.told(now, &failure));
                Outcome::Refused { code: failure.code.unwrap_or_default(), message: failure.message }
            }
            WriteAnswer::Unknown(failure) => {
                self.known[lock].write_error = Some(self.told(now, &failure));
                Outcome::Unknown { message: failure.message }
            }
        };
        self.parts.elector.handle_write(now, lock, attempt, outcome);
    }

    /// Shows the elector a record. Another one than before is a write that got through: one of ours that did not is past.
    fn observe(&mut self, now: Instant, lock: usize, source: Source, seen: Option<Seen>) {
        let known = |elector: &JointElector| elector.observed_of(lock).map(|it| (it.seen.uid, it.seen.version));
        let before = known(&self.parts.elector);
        self.parts.elector.handle_record(now, lock, source, seen);
        if known(&self.parts.elector) != before {
            self.known[lock].write_error = None;
        }
    }

    /// A Pod that cannot be read is no trouble of the lock: the elector warns of a missing right, the rest is for debugging.
    fn take_pod(&mut self, lock: usize, result: Result<Option<PodSeen>, CallFailure>) {
        let now = self.parts.clock.now();
        match result {
            Ok(seen) => self.parts.elector.handle_pod(now, lock, seen),
            Err(failure) => {
                tracing::debug!(lock = %self.parts.apis[lock].lock(), "{}", failure.message);
                self.parts.elector.handle_pod_failed(now, lock, failure.code == Some(403), failure.message);
            }
        }
    }

    fn take_news(&mut self, lock: usize, news: News) {
        let now = self.parts.clock.now();
        match news {
            News::Listed(object) => {
                // What is older than what is known says as little as an empty list: etcd may have been restored, and only a
                // consistent read tells.
                let known = self.parts.elector.observed_of(lock).map_or(0, |known| known.seen.version);
                let object = object.filter(|object| object.seen().version >= known);
                let seen = object.as_ref().map(|object| object.seen().clone());
                if let Some(object) = object {
                    self.known[lock].memory.keep(object);
                }
                self.observe(now, lock, Source::Watch, seen);
            }
            News::Changed(object) => {
                let seen = object.seen().clone();
                self.known[lock].memory.keep(object);
                self.observe(now, lock, Source::Watch, Some(seen));
            }
            News::Deleted(object) => {
                self.parts.elector.handle_record(now, lock, Source::Deleted, Some(object.seen().clone()));
            }
            News::Forbidden(failure) => {
                // The elector warns of this one, once, with what it does instead.
                self.known[lock].watch_error = Some(failure.message.clone());
                self.parts.elector.handle_watch_unavailable(now, lock, failure.message);
            }
            News::Failing(failure) => {
                self.known[lock].watch_error = Some(self.told(now, &failure));
            }
            News::Working => self.known[lock].watch_error = None,
        }
    }

    fn take_command(&mut self, command: Command) {
        let now = self.parts.clock.now();
        match command {
            Command::BeginDrain(why) => {
                self.shutting_down |= why == Drain::Shutdown;
                self.parts.elector.begin_drain(now, why);
            }
            Command::Drained { term, unanswered } => self.take_drained(now, term, unanswered),
            Command::Verdict(verdict) => self.parts.elector.handle_verdict(now, verdict),
            Command::Peer { name, seen } => self.parts.elector.handle_peer(now, &name, seen),
            Command::Token(token) => self.parts.elector.handle_token(now, token),
            Command::Warn(message) => self.announce(now, self.parts.shown, Report::Warning { message }),
        }
    }

    /// A late word about an earlier term says nothing. One that nobody asked for ends the term: whoever runs the guests looks
    /// at the clocks itself, and stops them also at a deadline that a clock set back has hidden from this thread.
    fn take_drained(&mut self, now: Instant, term: Term, unanswered: bool) {
        match self.running(term).map(RunningTerm::confirm) {
            None | Some(Confirmation::Repeated) => {
                tracing::debug!(%term, "drained was told of a term that does not run, or once more");
                return;
            }
            Some(Confirmation::Answer) => {}
            Some(Confirmation::Unasked) => {
                tracing::warn!(
                    lock = %self.parts.apis[self.parts.shown].lock(),
                    %term,
                    "nothing runs in this term any more, though it was not told to stop: the lock is let go and campaigned for again"
                );
                // The elector takes the word of a term that it drains only.
                self.parts.elector.begin_drain(now, Drain::Yield);
            }
        }
        self.parts.elector.handle_drained(now, unanswered);
        self.settle(now);
    }

    /// Forgets a term that is closed and whose guests are gone.
    fn settle(&mut self, now: Instant) {
        if self.term.take_if(|running| running.is_over()).is_none() {
            return;
        }
        if let Some(term) = self.lost {
            tracing::info!(lock = %self.parts.apis[self.parts.shown].lock(), %term, "the term is lost, and on-loss says to end");
            self.parts.elector.begin_drain(now, Drain::Shutdown);
        }
    }

    fn announce(&mut self, now: Instant, lock: usize, report: Report) {
        let observed = self.parts.elector.observed();
        let identity = self.parts.elector.identity().as_str();
        let about = self.parts.apis[lock].lock();
        self.parts.announcer.report(now, about, identity, observed.as_ref(), report);
    }

    fn perform(&mut self, now: Instant, lock: usize, action: Action) {
        match action {
            Action::Read { timeout } => {
                let api = self.parts.apis[lock].clone();
                self.calls.spawn(async move {
                    let result = api.read(timeout).await;
                    Answer { lock, what: Answered::Read { sent_at: now, result } }
                });
            }
            Action::ReadPod { pod, timeout } => {
                let (api, namespace) = (self.parts.apis[lock].clone(), self.parts.pods_namespace.clone());
                self.calls.spawn(async move {
                    let result = api.read_pod(&namespace, &pod, timeout).await;
                    Answer { lock, what: Answered::Pod { result } }
                });
            }
            Action::Write(write) => self.send(now, lock, write),
            Action::Begin(authority) => self.begin(&authority),
            Action::Extend(authority) => self.extend(&authority),
            Action::Cancel { term, drain, .. } => {
                if let Some(running) = self.running(term) {
                    running.cancel(drain.is_some());
                }
                self.publish();
            }
            Action::Kill { term } => {
                if let Some(running) = self.running(term) {
                    running.kill();
                }
                self.publish();
            }
            Action::Close { term } => self.close(now, term),
            Action::Report(report) => self.announce(now, lock, report),
        }
    }

    fn send(&mut self, now: Instant, lock: usize, write: Write) {
        let Write { attempt, kind, record, timeout } = write;
        let api = self.parts.apis[lock].clone();
        let body = match &kind {
            WriteKind::Create => created_with(api.lock(), &record),
            WriteKind::Replace { uid, version } => match self.known[lock].memory.find(uid, *version) {
                Some(object) => object.replaced_by(&record),
                None => {
                    // Without the object a PUT would wipe what others put there. As after a 409, it is read again.
                    self.parts.elector.handle_write(now, lock, attempt, Outcome::Conflict);
                    return;
                }
            },
        };
        self.calls.spawn(async move {
            let answer = match kind {
                WriteKind::Create => api.create(&body, timeout).await,
                WriteKind::Replace { .. } => api.replace(&body, timeout).await,
            };
            Answer { lock, what: Answered::Write { attempt, answer } }
        });
    }

    fn begin(&mut self, authority: &Authority) {
        self.term = Some(RunningTerm::new(authority));
        self.lateness = Duration::ZERO;
        self.parts.health.renewed();
        self.publish();
    }

    fn extend(&mut self, authority: &Authority) {
        let Some(since_last) = self.running(authority.term).map(|running| running.extend(authority)) else { return };
        self.lateness = since_last.saturating_sub(self.parts.retry);
        self.parts.health.renewed();
    }

    fn close(&mut self, now: Instant, term: Term) {
        let within = self.drained_within();
        let exits = self.parts.on_loss == OnLoss::Exit && !self.shutting_down;
        let Some(running) = self.term.as_mut().filter(|running| running.term() == term) else { return };
        running.close(now, within);
        (self.parts.sever)(term);
        if exits && !running.was_asked_to_end() {
            self.lost = Some(term);
        }
        self.parts.health.stopped();
        self.settle(now);
        self.publish();
    }

    fn drained_within(&self) -> Duration {
        DRAINED_WITHIN_MAX.min(self.parts.margin / 2)
    }

    /// Guests that are not gone in time are stopped with the process: nothing else is left that could stop them.
    fn count_down(&mut self, now: Instant) {
        if !self.term.as_mut().is_some_and(|running| running.is_overdue(now)) {
            return;
        }
        // The word may wait in the queue, when this thread was the one that was late.
        while let Ok(command) = self.parts.commands.try_recv() {
            self.take_command(command);
        }
        let within = self.drained_within();
        let Some(running) = self.term.as_mut().filter(|running| running.next_look().is_some()) else { return };
        running.stop_waiting();
        tracing::error!(
            lock = %self.parts.apis[self.parts.shown].lock(),
            term = %running.term(),
            ?within,
            "aborting this process: its term is over, and the sandbox has not confirmed in time that its guests are gone"
        );
        (self.parts.abort)();
    }

    /// No term outlives the loop, however it ended.
    fn close_what_is_open(&mut self) {
        let now = self.parts.clock.now();
        if let Some(term) = self.term.as_ref().and_then(RunningTerm::open).map(|live| live.term()) {
            self.close(now, term);
        }
    }

    fn running(&mut self, term: Term) -> Option<&mut RunningTerm> {
        self.term.as_mut().filter(|running| running.term() == term)
    }

    /// Logs a failed call; its message, to be kept.
    fn told(&mut self, now: Instant, failure: &CallFailure) -> String {
        self.parts.announcer.call_failed(now, failure.code, &failure.message);
        failure.message.clone()
    }

    fn publish(&self) {
        let elector = &self.parts.elector;
        let leadership = Leadership {
            phase: elector.phase(),
            live: self.term.as_ref().and_then(RunningTerm::open),
            kill: self.term.as_ref().is_some_and(RunningTerm::must_die),
            unconfirmed: self.term.as_ref().and_then(RunningTerm::unconfirmed),
            observed: elector.observed(),
            identity: elector.identity().to_string(),
            last_error: self.known.iter().flat_map(Known::errors).next().cloned(),
            slow_path_total: self.parts.announcer.slow_path_total(),
            transitions_seen_total: self.parts.announcer.transitions_seen_total(),
            deaths_proved_total: self.parts.announcer.deaths_proved_total(),
            last_renewal_lateness: self.lateness,
            lease_health: Arc::clone(&self.parts.health),
        };
        self.parts.publisher.send_if_modified(|published| {
            let changed = !leadership.says_the_same_as(published);
            if changed {
                *published = leadership;
            }
            changed
        });
    }
}
