//! A TCP relay between a replica and the API server, which does to bytes what networks and proxies do.
//!
//! Knows nothing of TLS or HTTP. What it took it delivers, also when its sender has reset the connection by then, as the worst of
//! proxies does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// A piece read at once; more than one TLS record.
const PIECE_BYTES: usize = 64 << 10;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// They pass.
    Clear,
    /// They pass this much later, requests and answers.
    Slow {
        /// Towards the API server.
        requests: Duration,
        /// Towards the replica.
        answers: Duration,
    },
    /// Half of the next piece of a request passes; the rest, and all after it, waits for other weather.
    StalledRequests,
    /// Requests pass. The first byte of an answer ends its connection.
    LostAnswers,
    /// Connections there are carry nothing more, ever, and nobody is told; new ones are fine.
    HalfOpen,
}

/// Listens on loopback, until dropped.
#[derive(Debug)]
pub struct WeatherRelay {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    _tasks: JoinSet<()>,
}

impl WeatherRelay {
    /// Towards the API server at `target`.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let weather = watch::Sender::new(Weather::Clear);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, target, weather.clone()));
        Self { address, weather, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, weather: watch::Sender<Weather>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        connections.spawn(carry(client, target, weather.subscribe()));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(client: TcpStream, target: SocketAddr, weather: watch::Receiver<Weather>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        // Without it pieces wait for each other, which is weather nobody asked for.
        drop(stream.set_nodelay(true));
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let direction = |requests| Direction { requests, born_in: *weather.borrow(), weather: weather.clone() };
    // Both at once, or the first that says the connection is lost.
    drop(tokio::try_join!(
        direction(true).carry(from_client, to_server),
        direction(false).carry(from_server, to_client)
    ));
}

/// One direction of one connection.
struct Direction {
    requests: bool,
    /// The weather when the connection began.
    born_in: Weather,
    weather: watch::Receiver<Weather>,
}

/// Bytes, and when they are to go on.
type Piece = (Instant, Vec<u8>);

impl Direction {
    async fn carry(mut self, mut from: OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
        let (queue, queued) = mpsc::unbounded_channel();
        let (requests, weather) = (self.requests, self.weather.clone());
        let read = async move {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                match from.read(&mut piece).await {
                    Ok(0) => return Ok(()),
                    Ok(count) => {
                        let due = Instant::now() + weather.borrow().delay(requests);
                        if queue.send((due, piece[..count].to_vec())).is_err() {
                            return Ok(());
                        }
                    }
                    // A reset goes no further: what came before is delivered, and the receiver is not told to drop it.
                    Err(_) => std::future::pending().await,
                }
            }
        };
        tokio::try_join!(read, self.deliver(queued, to)).map(drop)
    }

    async fn deliver(&mut self, mut queued: mpsc::UnboundedReceiver<Piece>, mut to: OwnedWriteHalf) -> io::Result<()> {
        while let Some((due, piece)) = queued.recv().await {
            sleep_until(due).await;
            let now = *self.weather.borrow();
            let mut rest = piece.as_slice();
            match now {
                Weather::StalledRequests if self.requests => {
                    let (half, other) = piece.split_at(piece.len() / 2);
                    to.write_all(half).await?;
                    rest = other;
                    // The relay lives as long as its tasks.
                    let _ = self.weather.wait_for(|weather| *weather != Weather::StalledRequests).await;
                }
                Weather::LostAnswers if !self.requests => return Err(io::ErrorKind::ConnectionAborted.into()),
                Weather::HalfOpen if self.born_in != Weather::HalfOpen => std::future::pending().await,
                _ => {}
            }
            to.write_all(rest).await?;
        }
        to.shutdown().await
    }
}

impl Weather {
    fn delay(self, of_requests: bool) -> Duration {
        match self {
            Self::Slow { requests, .. } if of_requests => requests,
            Self::Slow { answers, .. } => answers,
            _ => Duration::ZERO,
        }
    }
}
