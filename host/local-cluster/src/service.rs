//! The cluster as a tower service: one request in, one answer out, faults included.
//!
//! Owns the way of a request: route, intercept, verb, answer, audit of what was refused. The verbs themselves are `read`, `watch`
//! and `write`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::LocalCluster;
use crate::body::{self, BODY_BYTES_MAX, Syntax};
use crate::discovery::{self, Document};
use crate::intercept::{Intercept, RequestInfo};
use crate::negotiate;
use crate::query::{Query, WriteOptions};
use crate::read;
use crate::render::{ListMetadata, Renderer};
use crate::resource::Collection;
use crate::route::{self, ObjectPath, Target, UnservedPath};
use crate::selector::Selector;
use crate::status::{Refusal, Result};
use crate::store::{Origin, Store};
use crate::table::Include;
use crate::watch::{WatchRequest, Watcher};
use crate::write::{self, Answer, Content, DeleteOptions, PatchFormat, Writer};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer: bytes, or the events of a watch as they come.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

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

/// A request's head, taken apart.
struct Head {
    method: Method,
    target: Target,
    query: Query,
    headers: HeaderMap,
    user_agent: String,
    received_at: SystemTime,
    /// The verb of a request for objects; `None` for a method the API does not have.
    verb: Option<&'static str>,
    /// Turns true when the server shuts down.
    closing: Option<watch::Receiver<bool>>,
}

impl Head {
    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Accept`, of which there may be several lines.
    fn accept(&self) -> Option<String> {
        let lines: Vec<&str> =
            self.headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok()).collect();
        (!lines.is_empty()).then(|| lines.join(","))
    }

    fn content_type(&self) -> &str {
        self.header(header::CONTENT_TYPE).unwrap_or_default()
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
        let target = Target::parse(&path);
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
        let response = self.serve_head(&head, &body);
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
                let form = || negotiate::discovery_form(head.accept().as_deref());
                if matches!(head.method, Method::GET | Method::HEAD) {
                    discovery::document(path, form).map(document)
                } else {
                    Err(Refusal::method_not_allowed())
                }
            }
            Target::Unserved(path) => Err(unserved(path)),
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

/// A kind that is not served: 404 where a cluster without it would say so, 501 where Kubernetes always has it.
fn unserved(path: &UnservedPath) -> Refusal {
    // kubectl describe reads a 404 on these two as "this server has no quotas", which is the truth here.
    let optional = ["limitranges", "resourcequotas"];
    if path.group.is_empty() && optional.contains(&path.resource.as_str()) {
        return Refusal::no_such_resource();
    }
    let qualified = crate::resource::qualified(&path.resource, &path.group);
    Refusal::not_implemented(&format!("{qualified} of version {}", path.version))
}

fn origin(head: &Head, path: &ObjectPath, verb: &'static str) -> Origin {
    let given = head.query.text("fieldManager");
    let from_agent = head.user_agent.split('/').next().unwrap_or_default();
    let field_manager = if given.is_empty() { from_agent } else { given };
    Origin {
        verb,
        resource: path.resource,
        subresource: path.subresource.clone(),
        user_agent: head.user_agent.clone(),
        field_manager: if field_manager.is_empty() { "unknown" } else { field_manager }.to_owned(),
        received_at: head.received_at,
    }
}

fn serve_objects(store: &Arc<Store>, head: &Head, path: &ObjectPath, body: &Bytes) -> Result<Response<Body>> {
    let verb = head.verb.ok_or_else(Refusal::method_not_allowed)?;
    let resource = path.resource;
    if let Some(subresource) = &path.subresource {
        let served = resource.subresources.contains(&subresource.as_str());
        if !served {
            return Err(Refusal::not_implemented(&format!("{}/{subresource}", resource.plural)));
        }
        if !matches!(verb, "get" | "update" | "patch") || (subresource == "finalize" && verb != "update") {
            return Err(Refusal::method_not_allowed());
        }
    }
    let include = Include::parse(head.query.text("includeObject"));
    let renderer = Renderer { resource, form: negotiate::form(head.accept().as_deref())?, include };
    let namespace = path.namespace.as_deref();
    let selector = || Selector::parse(resource, head.query.text("labelSelector"), head.query.text("fieldSelector"));
    match (verb, path.name.as_deref()) {
        ("get", Some(name)) => {
            let object = read::get(store, resource, namespace.unwrap_or_default(), name, &head.query)?;
            Ok(json(StatusCode::OK, renderer.object(&object)))
        }
        ("list", _) => {
            let page = read::list(store, resource, namespace, &selector()?, &head.query)?;
            Ok(json(StatusCode::OK, renderer.list(&page.metadata, &page.objects)))
        }
        ("watch", _) => {
            let request = WatchRequest::parse(renderer, path.namespace.clone(), selector()?, &head.query)?;
            Ok(events(Watcher::start(Arc::clone(store), request), head.closing.clone()))
        }
        _ => serve_write(store, head, path, body, verb, renderer),
    }
}

fn serve_write(
    store: &Arc<Store>,
    head: &Head,
    path: &ObjectPath,
    body: &Bytes,
    verb: &'static str,
    renderer: Renderer,
) -> Result<Response<Body>> {
    let resource = path.resource;
    if resource.namespaced && path.namespace.is_none() {
        // Objects of a namespaced kind are written in a namespace.
        return Err(Refusal::method_not_allowed());
    }
    let options_kind = match verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        _ => "DeleteOptions",
    };
    let mut writer = Writer {
        store,
        resource,
        namespace: path.namespace.as_deref().unwrap_or_default(),
        subresource: path.subresource.as_deref(),
        options: WriteOptions::parse(&head.query, options_kind)?,
        origin: origin(head, path, verb),
        now: Timestamp::now(),
    };
    let checked = || {
        let syntax = Syntax::of(head.content_type())?;
        body::check(resource, body::parse(resource, body, syntax)?, writer.options.validation)
    };
    let answer = match (verb, path.name.as_deref()) {
        ("create", None) => writer.create(checked()?),
        ("update", Some(name)) => writer.update(name, checked()?),
        ("patch", Some(name)) => {
            let format = PatchFormat::of(head.content_type())?;
            let force = head.query.get("force").map(|_| head.query.flag("force")).transpose()?;
            writer.patch(name, format, body, force)
        }
        ("delete", Some(name)) => {
            let options = delete_options(head, body)?;
            writer.options.dry_run |= options.dry_run.as_ref().is_some_and(|values| !values.is_empty());
            writer.delete(name, &options)
        }
        ("deletecollection", None) if resource.collection != Collection::Namespaces => {
            let options = delete_options(head, body)?;
            writer.options.dry_run |= options.dry_run.as_ref().is_some_and(|values| !values.is_empty());
            let selector =
                Selector::parse(resource, head.query.text("labelSelector"), head.query.text("fieldSelector"))?;
            let deleted = writer.delete_collection(&selector, &options)?;
            let metadata = ListMetadata { version: store.version(), ..ListMetadata::default() };
            write::finish_deletion(store, writer.namespace);
            return Ok(json(StatusCode::OK, renderer.list(&metadata, &deleted)));
        }
        _ => Err(Refusal::method_not_allowed()),
    }?;
    match (answer.committed, resource.collection, path.name.as_deref()) {
        (false, _, name) => {
            let entry = writer.origin.entry(None, writer.namespace, name.unwrap_or_default(), answer.code);
            store.audit.record(entry);
        }
        (true, Collection::Namespaces, Some(name)) if verb == "delete" => {
            drop(tokio::spawn(write::delete_content_later(Arc::downgrade(store), name.to_owned())));
        }
        (true, Collection::Namespaces, name) => write::finish_deletion(store, name.unwrap_or_default()),
        (true, ..) => write::finish_deletion(store, writer.namespace),
    }
    Ok(written(&answer, &renderer))
}

/// Options of a deletion: the body's, or else the query's.
fn delete_options(head: &Head, body: &Bytes) -> Result<DeleteOptions> {
    let query = &head.query;
    let options = if body.is_empty() {
        DeleteOptions {
            grace_period_seconds: query.number("gracePeriodSeconds")?,
            preconditions: None,
            propagation_policy: query.get("propagationPolicy").map(str::to_owned),
            orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")).transpose()?,
            dry_run: query.get("dryRun").map(|value| vec![value.to_owned()]),
        }
    } else {
        let value = body::parse_options(body, head.content_type())?;
        serde_json::from_value(value)
            .map_err(|error| Refusal::bad_request(format!("DeleteOptions cannot be read: {error}")))?
    };
    options.validate()?;
    Ok(options)
}

fn written(answer: &Answer, renderer: &Renderer) -> Response<Body> {
    let body = match &answer.content {
        Content::Object(object) => renderer.object(object),
        Content::Status(status) => Bytes::from(status.to_string()),
    };
    let code = StatusCode::from_u16(answer.code).unwrap_or(StatusCode::OK);
    let mut response = json(code, body);
    for warning in &answer.warnings {
        // RFC 7234: code, agent, quoted text.
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {warning:?}")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn document(document: Document) -> Response<Body> {
    let (body, content_type) = match document {
        Document::Json(value) => (Bytes::from(value.to_string()), "application/json"),
        Document::Typed(value, content_type) => (Bytes::from(value.to_string()), content_type),
        Document::Text(text) => (Bytes::from_static(text.as_bytes()), "text/plain; charset=utf-8"),
    };
    respond(StatusCode::OK, content_type, full(body))
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body: Value = refusal.body();
    let retry_after = body.pointer("/details/retryAfterSeconds").and_then(Value::as_u64);
    let mut response = json(code, Bytes::from(body.to_string()));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn json(code: StatusCode, body: Bytes) -> Response<Body> {
    respond(code, "application/json", full(body))
}

fn events(watcher: Watcher, closing: Option<watch::Receiver<bool>>) -> Response<Body> {
    let events = stream::unfold((watcher, closing), |(mut watcher, mut closing)| async move {
        let chunk = tokio::select! {
            chunk = watcher.next() => chunk?,
            () = closed(&mut closing) => return None,
        };
        Some((Ok(http_body::Frame::data(chunk)), (watcher, closing)))
    });
    respond(StatusCode::OK, "application/json", StreamBody::new(events).boxed_unsync())
}

/// Ready once the server shuts down; never, where there is no server.
async fn closed(closing: &mut Option<watch::Receiver<bool>>) {
    match closing {
        Some(closing) => drop(closing.wait_for(|closing| *closing).await),
        None => std::future::pending().await,
    }
}

fn full(body: Bytes) -> Body {
    Full::new(body).boxed_unsync()
}

fn respond(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}
