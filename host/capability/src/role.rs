//! The RBAC that serves a grant: what the host's own account needs so that its plugins can use what they are granted.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Rule;
use crate::atom::{Atom, atoms, regroup};
use crate::request::Verb;
use crate::rule::WILDCARD;

/// One rule of a Role or ClusterRole (`rbac.authorization.k8s.io/v1`). Serializes as it stands in YAML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// `apiGroups`.
    pub api_groups: Vec<String>,
    /// `resources`.
    pub resources: Vec<String>,
    /// `verbs`.
    pub verbs: Vec<String>,
    /// `resourceNames`; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
}

/// Why a rule cannot be kept to namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum ClusterWide {
    /// The grant is for objects that are in no namespace.
    #[error("for objects that are in no namespace")]
    ClusterScoped,
    /// The grant is for a pattern, and RBAC has none.
    #[error("RBAC has no patterns, and the grant is for namespaces {0:?}")]
    Pattern(String),
}

/// A rule that has to stand in a ClusterRole with a ClusterRoleBinding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRule {
    /// The rule.
    pub rule: PolicyRule,
    /// Why.
    pub why: Vec<ClusterWide>,
}

impl PolicyRule {
    /// Whether this gives the host's account more than any plugin gets from the host: `*` reaches Secrets, Pods and RBAC
    /// in Kubernetes, but not in a grant.
    #[must_use]
    pub fn reaches_beyond_the_grant(&self) -> bool {
        let has_wildcard = |list: &[String]| list.iter().any(|entry| entry == WILDCARD || entry.starts_with("*/"));
        has_wildcard(&self.api_groups) || has_wildcard(&self.resources)
    }
}

/// The roles that serve a grant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    /// One Role a namespace.
    pub namespaced: BTreeMap<String, Vec<PolicyRule>>,
    /// One ClusterRole.
    pub cluster: Vec<ClusterRule>,
}

/// The smallest roles that serve all of `granted`: a Role where a namespace is named, a ClusterRole where RBAC knows no
/// other way. What a ClusterRole gives already is not repeated in a Role.
#[must_use]
pub fn smallest_roles(granted: &[Rule]) -> Roles {
    let mut cluster: Vec<(Atom, ClusterWide)> = Vec::new();
    let mut namespaced: BTreeMap<String, Vec<Atom>> = BTreeMap::new();
    for mut atom in granted.iter().flat_map(atoms).filter(has_effect) {
        match atom.namespace.take() {
            None => cluster.push((atom, ClusterWide::ClusterScoped)),
            Some(pattern) if pattern.contains('*') => cluster.push((atom, ClusterWide::Pattern(pattern))),
            Some(namespace) => namespaced.entry(namespace).or_default().push(atom),
        }
    }
    let given_everywhere = cluster.iter().map(|(atom, _)| atom.clone()).collect::<Vec<_>>();
    let mut roles = Roles::default();
    for (namespace, atoms) in namespaced {
        let own = atoms.iter().filter(|atom| !given_everywhere.iter().any(|given| contains(given, atom)));
        let rules = policy_rules(without_repetitions(own.cloned().collect()));
        if !rules.is_empty() {
            roles.namespaced.insert(namespace, rules);
        }
    }
    roles.cluster =
        policy_rules(without_repetitions(given_everywhere)).into_iter().map(|rule| because(rule, &cluster)).collect();
    roles
}

/// RBAC ignores `resourceNames` rules for what has no name yet.
fn has_effect(atom: &Atom) -> bool {
    atom.name.is_none() || atom.verb.parse::<Verb>().map_or(true, |verb| verb.can_be_held_to_names(true))
}

/// Whether `wide` says all that `narrow` says; their namespaces are not looked at.
fn contains(wide: &Atom, narrow: &Atom) -> bool {
    let resource = wide.resource == WILDCARD || wide.resource == narrow.resource;
    let group = wide.group == WILDCARD || wide.group == narrow.group;
    group && resource && wide.verb == narrow.verb && (wide.name.is_none() || wide.name == narrow.name)
}

fn without_repetitions(mut atoms: Vec<Atom>) -> Vec<Atom> {
    let mut kept: Vec<Atom> = Vec::new();
    // The widest first, so that what they contain falls away whatever the order of the grants was.
    atoms.sort_by_key(|atom| (atom.name.is_some(), atom.group != WILDCARD, atom.resource != WILDCARD));
    for atom in atoms {
        if !kept.iter().any(|wide| contains(wide, &atom)) {
            kept.push(atom);
        }
    }
    kept
}

fn policy_rules(atoms: Vec<Atom>) -> Vec<PolicyRule> {
    let policy_rule = |rule: Rule| PolicyRule {
        api_groups: rule.api_groups,
        resources: rule.resources,
        verbs: rule.verbs.into_iter().flat_map(spelled_out).collect(),
        resource_names: rule.resource_names,
    };
    regroup(atoms).into_iter().map(policy_rule).collect()
}

/// In RBAC `*` stands for impersonate, bind and escalate as well.
fn spelled_out(verb: String) -> Vec<String> {
    if verb == WILDCARD { Verb::ALL.map(|verb| verb.as_str().to_owned()).to_vec() } else { vec![verb] }
}

fn because(rule: PolicyRule, cluster: &[(Atom, ClusterWide)]) -> ClusterRule {
    let has = |list: &[String], entry: &String| list.iter().any(|one| one == entry);
    let is_part = |atom: &Atom| has(&rule.api_groups, &atom.group) && has(&rule.resources, &atom.resource);
    let mut why = cluster.iter().filter(|(atom, _)| is_part(atom)).map(|(_, why)| why.clone()).collect::<Vec<_>>();
    why.sort();
    why.dedup();
    ClusterRule { rule, why }
}
