//! What a plugin implements and what it is called with.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::{Cluster, Error, ObjectRef, Result};

/// A plugin: brings the cluster nearer to what an object asks for.
///
/// One value lives as long as the host keeps the instance: at most one term, less after a trap. With `concurrency` above 1
/// there are several, which share nothing. So memory may hold what saves work, never what must not be lost.
pub trait Reconciler: Sized + 'static {
    /// The manifest's `[settings]`. `#[serde(deny_unknown_fields)]` catches misspelt keys; `()` takes none.
    type Settings: DeserializeOwned;

    /// Called once, before the first reconcile.
    ///
    /// # Errors
    /// When the settings make no sense. Each reconcile then fails with this error, which the host shows.
    fn new(settings: Self::Settings) -> Result<Self>;

    /// Called for one key at a time, and again whenever anything may have changed: it must come to the same end however
    /// often it runs, and write nothing when there is nothing to do.
    ///
    /// # Errors
    /// Any error has the host call again for this key, with backoff. [`Error::cancelled`] when the work was cut short
    /// because leadership ends.
    fn reconcile(&mut self, request: Request, cluster: &Cluster) -> Result<Outcome>;
}

/// Why the host calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The object appeared or changed.
    Changed,
    /// The object is being deleted (a finalizer holds it), is gone, or no longer matches the watch's selector.
    Deleted,
    /// A `[[schedule]]` came due.
    Scheduled,
    /// The call before failed or asked to be called again; how often in a row it failed.
    Retried(u32),
    /// The first call for this key in this term.
    TermStarted,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Why.
    pub cause: Cause,
    /// What it is about. For a schedule: the plugin's own ConfigMap or file, as kind `Schedule`.
    pub object: ObjectRef,
    body: Option<String>,
    due: Option<String>,
}

impl Request {
    /// A request, as the host or a test makes it. `body` is the object's JSON, absent when it is gone.
    #[must_use]
    pub fn new(cause: Cause, object: ObjectRef, body: Option<String>) -> Self {
        Self { cause, object, body, due: None }
    }

    /// For a schedule: the instant it came due.
    #[must_use]
    pub fn with_due(self, due: impl Into<String>) -> Self {
        Self { due: Some(due.into()), ..self }
    }

    /// For a schedule: the last instant it came due, such as `2026-11-21T03:30:00Z`. The same for every call about that
    /// instant, by whichever replica: what is stored under it need not be done twice.
    #[must_use]
    pub fn due(&self) -> Option<&str> {
        self.due.as_deref()
    }

    /// The object's JSON as the cache has it; with [`Cause::Deleted`] its last known state, if any.
    #[must_use]
    pub fn json(&self) -> Option<&str> {
        self.body.as_deref()
    }

    /// The object, read into a type of the plugin's; absent when it is gone, and for schedules.
    ///
    /// # Errors
    /// When the JSON does not fit the type.
    pub fn body<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.body
            .as_deref()
            .map(|json| {
                serde_json::from_str(json)
                    .map_err(|error| Error::guest(format!("{} does not fit the plugin's type: {error}", self.object)))
            })
            .transpose()
    }
}

/// What a successful call asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Outcome {
    requeue_after: Option<Duration>,
}

impl Outcome {
    /// Nothing more to do until something changes.
    pub fn done() -> Self {
        Self::default()
    }

    /// Call again for this key after `delay`, changed or not. Whole milliseconds; what is below counts as nothing.
    pub fn requeue_after(delay: Duration) -> Self {
        Self { requeue_after: Some(delay) }
    }

    /// After how long to call again, if at all.
    #[must_use]
    pub fn requeue(&self) -> Option<Duration> {
        self.requeue_after
    }
}
