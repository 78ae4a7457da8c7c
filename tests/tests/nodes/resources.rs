//! Processor time that is cut.

use serde_json::json;
use tenure_tests::until_some_within;

use super::cluster::kubectl;
use super::release::{LIMIT, Release, SYSTEM, Setup};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_leader_throttled_by_a_quota_hands_over_and_writes_nothing_late() {
    let mut release = Release::standing(Setup::Fast).await;
    let old = release.leader().await;
    let before = old.container.times_throttled();
    let resources = json!({"limits": {"cpu": "10m"}, "requests": {"cpu": "10m"}});
    let resize = json!({"spec": {"containers": [{"name": "tenure", "resources": resources}]}}).to_string();
    let pod = old.container.pod.as_str();
    kubectl(&["patch", "pod", pod, "--namespace", SYSTEM, "--subresource", "resize", "--patch", &resize]);
    until_some_within(LIMIT, "the leader to be throttled", || async {
        (old.container.times_throttled() > before).then_some(())
    })
    .await;
    // It may go on leading, late as it is, or lose the lease; whichever comes first, it has to go.
    release.change_plugin().await;
    kubectl(&["delete", "pod", pod, "--namespace", SYSTEM, "--wait=false"]);
    release.leader_above(old.term).await;
    release.replicas(3).await;
    release.assert_clean().await;
    release.tell_gap_after("leader throttled to a hundredth of a processor, and deleted", old.term);
}
