//! The settings file and the manifest as they may be written: nothing is checked against anything else here.

use serde::Deserialize;
use tenure_capability::Rule;
use toml::Spanned;

use crate::quantity::{Count, Processors, Size, Span};
use crate::{Fence, LogFormat, LogLevel, OnLoss, Profile, ResourceLock, RunOn};

/// A key that may be given, with the place where it was.
pub(crate) type Key<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct RawSettings {
    pub(crate) profile: Key<Profile>,
    pub(crate) election: RawElection,
    pub(crate) plugins: RawPlugins,
    pub(crate) limits: RawLimits,
    pub(crate) console: RawConsole,
    pub(crate) cache: RawCache,
    pub(crate) log: RawLog,
    pub(crate) grant: Vec<RawGrant>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct RawElection {
    pub(crate) enabled: Key<bool>,
    pub(crate) id: Key<String>,
    pub(crate) namespace: Key<String>,
    pub(crate) resource_lock: Key<ResourceLock>,
    pub(crate) also_hold: Key<Vec<String>>,
    pub(crate) identity: Key<String>,
    pub(crate) lease_duration: Key<Span>,
    pub(crate) renew_deadline: Key<Span>,
    pub(crate) retry_period: Key<Span>,
    pub(crate) grace: Key<Span>,
    pub(crate) shutdown_grace: Key<Span>,
    pub(crate) write_timeout: Key<Span>,
    pub(crate) release_on_cancel: Key<bool>,
    pub(crate) first_create: Key<RawFirstCreate>,
    pub(crate) on_loss: Key<OnLoss>,
    pub(crate) container: Key<String>,
    pub(crate) policy: Key<String>,
    pub(crate) zone: Key<String>,
    pub(crate) labels: Key<Vec<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawFirstCreate {
    Wait,
    Immediate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct RawPlugins {
    pub(crate) namespaces: Key<Vec<String>>,
    pub(crate) directory: Key<String>,
    pub(crate) code_cache: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct RawLimits {
    pub(crate) memory: Key<Size>,
    pub(crate) table_elements: Key<Count>,
    pub(crate) instances: Key<Count>,
    pub(crate) reconcile_timeout: Key<Span>,
    pub(crate) concurrency: Key<Count>,
    pub(crate) cpu: Key<Processors>,
    pub(crate) guests_cpu: Key<Processors>,
    pub(crate) requests_per_second: Key<Count>,
    pub(crate) request_bytes: Key<Size>,
    pub(crate) response_bytes: Key<Size>,
    pub(crate) log_lines_per_second: Key<Count>,
    pub(crate) artifact_bytes: Key<Size>,
    pub(crate) compile_memory: Key<Size>,
    pub(crate) compile_timeout: Key<Span>,
}

/// [`RawLimits`] without what concerns all plugins together.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct RawManifestLimits {
    pub(crate) memory: Key<Size>,
    pub(crate) table_elements: Key<Count>,
    pub(crate) reconcile_timeout: Key<Span>,
    pub(crate) concurrency: Key<Count>,
    pub(crate) cpu: Key<Processors>,
    pub(crate) requests_per_second: Key<Count>,
    pub(crate) request_bytes: Key<Size>,
    pub(crate) response_bytes: Key<Size>,
    pub(crate) log_lines_per_second: Key<Count>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct RawConsole {
    pub(crate) listen: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct RawCache {
    pub(crate) warm: Key<bool>,
    pub(crate) read_your_writes_wait: Key<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct RawLog {
    pub(crate) format: Key<LogFormat>,
    pub(crate) level: Key<LogLevel>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RawGrant {
    pub(crate) plugin: Spanned<String>,
    pub(crate) digest: Key<String>,
    pub(crate) key: Key<String>,
    pub(crate) service_account: Key<String>,
    pub(crate) fence: Key<Fence>,
    #[serde(default)]
    pub(crate) permission: Vec<Spanned<RawRule>>,
}

/// As [`Rule`], but unknown keys are left to the reader, which knows the nearest one.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RawRule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// A plugin's `plugin.toml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RawManifest {
    pub(crate) name: Spanned<String>,
    #[serde(default)]
    pub(crate) run_on: RunOn,
    #[serde(default)]
    pub(crate) watch: Vec<Spanned<RawWatch>>,
    #[serde(default)]
    pub(crate) schedule: Vec<Spanned<RawSchedule>>,
    #[serde(default)]
    pub(crate) permission: Vec<Spanned<RawRule>>,
    #[serde(default)]
    pub(crate) limits: RawManifestLimits,
    pub(crate) settings: Key<toml::Table>,
    #[serde(default)]
    pub(crate) chunk: Vec<Spanned<RawChunk>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RawWatch {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    pub(crate) label_selector: Option<String>,
    pub(crate) field_selector: Option<String>,
    #[serde(default)]
    pub(crate) finalizer: bool,
    #[serde(default)]
    pub(crate) enqueue: Vec<Spanned<RawEnqueue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RawEnqueue {
    pub(crate) by: RawBy,
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) label: Option<String>,
}

/// As [`crate::By`], its labels in a key of their own.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawBy {
    Controller,
    Owner,
    Namespace,
    NamedByLabel,
    LabelledWithName,
    SameLabel,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RawSchedule {
    pub(crate) every: Key<Span>,
    pub(crate) cron: Key<String>,
    pub(crate) time_zone: Key<String>,
    pub(crate) catch_up: Key<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RawChunk {
    pub(crate) name: String,
    pub(crate) sha256: String,
}

impl From<RawRule> for Rule {
    fn from(raw: RawRule) -> Self {
        let RawRule { api_groups, resources, verbs, namespaces, resource_names } = raw;
        Self { api_groups, resources, verbs, namespaces, resource_names }
    }
}
