//! One instance on trial before a plugin is taken: what traps at its start is refused, and the version before stays.

use std::sync::Arc;

use async_trait::async_trait;
use tenure_sandbox::{
    DeleteOptions, Error, EventType, GetOptions, Host, InstanceLimits, KillSwitch, Kind, Level, ListOptions, Loaded,
    ObjectRef, Page, PatchType, WriteOptions,
};

use crate::supervise::describe;

/// Instantiates once, with nobody there to answer.
///
/// # Errors
/// Why it could not be, for people.
pub(super) async fn instantiate(loaded: &Arc<Loaded>, limits: InstanceLimits) -> Result<(), String> {
    let instance = loaded.instantiate(Arc::new(Nobody), limits, KillSwitch::new()).await;
    instance.map(drop).map_err(|error| format!("it cannot be instantiated: {}", describe(&error)))
}

/// Leads nothing, so every call is cancelled.
struct Nobody;

#[async_trait]
impl Host for Nobody {
    async fn get(&self, _: ObjectRef, _: GetOptions) -> Result<String, Error> {
        Err(Error::cancelled())
    }
    async fn list(&self, _: Kind, _: ListOptions) -> Result<Page, Error> {
        Err(Error::cancelled())
    }
    async fn create(&self, _: ObjectRef, _: String, _: WriteOptions) -> Result<String, Error> {
        Err(Error::cancelled())
    }
    async fn replace(&self, _: ObjectRef, _: String, _: WriteOptions) -> Result<String, Error> {
        Err(Error::cancelled())
    }
    async fn patch(&self, _: ObjectRef, _: PatchType, _: String, _: WriteOptions) -> Result<String, Error> {
        Err(Error::cancelled())
    }
    async fn apply(&self, _: ObjectRef, _: String, _: bool, _: WriteOptions) -> Result<String, Error> {
        Err(Error::cancelled())
    }
    async fn delete(&self, _: ObjectRef, _: DeleteOptions) -> Result<String, Error> {
        Err(Error::cancelled())
    }
    async fn record_event(&self, _: ObjectRef, _: EventType, _: String, _: String) -> Result<(), Error> {
        Err(Error::cancelled())
    }
    fn term(&self) -> u64 {
        0
    }
    fn cancelled(&self) -> bool {
        true
    }
    async fn wait(&self, _: u32) -> bool {
        true
    }
    fn settings(&self) -> String {
        "{}".into()
    }
    fn log(&self, _: Level, _: String, _: Vec<(String, String)>) {}
}
