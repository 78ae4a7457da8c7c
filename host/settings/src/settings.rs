//! The host's settings: what was given in all layers, checked against each other and against the defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tenure_election::InvalidTiming;

use crate::document::{DocumentError, Form, Origin, Source};
use crate::identity::DIRECTORY;
use crate::keys::keys_of;
use crate::layers::Layers;
use crate::raw::{RawCache, RawConsole, RawElection, RawGrant, RawLimits, RawLog, RawPlugins, RawRule, RawSettings};
use crate::resolve;
use crate::{ElectionSettings, Flags, Grant, Limits, Place, Profile};

#[cfg(test)]
mod tests;

/// Everything the host can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the defaults come from.
    pub profile: Profile,
    /// The lock.
    pub election: ElectionSettings,
    /// Where plugins come from.
    pub plugins: PluginSettings,
    /// What each may use.
    pub limits: Limits,
    /// What each may do.
    pub grants: Vec<Grant>,
    /// Probes, metrics, status.
    pub console: ConsoleSettings,
    /// The shared object cache.
    pub cache: CacheSettings,
    /// The log.
    pub log: LogSettings,
}

/// Where plugins come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSettings {
    /// Namespaces whose labelled ConfigMaps are plugins.
    pub namespaces: Vec<String>,
    /// A directory whose files are plugins.
    pub directory: Option<PathBuf>,
    /// Where compiled plugins are kept between starts.
    pub code_cache: Option<PathBuf>,
}

/// Probes, metrics, status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSettings {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// The shared object cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Whether standbys keep it filled.
    pub warm: bool,
    /// How long a key waits at most for its last writes to come back through a watch.
    pub read_your_writes_wait_max: Duration,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// What is left out.
    pub level: LogLevel,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The least important lines that are still logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What people should look at.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// What led to it.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// As `tracing` calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Something that works and probably is not meant. Displays as one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(String);

impl Warning {
    pub(crate) const fn new(message: String) -> Self {
        Self(message)
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Settings that cannot be used. Displays where, what, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A text or value that is wrong by itself.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Durations of the lock that don't go together.
    #[error("the lock's timing cannot work: {source} ({places})")]
    Timing {
        /// Where each of them comes from.
        places: String,
        /// What is wrong.
        source: InvalidTiming,
    },
    /// Plugins in the namespace of the host, where whoever may write plugins could write its settings and its lock.
    #[error(
        "plugins.namespaces has {namespace:?}, where the host or its lock is; plugins need a namespace of their own ({})",
        .place.as_ref().map_or_else(|| "the host's namespace was found out at start".to_owned(), ToString::to_string)
    )]
    PluginsBesideHost {
        /// Where the plugin namespaces were given; `None` once settings have been read.
        place: Option<Place>,
        /// The namespace.
        namespace: String,
    },
}

pub(crate) static FORM: Form = Form {
    keys: |table| match table {
        "" => keys_of::<RawSettings>(),
        "election" => keys_of::<RawElection>(),
        "plugins" => keys_of::<RawPlugins>(),
        "limits" => keys_of::<RawLimits>(),
        "console" => keys_of::<RawConsole>(),
        "cache" => keys_of::<RawCache>(),
        "log" => keys_of::<RawLog>(),
        "grant" => keys_of::<RawGrant>(),
        "grant.permission" => keys_of::<RawRule>(),
        _ => &[],
    },
    unsupported: &[],
};

impl Settings {
    /// Reads the settings: `toml` (a file's text, called `path` in messages), over it the `TENURE_*` variables of `env`, over
    /// these `flags`. `POD_NAME` and `POD_NAMESPACE` are read from `env` too.
    ///
    /// # Errors
    /// When a text is no TOML, a key is unknown, a value cannot stand where it is, or values contradict each other. The
    /// message says where each was given and what to write.
    pub fn parse(
        toml: &str,
        path: &str,
        env: &dyn Fn(&str) -> Option<String>,
        flags: &Flags,
    ) -> Result<(Self, Vec<Warning>), SettingsError> {
        let layers = Layers::read(Source { text: toml, origin: Origin::File(path) }, &FORM, env, flags)?;
        let mut warnings = Vec::new();
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let settings = resolve::settings(&layers, &env, &mut warnings)?;
        let place = layers.pick(|raw| &raw.plugins.namespaces).map(|given| given.place);
        let host = [env("POD_NAMESPACE"), settings.election.namespace.clone()];
        host.into_iter().flatten().try_for_each(|namespace| settings.plugins.check_apart(&namespace, place.clone()))?;
        warnings.extend(settings.unmatched_grants());
        Ok((settings, warnings))
    }

    /// Checks that plugins are kept apart from the host once its namespace is known otherwise than from `POD_NAMESPACE`.
    ///
    /// # Errors
    /// When `namespace`, the host's, is one of the plugin namespaces.
    pub fn check_host_namespace(&self, namespace: &str) -> Result<(), SettingsError> {
        self.plugins.check_apart(namespace, None)
    }

    fn unmatched_grants(&self) -> impl Iterator<Item = Warning> {
        let mut places = self.plugins.namespaces.clone();
        places.extend(self.plugins.directory.is_some().then(|| DIRECTORY.to_owned()));
        self.grants.iter().filter(move |grant| !grant.could_match_in(&places)).map(|grant| {
            Warning::new(format!(
                "grant for {:?} matches no plugin: plugins come from the namespaces in plugins.namespaces, and from \
                 plugins.directory as \"{DIRECTORY}/..\"",
                grant.plugin
            ))
        })
    }
}

impl PluginSettings {
    fn check_apart(&self, host: &str, place: Option<Place>) -> Result<(), SettingsError> {
        if self.namespaces.iter().any(|namespace| namespace == host) {
            return Err(SettingsError::PluginsBesideHost { place, namespace: host.to_owned() });
        }
        Ok(())
    }
}
