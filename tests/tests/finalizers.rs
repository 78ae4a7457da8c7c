//! `finalizer = true`: no deletion is missed, whatever happens to leaders and to the plugin.

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tenure_local_cluster::Intercept;
use tenure_tests::scenes::TARGET;
use tenure_tests::scenes::finalizers::{self, answer, answered, cleaned, cleaner, finalizers, gone, holding};
use tenure_tests::{Options, PLUGIN_NAMESPACE, Plugin, World, program, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_while_nobody_leads_is_not_missed() {
    let world = World::with_replicas(2, Options::default()).await;
    finalizers::a_deletion_while_nobody_leads_is_not_missed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_cleaned_up_stays_through_a_handover() {
    let world = World::with_replicas(2, Options::default()).await;
    finalizers::what_is_not_cleaned_up_stays_through_a_handover(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_selected_any_more_is_let_go() {
    let world = World::with_replicas(1, Options::default()).await;
    finalizers::what_is_not_selected_any_more_is_let_go(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_plugin_s_finalizers_are_told_of_until_it_is_back() {
    let world = World::with_replicas(1, Options::default()).await;
    finalizers::a_removed_plugin_s_finalizers_are_told_of_until_it_is_back(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_between_the_call_and_the_removal_has_the_next_one_clean_up_again() {
    let mut world = holding(World::with_replicas(2, Options::default()).await).await;
    let (cleaning, hung) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    let hangs = Arc::clone(&hung);
    // Once the call has written down that it cleaned up, the only write to the target is the one that takes the finalizer away.
    world.cluster().intercept(Arc::new(move |request| {
        match (request.verb, request.name.as_deref()) {
            ("patch", Some("ledger")) => cleaning.store(true, Ordering::SeqCst),
            ("patch", Some(TARGET)) if cleaning.load(Ordering::SeqCst) => {
                hangs.store(true, Ordering::SeqCst);
                return Intercept::Hang;
            }
            _ => {}
        }
        Intercept::Pass
    }));
    world.delete_config_map("default", TARGET).await;
    until("the removal to be under way", || async { hung.load(Ordering::SeqCst) }).await;
    assert_eq!(cleaned(&world).await, 1);
    let leader = world.leader().await;
    world.replica(&leader).kill();
    world.cluster().stop_intercepting();
    gone(&world).await;
    assert_eq!(cleaned(&world).await, 2);
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_of_others_are_left_alone() {
    let world = holding(World::with_replicas(1, Options::default()).await).await;
    let labels = json!({"probe": "probe"});
    let metadata =
        json!({"name": TARGET, "namespace": "default", "labels": labels, "finalizers": ["example.com/other"]});
    world.apply_config_map(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await;
    world.delete_config_map("default", TARGET).await;
    until("only the other one to be left", || async {
        finalizers(&world).await.is_some_and(|left| left == ["example.com/other"])
    })
    .await;
    // What it is told of later comes after anything that is still to come about the target.
    world.config_map("probe", "default", "later", json!({})).await;
    world.annotated("default", "later", "probe/term").await;
    assert_eq!(cleaned(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_plugin_holds_deletions_until_it_is_let_go() {
    let world = holding(World::with_replicas(1, Options::default()).await).await;
    world.annotate(PLUGIN_NAMESPACE, "probe", "tenure.dev/suspend", "true").await;
    world.plugin_state("probe", "suspended").await;
    world.delete_config_map("default", TARGET).await;
    assert_eq!(finalizers(&world).await.expect("it is held").len(), 1);
    world.annotate(PLUGIN_NAMESPACE, "probe", "tenure.dev/suspend", "false").await;
    gone(&world).await;
    assert_eq!(cleaned(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_sets_and_removes_nothing() {
    let mut world = holding(World::with_replicas(1, Options::default()).await).await;
    world.annotate(PLUGIN_NAMESPACE, "probe", "tenure.dev/dry-run", "true").await;
    world.replica("replica-0").logged("plugin starts again").await;
    world.config_map("probe", "default", "new", json!({})).await;
    world.replica("replica-0").logged("dry run: not stored").await;
    world.delete_config_map("default", TARGET).await;
    world.plugin_state("probe", "running").await;
    world.config_map("probe", "default", "new", json!({"a": "b"})).await;
    let new = world.get_config_map("default", "new").await.expect("it is there");
    assert_eq!(new.metadata.finalizers, None);
    assert_eq!(finalizers(&world).await.expect("it is held").len(), 1);
    assert_eq!(cleaned(&world).await, 0);
    world.annotate(PLUGIN_NAMESPACE, "probe", "tenure.dev/dry-run", "false").await;
    gone(&world).await;
    assert_eq!(cleaned(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_plugin_deals_with_what_the_one_before_held() {
    let world = holding(World::with_replicas(1, Options::default()).await).await;
    answer(&world, "fail").await;
    world.delete_config_map("default", TARGET).await;
    answered(&world, "fail").await;
    // The new version sets no finalizers any more; those of the old one it takes off.
    world.drop_in(&world.probe("probe", "clean", "2")).await;
    answer(&world, "").await;
    gone(&world).await;
    assert_eq!(cleaned(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_watch_what_is_held_is_told_of() {
    let world = holding(World::with_replicas(1, Options::default()).await).await;
    let mut other = world.probe("probe", "clean", "2");
    other.manifest = other.manifest.replace("kind = \"ConfigMap\"", "kind = \"Event\"");
    other.manifest = other.manifest.replace("resources = [\"configmaps\"]", "resources = [\"configmaps\", \"events\"]");
    world.drop_in(&other).await;
    until("a row that says what is left", || async {
        let row = world.plugin_state("probe", "running").await;
        row["message"].as_str().is_some_and(|message| message.contains("this version does not watch them"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_without_the_right_to_patch_is_refused_with_the_missing_rule() {
    let world = World::with_replicas(1, Options::default()).await;
    let mut plugin = cleaner(&world, "1");
    plugin.manifest = plugin.manifest.replace(", \"patch\"]", "]");
    world.drop_in(&plugin).await;
    let row = world.plugin_state("probe", "refused").await;
    let message = row["message"].as_str().unwrap_or_default();
    for word in ["finalizer = true", "verbs = [\"patch\"]", "resources = [\"configmaps\"]", "namespaces = [\"*\"]"] {
        assert!(message.contains(word), "{word} is missing in {message}");
    }
}

/// Runs `tenure plugin remove` on the probe.
async fn remove(world: &World, more: &[&str]) -> Output {
    let kubeconfig = world.kubeconfig("person", None).await;
    let mut command = Command::new(program());
    command.args(["plugin", "remove", &format!("{PLUGIN_NAMESPACE}/probe"), "--kubeconfig"]).arg(kubeconfig).args(more);
    tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic").expect("the program runs")
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_has_the_plugin_let_go_of_everything_and_deletes_it() {
    let world = holding(World::with_replicas(1, Options::default()).await).await;
    let asked = remove(&world, &[]).await;
    assert!(!asked.status.success() && told(&asked).contains("--yes"), "{}", told(&asked));
    assert!(
        told(&asked).contains("ConfigMap default/target") && told(&asked).contains("called for each"),
        "{}",
        told(&asked)
    );
    assert_eq!(finalizers(&world).await.expect("nothing was done").len(), 1);
    let done = remove(&world, &["--yes"]).await;
    assert!(done.status.success(), "{}", told(&done));
    assert_eq!(finalizers(&world).await.expect("it is there still"), [""; 0]);
    assert_eq!(cleaned(&world).await, 1);
    assert_eq!(world.get_config_map(PLUGIN_NAMESPACE, "probe").await, None);
    until("the plugin to be gone", || async { world.plugins_on_leader().await == 0 }).await;
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_strips_what_the_plugin_cannot_let_go_of() {
    let world = holding(World::with_replicas(1, Options::default()).await).await;
    answer(&world, "fail").await;
    world.delete_config_map("default", TARGET).await;
    answered(&world, "fail").await;
    let late = remove(&world, &["--yes", "--timeout", "1ms"]).await;
    assert!(!late.status.success() && told(&late).contains("--strip"), "{}", told(&late));
    world.plugin_state("probe", "removing").await;
    let done = remove(&world, &["--yes", "--strip"]).await;
    assert!(done.status.success(), "{}", told(&done));
    gone(&world).await;
    assert_eq!(cleaned(&world).await, 0);
    let again = remove(&world, &["--yes"]).await;
    assert!(!again.status.success() && told(&again).contains("there is no ConfigMap"), "{}", told(&again));
    until("the plugin to be gone", || async { world.plugins_on_leader().await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_refuses_to_wait_for_a_plugin_that_cannot_answer() {
    let world = holding(World::with_replicas(1, Options::default()).await).await;
    world.annotate(PLUGIN_NAMESPACE, "probe", "tenure.dev/suspend", "true").await;
    let suspended = remove(&world, &["--yes"]).await;
    assert!(!suspended.status.success() && told(&suspended).contains("is suspended"), "{}", told(&suspended));
    world.remove_plugin("probe").await;
    let absent = remove(&world, &["--yes"]).await;
    assert!(!absent.status.success() && told(&absent).contains("bring it back"), "{}", told(&absent));
    assert_eq!(finalizers(&world).await.expect("nothing was done").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_beside_a_mapping_is_refused() {
    let world = World::with_replicas(1, Options::default()).await;
    let watch = "\n[[watch]]\napi-version = \"v1\"\nkind = \"ConfigMap\"\nfinalizer = true\n\
                 enqueue = [{ by = \"namespace\", api-version = \"v1\", kind = \"ConfigMap\" }]\n";
    let plugin: Plugin = world.probe("bad", "stamp", "1");
    let mut objects = plugin.pack(PLUGIN_NAMESPACE);
    let manifest = objects[0]["data"]["plugin.toml"].as_str().expect("a manifest").to_owned() + watch;
    objects[0]["data"]["plugin.toml"] = manifest.into();
    for object in &objects {
        world.apply_config_map(object).await;
    }
    let row = world.plugin_state("bad", "refused").await;
    assert!(row["message"].as_str().is_some_and(|message| message.contains("says nothing beside `enqueue`")), "{row}");
}
