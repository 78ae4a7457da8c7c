//! A plugin's grant, ready to judge requests. Owns the order in which rules are held against a request; the rules' own
//! validity and what is never granted are elsewhere.

use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::protected::needs_explicit_name;
use crate::rule::{WILDCARD, split_resource};
use crate::{Decision, InvalidRule, Protected, Reason, Request, Rule, Verb};

/// What one plugin may do. Anything no rule covers is denied.
#[derive(Debug, Clone)]
pub struct Capability {
    rules: Vec<Arc<CompiledRule>>,
    protected: Arc<Protected>,
}

/// The objects of a list or watch that the plugin may see.
#[derive(Debug, Clone)]
pub struct NamespaceFilter {
    rules: Vec<Arc<CompiledRule>>,
    protected: Arc<Protected>,
    group: String,
    resource: String,
}

#[derive(Debug)]
struct CompiledRule {
    rule: Rule,
    namespaces: GlobSet,
}

/// How far a rule goes towards covering a request. The order is that of helpfulness: the furthest one is what to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Elsewhere,
    WildcardOnly,
    OtherVerb,
    OtherScope,
    NamesOnly,
    OtherName,
    Covers,
}

impl Capability {
    /// A capability of the rules in `grant`, minus what `protected` names.
    ///
    /// # Errors
    /// When a rule is not valid; nothing is granted then, not even by the others.
    pub fn new(grant: Vec<Rule>, protected: Protected) -> Result<Self, InvalidRule> {
        let rules = grant.into_iter().map(|rule| CompiledRule::new(rule).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Self { rules, protected: Arc::new(protected) })
    }

    /// Whether `request` may go out.
    ///
    /// A list or watch that is allowed may still show objects the plugin must not see: pass each through
    /// [`Self::filter`].
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        if let Some(reason) = self.protected.refusal(request) {
            return Decision::Deny(reason);
        }
        let best = self.rules.iter().map(|rule| rule.fit(request)).max();
        refusal(best, request).map_or(Decision::Allow, Decision::Deny)
    }

    /// What an unnamed list of this resource over all namespaces may show.
    #[must_use]
    pub fn namespaces_for_list(&self, group: &str, resource: &str) -> NamespaceFilter {
        self.filter(&Request {
            verb: Verb::List,
            group,
            resource,
            subresource: None,
            namespace: None,
            name: None,
            labels_written: &[],
        })
    }

    /// What the list or watch `request` may show, in whichever namespaces it looks.
    #[must_use]
    pub fn filter(&self, request: &Request<'_>) -> NamespaceFilter {
        let covers_somewhere = |rule: &&Arc<CompiledRule>| rule.fit_but_for_scope(request) == Fit::Covers;
        NamespaceFilter {
            rules: self.rules.iter().filter(covers_somewhere).cloned().collect(),
            protected: Arc::clone(&self.protected),
            group: request.group.to_owned(),
            resource: request.resource.to_owned(),
        }
    }
}

impl NamespaceFilter {
    /// Whether objects of this namespace may be shown; `None` for objects that are in none. A lock's object may still have
    /// to be hidden: see [`Self::admits_object`].
    #[must_use]
    pub fn admits<'a>(&self, namespace: impl Into<Option<&'a str>>) -> bool {
        self.admits_named(namespace.into(), None)
    }

    /// Whether this object may be shown.
    #[must_use]
    pub fn admits_object<'a>(&self, namespace: impl Into<Option<&'a str>>, name: &str) -> bool {
        self.admits_named(namespace.into(), Some(name))
    }

    fn admits_named(&self, namespace: Option<&str>, name: Option<&str>) -> bool {
        let hidden =
            namespace.is_some_and(|namespace| self.protected.hides(&self.group, &self.resource, namespace, name));
        !hidden && self.rules.iter().any(|rule| rule.is_for(namespace))
    }
}

impl CompiledRule {
    fn new(rule: Rule) -> Result<Self, InvalidRule> {
        rule.check()?;
        let invalid = |pattern: &str| InvalidRule::Entry {
            field: "namespaces",
            entry: pattern.to_owned(),
            problem: "it is no pattern that can be matched; only '*' has a meaning",
        };
        let mut builder = GlobSetBuilder::new();
        for pattern in &rule.namespaces {
            builder.add(Glob::new(pattern).map_err(|_| invalid(pattern))?);
        }
        let namespaces = builder.build().map_err(|_| invalid(&rule.namespaces.join(", ")))?;
        Ok(Self { rule, namespaces })
    }

    fn is_for(&self, namespace: Option<&str>) -> bool {
        namespace.map_or(self.rule.namespaces.is_empty(), |namespace| self.namespaces.is_match(namespace))
    }

    fn fit(&self, request: &Request<'_>) -> Fit {
        let fit = self.fit_but_for_scope(request);
        // A list over all namespaces is in scope of every rule; the filter cuts its answer down.
        let in_scope = request.spans_namespaces() || self.is_for(request.namespace);
        if in_scope || fit < Fit::OtherScope { fit } else { Fit::OtherScope }
    }

    fn fit_but_for_scope(&self, request: &Request<'_>) -> Fit {
        if !self.names_resource(request, true) {
            return if self.names_resource(request, false) { Fit::WildcardOnly } else { Fit::Elsewhere };
        }
        let verb = request.verb.as_str();
        if !self.rule.verbs.iter().any(|entry| entry == WILDCARD || entry == verb) {
            return Fit::OtherVerb;
        }
        if self.rule.resource_names.is_empty() {
            return Fit::Covers;
        }
        match request.name {
            Some(name) if request.verb.can_be_held_to_names(true) => {
                if self.rule.resource_names.iter().any(|entry| entry == name) { Fit::Covers } else { Fit::OtherName }
            }
            _ => Fit::NamesOnly,
        }
    }

    /// Whether the rule reaches the request's resource; with `heed_explicit`, `*` does not reach what needs a name.
    fn names_resource(&self, request: &Request<'_>, heed_explicit: bool) -> bool {
        let wildcard_counts = !(heed_explicit && needs_explicit_name(request.group, request.resource));
        let group = |entry: &String| entry == request.group || (wildcard_counts && entry == WILDCARD);
        let resource = |entry: &String| {
            let (object, subresource) = split_resource(entry);
            let exact = object == request.resource && subresource == request.subresource;
            let by_wildcard = object == WILDCARD && (subresource.is_none() || subresource == request.subresource);
            exact || (wildcard_counts && by_wildcard)
        };
        self.rule.api_groups.iter().any(group) && self.rule.resources.iter().any(resource)
    }
}

fn refusal(best: Option<Fit>, request: &Request<'_>) -> Option<Reason> {
    let verb = request.verb;
    let what = || describe(request);
    let reason = match best {
        None => Reason::NothingGranted,
        Some(Fit::Covers) => return None,
        Some(Fit::Elsewhere) => Reason::Resource { what: what() },
        Some(Fit::WildcardOnly) => Reason::ExplicitNameOnly { what: what() },
        Some(Fit::OtherVerb) => Reason::Verb { verb, what: what() },
        Some(Fit::OtherScope) => match request.namespace {
            Some(namespace) => Reason::Namespace { verb, what: what(), namespace: namespace.to_owned() },
            None => Reason::ClusterScope { verb, what: what() },
        },
        Some(Fit::NamesOnly) => Reason::NamesOnly { verb, what: what() },
        Some(Fit::OtherName) => Reason::Name { verb, what: what(), name: request.name.unwrap_or_default().to_owned() },
    };
    Some(reason)
}

/// `configmaps`, `deployments.apps/scale`: as kubectl writes it.
fn describe(request: &Request<'_>) -> String {
    let mut text = request.resource.to_owned();
    if !request.group.is_empty() {
        text.push('.');
        text.push_str(request.group);
    }
    if let Some(subresource) = request.subresource {
        text.push('/');
        text.push_str(subresource);
    }
    text
}
