//! What an instance asks of the rest of the house. The sandbox calls; `host` answers with capability, gate and cache.

use crate::contract::{
    DeleteOptions, Error, EventType, GetOptions, Kind, Level, ListOptions, ObjectRef, Page, PatchType, WriteOptions,
};

/// Everything a plugin can reach, for one instance in one term.
///
/// The sandbox has checked sizes and the kill switch before a call arrives here, and cuts a pending call off when the
/// instance is killed or its time is up (the future is dropped, so a write that must not be dropped has to run elsewhere).
/// A panic in here becomes an `InternalError` the plugin sees; it never takes the process down.
#[async_trait::async_trait]
pub trait Host: Send + Sync + 'static {
    /// One object's JSON.
    async fn get(&self, object: ObjectRef, options: GetOptions) -> Result<String, Error>;
    /// One page of objects.
    async fn list(&self, kind: Kind, options: ListOptions) -> Result<Page, Error>;
    /// Creates; answers with the stored object's JSON.
    async fn create(&self, object: ObjectRef, body: String, options: WriteOptions) -> Result<String, Error>;
    /// Replaces; answers with the stored object's JSON.
    async fn replace(&self, object: ObjectRef, body: String, options: WriteOptions) -> Result<String, Error>;
    /// Patches; answers with the stored object's JSON.
    async fn patch(
        &self,
        object: ObjectRef,
        patch_type: PatchType,
        body: String,
        options: WriteOptions,
    ) -> Result<String, Error>;
    /// Server-side apply; answers with the stored object's JSON.
    async fn apply(&self, object: ObjectRef, body: String, force: bool, options: WriteOptions)
    -> Result<String, Error>;
    /// Deletes; answers with the object as it was, or a Status.
    async fn delete(&self, object: ObjectRef, options: DeleteOptions) -> Result<String, Error>;
    /// An Event on the object.
    async fn record_event(
        &self,
        object: ObjectRef,
        event_type: EventType,
        reason: String,
        message: String,
    ) -> Result<(), Error>;
    /// The fencing token of this term.
    fn term(&self) -> u64;
    /// Whether leadership ends.
    fn cancelled(&self) -> bool;
    /// Waits at most `ms` milliseconds; true at once when cancelled.
    async fn wait(&self, ms: u32) -> bool;
    /// The manifest's `[settings]` as JSON.
    fn settings(&self) -> String;
    /// One line of the plugin's log, already within its budget.
    fn log(&self, level: Level, message: String, fields: Vec<(String, String)>);
}
