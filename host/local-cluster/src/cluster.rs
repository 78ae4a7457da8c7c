//! The handle: a cluster, its settings, and what tests look at from outside.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use crate::audit::AuditEntry;
use crate::intercept::{Interception, Interceptor};
use crate::journal::OpenError;
use crate::resource::Collection;
use crate::store::{Bounds, Store};
use crate::write;

/// A Kubernetes API in memory. Clones are handles to the same cluster.
#[derive(Clone)]
pub struct LocalCluster {
    pub(crate) inner: Arc<Inner>,
    /// Turns true when the server this handle answers for shuts down; watches end then.
    pub(crate) closing: Option<watch::Receiver<bool>>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<Store>,
    pub(crate) interception: Interception,
}

impl std::fmt::Debug for LocalCluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LocalCluster").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// Settings of a [`LocalCluster`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    data: Option<PathBuf>,
    bounds: Bounds,
    garbage_collector: bool,
}

impl Default for Builder {
    fn default() -> Self {
        let bounds = Bounds {
            // Enough for a controller to come back after some seconds of the busiest traffic.
            history_changes_max: 8192,
            // A few hundred of the largest plugin chunks.
            history_bytes_max: 64 << 20,
            audit_entries_max: 65_536,
        };
        Self { data: None, bounds, garbage_collector: true }
    }
}

impl Builder {
    /// Keeps the objects in this directory and starts with those found there. Without it they live as long as the cluster.
    pub fn data(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data = Some(directory.into());
        self
    }

    /// Changes kept per collection for watches to resume from (default 8192); older ones are answered 410.
    pub fn watch_history(mut self, changes_max: usize) -> Self {
        self.bounds.history_changes_max = changes_max;
        self
    }

    /// Bytes of objects those changes may hold per collection (default 64 MiB).
    pub fn watch_history_bytes(mut self, bytes_max: usize) -> Self {
        self.bounds.history_bytes_max = bytes_max;
        self
    }

    /// Audit entries kept (default 65536); the oldest go first.
    pub fn audit_history(mut self, entries_max: usize) -> Self {
        self.bounds.audit_entries_max = entries_max;
        self
    }

    /// Whether objects go with their owners (default true), as where kube-controller-manager runs. Without it a deletion that leaves
    /// dependents to somebody waits until that somebody acts.
    pub fn garbage_collector(mut self, collects: bool) -> Self {
        self.garbage_collector = collects;
        self
    }

    /// Starts the cluster.
    ///
    /// # Errors
    /// Only with a data directory: it cannot be used, another process has it, or its content is damaged.
    pub fn build(self) -> Result<LocalCluster, OpenError> {
        let store = Arc::new(Store::open(self.bounds, self.data.as_deref(), self.garbage_collector)?);
        write::settle_all(&store);
        write::make_initial(&store);
        // A deletion the last process did not finish.
        for namespace in store.list(Collection::Namespaces, None).1 {
            write::delete_content(&store, &namespace.key.name);
        }
        let inner = Inner { store, interception: Interception::default() };
        Ok(LocalCluster { inner: Arc::new(inner), closing: None })
    }
}

impl Default for LocalCluster {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalCluster {
    /// An empty cluster in memory, with the namespaces `default`, `kube-public` and `kube-system`.
    #[must_use]
    pub fn new() -> Self {
        match Self::builder().build() {
            Ok(cluster) => cluster,
            Err(error) => unreachable!("nothing is opened without a data directory: {error}"),
        }
    }

    /// A cluster with settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The newest resourceVersion: that of the last committed write.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.inner.store.version()
    }

    /// The writes so far, oldest first; committed ones stand in the order of their versions.
    #[must_use]
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.inner.store.audit.entries()
    }

    /// Follows the audit from now on. A follower that falls 4096 entries behind is told how many it missed.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<AuditEntry> {
        self.inner.store.audit.subscribe()
    }

    /// Lets `interceptor` decide about each request from now on, in the place of an earlier one.
    pub fn intercept(&self, interceptor: Interceptor) {
        self.inner.interception.set(Some(interceptor));
    }

    /// Serves every request again.
    pub fn stop_intercepting(&self) {
        self.inner.interception.set(None);
    }

    /// The same cluster, whose watches end when `closing` turns true.
    pub(crate) fn ending_with(&self, closing: watch::Receiver<bool>) -> Self {
        Self { inner: Arc::clone(&self.inner), closing: Some(closing) }
    }
}
