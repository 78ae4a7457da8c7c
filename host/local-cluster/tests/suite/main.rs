//! The cluster from outside: through the tower service, through kube-rs over HTTP, and through kubectl.
#![expect(clippy::unwrap_used, reason = "all of this is test code, also where it stands outside a test function")]
#![expect(clippy::needless_pass_by_value, reason = "`json!` at the call is what makes tests readable")]

mod apply;
mod clients;
mod crds;
mod delete;
mod discovery;
mod faults;
mod kinds;
mod kubectl;
mod list;
mod persistence;
mod rig;
mod scale;
mod selection;
mod watch;
mod write;
