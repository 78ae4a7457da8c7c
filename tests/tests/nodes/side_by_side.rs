//! Two installations in one cluster, one by kustomize, one by the chart: what is done to one does not touch the other.

use std::process::Command;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use tenure_tests::{LockLog, until_some_within};

use super::cluster::{self, folder, kubectl, succeeded, workspace};
use super::container::Container;
use super::release::{LIMIT, Release, Setup};

const OTHER: &str = "other-system";
const OTHER_LOCK: &str = "other.tenure.dev";
const OTHER_SETTINGS: &str = "profile = \"fast\"\n[election]\nid = \"other.tenure.dev\"\n[plugins]\nnamespaces = [\"other-plugins\"]\n\
                              code-cache = \"/var/cache/tenure\"\n[console]\nlisten = \"0.0.0.0:8080\"\n[log]\nformat = \"json\"\n";

fn helm(words: &[&str]) {
    let home = folder().join("helm");
    let mut helm = Command::new(std::env::var_os("HELM").expect("HELM is set"));
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(name, &home);
    }
    succeeded(helm.args(words).args(["--namespace", OTHER]));
}

/// Identity and term of the other lock's holder, and what that runs in.
async fn other_leader(client: &kube::Client, above: u64) -> (String, u64, Container) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), OTHER);
    let pods: Api<Pod> = Api::namespaced(client.clone(), OTHER);
    until_some_within(LIMIT, "a leader of the other installation", || async {
        let lease = leases.get(OTHER_LOCK).await.ok()?;
        let term = lease.annotations().get("tenure.dev/term")?.split('/').next()?.parse().ok()?;
        let identity = lease.spec?.holder_identity.filter(|it| !it.is_empty() && term > above)?;
        let all = pods.list(&ListParams::default()).await.ok()?;
        let pod = all.iter().find(|pod| identity.split('_').next() == Some(&pod.name_any()))?;
        Some((identity, term, Container::of(pod)?))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn what_is_done_to_one_installation_does_not_touch_the_other() {
    let mut release = Release::standing(Setup::Fast).await;
    let settings = folder().join("other.toml");
    std::fs::write(&settings, OTHER_SETTINGS).expect("written");
    let (settings, chart) = (format!("settings={}", settings.display()), workspace().join("deploy/helm/tenure"));
    let chart = chart.display().to_string();
    helm(&["upgrade", "--install", "tenure", &chart, "--create-namespace", "--set-file", &settings]);
    let (theirs, their_term, container) = other_leader(&release.client, 0).await;
    let ours = release.leader().await;

    container.kill();
    let (after, their_next_term, _) = other_leader(&release.client, their_term).await;
    assert_ne!(theirs, after);
    assert_eq!(release.leader().await.identity, ours.identity, "theirs was killed, and ours lost its term");

    ours.container.kill();
    release.change_plugin().await;
    release.leader_above(ours.term).await;
    assert_eq!(other_leader(&release.client, 0).await.1, their_next_term, "ours was killed, and theirs lost its term");

    release.replicas(3).await;
    release.assert_clean().await;
    LockLog::new(cluster::audit(), OTHER, OTHER_LOCK).assert_nobody_came_early(std::time::Duration::from_secs(5));
    helm(&["uninstall", "tenure"]);
    kubectl(&["delete", "namespace", OTHER, "other-plugins"]);
}
