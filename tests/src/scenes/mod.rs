//! What whole-host tests do on either API server: each scene is one claim over a world, which the test makes. Scenes that need
//! a real server are with its tests.

pub mod by_hand;
pub mod finalizers;
pub mod handover;
pub mod languages;
pub mod reload;
pub mod stopped_writes;
pub mod task;

use serde_json::json;

use crate::{World, until};

/// Where a scene's probe works.
pub const TARGET: &str = "target";

/// With the probe `probe` doing `behaviour` to one ConfigMap, which it has stamped.
pub async fn at_work(world: World, behaviour: &str) -> World {
    world.drop_in(&world.probe("probe", behaviour, "1")).await;
    world.config_map("probe", &world.names.work, TARGET, json!({})).await;
    world.annotated(&world.names.work, TARGET, "probe/term").await;
    world
}

/// Waits until a term after `term` has stamped a new object.
pub async fn successor_works(world: &World, term: u64, name: &str) {
    let namespace = &world.names.work;
    world.config_map("probe", namespace, name, json!({})).await;
    until("the successor to stamp an object", || async {
        let stamped = world.annotation(namespace, name, "probe/term").await;
        stamped.and_then(|stamped| stamped.parse::<u64>().ok()).is_some_and(|stamped| stamped > term)
    })
    .await;
}
