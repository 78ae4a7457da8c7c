//! The plugin source's port to the cluster: ConfigMaps of one namespace, from the shared object cache.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};
use tenure_cluster::{Change, Cluster, FieldSelector, Object, ResourceKey, Selector, Subscription, WatchKey};
use tenure_plugin_source::{ConfigMapFeed, FeedEvent};

/// ConfigMaps in one namespace.
pub(crate) struct HubFeed {
    cluster: Arc<Cluster>,
    key: WatchKey,
}

impl HubFeed {
    pub(crate) fn new(cluster: Arc<Cluster>, namespace: &str) -> Self {
        // Known to every API server: no discovery needed to find plugins.
        let resource = ResourceKey {
            group: String::new(),
            version: "v1".into(),
            plural: "configmaps".into(),
            kind: "ConfigMap".into(),
            namespaced: true,
        };
        Self { cluster, key: WatchKey { resource, namespace: Some(namespace.to_owned()) } }
    }
}

struct Following {
    cluster: Arc<Cluster>,
    subscription: Subscription,
    /// What one change became, and was not handed out yet.
    pending: VecDeque<FeedEvent>,
    synced: bool,
}

impl ConfigMapFeed for HubFeed {
    fn events(&self) -> BoxStream<'static, FeedEvent> {
        let following = Following {
            subscription: self.cluster.hub().subscribe(self.key.clone()),
            cluster: Arc::clone(&self.cluster),
            pending: VecDeque::new(),
            synced: false,
        };
        stream::unfold(following, |mut following| async move {
            let event = following.next().await?;
            Some((event, following))
        })
        .boxed()
    }
}

impl Following {
    async fn next(&mut self) -> Option<FeedEvent> {
        while self.pending.is_empty() {
            let change = self.subscription.next().await?;
            self.handle(change);
        }
        self.pending.pop_front()
    }

    fn handle(&mut self, change: Change) {
        match change {
            Change::Applied(object) => self.pending.push_back(FeedEvent::Applied(object.bytes.clone())),
            Change::Deleted(object) => self.pending.push_back(deleted(&object)),
            Change::Resynced => {
                let hub = self.cluster.hub();
                let all = hub.list(self.subscription.key(), None, &Selector::default(), &FieldSelector::default());
                let all = all.iter().map(|object| object.bytes.clone()).collect();
                self.pending.push_back(FeedEvent::Snapshot(all));
                if !self.synced {
                    self.synced = true;
                    self.pending.push_back(FeedEvent::Synced);
                }
            }
            Change::Failing { message, .. } => {
                let message = format!("{}: {message}", self.subscription.key());
                self.pending.push_back(FeedEvent::Failing(message));
            }
        }
    }
}

fn deleted(object: &Object) -> FeedEvent {
    FeedEvent::Deleted {
        namespace: object.namespace.as_deref().unwrap_or_default().to_owned(),
        name: object.name.to_string(),
    }
}
