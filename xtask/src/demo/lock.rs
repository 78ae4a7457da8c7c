//! The Lease as anybody can read it: who holds it, in which term.

use serde_json::Value;

use super::api::{Objects, version};

/// Where every Lease of a cluster is listed.
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/leases";

const TERM: &str = "/metadata/annotations/tenure.dev~1term";

/// What the Lease says while somebody leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// `spec.holderIdentity`.
    pub(crate) identity: String,
    /// The number in `tenure.dev/term`.
    pub(crate) term: u64,
    /// The Lease's version as first seen in this term: later writes have larger ones.
    pub(crate) version: u64,
}

/// Who holds the lock, if anybody does.
pub(crate) fn holder(leases: &Objects<'_>) -> Option<Holder> {
    let lease = ours(leases)?;
    let identity = lease.pointer("/spec/holderIdentity").and_then(Value::as_str).filter(|it| !it.is_empty())?;
    let term = lease.pointer(TERM).and_then(Value::as_str)?;
    let term = term.split('/').next()?.parse().ok()?;
    Some(Holder { identity: identity.to_owned(), term, version: version(lease) })
}

/// Whether the lock stands free, released by its last holder.
pub(crate) fn is_released(leases: &Objects<'_>) -> bool {
    ours(leases).is_some_and(|lease| {
        lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default().is_empty()
            && lease.pointer("/metadata/annotations/tenure.dev~1released").is_some()
    })
}

/// The one Lease that carries a term; a candidate's own Lease does not.
fn ours<'a>(leases: &Objects<'a>) -> Option<&'a Value> {
    leases.all().find(|lease| lease.pointer(TERM).is_some())
}
