//! Several locks held together: what one candidate does, and moves from one lock to another under faults.

use std::time::Duration;

use tenure_election::{Record, Timing};
use tenure_simulator::moving::{Moves, Moving, NEW, OLD};

const RATE: u64 = 1_000_000;

fn world() -> Moving {
    Moving::new(7, Timing::DEFAULT)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn holder(world: &Moving, lock: usize) -> String {
    world.locks[lock].object.as_ref().map(|seen| seen.record.holder.clone()).unwrap_or_default()
}

fn mark(world: &Moving, lock: usize) -> Option<String> {
    world.locks[lock].object.as_ref()?.record.annotations.get(Record::TERM).cloned()
}

fn held_by_both(world: &mut Moving) -> (String, u64) {
    assert!(world.await_leader(seconds(40)), "{:?}", world.log);
    assert_eq!(holder(world, OLD), holder(world, NEW));
    let (name, term) = world.leader().expect("just awaited");
    (name.to_owned(), term)
}

#[test]
fn a_term_begins_when_all_locks_are_held_and_all_say_it() {
    let mut world = world();
    world.add("a", &[OLD, NEW], RATE);
    let (_, term) = held_by_both(&mut world);
    assert_eq!(mark(&world, OLD), mark(&world, NEW));
    assert!(mark(&world, OLD).is_some_and(|mark| mark.starts_with(&format!("{term}/"))));
}

#[test]
fn losing_either_lock_ends_the_term() {
    for lock in [OLD, NEW] {
        let mut world = world();
        world.add("a", &[OLD, NEW], RATE);
        let (_, term) = held_by_both(&mut world);
        world.edit(lock, |record| record.holder = "somebody".to_owned());
        world.advance(Duration::from_millis(200));
        assert_eq!(world.leader(), None, "lock {lock}");
        let (_, next) = held_by_both(&mut world);
        assert!(next > term);
        assert_eq!(world.violations, Vec::<String>::new());
    }
}

#[test]
fn renewing_one_lock_alone_keeps_nothing() {
    for lock in [OLD, NEW] {
        let mut world = world();
        let a = world.add("a", &[OLD, NEW], RATE);
        held_by_both(&mut world);
        world.replicas[a].refused[lock] = true;
        // Renewed at most a retry-period ago: soft by now, and not yet over.
        world.advance(Duration::from_millis(10_100));
        assert_eq!(world.leader(), None, "lock {lock}");
        world.advance(seconds(3));
        assert_eq!(world.leader(), None, "lock {lock}");
        assert_eq!(world.violations, Vec::<String>::new());
    }
}

#[test]
fn no_lock_is_claimed_while_another_that_is_needed_is_held() {
    for (free, taken) in [(OLD, NEW), (NEW, OLD)] {
        let mut world = world();
        world.add("other", &[taken], RATE);
        assert!(world.await_leader(seconds(40)));
        world.add("both", &[OLD, NEW], RATE);
        world.advance(seconds(60));
        assert_eq!(holder(&world, free), "", "lock {free}");
        assert_eq!(world.locks[free].version, 1, "lock {free} was made, and never written again");
        assert_eq!(world.leader().map(|(name, _)| name), Some("other"));
    }
}

#[test]
fn a_lock_that_was_taken_in_vain_is_let_go_so_that_those_who_need_no_more_can_lead() {
    let (mut world, _) = half_held();
    world.add("old", &[OLD], RATE);
    world.advance(seconds(12));
    assert_eq!(world.leader().map(|(name, _)| name), Some("old"), "{:?}", world.log);
    assert_eq!(world.violations, Vec::<String>::new());
}

/// A candidate that holds the old lock and may not yet write the new one, which is free.
fn half_held() -> (Moving, usize) {
    let mut world = world();
    let both = world.add("both", &[OLD, NEW], RATE);
    world.replicas[both].refused[NEW] = true;
    // Made by somebody, so that only its claim is refused.
    world.edit(NEW, |record| record.lease_duration_seconds = 15);
    world.advance(seconds(17));
    assert!(holder(&world, OLD).starts_with("both"), "{:?}", world.log);
    (world, both)
}

#[test]
fn a_lock_that_was_taken_in_vain_is_let_go_as_soon_as_another_takes_the_rest() {
    let (mut world, _) = half_held();
    world.edit(NEW, |record| record.holder = "somebody".to_owned());
    world.advance(seconds(1));
    assert_eq!(holder(&world, OLD), "");
}

#[test]
fn no_lock_is_taken_in_a_term_below_one_that_it_has_seen() {
    let (mut world, both) = half_held();
    let above = format!("{}/x", 1_000_000_000);
    world.edit(NEW, |record| {
        record.annotations.insert(Record::TERM.to_owned(), above.clone());
        record.annotations.insert(Record::RELEASED.to_owned(), above);
    });
    world.replicas[both].refused[NEW] = false;
    world.advance(seconds(1));
    assert_eq!(holder(&world, OLD), "", "it is let go, to be taken in a term above");
    let (_, term) = held_by_both(&mut world);
    assert!(term > 1_000_000_000, "{term}");
}

#[test]
fn a_wall_clock_that_is_set_back_keeps_nobody_from_a_term_that_all_locks_take() {
    let mut world = world();
    let a = world.add("a", &[OLD, NEW], RATE);
    world.advance(seconds(5));
    world.set_wall_back(a, seconds(90));
    held_by_both(&mut world);
}

#[test]
fn a_shutdown_lets_all_locks_go_and_a_standby_takes_them_without_waiting() {
    let mut world = world();
    let a = world.add("a", &[OLD, NEW], RATE);
    held_by_both(&mut world);
    world.add("b", &[OLD, NEW], RATE);
    world.advance(seconds(1));
    world.shut_down(a);
    world.advance(seconds(1));
    assert_eq!(world.leader().map(|(name, _)| name), Some("b"), "{:?}", world.log);
}

#[test]
fn two_that_hold_one_lock_each_are_warned_of_and_not_joined() {
    let mut world = world();
    world.add("old", &[OLD], RATE);
    world.add("new", &[NEW], RATE);
    world.advance(seconds(20));
    world.violations.clear(); // these two need no lock in common
    world.add("both", &[OLD, NEW], RATE);
    world.advance(seconds(40));
    assert!(world.log.iter().any(|line| line.contains("both (lock 1) warns: old_1 and new_")), "{:?}", world.log);
    assert!(world.begun.iter().all(|begun| begun.name != "both"));
}

#[test]
fn a_move_in_order_keeps_terms_rising_and_costs_no_expiry() {
    for (from, to) in [(OLD, NEW), (NEW, OLD)] {
        let mut world = world();
        let nodes = ["a", "b", "c"].map(|name| world.add(name, &[from], RATE));
        assert!(world.await_leader(seconds(40)));
        for stage in [vec![OLD, NEW], vec![to]] {
            for node in nodes {
                world.set_next(node, &stage);
                world.shut_down(node);
                world.advance(seconds(4));
                assert!(world.leader().is_some() || stage.len() == 2, "{:?}", world.log);
                world.advance(seconds(20));
                assert!(world.leader().is_some(), "{:?}", world.log);
            }
        }
        assert!(world.begun.windows(2).all(|pair| pair[0].term < pair[1].term), "{:?}", world.begun);
        assert_eq!(world.violations, Vec::<String>::new());
    }
}

#[test]
fn no_move_under_faults_makes_two_leaders() {
    let (mut moves, mut wrong) = (Moves::default(), Vec::new());
    for seed in 0..400 {
        let world = Moving::run(seed);
        moves.add(&world);
        if !world.violations.is_empty() {
            wrong.push(format!("seed {seed}: {:?}\n{}", world.violations, world.log.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} seeds:\n{}", wrong.len(), wrong[0]);
    assert!(moves.terms.iter().all(|terms| *terms > moves.seeds / 2), "the faults leave nothing to judge: {moves}");
}
