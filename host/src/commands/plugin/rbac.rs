//! `tenure plugin rbac`: the Roles that the host's account needs so that plugins can use what they are granted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::bail;
use tenure_capability::{ClusterRule, PolicyRule, Roles, Rule, smallest_roles};
use tenure_settings::{Manifest, ServiceAccount};

use super::read_text;
use crate::catalog::POD_NAME;
use crate::cli::RbacArgs;
use crate::commands::{caution, say, unless_nobody_reads};
use crate::reload::SettingsFile;

/// Prints the Roles, and says on stderr what they give beyond the grant.
pub(crate) fn rbac(args: &RbacArgs) -> anyhow::Result<()> {
    check_names(args)?;
    let Needs { host, accounts, sources } = needs(args)?;
    let mut roles = smallest_roles(&host);
    let own = roles.namespaced.remove(&args.namespace).is_some();
    add_impersonation(&mut roles, accounts.keys());
    if roles == Roles::default() {
        bail!(
            "{sources}: nothing there that a Role could serve; a [[grant.permission]], or a [[permission]] in a manifest, says what is"
        );
    }
    if own {
        caution(format_args!("left out: namespace {} is the host's own, and no grant reaches into it", args.namespace));
    }
    let subject = Subject { name: &args.account, namespace: &args.namespace };
    let mut text = render(&roles, &args.name, &subject);
    let mut all_notes: BTreeSet<String> = roles.cluster.iter().flat_map(notes).collect();
    for (account, rules) in &accounts {
        let roles = smallest_roles(rules);
        let ServiceAccount { namespace, name } = account;
        line(&mut text, format_args!("# What the account {account} needs, in whose name the host works for plugins."));
        text.push_str(&render(&roles, &format!("{}-{namespace}-{name}", args.name), &Subject { name, namespace }));
        all_notes.extend(roles.cluster.iter().flat_map(notes));
    }
    for note in all_notes {
        caution(format_args!("{note}"));
    }
    unless_nobody_reads(say!(
        "# What the account {}/{} needs for {sources}.\n# What the host needs for itself comes with it (deploy/).\n{}",
        args.namespace,
        args.account,
        text.trim_end()
    ).map_err(Into::into))
}

/// What is granted, or requested, and where that stands.
struct Needs {
    host: Vec<Rule>,
    /// Of accounts that grants name.
    accounts: BTreeMap<ServiceAccount, Vec<Rule>>,
    sources: String,
}

fn needs(args: &RbacArgs) -> anyhow::Result<Needs> {
    let mut accounts: BTreeMap<ServiceAccount, Vec<Rule>> = BTreeMap::new();
    if let Some(config) = &args.config {
        let (settings, _, _) = SettingsFile::alone(config).read()?;
        let mut host = Vec::new();
        for grant in settings.grants {
            match grant.service_account {
                None => host.extend(grant.rules),
                Some(account) => {
                    host.extend(grant.rules.iter().filter_map(watched));
                    accounts.entry(account).or_default().extend(grant.rules);
                }
            }
        }
        return Ok(Needs { host, accounts, sources: format!("what {} grants", config.display()) });
    }
    let mut rules = Vec::new();
    let mut names = Vec::new();
    for path in &args.manifests {
        let shown = path.display().to_string();
        rules.extend(Manifest::parse(&read_text(path)?, &shown)?.permissions);
        names.push(shown);
    }
    Ok(Needs { host: rules, accounts, sources: format!("what {} requests", names.join(", ")) })
}

/// What the host itself needs of a rule whose requests go out under another account: the cache is filled under its own.
fn watched(rule: &Rule) -> Option<Rule> {
    let covers = |verb: &&str| rule.verbs.iter().any(|entry| entry == "*" || entry == verb);
    let verbs: Vec<String> =
        ["list", "watch"].iter().filter(|verb| covers(verb)).map(|&verb| verb.to_owned()).collect();
    (!verbs.is_empty()).then(|| Rule { verbs, ..rule.clone() })
}

/// What the host needs to work in the name of accounts, and to ask what they may see.
fn add_impersonation<'a>(roles: &mut Roles, accounts: impl Iterator<Item = &'a ServiceAccount>) {
    let rule = |group: &str, resource: &str, verb: &str, name: Option<&str>| PolicyRule {
        api_groups: vec![group.to_owned()],
        resources: vec![resource.to_owned()],
        verbs: vec![verb.to_owned()],
        resource_names: name.map(str::to_owned).into_iter().collect(),
    };
    let mut any = false;
    for ServiceAccount { namespace, name } in accounts {
        any = true;
        let rules = roles.namespaced.entry(namespace.clone()).or_default();
        rules.push(rule("", "serviceaccounts", "impersonate", Some(name)));
    }
    if any {
        let extra = format!("userextras/{POD_NAME}");
        for rule in [
            rule("authentication.k8s.io", &extra, "impersonate", None),
            rule("authorization.k8s.io", "subjectaccessreviews", "create", None),
        ] {
            roles.cluster.push(ClusterRule { rule, why: Vec::new() });
        }
    }
}

/// They are written into YAML as they are.
fn check_names(args: &RbacArgs) -> anyhow::Result<()> {
    let is_name = |word: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let ends_well = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
        ends_well(word.chars().next()) && ends_well(word.chars().last()) && word.bytes().all(is_allowed)
    };
    for (flag, name) in [("--name", &args.name), ("--account", &args.account), ("--namespace", &args.namespace)] {
        if !is_name(name) {
            bail!("{flag} {name:?} is no name; write lower-case letters, digits, '-' and '.' inside");
        }
    }
    Ok(())
}

/// Who gets a Role.
struct Subject<'a> {
    name: &'a str,
    namespace: &'a str,
}

/// A Role and its binding for each namespace, then a ClusterRole and its.
fn render(roles: &Roles, name: &str, subject: &Subject<'_>) -> String {
    let mut text = String::new();
    for (namespace, rules) in &roles.namespaced {
        head(&mut text, "Role", name, Some(namespace));
        text.push_str("rules:\n");
        rules.iter().for_each(|rule| text.push_str(&as_yaml(rule)));
        bind(&mut text, "Role", name, Some(namespace), subject);
    }
    if !roles.cluster.is_empty() {
        head(&mut text, "ClusterRole", name, None);
        text.push_str("rules:\n");
        for rule in &roles.cluster {
            notes(rule).iter().for_each(|note| line(&mut text, format_args!("  # {note}")));
            text.push_str(&as_yaml(&rule.rule));
        }
        bind(&mut text, "ClusterRole", name, None, subject);
    }
    text
}

/// Why a rule is cluster-wide, and what it gives that no plugin gets.
fn notes(rule: &ClusterRule) -> Vec<String> {
    let what = rule.rule.resources.join(", ");
    let mut notes: Vec<String> = rule.why.iter().map(|why| format!("{what}: cluster-wide, {why}")).collect();
    if rule.rule.reaches_beyond_the_grant() {
        notes.push(format!(
            "{what}: \"*\" is Secrets, Pods and all others in RBAC, but not in a grant; name api-groups and resources instead"
        ));
    }
    notes
}

fn head(text: &mut String, kind: &str, name: &str, namespace: Option<&str>) {
    line(text, format_args!("---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}"));
    if let Some(namespace) = namespace {
        line(text, format_args!("  namespace: {namespace:?}"));
    }
}

fn bind(text: &mut String, kind: &str, name: &str, namespace: Option<&str>, subject: &Subject<'_>) {
    head(text, &format!("{kind}Binding"), name, namespace);
    line(text, format_args!("roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {name}"));
    let Subject { name, namespace } = subject;
    line(text, format_args!("subjects:\n  - kind: ServiceAccount\n    name: {name}\n    namespace: {namespace}"));
}

fn as_yaml(rule: &PolicyRule) -> String {
    let PolicyRule { api_groups, resources, verbs, resource_names } = rule;
    // What stands in a checked rule is quoted alike by Rust and YAML.
    let mut text = format!("  - apiGroups: {api_groups:?}\n    resources: {resources:?}\n    verbs: {verbs:?}\n");
    if !resource_names.is_empty() {
        line(&mut text, format_args!("    resourceNames: {resource_names:?}"));
    }
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{words}");
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn rule(resources: &[&str], verbs: &[&str], namespaces: &[&str]) -> Rule {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Rule {
            api_groups: vec![String::new()],
            resources: list(resources),
            verbs: list(verbs),
            namespaces: list(namespaces),
            resource_names: Vec::new(),
        }
    }

    #[test]
    fn a_named_namespace_gets_a_role_and_a_pattern_a_cluster_role_that_says_why() {
        let roles = smallest_roles(&[
            rule(&["configmaps"], &["list", "watch"], &["shop"]),
            rule(&["configmaps"], &["patch"], &["team-*"]),
            rule(&["*"], &["get"], &[]),
        ]);
        let subject = Subject { name: "tenure", namespace: "tenure-system" };
        expect![[r#"
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: Role
            metadata:
              name: x
              namespace: "shop"
            rules:
              - apiGroups: [""]
                resources: ["configmaps"]
                verbs: ["list", "watch"]
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: RoleBinding
            metadata:
              name: x
              namespace: "shop"
            roleRef:
              apiGroup: rbac.authorization.k8s.io
              kind: Role
              name: x
            subjects:
              - kind: ServiceAccount
                name: tenure
                namespace: tenure-system
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: ClusterRole
            metadata:
              name: x
            rules:
              # *: cluster-wide, for objects that are in no namespace
              # *: "*" is Secrets, Pods and all others in RBAC, but not in a grant; name api-groups and resources instead
              - apiGroups: [""]
                resources: ["*"]
                verbs: ["get"]
              # configmaps: cluster-wide, RBAC has no patterns, and the grant is for namespaces "team-*"
              - apiGroups: [""]
                resources: ["configmaps"]
                verbs: ["patch"]
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: ClusterRoleBinding
            metadata:
              name: x
            roleRef:
              apiGroup: rbac.authorization.k8s.io
              kind: ClusterRole
              name: x
            subjects:
              - kind: ServiceAccount
                name: tenure
                namespace: tenure-system
        "#]]
        .assert_eq(&render(&roles, "x", &subject));
    }
}
