//! The configuration's file while replicas run: what takes effect at once, what waits for a restart, and what is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tenure_local_cluster::Intercept;
use tenure_tests::{Options, Plugin, Signer, World, get, program, until, until_some};

fn file(world: &World) -> PathBuf {
    world.folder().join("tenure.toml")
}

fn text(world: &World) -> String {
    fs::read_to_string(file(world)).expect("the configuration")
}

/// The same settings, granting no more than to read Namespaces.
fn narrowed(text: &str) -> String {
    let (settings, _) = text.split_once("[[grant]]").expect("a grant");
    let rule = "api-groups = [\"\"]\nresources = [\"namespaces\"]\nverbs = [\"get\"]\n";
    format!("{settings}[[grant]]\nplugin = \"*/*\"\n[[grant.permission]]\n{rule}")
}

/// As editors and package managers do it.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(new, file).expect("renamed");
}

/// As the kubelet does it: a folder a version, and a link to it that is replaced.
fn mount(folder: &Path, version: &str, text: &str) {
    fs::create_dir(folder.join(version)).expect("a folder");
    fs::write(folder.join(version).join("tenure.toml"), text).expect("written");
    symlink(version, folder.join("..data_tmp")).expect("a link");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("renamed");
}

async fn status_of(world: &mut World, name: &str) -> Option<Value> {
    let console = world.replica(name).console().await;
    serde_json::from_str(&get(&format!("{console}/status")).await?).ok()
}

/// Waits until a replica says in its metrics how its settings stand.
async fn settings_are(world: &mut World, name: &str, state: &str) {
    let console = world.replica(name).console().await;
    let wanted = format!("tenure_settings_state{{state=\"{state}\"}} 1");
    until(&format!("the settings of {name} to be {state}"), || async {
        get(&format!("{console}/metrics")).await.is_some_and(|metrics| metrics.contains(&wanted))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_grant_ends_a_running_plugin_whole_and_a_widened_one_lets_it_in_again() {
    let mut world = World::with_replicas(2, Options::default()).await;
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    world.cluster().intercept(Arc::new(move |request| {
        // The probe watches ConfigMaps everywhere, the host in the plugins' namespace.
        if (request.verb, request.resource.as_str(), &request.namespace) == ("watch", "configmaps", &None) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Intercept::Pass
    }));
    // Its calls last 20 s: the one that is running is to be told.
    world.drop_in(&world.probe("probe", "beat", "1")).await;
    world.config_map("probe", "default", "target", json!({})).await;
    world.annotated("default", "target", "probe/number").await;
    let (leader, term, granted) = (world.leader().await, world.term().await, text(&world));
    let watches = |count: usize, what: &'static str| {
        let opened = Arc::clone(&opened);
        async move { until(what, || async { opened.load(Ordering::SeqCst) >= count }).await }
    };
    watches(2, "a watch on either replica").await;

    fs::write(file(&world), narrowed(&granted)).expect("written");
    let row = world.plugin_state("probe", "refused").await;
    let message = row["message"].as_str().expect("a reason");
    for word in ["[[grant.permission]]", "configmaps", "patch", "tenure-plugins/probe"] {
        assert!(message.contains(word), "{word} is missing in {message}");
    }
    assert!(!message.contains("goes on running"), "{message}");
    until("the running call to be denied", || async {
        let Some(status) = world.status_of_leader().await else { return false };
        let said = status["plugins"][0]["last_result"]["message"].as_str().unwrap_or_default().to_owned();
        said.contains("more than it is granted")
    })
    .await;
    for name in ["replica-0", "replica-1"] {
        world.only_plugin_is(name, "refused").await;
    }
    let event = until_some("an Event on the plugin", || world.event_on("tenure-plugins", "probe")).await;
    assert!(event.contains("[[grant.permission]]"), "{event}");
    let written =
        || world.cluster().audit().iter().filter(|entry| entry.field_manager.starts_with("tenure-probe")).count();
    let before = written();
    world.config_map("probe", "default", "late", json!({})).await;
    assert_eq!(written(), before, "it wrote after its call was denied");
    assert_eq!(world.annotation("default", "late", "probe/term").await, None);

    replace(&file(&world), &granted);
    world.plugin_state("probe", "running").await;
    world.annotated("default", "late", "probe/term").await;
    assert_eq!((world.leader().await, world.term().await), (leader, term), "no restart, no handover");
    // Those that had stayed open would have been used again.
    watches(4, "new watches after the others were closed").await;
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_config_map_is_followed_through_its_links() {
    let mut world = World::new(Options::default()).await;
    let granted = text(&world);
    mount(&world.folder(), "..first", &narrowed(&granted));
    fs::remove_file(file(&world)).expect("removed");
    symlink("..data/tenure.toml", file(&world)).expect("a link");
    world.start("replica-0").await;
    world.drop_in(&world.probe("probe", "stamp", "1")).await;
    world.plugin_state("probe", "refused").await;
    world.config_map("probe", "default", "target", json!({})).await;
    mount(&world.folder(), "..second", &granted);
    world.plugin_state("probe", "running").await;
    world.annotated("default", "target", "probe/term").await;
    mount(&world.folder(), "..third", &narrowed(&granted));
    world.plugin_state("probe", "refused").await;
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing_and_is_reported_everywhere_until_it_is_mended() {
    let mut world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&world.probe("probe", "stamp", "1")).await;
    world.plugin_state("probe", "running").await;
    settings_are(&mut world, "replica-0", "current").await;
    let good = text(&world);
    for (breaks, said) in [("[[grant]]\nplugin = ", "this is not TOML"), ("[consle]\nlisten = \"x\"\n", "unknown key")]
    {
        fs::write(file(&world), format!("{good}\n{breaks}")).expect("written");
        let line = world.replica("replica-0").logged(said).await;
        assert!(line.contains("changed settings refused") && line.contains("tenure.toml"), "{line}");
        settings_are(&mut world, "replica-0", "refused").await;
        until(&format!("an Event about {said}"), || async {
            let events = world.lock_events().await;
            events.iter().any(|(kind, message)| kind == "Warning" && message.contains(said))
        })
        .await;
        let status = status_of(&mut world, "replica-0").await.expect("status");
        let shown = status["replica"]["settings"].as_str().expect("a sentence");
        assert!(shown.contains(said) && shown.contains("stay in force"), "{shown}");
    }
    fs::remove_file(file(&world)).expect("removed");
    world.replica("replica-0").logged("No such file").await;
    let kubeconfig = world.kubeconfig("person", None).await;
    let output = tokio::task::block_in_place(|| {
        let arguments = ["status", "--lease", "tenure", "--kubeconfig"];
        Command::new(program()).args(arguments).arg(&kubeconfig).output().expect("the program runs")
    });
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("settings: ") && table.contains("No such file"), "{table}");
    // A grant by name alone is marked.
    assert!(table.contains("GRANTED BY") && table.contains(" name "), "{table}");
    world.config_map("probe", "default", "target", json!({})).await;
    world.annotated("default", "target", "probe/term").await;

    replace(&file(&world), &good);
    settings_are(&mut world, "replica-0", "current").await;
    let status = status_of(&mut world, "replica-0").await.expect("status");
    assert_eq!(status["replica"].get("settings"), None);
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_setting_waits_for_a_restart_and_grants_beside_it_do_not() {
    let mut world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&world.probe("probe", "stamp", "1")).await;
    world.plugin_state("probe", "running").await;
    let (term, before) = (world.term().await, text(&world));
    let slower = narrowed(&before).replace("first-create", "write-timeout = \"4s\"\nfirst-create");
    fs::write(file(&world), slower).expect("written");
    let line = world.replica("replica-0").logged("need a restart").await;
    assert!(line.contains("[election]") && !line.contains("[limits]"), "{line}");
    settings_are(&mut world, "replica-0", "restart-needed").await;
    world.plugin_state("probe", "refused").await;
    let status = status_of(&mut world, "replica-0").await.expect("status");
    assert!(status["replica"]["settings"].as_str().is_some_and(|said| said.contains("[election]")), "{status}");
    assert_eq!(world.term().await, term);
    // Taken back, nothing waits any more.
    fs::write(file(&world), before).expect("written");
    settings_are(&mut world, "replica-0", "current").await;
    world.plugin_state("probe", "running").await;
    world.judge.assert_clean();
}

/// A plugin whose grant asks for a signature, in each state of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_with_a_key_is_for_what_that_key_signed_and_a_refusal_says_what_is_wrong() {
    let (ours, another) = (Signer::new(1), Signer::new(2));
    let mut world = World::new(Options::default()).await;
    let wanted = format!("plugin = \"*/*\"\nkey = \"{}\"", ours.public_key());
    assert!(text(&world).contains("plugin = \"*/*\""));
    replace(&file(&world), &text(&world).replacen("plugin = \"*/*\"", &wanted, 1));
    world.start("replica-0").await;

    let probe = || Plugin::probe("signed", "stamp", "1");
    let mut altered = probe();
    // An empty custom section: other bytes, the same program.
    altered.wasm.extend([0, 1, 0]);
    for (signature, why) in [
        (None, "there is no signature"),
        (Some("broken".to_owned()), "is no minisign signature"),
        (probe().signed(&another).signature, "made with another key"),
        (altered.signed(&ours).signature, "not of this Wasm"),
    ] {
        world.drop_in(&Plugin { signature, ..probe() }).await;
        until(&format!("a refusal that says {why:?}"), || async {
            let row = world.plugin_state("signed", "refused").await;
            row["message"].as_str().is_some_and(|message| message.contains(why))
        })
        .await;
    }
    world.drop_in(&probe().signed(&ours)).await;
    world.plugin_state("signed", "running").await;
    let status = status_of(&mut world, "replica-0").await.expect("a status");
    assert_eq!(status["plugins"][0]["granted_by"], "signature");
}
