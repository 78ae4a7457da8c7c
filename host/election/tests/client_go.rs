//! client-go's own test list for leader election (tools/leaderelection, v0.36), one test a line of it, named after it: what it
//! asks for, as far as the core decides it. Where Tenure answers otherwise the test's comment says so and why.
//!
//! Of the list, elsewhere:
//! - the record and the Lease, round trip, labels that are nil: `host/lease/src/object.rs`; labels through a whole host:
//!   `host/lease/tests/election/handover.rs`, `what_others_put_on_the_lease_stays_there`;
//! - `TestReleaseOnCancellation`, on requests that hang: `host/lease/tests/election/faults.rs`, `hanging_renewal_is_given_up..`;
//! - healthz (5): `host/lease/tests/election/faults.rs`, `health_and_counts_follow_the_renewals`;
//! - events: `host/lease/tests/election/handover.rs`, `events_tell_who_became_leader_and_who_stopped`.
//!
//! The legacy kinds (`endpoints`, `configmaps`) ask for the same with the record in an annotation: `host/lease/src/object.rs` and
//! `host/lease/tests/election/locks.rs`. client-go 0.36 has neither them nor the multilock any more; its list of before is in
//! `multilock`.
//!
//! Not applicable to the core: `TestCheckMethodRace` is about two goroutines and one field; the core has no threads.
//! `TestTryCoordinatedRenew` is about coordinated election (LeaseCandidates), which is another election.

use std::time::Duration;

use tenure_election::{Phase, Record, Settings, Timing};
use tenure_simulator::commands::Scenario;
use tenure_simulator::world::World;

fn run(commands: &[&str]) -> (World, Vec<String>) {
    let mut scenario = Scenario::default();
    let seen = commands.iter().flat_map(|command| scenario.run(command)).collect();
    assert_eq!(scenario.world.judge.violations, Vec::<String>::new());
    (scenario.world, seen)
}

fn record(world: &World) -> &Record {
    &world.api.object.as_ref().expect("the lock's object").record
}

fn phase(world: &World) -> Phase {
    world.nodes[0].ours().expect("a process of ours").elector.phase()
}

fn lines(seen: &[String], part: &str) -> usize {
    seen.iter().filter(|line| line.contains(part)).count()
}

mod try_acquire_or_renew {
    use super::*;

    /// client-go creates and leads at once. So does Tenure where it was told that nobody can have led (`first-create`).
    #[test]
    fn acquire_from_no_object() {
        let (world, _) = run(&["start a create=immediate", "tick 1s"]);
        assert_eq!(phase(&world), Phase::Leading);
        assert_eq!((record(&world).holder.as_str(), record(&world).transitions), ("a", 0));
        // Otherwise somebody may live whose Lease was deleted, and it waits.
        let (world, seen) = run(&["start a", "tick 14s"]);
        assert_eq!((phase(&world), lines(&seen, "waits 15s")), (Phase::Standby, 1));
        let (world, _) = run(&["start a", "tick 16s"]);
        assert_eq!((phase(&world), record(&world).transitions), (Phase::Leading, 0));
    }

    /// An object with no record: client-go takes it at once; Tenure waits, for an emptied lock looks the same.
    #[test]
    fn acquire_from_object_without_annotations() {
        let (world, _) = run(&["create-lease", "start a", "tick 14s"]);
        assert_eq!(phase(&world), Phase::Standby);
        let (world, _) = run(&["create-lease", "start a", "tick 16s"]);
        assert_eq!((phase(&world), record(&world).holder.as_str()), (Phase::Leading, "a"));
    }

    /// What the record says counts, not only what this candidate is set to.
    #[test]
    fn acquire_from_led_object_with_the_lease_duration_seconds() {
        let commands = ["create-lease holder=b duration=30 renewed=now", "start a", "tick 29s"];
        assert_eq!(phase(&run(&commands).0), Phase::Standby);
        let commands = ["create-lease holder=b duration=30 renewed=now", "start a", "tick 31s"];
        let (world, _) = run(&commands);
        assert_eq!(phase(&world), Phase::Leading);
        assert_eq!((record(&world).lease_duration_seconds, record(&world).transitions), (15, 1));
    }

    /// Nobody holds it: released in order, it is taken without waiting.
    #[test]
    fn acquire_from_unled_object() {
        let commands = ["create-lease duration=1 term=7/b released=7/b transitions=1", "start a", "tick 1s"];
        let (world, _) = run(&commands);
        assert_eq!((phase(&world), record(&world).transitions), (Phase::Leading, 2));
    }

    /// Held by another whom this candidate has not watched yet: its time begins when it is first seen, never by its renewTime.
    #[test]
    fn acquire_from_led_unacked_object() {
        let commands = ["create-lease holder=b duration=15 renewed=1", "start a", "tick 14s"];
        assert_eq!(phase(&run(&commands).0), Phase::Standby);
        let commands = ["create-lease holder=b duration=15 renewed=1", "start a", "tick 16s"];
        assert_eq!(phase(&run(&commands).0), Phase::Leading);
    }

    /// Let go by the holder that was watched: no wait.
    #[test]
    fn acquire_from_empty_led_acked_object() {
        let commands = [
            "create-lease holder=b duration=15 renewed=now",
            "start a",
            "tick 3s",
            "edit-lease holder= duration=1",
            "tick 1s",
        ];
        assert_eq!(phase(&run(&commands).0), Phase::Leading);
    }

    #[test]
    fn dont_acquire_from_led_acked_object() {
        let renew = ["edit-lease renewed=now", "tick 10s"];
        let mut commands = vec!["create-lease holder=b duration=15 renewed=now", "start a", "tick 10s"];
        commands.extend(renew.repeat(5));
        let (world, seen) = run(&commands);
        assert_eq!((phase(&world), record(&world).holder.as_str()), (Phase::Standby, "b"));
        assert_eq!(lines(&seen, "acquires"), 0);
    }

    /// acquireTime and transitions stay; renewTime moves.
    #[test]
    fn renew_already_acquired_object() {
        let (early, _) = run(&["start a create=immediate", "tick 1s"]);
        let (late, _) = run(&["start a create=immediate", "tick 9s"]);
        let (early, late) = (record(&early), record(&late));
        assert_eq!((early.acquire_time, early.transitions), (late.acquire_time, late.transitions));
        assert!(late.renew_time > early.renew_time);
    }
}

mod release {
    use super::*;

    /// There is nothing to release, and nothing is written.
    #[test]
    fn release_acquired_lock_from_no_object() {
        let commands = [
            "start a create=immediate",
            "tick 1s",
            "busy a",
            "shutdown a",
            "delete-lease",
            "tick 1s",
            "drained a",
            "tick 9s",
        ];
        let (world, seen) = run(&commands);
        assert_eq!((phase(&world), world.api.object.is_none()), (Phase::Finished, true));
        assert_eq!(lines(&seen, "releases"), 0);
    }

    #[test]
    fn release_acquired_lock() {
        let (world, _) = run(&["start a create=immediate", "tick 1s", "shutdown a", "tick 1s"]);
        let record = record(&world);
        assert_eq!((record.holder.as_str(), record.lease_duration_seconds, record.transitions), ("", 1, 0));
        assert_eq!(phase(&world), Phase::Finished);
    }

    /// client-go reads before it releases, and then overwrites whoever came meanwhile. Tenure releases the version it knows; a
    /// version that moved on is a conflict, then it reads, and only a record of its own is released.
    #[test]
    fn release_method_calls_get() {
        let commands =
            ["start a create=immediate", "tick 1s", "watch a silent", "edit-lease team=x", "shutdown a", "tick 1s"];
        let (world, seen) = run(&commands);
        assert_eq!((lines(&seen, "<- conflict"), lines(&seen, "releases")), (1, 2));
        assert_eq!(record(&world).holder, "");
        let commands = [
            "start a create=immediate",
            "tick 1s",
            "watch a silent",
            "edit-lease holder=b duration=15",
            "shutdown a",
            "tick 1s",
        ];
        let (world, _) = run(&commands);
        assert_eq!(record(&world).holder, "b");
    }

    /// Asked to end while a renewal is under way: its answer first, then the release.
    #[test]
    fn release_acquired_lock_on_cancellation_of_update() {
        let commands = ["start a create=immediate", "tick 1s", "lose-answer a", "tick 1005ms", "shutdown a", "tick 4s"];
        let (world, seen) = run(&commands);
        assert_eq!(lines(&seen, "is stored, unknown to it"), 1);
        assert_eq!((phase(&world), record(&world).holder.as_str()), (Phase::Finished, ""));
    }

    /// Asked to end while a read is under way that says whose the lock is.
    #[test]
    fn release_acquired_lock_on_cancellation_of_get() {
        let commands = [
            "start a create=immediate",
            "tick 1s",
            "watch a silent",
            "edit-lease team=x",
            "tick 1005ms",
            "shutdown a",
            "tick 4s",
        ];
        let (world, _) = run(&commands);
        assert_eq!((phase(&world), record(&world).holder.as_str()), (Phase::Finished, ""));
    }

    /// ReleaseOnCancel false.
    #[test]
    fn nothing_is_released_where_settings_say_so() {
        let (world, _) = run(&["start a create=immediate release=off", "tick 1s", "shutdown a", "tick 1s"]);
        assert_eq!((phase(&world), record(&world).holder.as_str()), (Phase::Finished, "a"));
    }
}

mod config_validation {
    use super::*;

    fn refusal(lease: u64, renew: u64, retry: u64) -> String {
        let [lease, renew, retry] = [lease, renew, retry].map(Duration::from_secs);
        Timing::new(lease, renew, retry, None).expect_err("refused").to_string()
    }

    #[test]
    fn lease_duration_must_be_greater_than_renew_deadline() {
        assert!(refusal(10, 10, 2).starts_with("lease-duration 10s must be longer than renew-deadline 10s"));
    }

    /// client-go asks for 1.2 retry periods, its jitter; Tenure for three attempts of 200 ms at least.
    #[test]
    fn renew_deadline_must_be_greater_than_retry_period() {
        assert!(refusal(15, 2, 2).starts_with("renew-deadline 2s must be longer than retry-period 2s"));
    }

    #[test]
    fn durations_must_be_greater_than_zero() {
        for (lease, renew, retry) in [(0, 10, 2), (15, 0, 2), (15, 10, 0)] {
            assert!(refusal(lease, renew, retry).contains("must be whole seconds, at least 1s"));
        }
    }

    #[test]
    fn identity_must_not_be_empty() {
        assert!(tenure_election::Identity::new("").is_err());
    }

    #[test]
    fn what_client_go_recommends_is_accepted_as_it_is() {
        let [lease, renew, retry] = [15, 10, 2].map(Duration::from_secs);
        let timing = Timing::new(lease, renew, retry, None).expect("accepted");
        assert_eq!((timing, timing.warnings()), (Settings::default().timing, vec![]));
    }
}

mod fast_path {
    use super::*;

    /// While all goes well the holder writes and never reads.
    #[test]
    fn exercise_fast_path_after_lock_acquired() {
        let (_, seen) = run(&["start a create=immediate", "show-renewals a", "watch a silent", "tick 21s"]);
        assert!(lines(&seen, "renews") >= 9, "{seen:#?}");
        assert_eq!(lines(&seen, "slow path"), 0);
    }

    /// A conflict, a read, the same write on the version just read.
    #[test]
    fn fallback_to_slow_path_after_fast_path_fails() {
        let (world, seen) =
            run(&["start a create=immediate", "tick 1s", "watch a silent", "edit-lease team=x", "tick 3s"]);
        assert_eq!((lines(&seen, "<- conflict"), lines(&seen, "slow path")), (1, 1));
        assert_eq!(phase(&world), Phase::Leading);
    }
}

mod labels {
    use super::*;

    /// TestLabelUpdate: what others put there stays through renewal and release.
    #[test]
    fn what_others_put_on_the_object_is_kept() {
        let commands = ["start a create=immediate", "tick 1s", "edit-lease team=x", "tick 5s"];
        let (world, _) = run(&commands);
        assert_eq!(record(&world).annotations.get("team").map(String::as_str), Some("x"));
        let (world, _) = run(&[&commands[..], &["shutdown a", "tick 1s"]].concat());
        assert_eq!(record(&world).annotations.get("team").map(String::as_str), Some("x"));
    }
}

/// `testTryAcquireOrRenewMultiLock`, for `endpointsleases` and `configmapsleases`: "baz" is we, "bing" another. client-go takes the
/// primary's record for both and writes the secondary after it; here each lock has a record of its own and is waited for.
mod multilock {
    use tenure_simulator::moving::{Moving, NEW, OLD};

    use super::*;

    const PRIMARY: usize = OLD;
    const SECONDARY: usize = NEW;

    fn world() -> Moving {
        Moving::new(1, Timing::DEFAULT)
    }

    /// A record that somebody wrote and does not renew.
    fn led_by(world: &mut Moving, lock: usize, holder: &str) {
        world.edit(lock, |record| {
            record.holder = holder.to_owned();
            record.lease_duration_seconds = 15;
        });
    }

    fn start(mut world: Moving, then: u64) -> Moving {
        world.add("baz", &[PRIMARY, SECONDARY], 1_000_000);
        world.advance(Duration::from_secs(then));
        assert_eq!(world.violations, Vec::<String>::new());
        world
    }

    fn leads(world: &Moving) -> bool {
        world.leader().is_some()
    }

    fn holders(world: &Moving) -> [String; 2] {
        world.locks.each_ref().map(|lock| lock.object.as_ref().expect("an object").record.holder.clone())
    }

    fn holds_both(world: &Moving) -> bool {
        leads(world) && holders(world).iter().all(|holder| holder.starts_with("baz_"))
    }

    #[test]
    fn acquire_from_no_object() {
        assert!(holds_both(&start(world(), 17)));
    }

    #[test]
    fn acquire_from_unled_old_object() {
        let mut world = world();
        world.edit(PRIMARY, |_| {});
        assert!(holds_both(&start(world, 17)));
    }

    #[test]
    fn acquire_from_unled_transition_object() {
        let mut world = world();
        world.edit(PRIMARY, |_| {});
        world.edit(SECONDARY, |_| {});
        assert!(holds_both(&start(world, 17)));
    }

    #[test]
    fn acquire_from_led_unack_old_object() {
        let mut world = world();
        led_by(&mut world, PRIMARY, "bing");
        assert!(holds_both(&start(world, 17)));
    }

    #[test]
    fn acquire_from_led_unack_transition_object() {
        let mut world = world();
        led_by(&mut world, PRIMARY, "bing");
        led_by(&mut world, SECONDARY, "bing");
        let world = start(world, 17);
        assert!(holds_both(&world));
        let transitions = world.locks.each_ref().map(|lock| lock.object.as_ref().expect("one").record.transitions);
        assert_eq!(transitions, [1, 1]);
    }

    /// A record in our own name proves nothing: it is another process'.
    #[test]
    fn acquire_from_conflict_led_ack_transition_object() {
        let mut world = world();
        led_by(&mut world, PRIMARY, "bing");
        led_by(&mut world, SECONDARY, "baz_1");
        let world = start(world, 14);
        assert!(!leads(&world));
        assert_eq!(holders(&world), ["bing", "baz_1"]);
    }

    #[test]
    fn acquire_from_led_unack_unknown_object() {
        let mut world = world();
        led_by(&mut world, PRIMARY, "leaderelection.k8s.io/unknown");
        led_by(&mut world, SECONDARY, "leaderelection.k8s.io/unknown");
        assert!(holds_both(&start(world, 17)));
    }

    #[test]
    fn dont_acquire_from_led_ack_old_object() {
        let mut world = world();
        led_by(&mut world, PRIMARY, "bing");
        assert!(!leads(&start(world, 14)));
    }

    #[test]
    fn dont_acquire_from_led_acked_new_object_observe_new_record() {
        let mut world = world();
        led_by(&mut world, PRIMARY, "baz_1");
        led_by(&mut world, SECONDARY, "bing");
        let world = start(world, 14);
        assert!(!leads(&world));
        assert_eq!(holders(&world), ["baz_1", "bing"]);
    }

    #[test]
    fn dont_acquire_from_led_acked_new_object_observe_transition_record() {
        let mut world = world();
        led_by(&mut world, PRIMARY, "bing");
        led_by(&mut world, SECONDARY, "bing");
        assert!(!leads(&start(world, 14)));
    }

    #[test]
    fn renew_already_required_object() {
        let mut world = start(world(), 17);
        let term = world.leader().map(|(_, term)| term);
        world.advance(Duration::from_secs(120));
        assert!(holds_both(&world));
        assert_eq!(world.leader().map(|(_, term)| term), term);
    }
}
