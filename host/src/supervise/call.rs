//! One call of one instance: the instance is taken along and brought back. Knows no queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure_cluster::Object;
use tenure_console::PluginMetrics;
use tenure_reconcile::Cause;
use tenure_sandbox::{CallError, Error, Instance, InstantiateError, KillSwitch, ObjectRef, Outcome, Request};

use super::budget::Budget;
use super::describe;
use super::finalizer::Current;
use super::guest::{Guest, WriteMade};
use super::key::Key;
use super::prepared::Prepared;
use super::term::TermContext;
use crate::catalog::Ready;

/// An instance and the port it calls through.
pub(crate) struct Worker {
    instance: Instance,
    guest: Arc<Guest>,
}

impl Worker {
    /// A new instance, in a Store of its own.
    pub(crate) async fn new(
        ready: &Arc<Ready>,
        term: &Arc<TermContext>,
        budget: &Arc<Budget>,
        metrics: PluginMetrics,
        die: KillSwitch,
    ) -> Result<Self, CallError> {
        let guest = Guest::new(ready, term, budget, metrics);
        let host: Arc<Guest> = Arc::clone(&guest);
        let instance = ready.loaded.instantiate(host, ready.budgets.instance.clone(), die).await;
        instance.map(|instance| Self { instance, guest }).map_err(|error| match error {
            InstantiateError::Killed => CallError::Killed,
            // The house is full of other plugins' instances: no fault of this one.
            InstantiateError::TooMany { .. } => CallError::Guest(Error::limited(describe(&error))),
            error => CallError::Trap { message: format!("instantiating: {}", describe(&error)), backtrace: Vec::new() },
        })
    }

    /// Runs a task, for as long as it takes.
    pub(crate) async fn run(&mut self) -> Result<(), CallError> {
        self.instance.run().await
    }
}

/// What a call needs.
pub(crate) struct Call {
    pub(crate) key: Key,
    /// Why the key was handed out.
    pub(crate) cause: Cause,
    /// The object the guest is told of.
    pub(crate) given: Option<Arc<Object>>,
    pub(crate) ready: Arc<Ready>,
    pub(crate) term: Arc<TermContext>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) metrics: PluginMetrics,
    pub(crate) die: KillSwitch,
}

/// How a call ended.
pub(crate) struct Called {
    pub(crate) key: Key,
    pub(crate) cause: Cause,
    pub(crate) given: Option<Arc<Object>>,
    pub(crate) result: Result<Ended, CallError>,
    pub(crate) took: Duration,
    pub(crate) writes: Vec<WriteMade>,
    /// The instance, unless the call was its end.
    pub(crate) worker: Option<Worker>,
}

/// What a call came to that did not fail.
pub(crate) enum Ended {
    /// The plugin's answer; `released` is the uid of an object that its finalizer was taken from.
    Answered { outcome: Outcome, released: Option<Box<str>> },
    /// The plugin was not called yet: first its finalizer was put on the object.
    Held,
    /// The task has run.
    Ran,
}

impl Call {
    /// Makes the call, in an idle instance if there is one; its Store is dropped when this future is.
    pub(crate) async fn make(self, worker: Option<Worker>, prepared: Prepared) -> Called {
        let started = Instant::now();
        // The host's own writes in the plugin's name; also where there is no instance.
        let guest = Guest::new(&self.ready, &self.term, &self.budget, self.metrics.clone());
        let (result, worker) = match prepared.read(&self.ready, &self.term).await {
            Ok((request, current)) => self.serve(&guest, worker, request, current).await,
            Err(error) => (Err(CallError::Guest(error)), worker),
        };
        let mut writes = worker.as_ref().map(|worker| worker.guest.take_writes_made()).unwrap_or_default();
        writes.append(&mut guest.take_writes_made());
        let spent = result.as_ref().is_err_and(CallError::discards_instance);
        let worker = worker.filter(|_| !spent);
        let Self { key, cause, given, .. } = self;
        Called { key, cause, given, result, took: started.elapsed(), writes, worker }
    }

    /// The call, between what has to be done to the object's finalizers before and after it.
    async fn serve(
        &self,
        guest: &Guest,
        worker: Option<Worker>,
        request: Request,
        current: Option<Current>,
    ) -> (Result<Ended, CallError>, Option<Worker>) {
        let reference = request.object.clone();
        if let Some(current) = current.as_ref().filter(|current| current.is_to_be_held(&self.ready)) {
            match current.hold(guest, &self.ready, &reference).await {
                Err(error) => return (Err(CallError::Guest(error)), worker),
                Ok(()) if !self.ready.dry_run => return (Ok(Ended::Held), worker),
                // Nothing was stored, and never will be: the call is what the dry run is about.
                Ok(()) => {}
            }
        }
        let (result, worker) = self.call(worker, request).await;
        let ended = match result {
            Ok(outcome) => self.settle(guest, outcome, &reference, current).await,
            Err(error) => Err(error),
        };
        (ended, worker)
    }

    /// A plugin that asks to come again is not done with the object.
    async fn settle(
        &self,
        guest: &Guest,
        outcome: Outcome,
        reference: &ObjectRef,
        current: Option<Current>,
    ) -> Result<Ended, CallError> {
        let done = outcome.requeue_after_ms.is_none();
        let current = current.filter(|current| done && current.is_to_be_let_go(&self.ready));
        let Some(current) = current else { return Ok(Ended::Answered { outcome, released: None }) };
        current.let_go(guest, &self.term, &self.ready, reference).await.map_err(CallError::Guest)?;
        let released = (!self.ready.dry_run).then(|| current.object.uid.clone());
        Ok(Ended::Answered { outcome, released })
    }

    async fn call(&self, worker: Option<Worker>, request: Request) -> (Result<Outcome, CallError>, Option<Worker>) {
        let mut worker = match worker {
            Some(worker) => worker,
            None => {
                let metrics = self.metrics.clone();
                match Worker::new(&self.ready, &self.term, &self.budget, metrics, self.die.clone()).await {
                    Ok(worker) => worker,
                    Err(error) => return (Err(error), None),
                }
            }
        };
        let result = worker.instance.reconcile(request, self.ready.budgets.reconcile_timeout).await;
        (result, Some(worker))
    }
}

/// How long the plugin, or the server it asked, wants to be left alone.
pub(crate) fn retry_after(error: &Error) -> Option<Duration> {
    error.retry_after_ms.map(|wait| Duration::from_millis(wait.into()))
}
