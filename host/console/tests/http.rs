//! The console as a prober, a scraper and a bad neighbour meet it.
#![expect(clippy::unwrap_used, reason = "in a test, also in its helping functions, a panic is the failure")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tenure_console::{
    Health, LockMetrics, Metrics, Readiness, Replica, Role, STATUS_VERSION, Status, View, router, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower::ServiceExt;

/// A replica that is as it is told to be.
struct Told {
    health: Health,
    ready: Readiness,
    lock: Option<LockMetrics>,
    scrapes: AtomicU64,
}

impl Told {
    fn well() -> Self {
        Self { health: Health::healthy(), ready: Readiness::ready(), lock: None, scrapes: AtomicU64::new(0) }
    }
}

impl View for Told {
    fn health(&self) -> Health {
        self.health.clone()
    }

    fn ready(&self) -> Readiness {
        self.ready.clone()
    }

    fn status(&self) -> Status {
        Status {
            version: STATUS_VERSION,
            replica: Replica {
                identity: "a".into(),
                pod: None,
                started: "2026-01-01T00:00:00Z".into(),
                role: Role::Standby,
                program_version: String::new(),
                settings: None,
            },
            locks: Vec::new(),
            plugins: Vec::new(),
        }
    }

    fn before_scrape(&self, _metrics: &Metrics) {
        let scrapes = self.scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(lock) = &self.lock {
            lock.set_term(Some(scrapes));
        }
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("0.1.0"))
}

async fn get(view: Told, metrics: Arc<Metrics>, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    router(Arc::new(view), metrics).oneshot(request).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_well_replica_passes_all_probes() {
    for path in ["/healthz", "/livez", "/readyz"] {
        let response = get(Told::well(), metrics(), path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(text(response).await, "ok\n", "{path}");
    }
}

#[tokio::test]
async fn a_stuck_leader_fails_liveness_with_the_reason_and_stays_ready_to_be_asked() {
    for (path, code, body) in [
        ("/healthz", StatusCode::INTERNAL_SERVER_ERROR, "lease not renewed for 40s\n"),
        ("/livez", StatusCode::INTERNAL_SERVER_ERROR, "lease not renewed for 40s\n"),
        ("/readyz", StatusCode::OK, "ok\n"),
    ] {
        let view = Told { health: Health::unhealthy("lease not renewed for 40s"), ..Told::well() };
        let response = get(view, metrics(), path).await;
        assert_eq!(response.status(), code, "{path}");
        assert_eq!(text(response).await, body, "{path}");
    }
}

#[tokio::test]
async fn a_replica_that_waits_is_alive_but_not_ready() {
    let view = || Told { ready: Readiness::waiting("caches are cold"), ..Told::well() };
    assert_eq!(get(view(), metrics(), "/healthz").await.status(), StatusCode::OK);
    let response = get(view(), metrics(), "/readyz").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(response).await, "caches are cold\n");
}

#[tokio::test]
async fn a_scrape_sees_gauges_set_for_it() {
    let metrics = metrics();
    let view = Told { lock: Some(metrics.lock("tenure")), ..Told::well() };
    let response = get(view, Arc::clone(&metrics), "/metrics").await;
    assert_eq!(response.headers()["content-type"], Metrics::CONTENT_TYPE);
    let body = text(response).await;
    assert!(body.contains("tenure_term{name=\"tenure\"} 1\n"), "{body}");
}

#[tokio::test]
async fn status_is_json_that_reads_back() {
    let response = get(Told::well(), metrics(), "/status").await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let status: Status = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(status, Told::well().status());
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let response = get(Told::well(), metrics(), "/debug").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(text(response).await.contains("/healthz"));
    let post = Request::post("/status").body(Body::empty()).unwrap();
    let response = router(Arc::new(Told::well()), metrics()).oneshot(post).await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
}

/// The console on a real socket; ends when the sender goes.
async fn serving() -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let console = tokio::spawn(serve(listener, Arc::new(Told::well()), metrics(), shutdown));
    (address, stop, console)
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let (address, stop, console) = serving().await;
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    peer.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(30), console).await.expect("the console ended").unwrap().unwrap();
    let refused = TcpStream::connect(address).await;
    assert!(refused.is_err(), "nothing listens any more");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_no_request_is_cut_off() {
    let (address, _stop, _console) = serving().await;
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").await.unwrap();
    let mut answer = Vec::new();
    // Virtual seconds: the clock leaps to the next timer when all is idle. A reset is as good an end as a close.
    let _ = tokio::time::timeout(Duration::from_secs(3600), peer.read_to_end(&mut answer)).await.expect("cut off");
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_wait_and_are_served_later() {
    let (address, _stop, _console) = serving().await;
    // All places taken by peers that say nothing; the request after them is answered once these are cut off.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut late = TcpStream::connect(address).await.unwrap();
    late.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(3600), late.read_to_string(&mut answer)).await.expect("answered").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}
