//! What a source hands out.

use std::{fmt, path::PathBuf, sync::Arc};

use bytes::Bytes;
use tenure_settings::{Manifest, PluginIdentity};

use crate::SourceError;

/// A plugin, whole: its bytes, their digest and what its manifest asks for.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Who it is; what grants, finalizers and the field manager go by.
    pub identity: PluginIdentity,
    /// SHA-256 of `wasm`, 64 hexadecimal digits in lower case.
    pub digest: String,
    /// The module or component, decompressed. Whether it is sound Wasm is for the sandbox to say.
    pub wasm: Bytes,
    /// What should be a minisign signature of `wasm`, if something is there. Whose it is, is for grants to ask.
    pub signature: Option<String>,
    /// What it asks for.
    pub manifest: Arc<Manifest>,
    /// What its owner says about running it.
    pub annotations: Annotations,
    /// Where it lies.
    pub origin: Origin,
}

/// The switches on a plugin's ConfigMap. All are off for a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `tenure.dev/suspend: "true"`: do not run it.
    pub suspend: bool,
    /// `tenure.dev/dry-run: "true"`: its writes go out with `dryRun=All`.
    pub dry_run: bool,
    /// `tenure.dev/finish: "true"`: let go of every object it holds by a finalizer, and begin nothing else.
    pub finish: bool,
}

/// Where an artifact lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The head ConfigMap.
    ConfigMap {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid, as Events on it need it.
        uid: String,
        /// Its resourceVersion when it was read.
        version: String,
    },
    /// A directory entry.
    Directory {
        /// The manifest's path.
        path: PathBuf,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap { namespace, name, .. } => write!(formatter, "ConfigMap {namespace}/{name}"),
            Self::Directory { path } => write!(formatter, "{}", path.display()),
        }
    }
}

/// What changed at a source.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    /// A plugin is there, new or changed; also when only its annotations changed.
    Present(Artifact),
    /// What lies there cannot be used; the plugin's last good version stays.
    Refused {
        /// Whose.
        identity: PluginIdentity,
        /// Where it lies.
        origin: Origin,
        /// Why, and what to do.
        error: SourceError,
    },
    /// The plugin was taken away.
    Gone(PluginIdentity),
    /// Everything that was there at the start has been handed out.
    Synced,
    /// The source itself cannot be read now; what it handed out stays. It goes on trying.
    Failing(String),
}

/// Bounds on what a source takes in.
#[derive(Clone, Copy, Debug)]
pub struct SourceLimits {
    /// Bytes of one artifact, compressed or not.
    pub artifact_bytes_max: u64,
}

/// What was last handed out for one plugin: the same again is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HandedOut {
    Artifact { digest: String, signature: Option<String>, manifest: String, annotations: Annotations, uid: String },
    Refusal(String),
}
