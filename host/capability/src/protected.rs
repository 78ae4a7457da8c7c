//! What no grant reaches, and what a grant reaches only by name. Knows no rules.

use crate::{Reason, Request, Verb};

/// The label that makes a ConfigMap a plugin.
pub const PLUGIN_LABEL: &str = "tenure.dev/plugin";
/// The label of the ConfigMaps that hold a large plugin's parts.
pub const PLUGIN_CHUNK_LABEL: &str = "tenure.dev/plugin-chunk";

/// Subresources that are ways around the API's objects: into containers, through nodes and services, to credentials.
pub(crate) const NEVER_SUBRESOURCES: [&str; 5] = ["proxy", "exec", "attach", "portforward", "token"];

/// Groups whose every resource needs an explicit name: RBAC, webhooks and policies, CRDs, APIServices.
const EXPLICIT_GROUPS: [&str; 4] =
    ["rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io"];

/// Resources that need an explicit name: credentials, and all that starts containers, which can mount any of them.
const EXPLICIT_RESOURCES: [(&str, &str); 12] = [
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("apps", "controllerrevisions"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
];

/// The kinds a lock can be kept in.
const LOCK_RESOURCES: [(&str, &str); 3] = [("coordination.k8s.io", "leases"), ("", "configmaps"), ("", "endpoints")];

/// What the host has to be safe from its plugins: the facts behind what is never granted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protected {
    /// Where the host, its settings and its account live, and its locks where they live elsewhere.
    pub host_namespaces: Vec<String>,
    /// Namespace and name of each lock this host campaigns for.
    pub locks: Vec<(String, String)>,
    /// Where plugins are dropped in.
    pub plugin_namespaces: Vec<String>,
}

/// Whether only a rule that names this group and resource reaches it.
pub(crate) fn needs_explicit_name(group: &str, resource: &str) -> bool {
    EXPLICIT_GROUPS.contains(&group) || EXPLICIT_RESOURCES.contains(&(group, resource))
}

impl Protected {
    /// Why no grant can cover `request`, if so.
    pub(crate) fn refusal(&self, request: &Request<'_>) -> Option<Reason> {
        malformed(request)
            .or_else(|| never_subresource(request))
            .or_else(|| plugin_label(request))
            .or_else(|| request.namespace.and_then(|namespace| self.host_namespace(namespace)))
            .or_else(|| self.namespace_object(request))
            .or_else(|| self.lock(request))
            .or_else(|| self.plugin_config_map(request))
    }

    /// Whether no list or watch may show this object.
    pub(crate) fn hides(&self, group: &str, resource: &str, namespace: &str, name: Option<&str>) -> bool {
        let is_lock = name.is_some_and(|name| {
            LOCK_RESOURCES.contains(&(group, resource))
                && self.locks.iter().any(|lock| lock.0 == namespace && lock.1 == name)
        });
        let is_plugin = is_config_map(group, resource) && self.plugin_namespaces.iter().any(|one| one == namespace);
        is_lock || is_plugin || self.is_host(namespace)
    }

    fn is_host(&self, namespace: &str) -> bool {
        self.host_namespaces.iter().any(|one| one == namespace)
    }

    fn host_namespace(&self, namespace: &str) -> Option<Reason> {
        self.is_host(namespace).then(|| Reason::HostNamespace { namespace: namespace.to_owned() })
    }

    /// Whoever may delete a Namespace deletes what is in it.
    fn namespace_object(&self, request: &Request<'_>) -> Option<Reason> {
        if (request.group, request.resource) != ("", "namespaces") || request.verb.only_reads() {
            return None;
        }
        if request.verb == Verb::DeleteCollection {
            return Some(Reason::NamespaceCollection);
        }
        let name = request.name?;
        let is_ours = self.is_host(name)
            || self.plugin_namespaces.iter().any(|one| one == name)
            || self.locks.iter().any(|lock| lock.0 == name);
        is_ours.then(|| Reason::NamespaceObject { name: name.to_owned() })
    }

    fn lock(&self, request: &Request<'_>) -> Option<Reason> {
        if !LOCK_RESOURCES.contains(&(request.group, request.resource)) {
            return None;
        }
        let takes_all = request.verb == Verb::DeleteCollection;
        let is_meant = |(namespace, name): &&(String, String)| {
            request.namespace.is_none_or(|asked| asked == namespace) && (takes_all || request.name == Some(name))
        };
        // A list by name over all namespaces may still show the objects of other namespaces: the filter hides the lock.
        let spans_namespaces = request.spans_namespaces();
        self.locks
            .iter()
            .find(is_meant)
            .filter(|_| !spans_namespaces)
            .map(|(namespace, name)| Reason::Lock { namespace: namespace.clone(), name: name.clone() })
    }

    /// All ConfigMaps there, not only the labelled ones: what a label says is known only after reading.
    fn plugin_config_map(&self, request: &Request<'_>) -> Option<Reason> {
        if !is_config_map(request.group, request.resource) {
            return None;
        }
        let namespace = request.namespace?;
        self.plugin_namespaces
            .iter()
            .any(|one| one == namespace)
            .then(|| Reason::PluginConfigMap { namespace: namespace.to_owned() })
    }
}

fn is_config_map(group: &str, resource: &str) -> bool {
    (group, resource) == ("", "configmaps")
}

fn never_subresource(request: &Request<'_>) -> Option<Reason> {
    let subresource = request.subresource?;
    NEVER_SUBRESOURCES.contains(&subresource).then(|| Reason::Subresource { subresource: subresource.to_owned() })
}

fn plugin_label(request: &Request<'_>) -> Option<Reason> {
    request
        .labels_written
        .iter()
        .map(|(label, _)| label)
        .find(|label| [PLUGIN_LABEL, PLUGIN_CHUNK_LABEL].contains(&label.as_str()))
        .map(|label| Reason::PluginLabel { label: label.clone() })
}

/// Each part becomes one segment of a path. A separator in it would name another object than the one judged here.
fn malformed(request: &Request<'_>) -> Option<Reason> {
    let optional = |part, value: Option<_>| value.map(|value| (part, value));
    let parts = [
        Some(("resource", request.resource)),
        optional("api-group", Some(request.group).filter(|group| !group.is_empty())),
        optional("subresource", request.subresource),
        optional("namespace", request.namespace),
        optional("name", request.name),
    ];
    let stands_in_a_path = |value: &str| {
        !matches!(value, "" | "." | "..")
            && value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'%' | b'?' | b'#'))
    };
    parts
        .into_iter()
        .flatten()
        .find(|(_, value)| !stands_in_a_path(value))
        .map(|(part, value)| Reason::Malformed { part, value: value.to_owned() })
}
