//! One rule of a grant or a manifest, and what makes it a valid one. Judges no requests.

use serde::{Deserialize, Serialize};

use crate::protected::NEVER_SUBRESOURCES;
use crate::request::Verb;

/// Entries in one list of a rule. More is a generated or hostile manifest; rules can be split.
const ENTRIES_MAX: usize = 64;
/// Combinations of group, resource, namespace and name in one rule. Bounds the work of comparing a manifest to a grant.
const COMBINATIONS_MAX: usize = 1024;
/// Verbs that no request of a plugin carries, but that RBAC knows. Never reached through `*`.
const SPECIAL_VERBS: [&str; 3] = ["impersonate", "bind", "escalate"];

/// What stands for everything in `api-groups`, `resources`, `verbs` and `namespaces`.
pub(crate) const WILDCARD: &str = "*";

/// One rule. Reads like an RBAC rule, with namespaces. In a manifest it is a request, in the host's settings a grant.
///
/// Displays as the TOML that grants it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rule {
    /// API groups, `""` for the core group, `"*"` for all.
    pub api_groups: Vec<String>,
    /// Plural resources; `"configmaps/status"` for a subresource, `"*/status"` for that of every resource, `"*"` for all
    /// resources and subresources but those that need an explicit name.
    pub resources: Vec<String>,
    /// Verbs, `"*"` for all that a plugin can send.
    pub verbs: Vec<String>,
    /// The namespaces it is for, `*` standing for any characters. Empty: objects that are in no namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The names of the objects it is for, without patterns. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
}

/// A rule that cannot be granted or requested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// A list that must not be empty.
    #[error("`{field}` is empty, so the rule covers nothing; {mend}")]
    Empty {
        /// The list.
        field: &'static str,
        /// What to write.
        mend: &'static str,
    },
    /// An entry that cannot stand there.
    #[error("{entry:?} cannot stand in `{field}`: {problem}")]
    Entry {
        /// The list.
        field: &'static str,
        /// The entry.
        entry: String,
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },
    /// A word that is no verb.
    #[error("{entry:?} in `verbs` is no verb a plugin can send; the verbs are {known}, or \"*\"", known = Verb::ALL.map(Verb::as_str).join(", "))]
    Verb {
        /// The entry.
        entry: String,
    },
    /// A subresource no grant can cover.
    #[error(
        "{entry:?} in `resources` can never be granted: {subresource} reaches into nodes, containers or credentials"
    )]
    NeverGranted {
        /// The entry.
        entry: String,
        /// Its subresource.
        subresource: String,
    },
    /// Too large to compare.
    #[error("the rule has {count} {what}, and at most {max} are allowed; split it into several rules")]
    TooLarge {
        /// What there is too much of.
        what: String,
        /// How much there is.
        count: usize,
        /// How much there may be.
        max: usize,
    },
}

impl Rule {
    /// Whether this rule says something that can be held against requests.
    ///
    /// # Errors
    /// When a list is empty that must not be, an entry cannot stand in its list, or the rule is too large.
    pub fn check(&self) -> Result<(), InvalidRule> {
        self.check_size()?;
        let empty = |field, mend| Err(InvalidRule::Empty { field, mend });
        if self.api_groups.is_empty() {
            return empty("api-groups", "write [\"\"] for the core group");
        }
        if self.resources.is_empty() {
            return empty("resources", "write plural names, such as [\"configmaps\"]");
        }
        if self.verbs.is_empty() {
            return empty("verbs", "write verbs, such as [\"get\", \"list\", \"watch\"]");
        }
        self.api_groups.iter().try_for_each(|group| check_group(group))?;
        self.resources.iter().try_for_each(|resource| check_resource(resource))?;
        self.namespaces.iter().try_for_each(|pattern| check_namespace(pattern))?;
        self.resource_names.iter().try_for_each(|name| check_name(name))?;
        for verb in &self.verbs {
            let known = verb == WILDCARD || SPECIAL_VERBS.contains(&verb.as_str()) || verb.parse::<Verb>().is_ok();
            if !known {
                return Err(InvalidRule::Verb { entry: verb.clone() });
            }
        }
        Ok(())
    }

    fn check_size(&self) -> Result<(), InvalidRule> {
        let lists = [
            ("api-groups", &self.api_groups),
            ("resources", &self.resources),
            ("verbs", &self.verbs),
            ("namespaces", &self.namespaces),
            ("resource-names", &self.resource_names),
        ];
        for (field, list) in lists {
            if list.len() > ENTRIES_MAX {
                let what = format!("entries in `{field}`");
                return Err(InvalidRule::TooLarge { what, count: list.len(), max: ENTRIES_MAX });
            }
        }
        let factors = [&self.api_groups, &self.resources, &self.namespaces, &self.resource_names];
        let count = factors.into_iter().map(|list| list.len().max(1)).product::<usize>();
        if count > COMBINATIONS_MAX {
            let what = "combinations of group, resource, namespace and name".to_owned();
            return Err(InvalidRule::TooLarge { what, count, max: COMBINATIONS_MAX });
        }
        Ok(())
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What stands in a checked rule needs no escape that TOML and Rust write differently.
        writeln!(f, "[[grant.permission]]")?;
        writeln!(f, "api-groups = {:?}", self.api_groups)?;
        writeln!(f, "resources = {:?}", self.resources)?;
        write!(f, "verbs = {:?}", self.verbs)?;
        for (key, list) in [("namespaces", &self.namespaces), ("resource-names", &self.resource_names)] {
            if !list.is_empty() {
                write!(f, "\n{key} = {list:?}")?;
            }
        }
        Ok(())
    }
}

fn check_group(group: &str) -> Result<(), InvalidRule> {
    let valid = group == WILDCARD || group.bytes().all(is_dns_byte);
    let problem = "an API group is a DNS name without its version, such as \"apps\", or \"*\" alone";
    entry(valid, "api-groups", group, problem)
}

fn check_resource(resource: &str) -> Result<(), InvalidRule> {
    let (object, subresource) = split_resource(resource);
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_dns_byte);
    let valid = (object == WILDCARD || is_word(object)) && subresource.is_none_or(is_word);
    let problem =
        "write a plural resource (\"configmaps\"), a subresource (\"configmaps/status\", \"*/status\") or \"*\"";
    entry(valid, "resources", resource, problem)?;
    match subresource {
        Some(subresource) if NEVER_SUBRESOURCES.contains(&subresource) => {
            Err(InvalidRule::NeverGranted { entry: resource.to_owned(), subresource: subresource.to_owned() })
        }
        _ => Ok(()),
    }
}

fn check_namespace(pattern: &str) -> Result<(), InvalidRule> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'*');
    let valid =
        !pattern.is_empty() && pattern.len() <= 63 && pattern.bytes().all(is_allowed) && !pattern.contains("**");
    let problem = "a namespace has lower-case letters, digits and '-', at most 63; one '*' stands for any characters";
    entry(valid, "namespaces", pattern, problem)
}

fn check_name(name: &str) -> Result<(), InvalidRule> {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'%' | b'"' | b'\\' | b'*');
    let valid = !name.is_empty() && name.len() <= 253 && name.bytes().all(is_allowed);
    let problem = "write an object's whole name; patterns have no meaning here";
    entry(valid, "resource-names", name, problem)
}

fn entry(valid: bool, field: &'static str, entry: &str, problem: &'static str) -> Result<(), InvalidRule> {
    if valid { Ok(()) } else { Err(InvalidRule::Entry { field, entry: entry.to_owned(), problem }) }
}

const fn is_dns_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
}

/// `configmaps/status` in its two parts.
pub(crate) fn split_resource(resource: &str) -> (&str, Option<&str>) {
    resource.split_once('/').map_or((resource, None), |(object, subresource)| (object, Some(subresource)))
}
