//! The Kubernetes API that the replicas run on: in this process, or etcd and kube-apiserver as its children.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tenure_control_plane::{Assets, ControlPlane};
use tenure_local_cluster::LocalCluster;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::{DevApi, DevArgs};

/// An API that answers.
pub(super) enum RunningApi {
    Memory { cluster: LocalCluster, address: SocketAddr, ends: CancellationToken, task: JoinHandle<anyhow::Result<()>> },
    Real(Box<ControlPlane>),
}

impl RunningApi {
    /// Starts the one that was asked for. Its kubeconfig lies in `folder`.
    pub(super) async fn start(args: &DevArgs, folder: &Path) -> anyhow::Result<Self> {
        match args.api {
            DevApi::Memory => Self::start_in_memory(args, folder).await,
            DevApi::Real => {
                let assets = Assets::find().context("cannot run --api real")?;
                let mut builder = ControlPlane::builder(assets).port(args.port);
                if let Some(data) = &args.data {
                    builder = builder.data(data.join("control-plane"));
                }
                Ok(Self::Real(Box::new(builder.start().await.context("cannot run --api real")?)))
            }
        }
    }

    async fn start_in_memory(args: &DevArgs, folder: &Path) -> anyhow::Result<Self> {
        let mut builder = LocalCluster::builder();
        if let Some(data) = &args.data {
            builder = builder.data(data.join("objects"));
        }
        let cluster =
            builder.build().with_context(|| format!("cannot restore the cluster from {}", folder.display()))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await.with_context(|| {
            format!("cannot listen on 127.0.0.1:{}; give a free port with --port, or 0 for any", args.port)
        })?;
        let address = listener.local_addr()?;
        std::fs::write(folder.join("kubeconfig"), cluster.kubeconfig(address))?;
        let ends = CancellationToken::new();
        let (serving, end) = (cluster.clone(), ends.clone());
        let task = tokio::spawn(async move {
            serving.serve(listener, end.cancelled_owned()).await.context("the Kubernetes API in memory failed")
        });
        Ok(Self::Memory { cluster, address, ends, task })
    }

    /// What it is, for people.
    pub(super) fn description(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "Kubernetes API in memory",
            Self::Real(_) => "kube-apiserver",
        }
    }

    /// Where it answers.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Memory { address, .. } => format!("http://{address}"),
            Self::Real(control_plane) => control_plane.url(),
        }
    }

    /// An administrator's kubeconfig.
    pub(super) fn kubeconfig(&self, folder: &Path) -> PathBuf {
        match self {
            Self::Memory { .. } => folder.join("kubeconfig"),
            Self::Real(control_plane) => control_plane.kubeconfig(),
        }
    }

    /// An administrator's client.
    pub(super) async fn client(&self) -> anyhow::Result<kube::Client> {
        match self {
            Self::Memory { cluster, .. } => Ok(kube::Client::new(cluster.clone(), "default")),
            Self::Real(control_plane) => Ok(control_plane.client().await?),
        }
    }

    /// Waits until it can no longer answer, and says why.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        match self {
            Self::Memory { task, .. } => match task.await {
                Ok(Ok(())) => anyhow::anyhow!("the Kubernetes API in memory ended"),
                Ok(Err(error)) => error,
                Err(error) => anyhow::Error::new(error).context("the task of the Kubernetes API in memory failed"),
            },
            Self::Real(control_plane) => control_plane.failed().await.into(),
        }
    }

    /// Ends it in order.
    pub(super) async fn end(self) {
        match self {
            Self::Memory { ends, task, .. } => {
                ends.cancel();
                // How it ended no longer matters; a task that has already been awaited is not awaited again.
                if !task.is_finished() {
                    let _ = task.await;
                }
            }
            Self::Real(control_plane) => control_plane.end().await,
        }
    }
}
