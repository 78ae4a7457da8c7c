//! Support for whole-host tests: real processes of `tenure run` on an API server the test holds in its hand.
//! Owns processes and waiting. Judges nothing: each test says what must be true.

mod judge;
mod plugins;
mod replica;
mod wait;
mod world;

pub use judge::{Judge, LateWrite, LeaseState};
pub use plugins::Plugin;
pub use replica::{Replica, program};
pub use wait::{LIMIT, until, until_some};
pub use world::{Options, PLUGIN_NAMESPACE, World, get};
