//! What holds for all grants and requests, held against a plain re-reading of the rules.

use proptest::prelude::*;

use crate::{Capability, Decision, PLUGIN_LABEL, Protected, Request, Rule, Verb, missing};

const GROUPS: [&str; 4] = ["", "apps", "rbac.authorization.k8s.io", "example.com"];
const RESOURCES: [&str; 8] =
    ["configmaps", "secrets", "pods", "deployments", "roles", "namespaces", "leases", "widgets"];
const SUBRESOURCES: [&str; 3] = ["status", "exec", "scale"];
const NAMESPACES: [&str; 6] = ["team-a", "team-b", "prod", "tenure-system", "tenure-plugins", "locks"];
const PATTERNS: [&str; 6] = ["*", "team-*", "*-a", "prod", "tenure-system", "t*-*"];
const NAMES: [&str; 4] = ["one", "two", "lock", "tenure-system"];
const VERBS: [&str; 6] = ["get", "list", "create", "patch", "deletecollection", "*"];

fn protected() -> Protected {
    Protected {
        host_namespaces: vec!["tenure-system".to_owned()],
        locks: vec![("locks".to_owned(), "lock".to_owned()), ("tenure-system".to_owned(), "lock".to_owned())],
        plugin_namespaces: vec!["tenure-plugins".to_owned()],
    }
}

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

/// The rules, read once more: sentence by sentence, without the order and the shortcuts of the real one.
fn reread(grant: &[Rule], asked: &Asked) -> bool {
    let Asked { verb, group, resource, subresource, namespace, name, ref labels } = *asked;
    let has = |list: &[String], word: &str| list.iter().any(|one| one == word);
    let reads = ["get", "list", "watch"].contains(&verb.as_str());
    let many = ["list", "watch"].contains(&verb.as_str());
    // Never, whatever the grant says.
    let never = [
        subresource.is_some_and(|sub| ["proxy", "exec", "attach", "portforward", "token"].contains(&sub)),
        !labels.is_empty(),
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
        ("", "secrets" | "pods") | ("apps", "deployments") | ("rbac.authorization.k8s.io", _)
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
            Some(namespace) => rule
                .namespaces
                .iter()
                .any(|pattern| globset::Glob::new(pattern).unwrap().compile_matcher().is_match(namespace)),
            None => many || rule.namespaces.is_empty(),
        };
        in_group && of_resource && with_verb && by_name && in_namespace
    })
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
