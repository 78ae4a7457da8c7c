//! The status of one replica as it goes over the wire. Both ends use these types: the console writes them, the command
//! line reads them back.
//!
//! Grows by new fields only; a reader of an older or newer version must cope. Hence every field that is not in version 1
//! will carry a default, unknown fields are let through, and an unknown word in an enumeration reads as `Unknown`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the shape below. Rises only when a field changes its meaning or goes.
pub const STATUS_VERSION: u32 = 1;

/// Everything a replica says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`STATUS_VERSION`] of the writer.
    pub version: u32,
    /// Who speaks.
    pub replica: Replica,
    /// The locks it is a candidate for.
    pub locks: Vec<LockStatus>,
    /// The plugins it knows, running or not.
    pub plugins: Vec<PluginStatus>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its name in the lock (`spec.holderIdentity` while it leads).
    pub identity: String,
    /// `<namespace>/<pod>` where it runs in a Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// When the process started, RFC 3339 in UTC.
    pub started: String,
    /// What it is right now.
    pub role: Role,
    /// The version of the program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// How its settings stand to their file, where that needs saying: the file is refused, or waits for a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
}

/// How a replica's settings stand to their file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SettingsState {
    /// What the file says is what it works by.
    Current,
    /// The file says something that only a restart brings into force.
    RestartNeeded,
    /// The file cannot be used; the settings of before stay.
    Refused,
}

impl SettingsState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Current, Self::RestartNeeded, Self::Refused];

    /// The word in the label `state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::RestartNeeded => "restart-needed",
            Self::Refused => "refused",
        }
    }
}

/// What a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Holds the lock; its plugins run.
    Leader,
    /// Still holds the lock and is letting go of it in order.
    Draining,
    /// Waits: plugins compiled, nothing running.
    Standby,
    /// Runs without election.
    Single,
    /// A word of another version.
    #[serde(other)]
    Unknown,
}

/// A lock as this replica sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockStatus {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Where the elector stands, in its own words.
    pub phase: String,
    /// Who holds it, as last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The holder's term: the fencing token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// Seconds since the holder acquired it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
    /// The newest trouble with the lock, if it has not passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A plugin as this replica sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// `<namespace>/<ConfigMap>` or `directory/<stem>`.
    pub identity: String,
    /// `name` in its manifest; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_name: Option<String>,
    /// Where it stands.
    pub state: PluginState,
    /// SHA-256 of the bytes that run, or would run, in hex. Absent while nothing has loaded yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What its rights hang on. Absent while nothing has loaded yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_by: Option<GrantedBy>,
    /// The newest call that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_result: Option<LastResult>,
    /// Keys that wait in its queue.
    #[serde(default)]
    pub queue_depth: u64,
    /// Calls repeated after an error since the process started.
    #[serde(default)]
    pub retries: u64,
    /// Why it is in this state, where that needs saying: the refusal, the trap, what is missing in the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Linear memory of all its instances, in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Processor time that its instances have used since the process started, in milliseconds.
    #[serde(default)]
    pub cpu_ms: u64,
    /// How often each limit refused it something since the process started, by the limit's key in the settings. Limits that
    /// never did are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
}

/// What a plugin's rights hang on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantedBy {
    /// On its bytes: grants with their digest cover all it requests.
    Digest,
    /// On who signed them: grants with a key, or with the digest, cover all it requests.
    Signature,
    /// On its name: whoever may write under that name has these rights.
    Name,
    /// A word of another version.
    #[serde(other)]
    Unknown,
}

impl GrantedBy {
    /// The word in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Name => "name",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a plugin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginState {
    /// Its bytes are being fetched, checked and compiled.
    Loading,
    /// Compiled; runs as soon as this replica leads.
    Ready,
    /// Instantiated and called.
    Running,
    /// Not taken: see the message. A version that loaded before goes on running.
    Refused,
    /// A task that has run for this term.
    Completed,
    /// Held still by its owner (`tenure.dev/suspend`).
    Suspended,
    /// Trapped too often in a row; tried again after a pause.
    CircuitOpen,
    /// It only lets go of what carries its finalizer; or its artifact is gone, and such objects are left.
    Removing,
    /// A word of another version.
    #[serde(other)]
    Unknown,
}

impl PluginState {
    /// Every state that a replica of this version can be in.
    pub const ALL: [Self; 8] = [
        Self::Loading,
        Self::Ready,
        Self::Running,
        Self::Refused,
        Self::Completed,
        Self::Suspended,
        Self::CircuitOpen,
        Self::Removing,
    ];

    /// The word in JSON, in tables and in the label `state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Refused => "refused",
            Self::Completed => "completed",
            Self::Suspended => "suspended",
            Self::CircuitOpen => "circuit-open",
            Self::Removing => "removing",
            Self::Unknown => "unknown",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastResult {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Whether it succeeded.
    pub ok: bool,
    /// The error, or what was asked for (`again in 30s`); may be empty.
    #[serde(default)]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Status {
        Status {
            version: STATUS_VERSION,
            replica: Replica {
                identity: "tenure-0_abc".into(),
                pod: Some("tenure-system/tenure-0".into()),
                started: "2026-01-02T03:04:05Z".into(),
                role: Role::Leader,
                program_version: "0.1.0".into(),
                settings: Some("refused".into()),
            },
            locks: vec![LockStatus {
                namespace: "tenure-system".into(),
                name: "tenure".into(),
                phase: "leading".into(),
                holder: Some("tenure-0_abc".into()),
                term: Some(1_900_000_000_000),
                age_seconds: Some(12),
                transitions: 3,
                last_error: None,
            }],
            plugins: vec![PluginStatus {
                identity: "tenure-plugins/label-propagator".into(),
                manifest_name: Some("label-propagator".into()),
                state: PluginState::CircuitOpen,
                digest: Some("00ff".into()),
                granted_by: Some(GrantedBy::Digest),
                last_result: Some(LastResult { at: "2026-01-02T03:04:09Z".into(), ok: false, message: "trap".into() }),
                queue_depth: 1,
                retries: 5,
                message: Some("5 traps in a row".into()),
                memory_bytes: 1 << 20,
                cpu_ms: 1500,
                refused: BTreeMap::from([("memory".into(), 3)]),
            }],
        }
    }

    #[test]
    fn status_reads_back_as_written() {
        let written = serde_json::to_string(&example()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&written).unwrap(), example());
    }

    #[test]
    fn status_of_another_version_is_read_as_far_as_it_is_understood() {
        let mut value = serde_json::to_value(example()).unwrap();
        value["version"] = 9.into();
        value["weather"] = "fair".into();
        value["replica"]["role"] = "observer".into();
        value["plugins"][0]["state"] = "hibernating".into();
        value["plugins"][0]["granted_by"] = "a seal".into();
        value["replica"].as_object_mut().unwrap().remove("settings");
        for field in ["memory_bytes", "cpu_ms", "refused"] {
            value["plugins"][0].as_object_mut().unwrap().remove(field);
        }
        let status: Status = serde_json::from_value(value).unwrap();
        assert_eq!(status.version, 9);
        assert_eq!(status.replica.role, Role::Unknown);
        assert_eq!(status.replica.settings, None);
        assert_eq!(status.plugins[0].state, PluginState::Unknown);
        assert_eq!(status.plugins[0].granted_by, Some(GrantedBy::Unknown));
        assert_eq!((status.plugins[0].memory_bytes, status.plugins[0].refused.len()), (0, 0));
    }

    #[test]
    fn state_labels_are_the_words_of_the_json() {
        for state in PluginState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
