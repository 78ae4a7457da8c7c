//! The lock's object as it stands in the cluster, and the elector's record of it, turned into each other. Pure.
//!
//! The whole object is kept as it came: a PUT replaces everything, so whatever somebody else put there (labels, foreign
//! annotations, owner references, data, fields of a newer Kubernetes) goes back unchanged. What the elector owns is
//! `metadata.annotations` and five fields of a Lease's spec; in a ConfigMap or an Endpoints object the five are JSON in one
//! annotation, as client-go wrote them.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tenure_election::{Annotations, Record, Seen};

use crate::{Lock, LockKind};

/// A lock's object as the API server gave it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LockObject {
    kind: LockKind,
    raw: Value,
    seen: Seen,
}

/// Something that is no lock an elector can reason about.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableLock {
    /// Not what the kind of object has.
    #[error("is not JSON of a lock's object")]
    Json(#[from] serde_json::Error),
    /// Something else stands where the record should.
    #[error("has an annotation {} that is no election's record", LockKind::ANNOTATION)]
    Annotation(#[source] serde_json::Error),
    /// A field is missing that the API server gives to each object.
    #[error("has no metadata.{field}")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A version that is no number.
    #[error("has metadata.resourceVersion {version:?}, which is no number, so news could not be put in order")]
    Version {
        /// The version.
        version: String,
    },
}

/// What a lock's object says, as the API server gave it: for those who only look.
///
/// # Errors
/// When it is no object of this kind, or what should be an election's record is none.
pub fn read_record(kind: LockKind, object: Value) -> Result<Record, UnreadableLock> {
    LockObject::from_value(kind, object).map(|object| object.seen.record)
}

impl LockObject {
    /// Reads an answer's body.
    pub(crate) fn parse(kind: LockKind, body: &[u8]) -> Result<Self, UnreadableLock> {
        Self::from_value(kind, serde_json::from_slice(body)?)
    }

    /// Reads one object of a list or a watch.
    pub(crate) fn from_value(kind: LockKind, raw: Value) -> Result<Self, UnreadableLock> {
        let (metadata, record) = match kind {
            LockKind::Lease => {
                let lease = Lease::deserialize(&raw)?;
                let mut record = record_of(lease.spec.unwrap_or_default());
                record.annotations = lease.metadata.annotations.clone().unwrap_or_default();
                (lease.metadata, record)
            }
            LockKind::ConfigMap | LockKind::Endpoints => {
                let metadata = ObjectMeta::deserialize(&raw["metadata"])?;
                let annotations = metadata.annotations.clone().unwrap_or_default();
                let record = annotated_record(annotations).map_err(UnreadableLock::Annotation)?;
                (metadata, record)
            }
        };
        let uid = metadata.uid.filter(|uid| !uid.is_empty()).ok_or(UnreadableLock::Missing { field: "uid" })?;
        let version = metadata.resource_version.ok_or(UnreadableLock::Missing { field: "resourceVersion" })?;
        let version = version.parse().map_err(|_| UnreadableLock::Version { version })?;
        Ok(Self { kind, raw, seen: Seen { uid, version, record } })
    }

    /// In the elector's words.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The body of a PUT that changes this object to `record`, and nothing else of it. Carries this object's uid and
    /// version, so it stores only over exactly what was seen.
    pub(crate) fn replaced_by(&self, record: &Record) -> Value {
        let mut raw = self.raw.clone();
        write_record(self.kind, &mut raw, record);
        raw
    }
}

/// The body of a POST that creates the lock with `record`.
pub(crate) fn created_with(lock: &Lock, record: &Record) -> Value {
    let mut raw = json!({
        "apiVersion": lock.kind.api_version(),
        "kind": lock.kind.kind(),
        "metadata": { "namespace": lock.namespace, "name": lock.name },
    });
    write_record(lock.kind, &mut raw, record);
    raw
}

/// The record in [`LockKind::ANNOTATION`], in client-go's words.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Annotated {
    holder_identity: String,
    lease_duration_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    acquire_time: Option<MicroTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renew_time: Option<MicroTime>,
    leader_transitions: i64,
}

/// Without the annotation nobody holds the lock: an object that somebody made for something else.
fn annotated_record(mut annotations: Annotations) -> Result<Record, serde_json::Error> {
    let annotated: Annotated = match annotations.remove(LockKind::ANNOTATION) {
        Some(text) => serde_json::from_str(&text)?,
        None => Annotated::default(),
    };
    Ok(Record {
        holder: annotated.holder_identity,
        lease_duration_seconds: annotated.lease_duration_seconds.try_into().unwrap_or(0),
        acquire_time: annotated.acquire_time.as_ref().map(since_1970),
        renew_time: annotated.renew_time.as_ref().map(since_1970),
        transitions: annotated.leader_transitions.try_into().unwrap_or(0),
        annotations,
    })
}

fn annotation_of(record: &Record) -> String {
    let annotated = Annotated {
        holder_identity: record.holder.clone(),
        lease_duration_seconds: record.lease_duration_seconds.into(),
        acquire_time: record.acquire_time.map(micro_time),
        renew_time: record.renew_time.map(micro_time),
        leader_transitions: record.transitions.into(),
    };
    // Serializing can only fail for a format string that is wrong, and MicroTime's is fixed.
    serde_json::to_string(&annotated).unwrap_or_default()
}

/// Numbers that Kubernetes' validation would not have let in read as zero.
fn record_of(spec: LeaseSpec) -> Record {
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        lease_duration_seconds: spec.lease_duration_seconds.and_then(|seconds| seconds.try_into().ok()).unwrap_or(0),
        acquire_time: spec.acquire_time.as_ref().map(since_1970),
        renew_time: spec.renew_time.as_ref().map(since_1970),
        transitions: spec.lease_transitions.and_then(|count| count.try_into().ok()).unwrap_or(0),
        annotations: Annotations::new(),
    }
}

/// To the microsecond, as the Lease holds it; before 1970 reads as 1970.
fn since_1970(time: &MicroTime) -> Duration {
    Duration::from_micros(time.0.as_microsecond().try_into().unwrap_or(0))
}

fn micro_time(since_1970: Duration) -> MicroTime {
    let microseconds = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
    MicroTime(Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MAX))
}

fn write_record(kind: LockKind, raw: &mut Value, record: &Record) {
    let mut annotations = record.annotations.clone();
    if kind != LockKind::Lease {
        annotations.insert(LockKind::ANNOTATION.to_owned(), annotation_of(record));
    }
    let metadata = object_at(raw, "metadata");
    if annotations.is_empty() {
        metadata.remove("annotations");
    } else {
        metadata.insert(String::from("annotations"), json!(annotations));
    }
    if kind != LockKind::Lease {
        return;
    }
    let spec = object_at(raw, "spec");
    spec.insert(String::from("holderIdentity"), json!(record.holder));
    spec.insert(String::from("leaseDurationSeconds"), json!(record.lease_duration_seconds));
    spec.insert(String::from("leaseTransitions"), json!(record.transitions));
    for (field, time) in [("acquireTime", record.acquire_time), ("renewTime", record.renew_time)] {
        match time {
            Some(time) => spec.insert(String::from(field), json!(micro_time(time))),
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
    kept: VecDeque<LockObject>,
}

impl Memory {
    /// Keeps `object`, forgetting the oldest.
    pub(crate) fn keep(&mut self, object: LockObject) {
        self.kept.retain(|kept| kept.seen.version != object.seen.version || kept.seen.uid != object.seen.uid);
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(object);
    }

    /// Exactly this object at exactly this version.
    pub(crate) fn find(&self, uid: &str, version: u64) -> Option<&LockObject> {
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
        let object = LockObject::from_value(LockKind::Lease, stored()).unwrap();
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
        let object = LockObject::from_value(LockKind::Lease, stored()).unwrap();
        assert_eq!(object.replaced_by(&object.seen().record), stored());
    }

    #[test]
    fn replacing_changes_the_record_and_nothing_else() {
        let object = LockObject::from_value(LockKind::Lease, stored()).unwrap();
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
        let object = LockObject::from_value(LockKind::Lease, stored()).unwrap();
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
            let object = LockObject::from_value(LockKind::Lease, emptied).unwrap();
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
        let lock = Lock::lease("tenure-system", "tenure");
        let mut body = created_with(&lock, &record);
        assert_eq!(body["metadata"]["name"], "tenure");
        assert_eq!(body["metadata"].get("resourceVersion"), None);
        body["metadata"]["uid"] = json!("6b1c");
        body["metadata"]["resourceVersion"] = json!("1");
        assert_eq!(LockObject::from_value(LockKind::Lease, body).unwrap().seen().record, record);
    }

    fn config_map() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "tenure", "namespace": "tenure-system", "uid": "6b1c", "resourceVersion": "4711",
                "labels": { "team": "storage" },
                "annotations": {
                    "example.com/note": "keep me", "tenure.dev/term": "7/a",
                    LockKind::ANNOTATION: "{\"holderIdentity\":\"a\",\"leaseDurationSeconds\":15,\
                        \"acquireTime\":\"2026-01-02T03:04:05Z\",\"renewTime\":\"2026-01-02T03:04:06Z\",\"leaderTransitions\":3}",
                },
            },
            "data": { "setting": "on" },
            "immutable": false,
        })
    }

    #[test]
    fn record_in_an_annotation_is_read_as_client_go_writes_it() {
        for kind in [LockKind::ConfigMap, LockKind::Endpoints] {
            let object = LockObject::from_value(kind, config_map()).unwrap();
            let record = &object.seen().record;
            assert_eq!((record.holder.as_str(), record.lease_duration_seconds, record.transitions), ("a", 15, 3));
            assert_eq!(record.acquire_time, Some(micros("2026-01-02T03:04:05Z")));
            assert_eq!(record.renew_time, Some(micros("2026-01-02T03:04:06Z")));
            let keys: Vec<_> = record.annotations.keys().collect();
            assert_eq!(keys, ["example.com/note", "tenure.dev/term"]);
        }
    }

    #[test]
    fn replacing_a_record_in_an_annotation_keeps_all_other_content() {
        let object = LockObject::from_value(LockKind::ConfigMap, config_map()).unwrap();
        let mut record = object.seen().record.clone();
        record.holder = String::from("b");
        record.renew_time = Some(micros("2026-01-02T03:05:00.000001Z"));
        record.annotations.insert(String::from("tenure.dev/attempt"), String::from("n/1"));
        let body = object.replaced_by(&record);

        let mut stored = body.clone();
        let annotation = stored["metadata"]["annotations"][LockKind::ANNOTATION].take();
        let mut expected = config_map();
        expected["metadata"]["annotations"]["tenure.dev/attempt"] = json!("n/1");
        expected["metadata"]["annotations"][LockKind::ANNOTATION].take();
        assert_eq!(stored, expected);
        let annotation: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
        let written = json!({
            "holderIdentity": "b", "leaseDurationSeconds": 15, "leaderTransitions": 3,
            "acquireTime": "2026-01-02T03:04:05.000000Z", "renewTime": "2026-01-02T03:05:00.000001Z",
        });
        assert_eq!(annotation, written);
        assert_eq!(LockObject::from_value(LockKind::ConfigMap, body).unwrap().seen().record, record);
    }

    #[test]
    fn object_without_the_annotation_is_held_by_nobody_and_one_that_is_unreadable_is_refused() {
        let mut object = config_map();
        object["metadata"]["annotations"].as_object_mut().unwrap().remove(LockKind::ANNOTATION);
        let read = LockObject::from_value(LockKind::ConfigMap, object.clone()).unwrap();
        assert_eq!((read.seen().record.holder.as_str(), read.seen().record.renew_time), ("", None));
        object["metadata"]["annotations"][LockKind::ANNOTATION] = json!("held by a");
        let refused = LockObject::from_value(LockKind::ConfigMap, object);
        assert!(matches!(refused, Err(UnreadableLock::Annotation(_))));
    }

    #[test]
    fn object_that_cannot_be_reasoned_about_is_refused_with_the_field() {
        let mut no_uid = stored();
        no_uid["metadata"]["uid"] = json!("");
        assert!(matches!(
            LockObject::from_value(LockKind::Lease, no_uid),
            Err(UnreadableLock::Missing { field: "uid" })
        ));
        let mut odd_version = stored();
        odd_version["metadata"]["resourceVersion"] = json!("abc");
        assert!(matches!(LockObject::from_value(LockKind::Lease, odd_version), Err(UnreadableLock::Version { .. })));
        assert!(matches!(LockObject::parse(LockKind::Lease, b"<html>"), Err(UnreadableLock::Json(_))));
        let mut odd_time = stored();
        odd_time["spec"]["renewTime"] = json!("yesterday");
        assert!(matches!(LockObject::from_value(LockKind::Lease, odd_time), Err(UnreadableLock::Json(_))));
    }

    #[test]
    fn time_no_calendar_holds_is_written_as_the_last_one_it_holds() {
        assert!(json!(micro_time(Duration::MAX)).as_str().unwrap().starts_with("9999-12-"));
    }

    #[test]
    fn memory_finds_exactly_the_version_and_forgets_the_oldest() {
        let at = |version: u64| {
            let mut raw = stored();
            raw["metadata"]["resourceVersion"] = json!(version.to_string());
            LockObject::from_value(LockKind::Lease, raw).unwrap()
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
