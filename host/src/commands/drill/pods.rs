//! Candidates that are Pods: found by the holder's identity, acted on by deletion. Deletes the holder's Pod and no other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Preconditions};

use super::candidates::Candidates;
use super::narrate;
use super::rbac::explain;
use crate::cli::{DrillMode, LeaseName};

/// How long a replacement may take to be Ready: an image may have to be pulled.
const READY_LIMIT: Duration = Duration::from_secs(300);
const READY_POLL: Duration = Duration::from_millis(500);
/// A kubelet cuts a Pod's name to this many characters for its hostname.
const HOSTNAME_CHARACTERS_MAX: usize = 63;

/// Where the candidates are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) lease: LeaseName,
    pub(super) namespace: String,
    pub(super) selector: Option<String>,
}

/// The Pods.
pub(super) struct Pods {
    api: Api<Pod>,
    place: Place,
    mode: DrillMode,
    trials: u32,
    found: Option<Found>,
}

/// The holder's Pod, as it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) pod: Pod,
    pub(super) holder: String,
    /// Ready Pods of the same controller, this one included.
    ready: usize,
}

impl Found {
    pub(super) fn name(&self) -> String {
        self.pod.name_any()
    }

    fn controller(&self) -> Option<&OwnerReference> {
        controller(&self.pod)
    }
}

impl Pods {
    pub(super) fn new(client: kube::Client, place: Place, mode: DrillMode, trials: u32) -> Self {
        Self { api: Api::namespaced(client, &place.namespace), place, mode, trials, found: None }
    }

    /// Whom [`Candidates::find`] found.
    pub(super) fn found(&self) -> anyhow::Result<&Found> {
        self.found.as_ref().context("no holder was found to act on")
    }

    async fn list(&self) -> anyhow::Result<Vec<Pod>> {
        let namespace = &self.place.namespace;
        let parameters = self.place.selector.iter().fold(ListParams::default(), |all, one| all.labels(one));
        let pods = self.api.list(&parameters).await;
        Ok(pods.map_err(|error| explain(error, "list", "pods", namespace, &format!("pods in {namespace}")))?.items)
    }

    /// "pod shop/tenure-0 on node n1, of ReplicaSet tenure-5d".
    pub(super) fn describe(&self, found: &Found) -> String {
        let node = found.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("(none yet)");
        let owner = found
            .controller()
            .map_or_else(|| "of no controller".to_owned(), |owner| format!("of {} {}", owner.kind, owner.name));
        format!("pod {}/{} on node {node}, {owner}", self.place.namespace, found.name())
    }

    /// Waits until the Pod that was found is gone, where it was `deleted`, and as many Pods are Ready as were before.
    pub(super) async fn wait_for_replacement(&mut self, was_deleted: bool) -> anyhow::Result<()> {
        let Some(found) = self.found.take() else { return Ok(()) };
        let deadline = Instant::now() + READY_LIMIT;
        let mut was_told = false;
        loop {
            let pods = self.list().await?;
            let is_gone = !was_deleted || pods.iter().all(|pod| pod.uid() != found.pod.uid());
            let ready = found.controller().map_or(found.ready, |owner| ready_of(&pods, owner));
            if is_gone && ready >= found.ready {
                return Ok(());
            }
            let name = found.name();
            if Instant::now() >= deadline {
                bail!(
                    "waited {} s for a replacement of pod {}/{name}: {ready} of {} are Ready{}; `kubectl get pods -n {}` says why",
                    READY_LIMIT.as_secs(),
                    self.place.namespace,
                    found.ready,
                    if is_gone { "" } else { ", and it is still there" },
                    self.place.namespace,
                );
            }
            if !was_told {
                narrate(format_args!("waiting until {name} is replaced: {ready} of {} Pods are Ready", found.ready));
                was_told = true;
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// What has to be agreed to where processes are signalled on their node.
    pub(super) fn node_plan(&self, found: &Found, namespace: &str, image: &str) -> String {
        let what = match self.mode {
            DrillMode::Pause => "stopped (SIGSTOP) until a successor has renewed, and then let go on (SIGCONT)",
            _ => "killed (SIGKILL)",
        };
        format!(
            "{}, the processes of whoever holds lease {} will be {what} on their node.\nNow that is {}: it \
             holds the lease as {:?}.\nFor that namespace {namespace} is made, and in it, on each such node, a privileged Pod of image \
             {image} that sees the node's processes; both are removed at the end.",
            self.how_often(),
            self.place.lease,
            self.describe(found),
            found.holder,
        )
    }

    fn how_often(&self) -> String {
        match self.trials {
            1 => "Once".into(),
            trials => format!("{trials} times, one after another"),
        }
    }

    fn what_is_done(&self) -> &'static str {
        match self.mode {
            DrillMode::Handover | DrillMode::Pause => "deleted with its own grace period, as a rollout does",
            DrillMode::Crash => {
                "deleted with grace 0, the nearest to a crash that the API offers: it vanishes from the API at once, while its \
                 kubelet still sends SIGTERM and, about 2 s later, SIGKILL; a holder quick enough lets go of the lease"
            }
        }
    }
}

#[async_trait(?Send)]
impl Candidates for Pods {
    fn action(&self) -> String {
        match self.mode {
            DrillMode::Crash => "the holder's Pod deleted with grace 0 (its kubelet still sends SIGTERM first)".into(),
            _ => "the holder's Pod deleted with its own grace".into(),
        }
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn find(&mut self, holder: &str) -> anyhow::Result<()> {
        let pods = self.list().await?;
        let pod = pick(&pods, holder, &self.place)?.clone();
        let ready = controller(&pod).map_or(1, |owner| ready_of(&pods, owner));
        self.found = Some(Found { pod, holder: holder.to_owned(), ready });
        Ok(())
    }

    fn plan(&self) -> Option<String> {
        let found = self.found.as_ref()?;
        let Place { lease, .. } = &self.place;
        let mut plan = format!(
            "{}, the Pod that holds lease {lease} will be {}.\nNow that is {}: it holds the lease as {:?}.",
            self.how_often(),
            self.what_is_done(),
            self.describe(found),
            found.holder,
        );
        match found.controller() {
            None => plan.push_str("\nNo controller owns it: nothing will replace it."),
            Some(owner) if owner.kind == "StatefulSet" && self.mode == DrillMode::Crash => plan.push_str(
                "\nIt is a StatefulSet's: with grace 0 a second Pod of the same name may start before this one has ended.",
            ),
            Some(_) => {}
        }
        Some(plan)
    }

    async fn arm(&mut self) -> anyhow::Result<()> {
        let found = self.found()?;
        if found.controller().is_none() && self.trials > 1 {
            bail!(
                "no controller owns pod {}/{}, so nothing would replace it for the next trial: --trials 1 deletes it once",
                self.place.namespace,
                found.name()
            );
        }
        Ok(())
    }

    async fn act(&mut self) -> anyhow::Result<Instant> {
        let found = self.found()?;
        let name = found.name();
        let uid = found.pod.uid();
        let parameters = DeleteParams {
            grace_period_seconds: (self.mode == DrillMode::Crash).then_some(0),
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let namespace = &self.place.namespace;
        narrate(format_args!("deleting {}", self.describe(found)));
        let at = Instant::now();
        let deleted = self.api.delete(&name, &parameters).await;
        deleted.map_err(|error| explain(error, "delete", "pods", namespace, &format!("pod {namespace}/{name}")))?;
        Ok(at)
    }

    async fn resume(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn replace(&mut self, is_last: bool) -> anyhow::Result<Vec<String>> {
        if !is_last {
            self.wait_for_replacement(true).await?;
        }
        Ok(Vec::new())
    }

    async fn mind(&mut self) -> anyhow::Result<String> {
        std::future::pending().await
    }

    fn hint(&self) -> String {
        format!("do its candidates run? `kubectl get pods -n {}` lists them", self.place.namespace)
    }

    async fn leave(&mut self) {}
}

/// The one Pod that campaigns as `holder`.
fn pick<'a>(pods: &'a [Pod], holder: &str, place: &Place) -> anyhow::Result<&'a Pod> {
    let Place { lease, namespace, selector } = place;
    let selected = selector.as_ref().map_or_else(String::new, |selector| format!(" with labels {selector}"));
    let found: Vec<&Pod> = pods.iter().filter(|pod| is_identity_of(holder, pod) && is_alive(pod)).collect();
    match found[..] {
        [pod] => Ok(pod),
        [] => bail!(
            "none of the {} Pods in namespace {namespace}{selected} is the holder {holder:?} of lease {lease}: neither a name nor a \
             hostname is what stands before the first '_' in it; --pods-namespace says where the Pods are, --selector which",
            pods.len()
        ),
        _ => {
            let names: Vec<String> = found.iter().map(|pod| pod.name_any()).collect();
            bail!(
                "{} Pods in namespace {namespace}{selected} could be the holder {holder:?} of lease {lease}: {}; narrow it down with \
                 --selector",
                names.len(),
                names.join(", ")
            )
        }
    }
}

/// Identities are a Pod's name, or its hostname and something random: `<name>`, `<name>_<uid>`, `<hostname>_<uid>`. No Pod's
/// name or hostname has a '_'.
fn is_identity_of(holder: &str, pod: &Pod) -> bool {
    let host = holder.split('_').next().unwrap_or(holder);
    let name = pod.name_any();
    let spec = pod.spec.as_ref();
    let is_on_hosts_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let own = spec.and_then(|spec| spec.hostname.as_deref());
    let node = spec.and_then(|spec| spec.node_name.as_deref()).filter(|_| is_on_hosts_network);
    host == name || own == Some(host) || node == Some(host) || host == hostname_of(&name)
}

fn hostname_of(name: &str) -> &str {
    let cut = name.get(..HOSTNAME_CHARACTERS_MAX).unwrap_or(name);
    cut.trim_end_matches(['-', '.'])
}

fn is_alive(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn controller(pod: &Pod) -> Option<&OwnerReference> {
    pod.owner_references().iter().find(|owner| owner.controller == Some(true))
}

fn ready_of(pods: &[Pod], owner: &OwnerReference) -> usize {
    let is_ready = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let is_true = conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
        is_alive(pod) && is_true && controller(pod).is_some_and(|it| it.uid == owner.uid)
    };
    pods.iter().filter(is_ready).count()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, spec: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a Pod")
    }

    fn place() -> Place {
        let lease = LeaseName { namespace: "shop".into(), name: "lock".into() };
        Place { lease, namespace: "shop".into(), selector: None }
    }

    #[test]
    fn a_holder_is_found_by_the_names_that_programs_give_themselves() {
        let plain = || pod("web-5d-x7", &json!({"containers": []}));
        let hostname = || pod("web-5d-x8", &json!({"containers": [], "hostname": "web"}));
        let on_host = || pod("web-5d-x9", &json!({"containers": [], "hostNetwork": true, "nodeName": "node-1"}));
        let long = || pod(&format!("{}-{}", "x".repeat(62), "y".repeat(20)), &json!({"containers": []}));
        for (holder, wanted) in [
            ("web-5d-x7", plain()),
            ("web-5d-x7_8d5ad537", plain()),
            ("web-5d-x7_8d5ad537_0011", plain()),
            ("web_8d5ad537-1", hostname()),
            ("node-1_8d5ad537", on_host()),
            (&format!("{}_8d5a", "x".repeat(62)), long()),
        ] {
            let pods = [plain(), hostname(), on_host(), long()];
            let found = pick(&pods, holder, &place()).expect("one Pod");
            assert_eq!(found.name_any(), wanted.name_any(), "{holder}");
        }
    }

    #[test]
    fn no_pod_and_several_are_errors_that_say_what_was_looked_for() {
        let on_host = |name| pod(name, &json!({"containers": [], "hostNetwork": true, "nodeName": "node-1"}));
        let pods = [on_host("a"), on_host("b")];
        let none = pick(&pods, "web-5d_1", &place()).expect_err("no Pod").to_string();
        assert!(
            none.contains("none of the 2 Pods") && none.contains("web-5d_1") && none.contains("--selector"),
            "{none}"
        );
        let several = pick(&pods, "node-1_1", &place()).expect_err("two Pods").to_string();
        assert!(several.contains("a, b") && several.contains("--selector"), "{several}");
        let web = pod("web-5d", &json!({"containers": []}));
        assert!(pick(&[web], "web-5", &place()).is_err(), "a part of a name is no name");
    }

    #[test]
    fn a_pod_that_is_ending_or_has_ended_is_nobodys() {
        let mut ending = pod("a", &json!({"containers": []}));
        ending.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
        let mut ended = pod("a", &json!({"containers": []}));
        ended.status = serde_json::from_value(json!({"phase": "Failed"})).expect("a status");
        assert!(pick(&[ending, ended], "a", &place()).is_err());
    }
}
