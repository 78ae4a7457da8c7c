//! One call of one instance: the instance is taken along and brought back. Knows no queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure_cluster::Object;
use tenure_console::PluginMetrics;
use tenure_sandbox::{CallError, Error, Instance, InstantiateError, KillSwitch, Outcome, Request};

use super::budget::Budget;
use super::describe;
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

    /// Linear memory it holds, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.instance.memory_bytes()
    }
}

/// What a call needs.
pub(crate) struct Call {
    pub(crate) key: Key,
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
    pub(crate) given: Option<Arc<Object>>,
    pub(crate) result: Result<Outcome, CallError>,
    pub(crate) took: Duration,
    pub(crate) writes: Vec<WriteMade>,
    /// The instance, unless the call was its end.
    pub(crate) worker: Option<Worker>,
}

impl Call {
    /// Makes the call, in an idle instance if there is one; its Store is dropped when this future is.
    pub(crate) async fn make(self, worker: Option<Worker>, prepared: Prepared) -> Called {
        let started = Instant::now();
        let (result, worker) = match prepared.read(&self.ready, &self.term).await {
            Ok(request) => self.call(worker, request).await,
            Err(error) => (Err(CallError::Guest(error)), worker),
        };
        let writes = worker.as_ref().map(|worker| worker.guest.take_writes_made()).unwrap_or_default();
        let spent = result.as_ref().is_err_and(CallError::discards_instance);
        let worker = worker.filter(|_| !spent);
        Called { key: self.key, given: self.given, result, took: started.elapsed(), writes, worker }
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
