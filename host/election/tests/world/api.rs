//! The lock's object as an API server keeps it: one rising version, uids, preconditions. Knows nothing of electors.

use std::time::Duration;

use tenure_election::{Outcome, Record, Seen, Write, WriteKind};

/// What a watch would send.
#[derive(Debug, Clone)]
pub struct WatchEvent {
    pub seen: Seen,
    pub deleted: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Api {
    pub version: u64,
    pub object: Option<Seen>,
    uids: u64,
    /// A PUT to a missing object creates it, as a real server does where the uid is not sent.
    pub upsert: bool,
}

impl Api {
    fn store(&mut self, uid: Option<String>, record: Record) -> Seen {
        self.version += 1;
        let uid = uid.unwrap_or_else(|| {
            self.uids += 1;
            format!("u{}", self.uids)
        });
        let seen = Seen { uid, version: self.version, record };
        self.object = Some(seen.clone());
        seen
    }

    /// Commits a write, or says why not.
    pub fn commit(&mut self, write: &Write) -> (Outcome, Option<WatchEvent>) {
        let stored = |seen: Seen, created| {
            (Outcome::Stored { seen: seen.clone(), created }, Some(WatchEvent { seen, deleted: false }))
        };
        match (&write.kind, &self.object) {
            (WriteKind::Create, None) => stored(self.store(None, write.record.clone()), true),
            (WriteKind::Replace { .. }, None) if self.upsert => stored(self.store(None, write.record.clone()), true),
            (WriteKind::Replace { uid, version }, Some(object)) if object.uid == *uid && object.version == *version => {
                if object.record == write.record {
                    return (Outcome::Stored { seen: object.clone(), created: false }, None);
                }
                stored(self.store(Some(uid.clone()), write.record.clone()), false)
            }
            _ => (Outcome::Conflict, None),
        }
    }

    pub fn delete(&mut self) -> Option<WatchEvent> {
        let mut seen = self.object.take()?;
        self.version += 1;
        seen.version = self.version;
        Some(WatchEvent { seen, deleted: true })
    }

    /// Somebody edits the object, or makes it.
    pub fn edit(&mut self, change: impl FnOnce(&mut Record)) -> WatchEvent {
        let (uid, mut record) =
            self.object.take().map_or((None, Record::default()), |seen| (Some(seen.uid), seen.record));
        change(&mut record);
        WatchEvent { seen: self.store(uid, record), deleted: false }
    }
}

/// One edit, `field=value`, as people write it.
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
        "term" | "attempt" | "released" => set(record, &format!("tenure.dev/{field}"), value),
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
