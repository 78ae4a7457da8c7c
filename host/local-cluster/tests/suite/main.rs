//! The cluster from outside: through the tower service, through kube-rs over HTTP, and through kubectl.

mod apply;
mod clients;
mod delete;
mod discovery;
mod faults;
mod kubectl;
mod list;
mod persistence;
mod rig;
mod selection;
mod watch;
mod write;
