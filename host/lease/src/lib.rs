//! Leader election for programs on kube-rs: runs a [`tenure_election::JointElector`] against real locks, on a thread of its own.
//!
//! [`start`] it with an [`ElectionConfig`], and follow [`Election::watch`]: begin when there is a [`Leadership::live`] term, stop
//! when a term is [`Leadership::unconfirmed`], say [`Election::drained`] when nothing of it runs any more, and look at the term before
//! each write. `examples/leader.rs` is all of that.
//!
//! # What users of client-go look for
//!
//! | client-go | here |
//! |---|---|
//! | `OnStartedLeading(ctx)` | [`Leadership::live`]; its [`LiveTerm`](tenure_election::LiveTerm) is the context, with deadlines |
//! | `OnStoppedLeading` | [`Leadership::unconfirmed`], answered with [`Election::drained`]. client-go releases while work still runs; here the lock is let go afterwards |
//! | `OnNewLeader` | the holder in [`Leadership::observed`] |
//! | `IsLeader` | [`Leadership::is_leader`], for people and metrics. Whoever acts asks the term, which also knows that its time is over |
//! | `Run` returns on loss | it campaigns again, unless [`OnLoss::Exit`] |
//! | `ReleaseOnCancel` | `Settings::release_on_cancel`, on by default |
//! | `LeaseDuration`, `RenewDeadline`, `RetryPeriod` | [`Timing`](tenure_election::Timing), with the same defaults |
//! | `WatchDog`, `HealthzAdaptor` | [`Leadership::lease_health`] |
//! | `configmapsleases` and its like | [`ElectionConfig::also`] |
//! | the same Lease, in a mixed rollout | same fields, events and release; neither takes over early from the other |
//!
//! # What users of kube-rs ask for
//!
//! In kube-rs issue 485 and the pull requests it names:
//!
//! | asked for | here |
//! |---|---|
//! | an election like client-go's | its fields, defaults, events and metrics, and its test list (`host/election/tests/client_go.rs`) without its defects |
//! | outside of kube itself | a crate over kube's client; nothing of kube's runtime is replaced |
//! | a state channel to select on | [`Election::watch`], a `tokio::sync::watch` of values that each say everything |
//! | a task that is spawned, and a handle that stops it | [`start`], [`Election::begin_drain`], [`Election::ended`] |
//! | a loss that cannot be missed | the term is a value that work holds; closed, it stays closed, whoever has read the channel |
//! | a watch on the Lease instead of polling | one watch for each lock, the holder's too; polling where the Role allows no watch |
//! | no trust in other machines' clocks | expiry is counted on one's own boot clock |
//! | no two leaders when one is slow | deadlines that count from before the renewal was sent, and a gate to look at before each write |
//! | something to gate a `Controller` with | run it in the task that a term begins, and end it with the term; a gate around its writes as in the example |
//!
//! # What it is made of
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
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
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
