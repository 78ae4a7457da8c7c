//! What the API serves under one kind, and the paths to it. Pure: no request is made here.

use std::fmt::{self, Write as _};

/// One kind as the API server serves it, found by discovery (`APIResource` in `meta/v1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Where it is and what its objects are called.
    pub key: ResourceKey,
    /// The verbs the server lists for it: `get`, `list`, `watch`, `create`, ...
    pub verbs: Vec<String>,
    /// Its subresources without the resource in front: `status`, `scale`, ...
    pub subresources: Vec<String>,
}

impl Resource {
    /// Whether the server lists `verb` for it.
    #[must_use]
    pub fn serves(&self, verb: &str) -> bool {
        self.verbs.iter().any(|served| served == verb)
    }
}

/// The part of a [`Resource`] that identifies it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// API group, empty for the core group.
    pub group: String,
    /// API version: `v1`.
    pub version: String,
    /// The name in paths and RBAC rules: `configmaps`.
    pub plural: String,
    /// The name in objects: `ConfigMap`.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl ResourceKey {
    /// `v1`, `apps/v1`: as it stands in an object's `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of a collection, of one object, or of one of its subresources.
    ///
    /// # Errors
    /// When a part cannot stand in a path (empty, `.`, `..`, or with a `/` or `%`), a cluster-scoped resource gets a
    /// namespace, or a name is given for a namespaced resource without its namespace.
    pub fn path(
        &self,
        namespace: Option<&str>,
        name: Option<&str>,
        subresource: Option<&str>,
    ) -> Result<String, InvalidPath> {
        let mut path = String::from(if self.group.is_empty() { "/api" } else { "/apis" });
        if !self.group.is_empty() {
            push_segment(&mut path, "api group", &self.group)?;
        }
        push_segment(&mut path, "api version", &self.version)?;
        match namespace {
            Some(_) if !self.namespaced => return Err(InvalidPath::NotNamespaced { kind: self.kind.clone() }),
            None if self.namespaced && name.is_some() => {
                return Err(InvalidPath::NamespaceMissing { kind: self.kind.clone() });
            }
            Some(namespace) => {
                path.push_str("/namespaces");
                push_segment(&mut path, "namespace", namespace)?;
            }
            None => {}
        }
        push_segment(&mut path, "resource", &self.plural)?;
        if let Some(name) = name {
            push_segment(&mut path, "name", name)?;
        }
        if let Some(subresource) = subresource {
            if name.is_none() {
                return Err(InvalidPath::NameMissing { subresource: subresource.to_owned() });
            }
            push_segment(&mut path, "subresource", subresource)?;
        }
        Ok(path)
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plural)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// One watch: a resource, in one namespace or in all. Selectors are the subscribers' own, applied to the shared cache.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchKey {
    /// What is watched.
    pub resource: ResourceKey,
    /// Where; `None` is every namespace, or the cluster itself for a cluster-scoped resource.
    pub namespace: Option<String>,
}

impl WatchKey {
    /// A watch of `resource` in every namespace.
    #[must_use]
    pub const fn everywhere(resource: ResourceKey) -> Self {
        Self { resource, namespace: None }
    }

    /// The path of the collection it watches.
    ///
    /// # Errors
    /// As [`ResourceKey::path`].
    pub fn path(&self) -> Result<String, InvalidPath> {
        self.resource.path(self.namespace.as_deref(), None, None)
    }
}

impl fmt::Display for WatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.resource.fmt(f)?;
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}

/// A request that cannot be put into a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// A part that would change what the path means.
    #[error("{part} {value:?} cannot stand in a path: it must not be empty, `.` or `..`, nor contain `/` or `%`")]
    Segment {
        /// Which part.
        part: &'static str,
        /// What it was.
        value: String,
    },
    /// A namespace for something that has none.
    #[error("{kind} is cluster-scoped: leave the namespace out")]
    NotNamespaced {
        /// The kind.
        kind: String,
    },
    /// No namespace for an object that lives in one.
    #[error("{kind} is namespaced: name the object's namespace")]
    NamespaceMissing {
        /// The kind.
        kind: String,
    },
    /// A subresource of no object.
    #[error("subresource {subresource:?} needs the name of the object it belongs to")]
    NameMissing {
        /// The subresource.
        subresource: String,
    },
    /// The verb needs an object's name.
    #[error("{verb} needs the name of the object")]
    Unnamed {
        /// The verb.
        verb: &'static str,
    },
    /// The API server's address and this path do not make a request.
    #[error("{url:?} is not a valid request target")]
    Target {
        /// Path and query.
        url: String,
    },
}

/// Appends `/value`, so encoded that a name chosen by a guest stays one segment (the rule of `path.IsValidPathSegmentName`
/// in apimachinery).
fn push_segment(path: &mut String, part: &'static str, value: &str) -> Result<(), InvalidPath> {
    if value.is_empty() || value == "." || value == ".." || value.contains(['/', '%']) {
        return Err(InvalidPath::Segment { part, value: value.to_owned() });
    }
    path.push('/');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,;=".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config_maps() -> ResourceKey {
        ResourceKey {
            group: String::new(),
            version: "v1".into(),
            plural: "configmaps".into(),
            kind: "ConfigMap".into(),
            namespaced: true,
        }
    }

    fn cluster_roles() -> ResourceKey {
        ResourceKey {
            group: "rbac.authorization.k8s.io".into(),
            version: "v1".into(),
            plural: "clusterroles".into(),
            kind: "ClusterRole".into(),
            namespaced: false,
        }
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let key = config_maps();
        assert_eq!(key.path(None, None, None).unwrap(), "/api/v1/configmaps");
        assert_eq!(key.path(Some("a"), Some("b"), None).unwrap(), "/api/v1/namespaces/a/configmaps/b");
        assert_eq!(
            cluster_roles().path(None, Some("system:node"), Some("status")).unwrap(),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node/status"
        );
    }

    #[test]
    fn a_guests_name_cannot_leave_its_segment() {
        let key = config_maps();
        for name in ["", ".", "..", "../secrets/x", "a/b", "a%2fb"] {
            assert!(matches!(key.path(Some("ns"), Some(name), None), Err(InvalidPath::Segment { .. })), "{name:?}");
        }
        assert_eq!(
            key.path(Some("ns"), Some("a?watch=1#x y"), None).unwrap(),
            "/api/v1/namespaces/ns/configmaps/a%3Fwatch=1%23x%20y"
        );
    }

    #[test]
    fn a_namespace_must_fit_the_scope() {
        assert!(matches!(cluster_roles().path(Some("a"), Some("b"), None), Err(InvalidPath::NotNamespaced { .. })));
        assert!(matches!(config_maps().path(None, Some("b"), None), Err(InvalidPath::NamespaceMissing { .. })));
        assert!(matches!(config_maps().path(Some("a"), None, Some("status")), Err(InvalidPath::NameMissing { .. })));
    }
}
