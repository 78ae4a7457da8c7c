//! The API server that all are measured on, with its audit log, and what is asked of it for the measurement itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::json;

use crate::demo::Api;
use crate::process::{self, Running};

/// Where the Leases are.
pub(crate) const LOCKS: &str = "peers-locks";

/// The group in the candidates' certificates.
const GROUP: &str = "peers";

/// etcd and kube-apiserver are ready in 3 s; a loaded machine takes longer.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How many requests at once make objects.
const HANDS: usize = 4;

/// What the program that runs the API server says when it is ready.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    /// `address:port` on loopback.
    pub(crate) address: String,
    /// The administrator's.
    kubeconfig: PathBuf,
    /// One for each user asked for.
    pub(crate) users: BTreeMap<String, PathBuf>,
    pub(crate) audit: PathBuf,
    /// What it is, such as `v1.36.3`.
    pub(crate) version: String,
}

/// A running API server. Dropped: ended, with its data.
pub(crate) struct Server {
    pub(crate) ready: Ready,
    /// The administrator's way in, over `kubectl proxy`.
    pub(crate) api: Api,
    // Ended in this order.
    _proxy: Running,
    _program: Running,
}

impl Server {
    /// Starts it, with a kubeconfig for each user.
    pub(crate) fn start(
        mut program: Command,
        kubectl: &Path,
        users: impl Iterator<Item = String>,
    ) -> anyhow::Result<Self> {
        program.args(["--group", GROUP]).args(users);
        let (running, line) = started(&mut program, "the API server")?;
        let ready: Ready = serde_json::from_str(&line).with_context(|| format!("the API server said {line:?}"))?;
        let mut command = Command::new(kubectl);
        command.args(["proxy", "--port=0", "--kubeconfig"]).arg(&ready.kubeconfig);
        let (proxy, line) = started(&mut command, "kubectl proxy")?;
        let address = line.trim().rsplit(' ').next().context("kubectl proxy says no address")?;
        let api = Api::at(&format!("http://{address}"));
        let server = Self { ready, api, _proxy: proxy, _program: running };
        server.grant_all()?;
        server.namespace(LOCKS)?;
        Ok(server)
    }

    /// What candidates may do is not what is measured: everything.
    fn grant_all(&self) -> anyhow::Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": GROUP},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": GROUP}],
        });
        self.api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).map(drop)
    }

    /// Makes a namespace.
    pub(crate) fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.api.create("/api/v1/namespaces", &namespace).map(drop)
    }

    /// Gives a namespace's label a value: work for the label-propagator.
    pub(crate) fn label(&self, namespace: &str, team: &str) -> anyhow::Result<()> {
        let patch = json!({"metadata": {"labels": {"team": team}}});
        self.api.merge(&format!("/api/v1/namespaces/{namespace}"), &patch).map(drop)
    }

    /// Makes ConfigMaps, all alike but for their names.
    pub(crate) fn config_maps(&self, namespace: &str, names: &[String]) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let create = |names: &[String]| {
            names.iter().try_for_each(|name| {
                let metadata = json!({"name": name, "labels": {"probe": "true"}});
                let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}});
                self.api.create(&path, &object).map(drop)
            })
        };
        std::thread::scope(|scope| {
            let share = names.len().div_ceil(HANDS).max(1);
            let hands: Vec<_> = names.chunks(share).map(|share| scope.spawn(move || create(share))).collect();
            hands.into_iter().try_for_each(|hand| match hand.join() {
                Ok(made) => made,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// Deletes all ConfigMaps of a namespace.
    pub(crate) fn clear(&self, namespace: &str) -> anyhow::Result<()> {
        self.api.delete(&format!("/api/v1/namespaces/{namespace}/configmaps")).map(drop)
    }
}

/// Starts a program and waits for its first line.
fn started(command: &mut Command, what: &str) -> anyhow::Result<(Running, String)> {
    command.stdout(Stdio::piped());
    let mut running = Running::start(command)?;
    let stdout = running.child().stdout.take().context("no pipe from a child")?;
    let (sender, lines) = std::sync::mpsc::channel();
    // Ends with the program; what it says later is read, so that it never waits for us.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    match lines.recv_timeout(START_LIMIT) {
        Ok(line) => Ok((running, line)),
        Err(_) => bail!("{what} was not ready within {}", process::seconds(START_LIMIT)),
    }
}
