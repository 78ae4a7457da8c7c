//! Kubeconfig files: where the API is, whom it is trusted to be, and who asks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::certificates::Identity;

/// Who asks.
pub(crate) enum Credential<'a> {
    Certificate(&'a Identity),
    Token(&'a str),
}

/// A kubeconfig (as JSON, which is YAML) for one cluster and one user. `name` is the name the server's certificate must show
/// where the address is another's, a proxy's for one.
pub(crate) fn kubeconfig(url: &str, name: Option<&str>, authority_pem: &str, credential: &Credential<'_>) -> String {
    let mut cluster = json!({"server": url, "certificate-authority-data": STANDARD.encode(authority_pem)});
    if let Some(name) = name {
        cluster["tls-server-name"] = name.into();
    }
    let user: Value = match credential {
        Credential::Certificate(identity) => json!({
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }),
        Credential::Token(token) => json!({"token": token}),
    };
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tenure",
        "clusters": [{"name": "tenure", "cluster": cluster}],
        "users": [{"name": "tenure", "user": user}],
        "contexts": [{"name": "tenure", "context": {"cluster": "tenure", "user": "tenure", "namespace": "default"}}],
    });
    format!("{config:#}\n")
}
