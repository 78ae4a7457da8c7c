//! The election on simulated machines: real electors, the driver's rules around them, an API server, a network that fails, and
//! oracles that judge.
//!
//! Scenario files run on it (`commands`), and seeded episodes (`episode`). Pure: time is the world's, chance follows from a seed,
//! and every run of the same seed is the same. The host's code for Kubernetes is not here; host/lease has tests of its own.

pub mod api;
pub mod chance;
pub mod client_go;
pub mod commands;
mod driver;
pub mod episode;
mod faults;
pub mod judge;
pub mod kubelet;
pub mod machine;
pub mod moving;
mod notes;
pub mod policy;
pub mod process;
pub mod tally;
pub mod world;

/// The kinds of faults, as a tally names them.
pub fn fault_kinds() -> impl Iterator<Item = &'static str> {
    faults::KINDS.iter().map(|(kind, _)| *kind)
}
