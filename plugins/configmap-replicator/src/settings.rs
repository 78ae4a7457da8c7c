//! What the manifest's `[settings]` may say.

use serde::Deserialize;
use tenure_plugin::{Error, Result};

/// The plugin's settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Namespaces whose ConfigMaps may be copied elsewhere; one ending in `*` stands for all that begin with what is before.
    #[serde(default = "all")]
    pub source_namespaces: Vec<String>,
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        if self.source_namespaces.is_empty() {
            return Err(Error::guest(
                "settings.source-namespaces is empty: name at least one namespace, or leave it out",
            ));
        }
        match self.source_namespaces.iter().find(|pattern| !is_pattern(pattern)) {
            Some(wrong) => Err(Error::guest(format!(
                "settings.source-namespaces: {wrong:?} is no namespace; a * may only stand at the end"
            ))),
            None => Ok(()),
        }
    }

    pub(crate) fn allows_source(&self, namespace: &str) -> bool {
        self.source_namespaces.iter().any(|pattern| matches(pattern, namespace))
    }
}

fn is_pattern(text: &str) -> bool {
    !text.is_empty() && !text.trim_end_matches('*').contains('*')
}

/// Whether a namespace is meant by a pattern.
pub(crate) fn matches(pattern: &str, namespace: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => namespace.starts_with(beginning),
        None => namespace == pattern,
    }
}
