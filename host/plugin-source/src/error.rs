//! Why an artifact is refused, or cannot be packed.

use std::{io, path::PathBuf, sync::Arc};

use tenure_settings::{InvalidPluginIdentity, ManifestError};

/// Why what lies at a source cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The ConfigMap has no manifest.
    #[error("data has no \"plugin.toml\"; `tenure plugin pack` makes a ConfigMap that has one")]
    NoManifest,
    /// The manifest does not parse or makes no sense.
    #[error("plugin.toml is refused")]
    Manifest(#[source] Arc<ManifestError>),
    /// The place cannot be a plugin's identity.
    #[error(transparent)]
    Identity(InvalidPluginIdentity),
    /// No bytes.
    #[error(
        "there is no Wasm: binaryData needs \"plugin.wasm\", \"plugin.wasm.gz\" or \"plugin.wasm.zst\", or plugin.toml a [[chunk]] list"
    )]
    NoWasm,
    /// More than one set of bytes.
    #[error("there is more than one Wasm: {}; keep one", found.join(", "))]
    SeveralWasm {
        /// What was found.
        found: Vec<String>,
    },
    /// Chunks that did not come.
    #[error("waits for {} of its chunks, first \"{}\": apply all that `tenure plugin pack` printed", missing.len(), missing.first().map_or("", String::as_str))]
    ChunksMissing {
        /// Their names.
        missing: Vec<String>,
    },
    /// More chunks than any artifact needs.
    #[error("plugin.toml lists {count} chunks; at most {max} are taken")]
    TooManyChunks {
        /// How many it lists.
        count: usize,
        /// How many are taken.
        max: usize,
    },
    /// Chunks of different compressions.
    #[error("the chunks hold {first:?} and {other:?}: pack the plugin again")]
    ChunksMixed {
        /// The first chunk's key.
        first: String,
        /// Another chunk's key.
        other: String,
    },
    /// Decompressed, or as it is, it is larger than the host takes.
    #[error("the Wasm is larger than {max} bytes; make it smaller or raise limits.artifact-bytes")]
    TooLarge {
        /// How much is taken.
        max: u64,
    },
    /// The compressed bytes are damaged.
    #[error("{key} does not decompress: {message}")]
    Damaged {
        /// The key or file.
        key: String,
        /// What the decompressor says.
        message: String,
    },
    /// The manifest of a directory entry has no Wasm beside it, or the other way round.
    #[error("{present} is there, but not {absent}")]
    Unpaired {
        /// The file that is there.
        present: PathBuf,
        /// What should be beside it.
        absent: String,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read: {message}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
}

impl SourceError {
    pub(crate) fn unreadable(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::Unreadable { path: path.into(), message: error.to_string() }
    }

    /// The whole story: the error and what lies under it.
    #[must_use]
    pub fn full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl From<ManifestError> for SourceError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Arc::new(error))
    }
}

/// Why an artifact cannot be packed into ConfigMaps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A name that Kubernetes does not take.
    #[error(transparent)]
    Name(#[from] InvalidPluginIdentity),
    /// The chunks' names would be too long.
    #[error("the name has {chars} characters; {max} leave room for what the chunks' names add")]
    NameTooLong {
        /// How many it has.
        chars: usize,
        /// How many it may have.
        max: usize,
    },
    /// The manifest does not parse or makes no sense.
    #[error("the manifest is refused")]
    Manifest(#[from] ManifestError),
    /// The manifest already says where the bytes are.
    #[error("the manifest already lists chunks: pack the manifest as you wrote it, not a packed one")]
    AlreadyPacked,
    /// Not Wasm at all.
    #[error("the second file is no Wasm: it does not begin with \"\\0asm\"")]
    NotWasm,
    /// What came as a signature is none.
    #[error("the signature is none of minisign's")]
    NotASignature,
    /// What does not compress into an object.
    #[error(
        "the manifest leaves no room: {name} would have {bytes} bytes, and at most {max} survive `kubectl apply`; shorten it"
    )]
    ManifestTooLarge {
        /// The object.
        name: String,
        /// Its size.
        bytes: usize,
        /// What fits.
        max: usize,
    },
    /// More chunks than a source takes.
    #[error("the plugin needs {count} chunks and at most {max} are taken: make it smaller")]
    TooManyChunks {
        /// How many it would take.
        count: usize,
        /// How many are taken.
        max: usize,
    },
    /// The compressor failed.
    #[error("compressing failed")]
    Compress(#[source] io::Error),
}
