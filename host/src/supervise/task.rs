//! The run of a task (world `task`). It stands in its plugin's queue under a key of its own, so that backoff, circuit, counts
//! and status are those of every plugin; what is different is here.

use std::time::{Duration, Instant};

use tenure_reconcile::{Done, QueueSettings};
use tenure_sandbox::{CallError, World};

use super::call::{Call, Called, Ended, Worker, retry_after};
use crate::catalog::Ready;

/// Whether a plugin is run, rather than called for what changes.
pub(crate) fn is_task(ready: &Ready) -> bool {
    ready.loaded.world() == World::Task
}

impl Call {
    /// Runs the task, in an instance that has done nothing yet and does nothing afterwards.
    pub(crate) async fn run(self, unused: Option<Worker>) -> Called {
        let started = Instant::now();
        let worker = match unused {
            Some(worker) => Ok(worker),
            None => Worker::new(&self.ready, &self.term, &self.budget, self.metrics.clone(), self.die.clone()).await,
        };
        let result = match worker {
            Ok(mut worker) => worker.run().await.map(|()| Ended::Ran),
            Err(error) => Err(error),
        };
        let Self { key, cause, given, .. } = self;
        Called { key, cause, given, result, took: started.elapsed(), writes: Vec::new(), worker: None }
    }
}

/// Whether a run has lasted so long that its end is no failed start: longer than the longest pause between runs.
pub(crate) fn is_steady(took: Duration) -> bool {
    took >= QueueSettings::default().backoff_max
}

/// When a run that failed begins again.
pub(crate) fn again(error: &CallError, took: Duration, again_min: Duration) -> Done {
    let asked = match error {
        CallError::Guest(error) => retry_after(error).map(|after| after.max(again_min)),
        _ => None,
    };
    match asked {
        // The count of failures in a row begins anew.
        None if is_steady(took) => Done::RequeueAfter(again_min),
        after => Done::Retry { after },
    }
}

#[cfg(test)]
mod tests {
    use tenure_sandbox::Error;

    use super::*;

    const MIN: Duration = Duration::from_millis(50);

    #[test]
    fn a_run_that_lasted_begins_again_at_once_and_one_that_did_not_with_backoff() {
        let (short, long) = (Duration::from_secs(299), Duration::from_secs(300));
        let trap = CallError::Trap { message: String::new(), backtrace: Vec::new() };
        for error in [trap, CallError::Guest(Error::limited("no room"))] {
            assert_eq!(again(&error, short, MIN), Done::Retry { after: None });
            assert_eq!(again(&error, long, MIN), Done::RequeueAfter(MIN));
        }
    }

    #[test]
    fn a_run_that_says_when_begins_again_then() {
        let asks = |ms| CallError::Guest(Error { retry_after_ms: Some(ms), ..Error::limited("later") });
        for took in [Duration::ZERO, Duration::from_secs(3600)] {
            assert_eq!(again(&asks(7000), took, MIN), Done::Retry { after: Some(Duration::from_secs(7)) });
            assert_eq!(again(&asks(0), took, MIN), Done::Retry { after: Some(MIN) });
        }
    }
}
