//! Candidate Leases: where a lock has a policy, each replica says in a Lease of its own what it is and what it would do, and
//! watches the others'. The elector hears who lives and campaigns; the policy sees all of it. Decides nothing. Never on the
//! election thread: what comes late here delays no renewal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tenure_election::{Clock, PEER_SILENT_AFTER, PEERS_MAX, PeerSeen};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::chain;
use crate::{ElectionHandle, Lock, PodRef};

/// What candidate Leases are found by.
const LABEL: &str = "tenure.dev/candidate";
/// Where a candidacy stands, as JSON.
const ANNOTATION: &str = "tenure.dev/candidate";
/// As often at least a candidate Lease is written.
const WRITTEN_EVERY: Duration = Duration::from_secs(30);
/// From one write to the next at least: a policy may change its mind at each call.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// After a write that failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// One request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Characters of the lock's name that stand in the name of a candidate Lease.
const LOCK_NAME_CHARS_MAX: usize = 40;
/// The longest name of an object.
const NAME_BYTES_MAX: usize = 253;

/// What a candidate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidacy {
    /// The lock: `<namespace>/<name>`.
    pub lock: String,
    /// Its Pod's name, or its host's.
    pub name: String,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The version of its program.
    pub version: String,
    /// The load of its machine, in percent of its processors.
    pub load: u32,
    /// Its last verdict: `campaign`, `wait`, `keep` or `yield`; `gone` when it has ended.
    pub verdict: String,
}

impl Candidacy {
    /// Whether it would take the lock.
    #[must_use]
    pub fn campaigns(&self) -> bool {
        self.verdict == "campaign"
    }
}

/// What candidate Leases are written and watched with.
#[derive(Clone)]
pub struct CandidacyConfig {
    /// How to reach the API server.
    pub kube: kube::Config,
    /// The lock.
    pub lock: Lock,
    /// The Pod this process runs in, if it is one of the lock's namespace: it owns its candidate Lease.
    pub owner: Option<PodRef>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// A peer, as last seen.
struct Peer {
    candidacy: Candidacy,
    version: u64,
    /// The boot reading when it was first seen to say this.
    seen: Duration,
}

struct Candidates {
    api: Api<Lease>,
    lock: Lock,
    owner: Option<PodRef>,
    clock: Arc<dyn Clock>,
    election: ElectionHandle,
    own: watch::Receiver<Candidacy>,
    peers: watch::Sender<Vec<Candidacy>>,
    known: BTreeMap<String, Peer>,
    stored: Option<Lease>,
    failing: bool,
}

/// Keeps `own` in a Lease, on change and every 30 s, and `peers` as the others' Leases say; tells `election` of them. Runs until
/// `own` is gone.
///
/// # Errors
/// When no client can be made of the configuration.
pub async fn follow_candidates(
    config: CandidacyConfig,
    election: ElectionHandle,
    own: watch::Receiver<Candidacy>,
    peers: watch::Sender<Vec<Candidacy>>,
) -> Result<(), kube::Error> {
    let CandidacyConfig { kube, lock, owner, clock } = config;
    let api = Api::namespaced(tenure_api_client::client(kube)?, &lock.namespace);
    let known = BTreeMap::new();
    let candidates = Candidates { api, lock, owner, clock, election, own, peers, known, stored: None, failing: false };
    candidates.run().await;
    Ok(())
}

impl Candidates {
    async fn run(mut self) {
        let selected = watcher::Config::default().labels(&format!("{LABEL}=true"));
        let mut events = watcher::watcher(self.api.clone(), selected).default_backoff().boxed();
        let mut listed: Option<Vec<String>> = None;
        let mut written_at = Instant::now();
        let mut write_at = written_at;
        loop {
            tokio::select! {
                changed = self.own.changed() => {
                    if changed.is_err() {
                        self.leave().await;
                        return;
                    }
                    write_at = written_at + PAUSE_MIN;
                }
                () = tokio::time::sleep_until(write_at) => {
                    let again_in = self.write().await;
                    written_at = Instant::now();
                    write_at = written_at + again_in;
                }
                Some(event) = events.next() => match event {
                    Ok(event) => self.take(event, &mut listed),
                    // The watcher waits and lists anew by itself.
                    Err(error) => tracing::debug!(error = chain(&error), "candidate Leases cannot be watched"),
                },
            }
            self.publish();
        }
    }

    fn take(&mut self, event: Event<Lease>, listed: &mut Option<Vec<String>>) {
        match event {
            Event::Init => *listed = Some(Vec::new()),
            Event::InitApply(lease) => {
                if let Some(name) = self.note(&lease, true)
                    && let Some(listed) = listed
                {
                    listed.push(name);
                }
            }
            Event::InitDone => {
                let listed = listed.take().unwrap_or_default();
                let gone = self.known.keys().filter(|name| !listed.contains(name)).cloned().collect::<Vec<_>>();
                gone.iter().for_each(|name| self.forget(name));
            }
            Event::Apply(lease) => {
                self.note(&lease, false);
            }
            Event::Delete(lease) => {
                if let Some(name) = &lease.metadata.name {
                    self.forget(name);
                }
            }
        }
    }

    /// One of the others' Leases; its name, if it is one.
    fn note(&mut self, lease: &Lease, listed: bool) -> Option<String> {
        let name = lease.metadata.name.clone()?;
        let version = lease.metadata.resource_version.as_deref()?.parse().ok()?;
        let candidacy =
            read(lease).filter(|it| it.lock == self.lock.to_string() && it.name != self.own.borrow().name)?;
        let known = self.known.get(&name);
        if known.is_none() && self.known.len() >= PEERS_MAX {
            return None;
        }
        let now = self.clock.now().boot;
        let seen = known.filter(|peer| peer.version == version).map_or(now, |peer| peer.seen);
        let campaigns = candidacy.campaigns();
        self.election.peer(name.clone(), Some(PeerSeen { version, campaigns, listed }));
        self.known.insert(name.clone(), Peer { candidacy, version, seen });
        Some(name)
    }

    fn forget(&mut self, name: &str) {
        if self.known.remove(name).is_some() {
            self.election.peer(name.to_owned(), None);
        }
    }

    /// Those that are not silent.
    fn publish(&self) {
        let now = self.clock.now().boot;
        let heard = self.known.values().filter(|peer| now.saturating_sub(peer.seen) < PEER_SILENT_AFTER);
        let heard: Vec<Candidacy> = heard.map(|peer| peer.candidacy.clone()).collect();
        self.peers.send_if_modified(|peers| {
            let changed = *peers != heard;
            *peers = heard;
            changed
        });
    }

    /// Writes the own Lease; when to do it again.
    async fn write(&mut self) -> Duration {
        let own = self.own.borrow_and_update().clone();
        let written = match tokio::time::timeout(REQUEST_LIMIT, self.store(&own)).await {
            Ok(stored) => stored.map_err(|error| chain(&error)),
            Err(_) => Err(format!("no answer within {REQUEST_LIMIT:?}")),
        };
        match written {
            Ok(stored) => {
                self.stored = Some(stored);
                self.failing = false;
                WRITTEN_EVERY
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let name = lease_name(&self.lock, &own.name);
                    let namespace = &self.lock.namespace;
                    self.election.warn(format!(
                        "the candidate Lease {namespace}/{name} cannot be written: {error}; others do not yield to this \
                         replica until it can (get, create and update on leases)"
                    ));
                }
                self.stored = None;
                RETRY_AFTER
            }
        }
    }

    /// Nobody is to yield to a replica that ends. What cannot be written now is silent in 90 s.
    async fn leave(&self) {
        let own = Candidacy { verdict: String::from("gone"), ..self.own.borrow().clone() };
        if let Ok(Err(error)) = tokio::time::timeout(REQUEST_LIMIT, self.store(&own)).await {
            tracing::debug!(error = chain(&error), "the candidate Lease goes on saying that this replica campaigns");
        }
    }

    async fn store(&self, own: &Candidacy) -> Result<Lease, kube::Error> {
        let name = lease_name(&self.lock, &own.name);
        let last = match &self.stored {
            Some(stored) => Some(stored.clone()),
            None => self.api.get_opt(&name).await?,
        };
        let lease = lease(&name, own, self.owner.as_ref(), last.as_ref());
        match last {
            Some(_) => self.api.replace(&name, &PostParams::default(), &lease).await,
            None => self.api.create(&PostParams::default(), &lease).await,
        }
    }
}

/// What a candidate Lease says, if it is one.
fn read(lease: &Lease) -> Option<Candidacy> {
    let annotation = lease.metadata.annotations.as_ref()?.get(ANNOTATION)?;
    serde_json::from_str(annotation).ok()
}

fn lease(name: &str, own: &Candidacy, owner: Option<&PodRef>, last: Option<&Lease>) -> Lease {
    let json = serde_json::to_string(own).unwrap_or_default();
    let owner = owner.map(|pod| OwnerReference {
        api_version: String::from("v1"),
        kind: String::from("Pod"),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        ..OwnerReference::default()
    });
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            uid: last.and_then(|last| last.metadata.uid.clone()),
            resource_version: last.and_then(|last| last.metadata.resource_version.clone()),
            labels: Some([(LABEL.to_owned(), String::from("true"))].into()),
            annotations: Some([(ANNOTATION.to_owned(), json)].into()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(own.name.clone()),
            lease_duration_seconds: i32::try_from(PEER_SILENT_AFTER.as_secs()).ok(),
            // For people, and so that each write changes something.
            renew_time: Some(MicroTime(jiff::Timestamp::now())),
            ..LeaseSpec::default()
        }),
    }
}

/// `<first 40 characters of the lock's name>-<8 hex of its SHA-256>-<the candidate's name>`, as an object's name.
fn lease_name(lock: &Lock, candidate: &str) -> String {
    let hash: String = Sha256::digest(lock.name.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let head: String = lock.name.chars().take(LOCK_NAME_CHARS_MAX).collect();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c.to_ascii_lowercase() } else { '-' };
    let candidate: String = candidate.chars().map(plain).collect();
    let mut name = format!("{}-{hash}-{candidate}", head.trim_end_matches(['.', '-']));
    name.truncate(NAME_BYTES_MAX);
    name.trim_end_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(lock: &str, candidate: &str) -> String {
        lease_name(&Lock::lease("tenure-system", lock), candidate)
    }

    #[test]
    fn a_candidate_lease_is_named_for_lock_and_candidate() {
        assert_eq!(named("host.tenure.dev", "tenure-7d9f-x2x"), "host.tenure.dev-0c63eb34-tenure-7d9f-x2x");
        let long = "a-lock-with-a-name-that-is-cut-right-he.re.example.com";
        assert!(named(long, "Node_1").starts_with("a-lock-with-a-name-that-is-cut-right-he-"), "{}", named(long, "x"));
        assert!(named(long, "Node_1").ends_with("-node-1"));
        assert!(named("lock", &"x".repeat(400)).len() <= NAME_BYTES_MAX);
        assert_ne!(named("lock-a", "x"), named("lock-b", "x"));
    }

    #[test]
    fn what_is_written_is_read_again_and_anything_else_is_none() {
        let own = Candidacy {
            lock: String::from("tenure-system/host.tenure.dev"),
            name: String::from("a"),
            zone: None,
            version: String::from("0.1.0"),
            load: 7,
            verdict: String::from("campaign"),
        };
        let mut lease = lease("x", &own, None, None);
        assert_eq!(read(&lease), Some(own));
        for foreign in ["", "{}", "[]", r#"{"lock": 7}"#, "\0"] {
            lease.metadata.annotations = Some([(ANNOTATION.to_owned(), foreign.to_owned())].into());
            assert_eq!(read(&lease), None, "{foreign:?}");
        }
    }
}
