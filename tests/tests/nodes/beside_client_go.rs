//! client-go's leader election in the same Deployment shape, on the same nodes and at the same timing, and the same done to both
//! leaders at once: how long nobody works, how long two do, and what becomes of what a deposed leader still writes.
//!
//! What is promised of ours is asserted; the rest is measured. `TENURE_ROUNDS` says how often.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use tenure_control_plane::AuditEvent;
use tenure_tests::{LockLog, Version, until_some_within};

use super::cluster::{self, apply, kubectl};
use super::container::Container;
use super::release::{LIMIT, LOCK, Release, SYSTEM, Setup, WORK, is_ready};

/// Where client-go's candidates are, and their ConfigMap.
const OTHER: &str = "client-go";
const OTHER_LOCK: &str = "candidate";
const OTHER_AGENT: &str = "client-go-candidate/";
const OTHER_IMAGE: &str = "tenure.dev/client-go-candidate:1";

/// Past the renew deadline and the lease, which are 10 and 15 s.
const FROZEN: Duration = Duration::from_secs(25);
const CUT_OFF: Duration = Duration::from_secs(20);
/// Longer than client-go goes on after it has come back to a lease that is another's.
const WATCHED: Duration = Duration::from_secs(12);

/// What is done to a leader.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Deleted,
    Killed,
    Frozen,
    CutOff,
}

impl Fault {
    const ALL: [Self; 4] = [Self::Deleted, Self::Killed, Self::Frozen, Self::CutOff];

    async fn befalls(self, leaders: &[Container]) {
        match self {
            Self::Deleted => {
                for leader in leaders {
                    kubectl(&["delete", "pod", &leader.pod, "--namespace", &leader.namespace, "--wait=false"]);
                }
            }
            Self::Killed => leaders.iter().for_each(Container::kill),
            Self::Frozen => {
                let frozen: Vec<_> = leaders.iter().map(Container::freeze).collect();
                tokio::time::sleep(FROZEN).await;
                drop(frozen);
            }
            Self::CutOff => {
                let mut nodes: Vec<&str> = leaders.iter().map(|leader| leader.node.as_str()).collect();
                nodes.sort_unstable();
                nodes.dedup();
                let cut: Vec<_> = nodes.into_iter().map(cluster::cut).collect();
                tokio::time::sleep(CUT_OFF).await;
                drop(cut);
            }
        }
    }

    /// Whom it befalls at the same time. Cut off in turn: two nodes less would leave too few candidates of either.
    fn at_once(self) -> Vec<&'static [Contender]> {
        match self {
            Self::Deleted | Self::Killed | Self::Frozen => vec![&CONTENDERS],
            Self::CutOff => CONTENDERS.chunks(1).collect(),
        }
    }

    /// For how long the old leader may come back to something.
    fn aftermath(self) -> Duration {
        match self {
            Self::Deleted | Self::Killed => Duration::ZERO,
            Self::Frozen | Self::CutOff => WATCHED,
        }
    }
}

/// A process became the holder.
#[derive(Debug, Clone)]
struct Take {
    by: String,
    version: Version,
    at: Timestamp,
}

/// A process asked for a change of the object that leaders write to.
#[derive(Debug, Clone)]
struct Write {
    by: String,
    stored: Option<Version>,
    at: Timestamp,
}

/// What one fault did to one contender.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    /// From the last write of the old leader to the first of the next.
    nobody: Duration,
    /// From the takeover to the last write of the old one that was stored after it.
    two: Duration,
    /// How many of these.
    stale: usize,
    /// Sent by the old one after the takeover, and refused.
    refused: usize,
}

impl Outcome {
    /// Of the first takeover after `since`; `None` until the next leader has written.
    fn after(since: Timestamp, takes: &[Take], writes: &[Write]) -> Option<Self> {
        let index = takes.iter().position(|take| take.at >= since)?;
        let (old, next) = (&takes.get(index.checked_sub(1)?)?.by, &takes[index]);
        let mine = |by: &str| writes.iter().filter(move |write| write.by == by).collect::<Vec<_>>();
        let (before, after): (Vec<_>, Vec<_>) =
            mine(old).into_iter().partition(|write| write.stored.is_none_or(|stored| stored < next.version));
        let first = mine(&next.by).into_iter().filter(|write| write.stored.is_some_and(|stored| stored > next.version));
        let last = before.iter().filter(|write| write.stored.is_some()).map(|write| write.at).max()?;
        Some(Self {
            nobody: first.map(|write| write.at).min()?.duration_since(last).unsigned_abs(),
            two: after.iter().map(|write| write.at.duration_since(next.at).unsigned_abs()).max().unwrap_or_default(),
            stale: after.len(),
            refused: before.iter().filter(|write| write.stored.is_none() && write.at > next.at).count(),
        })
    }
}

/// Ours, or client-go's.
struct Contender {
    name: &'static str,
    namespace: &'static str,
    lock: &'static str,
}

static CONTENDERS: [Contender; 2] = [
    Contender { name: "ours", namespace: SYSTEM, lock: LOCK },
    Contender { name: "client-go", namespace: OTHER, lock: OTHER_LOCK },
];

impl Contender {
    async fn pods(&self, release: &Release) -> Vec<Pod> {
        let api: Api<Pod> = Api::namespaced(release.client.clone(), self.namespace);
        api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default()
    }

    /// Waits until its three replicas are ready, and answers with the holder's container.
    async fn leader(&self, release: &Release) -> Container {
        let leases: Api<Lease> = Api::namespaced(release.client.clone(), self.namespace);
        until_some_within(LIMIT, &format!("three replicas of {} and a leader", self.name), || async {
            let pods = self.pods(release).await;
            if pods.len() != 3 || !pods.iter().all(is_ready) {
                return None;
            }
            let holder = leases.get(self.lock).await.ok()?.spec?.holder_identity?;
            let pod = holder.split('_').next()?;
            Container::of(pods.iter().find(|it| it.metadata.name.as_deref() == Some(pod))?)
        })
        .await
    }

    fn takes(&self) -> Vec<Take> {
        let (mut takes, mut holder): (Vec<Take>, _) = (Vec::new(), String::new());
        for write in LockLog::new(cluster::audit(), self.namespace, self.lock).writes() {
            if write.holder != holder && !write.holder.is_empty() {
                takes.push(Take { by: write.holder.clone(), version: write.version, at: write.received_at });
            }
            holder = write.holder;
        }
        takes
    }

    fn writes(&self, release: &Release) -> Vec<Write> {
        let terms = release.judge.terms();
        let process = |event: &AuditEvent| {
            if self.namespace == OTHER {
                let agent = event.user_agent.strip_prefix(OTHER_AGENT)?;
                return (event.name == OTHER).then(|| agent.split(' ').next().unwrap_or_default().to_owned());
            }
            let term: u64 = event.user_agent.split_once("term/")?.1.parse().ok()?;
            let (_, holder, _) = terms.iter().find(|(of, ..)| *of == term)?;
            (event.name == "beat" && event.namespace == WORK).then(|| holder.clone())
        };
        let events = cluster::audit().events().into_iter();
        let events = events.filter(|event| event.resource == "configmaps" && event.verb == "patch");
        let writes = events.filter_map(|event| {
            let stored = event.version().map(|number| Version { epoch: 0, number });
            Some(Write { by: process(&event)?, stored, at: event.received_at.parse().ok()? })
        });
        writes.collect()
    }
}

/// Three replicas as careful authors of operators have them.
fn deployment() -> Value {
    let (labels, account) = (json!({"app": OTHER}), json!({"name": OTHER, "namespace": OTHER}));
    let rule = |group: &str, resource: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": ["get", "create", "update", "patch"]});
    let container = json!({
        "name": OTHER, "image": OTHER_IMAGE, "imagePullPolicy": "Never",
        "args": [format!("--lease={OTHER}/{OTHER_LOCK}"), format!("--write-configmap={OTHER}/{OTHER}")],
    });
    let spread = json!({
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OTHER}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": account,
         "rules": [rule("coordination.k8s.io", "leases"), rule("", "configmaps")]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": account,
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": OTHER},
         "subjects": [{"kind": "ServiceAccount", "name": OTHER, "namespace": OTHER}]},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": account, "spec": {
            "replicas": 3, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "serviceAccountName": OTHER, "containers": [container], "topologySpreadConstraints": [spread],
            }},
        }},
    ]})
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn the_same_is_done_to_ours_and_to_client_go_in_the_same_shape() {
    let rounds: u32 = std::env::var("TENURE_ROUNDS").map_or(1, |rounds| rounds.parse().expect("a number of rounds"));
    let mut release = Release::standing(Setup::Default).await;
    apply(&deployment());
    for fault in Fault::ALL {
        for _ in 0..rounds {
            for contenders in fault.at_once() {
                round(&release, fault, contenders).await;
            }
        }
        release.change_plugin().await;
        release.assert_clean().await;
    }
    kubectl(&["delete", "namespace", OTHER]);
}

async fn round(release: &Release, fault: Fault, contenders: &[Contender]) {
    let mut leaders = Vec::new();
    for contender in &CONTENDERS {
        let leader = contender.leader(release).await;
        if contenders.iter().any(|it| it.name == contender.name) {
            leaders.push(leader);
        }
    }
    let since = Timestamp::now();
    if matches!(fault, Fault::Killed) {
        // Its kubelet may prove the death of ours.
        release.leader().await.is_dead();
    }
    fault.befalls(&leaders).await;
    for contender in contenders {
        until_some_within(LIMIT, &format!("{} to be led again", contender.name), || async {
            Outcome::after(since, &contender.takes(), &contender.writes(release))
        })
        .await;
    }
    tokio::time::sleep(fault.aftermath()).await;
    for contender in contenders {
        let outcome = Outcome::after(since, &contender.takes(), &contender.writes(release));
        tell(fault, contender.name, outcome.expect("there was one before"));
    }
}

#[expect(clippy::print_stderr, reason = "figures are for whoever reads the test's output")]
fn tell(fault: Fault, name: &str, outcome: Outcome) {
    let Outcome { nobody, two, stale, refused } = outcome;
    eprintln!(
        "FIGURE {fault:?}, {name}: nobody wrote for {:.2} s, two did for {:.2} s; of the old leader's writes {stale} were stored \
         after the takeover and {refused} refused",
        nobody.as_secs_f64(),
        two.as_secs_f64()
    );
}
