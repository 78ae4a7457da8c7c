//! Leadership passing from one process to another, judged by what the API server stored.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::{TARGET, at_work, successor_works};
use crate::World;

/// SIGTERM: the release is the last write of the old holder, and the next write to the Lease is the successor's.
pub async fn sigterm_hands_over_by_release(world: World) -> World {
    let mut world = at_work(world, "stamp").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).signal(Signal::TERM);
    world.leader_after(&old).await;
    successor_works(&world, term, "after").await;
    assert!(world.replica(&old).ended().await.success());

    let history = world.judged().await.history();
    let released = history.iter().position(|state| state.holder.is_empty()).expect("the lock was released");
    let after = &history[released + 1];
    assert!(!after.holder.is_empty() && !after.holder.starts_with(&old), "{after:?} follows the release");
    world.judge.assert_clean();
    world
}

/// Of all that a term commits, its release is the last.
pub async fn release_comes_after_the_last_write(world: World) -> World {
    let mut world = at_work(world, "burst").await;
    let old = world.leader().await;
    world.replica(&old).signal(Signal::TERM);
    world.leader_after(&old).await;
    assert!(world.replica(&old).ended().await.success());
    let judge = world.judged().await;
    let history = judge.history();
    let released = history.iter().find(|state| state.holder.is_empty()).expect("the lock was released");
    let term = released.term.expect("a released lock still says whose term it was");
    let last = judge.writes().into_iter().filter(|(of, ..)| *of == term).map(|(_, version, _)| version).max();
    assert!(last.expect("the term wrote") < released.version, "a write of the term came after its release");
    judge.assert_clean();
    world
}

/// In a drain a running call ends as its plugin means it to.
pub async fn a_drain_lets_a_running_call_finish(world: World) -> World {
    let mut world = at_work(world, "linger").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).signal(Signal::TERM);
    world.annotated_with(&world.names.work, TARGET, "probe/finished", &term.to_string()).await;
    assert!(world.replica(&old).ended().await.success());
    world.judged().await.assert_clean();
    world
}

/// SIGKILL: nothing is released, the successor waits for expiry.
pub async fn a_killed_leader_is_replaced_at_expiry(world: World) -> World {
    let mut world = at_work(world, "burst").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).kill();
    world.leader_after(&old).await;
    successor_works(&world, term, "after").await;
    let judge = world.judged().await;
    let history = judge.history();
    assert!(history.iter().all(|state| !state.holder.is_empty()), "a killed leader cannot have released: {history:?}");
    judge.assert_clean();
    world
}

/// SIGSTOP, for `pause` at least and until another leads, then SIGCONT: not one write of the old term comes out.
pub async fn a_paused_leader_writes_nothing_when_it_wakes(world: World, pause: Duration) -> World {
    let mut world = at_work(world, "burst").await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    let wakes = Instant::now() + pause;
    world.replica(&old).signal(Signal::STOP);
    world.leader_after(&old).await;
    tokio::time::sleep_until(wakes).await;
    world.replica(&old).signal(Signal::CONT);
    world.replica(&old).logged("stopped leading").await;
    successor_works(&world, term, "after").await;
    let judge = world.judged().await;
    assert_eq!(judge.late_writes(), []);
    judge.assert_clean();
    assert!(world.replica(&old).is_running(), "a leader that lost campaigns again, it does not exit");
    world
}

/// A guest that hears nothing is killed, and the lock let go all the same.
pub async fn a_deaf_guest_is_killed_and_the_lock_released(world: World) -> World {
    let mut world = at_work(world, "deaf").await;
    let old = world.leader().await;
    world.replica(&old).signal(Signal::TERM);
    world.leader_after(&old).await;
    assert!(world.replica(&old).ended().await.success());
    let judge = world.judged().await;
    assert!(judge.history().iter().any(|state| state.holder.is_empty()), "released after the kill");
    judge.assert_clean();
    world
}

/// Leader after leader is told to end, and comes back as a standby.
pub async fn every_replica_leads_in_turn_and_comes_back(world: World) -> World {
    let mut world = at_work(world, "stamp").await;
    for round in 0..4 {
        let (old, term) = (world.leader().await, world.term().await.expect("a term"));
        world.replica(&old).signal(Signal::TERM);
        assert!(world.replica(&old).ended().await.success());
        world.leader_after(&old).await;
        successor_works(&world, term, &format!("round-{round}")).await;
        world.start(&old).await;
    }
    world.judged().await.assert_clean();
    world
}
