//! What the manifest's `[settings]` may say.

use serde::Deserialize;
use tenure_plugin::{Error, Kind, Result};

use crate::keys::Keys;

/// The plugin's settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Keys of the labels to copy; one ending in `*` stands for all that begin with what is before it.
    #[serde(default)]
    pub labels: Keys,
    /// Keys of the annotations to copy, in the same way.
    #[serde(default)]
    pub annotations: Keys,
    /// Which kinds of objects get them. The manifest must watch each and ask for `list`, `watch` and `patch`.
    pub kinds: Vec<Kind>,
    /// What happens where somebody else gave a key another value.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// Whose value counts where somebody else set the same key on an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// The object's: the Namespace gives defaults.
    #[default]
    Leave,
    /// The Namespace's.
    Overwrite,
}

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        if self.labels.is_empty() && self.annotations.is_empty() {
            return Err(Error::guest("settings.labels and settings.annotations are both empty: name at least one key"));
        }
        if self.kinds.is_empty() {
            return Err(Error::guest("settings.kinds is empty: name at least one kind, such as v1 ConfigMap"));
        }
        if self.kinds.iter().any(|kind| kind.is("v1", "Namespace")) {
            return Err(Error::guest(
                "settings.kinds lists Namespace, which is where labels come from and lies in none",
            ));
        }
        for pattern in self.labels.patterns().chain(self.annotations.patterns()) {
            if pattern.is_empty() || pattern.trim_end_matches('*').contains('*') {
                return Err(Error::guest(format!("settings: {pattern:?} is no key: a * may only stand at the end")));
            }
        }
        Ok(())
    }
}
