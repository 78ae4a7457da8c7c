//! What stands in the lock, in our words. The driver turns Kubernetes' Lease into it and back; nothing here sees kube.

use std::collections::BTreeMap;
use std::time::Duration;

/// The annotations of the lock's object, ours (`tenure.dev/...`) and everyone else's.
pub type Annotations = BTreeMap<String, String>;

/// The lock's record. Wall-clock times are since 1970; the Lease holds them to the microsecond.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// `spec.holderIdentity`; empty when nobody holds it.
    pub holder: String,
    /// `spec.leaseDurationSeconds`.
    pub lease_duration_seconds: u32,
    /// `spec.acquireTime`.
    pub acquire_time: Option<Duration>,
    /// `spec.renewTime`.
    pub renew_time: Option<Duration>,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
    /// `metadata.annotations`.
    pub annotations: Annotations,
}

impl Record {
    /// `tenure.dev/term: <term>/<identity>`.
    pub const TERM: &'static str = "tenure.dev/term";
    /// `tenure.dev/attempt: <process nonce>/<n>`.
    pub const ATTEMPT: &'static str = "tenure.dev/attempt";
    /// `tenure.dev/released`: equal to [`Self::TERM`] when the holder let go in order.
    pub const RELEASED: &'static str = "tenure.dev/released";
    /// `tenure.dev/container: <term>/<pod uid>/<container>/<containerID>/<write-timeout ms>`: what the holder runs in.
    pub const CONTAINER: &'static str = "tenure.dev/container";
}
