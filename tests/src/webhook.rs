//! An admission webhook that takes its time: an HTTPS server in this process, which allows everything sooner or later.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Api, PostParams};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::until;

/// How soon a request is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// At once.
    Quick,
    /// After this long.
    Slow(Duration),
    /// Not before it is set to something else.
    Held,
}

/// The server, until dropped. Its configuration stays with the API server.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    certificate: String,
    admission: watch::Sender<Admission>,
    /// Requests that wait.
    waiting: watch::Sender<usize>,
    _tasks: JoinSet<()>,
}

impl Webhook {
    /// Listens on loopback with a certificate of its own.
    pub async fn start() -> Self {
        let signed = rcgen::generate_simple_self_signed([String::from("127.0.0.1")]).expect("a certificate");
        let certificate = signed.cert.pem();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("the certificate just made")];
        let key = PrivateKeyDer::from_pem_slice(signed.signing_key.serialize_pem().as_bytes()).expect("its key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("ring knows them").with_no_client_auth().with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")));

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (admission, waiting) = (watch::Sender::new(Admission::Quick), watch::Sender::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, acceptor, admission.clone(), waiting.clone()));
        Self { address, certificate, admission, waiting, _tasks: tasks }
    }

    /// Asks to be asked before any of these is created or changed in a namespace, with the 10 s that the API server waits by default.
    /// `group` is empty for the core group.
    pub async fn register(&self, client: kube::Client, namespace: &str, group: &str, resource: &str) {
        let name = format!("{namespace}.{resource}.test");
        let webhook = json!({
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "timeoutSeconds": 10,
            "clientConfig": {
                "url": format!("https://{}/", self.address),
                "caBundle": ByteString(self.certificate.clone().into_bytes()),
            },
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{
                "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["CREATE", "UPDATE"],
            }],
        });
        let configuration = json!({"metadata": {"name": name}, "webhooks": [webhook]});
        let configuration: ValidatingWebhookConfiguration =
            serde_json::from_value(configuration).expect("a configuration");
        let configurations = Api::all(client);
        configurations.create(&PostParams::default(), &configuration).await.expect("the configuration can be created");
    }

    /// From now on, also for requests that wait.
    pub fn set(&self, admission: Admission) {
        self.admission.send_replace(admission);
    }

    /// Waits until requests wait here.
    pub async fn asked(&self) {
        until("a request to wait in the webhook", || async { *self.waiting.borrow() > 0 }).await;
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    admission: watch::Sender<Admission>,
    waiting: watch::Sender<usize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let (acceptor, admission, waiting) = (acceptor.clone(), admission.clone(), waiting.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(tcp).await else { return };
            let service = service_fn(|request| answer(request, admission.subscribe(), waiting.clone()));
            // A connection the API server gave up is no concern here.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    mut admission: watch::Receiver<Admission>,
    waiting: watch::Sender<usize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let review = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let review: Value = serde_json::from_slice(&review).unwrap_or_default();
    waiting.send_modify(|count| *count += 1);
    let _waits = Waits(waiting);
    loop {
        let now = *admission.borrow_and_update();
        let pause = match now {
            Admission::Quick => Some(Duration::ZERO),
            Admission::Slow(pause) => Some(pause),
            Admission::Held => None,
        };
        tokio::select! {
            () = async { match pause { Some(pause) => tokio::time::sleep(pause).await, None => std::future::pending().await } } => break,
            changed = admission.changed() => if changed.is_err() { break },
        }
    }
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true},
    });
    let answer = Response::builder().header("Content-Type", "application/json").body(Full::from(answer.to_string()));
    Ok(answer.expect("a response of constants"))
}

/// One request that waits; gone also when the API server hangs up.
struct Waits(watch::Sender<usize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
