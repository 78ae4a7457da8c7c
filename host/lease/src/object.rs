//! The Lease as it stands in the cluster, and the elector's record of it, turned into each other. Pure.
//!
//! The whole object is kept as it came: a PUT replaces everything, so whatever somebody else put there (labels, foreign
//! annotations, owner references, fields of a newer Kubernetes) goes back unchanged. What the elector owns is
//! `metadata.annotations` and five fields of the spec.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::serde::Deserialize;
use serde_json::{Map, Value, json};
use tenure_election::{Record, Seen};

use crate::Lock;

/// A Lease as the API server gave it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LeaseObject {
    raw: Value,
    seen: Seen,
}

/// Something that is no Lease an elector can reason about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableLease {
    #[error("is not JSON of a Lease")]
    Json(#[from] serde_json::Error),
    #[error("has no metadata.{field}")]
    Missing { field: &'static str },
    #[error("has metadata.resourceVersion {version:?}, which is no number, so news could not be put in order")]
    Version { version: String },
}

impl LeaseObject {
    /// Reads an answer's body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, UnreadableLease> {
        Self::from_value(serde_json::from_slice(body)?)
    }

    /// Reads one object of a list or a watch.
    pub(crate) fn from_value(raw: Value) -> Result<Self, UnreadableLease> {
        let lease: Lease = Lease::deserialize(&raw)?;
        let uid = lease.metadata.uid.filter(|uid| !uid.is_empty()).ok_or(UnreadableLease::Missing { field: "uid" })?;
        let version = lease.metadata.resource_version.ok_or(UnreadableLease::Missing { field: "resourceVersion" })?;
        let version = version.parse().map_err(|_| UnreadableLease::Version { version })?;
        let mut record = record_of(lease.spec.unwrap_or_default());
        record.annotations = lease.metadata.annotations.unwrap_or_default();
        Ok(Self { raw, seen: Seen { uid, version, record } })
    }

    /// In the elector's words.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The body of a PUT that changes this object to `record`, and nothing else of it. Carries this object's uid and
    /// version, so it stores only over exactly what was seen.
    pub(crate) fn replaced_by(&self, record: &Record) -> Value {
        let mut raw = self.raw.clone();
        write_record(&mut raw, record);
        raw
    }
}

/// The body of a POST that creates the lock with `record`.
pub(crate) fn created_with(lock: &Lock, record: &Record) -> Value {
    let mut raw = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "namespace": lock.namespace, "name": lock.name },
    });
    write_record(&mut raw, record);
    raw
}

/// Numbers that Kubernetes' validation would not have let in read as zero.
fn record_of(spec: LeaseSpec) -> Record {
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        lease_duration_seconds: spec.lease_duration_seconds.and_then(|seconds| seconds.try_into().ok()).unwrap_or(0),
        acquire_time: spec.acquire_time.as_ref().map(since_1970),
        renew_time: spec.renew_time.as_ref().map(since_1970),
        transitions: spec.lease_transitions.and_then(|count| count.try_into().ok()).unwrap_or(0),
        annotations: tenure_election::Annotations::new(),
    }
}

/// To the microsecond, as the Lease holds it; before 1970 reads as 1970.
fn since_1970(time: &MicroTime) -> Duration {
    Duration::from_micros(time.0.as_microsecond().try_into().unwrap_or(0))
}

fn micro_time(since_1970: Duration) -> Value {
    let microseconds = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
    let time = MicroTime(Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MAX));
    // Serializing can only fail for a format string that is wrong, and MicroTime's is fixed.
    serde_json::to_value(time).unwrap_or(Value::Null)
}

fn write_record(raw: &mut Value, record: &Record) {
    let metadata = object_at(raw, "metadata");
    if record.annotations.is_empty() {
        metadata.remove("annotations");
    } else {
        metadata.insert(String::from("annotations"), json!(record.annotations));
    }
    let spec = object_at(raw, "spec");
    spec.insert(String::from("holderIdentity"), json!(record.holder));
    spec.insert(String::from("leaseDurationSeconds"), json!(record.lease_duration_seconds));
    spec.insert(String::from("leaseTransitions"), json!(record.transitions));
    for (field, time) in [("acquireTime", record.acquire_time), ("renewTime", record.renew_time)] {
        match time {
            Some(time) => spec.insert(String::from(field), micro_time(time)),
            None => spec.remove(field),
        };
    }
}

/// The object under `field`, made if there is none.
fn object_at<'a>(raw: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    let slot = &mut raw[field];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(object) => object,
        _ => unreachable!("it was made an object above"),
    }
}

/// How many objects are kept. The elector replaces the newest it counts; one or two newer ones may have come by then
/// through the watch, and a version that is no longer here is simply read again.
const KEPT_MAX: usize = 8;

/// The last objects that were shown to the elector: what it may ask to replace.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    kept: VecDeque<LeaseObject>,
}

impl Memory {
    /// Keeps `object`, forgetting the oldest.
    pub(crate) fn keep(&mut self, object: LeaseObject) {
        self.kept.retain(|kept| kept.seen.version != object.seen.version || kept.seen.uid != object.seen.uid);
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(object);
    }

    /// Exactly this object at exactly this version.
    pub(crate) fn find(&self, uid: &str, version: u64) -> Option<&LeaseObject> {
        self.kept.iter().find(|kept| kept.seen.uid == uid && kept.seen.version == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": "tenure", "namespace": "tenure-system", "uid": "6b1c", "resourceVersion": "4711",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": { "team": "storage" },
                "annotations": { "example.com/note": "keep me", "tenure.dev/term": "7/a" },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1" }],
                "managedFields": [{ "manager": "a", "operation": "Update" }],
                "fieldOfTomorrow": { "x": 1 },
            },
            "spec": {
                "holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 3,
                "acquireTime": "2026-01-02T03:04:05.000001Z", "renewTime": "2026-01-02T03:04:06.123456Z",
                "strategy": "OldestEmulationVersion", "preferredHolder": "b", "knobOfTomorrow": true,
            },
        })
    }

    fn micros(text: &str) -> Duration {
        let time: Timestamp = text.parse().unwrap();
        Duration::from_micros(time.as_microsecond().try_into().unwrap())
    }

    #[test]
    fn every_field_is_read() {
        let object = LeaseObject::from_value(stored()).unwrap();
        let seen = object.seen();
        assert_eq!((seen.uid.as_str(), seen.version), ("6b1c", 4711));
        let record = &seen.record;
        assert_eq!(record.holder, "a");
        assert_eq!(record.lease_duration_seconds, 15);
        assert_eq!(record.transitions, 3);
        assert_eq!(record.acquire_time, Some(micros("2026-01-02T03:04:05.000001Z")));
        assert_eq!(record.renew_time, Some(micros("2026-01-02T03:04:06.123456Z")));
        assert_eq!(record.annotations["tenure.dev/term"], "7/a");
    }

    #[test]
    fn writing_back_what_was_read_changes_nothing() {
        let object = LeaseObject::from_value(stored()).unwrap();
        assert_eq!(object.replaced_by(&object.seen().record), stored());
    }

    #[test]
    fn replacing_changes_the_record_and_nothing_else() {
        let object = LeaseObject::from_value(stored()).unwrap();
        let mut record = object.seen().record.clone();
        record.holder = String::from("b");
        record.transitions = 4;
        record.renew_time = Some(micros("2026-01-02T03:05:00.5Z"));
        record.annotations.insert(String::from("tenure.dev/attempt"), String::from("n/1"));

        let mut expected = stored();
        expected["spec"]["holderIdentity"] = json!("b");
        expected["spec"]["leaseTransitions"] = json!(4);
        expected["spec"]["renewTime"] = json!("2026-01-02T03:05:00.500000Z");
        expected["metadata"]["annotations"]["tenure.dev/attempt"] = json!("n/1");
        assert_eq!(object.replaced_by(&record), expected);
    }

    #[test]
    fn annotation_taken_out_of_the_record_is_taken_out_of_the_object() {
        let object = LeaseObject::from_value(stored()).unwrap();
        let mut record = object.seen().record.clone();
        record.annotations.remove("tenure.dev/term");
        let body = object.replaced_by(&record);
        assert_eq!(body["metadata"]["annotations"], json!({ "example.com/note": "keep me" }));
    }

    #[test]
    fn lease_emptied_by_hand_reads_as_held_by_nobody() {
        for spec in [json!(null), json!({}), json!({ "holderIdentity": "" })] {
            let mut emptied = stored();
            emptied["spec"] = spec;
            let object = LeaseObject::from_value(emptied).unwrap();
            let record = &object.seen().record;
            assert_eq!((record.holder.as_str(), record.lease_duration_seconds, record.renew_time), ("", 0, None));
        }
    }

    #[test]
    fn created_lease_reads_back_as_its_record() {
        let record = Record {
            holder: String::from("a"),
            lease_duration_seconds: 15,
            acquire_time: Some(Duration::from_micros(1_767_323_045_000_001)),
            renew_time: Some(Duration::from_micros(1_767_323_046_123_456)),
            transitions: 0,
            annotations: [(String::from("tenure.dev/term"), String::from("7/a"))].into(),
        };
        let lock = Lock { namespace: String::from("tenure-system"), name: String::from("tenure") };
        let mut body = created_with(&lock, &record);
        assert_eq!(body["metadata"]["name"], "tenure");
        assert_eq!(body["metadata"].get("resourceVersion"), None);
        body["metadata"]["uid"] = json!("6b1c");
        body["metadata"]["resourceVersion"] = json!("1");
        assert_eq!(LeaseObject::from_value(body).unwrap().seen().record, record);
    }

    #[test]
    fn object_that_cannot_be_reasoned_about_is_refused_with_the_field() {
        let mut no_uid = stored();
        no_uid["metadata"]["uid"] = json!("");
        assert!(matches!(LeaseObject::from_value(no_uid), Err(UnreadableLease::Missing { field: "uid" })));
        let mut odd_version = stored();
        odd_version["metadata"]["resourceVersion"] = json!("abc");
        assert!(matches!(LeaseObject::from_value(odd_version), Err(UnreadableLease::Version { .. })));
        assert!(matches!(LeaseObject::parse(b"<html>"), Err(UnreadableLease::Json(_))));
        let mut odd_time = stored();
        odd_time["spec"]["renewTime"] = json!("yesterday");
        assert!(matches!(LeaseObject::from_value(odd_time), Err(UnreadableLease::Json(_))));
    }

    #[test]
    fn time_no_calendar_holds_is_written_as_the_last_one_it_holds() {
        assert!(micro_time(Duration::MAX).as_str().unwrap().starts_with("9999-12-"));
    }

    #[test]
    fn memory_finds_exactly_the_version_and_forgets_the_oldest() {
        let at = |version: u64| {
            let mut raw = stored();
            raw["metadata"]["resourceVersion"] = json!(version.to_string());
            LeaseObject::from_value(raw).unwrap()
        };
        let mut memory = Memory::default();
        for version in 1..=9 {
            memory.keep(at(version));
            memory.keep(at(version));
        }
        assert_eq!(memory.find("6b1c", 1), None);
        assert_eq!(memory.find("other", 9), None);
        for version in 2..=9 {
            assert_eq!(memory.find("6b1c", version), Some(&at(version)));
        }
    }
}
