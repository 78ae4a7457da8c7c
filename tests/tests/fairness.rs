//! One plugin with more to do than it can does not keep another from its work.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use serde_json::json;
use tenure_tests::{Options, Plugin, World, get, until_some_within};

/// Requests under way while the objects are made.
const AT_ONCE: usize = 64;
/// How long a cache may take to fill.
const FILLS_WITHIN: Duration = Duration::from_secs(600);

/// How many calls of a plugin on the only replica have ended.
async fn calls(world: &World, plugin: &str) -> usize {
    let console = world.replicas["replica-0"].console().await;
    let metrics = get(&format!("{console}/metrics")).await.unwrap_or_default();
    let of_plugin = format!("controller=\"{plugin}-");
    let counts = metrics.lines().filter(|line| line.starts_with("controller_runtime_reconcile_total{"));
    counts
        .filter(|line| line.contains(&of_plugin))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

/// While one plugin works its way through so many keys, a key of another is worked on before it has come to the end.
async fn many_keys_do_not_starve_another_plugin(keys: usize) {
    let world = World::new(Options { profile: "default", ..Options::default() }).await;
    let api = Arc::new(world.api::<ConfigMap>("default"));
    stream::iter(0..keys)
        .for_each_concurrent(AT_ONCE, |number| {
            let api = Arc::clone(&api);
            async move {
                let metadata = json!({"name": format!("key-{number}"), "labels": {"probe": "lookout"}});
                let object = serde_json::from_value(json!({"metadata": metadata})).expect("a ConfigMap");
                api.create(&PostParams::default(), &object).await.expect("the ConfigMap can be created");
            }
        })
        .await;
    let world = world.staffed(1).await;
    // Both watch the same kind: one cache, and each change is looked at for both.
    world.drop_in(&Plugin::probe("few", "stamp", "1")).await;
    world.drop_in(&Plugin::built("lookout")).await;
    let has_begun = || async { Some(calls(&world, "lookout").await).filter(|calls| *calls > 0) };
    until_some_within(FILLS_WITHIN, "the plugin with many keys to begin", has_begun).await;
    world.config_map("few", "default", "target", json!({})).await;
    world.annotated("default", "target", "probe/value").await;
    let calls = calls(&world, "lookout").await;
    assert!(calls < keys, "all {keys} keys came first");
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_with_20_000_keys_does_not_starve_another() {
    many_keys_do_not_starve_another_plugin(20_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; cargo xtask long runs it"]
async fn a_plugin_with_100_000_keys_does_not_starve_another() {
    many_keys_do_not_starve_another_plugin(100_000).await;
}
