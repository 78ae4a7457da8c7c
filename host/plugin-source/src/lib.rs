//! Where plugins come from: ConfigMaps and directories, made into artifacts, and artifacts made into ConfigMaps.
//!
//! Owns what is an artifact and when it is whole: names, chunks, checksums, bounded decompression, one event per real
//! change. Never sees kube, the sandbox or a grant: the cluster is read through the [`ConfigMapFeed`] port, the Wasm is
//! bytes, and whether a plugin may run is for others to say.

mod artifact;
mod assembly;
mod config_map;
mod config_maps;
mod digest;
mod directory;
mod error;
mod pack;
mod unpack;

pub use artifact::{Annotations, Artifact, Origin, SourceEvent, SourceLimits};
pub use config_map::{CHUNK_LABEL, DRY_RUN_ANNOTATION, FINISH_ANNOTATION, PLUGIN_LABEL, SUSPEND_ANNOTATION};
pub use config_maps::{ConfigMapFeed, FeedEvent, config_maps};
pub use directory::directory;
pub use error::{PackError, SourceError};
pub use pack::{Compression, OBJECT_BYTES_MAX, PackOptions, pack};
