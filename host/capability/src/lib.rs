//! What a plugin may do: a request held against a grant.
//!
//! Owns the meaning of grants: which rule covers which request, what no rule can ever cover, what a manifest asks beyond
//! its grant, and which RBAC serves a grant. Pure: never sees a cluster, a plugin, a clock or a file; whoever asks has
//! resolved the kind to its group, resource and scope before.

mod atom;
mod capability;
mod decision;
mod missing;
mod pattern;
#[cfg(any(test, feature = "plain-reading"))]
pub mod plain_reading;
mod protected;
mod request;
mod role;
mod rule;

pub use capability::{Capability, NamespaceFilter};
pub use decision::{Decision, Reason};
pub use missing::missing;
pub use protected::{PLUGIN_CHUNK_LABEL, PLUGIN_LABEL, Protected};
pub use request::{Request, UnknownVerb, Verb};
pub use role::{ClusterRule, ClusterWide, PolicyRule, Roles, smallest_roles};
pub use rule::{InvalidRule, Rule};

#[cfg(test)]
mod examples;
#[cfg(test)]
mod properties;
