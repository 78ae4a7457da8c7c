//! The write gate: the one way out for what a plugin writes. No authority, no byte.
//!
//! Owns the connections of one term, the tasks that carry its writes, and the look at the clocks before each `write(2)`.
//! Decides nothing about authority, it only reads it: [`tenure_election::LiveTerm`]. Repeats no write.

mod body;
mod connector;
mod lookout;
mod pool;
mod registry;
mod stream;
mod write;
mod writer;

pub use write::{ContentType, PatchKind, Write, WriteError, WriteVerb, Written};
pub use writer::{Settled, TermWriter, WriterSettings, WriterStats};
