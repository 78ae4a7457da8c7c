//! A real API server for tests: one a test binary, or one of a test's own. Where its programs may be lacking, and what then.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use serde_json::json;
use tenure_control_plane::{Assets, Builder, ControlPlane};
use tokio::sync::OnceCell;

/// The shared one of this test binary. Its programs end with this process: nothing else ends a static.
static SHARED: OnceCell<RealApi> = OnceCell::const_new();

/// A handle to a control plane.
#[derive(Debug, Clone)]
pub struct RealApi(Arc<ControlPlane>);

impl Deref for RealApi {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.0
    }
}

impl RealApi {
    /// The programs, or a loud word about their absence; `cargo xtask test` says it again, last.
    ///
    /// # Panics
    /// When they are lacking under `CI=true`.
    #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
    pub fn assets() -> Option<Assets> {
        match Assets::find() {
            Ok(assets) => Some(assets),
            Err(error) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => panic!("{error}"),
            Err(error) => {
                eprintln!("SKIPPED: {error}");
                None
            }
        }
    }

    /// The one that all tests of this binary share, which nobody may stop, pause or restore. `None` where its programs are
    /// lacking, which only a person's machine may do.
    pub async fn shared() -> Option<Self> {
        let assets = Self::assets()?;
        Some(SHARED.get_or_init(|| start(ControlPlane::builder(assets))).await.clone())
    }

    /// One for the test alone, which goes with it.
    pub async fn own(settings: impl FnOnce(Builder) -> Builder) -> Option<Self> {
        Some(start(settings(ControlPlane::builder(Self::assets()?))).await)
    }

    /// A client for the administrator.
    pub async fn client(&self) -> kube::Client {
        self.0.client().await.expect("a client can be made")
    }

    /// A kubeconfig for a service account, by a token bound to a Pod of this name: what a replica in that Pod has. Makes
    /// account and Pod where they are not there yet. With `at`, through a proxy at that address.
    pub async fn pod_kubeconfig(&self, namespace: &str, account: &str, pod: &str, at: Option<SocketAddr>) -> String {
        let client = self.client().await;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let metadata = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let new = ServiceAccount { metadata: metadata(account), ..ServiceAccount::default() };
        unless_there(accounts.create(&PostParams::default(), &new).await);
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let spec = json!({"serviceAccountName": account, "containers": [{"name": "tenure", "image": "tenure"}]});
        let spec = serde_json::from_value(spec).expect("a Pod's spec");
        unless_there(pods.create(&PostParams::default(), &Pod { metadata: metadata(pod), spec, status: None }).await);
        let uid = pods.get(pod).await.expect("the Pod is there").metadata.uid;
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.to_owned()),
            uid,
        };
        let spec = TokenRequestSpec { bound_object_ref: Some(bound), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let token = answer.expect("the API server signs a token").status.and_then(|status| status.token);
        let token = token.expect("a signed token");
        self.kubeconfig_with_token(&token, at)
    }
}

fn unless_there<T>(created: kube::Result<T>) {
    match created {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => panic!("it cannot be created: {error}"),
    }
}

async fn start(builder: Builder) -> RealApi {
    RealApi(Arc::new(builder.start().await.unwrap_or_else(|error| panic!("no API server: {error}"))))
}
