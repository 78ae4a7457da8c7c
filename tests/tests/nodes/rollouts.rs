//! The Deployment changes: another image, other settings, another number of replicas, a second installation beside it.

use super::at_fast::assert_released;
use super::cluster::kubectl;
use super::release::{Release, SYSTEM, Setup, install};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn another_image_rolls_out_by_handovers() {
    let mut release = Release::standing(Setup::Fast).await;
    let old = release.leader().await;
    release.change_plugin().await;
    install(Setup::NextImage).await;
    release.leader_above(old.term).await;
    release.replicas(3).await;
    release.assert_clean().await;
    assert_released(&release, old.term);
    release.tell_gap_after("rolling update of the image", old.term);
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
