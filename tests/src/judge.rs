//! The order of writes and takeovers, judged by resourceVersion and never by time: lock and objects share one counter.
//!
//! Restoring etcd sets that counter back. Each restore begins an *epoch*; a version is ordered by its epoch first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, WatchEvent, WatchParams};
use tenure_control_plane::{AuditEvent, AuditLog};
use tenure_local_cluster::LocalCluster;
use tokio::task::JoinSet;

use crate::ACCOUNT;
use crate::lock_log::{LockLog, Restores};
use crate::server::Server;

/// Before a watch that ended is begun again.
const RESUME_AFTER: Duration = Duration::from_millis(100);

/// A `metadata.resourceVersion`, in the order of commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// How often etcd was restored before.
    pub epoch: usize,
    /// What the API says.
    pub number: u64,
}

/// One state the Lease was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseState {
    /// `metadata.resourceVersion`.
    pub version: Version,
    /// `spec.holderIdentity`; empty when nobody holds it, or when it was deleted.
    pub holder: String,
    /// The number in `tenure.dev/term`.
    pub term: Option<u64>,
    /// `spec.renewTime`: when its writer sent it, by the wall clock as that one reads it.
    pub renewed_at: Option<Timestamp>,
    /// The event was a deletion.
    pub deleted: bool,
}

/// A plugin's write that was committed after a later term had begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateWrite {
    /// What the audit log calls it; empty in memory.
    pub id: String,
    /// The term that wrote.
    pub term: u64,
    /// What it committed as.
    pub version: Version,
    /// The acquiring write of the later term.
    pub taken_over_at: Version,
    /// What was written.
    pub object: String,
}

/// Follows the Lease from its first state on.
pub struct Judge {
    source: Source,
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

/// Who knows of every write.
enum Source {
    Memory(LocalCluster),
    /// The audit log, and the lock's namespace and name in it.
    Real {
        audit: AuditLog,
        namespace: String,
        name: String,
    },
    /// A watch of what a probe writes; the audit log is not at hand.
    Watched,
}

/// What watches have shown.
#[derive(Default)]
struct Seen {
    lease: BTreeMap<Version, LeaseState>,
    /// Uid of a deleted object -> the version of its deletion, which the audit log does not have.
    deletions: BTreeMap<String, Version>,
    /// What a probe has stamped, where there is no audit log: in the order of watch events.
    stamps: Vec<Stamp>,
    restores: Restores,
}

/// An object as a probe left it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    object: String,
    term: u64,
    number: String,
    version: Version,
}

/// A plugin's committed write.
struct Written {
    term: u64,
    version: Version,
    object: String,
    id: String,
}

impl Judge {
    /// Follows a Lease that does not exist yet.
    pub(crate) async fn new(server: &Server, client: &kube::Client, namespace: &str, name: &str) -> Self {
        match server {
            Server::Memory { cluster, .. } => {
                let (seen, mut tasks) = (Arc::default(), JoinSet::new());
                follow_lease(&mut tasks, client, namespace, name, &seen).await;
                Self { source: Source::Memory(cluster.clone()), seen, _tasks: tasks }
            }
            Server::Real(api) => Self::by_audit(api.audit_log(), client, namespace, name).await,
        }
    }

    /// Follows a Lease of a real API server, whose audit log says the rest, also of the time before.
    pub async fn by_audit(audit: AuditLog, client: &kube::Client, namespace: &str, name: &str) -> Self {
        let (seen, mut tasks): (Arc<Mutex<Seen>>, _) = (Arc::default(), JoinSet::new());
        follow_lease(&mut tasks, client, namespace, name, &seen).await;
        let noted = Arc::clone(&seen);
        let config_maps: Api<ConfigMap> = Api::all(client.clone());
        let epochs = Arc::clone(&seen);
        follow(&mut tasks, config_maps, WatchParams::default(), epochs, move |object: &ConfigMap, epoch, deleted| {
            if let (true, Some(uid)) = (deleted, object.uid()) {
                let version = version_of(object, epoch);
                noted.lock().unwrap_or_else(PoisonError::into_inner).deletions.insert(uid, version);
            }
        })
        .await;
        Self {
            source: Source::Real { audit, namespace: namespace.to_owned(), name: name.to_owned() },
            seen,
            _tasks: tasks,
        }
    }

    /// Follows a Lease of an API server whose audit log is not at hand, and the ConfigMaps of the namespace `work`, in which a probe
    /// says which term wrote.
    pub async fn by_watch(client: &kube::Client, namespace: &str, name: &str, work: &str) -> Self {
        let (seen, mut tasks): (Arc<Mutex<Seen>>, _) = (Arc::default(), JoinSet::new());
        follow_lease(&mut tasks, client, namespace, name, &seen).await;
        let noted = Arc::clone(&seen);
        let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), work);
        let epochs = Arc::clone(&seen);
        follow(&mut tasks, config_maps, WatchParams::default(), epochs, move |object: &ConfigMap, epoch, _| {
            if let Some(stamp) = stamp(object, epoch) {
                let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
                let last = seen.stamps.iter().rfind(|last| last.object == stamp.object);
                // Others write to the object, too.
                if last.is_none_or(|last| (last.term, &last.number) != (stamp.term, &stamp.number)) {
                    seen.stamps.push(stamp);
                }
            }
        })
        .await;
        Self { source: Source::Watched, seen, _tasks: tasks }
    }

    /// etcd is being restored: call it while the API server is stopped. What follows is of a new epoch.
    pub fn begin_epoch(&self) {
        let Source::Real { audit, .. } = &self.source else { panic!("there is no etcd here to restore") };
        let requests = audit.events().len();
        self.seen().restores.begin_epoch(requests);
    }

    /// Every state so far, in the order of commits.
    pub fn history(&self) -> Vec<LeaseState> {
        let mut states = self.seen().lease.clone();
        // A watch that was cut off while the API was away may have missed one; the audit log has not.
        if let Source::Real { namespace, name, .. } = &self.source {
            let leases = self.audit().into_iter().filter(|(_, event)| {
                event.resource == "leases"
                    && &event.namespace == namespace
                    && &event.name == name
                    && !event.is_dry_run()
            });
            for (epoch, event) in leases.filter(|(_, event)| event.verb != "delete" && event.version().is_some()) {
                let lease =
                    event.response.clone().and_then(|lease| serde_json::from_value(lease).ok()).expect("a Lease");
                let state = state(&lease, epoch, false);
                states.entry(state.version).or_insert(state);
            }
        }
        // What a restore brought back was not written again.
        let restored = |state: &LeaseState| {
            (0..state.version.epoch).any(|epoch| {
                let before = Version { epoch, ..state.version };
                states
                    .get(&before)
                    .is_some_and(|known| LeaseState { version: state.version, ..known.clone() } == *state)
            })
        };
        states.values().filter(|state| !restored(state)).cloned().collect()
    }

    /// The audit log, each request with the epoch it was answered in. Empty where there is none.
    pub fn audit(&self) -> Vec<(usize, Arc<AuditEvent>)> {
        match &self.source {
            Source::Memory(_) | Source::Watched => Vec::new(),
            Source::Real { .. } => self.lock_log().events(),
        }
    }

    /// The audit log, read for this lock.
    ///
    /// # Panics
    /// Where there is none.
    pub fn lock_log(&self) -> LockLog {
        let Source::Real { audit, namespace, name } = &self.source else { panic!("there is no audit log") };
        LockLog::new(audit.clone(), namespace, name).across(self.seen().restores.clone())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Terms in the order of their acquiring writes: term, holder, version.
    pub fn terms(&self) -> Vec<(u64, String, Version)> {
        let mut terms: Vec<(u64, String, Version)> = Vec::new();
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

    /// Plugins' committed writes, each with the term that made it, as (term, version, object).
    pub fn writes(&self) -> Vec<(u64, Version, String)> {
        self.written().into_iter().map(|write| (write.term, write.version, write.object)).collect()
    }

    fn written(&self) -> Vec<Written> {
        let term_of = |agent: &str| agent.split_once("term/")?.1.parse::<u64>().ok();
        match &self.source {
            Source::Memory(cluster) => {
                let entries = cluster.audit().into_iter();
                let committed = entries.filter_map(|entry| {
                    let object = format!("{}/{}", entry.resource, entry.name.unwrap_or_default());
                    let version = Version { epoch: 0, number: entry.version? };
                    Some(Written { term: term_of(&entry.user_agent)?, version, object, id: String::new() })
                });
                committed.collect()
            }
            Source::Watched => {
                let stamps = self.seen().stamps.clone().into_iter();
                let written = stamps.map(|Stamp { object, term, version, .. }| Written {
                    term,
                    version,
                    object: format!("configmaps/{object}"),
                    id: String::new(),
                });
                written.collect()
            }
            Source::Real { namespace, .. } => {
                let account = format!("system:serviceaccount:{namespace}:{ACCOUNT}");
                let events = self.audit().into_iter();
                let events = events.filter(|(_, event)| event.user == account && !event.is_dry_run());
                let committed = events.filter_map(|(epoch, event)| {
                    let object = format!("{}/{}", event.resource, event.name);
                    let (term, version) = (term_of(&event.user_agent)?, self.version(epoch, &event)?);
                    Some(Written { term, version, object, id: event.id.clone() })
                });
                committed.collect()
            }
        }
    }

    fn version(&self, epoch: usize, event: &AuditEvent) -> Option<Version> {
        if event.verb != "delete" || !(200..300).contains(&event.code) {
            return event.version().map(|number| Version { epoch, number });
        }
        let answer = event.response.as_ref()?;
        let uid = answer.pointer("/details/uid").or_else(|| answer.pointer("/metadata/uid"))?.as_str()?;
        self.seen().deletions.get(uid).copied()
    }

    /// Writes of a term that were committed after a later one had acquired the lock.
    pub fn late_writes(&self) -> Vec<LateWrite> {
        let terms = self.terms();
        let writes = self.written().into_iter();
        writes
            .filter_map(|Written { term, version, object, id }| {
                let later = terms.iter().find(|(other, _, acquired)| *other > term && *acquired < version)?;
                Some(LateWrite { id, term, version, taken_over_at: later.2, object })
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

async fn follow_lease(
    tasks: &mut JoinSet<()>,
    client: &kube::Client,
    namespace: &str,
    name: &str,
    seen: &Arc<Mutex<Seen>>,
) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let parameters = WatchParams::default().fields(&format!("metadata.name={name}"));
    let noted = Arc::clone(seen);
    follow(tasks, leases, parameters, Arc::clone(seen), move |lease: &Lease, epoch, deleted| {
        let state = state(lease, epoch, deleted);
        noted.lock().unwrap_or_else(PoisonError::into_inner).lease.insert(state.version, state);
    })
    .await;
}

/// Watches until the judge is dropped. A watch that ends is resumed where it ended, also when the API was away meanwhile.
async fn follow<K>(
    tasks: &mut JoinSet<()>,
    api: Api<K>,
    parameters: WatchParams,
    epochs: Arc<Mutex<Seen>>,
    mut note: impl FnMut(&K, usize, bool) + Send + 'static,
) where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let epoch_now = move || epochs.lock().unwrap_or_else(PoisonError::into_inner).restores.count();
    let (mut version, mut epoch) = ("0".to_owned(), epoch_now());
    let mut events = Some(api.watch(&parameters, &version).await.expect("it can be watched").boxed());
    tasks.spawn(async move {
        loop {
            let Some(event) = next(&mut events).await else {
                tokio::time::sleep(RESUME_AFTER).await;
                if epoch != epoch_now() {
                    // No version of before says anything here.
                    (version, epoch) = ("0".to_owned(), epoch_now());
                }
                // What one connection brings is of one epoch: no API server lives through a restore.
                let opened = api.watch(&parameters, &version).await.ok().filter(|_| epoch == epoch_now());
                events = opened.map(futures::StreamExt::boxed);
                continue;
            };
            let (object, deleted) = match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => (object, false),
                Ok(WatchEvent::Deleted(object)) => (object, true),
                // Too old a version to resume from: what was missed is in the audit log.
                Ok(WatchEvent::Error(_)) => {
                    (version, events) = ("0".to_owned(), None);
                    continue;
                }
                Ok(WatchEvent::Bookmark(_)) => continue,
                Err(_) => {
                    events = None;
                    continue;
                }
            };
            version = object.resource_version().unwrap_or(version);
            note(&object, epoch, deleted);
        }
    });
}

type Events<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

async fn next<K>(events: &mut Option<Events<K>>) -> Option<kube::Result<WatchEvent<K>>> {
    match events {
        Some(events) => events.next().await,
        None => None,
    }
}

fn version_of(object: &impl ResourceExt, epoch: usize) -> Version {
    let number = object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0);
    Version { epoch, number }
}

fn stamp(object: &ConfigMap, epoch: usize) -> Option<Stamp> {
    let annotations = object.annotations();
    Some(Stamp {
        object: object.name_any(),
        term: annotations.get("probe/term")?.parse().ok()?,
        number: annotations.get("probe/number").cloned().unwrap_or_default(),
        version: version_of(object, epoch),
    })
}

fn state(lease: &Lease, epoch: usize, deleted: bool) -> LeaseState {
    let term = lease.metadata.annotations.as_ref().and_then(|all| all.get("tenure.dev/term"));
    let spec = lease.spec.as_ref();
    LeaseState {
        version: version_of(lease, epoch),
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        term: term.and_then(|term| term.split('/').next()?.parse().ok()),
        renewed_at: spec.and_then(|spec| Some(spec.renew_time.as_ref()?.0)),
        deleted,
    }
}
