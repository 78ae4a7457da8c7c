//! The listener and its four pages.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Metrics, Status};

/// Probes, scrapers and people together hold a handful; past this, new connections wait to be accepted, so that nobody
/// on the pod network can use up the file descriptors the election needs.
const CONNECTIONS_MAX: usize = 256;

/// A connection that sends no request for this long is closed, idle or slow.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long answers under way may take once the replica ends. They are small: a peer that reads slower is not waited for.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// How long to wait after `accept` failed for want of a resource (`EMFILE`): the kernel would answer the same at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether a restart would help.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Health {
    /// Whether all is well.
    pub ok: bool,
    /// Why not; for people.
    pub message: String,
}

impl Health {
    /// All is well.
    pub fn healthy() -> Self {
        Self { ok: true, message: String::new() }
    }

    /// A restart would help, because of `reason`.
    pub fn unhealthy(reason: impl Into<String>) -> Self {
        Self { ok: false, message: reason.into() }
    }
}

/// Whether this replica could do its part: lead, or stand by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Readiness {
    /// Whether it could.
    pub ok: bool,
    /// What it waits for; for people.
    pub message: String,
}

impl Readiness {
    /// It could lead now.
    pub fn ready() -> Self {
        Self { ok: true, message: String::new() }
    }

    /// It waits for `reason`.
    pub fn waiting(reason: impl Into<String>) -> Self {
        Self { ok: false, message: reason.into() }
    }
}

/// What the console asks the replica. Called on the runtime's threads for each request: must not block.
pub trait View: Send + Sync + 'static {
    /// `/healthz`. client-go's rule: unhealthy is a leader that has not renewed for longer than its lease plus a tolerance
    /// and is still there (`leaderelection.LeaderElector.Check`); a standby is always healthy.
    fn health(&self) -> Health;

    /// `/readyz`.
    fn ready(&self) -> Readiness;

    /// `/status`.
    fn status(&self) -> Status;

    /// Called before each scrape: the place to set gauges that only matter when somebody looks.
    fn before_scrape(&self, _metrics: &Metrics) {}
}

#[derive(Clone)]
struct Pages {
    view: Arc<dyn View>,
    metrics: Arc<Metrics>,
}

/// The pages as a tower Service, without a listener.
pub fn router(view: Arc<dyn View>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/livez", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .route("/status", get(status))
        .fallback(not_found)
        .with_state(Pages { view, metrics })
}

/// Serves the pages on `listener` until `shutdown` is done, then ends within a second.
///
/// # Errors
/// When the listener itself is broken. Troubles of one connection, or a passing lack of file descriptors, are not errors.
pub async fn serve(
    listener: TcpListener,
    view: Arc<dyn View>,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let router = router(view, metrics);
    let (ending, watch_ending) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, router.clone(), watch_ending.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "console cannot accept connections for the moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Err(error) => return Err(error),
            },
        }
    }
    drop(listener);
    ending.send_replace(true);
    let answered = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_LIMIT, answered).await.is_err() {
        tracing::debug!(connections = connections.len(), "console closes connections that have not finished");
    }
    Ok(())
}

async fn serve_connection(stream: TcpStream, router: Router, mut ending: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // What goes wrong on one connection is its peer's affair: hyper has closed it.
    tokio::select! {
        _ = &mut connection => return,
        _ = ending.wait_for(|ending| *ending) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// The peer was gone before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Neither the listener nor a peer is at fault: file descriptors or memory ran out, which may pass.
fn is_passing(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::NotConnected)
}

async fn healthz(State(pages): State<Pages>) -> Response {
    let Health { ok, message } = pages.view.health();
    probe(ok, message)
}

async fn readyz(State(pages): State<Pages>) -> Response {
    let Readiness { ok, message } = pages.view.ready();
    probe(ok, message)
}

/// `ok` or the reason, as the kubelet shows it in the Pod's events. 500 is what Kubernetes' own components answer.
fn probe(ok: bool, message: String) -> Response {
    let code = if ok { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    let body = if ok && message.is_empty() { "ok".to_owned() } else { message };
    (code, [(header::CACHE_CONTROL, "no-store")], body + "\n").into_response()
}

async fn scrape(State(pages): State<Pages>) -> Response {
    pages.view.before_scrape(&pages.metrics);
    let headers = [(header::CONTENT_TYPE, Metrics::CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    (headers, pages.metrics.encode()).into_response()
}

async fn status(State(pages): State<Pages>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(pages.view.status())).into_response()
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "not here; there are /healthz, /livez, /readyz, /metrics and /status\n").into_response()
}
