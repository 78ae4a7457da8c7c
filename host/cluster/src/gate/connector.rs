//! Opens the connections of one term: straight to the API server, no proxy, every socket registered before it connects.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpSocket, lookup_host};
use tower::Service;

use super::lookout::Lookout;
use super::registry::Registry;
use super::stream::GatedStream;

/// Opens TCP connections that write nothing without authority; kube's TLS goes on top.
#[derive(Clone)]
pub(crate) struct GatedConnector {
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) registry: Arc<Registry>,
    /// At most this long may sent bytes stay unacknowledged before the kernel gives the connection up.
    pub(crate) unacknowledged_max: Duration,
}

impl GatedConnector {
    async fn connect(self, target: Uri) -> io::Result<TokioIo<GatedStream>> {
        let no_host = || io::Error::new(io::ErrorKind::InvalidInput, "the API server's address names no host");
        // An IPv6 address stands in brackets in a URI and without them everywhere else.
        let host = target.host().ok_or_else(no_host)?.trim_start_matches('[').trim_end_matches(']');
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in lookup_host((host, port(&target))).await? {
            match self.connect_to(address).await {
                Ok(stream) => return Ok(TokioIo::new(stream)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<GatedStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Closing resets: nothing of a term lingers in the kernel after its stream is gone.
        socket.set_zero_linger()?;
        socket.set_nodelay(true)?;
        let milliseconds = u32::try_from(self.unacknowledged_max.as_millis()).unwrap_or(u32::MAX).max(1);
        set_tcp_user_timeout(&socket, milliseconds)?;
        let registration = self.registry.register(&socket)?;
        let tcp = socket.connect(address).await?;
        Ok(GatedStream::new(tcp, Arc::clone(&self.lookout), Arc::clone(&self.registry), registration))
    }
}

impl Service<Uri> for GatedConnector {
    type Response = TokioIo<GatedStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        Box::pin(self.clone().connect(target))
    }
}

fn port(target: &Uri) -> u16 {
    target.port_u16().unwrap_or(if target.scheme_str() == Some("http") { 80 } else { 443 })
}
