//! One plugin instance: made at the first call, kept for the next. A task has one call only.

use std::{cell::RefCell, sync::Once, time::Duration};

use super::imports::{ReadingImports, emit};
use crate::{
    Cluster, Error, LockPolicy, ObjectRef, Observation, Outcome, Reader, Reconciler, Request, Result, Task, Verdict,
    bindings, host::Host, log::Level, policy,
};
use bindings::policy::tenure::plugin::lock_policy_types as contract;

/// Where the instance lives between calls. The contract has one call at a time, so a `RefCell` is all it takes.
pub struct Slot<R> {
    instance: RefCell<Option<(R, Cluster)>>,
}

impl<R: Reconciler> Slot<R> {
    /// No instance yet.
    #[must_use]
    pub const fn empty() -> Self {
        Self { instance: RefCell::new(None) }
    }

    /// Reconciles, making the instance first where there is none, which then calls the host by `imports`.
    ///
    /// # Errors
    /// What the plugin answers; before that, settings that do not fit it.
    pub fn call(
        &self,
        imports: impl Host + 'static,
        request: bindings::Request,
    ) -> Result<bindings::Outcome, bindings::Error> {
        log_panics();
        self.reconcile(imports, request.into()).map(Into::into).map_err(Into::into)
    }

    fn reconcile(&self, imports: impl Host + 'static, request: Request) -> Result<Outcome> {
        let mut instance = self.instance.borrow_mut();
        let (reconciler, cluster) = match &mut *instance {
            Some(made) => made,
            empty => empty.insert((R::new(settings()?)?, Cluster::new(imports))),
        };
        reconciler.reconcile(request, cluster)
    }
}

/// Where a lock policy lives between questions.
pub struct PolicySlot<P> {
    instance: RefCell<Option<(P, Reader)>>,
}

impl<P: LockPolicy> PolicySlot<P> {
    /// No instance yet.
    #[must_use]
    pub const fn empty() -> Self {
        Self { instance: RefCell::new(None) }
    }

    /// Asks, making the instance first where there is none.
    ///
    /// # Panics
    /// When the settings do not fit the policy: the contract has no other way to give no verdict.
    pub fn ask(&self, observation: bindings::policy::Observation) -> bindings::policy::Verdict {
        log_panics();
        let mut instance = self.instance.borrow_mut();
        let (policy, reader) = match &mut *instance {
            Some(made) => made,
            empty => match settings().and_then(P::new) {
                Ok(policy) => empty.insert((policy, Reader::new(ReadingImports))),
                Err(error) => panic!("{}", error.message()),
            },
        };
        policy.decide(&observation.into(), reader).into()
    }
}

/// Runs a task, which calls the host by `imports`.
///
/// # Errors
/// What the task answers; before that, settings that do not fit it.
pub fn run<T: Task>(imports: impl Host + 'static) -> Result<(), bindings::Error> {
    log_panics();
    settings().and_then(T::new).and_then(|task| task.run(&Cluster::new(imports))).map_err(Into::into)
}

fn settings<T: serde::de::DeserializeOwned>() -> Result<T> {
    let json = bindings::tenure::plugin::settings::get();
    // A manifest without [settings] arrives as `{}`, and a plugin without settings takes `()`, which JSON calls `null`.
    serde_json::from_str(&json).or_else(|error| {
        if json.trim() == "{}" {
            if let Ok(none) = serde_json::from_str("null") {
                return Ok(none);
            }
        }
        Err(Error::guest(format!("the manifest's [settings] do not fit the plugin: {error}")))
    })
}

/// A panic ends in a trap, whose message says nothing: the log line comes first.
fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let message = panic.payload_as_str().unwrap_or("panicked without a message");
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            emit(Level::Error, &format!("panicked: {message}"), &[("location", place)]);
        }));
    });
}

impl From<bindings::Request> for Request {
    fn from(request: bindings::Request) -> Self {
        use crate::Cause;
        use bindings::tenure::plugin::reconcile_types::Cause as Contract;
        let cause = match request.cause {
            Contract::Changed => Cause::Changed,
            Contract::Deleted => Cause::Deleted,
            Contract::Scheduled => Cause::Scheduled,
            Contract::Retried(failures) => Cause::Retried(failures),
            Contract::TermStarted => Cause::TermStarted,
        };
        let object = request.object;
        let object = ObjectRef {
            kind: crate::Kind { api_version: object.kind.api_version, kind: object.kind.kind },
            namespace: object.namespace,
            name: object.name,
        };
        let due = request.extra.into_iter().find_map(|(key, due)| (key == "due").then_some(due));
        let request = Request::new(cause, object, request.body);
        match due {
            Some(due) => request.with_due(due),
            None => request,
        }
    }
}

impl From<Outcome> for bindings::Outcome {
    fn from(outcome: Outcome) -> Self {
        let requeue_after_ms = outcome.requeue().map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        Self { requeue_after_ms, extra: Vec::new() }
    }
}

impl From<Error> for bindings::Error {
    fn from(error: Error) -> Self {
        Self {
            reason: error.reason().to_string(),
            message: error.message().to_owned(),
            status: error.status().map(str::to_owned),
            retry_after_ms: error.retry_after().map(|delay| u32::try_from(delay.as_millis()).unwrap_or(u32::MAX)),
        }
    }
}

impl From<contract::Observation> for Observation {
    fn from(observation: contract::Observation) -> Self {
        let contract::Observation { lock, role, record, own, labels, peers, wait_max_ms, extra: _ } = observation;
        Self {
            lock,
            role: match role {
                contract::Role::Standby => policy::Role::Standby,
                contract::Role::Leader => policy::Role::Leader,
            },
            record: record.map(Into::into),
            own: own.into(),
            labels: labels.into_iter().collect(),
            peers: peers.into_iter().map(Into::into).collect(),
            wait_max: Duration::from_millis(wait_max_ms),
        }
    }
}

impl From<contract::LockRecord> for policy::LockRecord {
    fn from(record: contract::LockRecord) -> Self {
        let contract::LockRecord { holder, term, lease_duration_ms, transitions, unchanged_ms, free_in_ms, extra: _ } =
            record;
        Self {
            holder,
            term,
            lease_duration: Duration::from_millis(lease_duration_ms),
            transitions,
            unchanged: Duration::from_millis(unchanged_ms),
            free_in: Duration::from_millis(free_in_ms),
        }
    }
}

impl From<contract::Candidate> for policy::Candidate {
    fn from(candidate: contract::Candidate) -> Self {
        let contract::Candidate { name, zone, version, load, campaigns, extra: _ } = candidate;
        Self { name, zone, version, load, campaigns }
    }
}

impl From<Verdict> for contract::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Campaign => Self::Campaign,
            Verdict::Wait(pause) => Self::Wait(u32::try_from(pause.as_millis()).unwrap_or(u32::MAX)),
            Verdict::Keep => Self::Keep,
            Verdict::Yield(reason) => Self::Yield(reason),
        }
    }
}
