//! Write Tenure plugins in Rust.
//!
//! A plugin is a type that implements [`Reconciler`], handed to [`reconciler!`]. The host calls it for each object it
//! watches, only while this replica leads, with a [`Cluster`] cut down to what the cluster's owner granted.
//!
//! ```
//! use serde::Deserialize;
//! use tenure_plugin::{Cluster, Outcome, PartialObject, Reconciler, Request, Result, info};
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     greeting: String,
//! }
//!
//! struct Greeter {
//!     settings: Settings,
//! }
//!
//! impl Reconciler for Greeter {
//!     type Settings = Settings;
//!
//!     fn new(settings: Settings) -> Result<Self> {
//!         Ok(Self { settings })
//!     }
//!
//!     fn reconcile(&mut self, request: Request, cluster: &Cluster) -> Result<Outcome> {
//!         let Some(object) = request.body::<PartialObject>()? else {
//!             return Ok(Outcome::done()); // gone
//!         };
//!         info!(object = request.object, term = cluster.term(); "{}, {}", self.settings.greeting, object.metadata.name);
//!         Ok(Outcome::done())
//!     }
//! }
//!
//! tenure_plugin::reconciler!(Greeter);
//! ```
//!
//! Built for `wasm32-unknown-unknown` as a `cdylib`, that is a plugin. Built natively it is an ordinary crate, and
//! [`testing::FakeCluster`] stands in for the cluster in its unit tests.

#[doc(hidden)]
pub mod bindings;
mod cluster;
mod error;
#[doc(hidden)]
pub mod guest;
pub mod host;
mod list;
pub mod log;
mod object;
mod options;
mod policy;
mod reconcile;
mod task;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use cluster::{Cluster, Reader};
pub use error::{Error, Reason, Result, StatusCause};
pub use list::Objects;
pub use object::{Kind, Metadata, ObjectRef, PartialObject};
pub use options::{DeleteOptions, EventType, GetOptions, ListOptions, PatchType, Propagation, WriteOptions};
pub use policy::{Candidate, LockPolicy, LockRecord, Observation, Role, Verdict};
pub use reconcile::{Cause, Outcome, Reconciler, Request};
pub use task::Task;

/// Makes the type a plugin: exports what the contract's `reconciler` world asks for. Once in a crate, in guests only; a
/// native build of the crate exports nothing, so that plugins can be linked side by side into one test.
///
/// `reconciler!(Type, reads_only)` leaves the import `kubernetes-write` out: such a plugin provably never writes and may run on
/// every replica (`run-on = "all"` in its manifest). The methods of [`Cluster`] that write then answer [`Reason::Denied`].
#[macro_export]
macro_rules! reconciler {
    ($reconciler:ty) => {
        $crate::reconciler!($reconciler, $crate::guest::Imports);
    };
    ($reconciler:ty, reads_only) => {
        $crate::reconciler!($reconciler, $crate::guest::ReadingImports);
    };
    ($reconciler:ty, $imports:path) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            ::std::thread_local! {
                static PLUGIN: $crate::guest::Slot<$reconciler> = const { $crate::guest::Slot::empty() };
            }

            struct Exported;

            impl $crate::bindings::Guest for Exported {
                fn reconcile(
                    request: $crate::bindings::Request,
                ) -> ::std::result::Result<$crate::bindings::Outcome, $crate::bindings::Error> {
                    PLUGIN.with(|slot| slot.call($imports, request))
                }
            }

    $crate::bindings::export_reconciler!(Exported with_types_in $crate::bindings);
        };
    };
}

/// Makes the type a task: exports what the contract's `task` world asks for. Once in a crate, in guests only.
///
/// `task!(Type, reads_only)` leaves the import `kubernetes-write` out, as with [`reconciler!`].
#[macro_export]
macro_rules! task {
    ($task:ty) => {
        $crate::task!($task, $crate::guest::Imports);
    };
    ($task:ty, reads_only) => {
        $crate::task!($task, $crate::guest::ReadingImports);
    };
    ($task:ty, $imports:path) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Exported;

            impl $crate::bindings::task::Guest for Exported {
                fn run() -> ::std::result::Result<(), $crate::bindings::Error> {
                    $crate::guest::run::<$task>($imports)
                }
            }

    $crate::bindings::task::export_task!(Exported with_types_in $crate::bindings::task);
        };
    };
}

/// Makes the type a lock policy: exports what the contract's `lock-policy` world asks for. Once in a crate, in guests only.
#[macro_export]
macro_rules! lock_policy {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            ::std::thread_local! {
                static POLICY: $crate::guest::PolicySlot<$policy> = const { $crate::guest::PolicySlot::empty() };
            }

            struct Exported;

            impl $crate::bindings::policy::Guest for Exported {
                fn decide(observation: $crate::bindings::policy::Observation) -> $crate::bindings::policy::Verdict {
                    POLICY.with(|slot| slot.ask(observation))
                }
            }

    $crate::bindings::policy::export_lock_policy!(Exported with_types_in $crate::bindings::policy);
        };
    };
}
