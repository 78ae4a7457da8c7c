//! What the host is told about its lock. The lock's own arithmetic is the election room's.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use tenure_election::{Annotations, FirstCreate, Identity, InvalidIdentity, OwnContainer, Timing};

/// What a replica does when it loses the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLoss {
    /// Stands by and campaigns again.
    #[default]
    Campaign,
    /// Ends the process, as programs built on client-go do.
    Exit,
}

/// What kinds of object the lock is made of, as Kubernetes' own components spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceLock {
    /// A Lease.
    #[default]
    Leases,
    /// A ConfigMap.
    ConfigMaps,
    /// An Endpoints object.
    Endpoints,
    /// Both, on the way from a ConfigMap to a Lease or back.
    ConfigMapsLeases,
    /// Both, on the way from an Endpoints object to a Lease or back.
    EndpointsLeases,
}

impl ResourceLock {
    /// The kind that people are shown.
    #[must_use]
    pub const fn shown(self) -> LockObject {
        match self {
            Self::Leases | Self::ConfigMapsLeases | Self::EndpointsLeases => LockObject::Lease,
            Self::ConfigMaps => LockObject::ConfigMap,
            Self::Endpoints => LockObject::Endpoints,
        }
    }

    /// The kind that has to be held with it.
    #[must_use]
    pub const fn beside(self) -> Option<LockObject> {
        match self {
            Self::Leases | Self::ConfigMaps | Self::Endpoints => None,
            Self::ConfigMapsLeases => Some(LockObject::ConfigMap),
            Self::EndpointsLeases => Some(LockObject::Endpoints),
        }
    }

    /// As it is written in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leases => "leases",
            Self::ConfigMaps => "configmaps",
            Self::Endpoints => "endpoints",
            Self::ConfigMapsLeases => "configmapsleases",
            Self::EndpointsLeases => "endpointsleases",
        }
    }
}

impl FromStr for ResourceLock {
    type Err = UnknownResourceLock;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Leases, Self::ConfigMaps, Self::Endpoints, Self::ConfigMapsLeases, Self::EndpointsLeases];
        all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownResourceLock(text.to_owned()))
    }
}

/// A kind of lock that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of lock; there are leases, configmaps, endpoints, configmapsleases and endpointsleases")]
pub struct UnknownResourceLock(String);

/// One kind of object that a lock can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockObject {
    /// A Lease.
    Lease,
    /// A ConfigMap with the record in an annotation.
    ConfigMap,
    /// An Endpoints object with the record in an annotation.
    Endpoints,
}

/// The lock and how this replica campaigns for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionSettings {
    /// Whether there is an election at all. Without one this replica works as if it were alone.
    pub enabled: bool,
    /// The lock's name.
    pub id: String,
    /// What kinds of object it is made of.
    pub resource_lock: ResourceLock,
    /// Names of further locks of that kind and namespace that have to be held with it.
    pub also_hold: Vec<String>,
    /// The lock's namespace: given, or `POD_NAMESPACE`. See [`Self::namespace_or`].
    pub namespace: Option<String>,
    /// This candidate's name, where one was given. See [`Self::identity_for`].
    pub identity: Option<String>,
    /// `POD_NAME`: the Pod this replica runs in.
    pub pod_name: Option<String>,
    /// `POD_UID`: that Pod's `metadata.uid`.
    pub pod_uid: Option<String>,
    /// lease-duration, renew-deadline, retry-period and grace.
    pub timing: Timing,
    /// How long plugins have to finish in a shutdown. Default 10 s.
    pub shutdown_grace: Duration,
    /// How long a write may take to be answered. Default 5 s.
    pub write_timeout: Duration,
    /// Whether the lock is released when a term ends in order. Default true.
    pub release_on_cancel: bool,
    /// What to do where no lock exists yet.
    pub first_create: FirstCreate,
    /// What to do when the lock is lost.
    pub on_loss: OnLoss,
    /// The plugin that is the lock's policy, by its identity. Absent: the default policy.
    pub policy: Option<String>,
    /// Where this replica runs, for lock policies.
    pub zone: Option<String>,
    /// What this replica is labelled with, for lock policies.
    pub labels: Vec<(String, String)>,
    /// The container of the Pod that this replica runs in, where deaths are to be proved.
    pub container: Option<String>,
}

impl ElectionSettings {
    /// The lock's namespace: given, `POD_NAMESPACE`, else that of the service account (the file
    /// `/var/run/secrets/kubernetes.io/serviceaccount/namespace`) or of the kubeconfig's context, else `default`.
    #[must_use]
    pub fn namespace_or(&self, surrounding: Option<&str>) -> String {
        self.namespace.as_deref().or(surrounding).unwrap_or("default").to_owned()
    }

    /// This candidate's name: given, else `<POD_NAME>_<uid>`, else `<hostname>_<uid>`. `uid` has to be random and new at each
    /// start.
    ///
    /// # Errors
    /// When the hostname has characters that cannot stand in a lock.
    pub fn identity_for(&self, hostname: &str, uid: &str) -> Result<Identity, InvalidIdentity> {
        match &self.identity {
            Some(given) => Identity::new(given.clone()),
            None => Identity::new(format!("{}_{uid}", self.pod_name.as_deref().unwrap_or(hostname))),
        }
    }

    /// As the election wants them. `annotations` go along with the write that acquires; `started`: what the wall clock read
    /// when this process started, since 1970.
    #[must_use]
    pub fn elector(&self, annotations: Annotations, started: Duration) -> tenure_election::Settings {
        tenure_election::Settings {
            timing: self.timing,
            shutdown_grace: self.shutdown_grace,
            write_timeout: self.write_timeout,
            release_on_cancel: self.release_on_cancel,
            first_create: self.first_create,
            annotations,
            container: self.own_container(started),
        }
    }

    /// Absent where no container is given, or its Pod is not known.
    fn own_container(&self, started: Duration) -> Option<OwnContainer> {
        Some(OwnContainer {
            pod: self.pod_name.clone()?,
            pod_uid: self.pod_uid.clone()?,
            container: self.container.clone()?,
            started,
        })
    }

    /// What `terminationGracePeriodSeconds` of the Pod has to be at least: shutdown-grace, write-timeout, and 5 s to wind up.
    #[must_use]
    pub fn termination_grace_min(&self) -> Duration {
        self.shutdown_grace.saturating_add(self.write_timeout).saturating_add(Duration::from_secs(5))
    }
}
