//! One call of one instance: the instance is taken along and brought back. Knows no queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure_sandbox::{CallError, Error, Instance, KillSwitch, Outcome, Request};

use super::answer::describe;
use super::budget::Budget;
use super::guest::{Guest, WriteMade};
use super::key::Key;
use super::term::TermContext;
use crate::catalog::Ready;

/// An instance and the port it calls through.
pub(crate) struct Worker {
    instance: Instance,
    guest: Arc<Guest>,
}

impl Worker {
    /// A fresh instance.
    pub(crate) async fn new(ready: &Ready, guest: Arc<Guest>, die: &KillSwitch) -> Result<Self, CallError> {
        let host: Arc<Guest> = Arc::clone(&guest);
        let instance = ready.loaded.instantiate(host, ready.budgets.instance.clone(), die.clone()).await;
        instance.map(|instance| Self { instance, guest }).map_err(|error| CallError::Trap {
            message: format!("instantiating: {}", describe(&error)),
            backtrace: Vec::new(),
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
    pub(crate) request: Request,
    pub(crate) ready: Arc<Ready>,
    pub(crate) term: Arc<TermContext>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) die: KillSwitch,
    /// An idle instance, if there is one.
    pub(crate) worker: Option<Worker>,
}

/// How a call ended.
pub(crate) struct Called {
    pub(crate) key: Key,
    pub(crate) result: Result<Outcome, CallError>,
    pub(crate) took: Duration,
    pub(crate) writes: Vec<WriteMade>,
    /// The instance, unless the call was its end.
    pub(crate) worker: Option<Worker>,
}

impl Call {
    /// Makes the call; its Store is dropped when this future is.
    pub(crate) async fn make(self) -> Called {
        let started = Instant::now();
        let worker = match self.worker {
            Some(worker) => Ok(worker),
            None => {
                let guest = Guest::new(Arc::clone(&self.ready), self.term, self.budget);
                Worker::new(&self.ready, guest, &self.die).await
            }
        };
        let mut worker = match worker {
            Ok(worker) => worker,
            Err(error) => {
                return Called {
                    key: self.key,
                    result: Err(error),
                    took: started.elapsed(),
                    writes: Vec::new(),
                    worker: None,
                };
            }
        };
        let result = worker.instance.reconcile(self.request, self.ready.budgets.reconcile_timeout).await;
        let writes = worker.guest.take_writes_made();
        let keep = !result.as_ref().is_err_and(CallError::discards_instance);
        Called { key: self.key, result, took: started.elapsed(), writes, worker: keep.then_some(worker) }
    }
}

/// How long the plugin, or the server it asked, wants to be left alone.
pub(crate) fn retry_after(error: &Error) -> Option<Duration> {
    error.retry_after_ms.map(|wait| Duration::from_millis(wait.into()))
}
