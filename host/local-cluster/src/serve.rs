//! The cluster on a socket: HTTP/1.1, one task a connection, all ended before [`LocalCluster::serve`] returns.
//!
//! No TLS and no authentication: it is meant for loopback.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::LocalCluster;

/// How long answers under way may take once a shutdown began.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);
/// Pause after a failed `accept`, which is mostly a lack of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

impl LocalCluster {
    /// Serves connections until `shutdown` is ready; `std::future::pending()` serves for ever. Then no new ones are taken, watches
    /// end, answers under way have 2 s, and every connection is closed.
    ///
    /// # Errors
    /// None while it serves: a failed connection ends alone, a failed `accept` is tried again. The signature leaves room.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let (closing, closed) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve_connection(self.clone(), stream, closed.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        closing.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_MAX, drained).await.is_err() {
            connections.shutdown().await;
        }
        Ok(())
    }

    /// A kubeconfig for a cluster served at `address`, as YAML that kubectl and kube-rs read.
    #[must_use]
    pub fn kubeconfig(&self, address: SocketAddr) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: tenure-local\n  cluster:\n    server: http://{address}\n\
             contexts:\n- name: tenure-local\n  context:\n    cluster: tenure-local\n    user: tenure-local\n    \
             namespace: default\ncurrent-context: tenure-local\nusers:\n- name: tenure-local\n  user: {{}}\n"
        )
    }
}

async fn serve_connection(cluster: LocalCluster, stream: TcpStream, mut closing: watch::Receiver<bool>) {
    // Small answers must not wait for Nagle.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    // No limit on how long a client may be silent: pools keep connections open, and whoever is on loopback is trusted.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(cluster.ending_with(closing.clone())));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = async { drop(closing.wait_for(|closing| *closing).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
