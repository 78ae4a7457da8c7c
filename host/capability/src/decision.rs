//! The answer to a request, with its reason in one sentence. Decides nothing.

use crate::Verb;

/// Whether a request may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a request whose decision nobody looked at must not go out"]
pub enum Decision {
    /// A rule of the grant covers it and nothing forbids it.
    Allow,
    /// It must not go out.
    Deny(Reason),
}

impl Decision {
    /// Whether the request may go out.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow)
    }
}

/// Why a request may not go out. Displays as one sentence that says what to change, where anything can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The grant has no rules.
    #[error("this plugin is granted nothing; add a [[grant]] that matches it to the host's settings")]
    NothingGranted,
    /// No rule names this group and resource.
    #[error("no granted rule covers {what}; add its api-group and resource to a [[grant.permission]]")]
    Resource {
        /// The resource, with its group.
        what: String,
    },
    /// Rules name the resource, but only through `*`.
    #[error("{what} is never covered by \"*\"; a [[grant.permission]] has to name its api-group and resource")]
    ExplicitNameOnly {
        /// The resource, with its group.
        what: String,
    },
    /// A rule covers the resource, but not this verb.
    #[error("{verb} is not among the granted verbs for {what}; add it to a [[grant.permission]]")]
    Verb {
        /// What was asked for.
        verb: Verb,
        /// The resource, with its group.
        what: String,
    },
    /// Rules cover the verb, but in other namespaces.
    #[error(
        "{verb} of {what} is not granted in namespace {namespace:?}; add a pattern that matches it to `namespaces`"
    )]
    Namespace {
        /// What was asked for.
        verb: Verb,
        /// The resource, with its group.
        what: String,
        /// Where.
        namespace: String,
    },
    /// Rules cover the verb, but only inside namespaces.
    #[error(
        "{verb} of {what} without a namespace is not granted; a cluster-scoped object needs a [[grant.permission]] that \
         leaves `namespaces` out"
    )]
    ClusterScope {
        /// What was asked for.
        verb: Verb,
        /// The resource, with its group.
        what: String,
    },
    /// Rules cover the verb, but only for named objects, and this request names none that could be held against them.
    #[error(
        "{verb} of {what} is granted for `resource-names` only, and these cannot cover it; it needs a rule without them"
    )]
    NamesOnly {
        /// What was asked for.
        verb: Verb,
        /// The resource, with its group.
        what: String,
    },
    /// Rules cover the verb, but for other names.
    #[error("{verb} of {what} is not granted for an object named {name:?}; add it to `resource-names`")]
    Name {
        /// What was asked for.
        verb: Verb,
        /// The resource, with its group.
        what: String,
        /// The object's name.
        name: String,
    },
    /// A part of the request cannot stand in the path of an API request.
    #[error("{part} {value:?} cannot stand in a request to the Kubernetes API")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What it was.
        value: String,
    },
    /// The host's own namespace.
    #[error("namespace {namespace:?} is the host's own; no grant reaches into it")]
    HostNamespace {
        /// The host's namespace.
        namespace: String,
    },
    /// A Namespace object that the host, its plugins or its locks live in.
    #[error("Namespace {name:?} holds the host, its plugins or its locks; no grant lets a plugin change or delete it")]
    NamespaceObject {
        /// The namespace's name.
        name: String,
    },
    /// Namespace objects as a collection, which holds the host's own.
    #[error("all Namespaces at once would be the host's own too; no grant lets a plugin delete them but one by one")]
    NamespaceCollection,
    /// The object of a lock, or a collection that holds one.
    #[error("{namespace}/{name} is a lock of this host; no grant reaches it")]
    Lock {
        /// The lock's namespace.
        namespace: String,
        /// The lock's name.
        name: String,
    },
    /// ConfigMaps where plugins are dropped in.
    #[error("ConfigMaps in namespace {namespace:?} are plugins, their chunks and settings; no grant reaches them")]
    PluginConfigMap {
        /// A plugin namespace.
        namespace: String,
    },
    /// A label that makes an object a plugin.
    #[error("label {label:?} makes an object a plugin; no grant lets a plugin write it")]
    PluginLabel {
        /// The label's key.
        label: String,
    },
    /// A subresource that reaches past the API's objects.
    #[error("subresource {subresource:?} reaches into nodes, containers or credentials; no grant covers it")]
    Subresource {
        /// The subresource.
        subresource: String,
    },
}
