//! What a plugin requests, held against the grants as they are now: they may change while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use tenure_capability::{Rule, missing};
use tenure_console::GrantedBy;
use tenure_plugin_source::Artifact;
use tenure_settings::{Grant, Manifest, PluginIdentity};
use tokio::sync::watch;

use super::load::{Refusal, as_toml};

/// All grants there are.
pub(crate) type Grants = Arc<[Grant]>;

/// One plugin's claim to what it requests.
#[derive(Debug)]
pub(crate) struct Entitlement {
    grants: watch::Receiver<Grants>,
    identity: PluginIdentity,
    digest: String,
    manifest: Arc<Manifest>,
    /// What was found, and by which grants.
    judged: Mutex<(Grants, Option<Refusal>)>,
}

impl Entitlement {
    pub(crate) fn new(grants: watch::Receiver<Grants>, artifact: &Artifact) -> Self {
        let now = grants.borrow().clone();
        let mut entitlement = Self {
            grants,
            identity: artifact.identity.clone(),
            digest: artifact.digest.clone(),
            manifest: Arc::clone(&artifact.manifest),
            judged: Mutex::new((Arc::clone(&now), None)),
        };
        let refusal = entitlement.judge(&now);
        entitlement.judged = Mutex::new((now, refusal));
        entitlement
    }

    /// Why the grants do not cover what the plugin requests, if so. Cheap while they stay as they are: asked with each call.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let now = self.grants.borrow().clone();
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&judged.0, &now) {
            let refusal = self.judge(&now);
            *judged = (now, refusal);
        }
        judged.1.clone()
    }

    /// What the plugin's rights hang on now.
    pub(crate) fn granted_by(&self) -> GrantedBy {
        let pinned = self.rules(&self.grants.borrow(), Grant::is_pinned);
        if missing(&self.manifest.permissions, &pinned).is_empty() { GrantedBy::Digest } else { GrantedBy::Name }
    }

    fn judge(&self, grants: &[Grant]) -> Option<Refusal> {
        let missing = missing(&self.manifest.permissions, &self.rules(grants, |_| true));
        if missing.is_empty() {
            return None;
        }
        Some(Refusal::for_want_of_a_grant(format!(
            "it requests more than it is granted; missing in the host's configuration, under [[grant]] with plugin = {:?}:\n{}",
            self.identity.as_str(),
            as_toml(&missing)
        )))
    }

    fn rules(&self, grants: &[Grant], counts: impl Fn(&Grant) -> bool) -> Vec<Rule> {
        let matching = grants.iter().filter(|grant| grant.matches(&self.identity, &self.digest) && counts(grant));
        matching.flat_map(|grant| grant.rules.iter().cloned()).collect()
    }
}
