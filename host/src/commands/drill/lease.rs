//! What a Lease said at one moment, in a drill's words. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tenure_election::Record;

/// A Lease as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LeaseState {
    /// `metadata.uid`: another one is another Lease.
    pub(super) uid: String,
    /// `spec.holderIdentity`; empty when nobody holds it.
    pub(super) holder: String,
    /// `spec.leaseDurationSeconds`; zero where there is none.
    pub(super) duration: Duration,
    /// `spec.renewTime`, since 1970, by the holder's wall clock.
    pub(super) renewed: Option<Duration>,
    /// `spec.acquireTime`, likewise.
    pub(super) acquired: Option<Duration>,
    /// `spec.leaseTransitions`.
    pub(super) transitions: Option<i32>,
    /// `tenure.dev/term`, where a Tenure has held this Lease.
    pub(super) term: Option<Term>,
    /// Whom `tenure.dev/released` names.
    pub(super) released_by: Option<String>,
    /// Whether `tenure.dev/container` says what the holder runs in: its kubelet may prove its death.
    pub(super) names_container: bool,
}

/// A term as the annotation has it: `<number>/<identity>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) number: u64,
    pub(super) identity: String,
}

impl Term {
    fn parse(text: &str) -> Option<Self> {
        let (number, identity) = text.split_once('/')?;
        Some(Self { number: number.parse().ok()?, identity: identity.to_owned() })
    }
}

impl LeaseState {
    /// Reads what the API server gave.
    pub(super) fn of(lease: Lease) -> Self {
        let spec = lease.spec.unwrap_or_default();
        let annotations = lease.metadata.annotations.unwrap_or_default();
        let term = |name: &str| annotations.get(name).and_then(|text| Term::parse(text));
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
        Self {
            uid: lease.metadata.uid.unwrap_or_default(),
            holder: spec.holder_identity.unwrap_or_default(),
            duration: Duration::from_secs(seconds),
            renewed: spec.renew_time.as_ref().map(since_1970),
            acquired: spec.acquire_time.as_ref().map(since_1970),
            transitions: spec.lease_transitions,
            term: term(Record::TERM),
            released_by: term(Record::RELEASED).map(|term| term.identity),
            names_container: annotations.contains_key(Record::CONTAINER),
        }
    }

    /// Whether a Tenure holds it: client-go keeps annotations it does not know, so the term must be the holder's own.
    pub(super) fn is_held_by_tenure(&self) -> bool {
        self.term.as_ref().is_some_and(|term| term.identity == self.holder)
    }
}

fn since_1970(time: &MicroTime) -> Duration {
    Duration::from_micros(time.0.as_microsecond().try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_is_read_and_tenures_own_term_told_from_one_left_behind() {
        let lease = |holder: &str| {
            let metadata =
                json!({"uid": "u", "annotations": {"tenure.dev/term": "7/a_1", "tenure.dev/released": "6/b"}});
            let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3,
                "acquireTime": "1970-01-01T00:00:01.000000Z", "renewTime": "1970-01-01T00:00:02.500000Z"});
            LeaseState::of(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a Lease"))
        };
        let ours = lease("a_1");
        assert_eq!(ours.duration, Duration::from_secs(15));
        assert_eq!((ours.acquired, ours.renewed), (Some(Duration::from_secs(1)), Some(Duration::from_millis(2500))));
        assert_eq!((ours.transitions, ours.term.as_ref().map(|term| term.number)), (Some(3), Some(7)));
        assert_eq!(ours.released_by.as_deref(), Some("b"));
        assert!(ours.is_held_by_tenure());
        assert!(!lease("another").is_held_by_tenure());
    }

    #[test]
    fn an_empty_lease_is_held_by_nobody_for_no_time() {
        let empty = LeaseState::of(Lease::default());
        assert_eq!(empty, LeaseState::default());
        assert!(!empty.is_held_by_tenure());
    }
}
