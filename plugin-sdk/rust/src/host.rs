//! The port behind [`Cluster`](crate::Cluster): in a guest the imports of the contract, in a test
//! [`FakeCluster`](crate::testing::FakeCluster), and whatever else somebody wants to put there. JSON text in, JSON text out.

use std::time::Duration;

use crate::{DeleteOptions, EventType, GetOptions, Kind, ListOptions, ObjectRef, PatchType, Result, WriteOptions};

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Each one object's JSON.
    pub items: Vec<String>,
    /// Present when there is more.
    pub continue_token: Option<String>,
    /// The state of the cluster the page shows.
    pub resource_version: String,
    /// How many more there are, where the server says.
    pub remaining: Option<u32>,
}

/// What the host offers every plugin, one that only looks too.
#[expect(clippy::missing_errors_doc, reason = "each fails with what the contract's error record says")]
pub trait Reads {
    /// One object's JSON.
    fn get(&self, object: &ObjectRef, options: &GetOptions) -> Result<String>;
    /// One page.
    fn list(&self, kind: &Kind, options: &ListOptions) -> Result<Page>;
}

/// What the host offers a plugin that reconciles; one method for each further import of the contract.
#[expect(clippy::missing_errors_doc, reason = "each fails with what the contract's error record says")]
pub trait Host: Reads {
    /// Stores a new object; answers with it as stored.
    fn create(&self, object: &ObjectRef, body: &str, options: &WriteOptions) -> Result<String>;
    /// Stores over an existing object; answers with it as stored.
    fn replace(&self, object: &ObjectRef, body: &str, options: &WriteOptions) -> Result<String>;
    /// Changes part of an object; answers with it as stored.
    fn patch(&self, object: &ObjectRef, patch_type: PatchType, body: &str, options: &WriteOptions) -> Result<String>;
    /// Server-side apply; answers with the object as stored.
    fn apply(&self, object: &ObjectRef, body: &str, force: bool, options: &WriteOptions) -> Result<String>;
    /// Deletes; answers with the object as it was, or a Status.
    fn delete(&self, object: &ObjectRef, options: &DeleteOptions) -> Result<String>;
    /// Records an Event on the object.
    fn record_event(&self, object: &ObjectRef, event_type: EventType, reason: &str, message: &str) -> Result<()>;
    /// The fencing token.
    fn term(&self) -> u64;
    /// Whether leadership ends.
    fn cancelled(&self) -> bool;
    /// Sleeps; true at once when cancelled.
    fn wait(&self, limit: Duration) -> bool;
}
