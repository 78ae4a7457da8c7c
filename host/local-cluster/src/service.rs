//! The cluster as a tower service: one request in, one answer out, faults included.
//!
//! Owns the way of a request: route, intercept, serve, answer, audit of what was refused.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::LocalCluster;
use crate::body::BODY_BYTES_MAX;
use crate::discovery;
use crate::dispatch::{Head, origin, serve_objects, unserved};
use crate::intercept::{Intercept, RequestInfo};
use crate::negotiate;
use crate::query::Query;
use crate::registry::Served;
use crate::respond::{Body, as_yaml, document, refused};
use crate::route::{self, Target};
use crate::status::Refusal;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The connection broke on purpose: an [`Intercept`] said so. Over HTTP the client sees its connection close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was dropped by an intercept")]
pub struct ConnectionDropped;

impl<B> tower::Service<Request<B>> for LocalCluster
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = ConnectionDropped;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Response<Body>, ConnectionDropped>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), ConnectionDropped>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let cluster = self.clone();
        Box::pin(async move { cluster.answer(request).await })
    }
}

impl LocalCluster {
    async fn answer<B>(self, request: Request<B>) -> std::result::Result<Response<Body>, ConnectionDropped>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let raw_query = parts.uri.query().unwrap_or_default().to_owned();
        let path = parts.uri.path().to_owned();
        let query = Query::parse(&raw_query);
        let served = self.inner.store.registry.served();
        let target = Target::parse(&served, &path);
        let verb = match &target {
            Target::Objects(path) => route::verb(&parts.method, path.name.is_some(), &query),
            Target::Unserved(path) => route::verb(&parts.method, path.name.is_some(), &query),
            Target::Document(_) => None,
        };
        let user_agent =
            parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let user_agent = user_agent.to_owned();
        let head = Head {
            method: parts.method,
            target,
            query,
            headers: parts.headers,
            user_agent,
            received_at: SystemTime::now(),
            verb,
            closing: self.closing.clone(),
        };
        let body = match read_body(body).await {
            Ok(body) => body,
            Err(BodyFailure::Refused(refusal)) => return Ok(refused(&refusal)),
            Err(BodyFailure::Broken) => return Err(ConnectionDropped),
        };
        let info = request_info(&head, path, raw_query);
        let mut answer_delay = Duration::ZERO;
        match self.inner.interception.decide(&info) {
            Intercept::Pass => {}
            Intercept::Forbid(why) => return Ok(self.refuse_on_purpose(&head, &forbidden(&info, &why))),
            Intercept::Unavailable => return Ok(self.refuse_on_purpose(&head, &unavailable())),
            Intercept::TooManyRequests(seconds) => {
                return Ok(self.refuse_on_purpose(&head, &too_many_requests(seconds)));
            }
            Intercept::Delay(delay) => return Ok(self.serve_later(delay, head, body).await),
            Intercept::DelayAnswer(delay) => answer_delay = delay,
            Intercept::LoseAnswer => {
                let _lost = self.serve_head(&head, &body);
                return Err(ConnectionDropped);
            }
            Intercept::Drop => return Err(ConnectionDropped),
            Intercept::Hang => std::future::pending().await,
        }
        let mut response = self.serve_head(&head, &body);
        let streams = head.verb == Some("watch");
        if !streams && matches!(head.target, Target::Objects(_)) && negotiate::wants_yaml(head.accept().as_deref()) {
            response = as_yaml(response).await;
        }
        if !answer_delay.is_zero() {
            tokio::time::sleep(answer_delay).await;
        }
        Ok(response)
    }

    /// On a task of its own: what is held up on its way arrives also if nobody waits for it any more.
    async fn serve_later(self, delay: Duration, head: Head, body: Bytes) -> Response<Body> {
        let served = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            self.serve_head(&head, &body)
        });
        served.await.unwrap_or_else(|error| refused(&Refusal::internal(format!("Internal error occurred: {error}"))))
    }

    fn refuse_on_purpose(&self, head: &Head, refusal: &Refusal) -> Response<Body> {
        self.audit_refusal(head, refusal);
        refused(refusal)
    }

    fn serve_head(&self, head: &Head, body: &Bytes) -> Response<Body> {
        let store = &self.inner.store;
        let outcome = match &head.target {
            Target::Document(path) => {
                if !is_of_a_group(path, &store.registry.served()) {
                    Err(Refusal::no_such_page())
                } else if matches!(head.method, Method::GET | Method::HEAD) {
                    discovery::document(&store.registry.served(), path, head.accept().as_deref()).map(document)
                } else {
                    Err(Refusal::method_not_allowed())
                }
            }
            Target::Unserved(path) => Err(unserved(store, path)),
            Target::Objects(path) => serve_objects(store, head, path, body),
        };
        outcome.unwrap_or_else(|refusal| {
            self.audit_refusal(head, &refusal);
            refused(&refusal)
        })
    }

    fn audit_refusal(&self, head: &Head, refusal: &Refusal) {
        let Target::Objects(path) = &head.target else { return };
        let Some(verb) = head.verb.filter(|verb| !matches!(*verb, "get" | "list" | "watch")) else { return };
        let origin = origin(head, path, verb);
        let namespace = path.namespace.as_deref().unwrap_or_default();
        let name = path.name.as_deref().unwrap_or_default();
        self.inner.store.audit.record(origin.entry(None, namespace, name, refusal.code));
    }
}

/// Whether a path below `/api` or `/apis` is of a group that is served. Elsewhere only what the server itself offers is known.
fn is_of_a_group(path: &str, served: &Served) -> bool {
    const OWN: [&str; 6] = ["healthz", "livez", "openapi", "readyz", "version", "api"];
    let mut segments = path.split('/').filter(|part| !part.is_empty());
    match (segments.next(), segments.next()) {
        (None | Some("apis"), None) => true,
        (Some("apis"), Some(group)) => served.resources().iter().any(|resource| resource.group == group),
        (Some(first), _) => OWN.contains(&first),
        (None, Some(_)) => false,
    }
}

enum BodyFailure {
    Refused(Refusal),
    /// The client went away in the middle.
    Broken,
}

async fn read_body<B>(body: B) -> std::result::Result<Bytes, BodyFailure>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyFailure::Refused(Refusal::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {BODY_BYTES_MAX}"),
        ))),
        Err(_) => Err(BodyFailure::Broken),
    }
}

fn request_info(head: &Head, path: String, query: String) -> RequestInfo {
    let mut info = RequestInfo {
        verb: head.verb.unwrap_or_else(|| route::method_verb(&head.method)),
        group: String::new(),
        version: String::new(),
        resource: String::new(),
        namespace: None,
        name: None,
        subresource: None,
        user_agent: head.user_agent.clone(),
        path,
        query,
    };
    match &head.target {
        Target::Objects(path) => {
            info.group = path.resource.group.to_owned();
            info.version = path.resource.version.to_owned();
            info.resource = path.resource.plural.to_owned();
            info.namespace.clone_from(&path.namespace);
            info.name.clone_from(&path.name);
            info.subresource.clone_from(&path.subresource);
        }
        Target::Unserved(path) => {
            info.group.clone_from(&path.group);
            info.version.clone_from(&path.version);
            info.resource.clone_from(&path.resource);
            info.namespace.clone_from(&path.namespace);
            info.name.clone_from(&path.name);
            info.subresource.clone_from(&path.subresource);
        }
        Target::Document(_) => {}
    }
    info
}

fn forbidden(info: &RequestInfo, why: &str) -> Refusal {
    let qualified = crate::resource::qualified(&info.resource, &info.group);
    let name = info.name.as_ref().map_or_else(String::new, |name| format!(" {name:?}"));
    let details = serde_json::json!({"name": info.name, "group": info.group, "kind": info.resource});
    Refusal::new(403, "Forbidden", format!("{qualified}{name} is forbidden: {why}")).with_details(details)
}

fn unavailable() -> Refusal {
    Refusal::new(503, "ServiceUnavailable", "the server is currently unable to handle the request")
}

fn too_many_requests(seconds: u32) -> Refusal {
    Refusal::new(
        429,
        "TooManyRequests",
        "the server has received too many requests and has asked us to try again later",
    )
    .with_details(serde_json::json!({"retryAfterSeconds": seconds}))
}
