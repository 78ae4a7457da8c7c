//! Plugins that change while they run: the newest one ends up running, and nothing is left of the others.

use serde_json::json;
use tenure_tests::{Options, PLUGIN_NAMESPACE, Plugin, World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_edits_in_a_row_end_with_the_last_one_running_and_nothing_leaks() {
    let mut world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&Plugin::probe("probe", "stamp", "0")).await;
    world.config_map("probe", "default", "target", json!({})).await;
    world.annotated_with("default", "target", "probe/value", "0").await;
    // A first round of edits brings caches and pools to their size; what the second adds would be a leak.
    edit_up_to(&world, 1..=50).await;
    let before = (world.replica("replica-0").descriptors(), world.replica("replica-0").resident_kib());
    edit_up_to(&world, 51..=150).await;
    // What the last edits replaced is still being let go of; a leak stays. 100 forgotten loads of this plugin would be far more.
    let (descriptors_max, resident_kib_max) = (before.0 + 4, before.1 + 24 * 1024);
    let replica = &world.replicas["replica-0"];
    until(&format!("at most {descriptors_max} descriptors and {resident_kib_max} KiB after 100 edits"), || async {
        replica.descriptors() <= descriptors_max && replica.resident_kib() <= resident_kib_max
    })
    .await;
    assert_eq!(world.plugins_on_leader().await, 1);
    world.judge.assert_clean();
}

async fn edit_up_to(world: &World, values: std::ops::RangeInclusive<u32>) {
    let last = values.end().to_string();
    for value in values {
        world.drop_in(&Plugin::probe("probe", "stamp", &value.to_string())).await;
    }
    world.annotated_with("default", "target", "probe/value", &last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_added_and_removed_without_a_restart() {
    let world = World::with_replicas(2, Options::default()).await;
    world.drop_in(&Plugin::probe("one", "stamp", "1")).await;
    world.drop_in(&Plugin::probe("two", "stamp", "2")).await;
    world.config_map("one", "default", "of-one", json!({})).await;
    world.config_map("two", "default", "of-two", json!({})).await;
    world.annotated_with("default", "of-one", "probe/value", "1").await;
    world.annotated_with("default", "of-two", "probe/value", "2").await;
    world.remove_plugin("one").await;
    until("the removed plugin to be gone", || async { world.plugins_on_leader().await == 1 }).await;
    world.config_map("one", "default", "too-late", json!({})).await;
    world.config_map("two", "default", "in-time", json!({})).await;
    world.annotated("default", "in-time", "probe/value").await;
    assert_eq!(world.annotation("default", "too-late", "probe/value").await, None);
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_version_leaves_the_good_one_running() {
    let world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&Plugin::probe("probe", "stamp", "good")).await;
    world.config_map("probe", "default", "before", json!({})).await;
    world.annotated_with("default", "before", "probe/value", "good").await;
    let broken = Plugin { wasm: b"\0asm\x01\0\0\0broken".to_vec(), ..Plugin::probe("probe", "stamp", "bad") };
    world.drop_in(&broken).await;
    let row = world.plugin_state("probe", "refused").await;
    assert!(row["message"].as_str().is_some_and(|message| message.contains("goes on running")), "{row}");
    world.config_map("probe", "default", "after", json!({})).await;
    world.annotated_with("default", "after", "probe/value", "good").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_plugin_rests_until_it_is_let_go() {
    let world = World::with_replicas(1, Options::default()).await;
    let plugin = Plugin::probe("probe", "stamp", "1");
    world.drop_in(&plugin).await;
    world.plugin_state("probe", "running").await;
    world.annotate(PLUGIN_NAMESPACE, "probe", "tenure.dev/suspend", "true").await;
    world.plugin_state("probe", "suspended").await;
    world.config_map("probe", "default", "meanwhile", json!({})).await;
    world.annotate(PLUGIN_NAMESPACE, "probe", "tenure.dev/suspend", "false").await;
    world.annotated("default", "meanwhile", "probe/value").await;
}

/// Drops a plugin in with annotations on its head ConfigMap, all in one edit.
async fn drop_in_annotated(world: &World, plugin: &Plugin, annotations: serde_json::Value) {
    let mut objects = plugin.pack(PLUGIN_NAMESPACE);
    let head = objects.last_mut().expect("a pack has a head");
    head["metadata"]["annotations"] = annotations;
    for object in &objects {
        world.apply_config_map(object).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_acts_also_when_the_same_edit_breaks_the_code() {
    let world = World::with_replicas(1, Options::default()).await;
    let plugin = Plugin::probe("probe", "stamp", "1");
    world.drop_in(&plugin).await;
    world.drop_in(&Plugin::probe("other", "stamp", "1")).await;
    world.config_map("probe", "default", "before", json!({})).await;
    world.annotated("default", "before", "probe/value").await;
    let broken = Plugin { wasm: b"\0asm\x01\0\0\0broken".to_vec(), ..plugin.clone() };
    drop_in_annotated(&world, &broken, json!({"tenure.dev/suspend": "true"})).await;
    until("the plugin to rest, its instances gone", || async {
        let row = world.plugin_state("probe", "suspended").await;
        row["memory_bytes"] == 0
    })
    .await;
    world.config_map("probe", "default", "meanwhile", json!({})).await;
    world.config_map("other", "default", "of-the-other", json!({})).await;
    world.annotated("default", "of-the-other", "probe/value").await;
    assert_eq!(world.annotation("default", "meanwhile", "probe/value").await, None);
    // Let go, the code is looked at, and refused; nothing from before runs beside that.
    world.annotate(PLUGIN_NAMESPACE, "probe", "tenure.dev/suspend", "false").await;
    let row = world.plugin_state("probe", "refused").await;
    assert!(row["message"].as_str().is_some_and(|message| !message.contains("goes on running")), "{row}");
    drop_in_annotated(&world, &plugin, json!({"tenure.dev/suspend": "false"})).await;
    world.annotated("default", "meanwhile", "probe/value").await;
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_stores_nothing_and_says_so_until_it_is_taken_back() {
    let mut world = World::with_replicas(1, Options::default()).await;
    let plugin = Plugin::probe("probe", "stamp", "1");
    drop_in_annotated(&world, &plugin, json!({"tenure.dev/dry-run": "true"})).await;
    world.config_map("probe", "default", "target", json!({})).await;
    world.replica("replica-0").logged("dry run: not stored").await;
    let row = world.plugin_state("probe", "running").await;
    assert!(row["message"].as_str().is_some_and(|message| message.contains("dry run")), "{row}");
    assert_eq!(world.annotation("default", "target", "probe/value").await, None);
    world.annotate(PLUGIN_NAMESPACE, "probe", "tenure.dev/dry-run", "false").await;
    world.annotated("default", "target", "probe/value").await;
    let row = world.plugin_state("probe", "running").await;
    assert_eq!(row["message"], serde_json::Value::Null, "{row}");
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_begins_also_when_the_same_edit_breaks_the_code() {
    let mut world = World::with_replicas(1, Options::default()).await;
    let plugin = Plugin::probe("probe", "stamp", "1");
    world.drop_in(&plugin).await;
    world.plugin_state("probe", "running").await;
    let broken = Plugin { wasm: b"\0asm\x01\0\0\0broken".to_vec(), ..plugin };
    drop_in_annotated(&world, &broken, json!({"tenure.dev/dry-run": "true"})).await;
    world.plugin_state("probe", "refused").await;
    world.config_map("probe", "default", "target", json!({})).await;
    world.replica("replica-0").logged("dry run: not stored").await;
    assert_eq!(world.annotation("default", "target", "probe/value").await, None);
    world.judge.assert_clean();
}
