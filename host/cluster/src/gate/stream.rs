//! The TCP stream of one connection of a term, under TLS: looks at the clocks before each `write(2)`.
//!
//! Keeps, for the request under way, which look was the last that a `write(2)` followed: that is what tells a late write that
//! had already left (residue) from one that must never have begun.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tenure_election::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::lookout::Lookout;
use super::registry::{Registration, Registry};
#[cfg(feature = "failpoints")]
use crate::failpoints::{Point, reach};

/// What one connection knows of the request it carries. HTTP/1 without pipelining: one at a time.
#[derive(Debug)]
pub(crate) struct ConnectionRecord {
    registry: Arc<Registry>,
    socket: u64,
    request: Mutex<Option<Sent>>,
}

/// What of a request has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The last look at the clocks that a successful `write(2)` followed.
    pub(crate) passed_at: Option<Instant>,
    /// Bytes the kernel took, as they are on the wire (under TLS more than the request has).
    pub(crate) bytes: u64,
    /// Whether a look failed.
    pub(crate) refused: bool,
}

impl ConnectionRecord {
    pub(crate) const fn new(registry: Arc<Registry>, socket: u64) -> Self {
        Self { registry, socket, request: Mutex::new(None) }
    }

    /// From here on what is written belongs to a request.
    pub(crate) fn begin(&self) {
        *self.lock() = Some(Sent::default());
    }

    /// What of the request under way has left so far.
    pub(crate) fn sent(&self) -> Sent {
        self.lock().unwrap_or_default()
    }

    /// The request is over.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    /// Resets the connection: what the kernel still holds of the request will not go out.
    pub(crate) fn reset(&self) {
        self.registry.reset(self.socket);
    }

    #[cfg(feature = "failpoints")]
    fn has_request(&self) -> bool {
        self.lock().is_some()
    }

    fn update(&self, change: impl FnOnce(&mut Sent)) {
        if let Some(sent) = &mut *self.lock() {
            change(sent);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Sent>> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A TCP stream that writes nothing without authority.
pub(crate) struct GatedStream {
    // Dropped before `tcp`: the registry's descriptor must not outlive the stream's, or closing would not reset.
    _registration: Registration,
    tcp: TcpStream,
    lookout: Arc<Lookout>,
    registry: Arc<Registry>,
    record: Arc<ConnectionRecord>,
}

impl GatedStream {
    pub(crate) fn new(
        tcp: TcpStream,
        lookout: Arc<Lookout>,
        registry: Arc<Registry>,
        registration: Registration,
    ) -> Self {
        let record = Arc::new(ConnectionRecord::new(Arc::clone(&registry), registration.number()));
        Self { _registration: registration, tcp, lookout, registry, record }
    }

    /// The one place where bytes of this term enter the kernel.
    fn poll_gated(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        #[cfg(feature = "failpoints")]
        if self.record.has_request() {
            reach(Point::BeforeLastLook);
        }
        let passed_at = match self.lookout.look() {
            Ok(now) => now,
            Err(closed) => {
                self.record.update(|sent| sent.refused = true);
                self.registry.sever();
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, closed)));
            }
        };
        #[cfg(feature = "failpoints")]
        if self.record.has_request() {
            reach(Point::AfterLastLook);
        }
        let result = write(Pin::new(&mut self.tcp), cx);
        if let Poll::Ready(Ok(bytes)) = &result {
            self.record.update(|sent| {
                sent.passed_at = Some(passed_at);
                sent.bytes += *bytes as u64;
            });
        }
        result
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_gated(cx, |tcp, cx| tcp.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_gated(cx, |tcp, cx| tcp.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

impl AsyncRead for GatedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, into)
    }
}

impl Connection for GatedStream {
    /// Hands the record up through TLS, to whoever sends requests over this connection.
    fn connected(&self) -> Connected {
        Connected::new().extra(Arc::clone(&self.record))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use http::Uri;
    use hyper_util::rt::TokioIo;
    use tenure_election::Clock;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tower::ServiceExt as _;

    use super::super::connector::GatedConnector;
    use super::super::lookout::tests::{SetClock, live_term, start};
    use super::*;

    struct Pair {
        clock: Arc<SetClock>,
        registry: Arc<Registry>,
        gated: GatedStream,
        peer: TcpStream,
    }

    async fn pair() -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (clock, registry) = (SetClock::new(), Arc::new(Registry::default()));
        let connector = GatedConnector {
            lookout: Arc::new(Lookout::new(live_term(), Arc::clone(&clock) as Arc<dyn Clock>)),
            registry: Arc::clone(&registry),
            unacknowledged_max: Duration::from_secs(2),
        };
        let (gated, accepted) = tokio::join!(connector.oneshot(target), listener.accept());
        let gated = TokioIo::into_inner(gated.unwrap());
        Pair { clock, registry, gated, peer: accepted.unwrap().0 }
    }

    /// Reads all there is: how much, and whether the end was a reset.
    async fn drain(mut peer: TcpStream) -> (usize, bool) {
        let (mut total, mut piece) = (0, vec![0; 1 << 16]);
        loop {
            match peer.read(&mut piece).await {
                Ok(0) => return (total, false),
                Ok(count) => total += count,
                Err(error) => return (total, error.kind() == io::ErrorKind::ConnectionReset),
            }
        }
    }

    #[tokio::test]
    async fn an_expired_clock_stops_vectored_writes_as_well_as_plain_ones() {
        for vectored in [false, true] {
            let Pair { clock, gated: mut stream, peer, .. } = pair().await;
            stream.record.begin();
            assert!(stream.is_write_vectored());
            let slices = [IoSlice::new(b"one"), IoSlice::new(b"two")];
            assert_eq!(stream.write_vectored(&slices).await.unwrap(), 6);
            clock.set(start().after(Duration::from_secs(12)));
            let late = if vectored { stream.write_vectored(&slices).await } else { stream.write(b"late").await };
            assert_eq!(late.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            assert_eq!(stream.record.sent(), Sent { passed_at: Some(start()), bytes: 6, refused: true });
            assert_eq!(drain(peer).await, (6, true));
        }
    }

    #[tokio::test]
    async fn severing_throws_away_what_the_kernel_has_queued() {
        let Pair { registry, gated: mut stream, peer, .. } = pair().await;
        let piece = vec![0; 1 << 16];
        let mut queued = 0;
        // Until both kernels' buffers are full: the peer reads nothing.
        while let Poll::Ready(taken) = poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_write(cx, &piece))).await {
            queued += taken.unwrap();
            tokio::task::yield_now().await;
        }
        std::thread::spawn(move || registry.sever()).join().unwrap();
        let (arrived, reset) = drain(peer).await;
        assert!(reset, "the peer must see a reset");
        assert!(arrived < queued, "all {queued} bytes the kernel had taken arrived after the sever");
        assert!(stream.write(b"late").await.is_err());
    }

    #[tokio::test]
    async fn the_registry_holds_a_socket_as_long_as_its_stream_and_none_once_severed() {
        let Pair { registry, gated, peer, .. } = pair().await;
        assert_eq!(registry.len(), 1);
        drop(gated);
        assert_eq!(registry.len(), 0);
        assert_eq!(drain(peer).await, (0, true), "closing resets: nothing lingers");
        registry.sever();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        assert_eq!(registry.register(&socket).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
