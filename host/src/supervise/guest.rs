//! What a guest's calls become: capability, then budget, then authority, then cache or API. One [`Guest`] an instance.
//! Owns no policy of its own: each of the four answers for itself.

mod writing;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tenure_capability::{Decision, Request as Access, Verb};
use tenure_cluster::{GetQuery, ResourceKey, WatchKey, WatchState};
use tenure_console::{HostFunction, PluginMetrics};
use tenure_sandbox::{
    DeleteOptions, Error, EventType, GetOptions, Host, Kind, Level, ListOptions, ObjectRef, Page, PatchType,
    WriteOptions,
};

use self::writing::{Content, Intent};
use super::budget::Budget;
use super::term::TermContext;
use super::{answer, event, page};
use crate::catalog::Ready;

/// A write this instance made to something its plugin watches, until the cache has seen it.
#[derive(Debug, Clone)]
pub(crate) struct WriteMade {
    /// The watch that will show it.
    pub(crate) watch: WatchKey,
    /// What it was stored as.
    pub(crate) version: u64,
}

/// The port of one instance.
pub(crate) struct Guest {
    ready: Arc<Ready>,
    term: Arc<TermContext>,
    budget: Arc<Budget>,
    writes_made: Mutex<Vec<WriteMade>>,
    events_made: AtomicU64,
    metrics: PluginMetrics,
}

/// What a kind was resolved to, and whether a request was paid for it.
struct Resolved {
    resource: ResourceKey,
    paid: bool,
}

impl Guest {
    pub(crate) fn new(
        ready: &Arc<Ready>,
        term: &Arc<TermContext>,
        budget: &Arc<Budget>,
        metrics: PluginMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            ready: Arc::clone(ready),
            term: Arc::clone(term),
            budget: Arc::clone(budget),
            writes_made: Mutex::default(),
            events_made: AtomicU64::new(0),
            metrics,
        })
    }

    /// What the last call wrote to the plugin's own watches.
    pub(crate) fn take_writes_made(&self) -> Vec<WriteMade> {
        std::mem::take(&mut self.writes_made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn counted<T>(&self, function: HostFunction, result: Result<T, Error>) -> Result<T, Error> {
        self.metrics.count_host_call(function, answer::call_result(&result));
        result
    }

    /// The resource behind a kind. What the plugin watches is known; for anything else discovery may have to ask the API
    /// server, so that is paid for.
    async fn resolve(&self, kind: &Kind) -> Result<Resolved, Error> {
        if let Some(watch) = self.ready.watches.iter().find(|watch| watch.kind == *kind) {
            return Ok(Resolved { resource: watch.resource.clone(), paid: false });
        }
        self.admit(false)?;
        let resource = self.term.house.cluster.resolve(&kind.api_version, &kind.kind).await;
        resource.map(|resource| Resolved { resource: resource.key, paid: true }).map_err(answer::unresolved)
    }

    fn allow(&self, access: &Access<'_>) -> Result<(), Error> {
        if let Some(refusal) = self.ready.entitlement.refusal() {
            return Err(answer::no_longer_granted(&refusal.message));
        }
        match self.ready.capability.decide(access) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(answer::denied(&reason)),
        }
    }

    /// Budget, unless it is paid for already, then authority.
    fn admit(&self, paid: bool) -> Result<(), Error> {
        if !paid {
            self.budget.take()?;
        }
        self.still_leading()
    }

    fn still_leading(&self) -> Result<(), Error> {
        if self.term.is_over() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// The plugin's own watch that covers a namespace (or all), if its cache follows the server.
    fn cached(&self, resource: &ResourceKey, namespace: Option<&str>) -> Option<&WatchKey> {
        self.ready
            .key_for(resource, namespace)
            .filter(|key| self.ready.visible.shows(key))
            .filter(|key| self.term.house.cluster.hub().state(key) == WatchState::Synced)
    }

    /// As [`Self::cached`], for one object by its name.
    fn cached_for_get(&self, resource: &ResourceKey, namespace: Option<&str>) -> Option<&WatchKey> {
        self.cached(resource, namespace).filter(|key| self.ready.visible.answers_get(key))
    }

    async fn read_one(&self, object: &ObjectRef, options: &GetOptions) -> Result<String, Error> {
        let Resolved { resource, paid } = self.resolve(&object.kind).await?;
        let namespace = answer::namespace_of(&resource, object)?;
        self.allow(&Access {
            verb: Verb::Get,
            group: &resource.group,
            resource: &resource.plural,
            subresource: options.subresource.as_deref(),
            namespace,
            name: Some(&object.name),
            labels_written: &[],
        })?;
        let from_cache = !options.live && options.subresource.is_none();
        let cached = self.cached_for_get(&resource, namespace).filter(|_| from_cache);
        if let Some(key) = cached {
            self.still_leading()?;
            let found = self.term.house.cluster.hub().get(key, namespace, &object.name);
            let found = found.ok_or_else(|| answer::not_found(&resource, &object.name))?;
            return Ok(if options.metadata_only { found.metadata_json() } else { found.json().to_owned() });
        }
        self.admit(paid)?;
        let query = GetQuery {
            subresource: options.subresource.clone(),
            metadata_only: options.metadata_only,
            impersonated: self.ready.impersonated.clone(),
        };
        let read = self.term.house.cluster.get_live(&resource, namespace, &object.name, &query).await;
        read.map(|object| object.json().to_owned()).map_err(answer::api_failed)
    }

    async fn read_many(&self, kind: &Kind, options: &ListOptions) -> Result<Page, Error> {
        let Resolved { resource, paid } = self.resolve(kind).await?;
        let namespace = options.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        let access = Access {
            verb: Verb::List,
            group: &resource.group,
            resource: &resource.plural,
            subresource: None,
            namespace,
            name: None,
            labels_written: &[],
        };
        self.allow(&access)?;
        let granted = self.ready.capability.filter(&access);
        let from_cache = !options.live && options.field_selector.is_none();
        if let Some(key) = self.cached(&resource, namespace).filter(|_| from_cache) {
            self.still_leading()?;
            return page::from_cache(self.term.house.cluster.hub(), key, namespace, options, &granted);
        }
        self.admit(paid)?;
        let impersonated = self.ready.impersonated.clone();
        page::from_api(&self.term.house.cluster, &resource, namespace, options, &granted, impersonated).await
    }

    fn is_dry_run(&self, asked: bool) -> bool {
        asked || self.ready.dry_run
    }

    /// The body of an apply or replace. Both can create what is not there; a plugin that may not create gets the uid of the
    /// object it means written into it, which the API server then insists on.
    fn bound_body(
        &self,
        resource: &ResourceKey,
        object: &ObjectRef,
        options: &WriteOptions,
        mut body: Value,
        labels: &[(String, String)],
    ) -> Result<Value, Error> {
        if options.subresource.is_some() || body.pointer("/metadata/uid").is_some_and(Value::is_string) {
            return Ok(body);
        }
        let namespace = answer::namespace_of(resource, object)?;
        let creating = self.allow(&Access {
            verb: Verb::Create,
            group: &resource.group,
            resource: &resource.plural,
            subresource: None,
            namespace,
            name: Some(&object.name),
            labels_written: labels,
        });
        let Err(denied) = creating else { return Ok(body) };
        let cached = self.cached_for_get(resource, namespace);
        let existing = cached.and_then(|key| self.term.house.cluster.hub().get(key, namespace, &object.name));
        let existing = existing.ok_or(denied)?;
        answer::set_uid(&mut body, &existing.uid)?;
        Ok(body)
    }

    /// The host's own write in the plugin's name: a JSON patch of finalizers. It takes nothing out of the budget, which the
    /// plugin may have used up in the very call that this one follows; there are two at most for each object.
    pub(crate) async fn write_finalizers(
        &self,
        object: &ObjectRef,
        resource: &ResourceKey,
        patch: &Value,
    ) -> Result<(), Error> {
        let resolved = Resolved { resource: resource.clone(), paid: true };
        let options = WriteOptions::default();
        let content = Content::JsonPatch(patch.clone());
        self.write(Intent { object, resolved, options: &options, labels: Vec::new(), content }).await.map(drop)
    }

    /// The uid of an object an Event is about: `kubectl describe` looks Events up by it. Absent where it cannot be had.
    async fn uid_of(&self, object: &ObjectRef) -> Option<String> {
        let Resolved { resource, paid } = self.resolve(&object.kind).await.ok()?;
        let namespace = answer::namespace_of(&resource, object).ok()?;
        if let Some(key) = self.cached_for_get(&resource, namespace) {
            return Some(self.term.house.cluster.hub().get(key, namespace, &object.name)?.uid.to_string());
        }
        self.admit(paid).ok()?;
        let impersonated = self.ready.impersonated.clone();
        let query = GetQuery { subresource: None, metadata_only: true, impersonated };
        let read = self.term.house.cluster.get_live(&resource, namespace, &object.name, &query).await;
        read.ok().map(|object| object.uid.to_string())
    }

    async fn record(
        &self,
        object: &ObjectRef,
        event_type: EventType,
        reason: &str,
        message: &str,
    ) -> Result<(), Error> {
        let number = self.events_made.fetch_add(1, Ordering::Relaxed);
        let now = jiff::Timestamp::now();
        // Unlike that of any other Event on this object: nanoseconds, and a count within them.
        let number = u64::try_from(now.as_nanosecond()).unwrap_or_default().wrapping_add(number);
        let about = event::About { object, uid: self.uid_of(object).await };
        let event = event::event(&about, event_type, (reason, message), &self.ready.field_manager, now, number);
        let reference = ObjectRef {
            kind: Kind { api_version: "v1".into(), kind: "Event".into() },
            namespace: Some(event::namespace(object).to_owned()),
            name: event.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        };
        let options = WriteOptions::default();
        let resolved = self.resolve(&reference.kind).await?;
        let content = Content::Create(event);
        self.write(Intent { object: &reference, resolved, options: &options, labels: Vec::new(), content })
            .await
            .map(drop)
    }
}

#[async_trait]
impl Host for Guest {
    async fn get(&self, object: ObjectRef, options: GetOptions) -> Result<String, Error> {
        self.counted(HostFunction::Get, self.read_one(&object, &options).await)
    }

    async fn list(&self, kind: Kind, options: ListOptions) -> Result<Page, Error> {
        self.counted(HostFunction::List, self.read_many(&kind, &options).await)
    }

    async fn create(&self, object: ObjectRef, body: String, options: WriteOptions) -> Result<String, Error> {
        let result = async {
            let value = answer::new_body_of(&object, options.subresource.as_deref(), &body)?;
            let labels = answer::labels_of(&value);
            let resolved = self.resolve(&object.kind).await?;
            let content = Content::Create(value);
            self.write(Intent { object: &object, resolved, options: &options, labels, content }).await
        };
        self.counted(HostFunction::Create, result.await)
    }

    async fn replace(&self, object: ObjectRef, body: String, options: WriteOptions) -> Result<String, Error> {
        let result = async {
            let value = answer::whole_body_of(&object, options.subresource.as_deref(), &body)?;
            let labels = answer::labels_of(&value);
            let resolved = self.resolve(&object.kind).await?;
            let content = Content::Replace(self.bound_body(&resolved.resource, &object, &options, value, &labels)?);
            self.write(Intent { object: &object, resolved, options: &options, labels, content }).await
        };
        self.counted(HostFunction::Replace, result.await)
    }

    async fn patch(
        &self,
        object: ObjectRef,
        patch_type: PatchType,
        body: String,
        options: WriteOptions,
    ) -> Result<String, Error> {
        let result = async {
            // What is sent is what was judged: a key that stands twice in the guest's text stands once in this.
            let (labels, content) = match patch_type {
                PatchType::Json => {
                    let patch = answer::json(&body)?;
                    answer::check_json_patch(&patch)?;
                    (answer::labels_of_json_patch(&patch)?, Content::JsonPatch(patch))
                }
                PatchType::Merge => {
                    let patch = answer::body_of(&object, options.subresource.as_deref(), &body)?;
                    (answer::labels_of(&patch), Content::MergePatch(patch))
                }
            };
            let resolved = self.resolve(&object.kind).await?;
            self.write(Intent { object: &object, resolved, options: &options, labels, content }).await
        };
        self.counted(HostFunction::Patch, result.await)
    }

    async fn apply(
        &self,
        object: ObjectRef,
        body: String,
        force: bool,
        options: WriteOptions,
    ) -> Result<String, Error> {
        let result = async {
            let value = answer::whole_body_of(&object, options.subresource.as_deref(), &body)?;
            let labels = answer::labels_of(&value);
            let resolved = self.resolve(&object.kind).await?;
            let value = self.bound_body(&resolved.resource, &object, &options, value, &labels)?;
            let content = Content::Apply { object: value, force };
            self.write(Intent { object: &object, resolved, options: &options, labels, content }).await
        };
        self.counted(HostFunction::Apply, result.await)
    }

    async fn delete(&self, object: ObjectRef, options: DeleteOptions) -> Result<String, Error> {
        let result = async {
            let write_options = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
            let resolved = self.resolve(&object.kind).await?;
            let content = Content::Delete(options);
            let labels = Vec::new();
            self.write(Intent { object: &object, resolved, options: &write_options, labels, content }).await
        };
        self.counted(HostFunction::Delete, result.await)
    }

    async fn record_event(
        &self,
        object: ObjectRef,
        event_type: EventType,
        reason: String,
        message: String,
    ) -> Result<(), Error> {
        self.counted(HostFunction::RecordEvent, self.record(&object, event_type, &reason, &message).await)
    }

    fn term(&self) -> u64 {
        self.term.number()
    }

    fn cancelled(&self) -> bool {
        self.term.is_cancelled()
    }

    async fn wait(&self, ms: u32) -> bool {
        tokio::select! {
            () = self.term.soft.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(ms.into())) => {}
        }
        self.term.is_cancelled()
    }

    fn settings(&self) -> String {
        self.ready.settings_json.clone()
    }

    fn log(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        log(&self.ready.identity, level, &message, &fields);
    }
}

/// A line of a plugin's log.
pub(crate) fn log(plugin: &str, level: Level, message: &str, fields: &[(String, String)]) {
    let fields = fields.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
    match level {
        Level::Trace => tracing::trace!(target: "plugin", plugin, fields, "{message}"),
        Level::Debug => tracing::debug!(target: "plugin", plugin, fields, "{message}"),
        Level::Info => tracing::info!(target: "plugin", plugin, fields, "{message}"),
        Level::Warn => tracing::warn!(target: "plugin", plugin, fields, "{message}"),
        Level::Error => tracing::error!(target: "plugin", plugin, fields, "{message}"),
    }
}
