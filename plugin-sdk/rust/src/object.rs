//! Kinds, references and the metadata every object has. Owns names and nothing that talks to a cluster.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// A kind as manifests write it: `v1` and `ConfigMap`, `apps/v1` and `Deployment`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kind {
    /// `v1`, `apps/v1`, ...
    pub api_version: String,
    /// `ConfigMap`, `Deployment`, ...
    pub kind: String,
}

impl Kind {
    /// A kind by its API version and name.
    #[must_use]
    pub fn new(api_version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { api_version: api_version.into(), kind: kind.into() }
    }

    /// `v1`, `Namespace`.
    #[must_use]
    pub fn namespace() -> Self {
        Self::new("v1", "Namespace")
    }

    /// `v1`, `ConfigMap`.
    #[must_use]
    pub fn config_map() -> Self {
        Self::new("v1", "ConfigMap")
    }

    /// Whether this is the given kind.
    #[must_use]
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        self.api_version == api_version && self.kind == kind
    }

    /// The object of this kind with this name in this namespace.
    #[must_use]
    pub fn named(&self, namespace: impl Into<String>, name: impl Into<String>) -> ObjectRef {
        ObjectRef { kind: self.clone(), namespace: Some(namespace.into()), name: name.into() }
    }

    /// The cluster-scoped object of this kind with this name.
    #[must_use]
    pub fn cluster_scoped(&self, name: impl Into<String>) -> ObjectRef {
        ObjectRef { kind: self.clone(), namespace: None, name: name.into() }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.api_version, self.kind)
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// What it is.
    pub kind: Kind,
    /// Where it is; absent for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Its name. In `create`, one ending in `-` is a `generateName`.
    pub name: String,
}

impl ObjectRef {
    /// A ConfigMap.
    #[must_use]
    pub fn config_map(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Kind::config_map().named(namespace, name)
    }

    /// A Namespace.
    #[must_use]
    pub fn namespace(name: impl Into<String>) -> Self {
        Kind::namespace().cluster_scoped(name)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(formatter, "{} {namespace}/{}", self.kind.kind, self.name),
            None => write!(formatter, "{} {}", self.kind.kind, self.name),
        }
    }
}

/// The part of `metadata` (`ObjectMeta`) that plugins commonly need. Read with it, write without it: what it leaves out
/// would be lost in a `replace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// The object's name.
    pub name: String,
    /// The object's namespace; absent for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// What tells this object from an earlier or later one of the same name.
    pub uid: String,
    /// Changes with every stored write; opaque.
    pub resource_version: String,
    /// Grows when the specification changes; 0 where the kind has none.
    pub generation: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What must be done before a deletion completes.
    pub finalizers: Vec<String>,
    /// When deletion was asked for, as RFC 3339; absent while the object is to stay.
    pub deletion_timestamp: Option<String>,
}

impl Metadata {
    /// Whether the object is being deleted and only finalizers hold it.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// Any object, of which only the metadata matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PartialObject {
    /// The object's metadata.
    pub metadata: Metadata,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_as_people_write_them() {
        assert_eq!(ObjectRef::config_map("shop", "prices").to_string(), "ConfigMap shop/prices");
        assert_eq!(ObjectRef::namespace("shop").to_string(), "Namespace shop");
        assert_eq!(Kind::new("apps/v1", "Deployment").to_string(), "apps/v1 Deployment");
    }

    #[test]
    fn metadata_is_read_from_any_object() {
        let object: PartialObject = serde_json::from_str(
            r#"{"kind":"Pod","metadata":{"name":"a","labels":{"team":"web"},"deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{}}"#,
        )
        .expect("a Pod");
        assert_eq!(object.metadata.labels["team"], "web");
        assert!(object.metadata.is_deleting());
    }
}
