//! A ConfigMap as far as plugins go: what it is to us, and what is in it.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;

use crate::{Annotations, Origin, SourceError, unpack::Encoding};

/// On a plugin's head ConfigMap, with the value `true`.
pub const PLUGIN_LABEL: &str = "tenure.dev/plugin";
/// On each of its chunks, with the value `true`.
pub const CHUNK_LABEL: &str = "tenure.dev/plugin-chunk";
/// On the head: `true` keeps the plugin from running.
pub const SUSPEND_ANNOTATION: &str = "tenure.dev/suspend";
/// On the head: `true` sends its writes out with `dryRun=All`.
pub const DRY_RUN_ANNOTATION: &str = "tenure.dev/dry-run";
/// On the head: `true` has it let go of every object that carries its finalizer.
pub const FINISH_ANNOTATION: &str = "tenure.dev/finish";
/// The manifest's key in `data`.
pub(crate) const MANIFEST_KEY: &str = "plugin.toml";
/// The key in `data` of a minisign signature of the Wasm, decompressed and in one piece; in a folder, the file's name.
pub(crate) const SIGNATURE_KEY: &str = "plugin.wasm.minisig";

/// What a ConfigMap is to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Head,
    Chunk,
    Neither,
}

/// The parts of a ConfigMap that are looked at. Binary data stays base64 text until it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConfigMap {
    pub(crate) metadata: Metadata,
    pub(crate) data: BTreeMap<String, String>,
    pub(crate) binary_data: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) namespace: String,
    pub(crate) name: String,
    uid: String,
    resource_version: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl ConfigMap {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// A head that also claims to be a chunk is a head.
    pub(crate) fn role(&self) -> Role {
        let labelled = |label| self.metadata.labels.get(label).is_some_and(|value| value == "true");
        if labelled(PLUGIN_LABEL) {
            Role::Head
        } else if labelled(CHUNK_LABEL) {
            Role::Chunk
        } else {
            Role::Neither
        }
    }

    pub(crate) fn annotations(&self) -> Annotations {
        let switched_on = |name| self.metadata.annotations.get(name).is_some_and(|value| value == "true");
        Annotations {
            suspend: switched_on(SUSPEND_ANNOTATION),
            dry_run: switched_on(DRY_RUN_ANNOTATION),
            finish: switched_on(FINISH_ANNOTATION),
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin::ConfigMap {
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
            uid: self.metadata.uid.clone(),
            version: self.metadata.resource_version.clone(),
        }
    }

    pub(crate) fn uid(&self) -> &str {
        &self.metadata.uid
    }

    /// The one Wasm in it, still as it is stored; none if it has none.
    pub(crate) fn stored_wasm(&self) -> Result<Option<(Encoding, Bytes)>, SourceError> {
        let mut found =
            Encoding::ALL.into_iter().filter_map(|encoding| Some((encoding, self.binary_data.get(encoding.key())?)));
        let Some((encoding, text)) = found.next() else { return Ok(None) };
        if let Some((other, _)) = found.next() {
            return Err(SourceError::SeveralWasm { found: vec![encoding.key().to_owned(), other.key().to_owned()] });
        }
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| SourceError::Damaged { key: encoding.key().to_owned(), message: error.to_string() })?;
        Ok(Some((encoding, bytes.into())))
    }
}
