//! Who a plugin is: where it was dropped in. What its manifest calls it is for people only.

use sha2::{Digest, Sha256};

/// Characters of the plugin's name in its key: with `-` and [`KEY_HASH_CHARS`] it stays under the 63 that Kubernetes allows
/// in the name part of a label or finalizer.
const KEY_NAME_CHARS: usize = 46;
/// Hex characters of the identity's SHA-256 in the key.
const KEY_HASH_CHARS: usize = 12;
/// What stands for the namespace of a plugin that comes from a directory. No plugin namespace may be called so.
pub(crate) const DIRECTORY: &str = "directory";

/// What the annotations begin with that carry fencing tokens, each plugin's its own.
pub const FENCE_PREFIX: &str = "fence.tenure.dev/";

/// A plugin's identity: `<namespace>/<ConfigMap name>`, or `directory/<file stem>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginIdentity {
    identity: String,
    key: String,
}

/// A name that can be no plugin's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot name a plugin: {problem}")]
pub struct InvalidPluginIdentity {
    name: String,
    problem: &'static str,
}

impl PluginIdentity {
    /// The plugin in this ConfigMap.
    ///
    /// # Errors
    /// When one of the two is no Kubernetes name, or the namespace is `directory`.
    pub fn config_map(namespace: &str, name: &str) -> Result<Self, InvalidPluginIdentity> {
        if namespace == DIRECTORY {
            let problem = "a namespace called \"directory\" would be taken for a plugin directory; use another one";
            return Err(InvalidPluginIdentity { name: namespace.to_owned(), problem });
        }
        if !is_dns_label(namespace) {
            let problem = "a namespace has lower-case letters, digits and '-' inside, at most 63";
            return Err(InvalidPluginIdentity { name: namespace.to_owned(), problem });
        }
        if !is_dns_name(name) {
            let problem = "a ConfigMap's name has lower-case letters, digits, '-' and '.' inside, at most 253";
            return Err(InvalidPluginIdentity { name: name.to_owned(), problem });
        }
        Ok(Self::new(namespace, name))
    }

    /// The plugin in this file of the plugin directory.
    ///
    /// # Errors
    /// When `stem` has other characters than letters, digits, `-`, `_` and `.`, or begins or ends with one of these three.
    pub fn directory(stem: &str) -> Result<Self, InvalidPluginIdentity> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let valid = stem.len() <= 253 && stem.bytes().all(is_allowed) && has_alphanumeric_ends(stem);
        if !valid {
            let problem = "rename the file: letters, digits, and '-', '_', '.' inside, at most 253";
            return Err(InvalidPluginIdentity { name: stem.to_owned(), problem });
        }
        Ok(Self::new(DIRECTORY, stem))
    }

    /// The plugin that goes by `<namespace>/<ConfigMap name>` or `directory/<file stem>`.
    ///
    /// # Errors
    /// When it has no `/`, or as for the two kinds of it.
    pub fn parse(identity: &str) -> Result<Self, InvalidPluginIdentity> {
        match identity.split_once('/') {
            Some((DIRECTORY, stem)) => Self::directory(stem),
            Some((namespace, name)) => Self::config_map(namespace, name),
            None => {
                let problem = "write <namespace>/<ConfigMap name> or directory/<file stem>";
                Err(InvalidPluginIdentity { name: identity.to_owned(), problem })
            }
        }
    }

    fn new(place: &str, name: &str) -> Self {
        let identity = format!("{place}/{name}");
        let name = &name[..name.len().min(KEY_NAME_CHARS)];
        let mut key = format!("{name}-");
        for byte in &Sha256::digest(&identity)[..KEY_HASH_CHARS / 2] {
            key.push_str(&format!("{byte:02x}"));
        }
        Self { identity, key }
    }

    /// `<namespace>/<ConfigMap name>` or `directory/<file stem>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.identity
    }

    /// Namespace and name of its ConfigMap; `None` for one from a directory.
    #[must_use]
    pub fn place(&self) -> Option<(&str, &str)> {
        self.identity.split_once('/').filter(|(place, _)| *place != DIRECTORY)
    }

    /// The identity's short form, unique and fit for names in Kubernetes: the name or stem, cut to 46 characters, `-`, and
    /// 12 hex characters of the identity's SHA-256.
    #[must_use]
    pub fn key(&self) -> String {
        self.key.clone()
    }

    /// What stands as manager in `managedFields` of all it writes.
    #[must_use]
    pub fn field_manager(&self) -> String {
        format!("tenure-{}", self.key)
    }

    /// The annotation in which objects carry the term of its last write, where it is fenced by object.
    #[must_use]
    pub fn fence(&self) -> String {
        format!("{FENCE_PREFIX}{}", self.key)
    }

    /// The finalizer that the host sets for it.
    #[must_use]
    pub fn finalizer(&self) -> String {
        format!("tenure.dev/{}", self.key)
    }
}

impl std::fmt::Display for PluginIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.identity)
    }
}

fn has_alphanumeric_ends(name: &str) -> bool {
    let is_alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    is_alphanumeric(name.bytes().next()) && is_alphanumeric(name.bytes().next_back())
}

/// RFC 1123 label: what a namespace is called.
pub(crate) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && !name.contains('.') && is_dns_name(name)
}

/// RFC 1123 subdomain: what most objects are called.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        part.bytes().all(is_allowed) && has_alphanumeric_ends(part)
    };
    name.len() <= 253 && name.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_plugin_goes_by_where_it_was_dropped_in() {
        let plugin = PluginIdentity::config_map("tenure-plugins", "label-propagator").unwrap();
        assert_eq!(plugin.as_str(), "tenure-plugins/label-propagator");
        expect!["label-propagator-3cb906a78792"].assert_eq(&plugin.key());
        expect!["tenure-label-propagator-3cb906a78792"].assert_eq(&plugin.field_manager());
        expect!["tenure.dev/label-propagator-3cb906a78792"].assert_eq(&plugin.finalizer());
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let key = |name: &str| PluginIdentity::config_map("a", name).unwrap().key();
        let (one, other) = (key(&"a".repeat(200)), key(&"a".repeat(201)));
        assert_eq!((one.len(), &one[..47]), (59, &*format!("{}-", "a".repeat(46))));
        assert_ne!(one, other);
    }

    #[test]
    fn the_same_name_elsewhere_is_another_plugin() {
        let in_directory = PluginIdentity::directory("x").unwrap();
        assert_eq!(in_directory.as_str(), "directory/x");
        assert_ne!(in_directory.key(), PluginIdentity::config_map("a", "x").unwrap().key());
    }

    #[test]
    fn an_identity_is_read_as_it_is_shown() {
        for identity in ["tenure-plugins/label-propagator", "directory/My_plugin.1"] {
            assert_eq!(PluginIdentity::parse(identity).unwrap().as_str(), identity);
        }
        for wrong in ["label-propagator", "a/b/c", "/b", "a/", "directory/../b"] {
            assert!(PluginIdentity::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_that_kubernetes_would_refuse_are_refused() {
        for (namespace, name) in
            [("a/b", "x"), ("a.b", "x"), ("", "x"), ("a", ""), ("a", "X"), ("a", "x."), ("a", "-x")]
        {
            assert!(PluginIdentity::config_map(namespace, name).is_err(), "{namespace} {name}");
        }
        for stem in ["", "a b", "../x", ".hidden", "x-"] {
            assert!(PluginIdentity::directory(stem).is_err(), "{stem}");
        }
        assert!(PluginIdentity::config_map("directory", "x").unwrap_err().to_string().contains("use another one"));
    }
}
