//! Kubernetes for plugins: discovery, the shared object cache, the barrier at the start of a term, the write gate.
//!
//! Owns every request a plugin's work causes, and the only way out for its writes: a [`TermWriter`], which lets no byte leave
//! once the term's authority has ended. Decides nothing about who leads (room `election`) or what a plugin may do (room
//! `capability`), and knows no guest.

mod account;
mod barrier;
mod cluster;
mod discovery;
mod error;
#[cfg(feature = "failpoints")]
mod failpoints;
mod gate;
mod hub;
mod object;
mod reader;
mod resource;
mod selector;

pub use account::{Impersonated, InvalidAccount, Review, Reviewed};
pub use barrier::{BarrierOutcome, BarrierReport, WatchBarrier};
pub use cluster::Cluster;
pub use error::{ApiError, ApiStatus, ClusterError, ResolveError};
pub use gate::{
    ContentType, PatchKind, Settled, TermWriter, Write, WriteError, WriteVerb, WriterSettings, WriterStats, Written,
};
pub use hub::{Change, Hub, Subscription, WatchState};
pub use object::{Labels, MalformedObject, Object, OwnerReference};
pub use reader::{GetQuery, ListQuery, LivePage};
pub use resource::{InvalidPath, Resource, ResourceKey, WatchKey};
pub use selector::{FieldSelector, InvalidSelector, Selector};
