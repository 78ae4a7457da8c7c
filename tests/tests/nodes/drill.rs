//! `tenure drill --node-access` on a real node: it finds the holder's processes, stops and kills them, and leaves nothing behind.

use std::process::Command;

use serde_json::Value;
use tenure_tests::{program, until_some_within};

use super::cluster::{is_ours, kubectl, succeeded};
use super::release::{LIMIT, LOCK, Release, SYSTEM, Setup};

/// A shell and what the drill's script calls, on the nodes of `cargo xtask cluster`; elsewhere the drill's own choice is fetched.
const IMAGE: &str = "tenure.dev/tools:1";

/// Drills the release's lock, and answers with the report once the drill's namespace is gone.
async fn drilled(mode: &str) -> (Release, Value) {
    let release = Release::standing(Setup::Fast).await;
    let lease = format!("{SYSTEM}/{LOCK}");
    let mut drill = Command::new(program());
    drill.args(["drill", "--lease", &lease, "--mode", mode, "--trials", "2", "--yes", "-o", "json"]);
    drill.args(["--selector", "app.kubernetes.io/name=tenure", "--node-access"]);
    if is_ours() {
        drill.args(["--node-image", IMAGE]);
    }
    let report: Value = serde_json::from_str(&succeeded(&mut drill)).expect("a report");
    until_some_within(LIMIT, "the drill's namespace to go", || async {
        let left =
            kubectl(&["get", "namespaces", "--selector", "app.kubernetes.io/managed-by=tenure-drill", "--output=name"]);
        left.is_empty().then_some(())
    })
    .await;
    release.replicas(3).await;
    release.assert_clean().await;
    for trial in report["trials"].as_array().expect("trials") {
        let ms = |name: &str| trial[name].as_f64().unwrap_or_else(|| panic!("{name} is no number: {trial}"));
        assert!(ms("past_expiry_by_record_ms") >= 0.0, "taken over before expiry: {trial}");
        assert_ne!(trial["holder"], trial["successor"], "{trial}");
    }
    assert_eq!(report["trials"].as_array().map(Vec::len), Some(2), "{report}");
    (release, report)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_crash_on_the_holders_node_is_measured_to_the_takeover() {
    let (release, _) = drilled("crash").await;
    let restarts = release
        .pods()
        .await
        .iter()
        .filter_map(|pod| Some(pod.status.as_ref()?.container_statuses.as_ref()?.first()?.restart_count))
        .sum::<i32>();
    assert!(restarts >= 2, "containers were started again {restarts} times");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn a_pause_on_the_holders_node_tells_what_the_resumed_one_did() {
    let (_, report) = drilled("pause").await;
    for trial in report["trials"].as_array().expect("trials") {
        assert!(trial["resume"].is_object(), "nothing is said of the one that went on: {trial}");
    }
}
