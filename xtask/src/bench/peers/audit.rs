//! The API server's audit log: who held the lock when, and which writes were stored. Judges by resourceVersion; times are
//! the API server's own, to the microsecond. Owns no process.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::process;

/// How often a wait looks at what was appended.
const LOOK: Duration = Duration::from_millis(50);

/// What a deposed leader's write is counted into: the time two leaders worked, to a tenth of a second.
const TENTH_US: i64 = 100_000;

/// One answered request.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// The name in the client's certificate: which candidate.
    pub(crate) user: String,
    verb: String,
    resource: String,
    namespace: String,
    name: String,
    is_success: bool,
    /// When the API server had read the request, in microseconds since 1970.
    pub(crate) received_us: i64,
    /// When it had answered.
    pub(crate) answered_us: i64,
    /// Of the object it answered with.
    pub(crate) version: u64,
    record: Option<Record>,
}

/// What a Lease says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    holder_identity: Option<String>,
    renew_time: Option<Moment>,
    lease_duration_seconds: Option<i64>,
}

/// A change of holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Takeover {
    pub(crate) user: String,
    pub(crate) version: u64,
    /// When the acquiring write was answered.
    pub(crate) at_us: i64,
}

/// Writes of candidates that no longer held the lock when they were stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) writes: u64,
    /// Tenths of seconds in which there was at least one.
    pub(crate) tenths: u64,
}

/// What was read of the log so far.
pub(crate) struct Audit {
    file: File,
    rest: Vec<u8>,
    events: Vec<Event>,
}

impl Audit {
    /// From the log's beginning.
    pub(crate) fn open(log: &Path) -> anyhow::Result<Self> {
        let file = File::open(log).with_context(|| format!("cannot read the audit log {}", log.display()))?;
        Ok(Self { file, rest: Vec::new(), events: Vec::new() })
    }

    /// Reads what was appended.
    pub(crate) fn read(&mut self) -> anyhow::Result<()> {
        self.file.read_to_end(&mut self.rest).context("cannot read the audit log")?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let half = self.rest.split_off(end + 1);
        for line in self.rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.events.extend(parsed(line)?);
        }
        self.rest = half;
        Ok(())
    }

    /// Reads until `seen` finds what it looks for.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut seen: impl FnMut(&Self) -> Option<T>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        loop {
            self.read()?;
            if let Some(found) = seen(self) {
                return Ok(found);
            }
            if process::interrupted() {
                bail!("interrupted");
            }
            if begun.elapsed() > limit {
                bail!("not in the audit log within {}: {what}", process::seconds(limit));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Every change of a Lease's holder to somebody, in the order they were stored.
    pub(crate) fn takeovers(&self, lock: &Lock<'_>) -> Vec<Takeover> {
        let mut records: Vec<_> = self.stored("leases", lock.namespace).filter(|it| it.name == lock.name).collect();
        records.sort_by_key(|event| event.version);
        let mut takeovers = Vec::new();
        let mut before = "";
        for event in records {
            let holder = event.record.as_ref().and_then(|record| record.holder_identity.as_deref()).unwrap_or_default();
            if !holder.is_empty() && holder != before {
                let (user, version, at_us) = (event.user.clone(), event.version, event.answered_us);
                takeovers.push(Takeover { user, version, at_us });
            }
            before = holder;
        }
        takeovers
    }

    /// The first takeover after a moment.
    pub(crate) fn takeover_after(&self, lock: &Lock<'_>, moment_us: i64) -> Option<Takeover> {
        self.takeovers(lock).into_iter().find(|it| it.at_us > moment_us)
    }

    /// When the record that a takeover replaced ran out by its own words: its renewal and its duration.
    pub(crate) fn expiry_before(&self, lock: &Lock<'_>, takeover: &Takeover) -> Option<i64> {
        let records = self.stored("leases", lock.namespace).filter(|it| it.name == lock.name);
        let last = records.filter(|it| it.version < takeover.version).max_by_key(|it| it.version)?.record.as_ref()?;
        Some(last.renew_time?.0 + last.lease_duration_seconds? * 1_000_000)
    }

    /// What a candidate wrote to ConfigMaps of a namespace after a version, in the order it was stored.
    pub(crate) fn writes(&self, namespace: &str, user: &str, after: u64) -> Vec<&Event> {
        let writes = self.stored("configmaps", namespace);
        let mut writes: Vec<_> = writes.filter(|it| it.user == user && it.version > after).collect();
        writes.sort_by_key(|event| event.version);
        writes
    }

    /// When the last of `count` different ConfigMaps was written by `user` after a version.
    pub(crate) fn converged(&self, namespace: &str, user: &str, after: u64, count: usize) -> Option<i64> {
        let mut names = BTreeSet::new();
        let mut writes = self.writes(namespace, user, after).into_iter();
        writes.find_map(|it| (names.insert(&it.name) && names.len() == count).then_some(it.answered_us))
    }

    /// Writes that were stored after a moment although somebody else had taken the lock since.
    pub(crate) fn late(&self, lock: &Lock<'_>, namespace: &str, after_us: i64) -> Late {
        let takeovers = self.takeovers(lock);
        let mut late = Late::default();
        let mut tenths = BTreeSet::new();
        for write in self.stored("configmaps", namespace).filter(|it| it.answered_us > after_us) {
            let leader = takeovers.iter().rev().find(|it| it.version < write.version);
            let is_candidate = takeovers.iter().any(|it| it.user == write.user);
            if is_candidate && leader.is_some_and(|leader| leader.user != write.user) {
                late.writes += 1;
                tenths.insert(write.answered_us / TENTH_US);
            }
        }
        late.tenths = tenths.len() as u64;
        late
    }

    /// Requests whose user begins with this, received within a span: for the lock, and all.
    pub(crate) fn requests(&self, user: &str, from_us: i64, until_us: i64) -> (u64, u64) {
        let within = |it: &&Event| it.user.starts_with(user) && (from_us..until_us).contains(&it.received_us);
        let all = self.events.iter().filter(within);
        let lock = all.clone().filter(|it| it.resource == "leases");
        (lock.count() as u64, all.count() as u64)
    }

    /// The last write to a namespace's ConfigMaps by anyone.
    pub(crate) fn last_write(&self, namespace: &str) -> Option<&Event> {
        self.stored("configmaps", namespace).max_by_key(|it| it.version)
    }

    /// Whether this candidate has asked for its lock since.
    pub(crate) fn has_looked(&self, user: &str, since_us: i64) -> bool {
        let mut looks = self.events.iter().rev().take_while(|it| it.answered_us > since_us);
        looks.any(|it| it.user == user && it.resource == "leases")
    }

    fn stored<'a, 'n>(
        &'a self,
        resource: &'n str,
        namespace: &'n str,
    ) -> impl Iterator<Item = &'a Event> + use<'a, 'n> {
        let is_write = |verb: &str| matches!(verb, "create" | "update" | "patch");
        self.events.iter().filter(move |it| {
            it.is_success && it.resource == resource && it.namespace == namespace && is_write(&it.verb)
        })
    }
}

/// Which Lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lock<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// Now, as the audit log counts.
pub(crate) fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

/// The parts of a line that matter; what is not about an object is left out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    user: User,
    object_ref: Option<Reference>,
    response_status: Option<Status>,
    response_object: Option<Object>,
    request_received_timestamp: Moment,
    stage_timestamp: Moment,
}

/// Microseconds since 1970, written as Kubernetes does.
#[derive(Debug, Clone, Copy)]
struct Moment(i64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment: Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(Self(moment.as_microsecond()))
    }
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reference {
    resource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Object {
    kind: String,
    metadata: Metadata,
    spec: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    resource_version: String,
}

fn parsed(line: &[u8]) -> anyhow::Result<Option<Event>> {
    let line: Line = serde_json::from_slice(line).context("a line of the audit log is not as expected")?;
    // A watch counts when it begins; it is answered to the end when it ends.
    let stage = if line.verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
    let Some(reference) = line.object_ref.filter(|_| line.stage == stage) else { return Ok(None) };
    let object = line.response_object.unwrap_or_default();
    let record = match object.spec {
        Some(spec) if object.kind == "Lease" => {
            Some(serde_json::from_value(spec).context("a Lease in the audit log is not as expected")?)
        }
        _ => None,
    };
    // The name of what is created stands in the answer only.
    let name = if reference.name.is_empty() { object.metadata.name } else { reference.name };
    Ok(Some(Event {
        user: line.user.username,
        verb: line.verb,
        resource: reference.resource,
        namespace: reference.namespace,
        name,
        is_success: line.response_status.is_some_and(|status| (200..300).contains(&status.code)),
        received_us: line.request_received_timestamp.0,
        answered_us: line.stage_timestamp.0,
        version: object.metadata.resource_version.parse().unwrap_or(0),
        record,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::io::Write;

    const LOCK: Lock<'static> = Lock { namespace: "locks", name: "a" };

    fn line(user: &str, resource: &str, version: u64, at: f64, spec: &Value) -> String {
        let at = Timestamp::from_microsecond((at * 1e6) as i64).unwrap().to_string();
        let (kind, namespace) = if resource == "leases" { ("Lease", "locks") } else { ("ConfigMap", "work") };
        json!({
            "stage": "ResponseComplete", "verb": "update", "user": {"username": user}, "responseStatus": {"code": 200},
            "objectRef": {"resource": resource, "namespace": namespace, "name": "a"},
            "responseObject": {"kind": kind, "metadata": {"resourceVersion": version.to_string()}, "spec": spec},
            "requestReceivedTimestamp": at, "stageTimestamp": at,
        })
        .to_string()
    }

    fn lease(user: &str, holder: &str, version: u64, at: f64) -> String {
        let renewed = Timestamp::from_microsecond((at * 1e6) as i64).unwrap().to_string();
        let spec = json!({"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15});
        line(user, "leases", version, at, &spec)
    }

    fn write(user: &str, version: u64, at: f64) -> String {
        line(user, "configmaps", version, at, &Value::Null)
    }

    fn audit(lines: &[String]) -> Audit {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{}", lines.join("\n")).unwrap();
        let mut audit = Audit::open(file.path()).unwrap();
        audit.read().unwrap();
        audit
    }

    #[test]
    fn takeovers_follow_versions_and_not_the_order_of_lines() {
        let audit = audit(&[lease("b", "b", 9, 30.0), lease("a", "a", 3, 1.0), lease("a", "a", 4, 3.0)]);
        let takeovers = audit.takeovers(&LOCK);
        assert_eq!(takeovers.iter().map(|it| it.user.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(audit.expiry_before(&LOCK, &takeovers[1]), Some(18_000_000));
    }

    #[test]
    fn a_release_is_no_takeover_and_the_next_holder_is_one() {
        let audit = audit(&[lease("a", "a", 3, 1.0), lease("a", "", 4, 3.0), lease("a", "a", 5, 4.0)]);
        assert_eq!(audit.takeovers(&LOCK).len(), 2);
    }

    #[test]
    fn writes_of_a_deposed_leader_are_late_by_version() {
        let audit = audit(&[
            lease("a", "a", 3, 1.0),
            write("a", 4, 1.1),
            lease("b", "b", 6, 20.0),
            write("a", 5, 20.5), // stored before the takeover, answered after
            write("a", 7, 21.01),
            write("a", 8, 21.02),
            write("b", 9, 21.1),
            write("a", 10, 22.0),
            write("somebody", 11, 22.0),
        ]);
        assert_eq!(audit.late(&LOCK, "work", 0), Late { writes: 3, tenths: 2 });
        assert_eq!(audit.late(&LOCK, "work", 21_500_000), Late { writes: 1, tenths: 1 });
    }

    #[test]
    fn half_a_line_waits_for_its_other_half() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = lease("a", "a", 3, 1.0);
        let (one, other) = text.split_at(40);
        write!(file, "{one}").unwrap();
        let mut audit = Audit::open(file.path()).unwrap();
        audit.read().unwrap();
        assert!(audit.takeovers(&LOCK).is_empty());
        writeln!(file, "{other}").unwrap();
        audit.read().unwrap();
        assert_eq!(audit.takeovers(&LOCK).len(), 1);
    }
}
