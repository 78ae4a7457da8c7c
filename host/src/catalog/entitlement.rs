//! What a plugin requests, held against the grants as they are now: they may change while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use tenure_capability::{Rule, missing};
use tenure_console::GrantedBy;
use tenure_plugin_source::Artifact;
use tenure_settings::{Fence, Grant, Manifest, PluginIdentity, Provenance, ServiceAccount};
use tokio::sync::watch;

use super::load::{Refusal, as_toml};

/// All grants there are.
pub(crate) type Grants = Arc<[Grant]>;

/// How a plugin's requests go out, beside what they may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Conduct {
    /// In whose name; `None`: the host's own.
    account: Option<ServiceAccount>,
    fence: Option<Fence>,
}

/// One plugin's claim to what it requests.
#[derive(Debug)]
pub(crate) struct Entitlement {
    grants: watch::Receiver<Grants>,
    identity: PluginIdentity,
    wasm: Provenance,
    manifest: Arc<Manifest>,
    /// How it works, as the grants were when it was loaded.
    conduct: Conduct,
    /// What was found, and by which grants.
    judged: Mutex<(Grants, Option<Refusal>)>,
}

impl Entitlement {
    pub(crate) fn new(grants: watch::Receiver<Grants>, artifact: &Artifact) -> Self {
        let now = grants.borrow().clone();
        let mut entitlement = Self {
            grants,
            identity: artifact.identity.clone(),
            wasm: Provenance::new(&artifact.digest, &artifact.wasm, artifact.signature.as_deref()),
            manifest: Arc::clone(&artifact.manifest),
            conduct: Conduct::default(),
            judged: Mutex::new((Arc::clone(&now), None)),
        };
        entitlement.conduct = entitlement.conduct_by(&now);
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

    /// The account under which the plugin works; `None`: the host's own.
    pub(crate) fn account(&self) -> Option<&ServiceAccount> {
        self.conduct.account.as_ref()
    }

    /// How its writes are fenced.
    pub(crate) const fn fence(&self) -> Option<Fence> {
        self.conduct.fence
    }

    /// Whether the grants name another account or another fence now than those it works with: then it has to be loaded again.
    pub(crate) fn is_for_another_conduct(&self) -> bool {
        self.conduct_by(&self.grants.borrow()) != self.conduct
    }

    /// What the plugin's rights hang on now.
    pub(crate) fn granted_by(&self) -> GrantedBy {
        let grants = self.grants.borrow().clone();
        let covers =
            |counts: fn(&Grant) -> bool| missing(&self.manifest.permissions, &self.rules(&grants, counts)).is_empty();
        if covers(|grant| grant.digest.is_some()) {
            GrantedBy::Digest
        } else if covers(|grant| grant.digest.is_some() || grant.key.is_some()) {
            GrantedBy::Signature
        } else {
            GrantedBy::Name
        }
    }

    /// The first account named (with others, the plugin is refused), and a fence as soon as one grant asks for it.
    fn conduct_by(&self, grants: &[Grant]) -> Conduct {
        Conduct {
            account: self.accounts(grants).next().cloned(),
            fence: self.matching(grants).find_map(|grant| grant.fence),
        }
    }

    fn accounts<'a>(&'a self, grants: &'a [Grant]) -> impl Iterator<Item = &'a ServiceAccount> {
        self.matching(grants).filter_map(|grant| grant.service_account.as_ref())
    }

    fn matching<'a>(&'a self, grants: &'a [Grant]) -> impl Iterator<Item = &'a Grant> {
        grants.iter().filter(|grant| grant.matches(&self.identity, &self.wasm))
    }

    fn judge(&self, grants: &[Grant]) -> Option<Refusal> {
        let now = self.conduct_by(grants);
        if let Some(other) = self.accounts(grants).find(|account| Some(*account) != now.account.as_ref()) {
            return Some(Refusal::for_want_of_a_grant(format!(
                "its grants name several accounts, among them {other}; a plugin works under one: leave one `service-account` in the \
                 [[grant]]s that match {:?}",
                self.identity.as_str()
            )));
        }
        if now != self.conduct {
            return Some(Refusal::for_want_of_a_grant("its grants name another service-account or another fence now"));
        }
        let missing = missing(&self.manifest.permissions, &self.rules(grants, |_| true));
        if missing.is_empty() {
            return None;
        }
        Some(Refusal::for_want_of_a_grant(format!(
            "it requests more than it is granted; missing in the host's configuration, under [[grant]] with plugin = {:?}:\n{}{}",
            self.identity.as_str(),
            as_toml(&missing),
            self.unsigned(grants)
        )))
    }

    /// Which grants are not for it because of their keys: a line each, a comment where the rest is pasted.
    fn unsigned(&self, grants: &[Grant]) -> String {
        let keys = grants.iter().filter_map(|grant| grant.wants(&self.identity, &self.wasm)?);
        let lines = keys.filter_map(|key| {
            let why = self.wasm.check_signed_by(key).err()?;
            Some(format!("\n# a [[grant]] that matches it asks for a signature with key {:?}: {why}", key.as_str()))
        });
        lines.collect()
    }

    /// Whether that is the same signature, or none again.
    pub(crate) fn has_signature(&self, signature: Option<&str>) -> bool {
        self.wasm.signature() == signature
    }

    fn rules(&self, grants: &[Grant], counts: impl Fn(&Grant) -> bool) -> Vec<Rule> {
        let matching = self.matching(grants).filter(|grant| counts(grant));
        matching.flat_map(|grant| grant.rules.iter().cloned()).collect()
    }
}
