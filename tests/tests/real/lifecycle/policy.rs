//! Lock policies on every replica: leadership follows the preferred zone, and a policy that gives no verdict costs nothing.

use std::time::Duration;

use rustix::process::Signal;
use tenure_tests::{Options, Plugin, RealApi, World, until};

use super::evidence::assert_nobody_came_early;

/// The lease duration of the profile `default`.
const LEASE_DEFAULT: Duration = Duration::from_secs(15);

/// The default timing: a busy machine ends no term of its own accord.
async fn world(api: &RealApi, plugin: &Plugin) -> World {
    let world = World::on(api, Options { profile: "default", ..Options::default() }).await;
    world.drop_in(plugin).await;
    world
}

async fn start(world: &mut World, name: &str, zone: &str, plugin: &Plugin) {
    let policy = format!("{}/{}", world.names.plugins, plugin.name);
    world.start_with(name, &[("TENURE_ELECTION_POLICY", &policy), ("TENURE_ELECTION_ZONE", zone)]).await;
}

async fn led_by(world: &World, name: &str) {
    until(&format!("{name} to lead"), || async { world.holder().await.as_deref() == Some(name) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_to_the_preferred_zone_and_back_when_that_one_dies() {
    let Some(api) = RealApi::shared().await else { return };
    let mut plugin = Plugin::built("prefer-zone");
    plugin.manifest = plugin.manifest.replace("\"eu-1a\"", "\"here\"");
    let mut world = world(&api, &plugin).await;
    start(&mut world, "replica-0", "there", &plugin).await;
    start(&mut world, "replica-1", "elsewhere", &plugin).await;
    let first = world.leader().await;

    start(&mut world, "replica-2", "here", &plugin).await;
    led_by(&world, "replica-2").await;
    world.replica(&first).logged("the lock policy yields: replica-2 is in the preferred zone here").await;

    world.replica("replica-2").signal(Signal::KILL);
    world.replica("replica-2").ended().await;
    let second = world.leader_after("replica-2").await;

    start(&mut world, "replica-2", "here", &plugin).await;
    led_by(&world, "replica-2").await;
    world.replica(&second).logged("the lock policy yields: replica-2 is in the preferred zone here").await;
    world.judged().await;
    assert_nobody_came_early(&world, LEASE_DEFAULT);
}

/// A policy that gives no verdict: the default policy leads, somebody else takes over, and people are told.
async fn gives_no_verdict(does: &str) {
    let Some(api) = RealApi::shared().await else { return };
    let mut plugin = Plugin::built("wayward-policy");
    plugin.manifest = plugin.manifest.replace("\"trap\"", &format!("\"{does}\""));
    let mut world = world(&api, &plugin).await;
    for name in ["replica-0", "replica-1", "replica-2"] {
        start(&mut world, name, "anywhere", &plugin).await;
    }
    let leader = world.leader().await;
    let identity = format!("{}/{}", world.names.plugins, plugin.name);
    let told = format!("the lock policy {identity} gives no verdict");
    world.replica(&leader).logged(&told).await;
    until("an Event on the Lease", || async {
        world.lock_events().await.iter().any(|(kind, message)| kind == "Warning" && message.contains(&told))
    })
    .await;
    world.plugin_state(&plugin.name, "circuit-open").await;

    world.replica(&leader).signal(Signal::TERM);
    assert!(world.replica(&leader).ended().await.success());
    world.leader_after(&leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_traps_leaves_it_to_the_default_policy_and_is_reported() {
    gives_no_verdict("trap").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_spins_leaves_it_to_the_default_policy_and_is_reported() {
    gives_no_verdict("spin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_talks_nonsense_leaves_it_to_the_default_policy_and_is_reported() {
    gives_no_verdict("nonsense").await;
}
