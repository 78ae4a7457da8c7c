//! What the audit log and the replicas' own logs prove. Panics with the evidence; decides nothing about what is promised to
//! whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tenure_control_plane::AuditEvent;
use tenure_tests::{LEASE as NAME, Replica, Version, World};

/// The user agent of our candidates' requests for the lock.
const OURS: &str = "tenure-election/";
/// Of client-go's requests, for the lock and for its workload.
const CLIENT_GO: &str = "client-go-candidate/";
/// What clocks may err by between the boot clock a candidate waits on and the API server's wall clock.
const CLOCK_ERROR: f64 = 0.01;

/// A stored write to the Lease.
#[derive(Debug)]
pub(crate) struct LockWrite {
    pub(crate) version: Version,
    /// Empty: nobody.
    pub(crate) holder: String,
    pub(crate) user_agent: String,
    pub(crate) received_at: Timestamp,
    duration: Duration,
    /// An orderly release of one of ours.
    is_marked_release: bool,
}

impl LockWrite {
    fn of(epoch: usize, event: &AuditEvent) -> Option<Self> {
        let lease = event.response.as_ref()?;
        let text = |pointer: &str| lease.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let seconds = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64).unwrap_or_default();
        let (term, released) =
            (text("/metadata/annotations/tenure.dev~1term"), text("/metadata/annotations/tenure.dev~1released"));
        Some(Self {
            version: Version { epoch, number: event.version()? },
            holder: text("/spec/holderIdentity"),
            user_agent: event.user_agent.clone(),
            received_at: event.received_at.parse().expect("a time in the audit log"),
            duration: Duration::from_secs(seconds),
            is_marked_release: !term.is_empty() && term == released,
        })
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.user_agent.starts_with(OURS)
    }

    pub(crate) fn is_of_client_go(&self) -> bool {
        self.user_agent.starts_with(CLIENT_GO)
    }
}

/// Every stored write to the world's Lease, in the order of versions.
pub(crate) fn lock_writes(world: &World) -> Vec<LockWrite> {
    let events = world.judge.audit().into_iter().filter(|(_, event)| {
        event.resource == "leases" && event.namespace == world.names.system && event.name == NAME && !event.is_dry_run()
    });
    let mut writes: Vec<_> = events.filter_map(|(epoch, event)| LockWrite::of(epoch, &event)).collect();
    writes.sort_by_key(|write| write.version);
    writes
}

/// Panics when one of ours took the lock from another holder before its record had stood unchanged for the lease duration, and
/// without a release by that very holder.
pub(crate) fn assert_nobody_came_early(world: &World, lease: Duration) {
    let writes = lock_writes(world);
    let mut holding: Option<&LockWrite> = None;
    for pair in writes.windows(2) {
        let [before, taken] = pair else { unreachable!("windows of two") };
        if !before.holder.is_empty() {
            holding = Some(before);
        }
        if taken.holder.is_empty() || taken.holder == before.holder || !taken.is_ours() {
            continue;
        }
        let let_go_by_client_go = before.is_of_client_go() && holding.is_some_and(LockWrite::is_of_client_go);
        if before.holder.is_empty() && (before.is_marked_release || let_go_by_client_go) {
            continue;
        }
        // Received before the record could be seen, and received after it was taken: the wait lies within. A record that a
        // restore brought back was not seen before.
        let restored =
            world.judge.epoch_began(taken.version.epoch).filter(|_| before.version.epoch < taken.version.epoch);
        let seen_from = restored.map_or(before.received_at, |restored| before.received_at.max(restored));
        let between = taken.received_at.duration_since(seen_from).unsigned_abs();
        // A duration in a record nobody holds says nothing.
        let wait = if before.holder.is_empty() { lease } else { lease.max(before.duration) };
        assert!(between >= wait.mul_f64(1.0 - CLOCK_ERROR), "{taken:?} came {between:?} after {before:?}");
    }
}

/// Panics when two Pods wrote in one term.
pub(crate) fn assert_one_writer_a_term(world: &World) {
    let mut writers: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for (term, _, event) in plugin_writes(world) {
        writers.entry(term).or_default().insert(event.pod.clone().unwrap_or_default());
    }
    for (term, pods) in writers {
        assert_eq!(pods.len(), 1, "in term {term} wrote {pods:?}");
    }
}

/// Plugins' committed writes: term, version, request.
fn plugin_writes(world: &World) -> Vec<(u64, Version, Arc<AuditEvent>)> {
    let account = world.account();
    let events = world.judge.audit().into_iter().filter(|(_, event)| event.user == account);
    let writes = events.filter_map(|(epoch, event)| {
        let term = event.user_agent.split_once("term/")?.1.parse().ok()?;
        Some((term, Version { epoch, number: event.version()? }, event))
    });
    writes.collect()
}

/// Requests of a term that came to the API server from an instant on, whatever became of them: the machine has one wall clock.
pub(crate) fn arrivals_since(world: &World, term: u64, since: Timestamp) -> usize {
    let (account, agent) = (world.account(), format!("term/{term}"));
    let events = world.judge.audit().into_iter();
    let events = events.filter(|(_, event)| event.user == account && event.user_agent.ends_with(&agent));
    events.filter(|(_, event)| event.received_at.parse::<Timestamp>().is_ok_and(|at| at >= since)).count()
}

/// What a term committed after a version: the ids of its writes.
pub(crate) fn writes_after(world: &World, term: u64, version: Version) -> Vec<String> {
    let writes = plugin_writes(world).into_iter().filter(|(of, stored, _)| *of == term && *stored > version);
    writes.map(|(.., event)| event.id.clone()).collect()
}

/// How many writes of client-go's workload were committed after a version.
pub(crate) fn client_go_writes(world: &World, after: Version) -> usize {
    let events = world.judge.audit().into_iter().filter(|(epoch, event)| {
        event.resource == "configmaps"
            && event.namespace == world.names.work
            && event.user_agent.starts_with(CLIENT_GO)
            && event.version().is_some_and(|number| Version { epoch: *epoch, number } > after)
    });
    events.count()
}

/// Panics when a write that came late is none that the replica's gate let out while the term lasted: then it is no residue. Returns
/// how many came late.
pub(crate) fn assert_residue(late: &[String], replica: &Replica, term: u64) -> usize {
    let sent = replica.writes_of_the_ended(term);
    for id in late {
        let known = sent.iter().any(|write| &write.id == id && write.passed_at.is_some());
        assert!(known, "{} says nothing of sending {id}: {sent:?}", replica.name);
    }
    late.len()
}

/// Says a figure that is measured and not promised.
#[expect(clippy::print_stderr, reason = "figures are for whoever reads the test's output")]
pub(crate) fn figure(what: &str, count: usize) {
    eprintln!("FIGURE {what}: {count}");
}

/// All that holds of any world of ours, whatever was done to it.
pub(crate) async fn assert_clean(world: &World) {
    world.judged().await.assert_clean();
    assert_one_writer_a_term(world);
    assert_nobody_came_early(world, super::LEASE);
}
