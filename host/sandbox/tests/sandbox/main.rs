//! The sandbox from outside: real WebAssembly, a host port that records.

mod call;
mod host;
mod hostile;
mod languages;
mod limits;
mod load;
mod policy;
mod task;
mod wasi;
