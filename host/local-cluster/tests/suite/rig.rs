//! What the tests share: one request through the tower service, and a cluster served on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tenure_local_cluster::{Body, LocalCluster};
use tokio::task::JoinHandle;
use tower::Service;

pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

/// Longest wait for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends one request and returns the whole response.
pub(crate) async fn send(cluster: &LocalCluster, request: Request<Full<Bytes>>) -> Response<Body> {
    cluster.clone().call(request).await.unwrap()
}

pub(crate) fn request(method: Method, path: &str, content_type: &str, body: &Value) -> Request<Full<Bytes>> {
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .header("user-agent", "suite/1.0")
        .body(Full::new(body))
        .unwrap()
}

pub(crate) async fn read(response: Response<Body>) -> (u16, Value) {
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into()))
}

async fn call(cluster: &LocalCluster, method: Method, path: &str, content_type: &str, body: &Value) -> (u16, Value) {
    read(send(cluster, request(method, path, content_type, body)).await).await
}

pub(crate) async fn get(cluster: &LocalCluster, path: &str) -> (u16, Value) {
    call(cluster, Method::GET, path, "", &Value::Null).await
}

pub(crate) async fn get_as(cluster: &LocalCluster, path: &str, accept: &str) -> (u16, Value) {
    let mut request = request(Method::GET, path, "", &Value::Null);
    request.headers_mut().insert("accept", accept.parse().unwrap());
    read(send(cluster, request).await).await
}

pub(crate) async fn post(cluster: &LocalCluster, path: &str, body: &Value) -> (u16, Value) {
    call(cluster, Method::POST, path, "application/json", body).await
}

pub(crate) async fn put(cluster: &LocalCluster, path: &str, body: &Value) -> (u16, Value) {
    call(cluster, Method::PUT, path, "application/json", body).await
}

pub(crate) async fn delete(cluster: &LocalCluster, path: &str, options: &Value) -> (u16, Value) {
    call(cluster, Method::DELETE, path, "application/json", options).await
}

pub(crate) async fn merge(cluster: &LocalCluster, path: &str, patch: &Value) -> (u16, Value) {
    call(cluster, Method::PATCH, path, "application/merge-patch+json", patch).await
}

pub(crate) async fn patch_as(cluster: &LocalCluster, path: &str, content_type: &str, patch: &Value) -> (u16, Value) {
    call(cluster, Method::PATCH, path, content_type, patch).await
}

pub(crate) async fn apply(cluster: &LocalCluster, path: &str, manager: &str, object: &Value) -> (u16, Value) {
    let separator = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{separator}fieldManager={manager}");
    call(cluster, Method::PATCH, &path, "application/apply-patch+yaml", object).await
}

pub(crate) fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub(crate) fn lease(name: &str, holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"},
    })
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "example.org/a:1"}]},
    })
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub(crate) fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// A wait that should be over at once; its end is a failure.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// The events of a watch, one at a time.
pub(crate) struct Events {
    body: Body,
    pending: Vec<u8>,
}

impl Events {
    pub(crate) async fn open(cluster: &LocalCluster, path: &str) -> Self {
        let response = send(cluster, request(Method::GET, path, "", &Value::Null)).await;
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), pending: Vec::new() }
    }

    /// The next event, or `None` at the end of the watch.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        soon("the next event", self.next_however_late()).await
    }

    /// The same without a limit, for paused time.
    pub(crate) async fn next_however_late(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.pending.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// The next event as `TYPE name`.
    pub(crate) async fn next_line(&mut self) -> String {
        let event = self.next().await.expect("the watch goes on");
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-");
        format!("{} {name}", event["type"].as_str().unwrap())
    }
}

/// A cluster on loopback, until it is stopped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) cluster: LocalCluster,
    stop: tokio::sync::oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub(crate) async fn start(cluster: LocalCluster) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = cluster.clone();
        let server = tokio::spawn(async move { serving.serve(listener, async { drop(stopped.await) }).await });
        Self { address, cluster, stop, server }
    }

    pub(crate) fn client(&self) -> kube::Client {
        let config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        soon("the server's end", self.server).await.unwrap().unwrap();
    }
}
