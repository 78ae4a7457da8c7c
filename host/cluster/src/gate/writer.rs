//! One term's writer: admission, the tasks that carry writes, and the account of what was answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use kube::client::ConfigExt as _;
use tenure_election::{LiveTerm, Term};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};

use super::body::GateBody;
use super::connector::GatedConnector;
use super::lookout::Lookout;
use super::pool::{AnswerBody, Exchange, Facts, Pool, TimeRanOut};
use super::registry::Registry;
use super::write::{Write, WriteError, Written};
#[cfg(feature = "failpoints")]
use crate::failpoints::{Point, reach};
use crate::{ApiStatus, Cluster, ClusterError, cluster};

/// How long a write without a definite answer stands against a release. Its connection was reset, so only what was on the way can still
/// arrive, and TCP allows that two minutes (maximum segment lifetime, RFC 9293).
const UNANSWERED_HOLD: Duration = Duration::from_secs(120);

/// How a term writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterSettings {
    /// A write takes at most this long, from admission to its answer (`write-timeout`).
    pub write_timeout: Duration,
    /// What is left between the end of an authority and another's (`Timing::margin`): sent bytes that stay unacknowledged this long end
    /// their connection.
    pub margin: Duration,
    /// Connections at most, and so writes at the same time.
    pub connections_max: usize,
}

/// What a writer has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Writes let in.
    pub admitted: u64,
    /// Writes the API server took.
    pub written: u64,
    /// Writes turned away at admission.
    pub refused_at_admission: u64,
    /// Admitted writes that were stopped by a look at the clocks before a byte of them left.
    pub refused_late: u64,
    /// Writes without a definite answer.
    pub unknown: u64,
}

/// How settling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Settled {
    /// Whether a write, of those under way or of the last two minutes, had no definite answer. It forbids a release.
    pub unanswered: bool,
    /// Writes still under way when time ran out.
    pub in_flight: usize,
}

/// Writes in the name of one term, over connections of its own, as long as the term has authority.
pub struct TermWriter {
    shared: Arc<Shared>,
}

type Send = BoxCloneSyncService<Request<GateBody>, Response<AnswerBody>, BoxError>;

struct Shared {
    lookout: Arc<Lookout>,
    registry: Arc<Registry>,
    send: Send,
    pool: Pool,
    target: Uri,
    write_timeout: Duration,
    in_flight: watch::Sender<usize>,
    tasks: TaskTracker,
    /// When a write last ended without a definite answer, on the boot clock.
    unanswered_at: Mutex<Option<Duration>>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    admitted: AtomicU64,
    written: AtomicU64,
    refused_at_admission: AtomicU64,
    refused_late: AtomicU64,
    unknown: AtomicU64,
}

impl TermWriter {
    /// A writer for the term of `live`. No connection is opened yet. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the cluster's credentials cannot be read any more, or a setting is zero.
    pub fn open(cluster: &Cluster, live: Arc<LiveTerm>, settings: WriterSettings) -> Result<Arc<Self>, ClusterError> {
        for (setting, is_zero) in [
            ("write_timeout", settings.write_timeout.as_millis() == 0),
            ("margin", settings.margin.as_millis() == 0),
            ("connections_max", settings.connections_max == 0),
        ] {
            if is_zero {
                return Err(ClusterError::Zero { setting });
            }
        }
        let config = cluster.config();
        let refused = |source| cluster::refused(config, source);
        let lookout = Arc::new(Lookout::new(live, cluster.clock()));
        let registry = Arc::new(Registry::default());
        let connector = GatedConnector {
            lookout: Arc::clone(&lookout),
            registry: Arc::clone(&registry),
            unacknowledged_max: settings.margin,
        };
        let pool = Pool::new(config, connector, settings.connections_max)?;
        // kube's own stack in kube's own order, without its retry.
        let send = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(refused)?)
            .layer(config.extra_headers_layer().map_err(refused)?)
            .service(pool.clone());
        let shared = Shared {
            lookout,
            registry,
            send: BoxCloneSyncService::new(send),
            pool,
            target: config.cluster_url.clone(),
            write_timeout: settings.write_timeout,
            in_flight: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            unanswered_at: Mutex::default(),
            counts: Counts::default(),
        };
        Ok(Arc::new(Self { shared: Arc::new(shared) }))
    }

    /// The term it writes for.
    #[must_use]
    pub fn term(&self) -> Term {
        self.shared.lookout.term()
    }

    /// Opens one connection ahead of the first write, which then waits for no handshake. What fails is left for that write to tell.
    pub fn warm_up(&self) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            match timeout(shared.write_timeout, shared.pool.warm_up(&shared.target)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "no connection ahead of the first write"),
                Err(_) => tracing::debug!("no connection ahead of the first write in time"),
            }
        });
    }

    /// Writes. Once admitted the write runs to its end, also when this future is dropped.
    ///
    /// # Errors
    /// See [`WriteError`]: what it says about whether something was written is exact.
    pub async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let admission = Admission::take(&self.shared)?;
        let task = self.shared.tasks.spawn(admission.carry_out(write));
        task.await.unwrap_or_else(|panic| Err(WriteError::Unknown { passed_at: None, source: Box::new(panic) }))
    }

    /// Ends the term's connections: resets each at once, whatever is under way. Nothing goes out through this writer any more.
    /// Callable from any thread; takes microseconds.
    pub fn sever(&self) {
        self.shared.lookout.fail();
        self.shared.registry.sever();
    }

    /// Waits until every admitted write is answered, at most `limit`. Admission should be shut before
    /// ([`LiveTerm::shut_admission`]), or new writes keep it waiting.
    pub async fn settle(&self, limit: Duration) -> Settled {
        let mut in_flight = self.shared.in_flight.subscribe();
        // The sender lives in `self`; running out of time is told by the number.
        let _ = timeout(limit, in_flight.wait_for(|count| *count == 0)).await;
        let in_flight = *in_flight.borrow();
        let boot = self.shared.lookout.now().boot;
        let at = *self.shared.unanswered_at.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = at.is_some_and(|at| boot.saturating_sub(at) < UNANSWERED_HOLD);
        Settled { unanswered: in_flight > 0 || recent, in_flight }
    }

    /// Admitted writes that have no answer yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        *self.shared.in_flight.borrow()
    }

    /// Sockets that are open or opening.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.registry.len()
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> WriterStats {
        let counts = &self.shared.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        WriterStats {
            admitted: read(&counts.admitted),
            written: read(&counts.written),
            refused_at_admission: read(&counts.refused_at_admission),
            refused_late: read(&counts.refused_late),
            unknown: read(&counts.unknown),
        }
    }
}

impl std::fmt::Debug for TermWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TermWriter").field("term", &self.term()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// One admitted write: counted from before the look that admitted it, so that who shuts admission and then looks at the count
/// misses none.
struct Admission {
    shared: Arc<Shared>,
    number: u64,
    /// Whether it is known what became of it. A task that dies leaves it unknown.
    definite: bool,
}

impl Admission {
    fn take(shared: &Arc<Shared>) -> Result<Self, WriteError> {
        shared.in_flight.send_modify(|count| *count += 1);
        let mut admission = Self { shared: Arc::clone(shared), number: 0, definite: true };
        if let Err(closed) = shared.lookout.admit() {
            shared.counts.refused_at_admission.fetch_add(1, Ordering::Relaxed);
            return Err(WriteError::Closed { term: closed.0 });
        }
        admission.number = shared.counts.admitted.fetch_add(1, Ordering::Relaxed) + 1;
        admission.definite = false;
        Ok(admission)
    }

    async fn carry_out(mut self, write: Write) -> Result<Written, WriteError> {
        let exchange = Exchange::new(Instant::now() + self.shared.write_timeout);
        let (method, dry_run) = (write.verb.method(), write.is_dry_run());
        #[cfg(feature = "failpoints")]
        reach(Point::AfterAdmission);
        let result = match write.request(self.shared.lookout.term(), &self.audit_id()) {
            Ok(request) => {
                let answer = self.shared.send(request, &exchange).await;
                self.shared.judge(answer, &exchange.facts())
            }
            Err(invalid) => Err(invalid.into()),
        };
        self.definite = dry_run || is_definite(&result);
        self.log(&method, &exchange.facts(), &result);
        result
    }

    /// Names the request in the API server's audit log, which takes a name a client gives.
    fn audit_id(&self) -> String {
        format!("tenure-{}-{}", self.shared.lookout.term(), self.number)
    }

    /// What a late write is judged by: whether its last `write(2)` followed a look at the clocks that passed, and when that was.
    fn log(&self, method: &Method, facts: &Facts, result: &Result<Written, WriteError>) {
        let outcome = match result {
            Ok(_) => "written",
            Err(WriteError::Closed { .. }) => "closed",
            Err(WriteError::Invalid(_)) => "invalid",
            Err(WriteError::NotSent { .. }) => "not-sent",
            Err(WriteError::Status(_)) => "status",
            Err(WriteError::Unknown { .. }) => "unknown",
            Err(WriteError::AnswerCut { .. }) => "answer-cut",
        };
        tracing::debug!(
            target: "tenure::gate",
            term = self.shared.lookout.term().get(),
            audit_id = self.audit_id(),
            %method,
            url = facts.url,
            outcome,
            bytes = facts.sent.bytes,
            look_failed = facts.sent.refused,
            passed_at_boot_ns = facts.sent.passed_at.map(|at| at.boot.as_nanos()),
            passed_at_wall_ns = facts.sent.passed_at.map(|at| at.wall.as_nanos()),
            version = result.as_ref().ok().and_then(|written| written.version),
            "write"
        );
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.definite {
            self.shared.counts.unknown.fetch_add(1, Ordering::Relaxed);
            let boot = self.shared.lookout.now().boot;
            *self.shared.unanswered_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(boot);
        }
        self.shared.in_flight.send_modify(|count| *count -= 1);
    }
}

impl Shared {
    async fn send(
        &self,
        mut request: Request<GateBody>,
        exchange: &Exchange,
    ) -> Result<Response<AnswerBody>, BoxError> {
        request.extensions_mut().insert(exchange.clone());
        let mut call = std::pin::pin!(self.send.clone().oneshot(request));
        match timeout_at(exchange.deadline, &mut call).await {
            Ok(answer) => answer,
            // The pool knows the deadline too, and closes the connection properly: only then is what left final.
            Err(_) if exchange.facts().reached_pool => call.await,
            Err(_) => Err(TimeRanOut("getting credentials").into()),
        }
    }

    fn judge(&self, answer: Result<Response<AnswerBody>, BoxError>, facts: &Facts) -> Result<Written, WriteError> {
        let passed_at = facts.sent.passed_at;
        match answer {
            Ok(answer) => {
                let (parts, body) = answer.into_parts();
                let code = parts.status.as_u16();
                match body {
                    Ok(body) if parts.status.is_success() => {
                        self.counts.written.fetch_add(1, Ordering::Relaxed);
                        let (bytes, version) = without_managed_fields(body);
                        Ok(Written { bytes, version, code, passed_at })
                    }
                    Err(source) if parts.status.is_success() => {
                        self.counts.written.fetch_add(1, Ordering::Relaxed);
                        Err(WriteError::AnswerCut { code, source })
                    }
                    body => {
                        let status = ApiStatus::read(parts.status, &parts.headers, &body.unwrap_or_default());
                        Err(WriteError::Status(Box::new(status)))
                    }
                }
            }
            Err(source) if facts.sent.bytes > 0 => Err(WriteError::Unknown { passed_at, source }),
            Err(_) if self.lookout.look().is_err() => {
                self.counts.refused_late.fetch_add(1, Ordering::Relaxed);
                Err(WriteError::Closed { term: self.lookout.term() })
            }
            Err(source) => Err(WriteError::NotSent { source }),
        }
    }
}

/// Whether it is certain what became of the write. A 5xx is not: the API server answers 500 and 504 also when etcd did not answer it in
/// time, and a proxy answers 502 and 503 for a server that may have taken the request, as well as 408 and 429 while the request it
/// passed on is still under way. 501 is refused before anything is done.
fn is_definite(result: &Result<Written, WriteError>) -> bool {
    match result {
        Err(WriteError::Unknown { .. }) => false,
        Err(WriteError::Status(status)) => !matches!(status.code, 408 | 429 | 500 | 502..),
        Ok(_) | Err(_) => true,
    }
}

/// The answer as guests get it, and its version. What is no JSON is passed on as it is.
fn without_managed_fields(body: Bytes) -> (Bytes, Option<u64>) {
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(&body) else { return (body, None) };
    let Some(metadata) = value.get_mut("metadata").and_then(serde_json::Value::as_object_mut) else {
        return (body, None);
    };
    let version = metadata.get("resourceVersion").and_then(|version| version.as_str()?.parse().ok());
    if metadata.remove("managedFields").is_none() {
        return (body, version);
    }
    (serde_json::to_vec(&value).map_or(body, Bytes::from), version)
}
