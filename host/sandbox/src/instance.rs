//! A running plugin: one store, one call at a time. Ends calls on time and on the kill switch, and says how a call ended.
//! Knows no queue and no term.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{Store, UpdateDeadline};

use crate::bindings::Reconciler;
use crate::bindings::policy::LockPolicy;
use crate::bindings::task::Task;
use crate::contract::{Error, Observation, Outcome, Request, Verdict};
use crate::diagnosis::{Diagnosis, KillTrap, diagnose};
use crate::errors::{CallError, InstantiateError};
use crate::guest::GuestState;
use crate::kill::KillSwitch;
use crate::limits::InstanceLimits;
use crate::loaded::{Loaded, ReadyWorld};
use crate::port::Host;
use crate::processor::{metered, within_shares};
use crate::weigh::Weigh;
use crate::words::{NAME_CHARS_MAX, SENTENCE_CHARS_MAX, readable};

/// What a host call may bring beside what fits into the guest's memory once.
const TRANSFER_BYTES_SLACK: u64 = 1 << 20;

/// One instance of a plugin. Dropping it frees its memory.
pub struct Instance {
    store: Store<GuestState>,
    exports: Exports,
    kill: KillSwitch,
    cpu_millis_max: u32,
    /// Why it can take no further call.
    spent: Option<&'static str>,
    // Declared after the store: the store goes first, then the room it took, then the code it ran.
    _room: OwnedSemaphorePermit,
    plugin: Arc<Loaded>,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("plugin", &self.plugin.digest())
            .field("memory_bytes", &self.memory_bytes())
            .field("spent", &self.spent)
            .finish_non_exhaustive()
    }
}

/// What can be called, by world.
enum Exports {
    Reconciler(Reconciler),
    LockPolicy(LockPolicy),
    Task(Task),
}

/// One call.
enum Call {
    Reconcile(Request),
    Decide(Observation),
    Run,
}

/// What a call brought.
enum Answer {
    Outcome(Outcome),
    Verdict(Verdict),
    Ran,
}

/// How a call ended that brought no answer.
enum Ended {
    Killed,
    Late { after: Duration },
    Trapped(wasmtime::Error),
}

impl Instance {
    pub(crate) async fn start(
        plugin: Arc<Loaded>,
        host: Arc<dyn Host>,
        mut limits: InstanceLimits,
        kill: KillSwitch,
    ) -> Result<Self, InstantiateError> {
        let settings = &plugin.shared.settings;
        let instances_max = settings.instances_max;
        let room = Arc::clone(&plugin.shared.room)
            .try_acquire_owned()
            .map_err(|_| InstantiateError::TooMany { instances_max })?;
        limits.memory_bytes_max = limits.memory_bytes_max.min(settings.memory_bytes_max);
        let after = limits.instantiate_timeout;
        let cpu_millis_max = limits.cpu_millis_max;
        let mut store = store(&plugin, GuestState::new(host, &plugin.common, kill.clone(), &limits), kill.clone());
        let started = tokio::select! {
            biased;
            () = kill.thrown() => Err(Ended::Killed),
            started = async {
                within_shares(&plugin).await;
                metered(plugin.ready.instantiate(&mut store), &plugin, cpu_millis_max).await
            } => started.map_err(Ended::Trapped),
            after = over(Some(after)) => Err(Ended::Late { after }),
        };
        store.data_mut().end_call();
        match started {
            Ok(exports) => Ok(Self { store, exports, kill, cpu_millis_max, spent: None, _room: room, plugin }),
            Err(Ended::Killed) => Err(InstantiateError::Killed),
            Err(Ended::Late { after }) => Err(InstantiateError::Timeout { after }),
            Err(Ended::Trapped(error)) => Err(match diagnose(&error, &store.data().budget) {
                Diagnosis::Killed => InstantiateError::Killed,
                Diagnosis::Memory { asked_bytes, limit_bytes } => InstantiateError::Memory { asked_bytes, limit_bytes },
                Diagnosis::Trap { message, backtrace } => InstantiateError::Trap { message, backtrace },
            }),
        }
    }

    /// Calls the plugin once. `timeout` is wall time, host calls included. Other tasks of the same runtime go on meanwhile,
    /// also when the plugin only computes. If the returned future is dropped, the call is cut off and the instance is spent.
    ///
    /// # Errors
    /// The plugin's own error, or how it broke off; see [`CallError::discards_instance`].
    pub async fn reconcile(&mut self, request: Request, timeout: Duration) -> Result<Outcome, CallError> {
        match self.answer(Call::Reconcile(request), Some(timeout)).await? {
            Answer::Outcome(outcome) => Ok(outcome),
            Answer::Verdict(_) | Answer::Ran => Err(other_world()),
        }
    }

    /// Runs a task. It may take as long as it likes, until it is killed. As [`Self::reconcile`] otherwise.
    ///
    /// # Errors
    /// The task's own error, or how it broke off.
    pub async fn run(&mut self) -> Result<(), CallError> {
        match self.answer(Call::Run, None).await? {
            Answer::Ran => Ok(()),
            Answer::Outcome(_) | Answer::Verdict(_) => Err(other_world()),
        }
    }

    /// Asks a lock policy once. As [`Self::reconcile`] otherwise.
    ///
    /// # Errors
    /// How the call broke off; a verdict that is too large.
    pub async fn decide(&mut self, observation: Observation, timeout: Duration) -> Result<Verdict, CallError> {
        match self.answer(Call::Decide(observation), Some(timeout)).await? {
            Answer::Verdict(verdict) => Ok(verdict),
            Answer::Outcome(_) | Answer::Ran => Err(other_world()),
        }
    }

    async fn answer(&mut self, call: Call, timeout: Option<Duration>) -> Result<Answer, CallError> {
        if let Some(why) = self.spent {
            let message = format!("this instance takes no more calls: {why}; drop it and start another");
            return Err(CallError::Trap { message, backtrace: Vec::new() });
        }
        self.spent = Some("a call was cut off from outside");
        let result = self.call(call, timeout).await;
        self.spent = match &result {
            Ok(_) | Err(CallError::Guest(_)) => None,
            Err(CallError::Trap { .. }) => Some("it trapped"),
            Err(CallError::Timeout { .. }) => Some("a call took too long"),
            Err(CallError::Memory { .. }) => Some("it ran out of memory"),
            Err(CallError::Killed) => Some("it was killed"),
        };
        result
    }

    async fn call(&mut self, call: Call, timeout: Option<Duration>) -> Result<Answer, CallError> {
        if self.kill.killed() {
            return Err(CallError::Killed);
        }
        self.store.data_mut().begin_call();
        self.store.set_epoch_deadline(1);
        let answered = tokio::select! {
            biased;
            () = self.kill.thrown() => Err(Ended::Killed),
            answered = async {
                within_shares(&self.plugin).await;
                metered(self.exports.call(&mut self.store, call), &self.plugin, self.cpu_millis_max).await
            } => answered.map_err(Ended::Trapped),
            after = over(timeout) => Err(Ended::Late { after }),
        };
        self.store.data_mut().end_call();
        match answered {
            _ if self.kill.killed() => Err(CallError::Killed),
            Ok(Ok(answer)) => self.store.data().bounded(answer).map_err(CallError::Guest),
            Ok(Err(error)) => {
                let error = self.store.data().bounded(error).unwrap_or_else(|too_large| too_large);
                Err(CallError::Guest(shown(error)))
            }
            Err(Ended::Killed) => Err(CallError::Killed),
            Err(Ended::Late { after }) => Err(CallError::Timeout { after }),
            Err(Ended::Trapped(error)) => Err(match diagnose(&error, &self.store.data().budget) {
                Diagnosis::Killed => CallError::Killed,
                Diagnosis::Memory { asked_bytes, limit_bytes } => CallError::Memory { asked_bytes, limit_bytes },
                Diagnosis::Trap { message, backtrace } => CallError::Trap { message, backtrace },
            }),
        }
    }

    /// Linear memory it holds, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().budget.memory_bytes()
    }

    /// The plugin it is an instance of.
    #[must_use]
    pub fn plugin(&self) -> &Arc<Loaded> {
        &self.plugin
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.store.data().log().report_dropped();
    }
}

impl ReadyWorld {
    async fn instantiate(&self, store: &mut Store<GuestState>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::Reconciler(ready) => Exports::Reconciler(ready.instantiate_async(store).await?),
            Self::LockPolicy(ready) => Exports::LockPolicy(ready.instantiate_async(store).await?),
            Self::Task(ready) => Exports::Task(ready.instantiate_async(store).await?),
        })
    }
}

impl Exports {
    async fn call(&self, store: &mut Store<GuestState>, call: Call) -> wasmtime::Result<Result<Answer, Error>> {
        match (self, call) {
            (Self::Reconciler(plugin), Call::Reconcile(request)) => {
                let answered = plugin.call_reconcile(store, &request.into()).await?;
                Ok(answered.map(|outcome| Answer::Outcome(outcome.into())).map_err(Into::into))
            }
            (Self::LockPolicy(plugin), Call::Decide(observation)) => {
                let verdict = plugin.call_decide(store, &observation.into()).await?;
                Ok(Ok(Answer::Verdict(verdict.into())))
            }
            (Self::Task(task), Call::Run) => {
                let ran = task.call_run(store).await?;
                Ok(ran.map(|()| Answer::Ran).map_err(Into::into))
            }
            (Self::Reconciler(_) | Self::LockPolicy(_) | Self::Task(_), _) => {
                Err(wasmtime::Error::msg("the plugin is of another world than this call"))
            }
        }
    }
}

impl Weigh for Answer {
    fn bytes(&self) -> u64 {
        match self {
            Self::Outcome(outcome) => outcome.bytes(),
            Self::Verdict(verdict) => verdict.bytes(),
            Self::Ran => 0,
        }
    }
}

/// Returns when the time is up, and which time that was; never where there is none.
async fn over(timeout: Option<Duration>) -> Duration {
    match timeout {
        Some(after) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
    timeout.unwrap_or_default()
}

fn other_world() -> CallError {
    CallError::Trap { message: "the plugin answered a call of another world".to_owned(), backtrace: Vec::new() }
}

/// A plugin's own error as it is logged and shown, at each of its calls.
fn shown(error: Error) -> Error {
    Error {
        reason: readable(&error.reason, NAME_CHARS_MAX),
        message: readable(&error.message, SENTENCE_CHARS_MAX),
        ..error
    }
}

/// A store under its limits, looking at the kill switch and yielding at every tick.
fn store(plugin: &Arc<Loaded>, state: GuestState, kill: KillSwitch) -> Store<GuestState> {
    let mut store = Store::new(&plugin.shared.engine, state);
    // Text that lies once in the guest's memory may cross in one call (and then be answered `Limited`); a list that points
    // at the same text again and again, to make the host hold it many times over, ends as a trap.
    let transfer_bytes = store.data().budget.memory_bytes_max().saturating_add(TRANSFER_BYTES_SLACK);
    store.set_hostcall_fuel(usize::try_from(transfer_bytes).unwrap_or(usize::MAX));
    store.limiter(|state| &mut state.budget);
    store.set_epoch_deadline(1);
    let plugin = Arc::clone(plugin);
    store.epoch_deadline_callback(move |_| {
        if kill.killed() {
            return Err(KillTrap.into());
        }
        let plugin = Arc::clone(&plugin);
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                // tokio's own yield lets timers and sockets be looked at before this task's next turn; by then what was
                // computed is charged.
                tokio::task::yield_now().await;
                within_shares(&plugin).await;
            }),
        ))
    });
    store
}
