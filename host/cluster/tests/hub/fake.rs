//! An API server played by the test: each request waits until the test answers it.
#![expect(clippy::unwrap_used, reason = "in a test a surprise should panic where it happens")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc as feed;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::{Value, json};
use tenure_cluster::{Change, Cluster, ResourceKey, Subscription, WatchKey};
use tenure_election::{Clock, Instant};
use tokio::sync::{mpsc, oneshot};
use tower::{BoxError, service_fn};

type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) struct Api(mpsc::UnboundedReceiver<Call>);

pub(crate) struct Call {
    pub(crate) url: String,
    pub(crate) accept: String,
    reply: oneshot::Sender<Response<Body>>,
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant { boot: Duration::ZERO, wall: Duration::ZERO }
    }
}

pub(crate) fn cluster() -> (Arc<Cluster>, Api) {
    let (calls, api) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<kube::client::Body>| {
        let (reply, answer) = oneshot::channel();
        let accept = request.headers()["accept"].to_str().unwrap().to_owned();
        let sent = calls.send(Call { url: request.uri().to_string(), accept, reply });
        async move {
            sent.map_err(|_| "the test is over")?;
            answer.await.map_err(|_| BoxError::from("the test dropped the connection"))
        }
    });
    let client = kube::Client::new(service, "default");
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    (Cluster::with_client(client, config, Arc::new(Still)).unwrap(), Api(api))
}

impl Api {
    pub(crate) async fn next(&mut self) -> Call {
        self.0.recv().await.unwrap()
    }

    pub(crate) fn is_quiet(&mut self) -> bool {
        self.0.try_recv().is_err()
    }

    /// Answers the first list with these, and takes the watch that follows.
    pub(crate) async fn sync(&mut self, version: u64, items: &[Value]) -> Watch {
        let call = self.next().await;
        assert!(!call.url.contains("watch="), "{}", call.url);
        call.list(version, items);
        self.watch(version).await
    }

    /// Takes a watch that starts at `version`.
    pub(crate) async fn watch(&mut self, version: u64) -> Watch {
        let call = self.next().await;
        assert!(
            call.url.contains(&format!("watch=true&allowWatchBookmarks=true&resourceVersion={version}&")),
            "{}",
            call.url
        );
        call.stream()
    }
}

impl Call {
    pub(crate) fn answer(self, code: u16, body: &Value) {
        let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed_unsync();
        // Who asked may be gone by now.
        let _ = self.reply.send(Response::builder().status(code).body(body).unwrap());
    }

    pub(crate) fn list(self, version: u64, items: &[Value]) {
        self.answer(200, &json!({"metadata": {"resourceVersion": version.to_string()}, "items": items}));
    }

    pub(crate) fn refuse(self, code: u16, reason: &str) {
        self.answer(code, &json!({"kind": "Status", "code": code, "reason": reason, "message": "no"}));
    }

    fn stream(self) -> Watch {
        let (send, receive) = feed::unbounded();
        let _ = self.reply.send(Response::new(StreamBody::new(receive).boxed_unsync()));
        Watch(send)
    }
}

/// The server's end of a watch. Dropping it ends the watch.
pub(crate) struct Watch(feed::UnboundedSender<Result<Frame<Bytes>, BoxError>>);

impl Watch {
    pub(crate) fn send(&self, event: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": event, "object": object}));
        self.0.unbounded_send(Ok(Frame::data(Bytes::from(line)))).unwrap();
    }

    pub(crate) fn bookmark(&self, version: u64) {
        self.send("BOOKMARK", &json!({"metadata": {"resourceVersion": version.to_string()}}));
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_closed()
    }
}

pub(crate) fn config_maps() -> WatchKey {
    WatchKey::everywhere(ResourceKey {
        group: String::new(),
        version: "v1".into(),
        plural: "configmaps".into(),
        kind: "ConfigMap".into(),
        namespaced: true,
    })
}

pub(crate) fn object(name: &str, version: u64) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": version.to_string(), "labels": {"app": name},
        "managedFields": [{"manager": "someone"}]}, "data": {"version": version.to_string()}})
}

/// The next change, in words.
pub(crate) async fn next(subscription: &mut Subscription) -> String {
    match subscription.next().await.unwrap() {
        Change::Applied(object) => format!("applied {} {}", object.name, object.version),
        Change::Deleted(object) => format!("deleted {} {}", object.name, object.version),
        Change::Resynced => "resynced".into(),
        Change::Failing { code, .. } => format!("failing {code}"),
    }
}
