//! What an election is started with.

use std::fmt;
use std::sync::Arc;

use tenure_election::{Clock, Identity, Settings, Term};

use crate::BootClock;

/// Which Lease is the lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lock {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a term that was lost (not one that was drained for a shutdown) means for the election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLoss {
    /// Stand by and campaign again.
    #[default]
    Campaign,
    /// End: [`crate::Election::ended`] answers [`crate::ElectionFailure::Lost`], as client-go's callers exit.
    Exit,
}

/// The Pod this candidate runs in; events name it as what they are related to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// The Pod's name.
    pub name: String,
    /// `metadata.uid` of the Pod.
    pub uid: String,
}

/// Everything one election needs. [`Self::new`] fills in what most hosts want.
#[derive(Clone)]
pub struct ElectionConfig {
    /// How to reach the API server. Retries, proxy and read timeout in it are overruled: an attempt that is repeated
    /// behind the elector's back would make its deadlines wrong.
    pub kube: kube::Config,
    /// The lock.
    pub lock: Lock,
    /// The elector's settings.
    pub settings: Settings,
    /// Who this candidate is.
    pub identity: Identity,
    /// Where the time comes from. Real timers wake the thread, so an injected clock must run at about their rate.
    pub clock: Arc<dyn Clock>,
    /// What a lost term means.
    pub on_loss: OnLoss,
    /// The Pod this process runs in, if it runs in one.
    pub pod: Option<PodRef>,
    /// Where the candidates' Pods are, read for a proof of death where the settings name a container. Default: the lock's
    /// namespace.
    pub pods_namespace: String,
    /// What events give as their source.
    pub component: String,
    /// Called on the election thread the instant a term's gate closes, before anything else. Must not block.
    pub sever: Arc<dyn Fn(Term) + Send + Sync>,
    /// Called on the election thread when a closed term's guests were not confirmed gone in time; the reason is logged
    /// before. By default [`std::process::abort`]: a guest that cannot be stopped must not outlive its authority.
    pub abort: Arc<dyn Fn() + Send + Sync>,
}

impl ElectionConfig {
    /// An election over `lock` with real clocks, campaigning again after a loss, nothing to sever, and an abort that aborts.
    #[must_use]
    pub fn new(kube: kube::Config, lock: Lock, settings: Settings, identity: Identity) -> Self {
        Self {
            kube,
            pods_namespace: lock.namespace.clone(),
            lock,
            settings,
            identity,
            clock: Arc::new(BootClock),
            on_loss: OnLoss::default(),
            pod: None,
            component: String::from("tenure"),
            sever: Arc::new(|_| {}),
            abort: Arc::new(|| std::process::abort()),
        }
    }
}

impl fmt::Debug for ElectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElectionConfig")
            .field("lock", &self.lock)
            .field("settings", &self.settings)
            .field("identity", &self.identity)
            .field("on_loss", &self.on_loss)
            .field("pod", &self.pod)
            .field("pods_namespace", &self.pods_namespace)
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}
