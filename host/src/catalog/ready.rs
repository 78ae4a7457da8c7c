//! A plugin that could start this instant: loaded, its grant decided, its watches resolved.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tenure_capability::{Capability, NamespaceFilter};
use tenure_cluster::{FieldSelector, Impersonated, Object, ResourceKey, Selector, Subscription, WatchKey};
use tenure_plugin_source::Artifact;
use tenure_reconcile::Schedule;
use tenure_sandbox::{InstanceLimits, Kind, Loaded};
use tenure_settings::{By, Manifest};

use super::entitlement::Entitlement;
use super::visible::Visible;
use crate::supervise::Generation;

/// Everything a runner needs of its plugin. Cheap to clone: the code and the subscriptions are shared.
#[derive(Clone)]
pub(crate) struct Ready {
    /// `<namespace>/<ConfigMap>` or `directory/<stem>`.
    pub(crate) identity: String,
    /// `tenure-<key>`.
    pub(crate) field_manager: String,
    /// `tenure.dev/<key>`: on what it watches with `finalizer = true`.
    pub(crate) finalizer: String,
    /// The annotation that its fencing token stands in, where the grant asks for one.
    pub(crate) fence: Option<String>,
    /// Which load of it this is.
    pub(crate) generation: Generation,
    /// The code.
    pub(crate) loaded: Arc<Loaded>,
    /// What it may do, as long as it is entitled to it.
    pub(crate) capability: Capability,
    /// Whether the grants cover what it requests, as they are now.
    pub(crate) entitlement: Arc<Entitlement>,
    /// The account in whose name its requests go out, unless that is the host's own.
    pub(crate) impersonated: Option<Arc<Impersonated>>,
    /// What of the cache it may be shown.
    pub(crate) visible: Visible,
    /// What makes work for it.
    pub(crate) watches: Vec<ResolvedWatch>,
    /// What makes work for it by the clock.
    pub(crate) schedules: Vec<Schedule>,
    /// The manifest's `[settings]` as JSON.
    pub(crate) settings_json: String,
    /// What it was made from, beside the code.
    pub(crate) manifest: Arc<Manifest>,
    /// Whether writes go out with dryRun=All.
    pub(crate) dry_run: bool,
    /// Whether it is only to let go of what it holds: nothing is selected any more.
    pub(crate) finishing: bool,
    /// Its budgets.
    pub(crate) budgets: Budgets,
    /// Keep this plugin's caches warm on a standby, so that a term starts with them filled.
    pub(crate) _warm: Arc<[Subscription]>,
}

/// What one plugin may use.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    /// Of each instance.
    pub(crate) instance: InstanceLimits,
    /// Wall time of one call.
    pub(crate) reconcile_timeout: Duration,
    /// Calls at once, each in an instance of its own.
    pub(crate) concurrency_max: usize,
    /// Requests to the API and to the cache, all instances together.
    pub(crate) requests_per_second: NonZeroU32,
}

/// What an object is to a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// None of its business.
    None,
    /// A watch selects it.
    Selected,
    /// No watch selects it, but it carries the plugin's finalizer: to be dealt with as if it were deleted.
    Held,
}

/// One `[[watch]]`, its kind resolved.
#[derive(Clone)]
pub(crate) struct ResolvedWatch {
    /// As the manifest writes it.
    pub(crate) kind: Kind,
    /// As the API serves it.
    pub(crate) resource: ResourceKey,
    /// The shared watches it draws from: one for all namespaces, or one for each that is granted by name.
    pub(crate) keys: Vec<WatchKey>,
    /// `label-selector`.
    pub(crate) labels: Selector,
    /// `field-selector`.
    pub(crate) fields: FieldSelector,
    /// The namespaces it may see.
    pub(crate) granted: NamespaceFilter,
    /// Whether the host keeps the plugin's finalizer on what it selects.
    pub(crate) finalizer: bool,
    /// Whose keys its objects make. Empty: their own.
    pub(crate) enqueue: Vec<ResolvedEnqueue>,
}

/// One `enqueue` of a watch, its kind resolved.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedEnqueue {
    /// The kind in the keys it makes: the first watch on `resource`.
    pub(crate) kind: usize,
    /// What those keys stand for.
    pub(crate) resource: ResourceKey,
    /// How they follow from a changed object.
    pub(crate) by: By,
}

impl ResolvedWatch {
    /// Whether the watch is for this object as it is now.
    #[must_use]
    pub(crate) fn selects(&self, object: &Object) -> bool {
        self.sees(object) && self.labels.matches(&object.labels) && self.fields.matches(object)
    }

    /// Whether it would be for this object with other labels and fields.
    fn sees(&self, object: &Object) -> bool {
        let namespace = object.namespace.as_deref();
        self.keys.iter().any(|key| key.namespace.is_none() || key.namespace.as_deref() == namespace)
            && self.granted.admits_object(namespace, &object.name)
    }
}

impl Ready {
    /// Whether loading this artifact would give the same again, but for what its owner says about running it.
    #[must_use]
    pub(crate) fn is_made_of(&self, artifact: &Artifact) -> bool {
        self.loaded.digest() == artifact.digest
            && self.manifest == artifact.manifest
            && self.entitlement.has_signature(artifact.signature.as_deref())
    }

    /// The shared watches it draws from, each once.
    pub(crate) fn watch_keys(&self) -> Vec<WatchKey> {
        let mut keys: Vec<_> = self.watches.iter().flat_map(|watch| watch.keys.iter().cloned()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The first of its watches on a resource.
    pub(crate) fn kind_of(&self, resource: &ResourceKey) -> usize {
        self.watches.iter().position(|watch| watch.resource == *resource).unwrap_or_default()
    }

    /// Its watches on a resource whose objects it is called for themselves.
    fn makes_keys(&self, resource: &ResourceKey) -> impl Iterator<Item = &ResolvedWatch> {
        self.watches.iter().filter(move |watch| watch.resource == *resource && watch.enqueue.is_empty())
    }

    /// What this object is to the plugin as it is now.
    #[must_use]
    pub(crate) fn interest(&self, resource: &ResourceKey, object: &Object) -> Interest {
        if !self.finishing && self.makes_keys(resource).any(|watch| watch.selects(object)) {
            return Interest::Selected;
        }
        let held = object.has_finalizer(&self.finalizer) && self.makes_keys(resource).any(|watch| watch.sees(object));
        if held { Interest::Held } else { Interest::None }
    }

    /// Whether its deletion must not be missed from now on.
    #[must_use]
    pub(crate) fn wants_finalizer(&self, resource: &ResourceKey, object: &Object) -> bool {
        let wants = |watch: &ResolvedWatch| watch.finalizer && watch.selects(object);
        !self.finishing && !object.deletion && self.makes_keys(resource).any(wants)
    }

    /// The shared watches in which objects may carry its finalizer.
    pub(crate) fn finalizer_keys(&self) -> Vec<WatchKey> {
        let mut keys: Vec<_> =
            self.watches.iter().filter(|watch| watch.finalizer).flat_map(|watch| watch.keys.iter().cloned()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Its watches with mappings that draw from a shared watch, with their numbers.
    pub(crate) fn mapping(&self, key: &WatchKey) -> impl Iterator<Item = (usize, &ResolvedWatch)> {
        let maps = |watch: &ResolvedWatch| !watch.enqueue.is_empty() && watch.keys.contains(key);
        self.watches.iter().enumerate().filter(move |(_, watch)| maps(watch))
    }

    /// The shared watch of this plugin that holds objects of a namespace; for `None` the one that holds all.
    pub(crate) fn key_for(&self, resource: &ResourceKey, namespace: Option<&str>) -> Option<&WatchKey> {
        self.watches
            .iter()
            .flat_map(|watch| &watch.keys)
            .find(|key| key.resource == *resource && (key.namespace.is_none() || key.namespace.as_deref() == namespace))
    }
}
