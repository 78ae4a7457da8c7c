//! Plugins that are wrong, or made to do harm: one clear message each, the others go on, the host lives and leads on.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tenure_tests::{Options, PLUGIN_NAMESPACE, Plugin, World, get, until, until_some};

/// How long a lease lasts in profile `default`.
const LEASE_SECONDS: i64 = 15;

/// A world with a good plugin at work, in which `bad` was dropped.
async fn beside_a_good_one(bad: &Plugin) -> World {
    let world = World::with_replicas(1, Options { profile: "default", ..Options::default() }).await;
    world.drop_in(&Plugin::probe("good", "stamp", "1")).await;
    world.drop_in(bad).await;
    world.config_map("good", "default", "first", json!({})).await;
    world.annotated("default", "first", "probe/term").await;
    world
}

/// The good plugin still works, and so does the host: in the term that it began with.
async fn others_go_on(mut world: World) {
    world.config_map("good", "default", "second", json!({})).await;
    world.annotated("default", "second", "probe/term").await;
    assert!(world.replica("replica-0").is_running());
    assert!(world.get_status("/healthz").await);
    let terms: BTreeSet<_> = world.judged().await.history().iter().filter_map(|state| state.term).collect();
    assert_eq!(terms.len(), 1, "{terms:?}");
    world.judge.assert_clean();
}

/// The leader's row of a plugin.
async fn row_of(world: &World, plugin: &str) -> Option<Value> {
    let status = world.status_of_leader().await?;
    let identity = format!("{PLUGIN_NAMESPACE}/{plugin}");
    status["plugins"].as_array()?.iter().find(|row| row["identity"] == identity).cloned()
}

/// Waits until the lease has been renewed for longer than it lasts: whoever could not renew has lost it.
async fn outlasts_its_lease(world: &World) {
    let renewed = || async { Some(world.lease().await?.spec?.renew_time?.0) };
    let began = until_some("a renewal", renewed).await;
    until("renewals for longer than a lease lasts", || async {
        renewed().await.is_some_and(|now| now.duration_since(began).as_secs() > LEASE_SECONDS)
    })
    .await;
}

/// Calls that run now, of all plugins of the only replica.
async fn running_calls(world: &World) -> usize {
    let console = world.replicas["replica-0"].console().await;
    let metrics = get(&format!("{console}/metrics")).await.unwrap_or_default();
    let busy = metrics.lines().filter(|line| line.starts_with("controller_runtime_active_workers{"));
    busy.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
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
        let row = row_of(world, plugin).await?;
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
    let told: Vec<_> = reasons.split(',').collect();
    let denied = "plugin ConfigMaps, the host's namespace, what was not requested, a path in a name, a plugin's label";
    assert_eq!(told[..5], ["Denied"; 5], "{denied}");
    let refused =
        "field managers, another kind, another namespace, a path that is none, field managers in a JSON patch";
    assert_eq!(told[5..], ["BadRequest"; 5], "{refused}");
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_calls_and_log_lines_is_held_to_its_limits_which_status_and_metrics_show() {
    let bad = Plugin::probe("bad", "flood", "1").with("\n[limits]\nreconcile-timeout = \"1s\"\n");
    let mut world = beside_a_good_one(&bad).await;
    failing(&world, "bad", &["default/of-the-bad-one", "1s"]).await;
    let limits = ["requests-per-second", "log-lines-per-second"];
    until("both limits in the row of the plugin", || async {
        let Some(row) = row_of(&world, "bad").await else { return false };
        limits.iter().all(|limit| row["refused"][limit].as_u64().is_some_and(|count| count > 0))
    })
    .await;
    let console = world.replica("replica-0").console().await;
    let metrics = get(&format!("{console}/metrics")).await.expect("metrics");
    for limit in limits {
        let of_bad = |line: &&str| line.contains("plugin=\"bad-") && line.contains(&format!("limit=\"{limit}\""));
        let line = metrics.lines().filter(|line| line.starts_with("tenure_plugin_limit_refused_total")).find(of_bad);
        assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{limit}: {line:?}");
    }
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_mebibyte_is_one_short_line_in_log_and_status() {
    let mut world = beside_a_good_one(&Plugin::probe("bad", "cry", "1")).await;
    failing(&world, "bad", &["told to {\"forged\":1} [2Jxxx", "characters cut"]).await;
    let row = row_of(&world, "bad").await.expect("a row");
    assert!(row["last_result"]["message"].as_str().is_some_and(|message| message.len() < 10_000));
    let line = world.replica("replica-0").logged("reconcile failed").await;
    assert!(line.len() < 10_000 && serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    others_go_on(world).await;
}

/// Components in each other: what reads them keeps for each all that is around it. A megabyte, and gigabytes to compile.
fn compile_bomb() -> Vec<u8> {
    const DEPTH: usize = 100_000;
    const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";
    const COMPONENT_SECTION: u8 = 4;
    let sized = |mut size: usize| {
        let mut bytes = vec![COMPONENT_SECTION];
        while size >= 0x80 {
            bytes.push(size as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        bytes
    };
    // From the inside: how large what stands in it is, for each but the innermost.
    let mut inner = HEADER.len();
    let sections = (1..DEPTH).map(|_| {
        let section = sized(inner);
        inner += HEADER.len() + section.len();
        section
    });
    let sections: Vec<_> = sections.collect();
    sections.iter().rev().flat_map(|section| [&HEADER[..], section].concat()).chain(HEADER).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wasm_made_to_be_expensive_to_compile_costs_a_child_process_and_no_term() {
    let world = beside_a_good_one(&with_wasm("bad", &compile_bomb())).await;
    contains_all(&refusal(&world, "bad").await, &["compiling it", "limits.compile-"]);
    others_go_on(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_hostile_plugins_costs_the_leader_no_term_and_the_good_one_no_work() {
    let spins = Plugin::probe("spins", "spin", "1").with("\n[limits]\nreconcile-timeout = \"2s\"\n");
    let world = beside_a_good_one(&spins).await;
    let others =
        [("eats", "eat"), ("traps", "trap"), ("floods", "flood"), ("cries", "cry"), ("trespasses", "trespass")];
    for (name, behaviour) in others {
        world
            .drop_in(
                &Plugin::probe(name, behaviour, "1")
                    .with("\n[limits]\nreconcile-timeout = \"2s\"\nmemory = \"16Mi\"\n"),
            )
            .await;
    }
    let crowd = ["spins", "eats", "traps", "floods", "cries"];
    for plugin in crowd.into_iter().chain(["trespasses"]) {
        // As many as work at the same time, and as many again that wait.
        for number in 0..8 {
            world.config_map(plugin, "default", &format!("{plugin}-{number}"), json!({})).await;
        }
    }
    for plugin in crowd {
        until(&format!("{plugin} to have done its worst"), || async {
            row_of(&world, plugin).await.is_some_and(|row| row["last_result"]["ok"] == false)
        })
        .await;
    }
    world.annotated("default", "trespasses-0", "probe/reasons").await;
    outlasts_its_lease(&world).await;
    others_go_on(world).await;
}

/// More than any machine has worker threads to spare, for longer than a lease lasts and the renew deadline three times over; none
/// of them held back by its share of the processor.
#[tokio::test(flavor = "multi_thread")]
async fn guests_that_spin_on_every_worker_thread_cost_the_leader_no_term() {
    const GUESTS: usize = 8;
    let config =
        "[limits]\nconcurrency = 8\nreconcile-timeout = \"1h\"\ncpu = \"64\"\nguests-cpu = \"64\"\n".to_owned();
    let mut world = World::with_replicas(1, Options { profile: "default", config }).await;
    world.drop_in(&Plugin::probe("spins", "spin", "1")).await;
    for number in 0..GUESTS {
        world.config_map("spins", "default", &format!("spins-{number}"), json!({})).await;
    }
    until("every guest to spin", || async { running_calls(&world).await == GUESTS }).await;
    outlasts_its_lease(&world).await;
    outlasts_its_lease(&world).await;
    assert_eq!(running_calls(&world).await, GUESTS, "they spin still");
    assert!(world.replica("replica-0").is_running());
    let terms: BTreeSet<_> = world.judged().await.history().iter().filter_map(|state| state.term).collect();
    assert_eq!(terms.len(), 1, "{terms:?}");
    world.judge.assert_clean();
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's WAT is sound")
}
