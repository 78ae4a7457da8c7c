//! The room's front door: one API server, as plugins see it. Writes are not here: they need a term, see [`crate::TermWriter`].

use std::sync::Arc;
use std::time::Duration;

use kube::client::ConfigExt as _;
use tenure_election::Clock;

use crate::barrier::{self, BarrierReport};
use crate::discovery::Discovery;
use crate::reader::{GetQuery, ListQuery, LivePage, Reader};
use crate::{
    ApiError, ClusterError, Hub, Impersonated, Object, ResolveError, Resource, ResourceKey, Review, Reviewed, WatchKey,
};

/// One API server.
pub struct Cluster {
    config: kube::Config,
    clock: Arc<dyn Clock>,
    reader: Reader,
    discovery: Discovery,
    hub: Hub,
}

impl Cluster {
    /// A cluster reached with `config`. No request is made yet. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When certificates or credentials in `config` cannot be used.
    pub fn new(config: kube::Config, clock: Arc<dyn Clock>) -> Result<Arc<Self>, ClusterError> {
        let client = tenure_api_client::client(config.clone()).map_err(|source| refused(&config, source))?;
        Self::with_client(client, config, clock)
    }

    /// As [`Self::new`], but reads go through `client` (an in-memory API server in tests); writes still use `config`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_client(
        client: kube::Client,
        config: kube::Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, ClusterError> {
        // Told now rather than at the start of the first term.
        config.rustls_client_config().map_err(|source| refused(&config, source))?;
        if config.cluster_url.host().is_none() {
            return Err(ClusterError::NoHost { cluster_url: config.cluster_url.to_string() });
        }
        if config.proxy_url.is_some() {
            tracing::warn!("a proxy is configured: reads use it, plugins' writes go to the API server directly");
        }
        let reader = Reader::new(client);
        Ok(Arc::new(Self {
            discovery: Discovery::new(reader.clone()),
            hub: Hub::new(reader.clone()),
            config,
            clock,
            reader,
        }))
    }

    /// The resource that serves a kind. Remembered; a miss asks the server again, at most every few seconds.
    ///
    /// # Errors
    /// [`ResolveError::NotFound`] when the server serves no such kind; others when it could not be asked.
    pub async fn resolve(&self, api_version: &str, kind: &str) -> Result<Resource, ResolveError> {
        self.discovery.resolve(api_version, kind).await
    }

    /// The shared object cache.
    #[must_use]
    pub const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Reads one object from the API server.
    ///
    /// # Errors
    /// What the server answered, or that it did not answer within 30 s.
    pub async fn get_live(
        &self,
        resource: &ResourceKey,
        namespace: Option<&str>,
        name: &str,
        query: &GetQuery,
    ) -> Result<Object, ApiError> {
        self.reader.get(resource, namespace, name, query).await
    }

    /// Reads one page of a collection from the API server; without a continue token it is as fresh as etcd.
    ///
    /// # Errors
    /// What the server answered (410 `Expired` for an old continue token), or that it did not answer within 30 s.
    pub async fn list_live(&self, resource: &ResourceKey, query: &ListQuery) -> Result<LivePage, ApiError> {
        self.reader.list(resource, query).await
    }

    /// Asks the API server what it would allow: `account`, or the host itself.
    ///
    /// # Errors
    /// What the server answered instead (403: the host may not ask), or that it did not answer within 30 s.
    pub async fn review(&self, account: Option<&Impersonated>, asked: &Review<'_>) -> Result<Reviewed, ApiError> {
        self.reader.review(account, asked).await
    }

    /// Waits until the cache holds everything that was written to `watches` before this call, at most `limit`.
    ///
    /// At the start of a term a warm cache may lack the predecessor's last writes; no key may be handed out until the report
    /// says the watch is ready. Each key must be subscribed to.
    pub async fn barrier(&self, watches: &[WatchKey], limit: Duration) -> BarrierReport {
        barrier::run(&self.reader, &self.hub, watches, limit).await
    }

    pub(crate) const fn config(&self) -> &kube::Config {
        &self.config
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("cluster_url", &self.config.cluster_url).finish_non_exhaustive()
    }
}

pub(crate) fn refused(config: &kube::Config, source: kube::Error) -> ClusterError {
    ClusterError::Configuration { cluster_url: config.cluster_url.to_string(), source: Box::new(source) }
}
