//! Acting in the name of another account, and asking what the API server would allow it. Decides neither.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::reader::{READ_TIMEOUT, Reader};
use crate::{ApiError, ApiStatus, MalformedObject};

/// How the API server names the Pod that a token is bound to (`k8s.io/apiserver`, `serviceaccount/util.go`), as a header: what
/// stands in a key's place is percent-encoded.
const POD_NAME: HeaderName = HeaderName::from_static("impersonate-extra-authentication.kubernetes.io%2fpod-name");
const USER: HeaderName = HeaderName::from_static("impersonate-user");

/// A ServiceAccount in whose name requests go out. The API server adds its groups; the Pod is the host's, for fences that compare
/// it with the holder of a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impersonated {
    user: HeaderValue,
    user_name: String,
    groups: [String; 3],
    pod: Option<HeaderValue>,
}

/// Names that cannot stand in a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("account {namespace}/{name} and Pod {pod:?} cannot stand in a request")]
pub struct InvalidAccount {
    namespace: String,
    name: String,
    pod: Option<String>,
}

/// One thing that may or may not be allowed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Review<'a> {
    /// As RBAC writes it.
    pub verb: &'a str,
    /// Empty for the core group.
    pub group: &'a str,
    /// The plural resource.
    pub resource: &'a str,
    /// `status` and so on.
    pub subresource: Option<&'a str>,
    /// `None`: all namespaces, or none.
    pub namespace: Option<&'a str>,
    /// `None`: all names.
    pub name: Option<&'a str>,
}

/// What the API server would do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reviewed {
    /// Whether it would let that through.
    pub allowed: bool,
    /// Why, in its own words; often nothing.
    #[serde(default)]
    pub reason: String,
}

impl Impersonated {
    /// The ServiceAccount of this name, from this Pod of the host's.
    ///
    /// # Errors
    /// When a name has characters that no name has.
    pub fn new(namespace: &str, name: &str, pod: Option<&str>) -> Result<Self, InvalidAccount> {
        let user_name = format!("system:serviceaccount:{namespace}:{name}");
        let header = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| InvalidAccount {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                pod: pod.map(str::to_owned),
            })
        };
        let groups = [
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".into(),
        ];
        Ok(Self { user: header(&user_name)?, user_name, groups, pod: pod.map(header).transpose()? })
    }

    /// What the API server calls it.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user_name
    }

    /// Puts it into a request.
    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        headers.insert(USER, self.user.clone());
        if let Some(pod) = &self.pod {
            headers.insert(POD_NAME, pod.clone());
        }
    }
}

impl Reader {
    pub(crate) async fn review(
        &self,
        account: Option<&Impersonated>,
        asked: &Review<'_>,
    ) -> Result<Reviewed, ApiError> {
        let kind = if account.is_some() { "SubjectAccessReview" } else { "SelfSubjectAccessReview" };
        let path = format!("/apis/authorization.k8s.io/v1/{}s", kind.to_lowercase());
        let Review { verb, group, resource, subresource, namespace, name } = asked;
        let attributes = json!({
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace, "name": name,
        });
        let mut spec = json!({"resourceAttributes": attributes});
        if let Some(account) = account {
            spec["user"] = account.user_name.clone().into();
            spec["groups"] = account.groups.to_vec().into();
        }
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
        self.ask(&path, &body).await
    }

    async fn ask(&self, path: &str, body: &Value) -> Result<Reviewed, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            status: Reviewed,
        }
        let method_and_path = || format!("POST {path}");
        let request = Request::post(path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string().into_bytes()))
            .map_err(|_| crate::InvalidPath::Target { url: path.to_owned() })?;
        let transport = |source: Box<dyn std::error::Error + Send + Sync>| ApiError::Transport {
            method_and_path: method_and_path(),
            source,
        };
        let asking = async {
            let response = self.client().send(request).await.map_err(|error| transport(Box::new(error)))?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.map_err(|error| transport(Box::new(error)))?.to_bytes();
            if !parts.status.is_success() {
                return Err(ApiError::Status(Box::new(ApiStatus::read(parts.status, &parts.headers, &bytes))));
            }
            let answer = serde_json::from_slice::<Answer>(&bytes);
            answer.map(|answer| answer.status).map_err(|source| ApiError::Malformed {
                method_and_path: method_and_path(),
                source: MalformedObject::Json(source),
            })
        };
        timeout(READ_TIMEOUT, asking)
            .await
            .map_err(|_| ApiError::Timeout { method_and_path: method_and_path(), limit: READ_TIMEOUT })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_signed_with_the_hosts_pod() {
        let account = Impersonated::new("shop", "bot", Some("tenure-0")).unwrap();
        let mut headers = HeaderMap::new();
        account.sign(&mut headers);
        assert_eq!(headers["impersonate-user"], "system:serviceaccount:shop:bot");
        assert_eq!(headers["Impersonate-Extra-authentication.kubernetes.io%2Fpod-name"], "tenure-0");
        assert!(Impersonated::new("shop", "a\nb", None).is_err());
    }
}
