//! Grants as people write them, and the sentences they get back.

use expect_test::{Expect, expect};
use serde::Deserialize;

use crate::{
    Capability, ClusterRule, Decision, PLUGIN_CHUNK_LABEL, PolicyRule, Protected, Request, Rule, Verb, missing,
    smallest_roles,
};

#[derive(Deserialize)]
struct Rules {
    #[serde(default)]
    permission: Vec<Rule>,
}

fn rules(toml: &str) -> Vec<Rule> {
    toml::from_str::<Rules>(&toml.replace("[[rule]]", "[[permission]]")).unwrap().permission
}

fn protected() -> Protected {
    Protected {
        host_namespaces: vec!["tenure-system".to_owned()],
        locks: vec![("locks".to_owned(), "host.tenure.dev".to_owned())],
        plugin_namespaces: vec!["tenure-plugins".to_owned()],
    }
}

const GRANT: &str = r#"
[[rule]]
api-groups = [""]
resources = ["configmaps", "configmaps/status"]
verbs = ["get", "list", "watch", "patch"]
namespaces = ["team-*"]
[[rule]]
api-groups = [""]
resources = ["secrets"]
verbs = ["get", "list", "create", "delete"]
namespaces = ["team-a"]
resource-names = ["token"]
[[rule]]
api-groups = ["", "apps", "coordination.k8s.io"]
resources = ["*"]
verbs = ["*"]
namespaces = ["*"]
resource-names = []
[[rule]]
api-groups = [""]
resources = ["namespaces"]
verbs = ["get", "list", "watch", "delete", "deletecollection"]
"#;

/// `verb resource[.group][/sub] [namespace/][name]`, on a grant or on [`GRANT`].
fn decide(grant: &str, text: &str, labels: &[(String, String)]) -> Decision {
    let (verb, rest) = text.split_once(' ').unwrap();
    let (what, place) = rest.split_once(' ').unwrap_or((rest, ""));
    let (what, subresource) = what.split_once('/').map_or((what, None), |(what, sub)| (what, Some(sub)));
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    let (namespace, name) = place.split_once('/').map_or((None, place), |(namespace, name)| (Some(namespace), name));
    let name = Some(name).filter(|name| !name.is_empty());
    let verb = verb.parse::<Verb>().unwrap();
    let request = Request { verb, group, resource, subresource, namespace, name, labels_written: labels };
    Capability::new(rules(grant), protected()).unwrap().decide(&request)
}

fn check(requests: &[&str], expected: &Expect) {
    let answer = |text: &&str| match decide(GRANT, text, &[]) {
        Decision::Allow => format!("{text}: yes\n"),
        Decision::Deny(reason) => format!("{text}: {reason}\n"),
    };
    expected.assert_eq(&requests.iter().map(answer).collect::<String>());
}

#[test]
fn what_is_granted_is_allowed() {
    check(
        &[
            "get configmaps team-a/x",
            "list configmaps team-a/",
            "list configmaps",
            "patch configmaps/status team-b/x",
            "get secrets team-a/token",
            "list secrets team-a/token",
            "patch services other/x",
            "get namespaces team-a",
            "list namespaces",
        ],
        &expect![[r#"
            get configmaps team-a/x: yes
            list configmaps team-a/: yes
            list configmaps: yes
            patch configmaps/status team-b/x: yes
            get secrets team-a/token: yes
            list secrets team-a/token: yes
            patch services other/x: yes
            get namespaces team-a: yes
            list namespaces: yes
        "#]],
    );
}

#[test]
fn what_is_not_granted_is_denied_with_its_reason() {
    check(
        &[
            "get widgets.example.com team-a/x",
            "get pods team-a/x",
            "get deployments.apps team-a/x",
            "update secrets team-a/token",
            "get secrets team-b/token",
            "get secrets team-a/other",
            "create secrets team-a/token",
            "list secrets team-a/",
            "patch namespaces team-a",
            "get services x",
        ],
        &expect![[r#"
            get widgets.example.com team-a/x: no granted rule covers widgets.example.com; add its api-group and resource to a [[grant.permission]]
            get pods team-a/x: pods is never covered by "*"; a [[grant.permission]] has to name its api-group and resource
            get deployments.apps team-a/x: deployments.apps is never covered by "*"; a [[grant.permission]] has to name its api-group and resource
            update secrets team-a/token: update is not among the granted verbs for secrets; add it to a [[grant.permission]]
            get secrets team-b/token: get of secrets is not granted in namespace "team-b"; add a pattern that matches it to `namespaces`
            get secrets team-a/other: get of secrets is not granted for an object named "other"; add it to `resource-names`
            create secrets team-a/token: create of secrets is granted for `resource-names` only, and these cannot cover it; it needs a rule without them
            list secrets team-a/: list of secrets is granted for `resource-names` only, and these cannot cover it; it needs a rule without them
            patch namespaces team-a: patch of namespaces without a namespace is not granted; a cluster-scoped object needs a [[grant.permission]] that leaves `namespaces` out
            get services x: get of services without a namespace is not granted; a cluster-scoped object needs a [[grant.permission]] that leaves `namespaces` out
        "#]],
    );
    let reason = decide("", "get configmaps a/b", &[]);
    expect![[r#"
        Deny(
            NothingGranted,
        )
    "#]]
    .assert_debug_eq(&reason);
}

#[test]
fn what_is_never_granted_is_denied_whatever_the_grant_says() {
    check(
        &[
            "get services tenure-system/x",
            "list configmaps tenure-system/",
            "get configmaps tenure-plugins/x",
            "get leases.coordination.k8s.io locks/host.tenure.dev",
            "deletecollection leases.coordination.k8s.io locks/",
            "get leases.coordination.k8s.io locks/other",
            "get endpoints locks/host.tenure.dev",
            "get services/proxy team-a/x",
            "create pods/exec team-a/x",
            "create serviceaccounts/token team-a/x",
            "delete namespaces tenure-plugins",
            "delete namespaces locks",
            "delete namespaces team-a",
            "deletecollection namespaces",
            "get configmaps team-a/..",
            "get services/proxy/x team-a/x",
            "get configmaps team-a/../../tenure-system/configmaps/tenure",
            "get configmaps team-a/x%2f..",
            "get configmaps team-a/x?watch=true",
            "get configmaps team-a/x#y",
            "get configmaps ../tenure-system/x",
            "get configmaps ../x",
        ],
        &expect![[r#"
            get services tenure-system/x: namespace "tenure-system" is the host's own; no grant reaches into it
            list configmaps tenure-system/: namespace "tenure-system" is the host's own; no grant reaches into it
            get configmaps tenure-plugins/x: ConfigMaps in namespace "tenure-plugins" are plugins, their chunks and settings; no grant reaches them
            get leases.coordination.k8s.io locks/host.tenure.dev: locks/host.tenure.dev is a lock of this host; no grant reaches it
            deletecollection leases.coordination.k8s.io locks/: locks/host.tenure.dev is a lock of this host; no grant reaches it
            get leases.coordination.k8s.io locks/other: yes
            get endpoints locks/host.tenure.dev: locks/host.tenure.dev is a lock of this host; no grant reaches it
            get services/proxy team-a/x: subresource "proxy" reaches into nodes, containers or credentials; no grant covers it
            create pods/exec team-a/x: subresource "exec" reaches into nodes, containers or credentials; no grant covers it
            create serviceaccounts/token team-a/x: subresource "token" reaches into nodes, containers or credentials; no grant covers it
            delete namespaces tenure-plugins: Namespace "tenure-plugins" holds the host, its plugins or its locks; no grant lets a plugin change or delete it
            delete namespaces locks: Namespace "locks" holds the host, its plugins or its locks; no grant lets a plugin change or delete it
            delete namespaces team-a: yes
            deletecollection namespaces: all Namespaces at once would be the host's own too; no grant lets a plugin delete them but one by one
            get configmaps team-a/..: name ".." cannot stand in a request to the Kubernetes API
            get services/proxy/x team-a/x: subresource "proxy/x" cannot stand in a request to the Kubernetes API
            get configmaps team-a/../../tenure-system/configmaps/tenure: name "../../tenure-system/configmaps/tenure" cannot stand in a request to the Kubernetes API
            get configmaps team-a/x%2f..: name "x%2f.." cannot stand in a request to the Kubernetes API
            get configmaps team-a/x?watch=true: name "x?watch=true" cannot stand in a request to the Kubernetes API
            get configmaps team-a/x#y: name "x#y" cannot stand in a request to the Kubernetes API
            get configmaps ../tenure-system/x: namespace ".." cannot stand in a request to the Kubernetes API
            get configmaps ../x: namespace ".." cannot stand in a request to the Kubernetes API
        "#]],
    );
    let labels = [(PLUGIN_CHUNK_LABEL.to_owned(), "true".to_owned())];
    let Decision::Deny(reason) = decide(GRANT, "patch configmaps team-a/x", &labels) else { panic!("it was allowed") };
    expect![[r#"label "tenure.dev/plugin-chunk" makes an object a plugin; no grant lets a plugin write it"#]]
        .assert_eq(&reason.to_string());
}

#[test]
fn a_name_with_control_characters_reaches_neither_the_api_nor_a_message() {
    for name in ["a\nb", "\u{1b}[2J", "a\0", "a\u{9b}", "a b", "ä"] {
        let Decision::Deny(reason) = decide(GRANT, &format!("get configmaps team-a/{name}"), &[]) else {
            panic!("{name:?} was allowed")
        };
        assert!(matches!(reason, crate::Reason::Malformed { part: "name", .. }), "{reason:?}");
        assert!(!reason.to_string().contains(char::is_control), "{reason:?}");
    }
}

/// The host's settings, another plugin and the lock, each with each verb, by a plugin to which everything was granted.
#[test]
fn nothing_that_makes_the_host_what_it_is_can_be_written_whatever_was_granted() {
    for verb in ["create", "update", "patch", "delete"] {
        for object in [
            "configmaps tenure-system/tenure",
            "configmaps tenure-plugins/another",
            "leases.coordination.k8s.io tenure-system/host.tenure.dev",
            "leases.coordination.k8s.io locks/host.tenure.dev",
            "configmaps locks/host.tenure.dev",
            "endpoints locks/host.tenure.dev",
        ] {
            let decision = decide(GRANT, &format!("{verb} {object}"), &[]);
            assert!(matches!(decision, Decision::Deny(_)), "{verb} {object}: {decision:?}");
        }
    }
}

#[test]
fn a_list_over_all_namespaces_shows_granted_ones_only() {
    let grant =
        "[[rule]]\napi-groups = [\"\"]\nresources = [\"configmaps\"]\nverbs = [\"list\"]\nnamespaces = [\"t*\"]";
    let capability = Capability::new(rules(grant), protected()).unwrap();
    let filter = capability.namespaces_for_list("", "configmaps");
    let shown = ["team-a", "other", "tenure-system", "tenure-plugins"].map(|namespace| filter.admits(namespace));
    assert_eq!(shown, [true, false, false, false]);
    assert!(!filter.admits(None), "objects in no namespace are not granted by a rule for namespaces");
    assert!(!capability.namespaces_for_list("", "secrets").admits("team-a"));
}

fn check_missing(requested: &str, granted: &str, expected: &Expect) {
    let missing = missing(&rules(requested), &rules(granted));
    expected.assert_eq(&missing.iter().map(|rule| format!("{rule}\n")).collect::<String>());
}

#[test]
fn what_is_missing_is_spelled_out_as_the_rule_to_add() {
    let request = r#"
        [[rule]]
        api-groups = [""]
        resources = ["configmaps", "secrets", "services"]
        verbs = ["get", "list", "delete"]
        namespaces = ["team-*", "prod"]
    "#;
    check_missing(
        request,
        GRANT,
        &expect![[r#"
        [[grant.permission]]
        api-groups = [""]
        resources = ["secrets"]
        verbs = ["get", "list", "delete"]
        namespaces = ["team-*", "prod"]
    "#]],
    );
    check_missing(request, request, &expect![[""]]);
    check_missing(
        request,
        "",
        &expect![[r#"
        [[grant.permission]]
        api-groups = [""]
        resources = ["configmaps", "secrets", "services"]
        verbs = ["get", "list", "delete"]
        namespaces = ["team-*", "prod"]
    "#]],
    );
}

#[test]
fn a_star_in_the_request_is_not_covered_by_names_and_special_verbs_not_by_a_star() {
    check_missing(
        "[[rule]]\napi-groups = [\"*\"]\nresources = [\"*\"]\nverbs = [\"*\", \"escalate\"]\nnamespaces = [\"*\"]",
        "[[rule]]\napi-groups = [\"*\"]\nresources = [\"*\"]\nverbs = [\"*\"]\nnamespaces = [\"team-*\"]",
        &expect![[r#"
            [[grant.permission]]
            api-groups = ["*"]
            resources = ["*"]
            verbs = ["*", "escalate"]
            namespaces = ["*"]
        "#]],
    );
}

#[test]
fn invalid_rules_are_refused_with_what_to_write() {
    let rule = |field: &str, value: &str| {
        let mut lines = ["api-groups = [\"\"]", "resources = [\"a\"]", "verbs = [\"get\"]", "namespaces = [\"a\"]"]
            .map(str::to_owned)
            .to_vec();
        lines.retain(|line| !line.starts_with(field));
        lines.push(format!("{field} = {value}"));
        rules(&format!("[[rule]]\n{}", lines.join("\n"))).remove(0).check().unwrap_err().to_string()
    };
    let refusals = [
        rule("api-groups", "[\"apps/v1\"]"),
        rule("api-groups", "[]"),
        rule("resources", "[\"ConfigMap\"]"),
        rule("resources", "[\"configmaps/*\"]"),
        rule("resources", "[\"pods/exec\"]"),
        rule("verbs", "[\"read\"]"),
        rule("namespaces", "[\"team-?\"]"),
        rule("namespaces", "[\"\"]"),
        rule("resource-names", "[\"a*\"]"),
        rule("resource-names", &format!("{:?}", vec!["a"; 65])),
    ];
    expect![[r#"
        "apps/v1" cannot stand in `api-groups`: an API group is a DNS name without its version, such as "apps", or "*" alone
        `api-groups` is empty, so the rule covers nothing; write [""] for the core group
        "ConfigMap" cannot stand in `resources`: write a plural resource ("configmaps"), a subresource ("configmaps/status", "*/status") or "*"
        "configmaps/*" cannot stand in `resources`: write a plural resource ("configmaps"), a subresource ("configmaps/status", "*/status") or "*"
        "pods/exec" in `resources` can never be granted: exec reaches into nodes, containers or credentials
        "read" in `verbs` is no verb a plugin can send; the verbs are get, list, watch, create, update, patch, delete, deletecollection, or "*"
        "team-?" cannot stand in `namespaces`: a namespace has lower-case letters, digits and '-', at most 63; one '*' stands for any characters
        "" cannot stand in `namespaces`: a namespace has lower-case letters, digits and '-', at most 63; one '*' stands for any characters
        "a*" cannot stand in `resource-names`: write an object's whole name; patterns have no meaning here
        the rule has 65 entries in `resource-names`, and at most 64 are allowed; split it into several rules
    "#]].assert_eq(&refusals.map(|refusal| refusal + "\n").concat());
}

fn check_roles(grant: &str, expected: &Expect) {
    let roles = smallest_roles(&rules(grant));
    let text = |rule: &PolicyRule| {
        let PolicyRule { api_groups, resources, verbs, resource_names } = rule;
        format!("{api_groups:?} {resources:?} {resource_names:?} {}", verbs.join(","))
    };
    let mut lines = String::new();
    for (namespace, rules) in &roles.namespaced {
        rules.iter().for_each(|rule| lines.push_str(&format!("{namespace}: {}\n", text(rule))));
    }
    for ClusterRule { rule, why } in &roles.cluster {
        let why = why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let beyond = if rule.reaches_beyond_the_grant() { ", and reaches beyond the grant" } else { "" };
        lines.push_str(&format!("cluster: {}: {why}{beyond}\n", text(rule)));
    }
    expected.assert_eq(&lines);
}

#[test]
fn the_smallest_roles_serve_the_grant_and_say_why_they_are_cluster_wide() {
    let narrow = r#"
        [[rule]]
        api-groups = [""]
        resources = ["configmaps", "pods"]
        verbs = ["get", "list"]
        namespaces = ["team-a", "team-b"]
        [[rule]]
        api-groups = [""]
        resources = ["secrets"]
        verbs = ["get", "create"]
        namespaces = ["team-a"]
        resource-names = ["token"]
        [[rule]]
        api-groups = [""]
        resources = ["configmaps"]
        verbs = ["get", "list", "watch"]
        namespaces = ["team-*"]
        [[rule]]
        api-groups = [""]
        resources = ["namespaces"]
        verbs = ["get"]
    "#;
    check_roles(
        narrow,
        &expect![[r#"
        team-a: [""] ["pods"] [] get,list
        team-a: [""] ["secrets"] ["token"] get
        team-b: [""] ["pods"] [] get,list
        cluster: [""] ["configmaps"] [] get,list,watch: RBAC has no patterns, and the grant is for namespaces "team-*"
        cluster: [""] ["namespaces"] [] get: for objects that are in no namespace
    "#]],
    );
}

#[test]
fn a_star_in_a_grant_spells_its_verbs_out_and_is_marked() {
    check_roles(
        GRANT,
        &expect![[r#"
        cluster: ["", "apps", "coordination.k8s.io"] ["*"] [] get,list,watch,create,update,patch,delete,deletecollection: RBAC has no patterns, and the grant is for namespaces "*", and reaches beyond the grant
    "#]],
    );
}
