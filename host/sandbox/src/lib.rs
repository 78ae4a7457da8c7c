//! WebAssembly components under limits: load, instantiate, call, kill.
//!
//! Owns the engine, the code cache and the instances of plugins, and every budget that can be kept without knowing
//! Kubernetes: memory, tables, wall time, shares of the processor, bytes of host calls, log lines. Asks everything else of a
//! [`Host`], the port that the binary implements. Never sees kube, an election or a queue.
//!
//! ```text
//! Sandbox::load(wasm) -> Loaded -> instantiate(host, limits, kill) -> Instance::reconcile(request, timeout) -> Outcome
//! ```
//!
//! A guest that computes yields to the other tasks of its worker thread every 10 ms, is cut off when its time is up, and is
//! gone at the next tick after [`KillSwitch::kill`], or at once with [`Sandbox::kill_epoch`].

mod bindings;
mod budget;
mod code_cache;
mod common;
mod compiler;
pub mod contract;
mod diagnosis;
mod errors;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod guest;
mod imports;
mod instance;
mod kill;
mod limits;
mod loaded;
mod log_budget;
mod port;
mod processor;
mod sandbox;
mod ticker;
mod wasi;
mod weigh;
mod words;
mod wrap;

pub use common::Limit;
pub use compiler::{Compiler, compile};
pub use contract::{
    Candidate, Cause, DeleteOptions, Error, EventType, GetOptions, Kind, Level, ListOptions, LockRecord, ObjectRef,
    Observation, Outcome, Page, PatchType, Propagation, Request, Verdict, WriteOptions,
};
pub use errors::{CallError, InstantiateError, LoadError, SandboxError};
pub use imports::Imports;
pub use instance::Instance;
pub use kill::KillSwitch;
pub use limits::{InstanceLimits, SandboxSettings};
pub use loaded::{Loaded, World};
pub use port::Host;
pub use sandbox::Sandbox;
