//! The API server: the lock's object, Pods, and the object of a plugin in one store, with one rising version, uids, preconditions,
//! snapshots. Knows nothing of who asks.

use std::collections::BTreeMap;
use std::time::Duration;

use tenure_election::{Outcome, PodSeen, Record, Seen, WriteKind};

use crate::policy::Candidacy;

/// What a watch sends.
#[derive(Debug, Clone)]
pub struct WatchEvent {
    /// The object; of a deletion: as it went, in the deletion's version.
    pub seen: Seen,
    /// Whether it is a DELETED event.
    pub deleted: bool,
}

/// The store.
#[derive(Debug, Clone, Default)]
pub struct Api {
    /// The newest version given out.
    pub version: u64,
    /// The lock's object.
    pub object: Option<Seen>,
    /// When the lock's object got its version.
    pub stored_at: Duration,
    /// The token on the object that a fence guards.
    pub fenced_term: u64,
    /// A PUT to a missing object creates it, as a real server does where the uid is not sent.
    pub upsert: bool,
    /// Pods by name.
    pub pods: BTreeMap<String, PodSeen>,
    /// Candidate Leases, by their candidates' names.
    pub candidacies: BTreeMap<String, Candidacy>,
    uids: u64,
}

impl Api {
    fn store(&mut self, now: Duration, uid: Option<String>, record: Record) -> Seen {
        self.version += 1;
        self.stored_at = now;
        let uid = uid.unwrap_or_else(|| {
            self.uids += 1;
            format!("u{}", self.uids)
        });
        let seen = Seen { uid, version: self.version, record };
        self.object = Some(seen.clone());
        seen
    }

    /// Commits a write of the lock's object, or says why not.
    pub fn commit(&mut self, now: Duration, kind: &WriteKind, record: &Record) -> (Outcome, Option<WatchEvent>) {
        let stored = |seen: Seen, created| {
            (Outcome::Stored { seen: seen.clone(), created }, Some(WatchEvent { seen, deleted: false }))
        };
        match (kind, &self.object) {
            (WriteKind::Create, None) => stored(self.store(now, None, record.clone()), true),
            (WriteKind::Replace { .. }, None) if self.upsert => stored(self.store(now, None, record.clone()), true),
            (WriteKind::Replace { uid, version }, Some(object)) if object.uid == *uid && object.version == *version => {
                if object.record == *record {
                    return (Outcome::Stored { seen: object.clone(), created: false }, None);
                }
                stored(self.store(now, Some(uid.clone()), record.clone()), false)
            }
            _ => (Outcome::Conflict, None),
        }
    }

    /// Commits a plugin's write to the fenced object; the larger token there, if it is refused for it.
    pub fn write_fenced(&mut self, term: u64) -> Result<u64, u64> {
        if term < self.fenced_term {
            return Err(self.fenced_term);
        }
        self.fenced_term = term;
        self.version += 1;
        Ok(self.version)
    }

    /// Goes back to a snapshot. Versions are given out anew from there; uids are not.
    pub fn restore(&mut self, saved: Self) {
        let uids = self.uids;
        *self = saved;
        self.uids = uids;
    }

    /// Deletes the lock's object.
    pub fn delete(&mut self) -> Option<WatchEvent> {
        let mut seen = self.object.take()?;
        self.version += 1;
        seen.version = self.version;
        Some(WatchEvent { seen, deleted: true })
    }

    /// Somebody edits the lock's object, or makes it.
    pub fn edit(&mut self, now: Duration, change: impl FnOnce(&mut Record)) -> WatchEvent {
        let (uid, mut record) =
            self.object.take().map_or((None, Record::default()), |seen| (Some(seen.uid), seen.record));
        change(&mut record);
        WatchEvent { seen: self.store(now, uid, record), deleted: false }
    }
}

/// One edit, `field=value`, as people write it.
///
/// # Panics
/// Where a number is asked for and `value` is none.
pub fn apply_edit(record: &mut Record, field: &str, value: &str, wall: Duration) {
    let seconds = || value.parse().expect("a number");
    match field {
        "holder" => {
            value.clone_into(&mut record.holder);
            record.acquire_time = Some(wall);
        }
        "duration" => record.lease_duration_seconds = seconds(),
        "transitions" => record.transitions = seconds(),
        "renewed" => {
            record.renew_time = if value == "now" { Some(wall) } else { Some(Duration::from_secs(seconds().into())) }
        }
        "term" | "attempt" | "released" | "container" => set(record, &format!("tenure.dev/{field}"), value),
        other => set(record, other, value),
    }
}

fn set(record: &mut Record, key: &str, value: &str) {
    if value.is_empty() {
        record.annotations.remove(key);
    } else {
        record.annotations.insert(key.to_owned(), value.to_owned());
    }
}
