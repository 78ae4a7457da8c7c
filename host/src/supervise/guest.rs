//! What a guest's calls become: capability, then budget, then authority, then cache or API. One [`Guest`] an instance.
//! Owns no policy of its own: each of the four answers for itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tenure_capability::{Decision, Request as Access, Verb};
use tenure_cluster::{GetQuery, PatchKind, ResourceKey, WatchKey, WatchState, Write};
use tenure_console::{HostFunction, PluginMetrics};
use tenure_reconcile::Cause as QueueCause;
use tenure_sandbox::{
    Cause, DeleteOptions, Error, EventType, GetOptions, Host, Kind, Level, ListOptions, ObjectRef, Page, PatchType,
    WriteOptions,
};

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

/// A write before it is built: what all of them have in common.
struct Intent<'a> {
    verb: Verb,
    object: &'a ObjectRef,
    options: &'a WriteOptions,
    /// Labels the object would carry afterwards, as far as this write says so.
    labels: Vec<(String, String)>,
}

impl Guest {
    pub(crate) fn new(ready: Arc<Ready>, term: Arc<TermContext>, budget: Arc<Budget>) -> Arc<Self> {
        let metrics = term.house.board.enter(&ready.identity, &ready.key);
        Arc::new(Self { ready, term, budget, writes_made: Mutex::default(), events_made: AtomicU64::new(0), metrics })
    }

    /// What the last call wrote to the plugin's own watches.
    pub(crate) fn take_writes_made(&self) -> Vec<WriteMade> {
        std::mem::take(&mut self.writes_made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn counted<T>(&self, function: HostFunction, result: Result<T, Error>) -> Result<T, Error> {
        self.metrics.count_host_call(function, answer::call_result(&result));
        result
    }

    async fn resolve(&self, kind: &Kind) -> Result<ResourceKey, Error> {
        let resource = self.term.house.cluster.resolve(&kind.api_version, &kind.kind).await;
        resource.map(|resource| resource.key).map_err(answer::unresolved)
    }

    fn allow(&self, access: &Access<'_>) -> Result<(), Error> {
        match self.ready.capability.decide(access) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(answer::denied(&reason)),
        }
    }

    /// Budget, then authority.
    fn admit(&self) -> Result<(), Error> {
        self.budget.take()?;
        if self.term.is_over() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// The plugin's own watch that covers a namespace (or all), if its cache follows the server.
    fn cached(&self, resource: &ResourceKey, namespace: Option<&str>) -> Option<&WatchKey> {
        self.ready
            .key_for(resource, namespace)
            .filter(|key| self.term.house.cluster.hub().state(key) == WatchState::Synced)
    }

    async fn read_one(&self, object: &ObjectRef, options: &GetOptions) -> Result<String, Error> {
        let resource = self.resolve(&object.kind).await?;
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
        self.admit()?;
        let cached =
            if options.live || options.subresource.is_some() { None } else { self.cached(&resource, namespace) };
        if let Some(key) = cached {
            let found = self.term.house.cluster.hub().get(key, namespace, &object.name);
            let found = found.ok_or_else(|| answer::not_found(&resource, &object.name))?;
            return Ok(if options.metadata_only { page::metadata_of(found.json()) } else { found.json().to_owned() });
        }
        let query = GetQuery { subresource: options.subresource.clone(), metadata_only: options.metadata_only };
        let read = self.term.house.cluster.get_live(&resource, namespace, &object.name, &query).await;
        read.map(|object| object.json().to_owned()).map_err(answer::api_failed)
    }

    async fn read_many(&self, kind: &Kind, options: &ListOptions) -> Result<Page, Error> {
        let resource = self.resolve(kind).await?;
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
        self.admit()?;
        let granted = self.ready.capability.filter(&access);
        let cached =
            if options.live || options.field_selector.is_some() { None } else { self.cached(&resource, namespace) };
        match cached {
            Some(key) => page::from_cache(self.term.house.cluster.hub(), key, options, &granted),
            None => page::from_api(&self.term.house.cluster, &resource, options, &granted).await,
        }
    }

    /// Everything between a guest's wish to write and the gate. `build` gets what the wish was resolved to.
    async fn write(
        &self,
        intent: Intent<'_>,
        build: impl FnOnce(ResourceKey, Option<&str>) -> Write,
    ) -> Result<String, Error> {
        let resource = self.resolve(&intent.object.kind).await?;
        let namespace = answer::namespace_of(&resource, intent.object)?;
        let generated = intent.verb == Verb::Create && intent.object.name.ends_with('-');
        self.allow(&Access {
            verb: intent.verb,
            group: &resource.group,
            resource: &resource.plural,
            subresource: intent.options.subresource.as_deref(),
            namespace,
            name: (!generated).then_some(intent.object.name.as_str()),
            labels_written: &intent.labels,
        })?;
        self.admit()?;
        let dry_run = intent.options.dry_run || self.ready.dry_run;
        let mut write = build(resource.clone(), namespace);
        if intent.verb != Verb::Delete {
            write = write.with_field_manager(&self.ready.field_manager);
        }
        if let Some(subresource) = &intent.options.subresource {
            write = write.with_subresource(subresource);
        }
        if let Some(level) = &intent.options.field_validation {
            write = write.with_field_validation(level);
        }
        if dry_run {
            write = write.with_dry_run();
        }
        let written = self.term.writer.write(write).await.map_err(answer::write_failed)?;
        if let (false, Some(version), Some(watch)) =
            (dry_run, written.version, self.ready.key_for(&resource, namespace))
        {
            // A status subresource is stored with the object, scale of another kind is not this watch's: its version is.
            let made = WriteMade { watch: watch.clone(), version };
            self.writes_made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
        }
        if dry_run && self.ready.dry_run {
            tracing::info!(plugin = self.ready.identity, verb = %intent.verb.as_str(), name = intent.object.name, "dry run: not stored");
        }
        answer::text(&written.bytes)
    }

    /// An apply creates what is not there, so it takes the right to create too, unless the cache shows the object.
    async fn allow_creating(
        &self,
        object: &ObjectRef,
        options: &WriteOptions,
        labels: &[(String, String)],
    ) -> Result<(), Error> {
        let resource = self.resolve(&object.kind).await?;
        let namespace = answer::namespace_of(&resource, object)?;
        let cached = self.cached(&resource, namespace);
        let exists =
            cached.is_some_and(|key| self.term.house.cluster.hub().get(key, namespace, &object.name).is_some());
        if exists || options.subresource.is_some() {
            return Ok(());
        }
        self.allow(&Access {
            verb: Verb::Create,
            group: &resource.group,
            resource: &resource.plural,
            subresource: None,
            namespace,
            name: Some(&object.name),
            labels_written: labels,
        })
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
        let event = event::event(object, event_type, (reason, message), &self.ready.field_manager, now, number);
        let reference = ObjectRef {
            kind: Kind { api_version: "v1".into(), kind: "Event".into() },
            namespace: Some(event::namespace(object).to_owned()),
            name: event.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        };
        let options = WriteOptions::default();
        let intent = Intent { verb: Verb::Create, object: &reference, options: &options, labels: Vec::new() };
        let body = event.to_string().into();
        self.write(intent, |resource, namespace| Write::create(resource, namespace, body)).await.map(drop)
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
            let value = answer::new_body_of(&object, &body)?;
            let labels = answer::labels_of(&value);
            let intent = Intent { verb: Verb::Create, object: &object, options: &options, labels };
            let body = value.to_string().into();
            self.write(intent, |resource, namespace| {
                let write = Write::create(resource, namespace, body);
                // A subresource such as pods/eviction is created under the object it belongs to.
                if options.subresource.is_some() { Write { name: Some(object.name.clone()), ..write } } else { write }
            })
            .await
        };
        self.counted(HostFunction::Create, result.await)
    }

    async fn replace(&self, object: ObjectRef, body: String, options: WriteOptions) -> Result<String, Error> {
        let result = async {
            let labels = answer::labels_of(&answer::body_of(&object, &body)?);
            let intent = Intent { verb: Verb::Update, object: &object, options: &options, labels };
            self.write(intent, |resource, namespace| Write::replace(resource, namespace, &object.name, body.into()))
                .await
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
            let (kind, labels) = match patch_type {
                PatchType::Json => (PatchKind::Json, answer::labels_of_json_patch(&answer::json(&body)?)?),
                PatchType::Merge => (PatchKind::Merge, answer::labels_of(&answer::body_of(&object, &body)?)),
            };
            let intent = Intent { verb: Verb::Patch, object: &object, options: &options, labels };
            let build =
                |resource, namespace: Option<&str>| Write::patch(resource, namespace, &object.name, kind, body.into());
            self.write(intent, build).await
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
            let labels = answer::labels_of(&answer::body_of(&object, &body)?);
            self.allow_creating(&object, &options, &labels).await?;
            let intent = Intent { verb: Verb::Patch, object: &object, options: &options, labels };
            let build =
                |resource, namespace: Option<&str>| Write::apply(resource, namespace, &object.name, body.into(), force);
            self.write(intent, build).await
        };
        self.counted(HostFunction::Apply, result.await)
    }

    async fn delete(&self, object: ObjectRef, options: DeleteOptions) -> Result<String, Error> {
        let result = async {
            let write_options = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
            let intent = Intent { verb: Verb::Delete, object: &object, options: &write_options, labels: Vec::new() };
            let body = answer::delete_options(&options).to_string().into();
            let build = |resource, namespace: Option<&str>| Write::delete(resource, namespace, &object.name, body);
            self.write(intent, build).await
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
        self.term.live.term().get()
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
        let plugin = self.ready.identity.as_str();
        let fields = fields.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
        match level {
            Level::Trace => tracing::trace!(target: "plugin", plugin, fields, "{message}"),
            Level::Debug => tracing::debug!(target: "plugin", plugin, fields, "{message}"),
            Level::Info => tracing::info!(target: "plugin", plugin, fields, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, fields, "{message}"),
            Level::Error => tracing::error!(target: "plugin", plugin, fields, "{message}"),
        }
    }
}

/// A queue's cause in the words of the contract.
pub(crate) fn cause(of: QueueCause) -> Cause {
    match of {
        QueueCause::Changed => Cause::Changed,
        QueueCause::Deleted => Cause::Deleted,
        QueueCause::Scheduled => Cause::Scheduled,
        QueueCause::Retried(failures) => Cause::Retried(failures),
        QueueCause::TermStarted => Cause::TermStarted,
    }
}
