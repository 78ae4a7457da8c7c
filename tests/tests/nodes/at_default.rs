//! At the default timing of 15/10/2 s, with the component `proof-of-death`.

use std::time::Duration;

use tenure_tests::until_some_within;

use super::cluster;
use super::release::{LIMIT, Release, Setup};

/// Past the renew deadline and the lease, as in the run in which client-go's election had two leaders.
const CUT_OFF: Duration = Duration::from_secs(20);

const LEASE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_leader_cut_off_for_20_seconds_never_leads_beside_its_successor() {
    let mut release = Release::standing(Setup::Default).await;
    let old = release.leader().await;
    let cut = cluster::cut(&old.container.node);
    let heal = tokio::time::sleep(CUT_OFF);
    release.change_plugin().await;
    heal.await;
    drop(cut);
    release.leader_above(old.term).await;
    release.replicas(3).await;
    release.assert_clean().await;
    release.tell_gap_after("leader's node cut off for 20 s, at 15/10/2", old.term);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_leader_proved_dead_by_its_kubelet_is_replaced_before_its_lease_is_over() {
    let mut release = Release::standing(Setup::Default).await;
    // Who leads first after a rollout may not have known its container when its term began.
    let old = until_some_within(LIMIT, "a leader whose lock names its container", || async {
        let leader = release.leader().await;
        if release.lock_names_a_container().await {
            return Some(leader);
        }
        cluster::kubectl(&["delete", "pod", &leader.container.pod, "--namespace", super::release::SYSTEM]);
        release.leader_above(leader.term).await;
        None
    })
    .await;
    release.replicas(3).await;
    old.is_dead();
    old.container.kill();
    release.change_plugin().await;
    release.leader_above(old.term).await;
    release.assert_clean().await;
    let early = release.log().early(LEASE);
    assert!(early.iter().any(|(before, _)| before.holder == old.identity), "the lease was waited out");
    release.tell_gap_after("leader's container killed, its death proved, at 15/10/2", old.term);
    release.replicas(3).await;
}
