//! What a plugin asks to be written, and what became of it. Pure: nothing is sent here.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{Method, Request};
use tenure_election::{Instant, Term};

use super::body::{self, GateBody};
use crate::reader::with_query;
use crate::{ApiStatus, Impersonated, InvalidPath, ResourceKey};

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteVerb {
    /// POST to the collection, or to a subresource of an object.
    Create,
    /// PUT.
    Replace,
    /// PATCH; the content type says which kind.
    Patch,
    /// DELETE of one object, with `DeleteOptions`.
    Delete,
}

impl WriteVerb {
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    pub(crate) const fn method(self) -> Method {
        match self {
            Self::Create => Method::POST,
            Self::Replace => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

/// The body's media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// An object, or `DeleteOptions`.
    Json,
    /// RFC 6902.
    JsonPatch,
    /// RFC 7386.
    MergePatch,
    /// Server-side apply. The API takes JSON under this name, being YAML.
    Apply,
}

impl ContentType {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonPatch => "application/json-patch+json",
            Self::MergePatch => "application/merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// Which kind of patch, besides apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
}

/// One write.
#[derive(Debug, Clone)]
#[must_use]
pub struct Write {
    /// What is done.
    pub verb: WriteVerb,
    /// To what kind of object.
    pub resource: ResourceKey,
    /// `status`, `scale`, ...
    pub subresource: Option<String>,
    /// The object's namespace.
    pub namespace: Option<String>,
    /// The object's name; `None` only for a create.
    pub name: Option<String>,
    /// Further parameters. `timeout` is the gate's own.
    pub query: Vec<(String, String)>,
    /// What `body` is.
    pub content_type: ContentType,
    /// Object, patch or `DeleteOptions`, as JSON.
    pub body: Bytes,
    /// `fieldManager`; not for a delete.
    pub field_manager: Option<String>,
    /// In whose name; `None`: the host's own.
    pub impersonated: Option<Arc<Impersonated>>,
}

impl Write {
    /// Creates an object.
    pub fn create(resource: ResourceKey, namespace: Option<&str>, object: Bytes) -> Self {
        Self::new(WriteVerb::Create, resource, namespace, None, ContentType::Json, object)
    }

    /// Replaces an object.
    pub fn replace(resource: ResourceKey, namespace: Option<&str>, name: &str, object: Bytes) -> Self {
        Self::new(WriteVerb::Replace, resource, namespace, Some(name), ContentType::Json, object)
    }

    /// Patches an object.
    pub fn patch(resource: ResourceKey, namespace: Option<&str>, name: &str, kind: PatchKind, patch: Bytes) -> Self {
        let content_type = match kind {
            PatchKind::Json => ContentType::JsonPatch,
            PatchKind::Merge => ContentType::MergePatch,
        };
        Self::new(WriteVerb::Patch, resource, namespace, Some(name), content_type, patch)
    }

    /// Applies an object server-side; `force` takes fields over from other managers. The server demands a field manager.
    pub fn apply(resource: ResourceKey, namespace: Option<&str>, name: &str, object: Bytes, force: bool) -> Self {
        let write = Self::new(WriteVerb::Patch, resource, namespace, Some(name), ContentType::Apply, object);
        if force { write.with_query("force", "true") } else { write }
    }

    /// Deletes an object; `options` is a `DeleteOptions`, or empty.
    pub fn delete(resource: ResourceKey, namespace: Option<&str>, name: &str, options: Bytes) -> Self {
        Self::new(WriteVerb::Delete, resource, namespace, Some(name), ContentType::Json, options)
    }

    /// Of a subresource.
    pub fn with_subresource(self, subresource: &str) -> Self {
        Self { subresource: Some(subresource.to_owned()), ..self }
    }

    /// In the name of this field manager.
    pub fn with_field_manager(self, field_manager: &str) -> Self {
        Self { field_manager: Some(field_manager.to_owned()), ..self }
    }

    /// In the name of an account, if given.
    pub fn impersonating(self, account: Option<Arc<Impersonated>>) -> Self {
        Self { impersonated: account, ..self }
    }

    /// Checked and answered, but not stored (`dryRun=All`). In a delete's `DeleteOptions` where there are some: the API server
    /// reads a delete's parameters only when its body is empty.
    pub fn with_dry_run(self) -> Self {
        match self.delete_options() {
            Some(mut options) => {
                options.insert("dryRun".to_owned(), serde_json::json!(["All"]));
                Self { body: serde_json::Value::Object(options).to_string().into(), ..self }
            }
            None => self.with_query("dryRun", "All"),
        }
    }

    /// `Strict`, `Warn` or `Ignore`.
    pub fn with_field_validation(self, level: &str) -> Self {
        self.with_query("fieldValidation", level)
    }

    /// A further parameter.
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether the server is asked to store nothing, in the place where it looks.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        if self.verb == WriteVerb::Delete && !self.body.is_empty() {
            let options = self.delete_options().unwrap_or_default();
            let asked = options.get("dryRun").and_then(serde_json::Value::as_array);
            return asked.is_some_and(|asked| asked.iter().any(|value| value == "All"));
        }
        self.query.iter().any(|(name, value)| name == "dryRun" && value == "All")
    }

    /// What the body of a delete says; absent where it is empty, or nothing that a server would take.
    fn delete_options(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        if self.verb == WriteVerb::Delete { serde_json::from_slice(&self.body).ok() } else { None }
    }

    fn new(
        verb: WriteVerb,
        resource: ResourceKey,
        namespace: Option<&str>,
        name: Option<&str>,
        content_type: ContentType,
        body: Bytes,
    ) -> Self {
        Self {
            verb,
            resource,
            subresource: None,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            query: Vec::new(),
            content_type,
            body,
            field_manager: None,
            impersonated: None,
        }
    }

    /// The request, but for its `timeout` and who sends it. `audit_id` is what the API server's audit log will call it; the
    /// user agent there says which term wrote.
    pub(crate) fn request(self, term: Term, audit_id: &str) -> Result<Request<GateBody>, InvalidPath> {
        if self.verb != WriteVerb::Create && self.name.is_none() {
            return Err(InvalidPath::Unnamed { verb: self.verb.name() });
        }
        let path = self.resource.path(self.namespace.as_deref(), self.name.as_deref(), self.subresource.as_deref())?;
        let own = self.query.iter().filter(|(name, _)| name != "timeout");
        let own = own.map(|(name, value)| (name.as_str(), Some(value.as_str())));
        let url = with_query(path, own.chain([("fieldManager", self.field_manager.as_deref())]));
        let mut request = Request::builder()
            .method(self.verb.method())
            .uri(&url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, self.content_type.media_type())
            .header(USER_AGENT, format!(concat!("tenure/", env!("CARGO_PKG_VERSION"), " term/{}"), term))
            .header(HeaderName::from_static("audit-id"), audit_id)
            .body(body::body(self.body))
            .map_err(|_| InvalidPath::Target { url })?;
        if let Some(account) = &self.impersonated {
            account.sign(request.headers_mut());
        }
        Ok(request)
    }
}

/// A write the API server took.
#[derive(Debug, Clone)]
pub struct Written {
    /// The answer's JSON: the object as stored, without managedFields, or a `Status` after a delete.
    pub bytes: Bytes,
    /// `metadata.resourceVersion` of the answer; what the cache is to be waited for, see [`crate::Hub::wait_seen`].
    pub version: Option<u64>,
    /// HTTP status code.
    pub code: u16,
    /// The last look at the clocks that a `write(2)` of this request followed.
    pub passed_at: Option<Instant>,
}

/// A write that did not succeed, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The term's authority has ended, or admission is shut. Nothing left this process.
    #[error("not written: term {term} no longer may")]
    Closed {
        /// The term.
        term: Term,
    },
    /// The request could not be put together. Nothing left this process.
    #[error(transparent)]
    Invalid(#[from] InvalidPath),
    /// No connection, no credentials, or no time. Nothing left this process.
    #[error("not written: nothing could be sent to the API server")]
    NotSent {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The API server said no.
    #[error(transparent)]
    Status(Box<ApiStatus>),
    /// Bytes left and no answer came: it may have been written, or may still be. Read before writing again.
    #[error("sent, but no answer came: the write may or may not have happened")]
    Unknown {
        /// The last look at the clocks that a `write(2)` of this request followed.
        passed_at: Option<Instant>,
        /// Why there is no answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The API server took the write, but its answer was cut off.
    #[error("written (code {code}), but the answer was cut off; read the object")]
    AnswerCut {
        /// HTTP status code.
        code: u16,
        /// How it was cut off.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::resource::tests::config_maps;

    fn url(write: Write) -> String {
        write.request(Term::MAX, "a").unwrap().uri().to_string()
    }

    #[test]
    fn writes_become_the_requests_of_the_api() {
        let body = Bytes::from_static(b"{}");
        let create =
            Write::create(config_maps(), Some("ns"), body.clone()).with_field_manager("tenure-x").with_dry_run();
        assert_eq!(url(create), "/api/v1/namespaces/ns/configmaps?dryRun=All&fieldManager=tenure-x");
        let apply = Write::apply(config_maps(), Some("ns"), "a", body.clone(), true).with_field_manager("m");
        assert_eq!(url(apply.clone()), "/api/v1/namespaces/ns/configmaps/a?force=true&fieldManager=m");
        let request = apply.request(Term::MAX, "a").unwrap();
        assert_eq!(
            (request.method(), &request.headers()["content-type"]),
            (&Method::PATCH, &HeaderValue::from_static("application/apply-patch+yaml"))
        );
        let status = Write::replace(config_maps(), Some("ns"), "a", body.clone())
            .with_subresource("status")
            .with_field_validation("Strict");
        assert_eq!(url(status), "/api/v1/namespaces/ns/configmaps/a/status?fieldValidation=Strict");
        let delete = Write::delete(config_maps(), Some("ns"), "a", body).request(Term::MAX, "a").unwrap();
        assert_eq!(delete.method(), Method::DELETE);
    }

    #[test]
    fn dry_run_of_a_delete_stands_where_the_server_looks_for_it() {
        let delete = |options| Write::delete(config_maps(), Some("ns"), "a", Bytes::from_static(options));
        let bare = delete(b"").with_dry_run();
        assert!(bare.is_dry_run() && bare.body.is_empty());
        assert_eq!(url(bare), "/api/v1/namespaces/ns/configmaps/a?dryRun=All");
        let with_options = delete(br#"{"propagationPolicy":"Orphan"}"#).with_dry_run();
        assert!(with_options.is_dry_run());
        let options: serde_json::Value = serde_json::from_slice(&with_options.body).unwrap();
        assert_eq!(options, serde_json::json!({"propagationPolicy": "Orphan", "dryRun": ["All"]}));
        let ignored = delete(b"{}").with_query("dryRun", "All");
        assert!(!ignored.is_dry_run(), "beside a body a parameter says nothing, and the object goes");
        assert!(delete(br#"{"dryRun":["All"]}"#).is_dry_run());
    }

    #[test]
    fn nobody_sets_the_timeout_but_the_gate() {
        let write = Write::delete(config_maps(), Some("ns"), "a", Bytes::new()).with_query("timeout", "0s");
        assert_eq!(url(write), "/api/v1/namespaces/ns/configmaps/a");
    }

    #[test]
    fn only_a_create_goes_without_a_name() {
        let mut write = Write::delete(config_maps(), Some("ns"), "a", Bytes::new());
        write.name = None;
        assert!(
            matches!(write.request(Term::MAX, "a"), Err(InvalidPath::Unnamed { verb: "delete" })),
            "never a whole collection"
        );
    }
}
