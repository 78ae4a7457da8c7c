//! A real Kubernetes API on loopback: etcd and kube-apiserver, and kube-controller-manager where asked for, as children of this
//! process.
//!
//! RBAC is on, the audit log is on, certificates and signing keys are made for the run, service account tokens are bound ones. The
//! children end with this process, also when it is killed. Each can be stopped, started and paused by itself.
//!
//! Absent: nodes (Pods stay pending), building and fetching the programs, any judgement of what the audit log shows.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tenure_control_plane::{Assets, ControlPlane};
//!
//! let api = ControlPlane::builder(Assets::find()?).start().await?;
//! println!("KUBECONFIG={}", api.kubeconfig().display());
//! # Ok(())
//! # }
//! ```

mod assets;
mod audit;
mod builder;
mod certificates;
mod control_plane;
mod guard;
mod kubeconfig;
mod programs;

pub use assets::{Assets, AssetsError, Program};
pub use audit::{AuditEvent, AuditLog};
pub use builder::Builder;
pub use certificates::CertificateError;
pub use control_plane::{ControlPlane, EtcdCopy, StartError};
