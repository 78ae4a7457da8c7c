//! A leader stopped between its decision to write and the wire, past the end of its lease: what comes out when it wakes?

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::json;

use super::TARGET;
use crate::{World, until};

/// The failpoints at which not one write may come out.
pub const POINTS_WITHOUT_RESIDUE: [&str; 4] = ["after-admission", "after-checkout", "before-last-look", "half-body"];

/// The failpoint between the last look at the clocks and `write(2)`: the one write that stands there is residue.
pub const POINT_OF_RESIDUE: &str = "after-last-look";

/// A leader that was stopped past its lease, and woke.
#[derive(Debug)]
pub struct Woken {
    /// Its term.
    pub term: u64,
    /// The writes of its term that were committed after the takeover.
    pub late_writes: usize,
    /// When it was told to go on: until then it could send nothing.
    pub at: Timestamp,
}

/// Stops a leader in the middle of a write, until another has taken over and written. The world has no replica yet.
pub async fn stop_and_wake_at(point: &str, world: &mut World, standbys: usize) -> Woken {
    world.start_with("stopped", &[("TENURE_STOP_AT", point)]).await;
    world.leader().await;
    world.drop_in(&world.probe("probe", "burst", "1")).await;
    world.config_map("probe", &world.names.work, TARGET, json!({})).await;
    world.replica("stopped").stopped().await;
    let term = world.term().await.expect("a term");
    // Not before: by then nobody else may have got to lead.
    for number in 0..standbys {
        world.start(&format!("standby-{number}")).await;
    }
    world.leader_after("stopped").await;
    until("the successor to write", || async { world.judge.writes().iter().any(|(of, ..)| *of > term) }).await;
    let at = Timestamp::now();
    world.replica("stopped").signal(Signal::CONT);
    world.replica("stopped").logged("stopped leading").await;
    // Whatever was on its way is there once the successor has written again, and again.
    let seen = world.judge.writes().len();
    until("the successor to go on", || async { world.judge.writes().len() > seen + 20 }).await;
    let judge = world.judged().await;
    judge.assert_terms_rise();
    Woken { term, late_writes: judge.late_writes().len(), at }
}
