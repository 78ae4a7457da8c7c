//! What a guest will be told about a key: from the cache, from the last state of what is gone, or from the API server where
//! the cache did not show the plugin's own write in time.

use std::sync::Arc;

use tenure_cluster::{ApiError, GetQuery, Object, ResourceKey};
use tenure_reconcile::{Cause as QueueCause, Ready as ReadyKey};
use tenure_sandbox::{Cause, Error, Kind, ObjectRef, Request};

use super::answer;
use super::finalizer::Current;
use super::key::Key;
use super::schedules;
use super::term::TermContext;
use super::watched::Watched;
use crate::catalog::{Interest, Ready};

/// A request, but for what still has to be read.
pub(crate) struct Prepared {
    request: Request,
    object: Option<Arc<Object>>,
    current: Option<Current>,
    live: Option<ResourceKey>,
}

impl Prepared {
    /// What the cache says now.
    pub(crate) fn new(plugin: &Ready, term: &TermContext, watched: &Watched, ready: &ReadyKey<Key>) -> Self {
        let Key::Object { kind, namespace, name } = &ready.key else {
            let request = of_schedule(plugin, ready);
            return Self { request, object: None, current: None, live: None };
        };
        let watch = &plugin.watches[*kind];
        let cached = plugin
            .key_for(&watch.resource, namespace.as_deref())
            .filter(|key| watched.selects(&ready.key) && plugin.visible.shows(key))
            .and_then(|key| term.house.cluster.hub().get(key, namespace.as_deref(), name));
        let last_known = watched.last_known(&ready.key);
        // Deleted and made anew before this call: first the plugin hears of the one that went.
        let object = match ready.cause {
            QueueCause::Deleted => last_known.or(cached.as_ref()),
            _ => cached.as_ref().or(last_known),
        };
        let interest = cached.as_ref().map_or(Interest::None, |cached| plugin.interest(&watch.resource, cached));
        let stays = cached.as_ref().is_some_and(|cached| !cached.deletion && interest == Interest::Selected);
        let went = !stays || (ready.cause == QueueCause::Deleted && last_known.is_some());
        let cause = match in_contract(ready.cause) {
            _ if went => Cause::Deleted,
            // What went is dealt with or was never seen; what is there now must not be taken for it.
            Cause::Deleted => Cause::Changed,
            cause => cause,
        };
        let request = Request {
            cause,
            object: ObjectRef {
                kind: watch.kind.clone(),
                namespace: namespace.as_deref().map(str::to_owned),
                name: name.to_string(),
            },
            body: object.map(|object| object.json().to_owned()),
            extra: Vec::new(),
        };
        let live = ready.hold_expired.then(|| watch.resource.clone());
        // Of one that is gone nothing is kept or let go.
        let object = object.cloned();
        let current = object.clone().filter(|object| cached.as_ref().is_some_and(|cached| Arc::ptr_eq(cached, object)));
        let current = current.map(|object| Current { resource: watch.resource.clone(), object });
        Self { request, object, current, live }
    }

    /// The object the guest is told of.
    pub(crate) fn object(&self) -> Option<&Arc<Object>> {
        self.object.as_ref()
    }

    /// Reads what is still to be read.
    ///
    /// # Errors
    /// When the API server could not be asked: then nothing is known well enough to call the guest.
    pub(crate) async fn read(
        mut self,
        plugin: &Ready,
        term: &TermContext,
    ) -> Result<(Request, Option<Current>), Error> {
        let Some(resource) = self.live else { return Ok((self.request, self.current)) };
        let reference = &self.request.object;
        let (namespace, name) = (reference.namespace.as_deref(), &reference.name);
        let query = GetQuery { impersonated: plugin.impersonated.clone(), ..GetQuery::default() };
        match term.house.cluster.get_live(&resource, namespace, name, &query).await {
            Ok(object) => {
                if object.deletion || plugin.interest(&resource, &object) != Interest::Selected {
                    self.request.cause = Cause::Deleted;
                }
                self.request.body = Some(object.json().to_owned());
                self.current = Some(Current { resource, object: Arc::new(object) });
            }
            Err(ApiError::Status(status)) if status.code == 404 => {
                self.request.cause = Cause::Deleted;
                self.current = None;
            }
            Err(error) => return Err(answer::api_failed(error)),
        }
        Ok((self.request, self.current))
    }
}

fn of_schedule(plugin: &Ready, ready: &ReadyKey<Key>) -> Request {
    let mut extra = vec![("schedule".into(), ready.key.to_string())];
    if let Key::Schedule(number) = &ready.key
        && let Some(due) = plugin.schedules[*number].last(schedules::wall_now())
        && let Ok(due) = jiff::Timestamp::UNIX_EPOCH.checked_add(due)
    {
        extra.push(("due".into(), due.to_string()));
    }
    let (namespace, name) = plugin.identity.split_once('/').unwrap_or(("", &plugin.identity));
    Request {
        cause: in_contract(ready.cause),
        object: ObjectRef {
            kind: Kind { api_version: "tenure.dev/v1".into(), kind: "Schedule".into() },
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        },
        body: None,
        extra,
    }
}

/// A queue's cause in the words of the contract.
fn in_contract(cause: QueueCause) -> Cause {
    match cause {
        QueueCause::Changed => Cause::Changed,
        QueueCause::Deleted => Cause::Deleted,
        QueueCause::Scheduled => Cause::Scheduled,
        QueueCause::Retried(failures) => Cause::Retried(failures),
        QueueCause::TermStarted => Cause::TermStarted,
    }
}
