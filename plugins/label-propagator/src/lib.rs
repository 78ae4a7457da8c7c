//! Copies chosen labels and annotations of a Namespace to the objects in it, and takes them back when they go.
//!
//! Called for the objects, never for the Namespace: the manifest has a changed Namespace enqueue what is in it.
//!
//! Owns only what it copied: server-side apply under its own field manager keeps everybody else's labels apart. What it
//! copied stands in an annotation on the object, because cached reads carry no managed fields and a plugin's memory does
//! not outlive its term.

mod keys;
mod object;
mod settings;

use std::time::Duration;

use tenure_plugin::{
    Cause, Cluster, Error, ObjectRef, Outcome, PartialObject, Reconciler, Request, Result, debug, info,
};

pub use settings::{OnConflict, Settings};

use object::{Namespace, Step};

/// When the budget is used up and the host does not say for how long.
const BUDGET_PAUSE: Duration = Duration::from_secs(1);

/// The plugin.
pub struct LabelPropagator {
    settings: Settings,
}

tenure_plugin::reconciler!(LabelPropagator);

impl Reconciler for LabelPropagator {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        Ok(Self { settings })
    }

    fn reconcile(&mut self, request: Request, cluster: &Cluster) -> Result<Outcome> {
        if request.cause == Cause::Scheduled {
            return Ok(Outcome::done());
        }
        if request.object.kind.is("v1", "Namespace") {
            return Err(Error::guest(
                "called for a Namespace: give its [[watch]] an `enqueue` for each kind in settings.kinds, as the shipped plugin.toml has",
            ));
        }
        match self.propagate_to(&request, cluster) {
            Err(error) if error.is_limited() => Ok(Outcome::requeue_after(error.retry_after().unwrap_or(BUDGET_PAUSE))),
            other => other.map(|()| Outcome::done()),
        }
    }
}

impl LabelPropagator {
    fn propagate_to(&self, request: &Request, cluster: &Cluster) -> Result<()> {
        let reference = &request.object;
        let (Some(object), Some(namespace)) = (request.body::<PartialObject>()?, &reference.namespace) else {
            return Ok(()); // gone, or a kind without a namespace
        };
        if request.cause == Cause::Deleted || !self.settings.kinds.contains(&reference.kind) {
            return Ok(());
        }
        let namespace = cluster.find::<Namespace>(&ObjectRef::namespace(namespace))?;
        let Some(namespace) = namespace.filter(Namespace::is_staying) else {
            return Ok(()); // its objects go with it
        };
        let mut step = Step::new(&self.settings, &namespace, &object);
        if !step.is_needed() {
            return Ok(());
        }
        cluster.proceed()?;
        let force = self.settings.on_conflict == OnConflict::Overwrite;
        let mut answer = self.apply(reference, &step, force, cluster);
        if let Err(error) = &answer
            && error.is_conflict()
            && step.yield_to_owners(error)
        {
            answer = self.apply(reference, &step, force, cluster);
        }
        match answer {
            // The uid did not fit: the object is gone or another one. If there is another, it has a call of its own.
            Err(error) if error.is_conflict() || error.is_not_found() => {
                debug!(object = reference, reason = error.reason(); "the object changed hands; its next change will be handled");
                Ok(())
            }
            Err(error) if error.is_denied() => {
                info!(object = reference; "not granted, left alone: {}", error.message());
                Ok(())
            }
            other => other,
        }
    }

    fn apply(&self, reference: &ObjectRef, step: &Step<'_>, force: bool, cluster: &Cluster) -> Result<(), Error> {
        cluster.apply_with::<PartialObject>(reference, &step.body(), force, &Default::default()).map(drop)
    }
}
