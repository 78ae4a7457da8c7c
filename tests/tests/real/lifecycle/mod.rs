//! Candidates and people do things to one Lease, on a real API server. Faults of the server and of the network are not here.
//!
//! Judged by what the audit log says was stored, in the order of versions. Where a time is compared, it is one that a slow
//! machine can only move to the safe side: that nobody came early, never that somebody came soon.

mod by_hand;
mod client_go;
mod death;
pub(crate) mod evidence;
mod finalizers;
mod handover;
mod identity;
mod in_flight;
mod moving;
mod people;
mod plugins;
mod policy;
mod reload;
mod requests;
pub(crate) mod rights;
mod stopped_writes;
mod tasks;

use std::time::Duration;

use tenure_tests::{Options, RealApi, World};

/// The lease duration of the profile `fast`, which all but one of these tests run with.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// A world on the shared server with three replicas, one of which leads; `None` where there is no server.
async fn three_replicas() -> Option<World> {
    three_replicas_at("fast").await
}

/// As [`three_replicas`]. At the profile `default` a busy machine ends no term, where the claim is that somebody leads on.
async fn three_replicas_at(profile: &'static str) -> Option<World> {
    let api = RealApi::shared().await?;
    Some(World::on(&api, Options { profile, ..Options::told_by_the_gate() }).await.staffed(3).await)
}
