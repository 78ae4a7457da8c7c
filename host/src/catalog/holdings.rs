//! Which watches objects may carry a plugin's finalizer in, and how many do that the plugin does not see any more: it was
//! removed, or changed. Such objects cannot be deleted before somebody acts, so they are counted and told of. Nothing is changed
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenure_cluster::{Cluster, Subscription, WatchKey, WatchState};
use tenure_plugin_source::Origin;
use tenure_settings::PluginIdentity;

use super::Ready;
use crate::supervise::count_held;

/// What every plugin may hold, by identity; those that never held anything are not there.
pub(crate) struct Holdings {
    cluster: Arc<Cluster>,
    all: BTreeMap<String, Holding>,
}

struct Holding {
    identity: PluginIdentity,
    origin: Origin,
    /// Where objects may carry its finalizer, as far as this process knows.
    keys: BTreeSet<WatchKey>,
    /// The plugin's own watches: what is in these it sees, and lets go of itself. None once it is gone.
    watched: Option<BTreeSet<WatchKey>>,
    /// Of the other watches.
    subscriptions: Vec<Subscription>,
    left: usize,
}

/// How many objects a plugin holds without seeing them; told when the number changes.
pub(crate) struct Left {
    pub(crate) identity: PluginIdentity,
    pub(crate) origin: Origin,
    /// Whether the plugin itself is gone.
    pub(crate) gone: bool,
    pub(crate) objects: usize,
}

impl Left {
    /// What an owner has to know.
    pub(crate) fn message(&self) -> String {
        let Self { identity, objects, gone, .. } = self;
        let why = if *gone { "it was removed" } else { "this version does not watch them" };
        let finish =
            if *gone { "bring it back to let it finish" } else { "bring their [[watch]] back to let it finish" };
        format!(
            "{objects} objects carry its finalizer {}, and {why}: they cannot be deleted; {finish}, or take it off with \
             `tenure plugin remove {identity} --strip`",
            identity.finalizer()
        )
    }
}

impl Holdings {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, all: BTreeMap::new() }
    }

    /// This is what runs from now on. Called before what ran is dropped, so that no watch has to begin anew.
    pub(crate) fn runs(&mut self, identity: &PluginIdentity, origin: &Origin, ready: &Ready) {
        let keys = ready.finalizer_keys();
        if keys.is_empty() && !self.all.contains_key(identity.as_str()) {
            return;
        }
        let holding = self.all.entry(identity.as_str().to_owned()).or_insert_with(|| Holding {
            identity: identity.clone(),
            origin: origin.clone(),
            keys: BTreeSet::new(),
            watched: None,
            subscriptions: Vec::new(),
            left: 0,
        });
        holding.origin = origin.clone();
        holding.keys.extend(keys);
        holding.watched = Some(ready.watch_keys().into_iter().collect());
        holding.follow(&self.cluster);
        if holding.subscriptions.is_empty() {
            holding.left = 0;
        }
    }

    /// The plugin is gone. True if it may have left something.
    pub(crate) fn gone(&mut self, identity: &str) -> bool {
        let Some(holding) = self.all.get_mut(identity) else { return false };
        holding.watched = None;
        holding.follow(&self.cluster);
        true
    }

    /// What has changed since the last time, as far as the caches are complete.
    pub(crate) fn count(&mut self) -> Vec<Left> {
        let cluster = Arc::clone(&self.cluster);
        let mut news = Vec::new();
        self.all.retain(|_, holding| {
            if holding.subscriptions.iter().any(|subscription| subscription.state() != WatchState::Synced) {
                return true;
            }
            let unseen = holding.subscriptions.iter().map(Subscription::key);
            let now = count_held(cluster.hub(), unseen, &holding.identity.finalizer());
            let gone = holding.watched.is_none();
            if now != holding.left || (now == 0 && gone) {
                holding.left = now;
                news.push(holding.told());
            }
            if let (0, Some(watched)) = (now, &holding.watched) {
                holding.keys.retain(|key| watched.contains(key));
                holding.subscriptions.clear();
            }
            !(now == 0 && gone)
        });
        news
    }

    /// What was counted last, where there is something.
    pub(crate) fn left(&self) -> impl Iterator<Item = Left> {
        self.all.values().filter(|holding| holding.left > 0).map(Holding::told)
    }
}

impl Holding {
    fn follow(&mut self, cluster: &Cluster) {
        let seen = |key: &&WatchKey| self.watched.as_ref().is_some_and(|watched| watched.contains(*key));
        let unseen = self.keys.iter().filter(|key| !seen(key));
        self.subscriptions = unseen.map(|key| cluster.hub().subscribe(key.clone())).collect();
    }

    fn told(&self) -> Left {
        Left {
            identity: self.identity.clone(),
            origin: self.origin.clone(),
            gone: self.watched.is_none(),
            objects: self.left,
        }
    }
}
