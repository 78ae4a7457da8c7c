//! Leader election for programs on kube-rs: runs a [`tenure_election::JointElector`] against real locks, on a thread of its own.
//!
//! Owns the watch on each lock, the clocks and timers, the requests that read and write the locks, the events and log
//! lines that people read, and the abort when a sandbox does not let go. Decides nothing: what to write, when to lead and
//! when to stop come from the elector. Never sees plugins, the sandbox or the object cache; it tells them through
//! [`Leadership`] and the `sever` hook.

mod alone;
mod announce;
mod api;
mod candidacy;
mod clock;
mod config;
mod countdown;
mod driver;
mod events;
#[cfg(feature = "failpoints")]
mod failpoints;
mod leadership;
mod object;
mod pods;
mod start;
mod term;
mod timers;
mod watch;

pub use alone::{AloneConfig, alone};
pub use candidacy::{Candidacy, CandidacyConfig, follow_candidates};
pub use clock::{BootClock, process_clock};
pub use config::{ElectionConfig, Lock, LockKind, OnLoss, PodRef};
pub use leadership::{Leadership, RenewalHealth, RenewalOverdue};
pub use object::{UnreadableLock, read_record};
pub use start::{Election, ElectionFailure, ElectionHandle, StartError, start};
