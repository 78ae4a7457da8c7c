//! The other end of a gate's connection: a socket that does exactly what a test says.
#![expect(clippy::unwrap_used, reason = "in a test a surprise should panic where it happens")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenure_cluster::{Cluster, ResourceKey, TermWriter, Write, WriterSettings};
use tenure_election::{Authority, Clock, Instant, LiveTerm, Term};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

pub(crate) const OBJECT: &str = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"ns","resourceVersion":"42","managedFields":[{}]}}"#;

pub(crate) fn start() -> Instant {
    Instant { boot: Duration::from_secs(1000), wall: Duration::from_secs(1_700_000_000) }
}

/// A term that ends 12 s after [`start`].
pub(crate) fn live_term() -> Arc<LiveTerm> {
    Arc::new(LiveTerm::new(&Authority {
        term: Term::new(7).unwrap(),
        soft_until: start().after(Duration::from_secs(10)),
        hard_until: start().after(Duration::from_secs(12)),
    }))
}

/// A clock that stands still, and jumps past every deadline after a given number of looks.
pub(crate) struct CountedClock(AtomicU64);

impl CountedClock {
    pub(crate) fn endless() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(u64::MAX)))
    }

    /// This many more looks pass.
    pub(crate) fn allow(&self, looks: u64) {
        self.0.store(looks, Ordering::SeqCst);
    }
}

impl Clock for CountedClock {
    fn now(&self) -> Instant {
        let left = self.0.load(Ordering::SeqCst);
        self.0.store(left.saturating_sub(1), Ordering::SeqCst);
        if left == 0 { start().after(Duration::from_secs(3600)) } else { start() }
    }
}

pub(crate) const SETTINGS: WriterSettings =
    WriterSettings { write_timeout: Duration::from_secs(60), margin: Duration::from_secs(2), connections_max: 4 };

pub(crate) struct Gate {
    pub(crate) live: Arc<LiveTerm>,
    pub(crate) clock: Arc<CountedClock>,
    pub(crate) writer: Arc<TermWriter>,
}

pub(crate) fn gate(config: kube::Config, settings: WriterSettings) -> Gate {
    let (live, clock) = (live_term(), CountedClock::endless());
    let cluster = Cluster::new(config, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let writer = TermWriter::open(&cluster, Arc::clone(&live), settings).unwrap();
    Gate { live, clock, writer }
}

pub(crate) fn plain(address: SocketAddr) -> kube::Config {
    kube::Config::new(format!("http://{address}").parse().unwrap())
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) fn config_maps() -> ResourceKey {
    ResourceKey {
        group: String::new(),
        version: "v1".into(),
        plural: "configmaps".into(),
        kind: "ConfigMap".into(),
        namespaced: true,
    }
}

pub(crate) fn replace(body: impl Into<bytes::Bytes>) -> Write {
    Write::replace(config_maps(), Some("ns"), "a", body.into())
}

/// Reads one request, head and body, as text.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "the connection ended within a request: {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
    }
}

pub(crate) async fn answer(stream: &mut (impl AsyncWrite + Unpin), code: u16, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

/// Reads until the connection ends: how many bytes came, and whether it ended by a reset.
pub(crate) async fn drain(stream: &mut (impl AsyncRead + Unpin)) -> (usize, bool) {
    let mut total = 0;
    let mut piece = vec![0; 1 << 16];
    loop {
        match stream.read(&mut piece).await {
            Ok(0) => return (total, false),
            Ok(count) => total += count,
            Err(error) => return (total, error.kind() == std::io::ErrorKind::ConnectionReset),
        }
    }
}
