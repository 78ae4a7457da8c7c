//! What an election is started with.

use std::fmt;
use std::sync::Arc;

use tenure_election::{Clock, Identity, Settings, Term};

use crate::BootClock;

/// What kind of object a lock is. The order is the one in which a candidate takes those it must hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LockKind {
    /// A ConfigMap, with the record in [`LockKind::ANNOTATION`]: client-go's before 2018, and Kubernetes' before 1.20.
    ConfigMap,
    /// An Endpoints object, with the record in the same annotation: Kubernetes' first.
    Endpoints,
    /// A Lease: what a lock should be.
    #[default]
    Lease,
}

impl LockKind {
    /// Where a ConfigMap or an Endpoints object holds the record, as JSON.
    pub const ANNOTATION: &'static str = "control-plane.alpha.kubernetes.io/leader";

    /// `kind`, as Kubernetes says it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Endpoints => "Endpoints",
            Self::Lease => "Lease",
        }
    }

    /// `apiVersion`.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::Endpoints => "v1",
            Self::Lease => "coordination.k8s.io/v1",
        }
    }

    /// The API group, as a Role names it.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::Endpoints => "",
            Self::Lease => "coordination.k8s.io",
        }
    }

    /// The resource, as a Role and a URL name it.
    #[must_use]
    pub const fn resource(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Endpoints => "endpoints",
            Self::Lease => "leases",
        }
    }

    /// What to call one in a sentence.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Endpoints => "endpoints object",
            Self::Lease => "lease",
        }
    }
}

/// Which object is the lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lock {
    /// What kind of object.
    pub kind: LockKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Lock {
    /// A Lease.
    #[must_use]
    pub fn lease(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: LockKind::Lease, namespace: namespace.into(), name: name.into() }
    }

    /// Where it stands among locks that are held together: the same for all candidates.
    pub(crate) fn place(&self) -> (&str, &str, LockKind) {
        (&self.namespace, &self.name, self.kind)
    }
}

/// `<namespace>/<name>`, behind its resource unless that is a Lease.
impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match kind {
            LockKind::Lease => write!(f, "{namespace}/{name}"),
            LockKind::ConfigMap | LockKind::Endpoints => write!(f, "{} {namespace}/{name}", kind.resource()),
        }
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
    /// The lock that people are shown, and events are about.
    pub lock: Lock,
    /// What must be held together with it, to move from one lock to another. A candidate leads only while it holds all.
    pub also: Vec<Lock>,
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
            also: Vec::new(),
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
            .field("also", &self.also)
            .field("settings", &self.settings)
            .field("identity", &self.identity)
            .field("on_loss", &self.on_loss)
            .field("pod", &self.pod)
            .field("pods_namespace", &self.pods_namespace)
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}
