//! The Deployment as it is shipped, on a Kubernetes of real nodes: a real kubelet starts its Pods from a real image, under
//! exactly the RBAC in `deploy/`, and things are done to it. The audit log is the judge: no write by anybody who does not lead
//! but counted residue, never two authorities, every object converged in the end.
//!
//! All of it needs the cluster that `cargo xtask cluster test` starts, and runs on it one after the other.

mod anywhere;
mod at_default;
mod at_fast;
mod beside_client_go;
mod cluster;
mod container;
mod drill;
mod gates;
mod readme;
mod release;
mod resources;
mod side_by_side;
mod used_rights;
