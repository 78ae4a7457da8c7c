//! Deletions that a finalizer of the host's holds until the plugin has dealt with them.

use serde_json::json;

use super::TARGET;
use crate::{Plugin, World, until};

/// Where the probe counts what it was told of the end of.
const LEDGER: &str = "ledger";

/// The probe that cleans up, with the finalizer on what it watches.
pub fn cleaner(world: &World, value: &str) -> Plugin {
    world.probe("probe", "clean", value).with_finalizer()
}

/// With the cleaner at work on one ConfigMap, which carries its finalizer.
pub async fn holding(world: World) -> World {
    answer(&world, "").await;
    world.drop_in(&cleaner(&world, "1")).await;
    world.config_map("probe", &world.names.work, TARGET, json!({})).await;
    world.annotated(&world.names.work, TARGET, "probe/term").await;
    assert_eq!(finalizers(&world).await.expect("it is there").len(), 1, "set before the first call");
    world
}

/// What the probe is to answer when an object ends.
pub async fn answer(world: &World, answer: &str) {
    let metadata = json!({"name": LEDGER, "namespace": world.names.work});
    let data = json!({"answer": answer});
    world.apply_config_map(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})).await;
}

/// The target's finalizers; `None` when it is gone.
pub async fn finalizers(world: &World) -> Option<Vec<String>> {
    let target = world.get_config_map(&world.names.work, TARGET).await?;
    Some(target.metadata.finalizers.unwrap_or_default())
}

/// Waits until the target is gone.
pub async fn gone(world: &World) {
    until("the target to be gone", || async { finalizers(world).await.is_none() }).await;
}

/// How often the probe has cleaned up after the target.
pub async fn cleaned(world: &World) -> u32 {
    let count = world.annotation(&world.names.work, LEDGER, "probe/cleaned-target").await;
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// The term of a call about the target's end that the probe answered so.
pub async fn answered(world: &World, answer: &str) -> u64 {
    let term = world.annotated(&world.names.work, LEDGER, &format!("probe/{answer}-{TARGET}")).await;
    term.parse().expect("a term")
}

/// Deleted while nobody leads: it stays until the next leader's plugin has dealt with it, once.
pub async fn a_deletion_while_nobody_leads_is_not_missed(world: World) -> World {
    let mut world = holding(world).await;
    let leader = world.leader().await;
    world.replica(&leader).kill();
    world.delete_config_map(&world.names.work, TARGET).await;
    assert_eq!(finalizers(&world).await.expect("it is held").len(), 1);
    gone(&world).await;
    assert_eq!(cleaned(&world).await, 1);
    world.judged().await.assert_clean();
    world
}

/// What the plugin has not dealt with stays, through a handover, until it has.
pub async fn what_is_not_cleaned_up_stays_through_a_handover(world: World) -> World {
    let mut world = holding(world).await;
    answer(&world, "fail").await;
    world.delete_config_map(&world.names.work, TARGET).await;
    let term = answered(&world, "fail").await;
    let leader = world.leader().await;
    world.replica(&leader).signal(rustix::process::Signal::TERM);
    assert!(world.replica(&leader).ended().await.success());
    until("the next leader's plugin to have failed as well", || async { answered(&world, "fail").await > term }).await;
    assert_eq!(finalizers(&world).await.expect("it is held").len(), 1);
    answer(&world, "later").await;
    answered(&world, "later").await;
    assert_eq!(finalizers(&world).await.expect("who asks to come again is not done").len(), 1);
    answer(&world, "").await;
    gone(&world).await;
    assert_eq!(cleaned(&world).await, 1);
    world.judged().await.assert_clean();
    world
}

/// An object that leaves the selector is let go of, and is there still.
pub async fn what_is_not_selected_any_more_is_let_go(world: World) -> World {
    let world = holding(world).await;
    let metadata = json!({"name": TARGET, "namespace": world.names.work});
    world.apply_config_map(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await;
    until("the finalizer to be gone", || async { finalizers(&world).await.is_some_and(|left| left.is_empty()) }).await;
    assert_eq!(cleaned(&world).await, 1);
    world.config_map("probe", &world.names.work, TARGET, json!({})).await;
    until("the finalizer to be back", || async { finalizers(&world).await.is_some_and(|held| held.len() == 1) }).await;
    world.judged().await.assert_clean();
    world
}

/// A plugin that is removed leaves its finalizers behind and says so; brought back, it lets go of them.
pub async fn a_removed_plugin_s_finalizers_are_told_of_until_it_is_back(world: World) -> World {
    let world = holding(world).await;
    world.remove_plugin("probe").await;
    until("a row that says what is left", || async {
        let row = world.plugin_state("probe", "removing").await;
        row["message"].as_str().is_some_and(|message| message.contains("1 objects carry its finalizer"))
    })
    .await;
    until("an Event that says what to do", || async {
        world.event_on(&world.names.plugins, "probe").await.is_some_and(|event| event.contains("--strip"))
    })
    .await;
    world.delete_config_map(&world.names.work, TARGET).await;
    assert!(finalizers(&world).await.is_some(), "nobody is there to let it go");
    world.drop_in(&cleaner(&world, "2")).await;
    gone(&world).await;
    assert_eq!(cleaned(&world).await, 1);
    world.plugin_state("probe", "running").await;
    world.judged().await.assert_clean();
    world
}
