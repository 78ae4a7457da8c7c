//! What a manifest asks beyond its grant. Compares rules with rules; no request is judged here.

use std::collections::HashMap;

use crate::Rule;
use crate::atom::{Atom, atoms, regroup};
use crate::pattern::is_covered;
use crate::protected::needs_explicit_name;
use crate::request::Verb;
use crate::rule::{WILDCARD, split_resource};

/// The part of `requested` that `granted` does not cover, as rules that could be added to the grant as they are. Empty
/// when the grant covers everything.
#[must_use]
pub fn missing(requested: &[Rule], granted: &[Rule]) -> Vec<Rule> {
    let mut covered = HashMap::new();
    let beyond = requested.iter().flat_map(atoms).filter(|atom| {
        let patterns = granted.iter().filter(|rule| covers_but_for_namespace(rule, atom));
        match &atom.namespace {
            None => !patterns.into_iter().any(|rule| rule.namespaces.is_empty()),
            Some(namespace) => {
                let patterns = patterns.flat_map(|rule| &rule.namespaces).map(String::as_str).collect::<Vec<_>>();
                !*covered
                    .entry((namespace.clone(), patterns.clone()))
                    .or_insert_with(|| is_covered(namespace, &patterns))
            }
        }
    });
    let beyond = beyond.collect();
    regroup(beyond)
}

fn covers_but_for_namespace(rule: &Rule, atom: &Atom) -> bool {
    let has = |list: &[String], entry: &str| list.iter().any(|one| one == entry);
    let (object, subresource) = split_resource(&atom.resource);
    let explicit = needs_explicit_name(&atom.group, object);
    let group = has(&rule.api_groups, &atom.group) || (!explicit && has(&rule.api_groups, WILDCARD));
    let by_wildcard = has(&rule.resources, WILDCARD)
        || subresource.is_some_and(|subresource| has(&rule.resources, &format!("{WILDCARD}/{subresource}")));
    let resource = has(&rule.resources, &atom.resource) || (!explicit && by_wildcard);
    // impersonate, bind and escalate are no verbs a plugin can send, so `*` does not stand for them.
    let by_wildcard = has(&rule.verbs, WILDCARD) && atom.verb.parse::<Verb>().is_ok();
    let verb = has(&rule.verbs, &atom.verb) || by_wildcard;
    let name = rule.resource_names.is_empty() || atom.name.as_ref().is_some_and(|name| has(&rule.resource_names, name));
    group && resource && verb && name
}
