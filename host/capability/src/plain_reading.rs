//! Grants read once more: sentence by sentence as docs/plugins.md has them, without the order and the shortcuts of the real
//! reading. What the properties and the fuzz target are held against. Behind the feature `plain-reading`.

use crate::{Protected, Request, Rule, Verb};

/// API groups of which some are granted by name only.
pub const GROUPS: [&str; 4] = ["", "apps", "rbac.authorization.k8s.io", "example.com"];
/// Resources of which some are granted by name only.
pub const RESOURCES: [&str; 8] =
    ["configmaps", "secrets", "pods", "deployments", "roles", "namespaces", "leases", "widgets"];
/// Subresources of which one is never granted.
pub const SUBRESOURCES: [&str; 3] = ["status", "exec", "scale"];
/// Namespaces, the host's, the plugins' and the locks' among them.
pub const NAMESPACES: [&str; 6] = ["team-a", "team-b", "prod", "tenure-system", "tenure-plugins", "locks"];
/// Patterns of namespaces.
pub const PATTERNS: [&str; 6] = ["*", "team-*", "*-a", "prod", "tenure-system", "t*-*"];
/// Objects' names, the lock's among them.
pub const NAMES: [&str; 4] = ["one", "two", "lock", "tenure-system"];
/// Verbs of rules.
pub const VERBS: [&str; 6] = ["get", "list", "create", "patch", "deletecollection", "*"];

/// What is protected in this reading.
#[must_use]
pub fn protected() -> Protected {
    Protected {
        host_namespaces: vec!["tenure-system".to_owned()],
        locks: vec![("locks".to_owned(), "lock".to_owned()), ("tenure-system".to_owned(), "lock".to_owned())],
        plugin_namespaces: vec!["tenure-plugins".to_owned()],
    }
}

/// Whether the rules of a grant allow a request.
#[must_use]
pub fn allows(grant: &[Rule], asked: &Request<'_>) -> bool {
    let Request { verb, group, resource, subresource, namespace, name, labels_written } = *asked;
    let has = |list: &[String], word: &str| list.iter().any(|one| one == word);
    let reads = ["get", "list", "watch"].contains(&verb.as_str());
    let many = ["list", "watch"].contains(&verb.as_str());
    // Never, whatever the grant says.
    let never = [
        subresource.is_some_and(|sub| ["proxy", "exec", "attach", "portforward", "token"].contains(&sub)),
        !labels_written.is_empty(),
        namespace == Some("tenure-system"),
        namespace == Some("tenure-plugins") && group.is_empty() && resource == "configmaps",
        group.is_empty() && resource == "configmaps" && namespace == Some("locks") && name == Some("lock"),
        group.is_empty()
            && resource == "configmaps"
            && verb == Verb::DeleteCollection
            && (namespace == Some("locks") || namespace.is_none()),
        group.is_empty() && resource == "configmaps" && namespace.is_none() && name == Some("lock") && !many,
        group.is_empty() && resource == "namespaces" && !reads && name == Some("tenure-system"),
        group.is_empty() && resource == "namespaces" && verb == Verb::DeleteCollection,
    ];
    if never.contains(&true) {
        return false;
    }
    let explicit = matches!(
        (group, resource),
        ("", "secrets" | "serviceaccounts" | "pods" | "podtemplates" | "replicationcontrollers")
            | ("apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets" | "controllerrevisions")
            | ("batch", "jobs" | "cronjobs")
            | (
                "rbac.authorization.k8s.io"
                    | "admissionregistration.k8s.io"
                    | "apiextensions.k8s.io"
                    | "apiregistration.k8s.io",
                _
            )
    );
    let token = subresource.map_or(resource.to_owned(), |sub| format!("{resource}/{sub}"));
    grant.iter().any(|rule| {
        let by_star = subresource.is_some_and(|sub| has(&rule.resources, &format!("*/{sub}")));
        let in_group = has(&rule.api_groups, group) || (!explicit && has(&rule.api_groups, "*"));
        let of_resource = has(&rule.resources, &token) || (!explicit && (by_star || has(&rule.resources, "*")));
        let with_verb = has(&rule.verbs, verb.as_str()) || has(&rule.verbs, "*");
        let unnamed = rule.resource_names.is_empty();
        let nameless = [Verb::Create, Verb::DeleteCollection].contains(&verb) || name.is_none();
        let by_name = unnamed || (!nameless && name.is_some_and(|name| has(&rule.resource_names, name)));
        let in_namespace = match namespace {
            Some(namespace) => rule.namespaces.iter().any(|pattern| {
                globset::Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(namespace))
            }),
            None => many || rule.namespaces.is_empty(),
        };
        in_group && of_resource && with_verb && by_name && in_namespace
    })
}
