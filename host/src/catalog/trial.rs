//! One instance on trial before a plugin is taken: what traps at its start is refused, and the version before stays.

use std::sync::Arc;

use async_trait::async_trait;
use tenure_sandbox::{
    DeleteOptions, Error, EventType, GetOptions, Host, InstanceLimits, InstantiateError, KillSwitch, Kind, Level,
    ListOptions, Loaded, ObjectRef, Page, PatchType, WriteOptions,
};

use super::load::Refusal;
use crate::supervise::describe;

/// Instantiates once, with nobody there to answer.
///
/// # Errors
/// Why it could not be, for people. A host that is full says nothing about the plugin: that may pass.
pub(super) async fn instantiate(loaded: &Arc<Loaded>, limits: InstanceLimits) -> Result<(), Refusal> {
    let instance = loaded.instantiate(Arc::new(Nobody), limits, KillSwitch::new()).await;
    instance.map(drop).map_err(|error| refusal(&error))
}

fn refusal(error: &InstantiateError) -> Refusal {
    let message = format!("it cannot be instantiated: {}", describe(error));
    match error {
        InstantiateError::TooMany { .. } | InstantiateError::Killed => Refusal::for_now(message),
        _ => Refusal::for_good(message),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_host_refuses_for_now_and_a_trap_for_good() {
        assert!(refusal(&InstantiateError::TooMany { instances_max: 1 }).may_pass);
        assert!(refusal(&InstantiateError::Killed).may_pass);
        let trap = InstantiateError::Trap { message: "unreachable".into(), backtrace: Vec::new() };
        assert!(!refusal(&trap).may_pass);
    }
}
