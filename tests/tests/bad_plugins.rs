//! Plugins that are wrong: one clear message each, the others go on, the host lives.

use serde_json::{Value, json};
use tenure_tests::{Options, PLUGIN_NAMESPACE, Plugin, World, until_some};

/// A world with a good plugin at work, in which `bad` was dropped.
async fn beside_a_good_one(bad: &Plugin) -> World {
    let world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&Plugin::probe("good", "stamp", "1")).await;
    world.drop_in(bad).await;
    world.config_map("good", "default", "first", json!({})).await;
    world.annotated("default", "first", "probe/term").await;
    world
}

/// The good plugin still works, and so does the host.
async fn others_go_on(mut world: World) {
    world.config_map("good", "default", "second", json!({})).await;
    world.annotated("default", "second", "probe/term").await;
    assert!(world.replica("replica-0").is_running());
    assert!(world.get_status("/healthz").await);
    world.judge.assert_clean();
}

/// The message of a refused plugin, from status; the Event on its ConfigMap says the same.
async fn refusal(world: &World, plugin: &str) -> String {
    let row = world.plugin_state(plugin, "refused").await;
    let message = row["message"].as_str().expect("a refusal has a message").to_owned();
    let event = until_some("an Event on the refused plugin", || world.event_on(PLUGIN_NAMESPACE, plugin)).await;
    assert!(
        message.starts_with(event.trim_end_matches('…')) || event.starts_with(&message),
        "{event:?} vs {message:?}"
    );
    message
}

fn with_wasm(name: &str, wasm: &[u8]) -> Plugin {
    Plugin { wasm: wasm.to_vec(), ..Plugin::probe(name, "stamp", "1") }
}

fn contains_all(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in {message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_wasm_is_refused() {
    let world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&Plugin::probe("good", "stamp", "1")).await;
    let mut objects = Plugin::probe("bad", "stamp", "1").pack(PLUGIN_NAMESPACE);
    objects.truncate(1);
    objects[0]["binaryData"] = json!({"plugin.wasm": "aGVsbG8gd29ybGQ="});
    world.apply_config_map(&objects[0]).await;
    contains_all(&refusal(&world, "bad").await, &["not a WebAssembly module or component"]);
    world.config_map("good", "default", "first", json!({})).await;
    world.annotated("default", "first", "probe/term").await;
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_another_world_is_refused() {
    let world = beside_a_good_one(&with_wasm("bad", &wat("(module (func (export \"run\")))"))).await;
    contains_all(&refusal(&world, "bad").await, &["reconcile"]);
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_does_not_exist_is_refused_by_name() {
    let wasm = wat("(component (import \"example:nobody/has@1.0.0\" (instance (export \"it\" (func)))))");
    let world = beside_a_good_one(&with_wasm("bad", &wasm)).await;
    contains_all(&refusal(&world, "bad").await, &["example:nobody/has"]);
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_the_grant_is_refused_with_the_missing_rule() {
    let greedy = Plugin::probe("bad", "stamp", "1").with(
        "\n[[permission]]\napi-groups = [\"\"]\nresources = [\"secrets\"]\nverbs = [\"get\"]\nnamespaces = [\"team-*\"]\n",
    );
    let world = beside_a_good_one(&greedy).await;
    contains_all(&refusal(&world, "bad").await, &["secrets", "team-*", "[[grant"]);
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_missing_rule_of_a_refusal_makes_the_plugin_load_once_it_is_pasted() {
    let greedy = Plugin::probe("bad", "stamp", "1").with(
        "\n[[permission]]\napi-groups = [\"\"]\nresources = [\"secrets\"]\nverbs = [\"get\"]\nnamespaces = [\"team-*\"]\n",
    );
    let mut world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&greedy).await;
    let message = refusal(&world, "bad").await;
    let (_, rules) = message.split_once('\n').expect("the rules stand below the sentence");
    let path = world.folder().join("tenure.toml");
    let config = std::fs::read_to_string(&path).expect("a configuration");
    let pasted = format!("{config}\n[[grant]]\nplugin = \"{PLUGIN_NAMESPACE}/bad\"\n{rules}\n");
    std::fs::write(&path, pasted).expect("written");
    world.replica("replica-0").signal(rustix::process::Signal::TERM);
    assert!(world.replica("replica-0").ended().await.success());
    world.start("replica-0").await;
    world.plugin_state("bad", "running").await;
}

/// The probe with one more watch.
fn watching(probe: Plugin, kind: &str, namespace: &str) -> Plugin {
    probe.with(&format!("\n[[watch]]\napi-version = \"v1\"\nkind = \"{kind}\"\nnamespace = \"{namespace}\"\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_in_a_namespace_that_is_not_among_its_permissions_is_refused() {
    let mut narrow = Plugin::probe("bad", "stamp", "1");
    narrow.manifest = narrow.manifest.replace("namespaces = [\"*\"]", "namespaces = [\"default\"]");
    let world = beside_a_good_one(&watching(narrow, "ConfigMap", "elsewhere")).await;
    contains_all(&refusal(&world, "bad").await, &["v1 ConfigMap", "list and watch", "elsewhere"]);
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_with_a_namespace_of_a_kind_that_is_in_none_is_refused() {
    let plugin = watching(Plugin::probe("bad", "stamp", "1"), "Namespace", "default").with(
        "\n[[permission]]\napi-groups = [\"\"]\nresources = [\"namespaces\"]\nverbs = [\"get\", \"list\", \"watch\"]\n",
    );
    let world = beside_a_good_one(&plugin).await;
    contains_all(&refusal(&world, "bad").await, &["Namespace", "leave out namespace = \"default\""]);
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_an_unknown_key_is_refused_with_the_nearest_known_one() {
    let mut typo = Plugin::probe("bad", "stamp", "1");
    let mut objects = typo.pack(PLUGIN_NAMESPACE);
    typo.manifest =
        objects[0]["data"]["plugin.toml"].as_str().expect("a manifest").replace("label-selector", "label-selektor");
    objects[0]["data"]["plugin.toml"] = Value::String(typo.manifest);
    let world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&Plugin::probe("good", "stamp", "1")).await;
    for object in &objects {
        world.apply_config_map(object).await;
    }
    contains_all(&refusal(&world, "bad").await, &["label-selektor", "label-selector"]);
    world.config_map("good", "default", "first", json!({})).await;
    world.annotated("default", "first", "probe/term").await;
    others_go_on(world).await;
}

/// Waits until the last result of a plugin is a failure that says `words`.
async fn failing(world: &World, plugin: &str, words: &[&str]) {
    world.config_map(plugin, "default", "of-the-bad-one", json!({})).await;
    let message = until_some(&format!("a failed call of {plugin}"), || async {
        let status = world.status_of_leader().await?;
        let identity = format!("{PLUGIN_NAMESPACE}/{plugin}");
        let row = status["plugins"].as_array()?.iter().find(|row| row["identity"] == identity)?.clone();
        (row["last_result"]["ok"] == false).then(|| row["last_result"]["message"].as_str().map(str::to_owned))?
    })
    .await;
    contains_all(&message, words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_traps_harms_nobody_and_its_circuit_opens() {
    let world = beside_a_good_one(&Plugin::probe("bad", "trap", "1")).await;
    failing(&world, "bad", &["default/of-the-bad-one", "trapped"]).await;
    let row = world.plugin_state("bad", "circuit-open").await;
    contains_all(row["message"].as_str().unwrap_or_default(), &["one after another"]);
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_loops_is_cut_off() {
    let bad = Plugin::probe("bad", "spin", "1").with("\n[limits]\nreconcile-timeout = \"1s\"\n");
    let world = beside_a_good_one(&bad).await;
    failing(&world, "bad", &["default/of-the-bad-one", "1s"]).await;
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_eats_memory_is_stopped_at_its_limit() {
    let bad = Plugin::probe("bad", "eat", "1").with("\n[limits]\nmemory = \"8Mi\"\n");
    let world = beside_a_good_one(&bad).await;
    failing(&world, "bad", &["default/of-the-bad-one", "out of memory"]).await;
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_returns_an_error_is_retried_and_shown() {
    let world = beside_a_good_one(&Plugin::probe("bad", "fail", "1")).await;
    failing(&world, "bad", &["told to"]).await;
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_denied_on_every_call() {
    let world = beside_a_good_one(&Plugin::probe("bad", "trespass", "1")).await;
    world.config_map("bad", "default", "asked", json!({})).await;
    let reasons = world.annotated("default", "asked", "probe/reasons").await;
    assert_eq!(reasons, "Denied,Denied,Denied", "plugin ConfigMaps, the host's namespace, and what was not requested");
    others_go_on(world).await;
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's WAT is sound")
}
