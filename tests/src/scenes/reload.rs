//! Handovers in the middle of the steps that change a plugin: its chunks, its check, the swap, its removal.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{TARGET, at_work, successor_works};
use crate::{Plugin, World, get, until};

/// For scenes in which a call lasts until its term ends: no machine is so slow that it is cut off before.
pub const PATIENT: &str = "[limits]\nreconcile-timeout = \"10m\"\n";

/// A core module of the right shape that computes for ever while it starts: its check lasts as long as a call may.
const SPINS_AT_START: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "reconcile")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
    (func $start (loop $for_ever (br $for_ever)))
    (start $start))"#;

/// How many files are in a folder and those in it.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

/// The probe at work, and loaded on every replica: a version that a standby has not loaded yet is none that it could go on with.
async fn loaded_everywhere(world: World) -> World {
    let world = at_work(world, "stamp").await;
    for replica in world.replicas.values() {
        let console = replica.console().await;
        until(&format!("the probe to be loaded on {}", replica.name), || async {
            let status = get(&format!("{console}/status")).await.unwrap_or_default();
            let status: Value = serde_json::from_str(&status).unwrap_or_default();
            matches!(status["plugins"][0]["state"].as_str(), Some("ready" | "running"))
        })
        .await;
    }
    world
}

/// What an object was stamped with, once a term after `term` has done so.
async fn stamped_after(world: &World, term: u64, name: &str) -> Option<String> {
    successor_works(world, term, name).await;
    world.annotation(&world.names.work, name, "probe/value").await
}

/// While a chunk of the new version is missing, the one before is what the successor runs, too; then the new one.
pub async fn a_handover_while_chunks_are_missing(world: World) -> World {
    let mut world = loaded_everywhere(world).await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    let next = world.probe("probe", "stamp", "2").in_chunks().pack(&world.names.plugins);
    let (missing, others) = next.split_first().expect("chunks and a head");
    assert!(others.len() >= 2, "several chunks");
    for object in others {
        world.apply_config_map(object).await;
    }
    world.replica(&old).kill();
    assert_eq!(stamped_after(&world, term, "meanwhile").await.as_deref(), Some("1"));
    world.apply_config_map(missing).await;
    world.annotated_with(&world.names.work, "meanwhile", "probe/value", "2").await;
    world.judged().await.assert_clean();
    world
}

/// While the new version is being checked, the one before is what the successor runs, too; and goes on when the new one is refused.
pub async fn a_handover_while_the_next_version_is_checked(world: World) -> World {
    let mut world = loaded_everywhere(world).await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    let code = world.folder().join("code");
    let before = files(&code);
    let wasm = wat::parse_str(SPINS_AT_START).expect("the text is sound");
    let next = Plugin { wasm, ..world.probe("probe", "stamp", "2") };
    world.drop_in(&next.with("\n[limits]\nreconcile-timeout = \"20s\"\n")).await;
    until("the next version to be compiled: then it is started on trial", || async { files(&code) > before }).await;
    world.replica(&old).signal(Signal::TERM);
    assert!(world.replica(&old).ended().await.success());
    assert_eq!(stamped_after(&world, term, "meanwhile").await.as_deref(), Some("1"));
    let row = world.plugin_state("probe", "refused").await;
    assert!(row["message"].as_str().is_some_and(|message| message.contains("goes on running")), "{row}");
    assert_eq!(stamped_after(&world, term, "after").await.as_deref(), Some("1"));
    world.judged().await.assert_clean();
    world
}

/// While the swap waits for a call of the version before, that one ends with its term, and the successor runs the new one alone.
/// The host is [`PATIENT`].
pub async fn a_handover_while_the_swap_waits_for_a_call(world: World) -> World {
    let mut world = at_work(world, "linger").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.drop_in(&world.probe("probe", "stamp", "2").called("next")).await;
    until("the next version to be loaded", || async {
        world.plugin_state("probe", "running").await["manifest_name"] == "next"
    })
    .await;
    world.replica(&old).signal(Signal::TERM);
    world.annotated_with(&world.names.work, TARGET, "probe/finished", &term.to_string()).await;
    assert!(world.replica(&old).ended().await.success());
    assert_eq!(stamped_after(&world, term, "after").await.as_deref(), Some("2"));
    world.annotated_with(&world.names.work, TARGET, "probe/value", "2").await;
    world.judged().await.assert_clean();
    world
}

/// While a call of a removed plugin comes to its end, its term does; the successor has none of it. The host is [`PATIENT`].
pub async fn a_handover_while_a_removed_plugin_ends(world: World) -> World {
    let mut world = at_work(world, "linger").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.remove_plugin("probe").await;
    until("the plugin to be gone", || async { world.plugins_on_leader().await == 0 }).await;
    world.replica(&old).signal(Signal::TERM);
    world.annotated_with(&world.names.work, TARGET, "probe/finished", &term.to_string()).await;
    assert!(world.replica(&old).ended().await.success());
    world.config_map("probe", &world.names.work, "too-late", json!({})).await;
    world.drop_in(&world.probe("other", "stamp", "1")).await;
    world.config_map("other", &world.names.work, "of-the-other", json!({})).await;
    world.annotated(&world.names.work, "of-the-other", "probe/value").await;
    assert_eq!(world.annotation(&world.names.work, "too-late", "probe/value").await, None);
    assert_eq!(world.annotated(&world.names.work, TARGET, "probe/term").await, term.to_string());
    world.judged().await.assert_clean();
    world
}
