//! From method and path to what is asked for.
//!
//! Paths only: whether the thing exists, or the verb is served for it, is decided by those who serve it.

use std::sync::Arc;

use http::Method;
use percent::decode;

use crate::query::Query;
use crate::registry::Served;
use crate::resource::Resource;

/// Where a request points.
#[derive(Debug)]
pub(crate) enum Target {
    /// Objects of a served resource.
    Objects(ObjectPath),
    /// A resource path of a kind that is not served.
    Unserved(UnservedPath),
    /// Anything else: discovery, version, health.
    Document(String),
}

#[derive(Debug)]
pub(crate) struct ObjectPath {
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

#[derive(Debug)]
pub(crate) struct UnservedPath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// Percent-decoding of one path segment.
mod percent {
    pub(super) fn decode(segment: &str) -> String {
        if !segment.contains('%') {
            return segment.to_owned();
        }
        let bytes = segment.as_bytes();
        let mut plain = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) if bytes[at] == b'%' => {
                    plain.push(byte);
                    at += 3;
                }
                _ => {
                    plain.push(bytes[at]);
                    at += 1;
                }
            }
        }
        String::from_utf8_lossy(&plain).into_owned()
    }
}

impl Target {
    pub(crate) fn parse(served: &Served, path: &str) -> Self {
        let segments: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        // An empty segment is a name that nothing has.
        let doubled = path.trim_end_matches('/').contains("//");
        let (group, version, rest) = match segments.as_slice() {
            _ if doubled => return Target::Document(path.to_owned()),
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => return Target::Document(path.to_owned()),
        };
        let (namespace, rest) = match rest {
            // `namespaces/x` and its subresources are the Namespace itself.
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            _ => (None, rest),
        };
        let name = rest.get(1).map(|name| (*name).to_owned());
        let subresource = (rest.len() > 2).then(|| rest[2..].join("/"));
        match served.find(group, version, rest[0]) {
            // A namespaced object without its namespace, or the reverse, is a path the API does not have.
            Some(resource) if resource.namespaced == namespace.is_some() || (resource.namespaced && name.is_none()) => {
                Target::Objects(ObjectPath { resource: Arc::clone(resource), namespace, name, subresource })
            }
            _ => Target::Unserved(UnservedPath {
                group: group.to_owned(),
                version: version.to_owned(),
                resource: rest[0].to_owned(),
                namespace,
                name,
                subresource,
            }),
        }
    }
}

/// The verb of a request for objects, as RBAC names it; `None` for a method without one.
pub(crate) fn verb(method: &Method, named: bool, query: &Query) -> Option<&'static str> {
    Some(match (method, named) {
        (&Method::GET, true) => "get",
        (&Method::GET, false) if query.flag("watch") => "watch",
        (&Method::GET, false) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        _ => return None,
    })
}

/// The verb of a request that is not for objects: the method's name.
pub(crate) fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn describe(path: &str) -> String {
        match Target::parse(&Registry::default().served(), path) {
            Target::Objects(path) => format!(
                "{:?} {} {} {}",
                path.resource,
                path.namespace.as_deref().unwrap_or("-"),
                path.name.as_deref().unwrap_or("-"),
                path.subresource.as_deref().unwrap_or("-")
            ),
            Target::Unserved(path) => format!("unserved {}/{}/{}", path.group, path.version, path.resource),
            Target::Document(path) => format!("document {path}"),
        }
    }

    #[test]
    fn each_form_of_path_is_told_apart() {
        for (path, expected) in [
            ("/api/v1/namespaces", "v1/namespaces - - -"),
            ("/api/v1/namespaces/a", "v1/namespaces - a -"),
            ("/api/v1/namespaces/a/finalize", "v1/namespaces - a finalize"),
            ("/api/v1/namespaces/a/configmaps", "v1/configmaps a - -"),
            ("/api/v1/namespaces/a/configmaps/b%2Ec", "v1/configmaps a b.c -"),
            ("/api/v1/configmaps", "v1/configmaps - - -"),
            ("/api/v1/namespaces/a/pods/b/status", "v1/pods a b status"),
            ("/apis/coordination.k8s.io/v1/namespaces/a/leases/b", "coordination.k8s.io/v1/leases a b -"),
            ("/apis/events.k8s.io/v1/events", "events.k8s.io/v1/events - - -"),
            ("/api/v1/configmaps/b", "unserved /v1/configmaps"),
            ("/apis/apps/v1/namespaces/a/deployments", "apps/v1/deployments a - -"),
            ("/apis/example.org/v1/namespaces/a/widgets", "unserved example.org/v1/widgets"),
            ("/apis/coordination.k8s.io", "document /apis/coordination.k8s.io"),
            ("/healthz", "document /healthz"),
        ] {
            assert_eq!(describe(path), expected, "{path}");
        }
    }
}
