//! The Deployment of `deploy/kustomize`, applied as an operator would, with work for two plugins: one that writes all the time,
//! and one whose objects must have converged in the end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tenure_tests::{Judge, LockLog, Plugin, until_some_within};

use super::cluster::{self, apply, kubectl};
use super::container::Container;
use super::gates;

/// Where the replicas are.
pub(crate) const SYSTEM: &str = "tenure-system";
/// Where their plugins are.
pub(crate) const PLUGINS: &str = "tenure-plugins";
/// Where those work.
pub(crate) const WORK: &str = "work";
/// The lock's name.
pub(crate) const LOCK: &str = "host.tenure.dev";

/// A rollout on a busy machine, a node that comes back, a container that is started again only after a while.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// What every test's plugins may do.
const GRANT: &str = r#"
[[grant]]
plugin = "*/*"
[[grant.permission]]
api-groups = [""]
resources = ["configmaps"]
verbs = ["get", "list", "watch", "create", "patch"]
namespaces = ["*"]
"#;

/// How many objects have to converge.
const OBJECTS: usize = 5;

/// Identities of holders that a kubelet has seen dead: whoever took over from them need not have waited.
static DEAD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// What is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// As shipped, at the profile `fast`.
    Fast,
    /// As shipped, at the default timing, with the component `proof-of-death`.
    Default,
    /// As [`Setup::Fast`], from the image's next version.
    NextImage,
}

/// The installation that all tests share.
pub(crate) struct Release {
    pub(crate) client: kube::Client,
    pub(crate) judge: Judge,
    /// Where the audit log is at hand.
    log: Option<LockLog>,
    /// What the plugin stamps objects with by now.
    value: String,
}

impl Release {
    /// Installs it, or goes over to this setup, and waits until three replicas stand and the plugins work.
    pub(crate) async fn standing(setup: Setup) -> Self {
        cluster::mend_all();
        let client = client().await;
        let audit = cluster::is_ours().then(cluster::audit);
        if audit.is_some() {
            gates::follow();
        }
        install(setup).await;
        let judge = match &audit {
            Some(audit) => Judge::by_audit(audit.clone(), &client, SYSTEM, LOCK).await,
            None => Judge::by_watch(&client, SYSTEM, LOCK, WORK).await,
        };
        let log = audit.map(|audit| LockLog::new(audit, SYSTEM, LOCK));
        let mut release = Self { client, judge, log, value: String::new() };
        release.furnish().await;
        release.converged().await;
        release
    }

    /// What the plugins may do, and what there is to do.
    async fn furnish(&mut self) {
        let rules = json!([{
            "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "create", "patch"],
        }]);
        apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WORK}},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "probe"}, "rules": rules},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "probe"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "probe"},
             "subjects": [{"kind": "ServiceAccount", "name": "tenure", "namespace": SYSTEM}]},
        ]}));
        self.drop_in(&Plugin::probe("beat", "beat", "1")).await;
        self.change_plugin().await;
        self.object("beat", "beat").await;
        for number in 0..OBJECTS {
            self.object("stamp", &format!("object-{number}")).await;
        }
    }

    /// Drops a plugin in as `kubectl apply` would.
    pub(crate) async fn drop_in(&self, plugin: &Plugin) {
        for config_map in plugin.pack(PLUGINS) {
            self.apply_config_map(&config_map).await;
        }
    }

    /// Gives the plugin that stamps objects another value to stamp them with.
    pub(crate) async fn change_plugin(&mut self) {
        static VALUES: AtomicU32 = AtomicU32::new(0);
        self.value = format!("{}-{}", std::process::id(), VALUES.fetch_add(1, Ordering::Relaxed));
        self.drop_in(&Plugin::probe("stamp", "stamp", &self.value)).await;
    }

    async fn apply_config_map(&self, config_map: &Value) {
        let (metadata, parameters) = (&config_map["metadata"], PatchParams::apply("test").force());
        let text = |name: &str| metadata[name].as_str().expect("a text").to_owned();
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &text("namespace"));
        // The API server may be away for the test's sake.
        until_some_within(LIMIT, "a ConfigMap to be applied", || async {
            api.patch(&text("name"), &parameters, &Patch::Apply(config_map)).await.ok()
        })
        .await;
    }

    /// Makes an object for the probe of this name, if it is not there.
    pub(crate) async fn object(&self, probe: &str, name: &str) {
        let metadata = json!({"name": name, "namespace": WORK, "labels": {"probe": probe}});
        self.apply_config_map(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await;
    }

    async fn objects(&self, probe: &str) -> Option<Vec<ConfigMap>> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), WORK);
        Some(api.list(&ListParams::default().labels(&format!("probe={probe}"))).await.ok()?.items)
    }

    /// Waits until every object is as the plugin now wants it, one made only now among them, and the beat goes on.
    pub(crate) async fn converged(&self) {
        static FRESH: AtomicU32 = AtomicU32::new(0);
        let fresh = format!("fresh-{}-{}", std::process::id(), FRESH.fetch_add(1, Ordering::Relaxed));
        self.object("stamp", &fresh).await;
        until_some_within(LIMIT, "every object to have converged", || async {
            let objects = self.objects("stamp").await?;
            objects.iter().all(|object| annotation(object, "probe/value") == Some(&self.value)).then_some(())
        })
        .await;
        let beats = self.beats().await;
        until_some_within(LIMIT, "the beat to go on", || async { (self.beats().await != beats).then_some(()) }).await;
    }

    async fn beats(&self) -> Option<(String, String)> {
        let objects = self.objects("beat").await?;
        let of = |key: &str| annotation(objects.first()?, key).map(str::to_owned);
        Some((of("probe/term")?, of("probe/number")?))
    }

    /// The replicas' Pods, those that are to go among them.
    pub(crate) async fn pods(&self) -> Vec<Pod> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM);
        let of_release = ListParams::default().labels("app.kubernetes.io/name=tenure");
        api.list(&of_release).await.map(|list| list.items).unwrap_or_default()
    }

    /// Waits until exactly so many replicas are there, each ready.
    pub(crate) async fn replicas(&self, count: usize) {
        until_some_within(LIMIT, &format!("{count} ready replicas and no other"), || async {
            let pods = self.pods().await;
            (pods.len() == count && pods.iter().all(is_ready)).then_some(())
        })
        .await;
    }

    async fn lease(&self) -> Option<Lease> {
        Api::<Lease>::namespaced(self.client.clone(), SYSTEM).get(LOCK).await.ok()
    }

    /// Identity and term of whoever holds the lock.
    pub(crate) async fn holder(&self) -> Option<(String, u64)> {
        let lease = self.lease().await?;
        let term = lease.annotations().get("tenure.dev/term")?.split('/').next()?.parse().ok()?;
        Some((lease.spec?.holder_identity.filter(|holder| !holder.is_empty())?, term))
    }

    /// Whether the holder says what it runs in, for a proof of its death.
    pub(crate) async fn lock_names_a_container(&self) -> bool {
        self.lease().await.is_some_and(|lease| lease.annotations().contains_key("tenure.dev/container"))
    }

    /// Waits until somebody leads.
    pub(crate) async fn leader(&self) -> Leader {
        self.leader_above(0).await
    }

    /// Waits until somebody leads in a term above this one.
    pub(crate) async fn leader_above(&self, above: u64) -> Leader {
        until_some_within(LIMIT, &format!("a leader of a term above {above}"), || async {
            let (identity, term) = self.holder().await.filter(|(_, term)| *term > above)?;
            let pod = identity.split('_').next()?.to_owned();
            let pods = self.pods().await;
            let container = Container::of(pods.iter().find(|it| it.name_any() == pod)?)?;
            Some(Leader { identity, term, container })
        })
        .await
    }

    /// The audit log, read for the lock.
    pub(crate) fn log(&self) -> &LockLog {
        self.log.as_ref().expect("only tests on the cluster of `cargo xtask cluster` ask for its audit log")
    }

    /// What the API server knows of everything before this call is in its audit log by now.
    async fn settled(&self) {
        static MARKS: AtomicU32 = AtomicU32::new(0);
        let mark = format!("mark-{}-{}", std::process::id(), MARKS.fetch_add(1, Ordering::Relaxed));
        self.object("nobody", &mark).await;
        until_some_within(LIMIT, "the mark in the audit log", || async {
            cluster::audit().events().iter().any(|event| event.name == mark).then_some(())
        })
        .await;
    }

    /// Waits until everything is as it should be, and judges all that was done until then.
    pub(crate) async fn assert_clean(&self) {
        self.converged().await;
        let Some(log) = &self.log else {
            return self.assert_clean_as_far_as_watched();
        };
        self.settled().await;
        let residue = self.judge.residue(&gates::writes().await);
        figure("residue", residue.len());
        log.assert_one_writer_a_term();
        let dead = DEAD.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let early = log.early(Duration::from_secs(5)).into_iter();
        let early: Vec<_> = early.filter(|(before, _)| !dead.contains(&before.holder)).collect();
        assert!(early.is_empty(), "somebody came early: {early:#?}");
    }

    /// Without the audit log and the gates' own logs, residue cannot be told from a violation: of a plugin that writes one object at a
    /// time, at most one write of a term may come late.
    fn assert_clean_as_far_as_watched(&self) {
        self.judge.assert_terms_rise();
        let late = self.judge.late_writes();
        figure("late writes, by a watch", late.len());
        let terms: BTreeSet<u64> = late.iter().map(|write| write.term).collect();
        assert_eq!(late.len(), terms.len(), "a term wrote more than once after a later one had begun: {late:#?}");
    }

    /// The longest time between two writes of a plugin that writes all the time, of two terms, the first of which is this one.
    pub(crate) fn gap_after(&self, term: u64) -> Option<Duration> {
        let writes = self.log.as_ref()?.plugin_writes();
        let at = |event: &tenure_control_plane::AuditEvent| event.answered_at.parse::<Timestamp>().ok();
        let beats = writes.iter().filter(|(.., event)| event.name == "beat" && event.namespace == WORK);
        let beats: Vec<(u64, Timestamp)> = beats.filter_map(|(of, _, event)| Some((*of, at(event)?))).collect();
        let last = beats.iter().filter(|(of, _)| *of <= term).map(|(_, at)| *at).max()?;
        let next = beats.iter().filter(|(of, _)| *of > term).map(|(_, at)| *at).min()?;
        Some(next.duration_since(last).unsigned_abs())
    }

    /// Says how long nobody worked after this term: measured, not promised.
    #[expect(clippy::print_stderr, reason = "figures are for whoever reads the test's output")]
    pub(crate) fn tell_gap_after(&self, what: &str, term: u64) {
        if let Some(gap) = self.gap_after(term) {
            eprintln!(
                "FIGURE {what}: {:.2} s from the last write of the old term to the first of a new one",
                gap.as_secs_f64()
            );
        }
    }
}

/// Whoever leads.
#[derive(Debug, Clone)]
pub(crate) struct Leader {
    pub(crate) identity: String,
    pub(crate) term: u64,
    pub(crate) container: Container,
}

impl Leader {
    /// Its container has ended, and its kubelet may say so: whoever takes over need not wait.
    pub(crate) fn is_dead(&self) {
        DEAD.lock().unwrap_or_else(PoisonError::into_inner).insert(self.identity.clone());
    }
}

/// A client for an administrator.
pub(crate) async fn client() -> kube::Client {
    kube::Client::try_default().await.expect("KUBECONFIG names a cluster")
}

/// Applies a setup as `kubectl apply -k` would, and waits until it has rolled out.
pub(crate) async fn install(setup: Setup) {
    let overlay = overlay(setup);
    kubectl(&["apply", "--kustomize", &overlay.display().to_string()]);
    rolled_out();
}

/// Waits until the Deployment is as it was asked to be.
pub(crate) fn rolled_out() {
    let timeout = format!("--timeout={}s", LIMIT.as_secs());
    kubectl(&["rollout", "status", "deployment/tenure", "--namespace", SYSTEM, &timeout]);
}

/// Writes a kustomization over the base: what an operator would have of his own.
fn overlay(setup: Setup) -> PathBuf {
    let folder = cluster::folder().join(format!("{setup:?}").to_lowercase());
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let base = std::fs::read_to_string(cluster::workspace().join("deploy/kustomize/base/tenure.toml"));
    // What the gate says of each write is in the log at `debug`.
    let base =
        base.expect("the base has settings").replace("format = \"json\"", "format = \"json\"\nlevel = \"debug\"");
    let (profile, components, next) = match setup {
        Setup::Fast => ("fast", "", None),
        Setup::NextImage => ("fast", "", Some("docker.io/library/tenure:next".to_owned())),
        Setup::Default => ("default", "components: [../../../deploy/kustomize/components/proof-of-death]\n", None),
    };
    let image = next.or_else(|| std::env::var("TENURE_IMAGE").ok());
    let image = image.unwrap_or_else(|| "docker.io/library/tenure:0.1.0".to_owned());
    let (name, tag) = image.rsplit_once(':').expect("an image has a tag");
    // With the proof of death its holder's write-timeout has to pass.
    let base = base.replace("[plugins]", "write-timeout = \"500ms\"\n\n[plugins]");
    let settings = format!("profile = \"{profile}\"\n{base}\n[limits]\nmemory = \"1Gi\"\n{GRANT}");
    std::fs::write(folder.join("tenure.toml"), settings).expect("written");
    let kustomization = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../../../deploy/kustomize/base]\n\
         {components}configMapGenerator:\n  - {{name: tenure, namespace: {SYSTEM}, behavior: replace, files: [tenure.toml]}}\n\
         images:\n  - {{name: tenure, newName: {name:?}, newTag: {tag:?}}}\n"
    );
    std::fs::write(folder.join("kustomization.yaml"), kustomization).expect("written");
    folder
}

/// Whether a Pod is ready, and not about to go.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready = conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
    is_ready && pod.metadata.deletion_timestamp.is_none()
}

fn annotation<'a>(object: &'a ConfigMap, key: &str) -> Option<&'a str> {
    object.annotations().get(key).map(String::as_str)
}

/// Says a figure that is measured and not promised.
#[expect(clippy::print_stderr, reason = "figures are for whoever reads the test's output")]
pub(crate) fn figure(what: &str, count: usize) {
    eprintln!("FIGURE {what}: {count}");
}
