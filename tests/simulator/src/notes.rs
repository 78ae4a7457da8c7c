//! What a run says of itself: one line an event, the same in scenarios and in the trace of a seed.

use std::time::Duration;

use tenure_election::{Instant, Outcome, Record, Report, Write, WriteKind};

use crate::world::World;

impl World {
    pub(crate) fn note_write(&mut self, node: usize, write: &Write) {
        if !self.tracing {
            return;
        }
        let record = &write.record;
        let on = match &write.kind {
            WriteKind::Create => "nothing".to_owned(),
            WriteKind::Replace { uid, version } => format!("{uid}@{version}"),
        };
        let machine = &self.nodes[node];
        let held = machine.ours().is_some_and(|ours| ours.elector.authority().is_some());
        let what = match (record.holder.is_empty(), record.annotations.get(Record::RELEASED)) {
            (false, _) if held && !machine.verbose => return,
            (false, _) if held => "renews".to_owned(),
            (false, _) => format!("acquires as {}", record.annotations[Record::TERM]),
            (true, Some(mark)) => format!("releases {mark}"),
            (true, None) => "makes the lock, unheld,".to_owned(),
        };
        let (number, transitions) = (write.attempt.number, record.transitions);
        self.note(node, || format!("{what} on {on} (#{number}, transitions {transitions})"));
    }

    pub(crate) fn note_outcome(&mut self, node: usize, kind: &WriteKind, outcome: &Outcome, answered: bool) {
        match outcome {
            Outcome::Conflict => self.note(node, || "<- conflict".to_owned()),
            Outcome::Refused { code, .. } => self.note(node, || format!("<- {code}")),
            Outcome::Stored { created: true, .. } if *kind != WriteKind::Create => {
                self.note(node, || "<- 201".to_owned())
            }
            Outcome::Stored { .. } if !answered => self.note(node, || "is stored, unknown to it".to_owned()),
            Outcome::Stored { .. } | Outcome::Unknown { .. } => {}
        }
    }

    /// client-go's writes, but for renewals.
    pub(crate) fn note_foreign(&mut self, node: usize, record: &Record, outcome: &Outcome) {
        let identity = &self.nodes[node].identity;
        if matches!(outcome, Outcome::Stored { .. })
            && record.holder == *identity
            && record.acquire_time == record.renew_time
        {
            self.note(node, || "acquires (client-go)".to_owned());
        }
    }

    pub(crate) fn note_report(&mut self, node: usize, now: Instant, report: &Report) {
        if !self.tracing {
            return;
        }
        let text = match report {
            Report::Started { .. } => return,
            Report::Stopped { term, why, released } => {
                format!("stopped leading {term}{}: {why}", if *released { ", released" } else { "" })
            }
            Report::NewHolder { holder } => format!("sees holder {holder:?}"),
            Report::ContainerKnown { container } => format!("knows its container: {container}"),
            Report::ProvedDead { holder, container, wait } => {
                format!("knows that {holder} is dead: {container} has ended; waits {wait:?} for its last writes")
            }
            Report::Waiting { why, until } => format!("waits {:?}: {why}", until.boot - now.boot),
            Report::Warning { message } => format!("warns: {message}"),
            Report::SlowPath { why } => format!("slow path: {why}"),
        };
        self.note(node, || text);
    }

    /// The lock as it stands, as a line.
    pub fn note_lock(&mut self) {
        let text = match &self.api.object {
            None => "the lease: none".to_owned(),
            Some(seen) => {
                let record = &seen.record;
                let annotations = record.annotations.iter().filter(|(key, _)| !key.ends_with("/attempt"));
                let annotations = annotations.map(|(key, value)| format!(" {key}={value}")).collect::<String>();
                let or_zero = |time: Option<Duration>| time.unwrap_or_default();
                format!(
                    "the lease: {}@{} holder={:?} duration={}s renewed={:?} acquired={:?} transitions={}{annotations}",
                    seen.uid,
                    seen.version,
                    record.holder,
                    record.lease_duration_seconds,
                    or_zero(record.renew_time),
                    or_zero(record.acquire_time),
                    record.transitions,
                )
            }
        };
        self.note_all(|| text);
    }
}
