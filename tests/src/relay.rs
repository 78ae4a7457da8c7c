//! A TCP relay between a client and the API server, which does to bytes what networks and proxies do.
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

use crate::until;

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
        /// Towards the client.
        answers: Duration,
    },
    /// Requests wait for other weather. Answers, and watches that are open, pass.
    HeldRequests,
    /// Half of the next piece of a request passes; the rest, and all after it, waits for other weather.
    StalledRequests,
    /// Requests pass. The first byte of an answer ends its connection.
    LostAnswers,
    /// Connections there are carry nothing more, ever, and nobody is told; new ones are fine.
    HalfOpen,
}

/// Listens on loopback, until dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: State,
    _tasks: JoinSet<()>,
}

/// What all connections of a relay share.
#[derive(Debug, Clone)]
struct State {
    weather: watch::Sender<Weather>,
    /// Connections that are to end count them.
    cuts: watch::Sender<u64>,
    /// Pieces that were made to wait since the weather was set.
    waiting: watch::Sender<usize>,
}

impl Relay {
    /// Before the API server at `server`.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (weather, cuts, waiting) =
            (watch::Sender::new(Weather::Clear), watch::Sender::new(0), watch::Sender::new(0));
        let state = State { weather, cuts, waiting };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, server, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on. What waited for other weather goes on.
    pub fn set(&self, weather: Weather) {
        self.state.waiting.send_replace(0);
        self.state.weather.send_replace(weather);
    }

    /// Waits until part of a request waits.
    pub async fn holds_something(&self) {
        until("bytes that wait", || async { *self.state.waiting.borrow() > 0 }).await;
    }

    /// Ends every connection there is; new ones are taken.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, state: State) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        connections.spawn(carry(client, server, state.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(client: TcpStream, server: SocketAddr, state: State) {
    let mut cuts = state.cuts.subscribe();
    let Ok(server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        // Without it pieces wait for each other, which is weather nobody asked for.
        drop(stream.set_nodelay(true));
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let direction = |requests| Direction {
        requests,
        born_in: *state.weather.borrow(),
        weather: state.weather.subscribe(),
        waiting: state.waiting.clone(),
    };
    tokio::select! {
        // Both at once, or the first that says the connection is lost.
        _ = async {
            tokio::try_join!(
                direction(true).carry(from_client, to_server),
                direction(false).carry(from_server, to_client)
            )
        } => {}
        _ = cuts.changed() => {}
    }
}

/// One direction of one connection.
struct Direction {
    requests: bool,
    /// The weather when the connection began.
    born_in: Weather,
    weather: watch::Receiver<Weather>,
    waiting: watch::Sender<usize>,
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
        let mut has_waited = false;
        while let Some((due, piece)) = queued.recv().await {
            sleep_until(due).await;
            let now = *self.weather.borrow();
            let mut rest = piece.as_slice();
            match now {
                Weather::HeldRequests if self.requests => {
                    self.other_weather_than(now).await;
                    has_waited = true;
                }
                Weather::StalledRequests if self.requests => {
                    let (half, other) = piece.split_at(piece.len() / 2);
                    to.write_all(half).await?;
                    rest = other;
                    self.other_weather_than(now).await;
                    has_waited = true;
                }
                Weather::LostAnswers if !self.requests => return Err(io::ErrorKind::ConnectionAborted.into()),
                Weather::HalfOpen if self.born_in != Weather::HalfOpen => std::future::pending().await,
                _ => {}
            }
            to.write_all(rest).await?;
        }
        if has_waited {
            // The API server gives a request up whose client goes away. It is not told, and ends the connection in its own time.
            std::future::pending::<()>().await;
        }
        to.shutdown().await
    }

    async fn other_weather_than(&mut self, now: Weather) {
        self.waiting.send_modify(|waiting| *waiting += 1);
        // The relay lives as long as its tasks.
        drop(self.weather.wait_for(|weather| *weather != now).await);
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
