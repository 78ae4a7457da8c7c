//! The requests on the lock's object, and what their answers mean. Every call ends within its timeout; nothing is repeated
//! here, and nothing decided.

use std::error::Error;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde_json::Value;

use crate::Lock;
use crate::object::LockObject;

/// The lock's object behind an API server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LockApi {
    client: Client,
    server: String,
    lock: Lock,
}

/// A call that brought no usable answer, or a definite no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallFailure {
    /// The HTTP status, if one came.
    pub(crate) code: Option<u16>,
    /// What was tried, what went wrong and how to mend it.
    pub(crate) message: String,
}

/// What came back from a write.
#[derive(Debug)]
pub(crate) enum WriteAnswer {
    /// 200 or 201, with the object as stored.
    Stored { object: LockObject, created: bool },
    /// 409.
    Conflict,
    /// A definite no.
    Refused(CallFailure),
    /// Nothing definite: it may be stored, or be stored later.
    Unknown(CallFailure),
}

impl LockApi {
    /// Without retries, proxy and read timeout, whatever `config` says. Within a tokio runtime.
    pub(crate) fn new(mut config: kube::Config, lock: Lock, connect_timeout: Duration) -> Result<Self, kube::Error> {
        config.proxy_url = None;
        config.connect_timeout = Some(connect_timeout);
        config.write_timeout = Some(connect_timeout);
        // Each call has a limit of its own, and the watch looks for silence itself.
        config.read_timeout = None;
        if !config.headers.iter().any(|(name, _)| name == USER_AGENT) {
            let agent = concat!("tenure-election/", env!("CARGO_PKG_VERSION"));
            config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
        }
        let server = config.cluster_url.to_string();
        Ok(Self { client: tenure_api_client::client(config)?, server, lock })
    }

    /// Over a client that a test made.
    #[cfg(test)]
    pub(crate) fn over(client: Client, lock: Lock) -> Self {
        Self { client, server: String::from("http://test"), lock }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The path of all of its kind in its namespace.
    pub(crate) fn collection(&self) -> String {
        let Lock { kind, namespace, .. } = &self.lock;
        let root = if kind.group().is_empty() { "api" } else { "apis" };
        format!("/{root}/{}/namespaces/{namespace}/{}", kind.api_version(), kind.resource())
    }

    fn item(&self) -> String {
        format!("{}/{}", self.collection(), self.lock.name)
    }

    /// A consistent read (no resourceVersion). `None` only when the API server itself says that this object is not there.
    pub(crate) async fn read(&self, timeout: Duration) -> Result<Option<LockObject>, CallFailure> {
        let (status, body) = self.call("get", Method::GET, &self.item(), None, timeout).await?;
        if status == StatusCode::OK {
            return LockObject::parse(self.lock.kind, &body)
                .map(Some)
                .map_err(|error| self.failure("get", None, chain(&error)));
        }
        if status == StatusCode::NOT_FOUND && self.is_absence(&body) {
            return Ok(None);
        }
        Err(self.refusal("get", status, &body))
    }

    /// A POST of the whole object.
    pub(crate) async fn create(&self, body: &Value, timeout: Duration) -> WriteAnswer {
        self.write("create", Method::POST, &self.collection(), body, timeout).await
    }

    /// A PUT of the whole object, which carries the uid and the version it replaces.
    pub(crate) async fn replace(&self, body: &Value, timeout: Duration) -> WriteAnswer {
        self.write("update", Method::PUT, &self.item(), body, timeout).await
    }

    async fn write(&self, verb: &str, method: Method, path: &str, body: &Value, timeout: Duration) -> WriteAnswer {
        // The server gives up when we do: what has not reached etcd by then does not.
        let path = format!("{path}?fieldManager=tenure-election&timeout={}ms", timeout.as_millis().max(1));
        let (status, answer) = match self.call(verb, method, &path, Some(body), timeout).await {
            Ok(answered) => answered,
            Err(failure) => return WriteAnswer::Unknown(failure),
        };
        match status {
            StatusCode::OK | StatusCode::CREATED => match LockObject::parse(self.lock.kind, &answer) {
                Ok(object) => WriteAnswer::Stored { object, created: status == StatusCode::CREATED },
                Err(error) => WriteAnswer::Unknown(self.failure(verb, None, chain(&error))),
            },
            StatusCode::CONFLICT => WriteAnswer::Conflict,
            // A proxy may answer these while the request it passed on is still under way.
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                WriteAnswer::Unknown(self.refusal(verb, status, &answer))
            }
            status if status.is_client_error() => WriteAnswer::Refused(self.refusal(verb, status, &answer)),
            status => WriteAnswer::Unknown(self.refusal(verb, status, &answer)),
        }
    }

    /// One request and its whole answer. At the timeout the request is dropped, and with it its connection.
    async fn call(
        &self,
        verb: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<(StatusCode, Vec<u8>), CallFailure> {
        self.exchange(method, path, body, timeout).await.map_err(|what| self.failure(verb, None, what))
    }

    /// As [`Self::call`], of any path; why there was no answer, in a sentence.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let mut request = Request::builder().method(method).uri(path).header(ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string().into_bytes()));
        let request = request.body(body).map_err(|error| chain(&error))?;
        let exchange = async {
            let answer = self.client.send(request).await?;
            let status = answer.status();
            Ok::<_, kube::Error>((status, answer.into_body().collect_bytes().await?.to_vec()))
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_elapsed) => Err(format!("no answer from {} within {} ms", self.server, timeout.as_millis())),
        }
    }

    /// Whether a 404 is about this object. One from a proxy, or about the API group, says nothing of the lock.
    fn is_absence(&self, body: &[u8]) -> bool {
        serde_json::from_slice::<Status>(body).is_ok_and(|status| {
            status.reason == "NotFound" && status.details.is_some_and(|details| details.name == self.lock.name)
        })
    }

    /// What an answer that is neither 2xx nor a conflict means, in a sentence.
    fn refusal(&self, verb: &str, status: StatusCode, body: &[u8]) -> CallFailure {
        self.refused(verb, status.as_u16(), &said(body))
    }

    /// As [`Self::refusal`], of a status that was read already.
    pub(crate) fn refused(&self, verb: &str, code: u16, said: &str) -> CallFailure {
        let Lock { kind, namespace, name } = &self.lock;
        let (group, resource, noun) = (kind.group(), kind.resource(), kind.noun());
        let message = match code {
            403 => {
                let whole = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
                format!(
                    "forbidden to {verb} {whole} {name:?} in namespace {namespace:?}: bind this account to a Role in \
                     {namespace:?} with apiGroups [{group:?}], resources [{resource:?}], verbs [\"get\", \"list\", \"watch\", \
                     \"create\", \"update\"]; the API server says: {said}"
                )
            }
            401 => format!(
                "cannot {verb} {noun} {namespace}/{name}: {} does not know this account (401): renew its token or \
                 certificate; the API server says: {said}",
                self.server
            ),
            _ => format!("cannot {verb} {noun} {namespace}/{name}: {} answered {code}: {said}", self.server),
        };
        CallFailure { code: Some(code), message }
    }

    pub(crate) fn failure(&self, verb: &str, code: Option<u16>, what: impl std::fmt::Display) -> CallFailure {
        let Lock { kind, namespace, name } = &self.lock;
        CallFailure { code, message: format!("cannot {verb} {} {namespace}/{name}: {what}", kind.noun()) }
    }

    /// A transport error, all its causes in one line.
    pub(crate) fn unreachable(&self, error: &kube::Error) -> String {
        format!("the API server at {} cannot be reached: {}", self.server, chain(error))
    }
}

/// An error and its sources. Each says what is below it or does not; what repeats is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let below = error.to_string();
        if !said.contains(&below) {
            said.push_str(": ");
            said.push_str(&below);
        }
        source = error.source();
    }
    said
}

/// What an API server says in the body of a refusal.
pub(crate) fn said(body: &[u8]) -> String {
    match serde_json::from_slice::<Status>(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        _ => excerpt(body),
    }
}

/// The beginning of a body that is no Status: a proxy's page, usually.
const EXCERPT_CHARACTERS_MAX: usize = 200;

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return String::from("(an empty answer)");
    }
    line.chars().take(EXCERPT_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> LockApi {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let lock = Lock::lease("tenure-system", "tenure");
        LockApi::new(config, lock, Duration::from_secs(1)).unwrap()
    }

    #[tokio::test]
    async fn forbidden_names_verb_resource_namespace_and_role() {
        let body = br#"{"kind":"Status","status":"Failure","message":"no RBAC policy matched","reason":"Forbidden","code":403}"#;
        let failure = api().refusal("update", StatusCode::FORBIDDEN, body);
        assert_eq!(failure.code, Some(403));
        for part in
            ["update", "leases.coordination.k8s.io", "\"tenure-system\"", "Role", "\"watch\"", "no RBAC policy matched"]
        {
            assert!(failure.message.contains(part), "{part} is not in: {}", failure.message);
        }
    }

    #[tokio::test]
    async fn only_the_api_servers_word_on_this_lease_is_absence() {
        let api = api();
        let about = |name: &str| {
            format!(
                r#"{{"kind":"Status","status":"Failure","reason":"NotFound","code":404,"message":"x","details":{{"name":"{name}","group":"coordination.k8s.io","kind":"leases"}}}}"#
            )
        };
        assert!(api.is_absence(about("tenure").as_bytes()));
        assert!(!api.is_absence(about("another").as_bytes()));
        assert!(!api.is_absence(br#"{"kind":"Status","reason":"NotFound","code":404,"details":{}}"#));
        assert!(!api.is_absence(b"404 page not found"));
    }

    #[tokio::test]
    async fn unreachable_server_is_named_with_the_cause() {
        let failure = api().read(Duration::from_secs(5)).await.unwrap_err();
        assert!(failure.message.contains("http://127.0.0.1:1"), "{}", failure.message);
        assert!(failure.message.contains("refused"), "{}", failure.message);
        assert_eq!(failure.code, None);
    }

    #[test]
    fn proxys_page_is_cut_to_a_line() {
        let page = format!("<html>\n  <body>{}</body>", "x".repeat(1000));
        let line = excerpt(page.as_bytes());
        assert_eq!(line.chars().count(), EXCERPT_CHARACTERS_MAX);
        assert!(!line.contains('\n'));
        assert_eq!(excerpt(b" "), "(an empty answer)");
    }
}
