//! What can be done to the Deployment on any cluster, with nothing but its API: a leader's Pod is deleted, its node drained, its
//! memory runs out; other settings roll out, one replica, five.

use tenure_tests::{Plugin, until_some_within};

use super::cluster::kubectl;
use super::release::{LIMIT, PLUGINS, Release, SYSTEM, Setup, install};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_leader_whose_pod_is_deleted_hands_over() {
    let mut release = Release::standing(Setup::Fast).await;
    let old = release.leader().await;
    kubectl(&["delete", "pod", &old.container.pod, "--namespace", SYSTEM, "--wait=false"]);
    release.change_plugin().await;
    release.leader_above(old.term).await;
    release.replicas(3).await;
    release.assert_clean().await;
    assert_released(&release, old.term);
    release.tell_gap_after("leader's Pod deleted", old.term);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_leader_whose_node_is_drained_hands_over() {
    let mut release = Release::standing(Setup::Fast).await;
    let old = release.leader().await;
    let node = old.container.node.as_str();
    let timeout = format!("--timeout={}s", LIMIT.as_secs());
    kubectl(&["drain", node, "--delete-emptydir-data", "--ignore-daemonsets", &timeout]);
    release.change_plugin().await;
    release.leader_above(old.term).await;
    release.replicas(3).await;
    kubectl(&["uncordon", node]);
    release.assert_clean().await;
    assert_released(&release, old.term);
    release.tell_gap_after("leader's node drained", old.term);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn all_pods_deleted_at_once_are_replaced() {
    let mut release = Release::standing(Setup::Fast).await;
    let old = release.leader().await;
    kubectl(&["delete", "pods", "--all", "--namespace", SYSTEM, "--wait=false"]);
    release.change_plugin().await;
    release.leader_above(old.term).await;
    release.replicas(3).await;
    release.assert_clean().await;
    release.tell_gap_after("all Pods deleted at once", old.term);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn other_settings_roll_out_by_handovers_also_another_timing() {
    let mut release = Release::standing(Setup::Default).await;
    let old = release.leader().await;
    release.change_plugin().await;
    install(Setup::Fast).await;
    release.leader_above(old.term).await;
    release.replicas(3).await;
    release.assert_clean().await;
    assert_released(&release, old.term);
    release.tell_gap_after("rolling update of the settings", old.term);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn one_replica_leads_alone_and_five_lead_as_one() {
    let mut release = Release::standing(Setup::Fast).await;
    for count in [1, 5] {
        kubectl(&["scale", "deployment/tenure", &format!("--replicas={count}"), "--namespace", SYSTEM]);
        release.change_plugin().await;
        release.replicas(count).await;
        release.leader().await;
        release.assert_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_leader_killed_for_its_memory_is_replaced() {
    let mut release = Release::standing(Setup::Fast).await;
    let old = release.leader().await;
    // More than the container has, and no more than the settings of these tests let an instance have.
    release.object("eat", "eaten").await;
    release.drop_in(&Plugin::probe("eat", "eat", "1")).await;
    until_some_within(LIMIT, "a container killed for its memory", || async {
        let pods = release.pods().await;
        let mut statuses = pods.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()).flatten();
        let reason = |state: &k8s_openapi::api::core::v1::ContainerState| state.terminated.as_ref()?.reason.clone();
        statuses
            .any(|status| {
                let states = [status.state.as_ref(), status.last_state.as_ref()];
                states.into_iter().flatten().any(|state| reason(state).as_deref() == Some("OOMKilled"))
            })
            .then_some(())
    })
    .await;
    kubectl(&["delete", "configmap", "eat", "--namespace", PLUGINS]);
    release.change_plugin().await;
    release.leader_above(old.term).await;
    release.replicas(3).await;
    release.assert_clean().await;
    release.tell_gap_after("leader killed for its memory", old.term);
}

/// Panics unless the term was ended by a release.
pub(crate) fn assert_released(release: &Release, term: u64) {
    let history = release.judge.history();
    let released = history.iter().any(|state| state.term == Some(term) && state.holder.is_empty());
    assert!(released, "term {term} was not released: {history:#?}");
}
