//! What holds for all grants and requests, held against a plain re-reading of the rules.

use proptest::prelude::*;

use crate::plain_reading::{self, GROUPS, NAMES, NAMESPACES, PATTERNS, RESOURCES, SUBRESOURCES, VERBS, protected};
use crate::{Capability, Decision, PLUGIN_LABEL, Request, Rule, Verb, missing};

fn list(words: &'static [&'static str], at_least: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(words).prop_map(str::to_owned), at_least..3)
}

fn rule() -> impl Strategy<Value = Rule> {
    const RULE_GROUPS: [&str; 5] = ["", "apps", "rbac.authorization.k8s.io", "example.com", "*"];
    const RULE_RESOURCES: [&str; 9] =
        ["configmaps", "configmaps/status", "secrets", "pods", "roles", "namespaces", "*", "*/status", "widgets"];
    (list(&RULE_GROUPS, 1), list(&RULE_RESOURCES, 1), list(&VERBS, 1), list(&PATTERNS, 0), list(&NAMES, 0)).prop_map(
        |(api_groups, resources, verbs, namespaces, resource_names)| Rule {
            api_groups,
            resources,
            verbs,
            namespaces,
            resource_names,
        },
    )
}

/// A request that owns its parts.
#[derive(Debug, Clone)]
struct Asked {
    verb: Verb,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    namespace: Option<&'static str>,
    name: Option<&'static str>,
    labels: Vec<(String, String)>,
}

impl Asked {
    fn request(&self) -> Request<'_> {
        let Self { verb, group, resource, subresource, namespace, name, ref labels } = *self;
        Request { verb, group, resource, subresource, namespace, name, labels_written: labels }
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    use prop::option::{of, weighted};
    use prop::sample::select;
    let labels = weighted(0.1, Just((PLUGIN_LABEL.to_owned(), "true".to_owned())));
    (
        select(&Verb::ALL[..]),
        select(&GROUPS[..]),
        select(&RESOURCES[..]),
        weighted(0.2, select(&SUBRESOURCES[..])),
        weighted(0.8, select(&NAMESPACES[..])),
        of(select(&NAMES[..])),
        labels,
    )
        .prop_map(|(verb, group, resource, subresource, namespace, name, label)| Asked {
            verb,
            group,
            resource,
            subresource,
            namespace,
            name,
            labels: label.into_iter().collect(),
        })
}

fn reread(grant: &[Rule], asked: &Asked) -> bool {
    plain_reading::allows(grant, &asked.request())
}

fn allows(grant: &[Rule], asked: &Asked) -> bool {
    Capability::new(grant.to_vec(), protected()).unwrap().decide(&asked.request()).is_allowed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_request_is_allowed_exactly_if_a_plain_reading_of_the_rules_allows_it(
        grant in prop::collection::vec(rule(), 0..4), asked in asked(),
    ) {
        prop_assert_eq!(allows(&grant, &asked), reread(&grant, &asked));
    }

    #[test]
    fn what_a_list_shows_is_what_a_list_of_that_namespace_would_be_allowed(
        grant in prop::collection::vec(rule(), 0..4), asked in asked(), namespace in prop::sample::select(&NAMESPACES[..]),
    ) {
        let capability = Capability::new(grant.clone(), protected()).unwrap();
        let filter = capability.namespaces_for_list(asked.group, asked.resource);
        let there = Asked {
            verb: Verb::List, subresource: None, namespace: Some(namespace), name: None, labels: vec![], ..asked.clone()
        };
        prop_assert_eq!(filter.admits(namespace), allows(&grant, &there));
        // The lock's object is hidden even where its neighbours are shown.
        let is_lock = asked.group.is_empty() && asked.resource == "configmaps" && namespace == "locks";
        prop_assert_eq!(filter.admits_object(namespace, "lock"), allows(&grant, &there) && !is_lock);
    }

    #[test]
    fn a_manifest_that_misses_nothing_is_allowed_no_more_than_its_grant(
        requested in prop::collection::vec(rule(), 0..3), granted in prop::collection::vec(rule(), 0..4), asked in asked(),
    ) {
        if missing(&requested, &granted).is_empty() && allows(&requested, &asked) {
            prop_assert!(allows(&granted, &asked));
        }
    }

    #[test]
    fn granting_what_is_missing_and_no_more_leaves_nothing_missing(
        requested in prop::collection::vec(rule(), 0..3), granted in prop::collection::vec(rule(), 0..4), asked in asked(),
    ) {
        let beyond = missing(&requested, &granted);
        let mended = [granted, beyond.clone()].concat();
        prop_assert_eq!(missing(&requested, &mended), vec![]);
        prop_assert_eq!(missing(&beyond, &requested), vec![], "more is reported missing than was asked for");
        if allows(&requested, &asked) {
            prop_assert!(allows(&mended, &asked));
        }
    }

    #[test]
    fn missing_rules_are_valid_rules(requested in prop::collection::vec(rule(), 1..3)) {
        for rule in missing(&requested, &[]) {
            prop_assert_eq!(rule.check(), Ok(()));
        }
    }

    #[test]
    fn odd_parts_of_a_request_are_never_allowed(part in "[a-z]{0,3}[/%?# ü\u{0}][a-z]{0,3}|[.]{0,2}", place in 0..4_u8) {
        let all = Rule {
            api_groups: vec!["*".to_owned(), "".to_owned()],
            resources: vec!["*".to_owned()],
            verbs: vec!["*".to_owned()],
            namespaces: vec!["*".to_owned()],
            resource_names: vec![],
        };
        let capability = Capability::new(vec![all], protected()).unwrap();
        let usual = Request {
            verb: Verb::Get, group: "", resource: "configmaps", subresource: None, namespace: Some("a"), name: Some("b"),
            labels_written: &[],
        };
        prop_assert_eq!(capability.decide(&usual), Decision::Allow);
        let odd = match place {
            0 => Request { resource: &part, ..usual },
            1 => Request { subresource: Some(&part), ..usual },
            2 => Request { namespace: Some(&part), ..usual },
            _ => Request { name: Some(&part), ..usual },
        };
        prop_assert!(!capability.decide(&odd).is_allowed());
    }
}
