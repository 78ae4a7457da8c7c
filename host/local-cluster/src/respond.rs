//! Answers as HTTP: status, headers, body.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use tokio::sync::watch;

use crate::discovery::Document;
use crate::render::Renderer;
use crate::status::{PAGE_NOT_FOUND, Refusal};
use crate::watch::Watcher;
use crate::write::{Answer, Content};

/// The body of an answer: bytes, or the events of a watch as they come.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) fn written(answer: &Answer, renderer: &Renderer) -> Response<Body> {
    let body = match &answer.content {
        Content::Object(object) => renderer.object(object),
        Content::Plain(status) => Bytes::from(status.to_string()),
    };
    let code = StatusCode::from_u16(answer.code).unwrap_or(StatusCode::OK);
    let mut response = json(code, body);
    warn(&mut response, &answer.warnings);
    response
}

fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        add_warning(response, warning);
    }
}

/// The same answer with its body as YAML, where the body is one JSON document.
pub(crate) async fn as_yaml(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let Ok(collected) = body.collect().await;
    let bytes = collected.to_bytes();
    let yaml = serde_json::from_slice::<Value>(&bytes).ok().and_then(|value| serde_saphyr::to_string(&value).ok());
    let body = match yaml {
        Some(yaml) => {
            head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
            Bytes::from(yaml)
        }
        None => bytes,
    };
    Response::from_parts(head, full(body))
}

/// A sentence for the person who sent the request.
pub(crate) fn add_warning(response: &mut Response<Body>, warning: &str) {
    // RFC 7234: code, agent, quoted text.
    if let Ok(value) = HeaderValue::from_str(&format!("299 - {warning:?}")) {
        response.headers_mut().append(header::WARNING, value);
    }
}

pub(crate) fn document(document: Document) -> Response<Body> {
    let (body, content_type) = match document {
        Document::Json(value) => (Bytes::from(value.to_string()), "application/json"),
        Document::Typed(value, content_type) => {
            let mut response = respond(StatusCode::OK, content_type, full(Bytes::from(value.to_string())));
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
            response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
            return response;
        }
        Document::Bytes(bytes, content_type) => (Bytes::from(bytes), content_type),
        Document::Text(text) => (Bytes::from_static(text.as_bytes()), "text/plain; charset=utf-8"),
    };
    respond(StatusCode::OK, content_type, full(body))
}

pub(crate) fn refused(refusal: &Refusal) -> Response<Body> {
    let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if refusal.reason == PAGE_NOT_FOUND {
        let body = full(Bytes::from(format!("{}\n", refusal.message)));
        return respond(code, "text/plain; charset=utf-8", body);
    }
    let body: Value = refusal.body();
    let retry_after = body.pointer("/details/retryAfterSeconds").and_then(Value::as_u64);
    let mut response = json(code, Bytes::from(body.to_string()));
    warn(&mut response, &refusal.warnings);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

pub(crate) fn json(code: StatusCode, body: Bytes) -> Response<Body> {
    respond(code, "application/json", full(body))
}

pub(crate) fn events(watcher: Watcher, closing: Option<watch::Receiver<bool>>) -> Response<Body> {
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
