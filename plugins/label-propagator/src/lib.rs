//! Copies chosen labels and annotations of a Namespace to the objects in it, and takes them back when they go.
//!
//! Owns only what it copied: server-side apply under its own field manager keeps everybody else's labels apart. What it
//! copied stands in an annotation on the object, because cached reads carry no managed fields and a plugin's memory does
//! not outlive its term.

mod keys;
mod object;
mod settings;

use std::time::Duration;

use tenure_plugin::{
    Cause, Cluster, Error, ListOptions, ObjectRef, Outcome, PartialObject, Reconciler, Request, Result, debug, info,
};

pub use settings::{OnConflict, Settings};

use object::{Namespace, Step};

/// Writes in one call: a big namespace is worked off in several, so that none runs into the time limit and other keys get
/// their turn.
const WRITES_PER_CALL_MAX: usize = 50;
/// After a full batch, and when the budget is used up and the host does not say for how long.
const NEXT_BATCH: Duration = Duration::from_millis(100);
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
        let outcome = if request.object.kind.is("v1", "Namespace") {
            self.propagate_to_all(&request, cluster)
        } else {
            self.propagate_to_one(&request, cluster)
        };
        match outcome {
            Err(error) if error.is_limited() => Ok(Outcome::requeue_after(error.retry_after().unwrap_or(BUDGET_PAUSE))),
            other => other,
        }
    }
}

impl LabelPropagator {
    fn propagate_to_all(&self, request: &Request, cluster: &Cluster) -> Result<Outcome> {
        let Some(namespace) = request.body::<Namespace>()?.filter(Namespace::is_staying) else {
            return Ok(Outcome::done()); // its objects go with it
        };
        let name = &namespace.metadata.name;
        let mut writes = 0;
        for kind in &self.settings.kinds {
            for object in cluster.list::<PartialObject>(kind, ListOptions::in_namespace(name).metadata_only()) {
                let object = match object {
                    Err(error) if error.is_denied() => {
                        debug!(namespace = name; "not granted, left alone: {}", error.message());
                        break;
                    }
                    object => object?,
                };
                let reference = kind.named(name, &object.metadata.name);
                writes += usize::from(self.propagate(&namespace, &reference, &object, cluster)?);
                if writes >= WRITES_PER_CALL_MAX {
                    return Ok(Outcome::requeue_after(NEXT_BATCH));
                }
            }
        }
        if writes > 0 {
            info!(namespace = name, objects = writes; "carried the namespace's labels and annotations to its objects");
        }
        Ok(Outcome::done())
    }

    fn propagate_to_one(&self, request: &Request, cluster: &Cluster) -> Result<Outcome> {
        let (Some(object), Some(namespace)) = (request.body::<PartialObject>()?, &request.object.namespace) else {
            return Ok(Outcome::done()); // gone, or a kind without a namespace
        };
        if request.cause == Cause::Deleted || !self.settings.kinds.contains(&request.object.kind) {
            return Ok(Outcome::done());
        }
        if let Some(namespace) =
            cluster.find::<Namespace>(&ObjectRef::namespace(namespace))?.filter(Namespace::is_staying)
        {
            self.propagate(&namespace, &request.object, &object, cluster)?;
        }
        Ok(Outcome::done())
    }

    /// Brings one object up to date; says whether that took a write.
    fn propagate(
        &self,
        namespace: &Namespace,
        reference: &ObjectRef,
        object: &PartialObject,
        cluster: &Cluster,
    ) -> Result<bool> {
        let mut step = Step::new(&self.settings, namespace, object);
        if !step.is_needed() {
            return Ok(false);
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
            Ok(()) => Ok(true),
            // The uid did not fit: the object is gone or another one. If there is another, it has a call of its own.
            Err(error) if error.is_conflict() || error.is_not_found() => {
                debug!(object = reference, reason = error.reason(); "the object changed hands; its next change will be handled");
                Ok(false)
            }
            Err(error) if error.is_denied() => {
                info!(object = reference; "not granted, left alone: {}", error.message());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn apply(&self, reference: &ObjectRef, step: &Step<'_>, force: bool, cluster: &Cluster) -> Result<(), Error> {
        cluster.apply_with::<PartialObject>(reference, &step.body(), force, &Default::default()).map(drop)
    }
}
