//! Support for whole-host tests: real processes of `tenure run` on an API server the test holds in its hand.
//! Owns processes, waiting, and the evidence. What must be true is said by tests, and by the scenes they share.

mod client_go;
mod judge;
mod lock_log;
mod network;
mod plugins;
mod real_api;
mod relay;
mod replica;
mod residue;
pub mod scenes;
mod server;
mod signer;
mod wait;
mod webhook;
mod world;

pub use client_go::ClientGo;
pub use judge::{Judge, LateWrite, LeaseState, Version};
pub use lock_log::{LockLog, LockWrite};
pub use network::{Network, NetworkNamespace};
pub use plugins::Plugin;
pub use real_api::RealApi;
pub use relay::{Relay, Weather};
pub use replica::{Replica, program, stopped};
pub use residue::{GATE_LOG, GateWrite};
pub use signer::Signer;
pub use wait::{LIMIT, until, until_some, until_some_within};
pub use webhook::{Admission, Webhook};
pub use world::{ACCOUNT, LEASE, Names, Options, PLUGIN_NAMESPACE, World, get};
