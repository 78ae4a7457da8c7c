//! The holder's processes, signalled on their node through a privileged Pod in a namespace of the drill's own, which goes when
//! the drill does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, AttachParams, AttachedProcess, DeleteParams, PostParams};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, Lines};

use super::candidates::Candidates;
use super::pods::Pods;
use super::rbac::explain;
use super::{narrate, node};
use crate::cli::DrillMode;

/// How long the Pod may take to run: its image may have to be pulled.
const RUN_LIMIT: Duration = Duration::from_secs(120);
const RUN_POLL: Duration = Duration::from_millis(300);
/// How long the script may take to answer a word.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long the removal of the namespace may take to be accepted.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);

/// Pods, reached by their processes.
pub(super) struct NodeAccess {
    client: kube::Client,
    pods: Pods,
    image: String,
    container: Option<String>,
    mode: DrillMode,
    /// The name of the drill's namespace.
    namespace: String,
    was_namespace_made: bool,
    /// Nodes on which the Pod runs, which is named after the place here.
    nodes: Vec<String>,
    session: Option<Session>,
}

/// The script, running, pointed at one container.
struct Session {
    /// Ends the script when dropped.
    _process: AttachedProcess,
    words: Box<dyn AsyncWrite + Send + Unpin>,
    answers: Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>,
}

impl Session {
    async fn open(pods: &Api<Pod>, pod: &str, container_id: &str) -> anyhow::Result<Self> {
        let command = ["sh", "-c", node::SCRIPT, node::CONTAINER, container_id];
        let parameters = AttachParams::default().container(node::CONTAINER).stdin(true).stdout(true).stderr(false);
        let mut process = pods.exec(pod, command, &parameters).await.with_context(|| {
            format!(
                "cannot run the script in pod {pod}: it needs `get` and `create` on pods/exec in the drill's namespace"
            )
        })?;
        let words = process.stdin().context("the script has no stdin")?;
        let answers: Box<dyn AsyncRead + Send + Unpin> =
            Box::new(process.stdout().context("the script has no stdout")?);
        let answers = BufReader::new(answers).lines();
        let mut session = Self { _process: process, words: Box::new(words), answers };
        let found = session.answer().await?;
        match found.strip_prefix("found ") {
            Some(pids) => narrate(format_args!("the holder's processes on its node: {}", pids.trim())),
            None => bail!("no process on the node is of container {container_id}: {found:?} is what the script found"),
        }
        Ok(session)
    }

    async fn answer(&mut self) -> anyhow::Result<String> {
        let line = tokio::time::timeout(ANSWER_LIMIT, self.answers.next_line()).await;
        let line =
            line.with_context(|| format!("the script on the node said nothing for {} s", ANSWER_LIMIT.as_secs()))?;
        line?.context("the script on the node ended")
    }

    /// Says a word and waits until it is done. Returns the instant right before it was said.
    async fn say(&mut self, word: &str) -> anyhow::Result<Instant> {
        let at = Instant::now();
        self.words.write_all(format!("{word}\n").as_bytes()).await?;
        self.words.flush().await?;
        let done = format!("done {word}");
        // An answer to a word before this one may not have been waited for.
        while self.answer().await? != done {}
        Ok(at)
    }
}

impl NodeAccess {
    /// Makes nothing yet.
    pub(super) fn new(
        client: kube::Client,
        pods: Pods,
        image: String,
        container: Option<String>,
        mode: DrillMode,
    ) -> Self {
        let namespace = format!("tenure-drill-{:08x}", rand::random::<u32>());
        let (nodes, session) = (Vec::new(), None);
        Self { client, pods, image, container, mode, namespace, was_namespace_made: false, nodes, session }
    }

    fn own_pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn make_namespace(&mut self) -> anyhow::Result<()> {
        if self.was_namespace_made {
            return Ok(());
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace: Namespace = serde_json::from_value(node::namespace(&self.namespace))?;
        // Before it is: an answer that is lost leaves a namespace too.
        self.was_namespace_made = true;
        let made = namespaces.create(&PostParams::default(), &namespace).await;
        made.map_err(|error| explain(error, "create", "namespaces", "", &format!("namespace {}", self.namespace)))?;
        Ok(())
    }

    /// The name of the Pod on this node, once it runs.
    async fn pod_on(&mut self, node_name: &str) -> anyhow::Result<String> {
        let name = |place: usize| format!("{}-{place}", node::CONTAINER);
        if let Some(place) = self.nodes.iter().position(|known| known == node_name) {
            return Ok(name(place));
        }
        let name = name(self.nodes.len());
        let pod: Pod = serde_json::from_value(node::pod(&self.namespace, &name, node_name, &self.image))?;
        let deadline = Instant::now() + RUN_LIMIT;
        let pods = self.own_pods();
        loop {
            match pods.create(&PostParams::default(), &pod).await {
                Ok(_) => break,
                // A new namespace has its service account a moment later.
                Err(kube::Error::Api(status))
                    if status.message.contains("error looking up service account") && Instant::now() < deadline =>
                {
                    tokio::time::sleep(RUN_POLL).await;
                }
                Err(error) => {
                    let what = format!("the privileged pod {}/{name}", self.namespace);
                    return Err(explain(error, "create", "pods", &self.namespace, &what));
                }
            }
        }
        self.wait_until_runs(&pods, &name, deadline).await?;
        self.nodes.push(node_name.to_owned());
        Ok(name)
    }

    async fn wait_until_runs(&self, pods: &Api<Pod>, name: &str, deadline: Instant) -> anyhow::Result<()> {
        loop {
            let pod = pods.get(name).await;
            let what = format!("pod {}/{name}", self.namespace);
            let status = pod.map_err(|error| explain(error, "get", "pods", &self.namespace, &what))?.status;
            let status = status.unwrap_or_default();
            match status.phase.as_deref() {
                Some("Running") => return Ok(()),
                Some("Failed" | "Succeeded") => bail!(
                    "{what} ended at once ({}); --node-image has to have a shell",
                    status.reason.or(status.message).unwrap_or_else(|| "it does not say why".into())
                ),
                _ if Instant::now() < deadline => {}
                _ => {
                    let waiting = status.container_statuses.into_iter().flatten().find_map(|it| it.state?.waiting);
                    let why =
                        waiting.and_then(|waiting| waiting.reason).unwrap_or_else(|| "it does not say why".into());
                    bail!("{what} did not run within {} s: {why}; --node-image names its image", RUN_LIMIT.as_secs());
                }
            }
            tokio::time::sleep(RUN_POLL).await;
        }
    }

    async fn remove_namespace(&self) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let parameters = DeleteParams::default();
        let deleted = tokio::time::timeout(REMOVE_LIMIT, namespaces.delete(&self.namespace, &parameters)).await;
        match deleted.context("no answer from the API server")? {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(explain(error, "delete", "namespaces", "", "it")),
            Ok(_) => Ok(()),
        }
    }
}

#[async_trait(?Send)]
impl Candidates for NodeAccess {
    fn action(&self) -> String {
        match self.mode {
            DrillMode::Pause => {
                "SIGSTOP to the holder's processes on its node, until its successor has renewed; then SIGCONT".into()
            }
            _ => "SIGKILL to the holder's processes on its node".into(),
        }
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn find(&mut self, holder: &str) -> anyhow::Result<()> {
        self.pods.find(holder).await
    }

    fn plan(&self) -> Option<String> {
        let found = self.pods.found().ok()?;
        Some(self.pods.node_plan(found, &self.namespace, &self.image))
    }

    async fn arm(&mut self) -> anyhow::Result<()> {
        let found = self.pods.found()?;
        let container_id = node::container_id(&found.pod, self.container.as_deref())?;
        let node_name = found.pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let node_name = node_name.with_context(|| format!("pod {} is on no node", found.name()))?;
        self.session = None;
        self.make_namespace().await?;
        let pod = self.pod_on(&node_name).await?;
        self.session = Some(Session::open(&self.own_pods(), &pod, &container_id).await?);
        Ok(())
    }

    async fn act(&mut self) -> anyhow::Result<Instant> {
        let word = if self.mode == DrillMode::Pause { "STOP" } else { "KILL" };
        self.session.as_mut().context("there is no way to the holder's node")?.say(word).await
    }

    async fn resume(&mut self) -> anyhow::Result<()> {
        self.session.as_mut().context("there is no way to the holder's node")?.say("CONT").await?;
        Ok(())
    }

    async fn replace(&mut self, is_last: bool) -> anyhow::Result<Vec<String>> {
        self.session = None;
        if !is_last {
            self.pods.wait_for_replacement(false).await?;
        }
        Ok(Vec::new())
    }

    async fn mind(&mut self) -> anyhow::Result<String> {
        std::future::pending().await
    }

    fn hint(&self) -> String {
        self.pods.hint()
    }

    async fn leave(&mut self) {
        if let Some(mut session) = self.session.take()
            && let Err(error) = session.say("CONT").await
        {
            // The script does the same when its stdin ends, and the Pod when it is ended.
            narrate(format_args!("the holder may not have been told to go on: {error:#}"));
        }
        if self.was_namespace_made {
            match self.remove_namespace().await {
                Ok(()) => self.was_namespace_made = false,
                Err(error) => narrate(format_args!(
                    "cannot remove namespace {0}: {error:#}; `kubectl delete namespace {0}` does",
                    self.namespace
                )),
            }
        }
    }
}
