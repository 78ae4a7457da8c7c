//! What happens to a leader, at the profile `fast`: it is killed, frozen, cut off; its API server is killed, its image changed.

use std::time::Duration;

use tenure_tests::until_some_within;

use super::anywhere::assert_released;
use super::cluster::{self, CONTROL_PLANE, kubectl};
use super::release::{LIMIT, Release, SYSTEM, Setup, install};

/// Longer than any lease, and shorter than what a liveness probe waits for.
const FROZEN: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_leader_whose_container_is_killed_is_replaced_when_its_lease_is_over() {
    let mut release = Release::standing(Setup::Fast).await;
    let old = release.leader().await;
    old.container.kill();
    release.change_plugin().await;
    release.leader_above(old.term).await;
    release.replicas(3).await;
    release.assert_clean().await;
    release.tell_gap_after("leader's container killed", old.term);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_leader_that_was_frozen_writes_nothing_once_it_is_thawed() {
    let mut release = Release::standing(Setup::Fast).await;
    let old = release.leader().await;
    let frozen = old.container.freeze();
    let thaw = tokio::time::sleep(FROZEN);
    release.change_plugin().await;
    release.leader_above(old.term).await;
    thaw.await;
    drop(frozen);
    release.replicas(3).await;
    release.assert_clean().await;
    release.tell_gap_after("leader's container frozen", old.term);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_leader_whose_node_is_cut_off_for_good_is_done_without() {
    let mut release = Release::standing(Setup::Fast).await;
    let old = release.leader().await;
    let node = old.container.node.as_str();
    let cut = cluster::cut(node);
    release.change_plugin().await;
    release.leader_above(old.term).await;
    let not_ready = format!("--for=condition=Ready=unknown,timeout={}s", LIMIT.as_secs());
    let (condition, timeout) = not_ready.split_once(",timeout=").expect("two words");
    kubectl(&["wait", &format!("node/{node}"), condition, &format!("--timeout={timeout}")]);
    // What an operator does with a node that is lost: its Pods are forgotten, and started elsewhere.
    kubectl(&["delete", "node", node]);
    release.replicas(3).await;
    release.converged().await;
    release.tell_gap_after("leader's node cut off", old.term);

    // It was not lost after all: a kubelet that starts finds its Pods gone, and ends them.
    drop(cut);
    cluster::restart(node, "kubelet");
    until_some_within(LIMIT, "the old leader's container to be ended", || async {
        old.container.processes().is_empty().then_some(())
    })
    .await;
    kubectl(&["wait", &format!("node/{node}"), "--for=condition=Ready", &format!("--timeout={timeout}")]);
    release.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn an_api_server_that_is_killed_and_started_again_finds_one_leader() {
    let mut release = Release::standing(Setup::Fast).await;
    let old = release.leader().await;
    cluster::restart(CONTROL_PLANE, "kube-apiserver");
    release.change_plugin().await;
    release.leader().await;
    release.replicas(3).await;
    release.assert_clean().await;
    release.tell_gap_after("API server killed and started again", old.term);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn another_image_rolls_out_by_handovers() {
    let mut release = Release::standing(Setup::Fast).await;
    // What an earlier test has left without an answer forbids a release in its term.
    let before = release.leader().await;
    kubectl(&["delete", "pod", &before.container.pod, "--namespace", SYSTEM]);
    release.leader_above(before.term).await;
    release.replicas(3).await;
    let old = release.leader().await;
    release.change_plugin().await;
    install(Setup::NextImage).await;
    release.leader_above(old.term).await;
    release.replicas(3).await;
    release.assert_clean().await;
    assert_released(&release, old.term);
    release.tell_gap_after("rolling update of the image", old.term);
}
