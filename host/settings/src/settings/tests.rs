//! What settings say, and what they say when something is wrong.

use std::collections::BTreeSet;

use bytes::Bytes;
use expect_test::{Expect, expect};
use tenure_election::{FirstCreate, Timing};

use super::*;
use crate::variables::{VARIABLES, Variable};
use crate::{Limits, OnLoss, PluginIdentity, Provenance, ResourceLock};

const COMMENTED: &str = include_str!("../../../../config/tenure.toml");
const PROFILES: [&str; 5] = [
    include_str!("../../../../config/profiles/default.toml"),
    include_str!("../../../../config/profiles/fast.toml"),
    include_str!("../../../../config/profiles/lazy.toml"),
    include_str!("../../../../config/profiles/single.toml"),
    include_str!("../../../../config/profiles/development.toml"),
];

fn parse(toml: &str, env: &[(&str, &str)], flags: &Flags) -> Result<(Settings, Vec<Warning>), SettingsError> {
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Settings::parse(toml, "tenure.toml", &env, flags)
}

fn settings(toml: &str) -> Settings {
    parse(toml, &[], &Flags::default()).unwrap().0
}

/// What is said about each.
fn check_errors(files: &[&str], expected: &Expect) {
    let error = |toml: &&str| format!("{}\n", parse(toml, &[], &Flags::default()).unwrap_err());
    expected.assert_eq(&files.iter().map(error).collect::<String>());
}

fn check_warnings(toml: &str, expected: &Expect) {
    let (_, warnings) = parse(toml, &[], &Flags::default()).unwrap();
    expected.assert_eq(&warnings.iter().map(|warning| format!("{warning}\n")).collect::<String>());
}

/// The keys behind a `#` given, as their comments say one should.
fn uncommented(toml: &str) -> String {
    let is_key = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    toml.lines().map(|line| if is_key(line) { &line[1..] } else { line }).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_empty_file_is_the_defaults() {
    let settings = settings("");
    assert_eq!(settings.election.timing, Timing::DEFAULT);
    assert_eq!(settings.election.first_create, FirstCreate::Wait);
    assert_eq!(settings.election.on_loss, OnLoss::Campaign);
    assert_eq!(settings.election.termination_grace_min(), Duration::from_secs(20));
    assert_eq!(settings.plugins.namespaces, ["tenure-plugins"]);
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.grants, []);
}

#[test]
fn a_policy_is_a_plugins_identity_and_labels_are_pairs() {
    let variables = [("TENURE_ELECTION_LABELS", "rack=r1, tier="), ("TENURE_ELECTION_ZONE", "")];
    let (settings, _) = parse("[election]\npolicy = \"a/b\"", &variables, &Flags::default()).unwrap();
    assert_eq!(settings.election.policy.as_deref(), Some("a/b"));
    assert_eq!(settings.election.zone, None);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(settings.election.labels, [pair("rack", "r1"), pair("tier", "")]);
    check_errors(
        &["[election]\npolicy = \"prefer-zone\"", "[election]\nlabels = [\"rack\"]"],
        &expect![[r#"
            tenure.toml:2:10: `election.policy` "prefer-zone" is no plugin; write <namespace>/<ConfigMap>, or directory/<file without its ending>
            tenure.toml:2:10: `election.labels` "rack" is no label; write <key>=<value>
        "#]],
    );
}

#[test]
fn a_lock_is_a_lease_unless_told_otherwise_and_may_need_another_with_it() {
    let election = settings("").election;
    assert_eq!((election.resource_lock, election.also_hold), (ResourceLock::Leases, vec![]));
    let election = settings("[election]\nalso-hold = [\"old\"]\n").election;
    assert_eq!(election.also_hold, ["old"]);
    let flags = Flags { leader_elect_resource_lock: Some("endpointsleases".to_owned()), ..Flags::default() };
    let (settings, _) = parse("", &[("TENURE_ELECTION_RESOURCE_LOCK", "configmaps")], &flags).unwrap();
    assert_eq!(settings.election.resource_lock, ResourceLock::EndpointsLeases);
    let all = ["leases", "configmaps", "endpoints", "configmapsleases", "endpointsleases"];
    for kind in all {
        let given = parse(&format!("[election]\nresource-lock = {kind:?}\n"), &[], &Flags::default()).unwrap().0;
        assert_eq!(given.election.resource_lock.as_str(), kind);
        assert_eq!(kind.parse(), Ok(given.election.resource_lock));
    }
    check_errors(
        &[
            "[election]\nresource-lock = \"pods\"\n",
            "[election]\nalso-hold = [\"Old\"]\n",
            "[election]\nid = \"a.b\"\nalso-hold = [\"a.b\"]\n",
            "[election]\nalso-hold = [\"old\", \"old\"]\n",
            "[election]\nresource-lock = \"configmapsleases\"\nalso-hold = [\"old\"]\n",
        ],
        &expect![[r#"
            tenure.toml:2:17: `election.resource-lock` cannot be read: unknown variant `pods`, expected one of `leases`, `configmaps`, `endpoints`, `configmapsleases`, `endpointsleases`
            tenure.toml:2:13: `election.also-hold` "Old" is no name for a lock; write lower-case letters, digits, '-' and '.' inside, at most 253
            tenure.toml:3:13: `election.also-hold` "a.b" is held already; remove it
            tenure.toml:2:13: `election.also-hold` "old" is held already; remove it
            tenure.toml:3:13: `election.also-hold` cannot go together with resource-lock "configmapsleases": make one move after the other
        "#]],
    );
    check_warnings(
        "[election]\nresource-lock = \"configmaps\"\n",
        &expect![[r#"
        tenure.toml:2:17: election.resource-lock is "configmaps": everybody who watches ConfigMaps hears of each renewal, and the Lease fence cannot be used; move to "leases" by a rollout of "configmapsleases" in between
    "#]],
    );
    check_warnings(
        "[election]\nresource-lock = \"endpoints\"\n",
        &expect![[r#"
        tenure.toml:2:17: election.resource-lock is "endpoints": everybody who watches Endpoints hears of each renewal, and the Lease fence cannot be used; move to "leases" by a rollout of "endpointsleases" in between
    "#]],
    );
    check_warnings(
        "[election]\nresource-lock = \"configmapsleases\"\n",
        &expect![[r#"
        tenure.toml:2:17: election.resource-lock is "configmapsleases": it is for the time of a move: once all replicas run with it, roll out "leases"
    "#]],
    );
    check_warnings(
        "[election]\nalso-hold = [\"old\"]\n",
        &expect![[r#"
        tenure.toml:2:13: election.also-hold is for the time of a move: once all replicas run with it, roll out without it
    "#]],
    );
}

#[test]
fn the_commented_file_gives_nothing_but_what_it_says() {
    let mut given = settings(&uncommented(COMMENTED));
    assert_eq!(settings(COMMENTED), settings(""), "as it stands it changes nothing");
    assert_eq!(given.election.namespace.take().as_deref(), Some("tenure-system"));
    assert_eq!(given.election.identity.take().as_deref(), Some("replica-a"));
    assert_eq!(given.election.container.take().as_deref(), Some("tenure"));
    assert_eq!(given.election.policy.take().as_deref(), Some("tenure-plugins/prefer-zone"));
    assert_eq!(given.election.zone.take().as_deref(), Some("eu-1a"));
    assert!(given.plugins.directory.take().is_some() && given.plugins.code_cache.take().is_some());
    assert_eq!(given.limits.guests_cpu_millis_max.take(), Some(1500));
    assert_eq!(std::mem::take(&mut given.grants).len(), 1);
    assert_eq!(given, settings(""), "a key stands there with another value than its default");
}

#[test]
fn each_key_has_its_place_in_the_commented_file_and_the_environment() {
    let written = uncommented(COMMENTED).parse::<toml::Table>().unwrap();
    let table = |path: &str| {
        path.split('.').filter(|part| !part.is_empty()).fold(toml::Value::Table(written.clone()), |value, part| {
            let inner = value.get(part).unwrap().clone();
            inner.as_array().map_or(inner.clone(), |array| array[0].clone())
        })
    };
    let mut leaves = BTreeSet::new();
    for path in ["", "election", "plugins", "limits", "console", "cache", "log", "grant", "grant.permission"] {
        for key in (FORM.keys)(path) {
            assert!(table(path).get(key).is_some(), "config/tenure.toml lacks {path}.{key}");
            let whole = if path.is_empty() { (*key).to_owned() } else { format!("{path}.{key}") };
            if !whole.starts_with("grant") && (FORM.keys)(&whole).is_empty() {
                leaves.insert(whole);
            }
        }
    }
    let variables = VARIABLES.iter().map(|variable| variable.key.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(leaves, variables);
}

#[test]
fn each_value_of_the_commented_file_can_come_from_the_environment() {
    let written = uncommented(COMMENTED).parse::<toml::Table>().unwrap();
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let value = |key: &str| match key.split_once('.') {
        Some((table, key)) => text(&written[table][key]),
        None => text(&written[key]),
    };
    let env = VARIABLES.map(|variable| (Variable::name(variable.key), value(variable.key)));
    let from_env = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let (mut from_env, _) = Settings::parse("", "tenure.toml", &from_env, &Flags::default()).unwrap();
    let mut from_file = settings(&uncommented(COMMENTED));
    from_file.grants.clear();
    from_env.grants.clear();
    assert_eq!(from_env, from_file);
}

#[test]
fn each_profile_sets_what_its_file_says() {
    for (profile, text) in Profile::ALL.into_iter().zip(PROFILES) {
        assert_eq!(settings(text).profile, profile);
        assert_eq!(settings(text), settings(&uncommented(text)), "{profile:?}");
    }
}

#[test]
fn what_is_given_wins_over_the_profile() {
    let settings = settings("profile = \"fast\"\nelection.lease-duration = \"8s\"\nlog.level = \"warn\"");
    assert_eq!(settings.election.timing.lease(), Duration::from_secs(8));
    assert_eq!(settings.election.timing.renew(), Timing::FAST.renew());
    assert_eq!(settings.log.level, LogLevel::Warn);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let toml = "[election]\nid = \"file.example.com\"\nlease-duration = \"20s\"\nrenew-deadline = \"12s\"\nretry-period = \"4s\"";
    let env = [("TENURE_ELECTION_LEASE_DURATION", "30s"), ("TENURE_ELECTION_RENEW_DEADLINE", "14s")];
    let flags = Flags { leader_elect_lease_duration: Some("40s".to_owned()), ..Flags::default() };
    let election = parse(toml, &env, &flags).unwrap().0.election;
    assert_eq!(election.id, "file.example.com");
    assert_eq!(election.timing.lease(), Duration::from_secs(40));
    assert_eq!(election.timing.renew(), Duration::from_secs(14));
    assert_eq!(election.timing.retry(), Duration::from_secs(4));
}

#[test]
fn the_pod_says_who_and_where_a_candidate_is_unless_it_is_given() {
    let pod = [("POD_NAME", "tenure-5d9c-x7"), ("POD_NAMESPACE", "tenure-system")];
    let election = parse("", &pod, &Flags::default()).unwrap().0.election;
    assert_eq!(election.namespace_or(Some("account")), "tenure-system");
    assert_eq!(election.identity_for("node-1", "0b5c").unwrap().as_str(), "tenure-5d9c-x7_0b5c");

    let election = settings("").election;
    assert_eq!(election.namespace_or(Some("account")), "account");
    assert_eq!(election.namespace_or(None), "default");
    assert_eq!(election.identity_for("node-1", "0b5c").unwrap().as_str(), "node-1_0b5c");

    let election = settings("election = { identity = \"a\", namespace = \"given\" }").election;
    assert_eq!(election.namespace_or(Some("account")), "given");
    assert_eq!(election.identity_for("node-1", "0b5c").unwrap().as_str(), "a");
}

#[test]
fn an_unknown_key_fails_with_the_nearest_one() {
    check_errors(
        &[
            "\n[election]\nleese-duration = \"15s\"\n",
            "[elections]\nid = \"a\"\n",
            "[log]\ncolour = true\n",
            "[[grant]]\nplugin = \"a/b\"\n[[grant]]\nplugim = \"a/b\"\n",
            "[[grant]]\nplugin = \"a/b\"\n[[grant.permission]]\napi-group = [\"\"]\n",
        ],
        &expect![[r#"
            tenure.toml:3:1: unknown key `election.leese-duration`; did you mean `lease-duration`?
            tenure.toml:1:2: unknown key `elections`; did you mean `election`?
            tenure.toml:2:1: unknown key `log.colour`; known here: format, level
            tenure.toml:4:1: unknown key `grant.plugim`; did you mean `plugin`?
            tenure.toml:4:1: unknown key `grant.permission.api-group`; did you mean `api-groups`?
        "#]],
    );
}

#[test]
fn values_that_cannot_stand_there_are_refused_with_their_place() {
    check_errors(
        &[
            "[election\n",
            "[election]\nenabled = \"yes\"\n",
            "[election]\n  lease-duration = 15\n",
            "[election]\nlease-duration = \"15\"\n",
            "[limits]\nmemory = \"32MB\"\n",
            "[limits]\nconcurrency = 0\n",
            "[limits]\nconcurrency = -1\n",
            "profile = \"quick\"\n",
            "[log]\nlevel = \"loud\"\n",
            "[console]\nlisten = \"8080\"\n",
            "[election]\nid = \"My Lock\"\n",
            "[election]\nidentity = \"a/b\"\n",
            "[election]\nwrite-timeout = \"1ms\"\n",
            "[plugins]\nnamespaces = [\"tenure-plugins\", \"Tenure\"]\n",
            "[plugins]\nnamespaces = [\"directory\"]\n",
            "[log]\nlevel = \"info\"\nlevel = \"warn\"\n",
        ],
        &expect![[r#"
            tenure.toml:1:10: this is not TOML: unclosed table, expected `]`
            tenure.toml:2:11: `election.enabled` cannot be read: invalid type: string "yes", expected a boolean
            tenure.toml:2:20: `election.lease-duration` cannot be read: invalid type: integer `15`, expected a duration with its unit in quotes, such as "5s" or "500ms"
            tenure.toml:2:18: `election.lease-duration` cannot be read: invalid value: string "15", expected a duration with its unit in quotes, such as "5s" or "500ms"
            tenure.toml:2:10: `limits.memory` cannot be read: invalid value: string "32MB", expected a size such as "32Mi" (units Ki, Mi, Gi, k, M, G) or a number of bytes
            tenure.toml:2:15: `limits.concurrency` must be more than 0; leave the key out for the default
            tenure.toml:2:15: `limits.concurrency` cannot be read: invalid value: integer `-1`, expected a whole number from 1 to 4294967295
            tenure.toml:1:11: `profile` cannot be read: unknown variant `quick`, expected one of `default`, `fast`, `lazy`, `single`, `development`
            tenure.toml:2:9: `log.level` cannot be read: unknown variant `loud`, expected one of `error`, `warn`, `info`, `debug`, `trace`
            tenure.toml:2:10: `console.listen` "8080" is no address to listen on; write "0.0.0.0:8080" or "[::]:8080"
            tenure.toml:2:6: `election.id` "My Lock" is no name for a Lease; write lower-case letters, digits, '-' and '.' inside, at most 253
            tenure.toml:2:12: `election.identity` identity "a/b" has a character that cannot stand there; give a non-empty name of at most 253 visible ASCII characters without '/'
            tenure.toml:2:17: `election.write-timeout` 1ms is too short for any answer; the shortest is 100ms
            tenure.toml:2:14: `plugins.namespaces` "Tenure" is no namespace's name; write lower-case letters, digits and '-' inside, at most 63
            tenure.toml:2:14: `plugins.namespaces` cannot be "directory": plugins there would be taken for those of a directory
            tenure.toml:3:1: this is not TOML: duplicate key
        "#]],
    );
}

#[test]
fn grants_that_cannot_hold_are_refused_with_their_place() {
    let rule = "[[grant.permission]]\napi-groups = [\"\"]\nresources = [\"configmaps\"]\n";
    check_errors(
        &[
            "[[grant]]\nplugin = \"label-*\"\n",
            "[[grant]]\nplugin = \"a/[b]\"\n",
            "[[grant]]\nplugin = \"a/b\"\ndigest = \"sha256:beef\"\n",
            "[[grant]]\nplugin = \"a/b\"\nkey = \"RWbeef\"\n",
            "[[grant]]\ndigest = \"sha256:beef\"\n",
            &format!("[[grant]]\nplugin = \"a/b\"\n{rule}"),
            &format!("[[grant]]\nplugin = \"a/b\"\n{rule}verbs = [\"read\"]\n"),
            &format!("[[grant]]\nplugin = \"a/b\"\n{rule}verbs = []\n"),
            &format!("[[grant]]\nplugin = \"a/b\"\n{rule}verbs = [\"get\"]\nnamespaces = [\"Team\"]\n"),
        ],
        &expect![[r#"
            tenure.toml:2:10: `grant.plugin` "label-*" is no pattern for a plugin; write "<namespace>/<ConfigMap>" or "directory/<file stem>", with '*' for any characters but '/'
            tenure.toml:2:10: `grant.plugin` "a/[b]" is no pattern that can be matched; only '*' has a meaning, for any characters but '/'
            tenure.toml:3:10: `grant.digest` "sha256:beef" is no SHA-256; write "sha256:" and 64 hex characters
            tenure.toml:3:7: `grant.key` "RWbeef" is no minisign public key; write the line that begins with "RW"
            tenure.toml:1:1: `grant.1` cannot be read: missing field `plugin`
            tenure.toml:3:1: `grant.1.permission.1` cannot be read: missing field `verbs`
            tenure.toml:3:1: `grant.permission` is not valid: "read" in `verbs` is no verb a plugin can send; the verbs are get, list, watch, create, update, patch, delete, deletecollection, or "*"
            tenure.toml:3:1: `grant.permission` is not valid: `verbs` is empty, so the rule covers nothing; write verbs, such as ["get", "list", "watch"]
            tenure.toml:3:1: `grant.permission` is not valid: "Team" cannot stand in `namespaces`: a namespace has lower-case letters, digits and '-', at most 63; one '*' stands for any characters
        "#]],
    );
}

#[test]
fn a_wrong_order_of_timing_is_refused_with_the_numbers_and_where_they_came_from() {
    check_errors(
        &["[election]\nlease-duration = \"10s\"\n", "profile = \"fast\"\nelection.grace = \"3s\"\n"],
        &expect![[r#"
            the lock's timing cannot work: lease-duration 10s must be longer than renew-deadline 10s (lease-duration from tenure.toml:2:18, renew-deadline from profile "default", retry-period from profile "default")
            the lock's timing cannot work: lease-duration 5s must be longer than renew-deadline 3s + grace 3s (lease-duration from profile "fast", renew-deadline from profile "fast", retry-period from profile "fast", grace from tenure.toml:2:18)
        "#]],
    );
    let flags = Flags { leader_elect_renew_deadline: Some("20s".to_owned()), ..Flags::default() };
    let error = parse("", &[("TENURE_ELECTION_RETRY_PERIOD", "3s")], &flags).unwrap_err();
    expect![[r#"the lock's timing cannot work: lease-duration 15s must be longer than renew-deadline 20s (lease-duration from profile "default", renew-deadline from flag --leader-elect-renew-deadline, retry-period from environment variable TENURE_ELECTION_RETRY_PERIOD)"#]].assert_eq(&error.to_string());
}

#[test]
fn wrong_variables_and_flags_are_refused_by_their_name() {
    let error = |env: &[(&str, &str)], flags: &Flags| parse("", env, flags).unwrap_err().to_string();
    let none = Flags::default();
    expect![[r#"environment variable TENURE_ELECTION_ENABLED: `election.enabled` cannot be read: invalid type: string "maybe", expected a boolean"#]].assert_eq(&error(&[("TENURE_ELECTION_ENABLED", "maybe")], &none));
    expect![[r#"environment variable TENURE_LIMITS_MEMORY: `limits.memory` cannot be read: invalid value: string "lots", expected a size such as "32Mi" (units Ki, Mi, Gi, k, M, G) or a number of bytes"#]].assert_eq(&error(&[("TENURE_LIMITS_MEMORY", "lots")], &none));
    expect![[r#"environment variable POD_NAMESPACE: `election.namespace` "Not a name" is no namespace's name; write lower-case letters, digits and '-' inside, at most 63"#]].assert_eq(&error(&[("POD_NAMESPACE", "Not a name")], &none));
    let flags = Flags { leader_elect_lease_duration: Some("soon\"\n[log".to_owned()), ..none };
    expect![[r#"flag --leader-elect-lease-duration: `election.lease-duration` cannot be read: invalid value: string "soon\"\n[log", expected a duration with its unit in quotes, such as "5s" or "500ms""#]].assert_eq(&error(&[], &flags));
}

#[test]
fn plugins_are_kept_out_of_the_hosts_namespace() {
    let toml = "[plugins]\nnamespaces = [\"tenure-system\"]\n";
    let error = parse(toml, &[("POD_NAMESPACE", "tenure-system")], &Flags::default()).unwrap_err();
    expect![[r#"plugins.namespaces has "tenure-system", where the host or its lock is; plugins need a namespace of their own (tenure.toml:2:14)"#]].assert_eq(&error.to_string());
    assert!(settings(toml).check_host_namespace("tenure-system").is_err());
    assert!(settings(toml).check_host_namespace("elsewhere").is_ok());
}

#[test]
fn what_works_at_a_cost_is_warned_about() {
    check_warnings("", &expect![[""]]);
    check_warnings(
        "election.id = \"lock\"\n",
        &expect![[r#"
        tenure.toml:1:15: election.id "lock" has no group after its name, so another program may choose it too; better "lock.example.com"
    "#]],
    );
    check_warnings(
        "profile = \"single\"\n",
        &expect![[r#"
        election.enabled is false: this replica works as if it were alone; keep `replicas: 1` and `strategy: Recreate`
    "#]],
    );
    check_warnings(
        "[[grant]]\nplugin = \"elsewhere/x\"\n[[grant]]\nplugin = \"directory/x\"\n",
        &expect![[r#"
        grant for "elsewhere/x" matches no plugin: plugins come from the namespaces in plugins.namespaces, and from plugins.directory as "directory/.."
        grant for "directory/x" matches no plugin: plugins come from the namespaces in plugins.namespaces, and from plugins.directory as "directory/.."
    "#]],
    );
}

#[test]
fn a_grant_is_for_the_plugins_its_pattern_and_digest_match() {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let settings = settings(&uncommented(COMMENTED));
    let plugin = |name| PluginIdentity::config_map("tenure-plugins", name).unwrap();
    let grant = &settings.grants[0];
    let wasm = |digest: &str| Provenance::new(digest, &Bytes::new(), None);
    assert_eq!(grant.wants(&plugin("label-propagator"), &wasm(&digest.replace('9', "8"))), None);
    assert_eq!(grant.wants(&plugin("other"), &wasm(digest)), None);
    let key = grant.wants(&plugin("label-propagator"), &wasm(digest)).flatten().expect("a key");
    assert!(key.as_str().starts_with("RW"));
    assert!(!grant.matches(&plugin("label-propagator"), &wasm(digest)), "nobody signed it");
    let account = settings.grants[0].service_account.as_ref().expect("an account");
    assert_eq!(account.user(), "system:serviceaccount:shop:label-propagator");
    assert_eq!(settings.grants[0].fence, Some(crate::Fence::Object));
}
