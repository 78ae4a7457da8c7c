//! The election's driver against a Kubernetes API in memory, over HTTP: what one candidate does, what two do to each other,
//! and what faults do to them.

mod example;
mod faults;
mod handover;
mod locks;
mod loss;
mod world;
