//! Replicas that see the wall clock set: an injected clock, the machine's own is left alone. The boot clock runs on.

use std::path::PathBuf;

use tenure_tests::{GATE_LOG, Options, RealApi, World, until};

use super::{FIRST, OTHERS, ended, goes_on, judged, later_term_writes, set_to_work, stood_by};

/// Far beyond any lease.
pub(super) const HOUR_SECONDS: i64 = 3600;

fn step_file(world: &World, name: &str) -> PathBuf {
    world.folder().join(format!("{name}.step"))
}

/// Sets a replica's wall clock, as far as it can see.
pub(super) fn set(world: &World, name: &str, seconds: i64) {
    let file = step_file(world, name);
    let half = file.with_extension("half");
    std::fs::write(&half, seconds.to_string()).expect("written");
    std::fs::rename(&half, &file).expect("renamed");
}

pub(super) async fn start(world: &mut World, name: &str) {
    let file = step_file(world, name);
    world.start_with(name, &[GATE_LOG, ("TENURE_WALL_STEP_FILE", file.to_str().expect("a path of ours"))]).await;
}

/// Waits for renewals that began after now.
pub(super) async fn renewed_three_times(world: &World) {
    let before = world.judge.history().len();
    until("three renewals", || async { world.judge.history().len() >= before + 3 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_set_forward_ends_the_leader_s_own_term_and_no_step_lets_anyone_in_early() {
    let Some(api) = RealApi::shared().await else { return };
    // A term that a busy machine does not end.
    let mut world = World::on(&api, Options { profile: "default", ..Options::default() }).await;
    start(&mut world, FIRST).await;
    set_to_work(&world).await;
    for name in OTHERS {
        start(&mut world, name).await;
    }
    let term = stood_by(&world).await;

    let [ahead, behind] = OTHERS;
    for (name, step) in [(ahead, HOUR_SECONDS), (behind, -HOUR_SECONDS), (FIRST, -HOUR_SECONDS)] {
        set(&world, name, step);
        renewed_three_times(&world).await;
        assert_eq!((world.leader().await.as_str(), world.term().await), (FIRST, Some(term)), "{name} set by {step} s");
    }
    goes_on(&world, term, "set-back").await;

    set(&world, FIRST, 0);
    ended(&world, FIRST, term).await;
    let told = world.replica(FIRST).logged("stopped leading").await;
    assert!(told.contains("renewals were not stored in time"), "{told}");
    later_term_writes(&world, term).await;
    goes_on(&world, term + 1, "afterwards").await;
    assert_eq!(judged(&mut world, "wall clock set"), []);
}
