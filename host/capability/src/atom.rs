//! Rules taken apart into single permissions and put together again. Judges nothing.

use std::collections::HashMap;
use std::hash::Hash;

use crate::rule::WILDCARD;
use crate::{Rule, Verb};

/// One permission: what a rule with one entry in each list says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Atom {
    pub(crate) group: String,
    pub(crate) resource: String,
    /// Never `*`: that is taken apart.
    pub(crate) verb: String,
    /// A pattern; `None` for objects in no namespace.
    pub(crate) namespace: Option<String>,
    /// `None` for any.
    pub(crate) name: Option<String>,
}

/// The single permissions of a rule, in its order.
pub(crate) fn atoms(rule: &Rule) -> Vec<Atom> {
    let verbs = rule.verbs.iter().flat_map(|verb| match verb.as_str() {
        WILDCARD => Verb::ALL.map(|verb| verb.as_str().to_owned()).to_vec(),
        verb => vec![verb.to_owned()],
    });
    let verbs = verbs.collect::<Vec<_>>();
    let mut atoms = Vec::new();
    for namespace in or_none(&rule.namespaces) {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                for name in or_none(&rule.resource_names) {
                    atoms.extend(verbs.iter().map(|verb| Atom {
                        group: group.clone(),
                        resource: resource.clone(),
                        verb: verb.clone(),
                        namespace: namespace.clone(),
                        name: name.clone(),
                    }));
                }
            }
        }
    }
    atoms
}

fn or_none(list: &[String]) -> Vec<Option<String>> {
    if list.is_empty() { vec![None] } else { list.iter().cloned().map(Some).collect() }
}

/// Rules that say exactly what `atoms` say, in few rules and a stable order.
pub(crate) fn regroup(atoms: Vec<Atom>) -> Vec<Rule> {
    let alone = |atom: Atom| Rule {
        api_groups: vec![atom.group],
        resources: vec![atom.resource],
        verbs: vec![atom.verb],
        namespaces: atom.namespace.into_iter().collect(),
        resource_names: atom.name.into_iter().collect(),
    };
    let mut rules = merge(atoms.into_iter().map(alone).collect(), |rule| &mut rule.verbs);
    rules.iter_mut().for_each(fold_verbs);
    rules = merge(rules, |rule| &mut rule.resources);
    rules = merge(rules, |rule| &mut rule.api_groups);
    rules = merge(rules, |rule| &mut rule.resource_names);
    merge(rules, |rule| &mut rule.namespaces)
}

/// All verbs of a plugin are written as `*`.
fn fold_verbs(rule: &mut Rule) {
    let has_all = Verb::ALL.iter().all(|verb| rule.verbs.iter().any(|one| one == verb.as_str()));
    if has_all {
        rule.verbs.retain(|one| one.parse::<Verb>().is_err());
        rule.verbs.insert(0, WILDCARD.to_owned());
    }
}

/// Joins rules that are alike but for one list. An empty list means something else than a member, so it joins only its like.
fn merge(rules: Vec<Rule>, list: impl Fn(&mut Rule) -> &mut Vec<String>) -> Vec<Rule> {
    let mut merged: Vec<Rule> = Vec::new();
    let mut places: HashMap<(Rule, bool), usize> = HashMap::new();
    for mut rule in rules {
        let entries = std::mem::take(list(&mut rule));
        let key = (rule.clone(), entries.is_empty());
        let place = *places.entry(key).or_insert_with(|| {
            merged.push(rule);
            merged.len() - 1
        });
        let known = list(&mut merged[place]);
        for entry in entries {
            if !known.contains(&entry) {
                known.push(entry);
            }
        }
    }
    merged
}
