//! Reads that go to the API server: one object, one page, and the raw requests discovery, cache and barrier are made of.
//! Holds no cache, retries nothing, writes nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use tokio::time::{Instant, timeout_at};

use crate::object::ListPage;
use crate::{ApiError, ApiStatus, Impersonated, InvalidPath, MalformedObject, Object, ResourceKey};

/// How long one read, or one page of a list, may take.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Objects a page; what client-go's pager asks for.
pub(crate) const PAGE_OBJECTS_MAX: u32 = 500;

/// A page of 500 objects stays under this unless nearly all are at etcd's limit of 1.5 MiB; more would only be a fault.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// What kind of JSON is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    Json,
    MetadataOfObject,
    MetadataOfList,
}

impl Accept {
    const fn header(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MetadataOfObject => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Self::MetadataOfList => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        }
    }
}

/// What to read of one object.
#[derive(Debug, Clone, Default)]
pub struct GetQuery {
    /// `status`, `scale`, ...
    pub subresource: Option<String>,
    /// Only `metadata`, as `PartialObjectMetadata`.
    pub metadata_only: bool,
    /// In whose name; `None`: the host's own.
    pub impersonated: Option<Arc<Impersonated>>,
}

/// What to read of a collection.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// `None`: all namespaces.
    pub namespace: Option<String>,
    /// In the API's syntax; the server applies it.
    pub label_selector: Option<String>,
    /// In the API's syntax; the server applies it.
    pub field_selector: Option<String>,
    /// Objects a page at most; the server may give fewer. `None`: 500.
    pub limit: Option<u32>,
    /// From the page before.
    pub continue_token: Option<String>,
    /// Only `metadata`, as `PartialObjectMetadata`.
    pub metadata_only: bool,
    /// In whose name; `None`: the host's own.
    pub impersonated: Option<Arc<Impersonated>>,
}

/// One page of a live list.
#[derive(Debug, Clone)]
pub struct LivePage {
    /// The objects.
    pub items: Vec<Object>,
    /// Asks for the next page; `None` on the last.
    pub continue_token: Option<String>,
    /// `metadata.resourceVersion` of the list.
    pub version: String,
    /// About how many objects follow, if the server says.
    pub remaining: Option<u64>,
}

/// Sends reads.
#[derive(Clone)]
pub(crate) struct Reader {
    client: kube::Client,
}

impl Reader {
    pub(crate) const fn new(client: kube::Client) -> Self {
        Self { client }
    }

    pub(crate) const fn client(&self) -> &kube::Client {
        &self.client
    }

    pub(crate) async fn get(
        &self,
        resource: &ResourceKey,
        namespace: Option<&str>,
        name: &str,
        query: &GetQuery,
    ) -> Result<Object, ApiError> {
        let path = resource.path(namespace, Some(name), query.subresource.as_deref())?;
        let accept = if query.metadata_only { Accept::MetadataOfObject } else { Accept::Json };
        let bytes = self.read_as_user(&path, accept, READ_TIMEOUT, query.impersonated.as_deref()).await?;
        Object::parse(&bytes).map_err(|source| malformed(&path, source))
    }

    pub(crate) async fn list(&self, resource: &ResourceKey, query: &ListQuery) -> Result<LivePage, ApiError> {
        let path = resource.path(query.namespace.as_deref(), None, None)?;
        let limit = query.limit.unwrap_or(PAGE_OBJECTS_MAX).max(1).to_string();
        let path = with_query(
            path,
            [
                ("limit", Some(limit.as_str())),
                ("labelSelector", query.label_selector.as_deref()),
                ("fieldSelector", query.field_selector.as_deref()),
                ("continue", query.continue_token.as_deref()),
            ],
        );
        let page = self.page(&path, resource, query).await?;
        Ok(LivePage {
            items: page.items,
            continue_token: page.metadata.continue_token.filter(|token| !token.is_empty()),
            version: page.metadata.resource_version.unwrap_or_default(),
            remaining: page.metadata.remaining_item_count,
        })
    }

    async fn page(&self, path: &str, resource: &ResourceKey, query: &ListQuery) -> Result<ListPage, ApiError> {
        let user = query.impersonated.as_deref();
        if !query.metadata_only {
            let bytes = self.read_as_user(path, Accept::Json, READ_TIMEOUT, user).await?;
            return ListPage::parse(&bytes, resource).map_err(|source| malformed(path, source));
        }
        let bytes = self.read_as_user(path, Accept::MetadataOfList, READ_TIMEOUT, user).await?;
        let partial = ResourceKey {
            group: "meta.k8s.io".into(),
            version: "v1".into(),
            kind: "PartialObjectMetadata".into(),
            ..resource.clone()
        };
        ListPage::parse(&bytes, &partial).map_err(|source| malformed(path, source))
    }

    /// Reads JSON into a type of k8s-openapi's shape.
    pub(crate) async fn read_as<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        accept: Accept,
    ) -> Result<T, ApiError> {
        let bytes = self.read(path, accept, READ_TIMEOUT).await?;
        let mut deserializer = serde_json::Deserializer::from_slice(&bytes);
        T::deserialize(&mut deserializer).map_err(|source| malformed(path, MalformedObject::Json(source)))
    }

    /// One GET, whole.
    pub(crate) async fn read(&self, path: &str, accept: Accept, limit: Duration) -> Result<Bytes, ApiError> {
        self.read_as_user(path, accept, limit, None).await
    }

    async fn read_as_user(
        &self,
        path: &str,
        accept: Accept,
        limit: Duration,
        user: Option<&Impersonated>,
    ) -> Result<Bytes, ApiError> {
        let deadline = Instant::now() + limit;
        let response = self.open_as_user(path, accept, limit, user).await?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        match timeout_at(deadline, body).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(source)) => Err(ApiError::Transport { method_and_path: method_and_path(path), source }),
            Err(_) => Err(ApiError::Timeout { method_and_path: method_and_path(path), limit }),
        }
    }

    /// One GET up to the headers of a successful answer; the body is the caller's. An answer that is no success is an error.
    pub(crate) async fn open(&self, path: &str, accept: Accept, limit: Duration) -> Result<Response<Body>, ApiError> {
        self.open_as_user(path, accept, limit, None).await
    }

    async fn open_as_user(
        &self,
        path: &str,
        accept: Accept,
        limit: Duration,
        user: Option<&Impersonated>,
    ) -> Result<Response<Body>, ApiError> {
        let mut request = Request::get(path)
            .header(ACCEPT, accept.header())
            .body(Body::empty())
            .map_err(|_| InvalidPath::Target { url: path.to_owned() })?;
        if let Some(user) = user {
            user.sign(request.headers_mut());
        }
        let timed_out = || ApiError::Timeout { method_and_path: method_and_path(path), limit };
        let deadline = Instant::now() + limit;
        let response = timeout_at(deadline, self.client.send(request)).await.map_err(|_| timed_out())?;
        let response = response.map_err(|source| ApiError::Transport {
            method_and_path: method_and_path(path),
            source: Box::new(source),
        })?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        // An error page that is cut short or too long still has its code.
        let body =
            timeout_at(deadline, Limited::new(body, ERROR_BYTES_MAX).collect()).await.map_err(|_| timed_out())?;
        let body = body.map(|collected| collected.to_bytes()).unwrap_or_default();
        Err(ApiError::Status(Box::new(ApiStatus::read(parts.status, &parts.headers, &body))))
    }
}

/// More than any `Status` has to say.
const ERROR_BYTES_MAX: usize = 1 << 20;

fn method_and_path(path: &str) -> String {
    format!("GET {path}")
}

pub(crate) fn malformed(path: &str, source: MalformedObject) -> ApiError {
    ApiError::Malformed { method_and_path: method_and_path(path), source }
}

/// Appends the parameters that have a value.
pub(crate) fn with_query<'a>(
    mut path: String,
    parameters: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if !query.is_empty() {
        path.push('?');
        path.push_str(&query);
    }
    path
}
