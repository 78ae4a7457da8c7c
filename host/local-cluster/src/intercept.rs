//! Faults on purpose: what a test may do to a request before, or after, it takes effect.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What a request asks for, as RBAC and the audit log name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for paths that serve no objects, the
    /// HTTP method in lower case.
    pub verb: &'static str,
    /// API group; empty for the core group and for paths that serve no objects.
    pub group: String,
    /// API version, such as `v1`; empty for paths that serve no objects.
    pub version: String,
    /// Plural name of the resource; empty for paths that serve no objects.
    pub resource: String,
    /// Namespace in the path.
    pub namespace: Option<String>,
    /// Name in the path.
    pub name: Option<String>,
    /// Subresource in the path.
    pub subresource: Option<String>,
    /// The `User-Agent` header, empty if absent.
    pub user_agent: String,
    /// The path, without its query.
    pub path: String,
    /// The query, undecoded; empty if absent.
    pub query: String,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Intercept {
    /// It is served.
    Pass,
    /// 403 `Forbidden` with this reason; nothing happens.
    Forbid(String),
    /// It is served after this time, also if the client has given up by then: a request held up on its way.
    Delay(Duration),
    /// It takes effect, then the connection breaks: the client cannot know.
    LoseAnswer,
    /// It takes effect at once, and the answer is sent after this time.
    DelayAnswer(Duration),
    /// 503 `ServiceUnavailable`; nothing happens.
    Unavailable,
    /// 429 `TooManyRequests` with this `Retry-After`, in seconds; nothing happens.
    TooManyRequests(u32),
    /// The connection breaks at once; nothing happens.
    Drop,
    /// No answer ever comes; nothing happens.
    Hang,
}

/// Decides about each request. Called outside any lock, on the task that serves the request.
pub type Interceptor = Arc<dyn Fn(&RequestInfo) -> Intercept + Send + Sync>;

/// The interceptor in force.
#[derive(Default)]
pub(crate) struct Interception(RwLock<Option<Interceptor>>);

impl Interception {
    pub(crate) fn set(&self, interceptor: Option<Interceptor>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = interceptor;
    }

    pub(crate) fn decide(&self, request: &RequestInfo) -> Intercept {
        let interceptor = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        interceptor.map_or(Intercept::Pass, |decide| decide(request))
    }
}
