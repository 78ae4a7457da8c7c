//! What the audit log says of one lock and of the account that campaigns for it. Panics with the evidence; decides nothing about
//! what is promised to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use tenure_control_plane::{AuditEvent, AuditLog};

use crate::{ACCOUNT, Version};

/// The user agent of our candidates' requests for the lock.
const OURS: &str = "tenure-election/";
/// Of client-go's requests, for the lock and for its workload.
const CLIENT_GO: &str = "client-go-candidate/";
/// What clocks may err by between the boot clock a candidate waits on and the API server's wall clock.
const CLOCK_ERROR: f64 = 0.01;

/// A stored write to the Lease.
#[derive(Debug, Clone)]
pub struct LockWrite {
    /// What it was stored as.
    pub version: Version,
    /// Empty: nobody.
    pub holder: String,
    /// Who sent it.
    pub user_agent: String,
    /// When it came to the API server.
    pub received_at: Timestamp,
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

    /// By a candidate of ours.
    pub fn is_ours(&self) -> bool {
        self.user_agent.starts_with(OURS)
    }

    /// By one of client-go.
    pub fn is_of_client_go(&self) -> bool {
        self.user_agent.starts_with(CLIENT_GO)
    }
}

/// The restores of etcd that an audit log spans; each begins an epoch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Restores {
    /// When it began, and how many requests the log had by then.
    begun: Vec<(Timestamp, usize)>,
}

impl Restores {
    /// etcd is being restored; the log has so many requests.
    pub(crate) fn begin_epoch(&mut self, requests: usize) {
        self.begun.push((Timestamp::now(), requests));
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.begun.len()
    }

    /// The epoch of a request, by its place in the log.
    fn epoch_of(&self, index: usize) -> usize {
        self.begun.partition_point(|(_, before)| *before <= index)
    }

    /// When an epoch began, the first one aside.
    fn began(&self, epoch: usize) -> Option<Timestamp> {
        Some(self.begun.get(epoch.checked_sub(1)?)?.0)
    }
}

/// The audit log of an API server, read for one lock.
#[derive(Debug, Clone)]
pub struct LockLog {
    audit: AuditLog,
    namespace: String,
    name: String,
    restores: Restores,
}

impl LockLog {
    /// Of the Lease of this name and namespace, whose candidates have the usual account there.
    #[must_use]
    pub fn new(audit: AuditLog, namespace: &str, name: &str) -> Self {
        Self { audit, namespace: namespace.to_owned(), name: name.to_owned(), restores: Restores::default() }
    }

    /// With these restores of etcd in it.
    #[must_use]
    pub(crate) fn across(self, restores: Restores) -> Self {
        Self { restores, ..self }
    }

    /// Each request with the epoch it was answered in.
    #[must_use]
    pub fn events(&self) -> Vec<(usize, Arc<AuditEvent>)> {
        let events = self.audit.events().into_iter().enumerate();
        events.map(|(index, event)| (self.restores.epoch_of(index), event)).collect()
    }

    /// Every stored write to the Lease, in the order of versions.
    #[must_use]
    pub fn writes(&self) -> Vec<LockWrite> {
        let events = self.events().into_iter().filter(|(_, event)| {
            event.resource == "leases"
                && event.namespace == self.namespace
                && event.name == self.name
                && !event.is_dry_run()
        });
        let mut writes: Vec<_> = events.filter_map(|(epoch, event)| LockWrite::of(epoch, &event)).collect();
        writes.sort_by_key(|write| write.version);
        writes
    }

    /// Panics when one of ours took the lock from another holder before its record had stood unchanged for the lease duration,
    /// and without a release by that very holder.
    pub fn assert_nobody_came_early(&self, lease: Duration) {
        let early = self.early(lease);
        assert!(early.is_empty(), "somebody came early: {early:#?}");
    }

    /// Who did: the record of before, and the one that took over.
    #[must_use]
    pub fn early(&self, lease: Duration) -> Vec<(LockWrite, LockWrite)> {
        let writes = self.writes();
        let mut holding: Option<&LockWrite> = None;
        let mut early = Vec::new();
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
            // Received before the record could be seen, and received after it was taken: the wait lies within. A record that
            // a restore brought back was not seen before.
            let restored = self.restores.began(taken.version.epoch);
            let restored = restored.filter(|_| before.version.epoch < taken.version.epoch);
            let seen_from = restored.map_or(before.received_at, |restored| before.received_at.max(restored));
            let between = taken.received_at.duration_since(seen_from).unsigned_abs();
            // A duration in a record nobody holds says nothing.
            let wait = if before.holder.is_empty() { lease } else { lease.max(before.duration) };
            if between < wait.mul_f64(1.0 - CLOCK_ERROR) {
                early.push((before.clone(), taken.clone()));
            }
        }
        early
    }

    /// Plugins' committed writes: term, version, request.
    #[must_use]
    pub fn plugin_writes(&self) -> Vec<(u64, Version, Arc<AuditEvent>)> {
        let account = format!("system:serviceaccount:{}:{ACCOUNT}", self.namespace);
        let events = self.events().into_iter().filter(|(_, event)| event.user == account);
        let writes = events.filter_map(|(epoch, event)| {
            let term = event.user_agent.split_once("term/")?.1.parse().ok()?;
            Some((term, Version { epoch, number: event.version()? }, event))
        });
        writes.collect()
    }

    /// Panics when two Pods wrote in one term.
    pub fn assert_one_writer_a_term(&self) {
        let mut writers: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for (term, _, event) in self.plugin_writes() {
            writers.entry(term).or_default().insert(event.pod.clone().unwrap_or_default());
        }
        for (term, pods) in writers {
            assert_eq!(pods.len(), 1, "in term {term} wrote {pods:?}");
        }
    }
}
