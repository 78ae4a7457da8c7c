//! What a lock policy can ask the host: reads that it was granted, from the cache or from the API. It belongs to no term and
//! cannot write.

use std::sync::Arc;

use async_trait::async_trait;
use tenure_capability::{Decision, Request as Access, Verb};
use tenure_cluster::{GetQuery, ResourceKey, WatchKey, WatchState};
use tenure_sandbox::{
    DeleteOptions, Error, EventType, GetOptions, Host, Kind, Level, ListOptions, ObjectRef, Page, PatchType,
    WriteOptions,
};

use crate::catalog::Ready;
use crate::supervise::budget::Budget;
use crate::supervise::{House, answer, guest, page};

/// The port of one instance.
pub(super) struct Reads {
    ready: Arc<Ready>,
    house: Arc<House>,
    budget: Budget,
}

impl Reads {
    pub(super) fn new(ready: Arc<Ready>, house: Arc<House>) -> Self {
        let budget = Budget::new(ready.budgets.requests_per_second);
        Self { ready, house, budget }
    }

    async fn resolve(&self, kind: &Kind) -> Result<ResourceKey, Error> {
        if let Some(watch) = self.ready.watches.iter().find(|watch| watch.kind == *kind) {
            return Ok(watch.resource.clone());
        }
        self.budget.take()?;
        let resource = self.house.cluster.resolve(&kind.api_version, &kind.kind).await;
        resource.map(|resource| resource.key).map_err(answer::unresolved)
    }

    fn allow(&self, access: &Access<'_>) -> Result<(), Error> {
        match self.ready.capability.decide(access) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(answer::denied(&reason)),
        }
    }

    fn cached(&self, resource: &ResourceKey, namespace: Option<&str>) -> Option<&WatchKey> {
        let key = self.ready.key_for(resource, namespace);
        key.filter(|key| self.house.cluster.hub().state(key) == WatchState::Synced)
    }
}

/// The world has no such import; the sandbox refuses components that have it.
fn no_such_import<T>() -> Result<T, Error> {
    Err(Error::new("Denied", "a lock policy cannot write"))
}

#[async_trait]
impl Host for Reads {
    async fn get(&self, object: ObjectRef, options: GetOptions) -> Result<String, Error> {
        let resource = self.resolve(&object.kind).await?;
        let namespace = answer::namespace_of(&resource, &object)?;
        self.allow(&Access {
            verb: Verb::Get,
            group: &resource.group,
            resource: &resource.plural,
            subresource: options.subresource.as_deref(),
            namespace,
            name: Some(&object.name),
            labels_written: &[],
        })?;
        let live = options.live || options.subresource.is_some();
        if let Some(key) = self.cached(&resource, namespace).filter(|_| !live) {
            let found = self.house.cluster.hub().get(key, namespace, &object.name);
            let found = found.ok_or_else(|| answer::not_found(&resource, &object.name))?;
            return Ok(if options.metadata_only { found.metadata_json() } else { found.json().to_owned() });
        }
        self.budget.take()?;
        let query = GetQuery { subresource: options.subresource, metadata_only: options.metadata_only };
        let read = self.house.cluster.get_live(&resource, namespace, &object.name, &query).await;
        read.map(|object| object.json().to_owned()).map_err(answer::api_failed)
    }

    async fn list(&self, kind: Kind, options: ListOptions) -> Result<Page, Error> {
        let resource = self.resolve(&kind).await?;
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
        let live = options.live || options.field_selector.is_some();
        if let Some(key) = self.cached(&resource, namespace).filter(|_| !live) {
            return page::from_cache(self.house.cluster.hub(), key, namespace, &options, &granted);
        }
        self.budget.take()?;
        page::from_api(&self.house.cluster, &resource, namespace, &options, &granted).await
    }

    async fn create(&self, _: ObjectRef, _: String, _: WriteOptions) -> Result<String, Error> {
        no_such_import()
    }

    async fn replace(&self, _: ObjectRef, _: String, _: WriteOptions) -> Result<String, Error> {
        no_such_import()
    }

    async fn patch(&self, _: ObjectRef, _: PatchType, _: String, _: WriteOptions) -> Result<String, Error> {
        no_such_import()
    }

    async fn apply(&self, _: ObjectRef, _: String, _: bool, _: WriteOptions) -> Result<String, Error> {
        no_such_import()
    }

    async fn delete(&self, _: ObjectRef, _: DeleteOptions) -> Result<String, Error> {
        no_such_import()
    }

    async fn record_event(&self, _: ObjectRef, _: EventType, _: String, _: String) -> Result<(), Error> {
        no_such_import()
    }

    fn term(&self) -> u64 {
        0
    }

    fn cancelled(&self) -> bool {
        false
    }

    async fn wait(&self, _: u32) -> bool {
        false
    }

    fn settings(&self) -> String {
        self.ready.settings_json.clone()
    }

    fn log(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        guest::log(&self.ready.identity, level, &message, &fields);
    }
}
