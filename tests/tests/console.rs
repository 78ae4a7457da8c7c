//! What a replica says of itself over HTTP, and what `tenure status` makes of it.

use std::process::Command;

use serde_json::{Value, json};
use tenure_tests::{Options, Plugin, World, get, program, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_is_healthy_and_ready_and_one_is_master() {
    let mut world = World::with_replicas(2, Options::default()).await;
    world.drop_in(&Plugin::probe("probe", "stamp", "1")).await;
    world.config_map("probe", "default", "target", json!({})).await;
    world.annotated("default", "target", "probe/term").await;
    for name in ["replica-0", "replica-1"] {
        let console = world.replica(name).console().await;
        assert_eq!(get(&format!("{console}/healthz")).await.as_deref().map(str::trim), Some("ok"));
        until("the replica to be ready", || async { get(&format!("{console}/readyz")).await.is_some() }).await;
        until(&format!("{name} to say whether it is master, as the Lease does"), || async {
            let is_master = u8::from(world.holder().await.as_deref() == Some(name));
            let expected = format!("leader_election_master_status{{name=\"tenure\"}} {is_master}");
            get(&format!("{console}/metrics")).await.is_some_and(|metrics| metrics.contains(&expected))
        })
        .await;
    }
    let leader = world.leader().await;
    let console = world.replica(&leader).console().await;
    let metrics = get(&format!("{console}/metrics")).await.expect("metrics");
    for name in [
        "controller_runtime_reconcile_total",
        "controller_runtime_reconcile_time_seconds_bucket",
        "workqueue_depth",
        "workqueue_adds_total",
        "leader_election_slowpath_total",
        "tenure_writes_total",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_lock_and_plugins_as_table_and_json() {
    let world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&Plugin::probe("probe", "stamp", "1")).await;
    world.plugin_state("probe", "running").await;
    let kubeconfig = world.kubeconfig("person", None).await.display().to_string();
    let status = |more: &[&str]| {
        let output = Command::new(program())
            .args(["status", "--kubeconfig", &kubeconfig, "--lease", "tenure"])
            .args(more)
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let table = tokio::task::block_in_place(|| status(&[]));
    for word in ["tenure-system/tenure", "held", "replica-0", "tenure-plugins/probe", "running"] {
        assert!(table.contains(word), "{word} is missing in\n{table}");
    }
    let json: Value = serde_json::from_str(&tokio::task::block_in_place(|| status(&["-o", "json"]))).expect("JSON");
    assert_eq!(json["plugins"][0]["identity"], "tenure-plugins/probe");
    assert!(json["locks"][0]["holder"].as_str().is_some_and(|holder| holder.starts_with("replica-0_")), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_each_lock_that_is_held_and_calls_the_holder_unknown_where_they_disagree() {
    let mut world = World::new(Options::default()).await;
    world.start_with("replica-0", &[("TENURE_ELECTION_RESOURCE_LOCK", "configmapsleases")]).await;
    world.leader().await;
    let kubeconfig = world.kubeconfig("person", None).await.display().to_string();
    let locks = || {
        let output = Command::new(program())
            .args(["status", "--kubeconfig", &kubeconfig, "--lease", "tenure", "-o", "json"])
            .args(["--resource-lock", "configmapsleases"])
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["locks"].clone()
    };
    let shown = tokio::task::block_in_place(locks);
    let holders = [&shown[0]["holder"], &shown[1]["holder"]];
    assert!(holders[0].as_str().is_some_and(|holder| holder.starts_with("replica-0_")), "{shown}");
    assert_eq!(holders[0], holders[1]);
    assert_eq!(shown[0]["term"], shown[1]["term"]);
    assert_eq!((&shown[0]["name"], &shown[1]["name"]), (&json!("tenure"), &json!("tenure (configmaps)")));

    world.replica("replica-0").kill();
    world.edit_lease(json!({ "spec": { "holderIdentity": "somebody" } })).await;
    let shown = tokio::task::block_in_place(locks);
    for lock in [&shown[0], &shown[1]] {
        assert_eq!(lock["holder"], "leaderelection.k8s.io/unknown", "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_replica_works_without_a_lock() {
    let mut world = World::new(Options { profile: "single", ..Options::default() }).await;
    world.start("only").await;
    world.drop_in(&Plugin::probe("probe", "stamp", "1")).await;
    world.config_map("probe", "default", "target", json!({})).await;
    world.annotated("default", "target", "probe/term").await;
    assert!(world.lease().await.is_none(), "no lock, no Lease");
    world.replica("only").signal(rustix::process::Signal::TERM);
    assert!(world.replica("only").ended().await.success());
}
