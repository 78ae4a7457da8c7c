//! The connections of one term: at most so many, each with one request at a time. HTTP/1 only.
//!
//! A pool of our own rather than hyper-util's, because that one repeats requests by itself and cannot say which connection carried which.
//! A request is handed to a second connection only when the first, a reused one, closed before taking a byte of it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Extensions, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::client::legacy::connect::Connection as Connected;
use kube::client::ConfigExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt as _, service_fn};

use super::body::GateBody;
use super::connector::GatedConnector;
use super::lookout::Lookout;
use super::stream::{ConnectionRecord, Sent};
#[cfg(feature = "failpoints")]
use crate::failpoints::{Point, reach};
use crate::{ClusterError, cluster};

/// The API server closes connections that are idle for 90 s (Go's http.Server there); a request that meets the closing is lost.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// More than any answer to a write: one object, of at most etcd's 1.5 MiB.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// The answer's body, or how it was cut off after its headers had come.
pub(crate) type AnswerBody = Result<Bytes, BoxError>;

/// Travels with a request: until when it may take, and what became of it.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) deadline: Instant,
    facts: Arc<Mutex<Facts>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Whether it came as far as the pool, which watches the deadline from there on.
    pub(crate) reached_pool: bool,
    /// What left the process.
    pub(crate) sent: Sent,
    /// Path and query as they were sent.
    pub(crate) url: String,
}

impl Exchange {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { deadline, facts: Arc::default() }
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Time ran out before the answer, or even before a byte was sent.
#[derive(Debug, thiserror::Error)]
#[error("the write's time ran out while {0}")]
pub(crate) struct TimeRanOut(pub(crate) &'static str);

/// The innermost service: sends requests over the term's connections.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    connect: BoxCloneSyncService<Uri, Connection, BoxError>,
    idle: Mutex<Vec<Idle>>,
    permits: Semaphore,
    connections_max: usize,
    lookout: Arc<Lookout>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

struct Connection {
    sender: SendRequest<GateBody>,
    record: Arc<ConnectionRecord>,
    task: AbortOnDropHandle<()>,
}

impl Connection {
    /// HTTP/1 over a stream whose lowest layer is a [`super::stream::GatedStream`].
    async fn over<S>(stream: S) -> Result<Self, BoxError>
    where
        S: hyper::rt::Read + hyper::rt::Write + Connected + Send + Unpin + 'static,
    {
        let mut extras = Extensions::new();
        stream.connected().get_extras(&mut extras);
        let record = extras.remove::<Arc<ConnectionRecord>>().ok_or("the connection has no record")?;
        let (sender, connection) = handshake(stream).await?;
        let task = tokio::spawn(async move {
            // Its errors reach whoever waits for the answer.
            let _ = connection.await;
        });
        Ok(Self { sender, record, task: AbortOnDropHandle::new(task) })
    }

    /// Ends the connection and says what of its request had left. The task is waited for: only then is that final.
    async fn close(self) -> Sent {
        self.record.reset();
        self.task.abort();
        // Ended by the abort or before it; either way it writes no more.
        let _ = self.task.await;
        self.record.sent()
    }
}

impl Pool {
    pub(crate) fn new(
        config: &kube::Config,
        connector: GatedConnector,
        connections_max: usize,
    ) -> Result<Self, ClusterError> {
        let lookout = Arc::clone(&connector.lookout);
        let tls = config.rustls_https_connector_with_connector(connector);
        let tls = tls.map_err(|source| cluster::refused(config, source))?;
        let connect = service_fn(move |target: Uri| {
            let tls = tls.clone();
            async move { Connection::over(tls.oneshot(target).await?).await }
        });
        let shared = Shared {
            connect: BoxCloneSyncService::new(connect),
            idle: Mutex::default(),
            permits: Semaphore::new(connections_max),
            connections_max,
            lookout,
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Pool {
    /// Opens a connection for the first request to find.
    pub(crate) async fn warm_up(&self, target: &Uri) -> Result<(), BoxError> {
        let _permit = self.shared.permits.acquire().await?;
        let (connection, _) = self.shared.checkout(target).await?;
        self.shared.keep(connection);
        Ok(())
    }
}

impl Service<Request<GateBody>> for Pool {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<GateBody>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let exchange = request.extensions().get::<Exchange>().cloned().ok_or("the request has no exchange")?;
            exchange.update(|facts| facts.reached_pool = true);
            shared.send(request, &exchange).await
        })
    }
}

impl Shared {
    async fn send(
        &self,
        mut request: Request<GateBody>,
        exchange: &Exchange,
    ) -> Result<Response<AnswerBody>, BoxError> {
        let deadline = exchange.deadline;
        let _permit = timeout_at(deadline, self.permits.acquire())
            .await
            .map_err(|_| TimeRanOut("waiting for a connection to be free"))??;
        let target = request.uri().clone();
        if let Some(authority) = target.authority() {
            request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
        }
        loop {
            let checkout = timeout_at(deadline, self.checkout(&target)).await;
            let (mut connection, reused) = checkout.map_err(|_| TimeRanOut("connecting to the API server"))??;
            #[cfg(feature = "failpoints")]
            reach(Point::AfterCheckout);
            *request.uri_mut() = self.stamped(&target, deadline)?;
            exchange.update(|facts| facts.url = request.uri().to_string());
            connection.record.begin();
            match timeout_at(deadline, connection.sender.try_send_request(request)).await {
                Ok(Ok(response)) => return Ok(self.receive(connection, response, exchange).await),
                Ok(Err(mut failure)) => {
                    let sent = connection.close().await;
                    exchange.update(|facts| facts.sent = sent);
                    match failure.take_message() {
                        Some(unsent) if reused && sent == Sent::default() => request = unsent,
                        _ => return Err(failure.into_error().into()),
                    }
                }
                Err(_) => {
                    let sent = connection.close().await;
                    exchange.update(|facts| facts.sent = sent);
                    return Err(TimeRanOut("waiting for the answer").into());
                }
            }
        }
    }

    /// An idle connection that is still open, or a new one; and whether it is a reused one.
    async fn checkout(&self, target: &Uri) -> Result<(Connection, bool), BoxError> {
        // Before anything is put on the network: no connection is opened without authority either.
        self.lookout.look()?;
        while let Some(mut idle) = self.pop_idle() {
            if idle.since.elapsed() < IDLE_MAX && idle.connection.sender.ready().await.is_ok() {
                return Ok((idle.connection, true));
            }
        }
        Ok((self.connect.clone().oneshot(target.clone()).await?, false))
    }

    fn pop_idle(&self) -> Option<Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Path and query as they go on the wire, with `timeout`: the server gives the write up when nobody may want it any more. Whole
    /// milliseconds and never 0, which the API server reads as no limit.
    fn stamped(&self, target: &Uri, deadline: Instant) -> Result<Uri, BoxError> {
        let authority = self.lookout.left(self.lookout.look()?);
        let milliseconds = deadline.saturating_duration_since(Instant::now()).min(authority).as_millis();
        if milliseconds == 0 {
            return Err(TimeRanOut("getting ready to send").into());
        }
        let path_and_query = target.path_and_query().map_or("/", |path_and_query| path_and_query.as_str());
        let separator = if target.query().is_some() { '&' } else { '?' };
        Ok(format!("{path_and_query}{separator}timeout={milliseconds}ms").parse()?)
    }

    /// Reads the answer; the connection is kept if it can serve again.
    async fn receive(
        &self,
        connection: Connection,
        response: Response<Incoming>,
        exchange: &Exchange,
    ) -> Response<AnswerBody> {
        let (parts, body) = response.into_parts();
        let collected = timeout_at(exchange.deadline, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
        let body = match collected {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(TimeRanOut("reading the answer").into()),
        };
        let sent = if body.is_ok() {
            let sent = connection.record.sent();
            connection.record.end();
            self.keep(connection);
            sent
        } else {
            connection.close().await
        };
        exchange.update(|facts| facts.sent = sent);
        Response::from_parts(parts, body)
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.sender.is_closed() && idle.len() < self.connections_max {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}
