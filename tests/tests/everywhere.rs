//! `run-on = "all"`: plugins that cannot write run on every replica, whoever leads.

use serde_json::json;
use tenure_tests::{Options, Plugin, World, until};

/// What the lookout on a replica says of an object.
fn saw(name: &str, value: &str) -> String {
    format!("saw {name} with {value} in term 0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_only_reads_runs_on_every_replica_and_through_a_handover() {
    let mut world = World::with_replicas(2, Options::default()).await;
    world.drop_in(&Plugin::built("lookout")).await;
    world.config_map("lookout", "default", "target", json!({"value": "one"})).await;
    for name in ["replica-0", "replica-1"] {
        world.replica(name).logged(&saw("target", "one")).await;
        world.only_plugin_is(name, "running").await;
    }
    let leader = world.leader().await;
    world.replica(&leader).signal(rustix::process::Signal::TERM);
    assert!(world.replica(&leader).ended().await.success());
    let successor = world.leader_after(&leader).await;
    world.config_map("lookout", "default", "target", json!({"value": "two"})).await;
    world.replica(&successor).logged(&saw("target", "two")).await;
    world.remove_plugin("lookout").await;
    until("the plugin to be gone", || async { world.plugins_on_leader().await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_can_write_is_refused_on_every_replica() {
    let world = World::with_replicas(1, Options::default()).await;
    let mut plugin = Plugin::probe("bad", "stamp", "1");
    plugin.manifest = plugin.manifest.replacen("[[watch]]", "run-on = \"all\"\n\n[[watch]]", 1);
    world.drop_in(&plugin).await;
    let row = world.plugin_state("bad", "refused").await;
    assert!(row["message"].as_str().is_some_and(|message| message.contains("imports kubernetes-write")), "{row}");
    world.drop_in(&plugin.with_finalizer()).await;
    until("the refusal of the finalizer", || async {
        let row = world.plugin_state("bad", "refused").await;
        row["message"].as_str().is_some_and(|message| message.contains("exclude each other"))
    })
    .await;
}
