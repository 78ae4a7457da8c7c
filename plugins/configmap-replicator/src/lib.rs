//! Keeps copies of a ConfigMap in the namespaces that ask for it.
//!
//! A source carries a label; a Namespace lists in an annotation what it wants. The plugin makes the copies, follows the
//! source, repairs what drifts, and removes copies that nobody wants any more. A finalizer on the source holds its deletion
//! until the copies are gone. Nothing is kept in memory: labels and annotations say what is whose.

mod copy;
mod marks;
mod namespace;
mod settings;
mod source;

use std::time::Duration;

use tenure_plugin::{Cause, Cluster, Error, Outcome, PartialObject, Reconciler, Request, Result, debug, info};

pub use settings::Settings;

/// Somebody else wrote in between: by then the cache shows it.
const AFTER_CONFLICT: Duration = Duration::from_millis(500);
/// When the budget is used up and the host does not say for how long.
const BUDGET_PAUSE: Duration = Duration::from_secs(1);

/// The plugin.
pub struct ConfigMapReplicator {
    settings: Settings,
}

tenure_plugin::reconciler!(ConfigMapReplicator);

impl Reconciler for ConfigMapReplicator {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        Ok(Self { settings })
    }

    fn reconcile(&mut self, request: Request, cluster: &Cluster) -> Result<Outcome> {
        let done = match request.object.kind.kind.as_str() {
            _ if request.cause == Cause::Scheduled => Ok(()),
            "Namespace" => namespace::bring_up_to_date(&request.object.name, &self.settings, cluster),
            "ConfigMap" => self.config_map(&request, cluster),
            _ => Ok(()),
        };
        match done {
            Ok(()) => Ok(Outcome::done()),
            Err(error) if error.is_limited() => Ok(Outcome::requeue_after(error.retry_after().unwrap_or(BUDGET_PAUSE))),
            Err(error) if error.is_conflict() || error.is_already_exists() => {
                debug!(object = request.object; "somebody else wrote in between: {}", error.message());
                Ok(Outcome::requeue_after(AFTER_CONFLICT))
            }
            // A namespace the grant leaves out, the host's own among them, gets no copies. A source is another matter: its
            // finalizer stays while a copy could not be removed.
            Err(error) if request.object.kind.is("v1", "Namespace") => {
                skip_denied(error, &request.object).map(|()| Outcome::done())
            }
            Err(error) => Err(error),
        }
    }
}

impl ConfigMapReplicator {
    /// A ConfigMap may be a source, a copy, or have been either a moment ago.
    fn config_map(&self, request: &Request, cluster: &Cluster) -> Result<()> {
        let Some(namespace) = &request.object.namespace else { return Ok(()) };
        let last_seen = request.body::<PartialObject>()?.unwrap_or_default().metadata;
        if marks::is_copy(&last_seen) {
            return namespace::bring_up_to_date(namespace, &self.settings, cluster);
        }
        source::bring_up_to_date(&request.object, &self.settings, cluster)
    }
}

/// A write that the grant, or the host's own rules, forbid: told, and no reason to stop the rest.
fn skip_denied(error: Error, what: &impl std::fmt::Display) -> Result<()> {
    if error.is_denied() {
        info!(object = what; "not granted, left alone: {}", error.message());
        return Ok(());
    }
    Err(error)
}
