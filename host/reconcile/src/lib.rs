//! The work queue: keys, de-duplication, backoff, fairness, schedules.
//!
//! Owns when which key is worked on. Pure: time and chance are arguments. Never sees what a key stands for, what the work
//! is, who does it, or whether this replica leads.

mod backoff;
mod cause;
mod cron;
mod queue;
mod schedule;

pub use backoff::Backoff;
pub use cause::Cause;
pub use queue::{Done, Queue, QueueSettings, Ready, Statistics};
pub use schedule::{InvalidSchedule, Schedule};
