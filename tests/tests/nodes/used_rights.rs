//! The Roles we ship hold what the Deployment has used while all the other tests were run, and nothing else. Comes last, by its
//! name: modules are run in the order of theirs.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::Role;
use serde_json::Value;
use tenure_control_plane::AuditLog;
use tenure_tests::until_some_within;

use super::cluster::{audit_file, kubectl};
use super::release::{LIMIT, PLUGINS, Release, SYSTEM, Setup};

/// Namespace, group, resource, verb.
type Right = (String, String, String, String);

/// As shipped.
const ROLES: [&str; 2] = [
    include_str!("../../../deploy/kustomize/base/roles.yaml"),
    include_str!("../../../deploy/kustomize/components/proof-of-death/role.yaml"),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn the_shipped_roles_are_what_was_used() {
    // A death is looked for only here.
    let release = Release::standing(Setup::Default).await;
    release.assert_clean().await;
    // A plugin that is refused, twice for the same reason: told by an Event, which is then counted up.
    for (text, verb) in [("one", "create"), ("other", "patch")] {
        super::cluster::apply(&serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "refused", "namespace": PLUGINS, "labels": {"tenure.dev/plugin": "true"}},
            "data": {"plugin.toml": text},
        }));
        until_some_within(LIMIT, "the Event of a refusal", || async {
            used().contains(&right(PLUGINS, "events.k8s.io", "events", verb)).then_some(())
        })
        .await;
    }
    kubectl(&["delete", "configmap", "refused", "--namespace", PLUGINS]);
    let shipped = shipped();
    until_some_within(LIMIT, "each shipped right to have been used", || async {
        let unused: Vec<Right> = shipped.difference(&used()).cloned().collect();
        assert!(release.leader().await.term > 0);
        unused.is_empty().then_some(())
    })
    .await;
    let lacking: Vec<Right> = used().difference(&shipped).cloned().collect();
    assert!(lacking.is_empty(), "used and not shipped: {lacking:#?}");
}

fn right(namespace: &str, group: &str, resource: &str, verb: &str) -> Right {
    (namespace.to_owned(), group.to_owned(), resource.to_owned(), verb.to_owned())
}

/// What the replicas' account has asked for in its two namespaces since the cluster began; plugins reach neither.
fn used() -> BTreeSet<Right> {
    let account = format!("system:serviceaccount:{SYSTEM}:tenure");
    let events = AuditLog::at(&audit_file()).events().into_iter();
    let of_host =
        events.filter(|event| event.user == account && (event.namespace == SYSTEM || event.namespace == PLUGINS));
    of_host
        .map(|event| {
            let resource = match event.subresource.as_str() {
                "" => event.resource.clone(),
                subresource => format!("{}/{subresource}", event.resource),
            };
            right(&event.namespace, &event.group, &resource, &event.verb)
        })
        .collect()
}

fn shipped() -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for document in ROLES.iter().flat_map(|file| file.split("\n---\n")) {
        let object: Value = serde_saphyr::from_str(document).expect("YAML");
        if object["kind"] != "Role" {
            continue;
        }
        let role: Role = serde_json::from_value(object).expect("a Role");
        let namespace = role.metadata.namespace.expect("a Role is somewhere");
        for rule in role.rules.into_iter().flatten() {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    rights.extend(rule.verbs.iter().map(|verb| right(&namespace, group, resource, verb)));
                }
            }
        }
    }
    rights
}
