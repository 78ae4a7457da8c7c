//! The API server of a world: in this process, or a real one.

use std::net::SocketAddr;

use tenure_local_cluster::LocalCluster;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::RealApi;

pub(crate) enum Server {
    Memory { cluster: LocalCluster, address: SocketAddr, task: JoinHandle<()> },
    Real(RealApi),
}

impl Server {
    pub(crate) async fn in_memory() -> Self {
        let cluster = LocalCluster::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let serving = cluster.clone();
        let task =
            tokio::spawn(async move { serving.serve(listener, std::future::pending()).await.expect("the API serves") });
        Self::Memory { cluster, address, task }
    }

    pub(crate) fn memory(&self) -> &LocalCluster {
        match self {
            Self::Memory { cluster, .. } => cluster,
            Self::Real(_) => panic!("this world is on a real API server, which has no faults to order"),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Memory { address, .. } => *address,
            Self::Real(api) => api.address(),
        }
    }

    /// What a replica in the Pod `pod` reaches the API with; the API in memory asks nobody who he is.
    pub(crate) async fn kubeconfig(&self, namespace: &str, account: &str, pod: &str, at: Option<SocketAddr>) -> String {
        match self {
            Self::Memory { cluster, address, .. } => cluster.kubeconfig(at.unwrap_or(*address)),
            Self::Real(api) => api.pod_kubeconfig(namespace, account, pod, at).await,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Memory { task, .. } = self {
            task.abort();
        }
    }
}
