//! Starts the election thread, and says how it ended.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;

use tenure_election::{Drain, JointElector, PeerSeen, Term, Token, Verdict};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::announce::Announcer;
use crate::api::LockApi;
use crate::driver::{Command, Driver, Parts};
use crate::events::{Origin, Recorder};
use crate::timers::Timers;
use crate::watch::{NEWS_MAX, Teller, follow};
use crate::{ElectionConfig, Leadership, Lock, RenewalHealth};

/// An election that could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The client cannot be made of this configuration: a certificate or key that cannot be read, as a rule.
    #[error("cannot make a client for the API server at {server}")]
    Client {
        /// Its URL.
        server: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// The operating system gives no thread, no event loop or no timers.
    #[error("the operating system refuses what the election thread needs (a thread, an event loop, two timers)")]
    System(#[from] io::Error),
    /// The thread panicked before it was ready.
    #[error("the election thread panicked while starting: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
}

/// Why an election ended that nobody asked to end. The process must not go on as if it took part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElectionFailure {
    /// The term was lost, and on-loss is [`crate::OnLoss::Exit`].
    #[error("term {term} was lost")]
    Lost {
        /// The term.
        term: Term,
    },
    /// The election thread panicked.
    #[error("the election thread panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// A task of the election ended, which none does while it runs.
    #[error("the election's {task} task ended: {message}")]
    TaskEnded {
        /// Which.
        task: &'static str,
        /// How.
        message: String,
    },
    /// The timers that wake the thread fail.
    #[error("the election's timers fail: {message}")]
    Timers {
        /// What the operating system said.
        message: String,
    },
}

impl ElectionFailure {
    pub(crate) fn task(task: &'static str, error: tokio::task::JoinError) -> Self {
        let message = match error.try_into_panic() {
            Ok(panic) => format!("it panicked: {}", panic_message(&*panic)),
            Err(error) => error.to_string(),
        };
        Self::TaskEnded { task, message }
    }
}

impl From<io::Error> for ElectionFailure {
    fn from(error: io::Error) -> Self {
        Self::Timers { message: error.to_string() }
    }
}

/// A running election. Dropped, it ends at once: the gate closes and the lock runs out, for nobody could be asked whether
/// the guests are gone.
#[derive(Debug)]
pub struct Election {
    commands: mpsc::UnboundedSender<Command>,
    leadership: watch::Receiver<Leadership>,
    ending: Option<oneshot::Receiver<Result<(), ElectionFailure>>>,
    ended: Result<(), ElectionFailure>,
}

impl Election {
    pub(crate) fn new(
        commands: mpsc::UnboundedSender<Command>,
        leadership: watch::Receiver<Leadership>,
        ending: oneshot::Receiver<Result<(), ElectionFailure>>,
    ) -> Self {
        Self { commands, leadership, ending: Some(ending), ended: Ok(()) }
    }

    /// How this candidate stands, now and on every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// For those who tell the election things but do not own it.
    #[must_use]
    pub fn handle(&self) -> ElectionHandle {
        ElectionHandle(self.commands.downgrade())
    }

    /// Begins to let go of the lock, or to stop campaigning for it. After [`Drain::Shutdown`] the election ends.
    pub fn begin_drain(&self, why: Drain) {
        self.handle().begin_drain(why);
    }

    /// Confirms that no guest of `term` runs any more and its admitted writes are settled. With `unanswered`, one of them
    /// brought no definite answer: the lock is then not released but runs out. A running term that was not told to stop
    /// yields. A term that is not running is ignored.
    pub fn drained(&self, term: Term, unanswered: bool) {
        self.handle().drained(term, unanswered);
    }

    /// Passes on what a lock policy said, asked ahead of time.
    pub fn verdict(&self, verdict: Verdict) {
        self.handle().verdict(verdict);
    }

    /// Passes on a fencing token that was met outside the lock.
    pub fn token(&self, token: Token) {
        self.handle().token(token);
    }

    /// Waits for the end of the election thread. May be dropped and called again.
    ///
    /// # Errors
    /// Unless the end was asked for by a shutdown's drain.
    pub async fn ended(&mut self) -> Result<(), ElectionFailure> {
        if let Some(ending) = self.ending.as_mut() {
            let ended = ending.await;
            self.ending = None;
            self.ended = ended.unwrap_or_else(|_| {
                Err(ElectionFailure::Panicked { message: String::from("the thread is gone without a word") })
            });
        }
        self.ended.clone()
    }
}

/// Tells a running election things. Clones speak to the same one; none keeps it running.
#[derive(Debug, Clone)]
pub struct ElectionHandle(mpsc::WeakUnboundedSender<Command>);

impl ElectionHandle {
    /// Begins to let go of the lock, or to stop campaigning for it. After [`Drain::Shutdown`] the election ends.
    pub fn begin_drain(&self, why: Drain) {
        self.tell(Command::BeginDrain(why));
    }

    /// Confirms that no guest of `term` runs any more and its admitted writes are settled. With `unanswered`, one of them
    /// brought no definite answer: the lock is then not released but runs out. A running term that was not told to stop
    /// yields. A term that is not running is ignored.
    pub fn drained(&self, term: Term, unanswered: bool) {
        self.tell(Command::Drained { term, unanswered });
    }

    /// Passes on what a lock policy said, asked ahead of time.
    pub fn verdict(&self, verdict: Verdict) {
        self.tell(Command::Verdict(verdict));
    }

    /// Passes on a fencing token that was met outside the lock.
    pub fn token(&self, token: Token) {
        self.tell(Command::Token(token));
    }

    /// Passes on what another candidate's own Lease says; absent: that Lease is gone.
    pub fn peer(&self, name: String, seen: Option<PeerSeen>) {
        self.tell(Command::Peer { name, seen });
    }

    /// Tells people of trouble around the lock, in the log and as an Event on the Lease; the same at most once a minute.
    pub fn warn(&self, message: String) {
        self.tell(Command::Warn(message));
    }

    fn tell(&self, command: Command) {
        if self.0.upgrade().is_none_or(|commands| commands.send(command).is_err()) {
            tracing::debug!("the election has ended and hears nothing more");
        }
    }
}

/// Starts an election on a thread of its own, with its own runtime and its own client: guests that spin delay nothing here.
/// Returns when the client is made and the thread runs, before anything was asked of the API server.
///
/// # Errors
/// When the client cannot be made of the configuration, or the operating system refuses a thread or a timer.
pub fn start(config: ElectionConfig) -> Result<Election, StartError> {
    let (locks, shown) = in_order(&config);
    let elector =
        JointElector::new(config.settings.clone(), config.identity.clone(), locks.len(), shown, rand::random());
    let health = Arc::new(RenewalHealth::new(Arc::clone(&config.clock), config.settings.timing.lease()));
    let (publisher, leadership) = watch::channel(Leadership::before_anything(&config.identity, Arc::clone(&health)));
    // Unbounded: the process sends at most a few commands a term, and none may be lost.
    let (commands, commanded) = mpsc::unbounded_channel();
    let (ready, starting) = std::sync::mpsc::sync_channel(1);
    let (end, ending) = oneshot::channel();

    thread::Builder::new().name(String::from("election")).spawn(move || {
        let sever = Arc::clone(&config.sever);
        let closing = publisher.clone();
        let ran = catch_unwind(AssertUnwindSafe(|| {
            run(config, (elector, locks, shown), health, publisher, commanded, &ready)
        }));
        let ended = ran.unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            tracing::error!(message, "the election thread panicked");
            // Heard only by a start that still waits.
            let _ = ready.try_send(Err(StartError::Panicked { message: message.clone() }));
            Err(ElectionFailure::Panicked { message })
        });
        if let Err(failure) = &ended {
            close_after(failure, &closing, &*sever);
        }
        // Nobody listening means nobody wants to know.
        let _ = end.send(ended);
    })?;

    starting.recv().unwrap_or_else(|_gone| {
        Err(StartError::Panicked { message: String::from("the thread is gone without a word") })
    })?;
    Ok(Election::new(commands, leadership, ending))
}

/// The locks in the order in which every candidate takes those it must hold together, and the place of the one that is shown.
fn in_order(config: &ElectionConfig) -> (Vec<Lock>, usize) {
    let mut locks = vec![config.lock.clone()];
    locks.extend(config.also.iter().cloned());
    locks.sort_by(|one, other| one.place().cmp(&other.place()));
    locks.dedup();
    let shown = locks.iter().position(|lock| *lock == config.lock).unwrap_or(0);
    (locks, shown)
}

/// The thread's whole life.
fn run(
    config: ElectionConfig,
    elector: (JointElector, Vec<Lock>, usize),
    health: Arc<RenewalHealth>,
    publisher: watch::Sender<Leadership>,
    commands: mpsc::UnboundedReceiver<Command>,
    ready: &SyncSender<Result<(), StartError>>,
) -> Result<(), ElectionFailure> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(ready, error.into()),
    };
    let ended = runtime.block_on(async {
        match assemble(config, elector, health, publisher, commands) {
            Ok(parts) => {
                let _ = ready.send(Ok(()));
                Driver::new(parts).run().await
            }
            Err(error) => refuse(ready, error),
        }
    });
    // A name still being looked up must not hold the end up.
    runtime.shutdown_background();
    ended
}

/// Tells the waiting [`start`], which answers with this; nobody is left to hear how the thread ended.
fn refuse(ready: &SyncSender<Result<(), StartError>>, error: StartError) -> Result<(), ElectionFailure> {
    let _ = ready.send(Err(error));
    Ok(())
}

/// Within the thread's runtime.
fn assemble(
    config: ElectionConfig,
    (elector, locks, shown): (JointElector, Vec<Lock>, usize),
    health: Arc<RenewalHealth>,
    publisher: watch::Sender<Leadership>,
    commands: mpsc::UnboundedReceiver<Command>,
) -> Result<Parts, StartError> {
    let ElectionConfig {
        kube,
        lock,
        also: _,
        settings,
        clock,
        on_loss,
        pod,
        pods_namespace,
        component,
        sever,
        abort,
        identity: _,
    } = config;
    let timing = settings.timing;
    let server = kube.cluster_url.to_string();
    let api = |lock: Lock| {
        LockApi::new(kube.clone(), lock, timing.attempt_timeout())
            .map_err(|source| StartError::Client { server: server.clone(), source })
    };
    let apis = locks.into_iter().map(api).collect::<Result<Vec<_>, _>>()?;
    let timers = Timers::new()?;
    let recorder = Recorder::new(apis[shown].client().clone(), Origin { lock: lock.clone(), component, pod });
    let (tell, news) = mpsc::channel(NEWS_MAX);
    let watching = apis.iter().enumerate().map(|(lock, api)| {
        let teller = Teller { lock, news: tell.clone() };
        follow(api.clone(), timing.lease(), teller)
    });
    let watching = watching.collect::<JoinSet<()>>();
    Ok(Parts {
        elector,
        clock,
        retry: timing.retry(),
        margin: timing.margin(),
        on_loss,
        sever,
        abort,
        apis,
        shown,
        pods_namespace,
        timers,
        announcer: Announcer::new(lock, recorder),
        commands,
        news,
        watching,
        publisher,
        health,
    })
}

/// After a failure no term is left open: a panic leaves whatever it interrupted.
fn close_after(failure: &ElectionFailure, publisher: &watch::Sender<Leadership>, sever: &dyn Fn(Term)) {
    let open = publisher.borrow().live.clone();
    let unasked = open.as_ref().filter(|live| !live.is_cancelled()).map(|live| live.term());
    if let Some(live) = &open {
        live.close();
        // The hook is not ours, and may be what panicked: the gate is closed by now whatever it does.
        let _ = catch_unwind(AssertUnwindSafe(|| sever(live.term())));
    }
    publisher.send_modify(|leadership| {
        leadership.kill |= open.is_some();
        leadership.unconfirmed = leadership.unconfirmed.or(unasked);
        leadership.live = None;
        leadership.last_error = Some(failure.to_string());
    });
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| String::from("(no message)"))
}
