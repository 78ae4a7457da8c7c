//! A plugin's `plugin.toml`: what it watches, when it is called, and what it asks for. Grants nothing.

use serde::Deserialize;
use tenure_capability::Rule;

use crate::RequestedLimits;
use crate::document::{DocumentError, Form, Origin, Source};
use crate::grant::{digest_of, read_rule};
use crate::identity::is_dns_name;
use crate::keys::keys_of;
use crate::raw::{RawChunk, RawEnqueue, RawManifest, RawManifestLimits, RawRule, RawSchedule, RawWatch};

mod schedule;
mod watch;

pub use schedule::Recurrence;
pub use watch::{By, Enqueue, Watch};

/// Bytes of a manifest: text that somebody wrote, and at most 1024 chunks. A ConfigMap cannot hold much more.
pub const MANIFEST_BYTES_MAX: u64 = 256 * 1024;
/// Rules in one manifest; bounds the work of comparing it with a grant.
const PERMISSIONS_MAX: usize = 64;
/// Watches in one manifest; each can be a watch on the API server.
const WATCHES_MAX: usize = 64;
/// Schedules in one manifest.
const SCHEDULES_MAX: usize = 16;
/// Chunks of one artifact: at 240 KiB each far more than any host's limit for artifacts.
const CHUNKS_MAX: usize = 1024;

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOn {
    /// On the leader alone.
    #[default]
    Leader,
    /// On every replica. Only for components that cannot write.
    All,
}

/// A ConfigMap that holds a part of a large artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The ConfigMap's name, in the namespace of the head.
    pub name: String,
    /// The SHA-256 of its content, as 64 lower-case hex characters.
    pub sha256: String,
}

/// A checked `plugin.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// For people. What counts is [`crate::PluginIdentity`].
    pub name: String,
    /// Where it runs.
    pub run_on: RunOn,
    /// What it is called for.
    pub watches: Vec<Watch>,
    /// When it is called without cause.
    pub schedules: Vec<Recurrence>,
    /// What it asks to be allowed; never more than a request.
    pub permissions: Vec<Rule>,
    /// What it asks to be held to: [`crate::Limits::tightened_by`].
    pub limits: RequestedLimits,
    /// Its own settings: a JSON object, empty where it has none.
    pub settings: serde_json::Value,
    /// Where the Wasm is, in order, when it does not stand beside the manifest.
    pub chunks: Vec<Chunk>,
}

/// A `plugin.toml` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ManifestError(#[from] pub DocumentError);

static FORM: Form = Form {
    keys: |table| match table {
        "" => keys_of::<RawManifest>(),
        "watch" => keys_of::<RawWatch>(),
        "watch.enqueue" => keys_of::<RawEnqueue>(),
        "schedule" => keys_of::<RawSchedule>(),
        "permission" => keys_of::<RawRule>(),
        "limits" => keys_of::<RawManifestLimits>(),
        "chunk" => keys_of::<RawChunk>(),
        _ => &[],
    },
    unsupported: &[
        ("oci", "put the Wasm into the ConfigMap, its chunks or the plugin directory"),
        ("artifact", "put the Wasm into the ConfigMap, its chunks or the plugin directory"),
        ("signature", "it stands beside the Wasm, as plugin.wasm.minisig"),
        ("service-account", "it can only ever stand in the host's [[grant]]"),
        ("fence", "it can only ever stand in the host's [[grant]]"),
    ],
};

impl Manifest {
    /// Whether a manifest of so many bytes is read at all; for who would have to read it first.
    ///
    /// # Errors
    /// When it is larger than [`MANIFEST_BYTES_MAX`].
    pub fn check_size(bytes: u64, origin: &str) -> Result<(), ManifestError> {
        if bytes <= MANIFEST_BYTES_MAX {
            return Ok(());
        }
        let message = format!(
            "the manifest has {bytes} bytes, and at most {MANIFEST_BYTES_MAX} are read; what is long belongs into an object that \
             the plugin reads"
        );
        Err(Source { text: "", origin: Origin::File(origin) }.value_error(&(0..0), "", message).into())
    }

    /// Reads a `plugin.toml`. `origin` says where it comes from, for messages: a path, or a ConfigMap's namespace and name.
    ///
    /// # Errors
    /// When it is no TOML, has a key nobody knows or a value that cannot stand there. The message names the place.
    pub fn parse(toml: &str, origin: &str) -> Result<Self, ManifestError> {
        Self::check_size(toml.len() as u64, origin)?;
        let source = Source { text: toml, origin: Origin::File(origin) };
        let raw = source.read::<RawManifest>(&FORM)?;
        bounded(&source, "watch", &raw.watch, WATCHES_MAX)?;
        bounded(&source, "schedule", &raw.schedule, SCHEDULES_MAX)?;
        bounded(&source, "permission", &raw.permission, PERMISSIONS_MAX)?;
        bounded(&source, "chunk", &raw.chunk, CHUNKS_MAX)?;
        let name = raw.name.get_ref().clone();
        if name.trim().is_empty() || name.len() > 253 || name.chars().any(char::is_control) {
            let message = "must be a name for people: 1 to 253 bytes, on one line".to_owned();
            return Err(source.value_error(&raw.name.span(), "name", message).into());
        }
        let watches = watch::read_watches(&raw.watch, &source)?;
        let schedules =
            raw.schedule.iter().map(|schedule| schedule::read_schedule(schedule, &source)).collect::<Result<_, _>>()?;
        let permissions = raw.permission.iter().map(|rule| read_rule(rule, &source, "permission"));
        let chunks = raw.chunk.iter().map(|chunk| read_chunk(chunk, &source)).collect::<Result<_, _>>()?;
        Ok(Self {
            name,
            run_on: raw.run_on,
            watches,
            schedules,
            permissions: permissions.collect::<Result<_, _>>()?,
            limits: RequestedLimits::read(&raw.limits, &source)?,
            settings: read_settings(&raw, &source)?,
            chunks,
        })
    }
}

fn bounded<T>(source: &Source<'_>, key: &str, list: &[T], max: usize) -> Result<(), DocumentError> {
    if list.len() <= max {
        return Ok(());
    }
    let message = format!("stands there {} times, and at most {max} are allowed; split the plugin", list.len());
    Err(source.value_error(&(0..0), key, message))
}

fn read_chunk(raw: &toml::Spanned<RawChunk>, source: &Source<'_>) -> Result<Chunk, DocumentError> {
    let RawChunk { name, sha256 } = raw.get_ref();
    let invalid = |key: &str, message: String| Err(source.value_error(&raw.span(), &format!("chunk.{key}"), message));
    if !is_dns_name(name) {
        return invalid("name", format!("{name:?} is no ConfigMap's name"));
    }
    match digest_of(sha256) {
        Some(sha256) => Ok(Chunk { name: name.clone(), sha256 }),
        None => invalid("sha256", format!("{sha256:?} is no SHA-256; write 64 hex characters")),
    }
}

fn read_settings(raw: &RawManifest, source: &Source<'_>) -> Result<serde_json::Value, DocumentError> {
    let Some(settings) = &raw.settings else { return Ok(serde_json::Value::Object(serde_json::Map::new())) };
    json_table(settings.get_ref()).ok_or_else(|| {
        let message = "has a number that JSON cannot write; nan and inf are none there".to_owned();
        source.value_error(&settings.span(), "settings", message)
    })
}

fn json_table(table: &toml::Table) -> Option<serde_json::Value> {
    table
        .iter()
        .map(|(key, value)| Some((key.clone(), json(value)?)))
        .collect::<Option<_>>()
        .map(serde_json::Value::Object)
}

/// Dates become text: JSON has none.
fn json(value: &toml::Value) -> Option<serde_json::Value> {
    Some(match value {
        toml::Value::String(text) => serde_json::Value::from(text.clone()),
        toml::Value::Integer(number) => serde_json::Value::from(*number),
        toml::Value::Float(number) => serde_json::Value::Number(serde_json::Number::from_f64(*number)?),
        toml::Value::Boolean(truth) => serde_json::Value::from(*truth),
        toml::Value::Datetime(instant) => serde_json::Value::from(instant.to_string()),
        toml::Value::Array(items) => serde_json::Value::Array(items.iter().map(json).collect::<Option<_>>()?),
        toml::Value::Table(table) => json_table(table)?,
    })
}

#[cfg(test)]
mod tests;
