//! The order of writes and takeovers, judged by resourceVersion and never by time: lock and objects share one counter.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, WatchEvent, WatchParams};
use tenure_local_cluster::LocalCluster;
use tokio::task::JoinHandle;

/// One state the Lease was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseState {
    /// `metadata.resourceVersion`.
    pub version: u64,
    /// `spec.holderIdentity`; empty when nobody holds it, or when it was deleted.
    pub holder: String,
    /// The number in `tenure.dev/term`.
    pub term: Option<u64>,
    /// The event was a deletion.
    pub deleted: bool,
}

/// A plugin's write that was committed after a later term had begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateWrite {
    /// The term that wrote.
    pub term: u64,
    /// What it committed as.
    pub version: u64,
    /// The acquiring write of the later term.
    pub taken_over_at: u64,
    /// What was written.
    pub object: String,
}

/// Follows the Lease from its first state on.
pub struct Judge {
    cluster: LocalCluster,
    history: Arc<Mutex<Vec<LeaseState>>>,
    task: JoinHandle<()>,
}

impl Judge {
    /// Follows a Lease that does not exist yet.
    pub async fn new(cluster: &LocalCluster, namespace: &str, name: &str) -> Self {
        let client = kube::Client::new(cluster.clone(), "default");
        let leases: Api<Lease> = Api::namespaced(client, namespace);
        let parameters = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(290);
        let events = leases.watch(&parameters, "0").await.expect("the lease can be watched");
        let history: Arc<Mutex<Vec<LeaseState>>> = Arc::default();
        let seen = Arc::clone(&history);
        let task = tokio::spawn(async move {
            let mut events = events.boxed();
            while let Some(event) = events.next().await {
                let (lease, deleted) = match event {
                    Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)) => (lease, false),
                    Ok(WatchEvent::Deleted(lease)) => (lease, true),
                    _ => continue,
                };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(state(&lease, deleted));
            }
        });
        Self { cluster: cluster.clone(), history, task }
    }

    /// Every state so far.
    pub fn history(&self) -> Vec<LeaseState> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Terms in the order of their acquiring writes: term, holder, version.
    pub fn terms(&self) -> Vec<(u64, String, u64)> {
        let mut terms: Vec<(u64, String, u64)> = Vec::new();
        for state in self.history() {
            if let (Some(term), false, false) = (state.term, state.holder.is_empty(), state.deleted)
                && terms.last().is_none_or(|(last, ..)| *last != term)
            {
                terms.push((term, state.holder, state.version));
            }
        }
        terms
    }

    /// Panics when a term is not above the one before it.
    pub fn assert_terms_rise(&self) {
        let terms = self.terms();
        assert!(terms.is_sorted_by(|(before, ..), (after, ..)| before < after), "terms fell: {terms:?}");
    }

    /// Plugins' committed writes, each with the term that made it.
    pub fn writes(&self) -> Vec<(u64, u64, String)> {
        let entries = self.cluster.audit().into_iter();
        entries
            .filter_map(|entry| {
                let term = entry.user_agent.split_once("term/")?.1.parse().ok()?;
                let object = format!("{}/{}", entry.resource, entry.name.unwrap_or_default());
                Some((term, entry.version?, object))
            })
            .collect()
    }

    /// Writes of a term that were committed after a later one had acquired the lock.
    pub fn late_writes(&self) -> Vec<LateWrite> {
        let terms = self.terms();
        let writes = self.writes().into_iter();
        writes
            .filter_map(|(term, version, object)| {
                let later = terms.iter().find(|(other, _, acquired)| *other > term && *acquired < version)?;
                Some(LateWrite { term, version, taken_over_at: later.2, object })
            })
            .collect()
    }

    /// Panics when a plugin's write came after a later term, or terms fell.
    pub fn assert_clean(&self) {
        self.assert_terms_rise();
        let late = self.late_writes();
        assert!(late.is_empty(), "writes of an older term after a takeover: {late:?}; terms: {:?}", self.terms());
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn state(lease: &Lease, deleted: bool) -> LeaseState {
    let term = lease.metadata.annotations.as_ref().and_then(|all| all.get("tenure.dev/term"));
    LeaseState {
        version: lease.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0),
        holder: lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        term: term.and_then(|term| term.split('/').next()?.parse().ok()),
        deleted,
    }
}
