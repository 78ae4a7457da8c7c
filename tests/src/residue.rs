//! Late writes that are no violation: what had left a replica before its gate closed, and was committed after a takeover.
//!
//! The witness is the replica's own log of its gate; the measure is the successor's acquiring write.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::{Judge, LateWrite, Replica, World};

/// Makes a replica log what its gate lets through; for [`World::start_with`].
pub const GATE_LOG: (&str, &str) = ("RUST_LOG", "warn,tenure=info,plugin=info,tenure::gate=debug");

/// A write as the gate saw it.
#[derive(Debug, Clone)]
pub struct GateWrite {
    /// The term it was of.
    pub term: u64,
    /// What the audit log calls it.
    pub id: String,
    /// `written`, `status`, `unknown`, `closed`, ...
    pub outcome: String,
    /// Path and query as sent.
    pub url: String,
    /// Bytes the kernel took.
    pub bytes: u64,
    /// The last look at the clocks that a `write(2)` followed, by the wall clock.
    pub passed_at: Option<Timestamp>,
}

impl GateWrite {
    /// What a line of a replica's log says, if it is about a write at the gate.
    pub fn in_line(line: &Value) -> Option<Self> {
        (line["target"] == "tenure::gate").then(|| gate_write(&line["fields"]))?
    }
}

impl Replica {
    /// What its gate has logged so far; [`GATE_LOG`] makes it.
    pub fn gate_writes(&self) -> Vec<GateWrite> {
        self.log().iter().filter_map(GateWrite::in_line).collect()
    }

    /// When it said that a term was over, if it has.
    pub fn stopped_leading_at(&self, term: u64) -> Option<Timestamp> {
        let line = self.log().into_iter().find(|line| {
            line.pointer("/fields/message").is_some_and(|message| message == "stopped leading")
                && number(&line["fields"], "term") == Some(i128::from(term))
        })?;
        Some(line["timestamp"].as_str().and_then(|at| at.parse().ok()).expect("a time in the log"))
    }

    /// Its writes of a term; [`GATE_LOG`] makes them.
    ///
    /// # Panics
    /// When one of them passed its look at the clocks after the replica had said that the term was over.
    pub fn writes_of_the_ended(&self, term: u64) -> Vec<GateWrite> {
        let stopped = self.stopped_leading_at(term);
        let stopped = stopped.unwrap_or_else(|| panic!("{} never said that term {term} was over", self.name));
        let writes: Vec<_> = self.gate_writes().into_iter().filter(|write| write.term == term).collect();
        for write in &writes {
            assert!(
                write.passed_at.is_none_or(|passed| passed <= stopped),
                "{} let {write:?} out after it had said that term {term} was over ({stopped})",
                self.name
            );
        }
        writes
    }
}

fn gate_write(fields: &Value) -> Option<GateWrite> {
    let text = |name: &str| Some(fields[name].as_str()?.to_owned());
    let count = |name: &str| number(fields, name).and_then(|count| u64::try_from(count).ok());
    let passed_at = number(fields, "passed_at_wall_ns").and_then(|at| Timestamp::from_nanosecond(at).ok());
    Some(GateWrite {
        term: count("term")?,
        id: text("audit_id")?,
        outcome: text("outcome")?,
        url: text("url")?,
        bytes: count("bytes")?,
        passed_at,
    })
}

/// Logged as a number, or as text where it is too long for one.
fn number(fields: &Value, name: &str) -> Option<i128> {
    let value = &fields[name];
    value.as_i64().map(i128::from).or_else(|| value.as_str()?.parse().ok())
}

impl World {
    /// Late writes, each with proof that it is residue, as [`Judge::residue`] wants it.
    ///
    /// # Panics
    /// When one is not, or nobody's log knows of it; and when terms fell.
    pub fn residue(&self) -> Vec<LateWrite> {
        let seen: Vec<GateWrite> = self.replicas.values().flat_map(Replica::gate_writes).collect();
        self.judge.residue(&seen)
    }
}

impl Judge {
    /// Late writes, each with proof in what gates said that it is residue: its last bytes left before the successor's acquiring
    /// write did.
    ///
    /// # Panics
    /// When one is not, or no gate knows of it; and when terms fell.
    pub fn residue(&self, seen: &[GateWrite]) -> Vec<LateWrite> {
        self.assert_terms_rise();
        let late = self.late_writes();
        if late.is_empty() {
            return late;
        }
        let history = self.history();
        for write in &late {
            let gate = seen.iter().find(|gate| gate.id == write.id);
            let gate = gate.unwrap_or_else(|| panic!("no replica's log knows of {write:?}"));
            let acquired = history.iter().find(|state| state.version == write.taken_over_at);
            let acquired = acquired.and_then(|state| state.renewed_at).expect("who acquires says when");
            assert!(
                gate.passed_at.is_some_and(|passed| passed < acquired),
                "a violation: {write:?} left as {gate:?}, after the successor's claim had ({acquired})"
            );
        }
        late
    }
}
