//! A TCP relay between a process and the API server: it can hold what goes to the server, and let it go later. Reads nothing of
//! what it passes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::until;

/// A relay on loopback; ends when dropped.
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    holding: watch::Sender<bool>,
    /// Counts the cuts.
    cuts: watch::Sender<u64>,
    held_bytes: AtomicU64,
}

impl Relay {
    /// Before the server at `server`.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (holding, cuts) = (watch::Sender::new(false), watch::Sender::new(0));
        let state = Arc::new(State { holding, cuts, held_bytes: AtomicU64::new(0) });
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connection(client, server, Arc::clone(&shared)));
            }
        });
        Self { address, state, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on keeps what clients send. Answers, and watches that are open, pass as before.
    pub fn hold(&self) {
        self.state.held_bytes.store(0, Ordering::SeqCst);
        self.state.holding.send_replace(true);
    }

    /// Waits until it keeps something.
    pub async fn holds_something(&self) {
        until("bytes to hold", || async { self.state.held_bytes.load(Ordering::SeqCst) > 0 }).await;
    }

    /// Hands over what it kept, also of clients that went away meanwhile, as a network does that was slow.
    pub fn let_go(&self) {
        self.state.holding.send_replace(false);
    }

    /// Ends every connection there is; new ones are taken.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn connection(client: TcpStream, server: SocketAddr, state: Arc<State>) {
    let mut cuts = state.cuts.subscribe();
    let Ok(server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        // A delay of its own would be one nobody asked for; where it cannot be had, it is one of 40 ms.
        let _ = stream.set_nodelay(true);
    }
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let requests = pass_requests(from_client, to_server, &state);
    let answers = async {
        // A client that went away no longer hears; the server is heard to its end all the same.
        if tokio::io::copy(&mut from_server, &mut to_client).await.is_err() {
            let _ = tokio::io::copy(&mut from_server, &mut tokio::io::sink()).await;
        }
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(requests, answers) } => {}
        _ = cuts.changed() => {}
    }
}

/// A client's end is passed on only when nothing of it was held: the API server gives a request up whose client goes away.
async fn pass_requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
    let mut holding = state.holding.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    let mut held = Vec::new();
    let mut was_held = false;
    let mut is_open = true;
    while is_open || !held.is_empty() {
        if !*holding.borrow_and_update() && !held.is_empty() {
            if to.write_all(&held).await.is_err() {
                return;
            }
            held.clear();
            continue;
        }
        tokio::select! {
            changed = holding.changed() => if changed.is_err() { return },
            read = from.read(&mut buffer), if is_open => match read {
                Ok(0) | Err(_) => is_open = false,
                Ok(bytes) => {
                    held.extend_from_slice(&buffer[..bytes]);
                    if *holding.borrow() {
                        was_held = true;
                        state.held_bytes.fetch_add(bytes as u64, Ordering::SeqCst);
                    }
                }
            },
        }
    }
    if was_held {
        // Keeps the connection open until the server ends it.
        std::future::pending::<()>().await;
    }
}
