//! TOML, environment and flags, checked into [`Settings`]; plugin manifests likewise.
//!
//! Owns what the host can be told and what a plugin's `plugin.toml` can say, with a message for everything that is wrong in
//! either. Pure: texts go in. Never reads a file, an environment or a command line itself, and never sees a cluster.

mod document;
mod election;
mod flags;
mod grant;
mod identity;
mod keys;
mod layers;
mod limits;
mod manifest;
mod nesting;
mod place;
mod profile;
mod provenance;
mod quantity;
mod raw;
mod resolve;
mod settings;
mod variables;

pub use document::DocumentError;
pub use election::{ElectionSettings, LockObject, OnLoss, ResourceLock, UnknownResourceLock};
pub use flags::Flags;
pub use grant::{Fence, Grant, ServiceAccount};
pub use identity::{FENCE_PREFIX, InvalidPluginIdentity, PluginIdentity};
pub use limits::{LimitError, Limits, RequestedLimits};
pub use manifest::{By, Chunk, Enqueue, MANIFEST_BYTES_MAX, Manifest, ManifestError, Recurrence, RunOn, Watch};
pub use place::Place;
pub use profile::Profile;
pub use provenance::{Provenance, SigningKey, is_signature};
pub use settings::{
    CacheSettings, ConsoleSettings, LogFormat, LogLevel, LogSettings, PluginSettings, Settings, SettingsError, Warning,
};
pub use variables::unknown_variables;

/// What `grant` and `permission` tables say; from the room that judges requests.
pub use tenure_capability::Rule;
/// Lock timing; from the room that elects.
pub use tenure_election::{FirstCreate, Timing};
