//! The queue's rules, one idea each: commands, and what came of them.

use std::time::{Duration, Instant};

use expect_test::{Expect, expect};

use super::*;

/// Some instant: every other one in a test is counted from it.
pub(super) fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "there is no other way to come by a first instant")]
    Instant::now()
}

/// Runs commands, one a line, on a queue without jitter of note (waits of 100 ms to 1 s), and notes what it hands out.
///
/// `at <ms>`, `add <key> <cause>`, `later <key> <cause> <at ms>`, `poll`, `ok <key>`, `again <key> <after ms>`, `fail <key> [after ms]`,
/// `hold <key> <until ms>`, `release <key>`, `clear`.
fn check(concurrency: usize, commands: &str, expected: &Expect) {
    let settings =
        QueueSettings { concurrency, backoff_min: Duration::from_millis(100), backoff_max: Duration::from_secs(1) };
    let (zero, mut queue) = (start(), Queue::<String>::new(&settings, 1));
    let mut now = zero;
    let mut transcript = String::new();
    for command in commands.lines().map(str::trim).filter(|command| !command.is_empty()) {
        let words = command.split_whitespace().collect::<Vec<_>>();
        let ms = |word: &str| Duration::from_millis(word.parse().unwrap());
        let key = || words[1].to_owned();
        match words[0] {
            "at" => now = zero + ms(words[1]),
            "add" => queue.add(now, key(), cause(words[2])),
            "later" => queue.add_at(now, key(), cause(words[2]), zero + ms(words[3])),
            "hold" => queue.hold(key(), zero + ms(words[2])),
            "release" => queue.release(&key()),
            "clear" => queue.clear(),
            "poll" => {
                let line = queue.poll(now).map_or_else(|| nothing(&queue, zero), |ready| describe(&ready, zero, now));
                transcript.push_str(&line);
            }
            result => {
                let done = match (result, words.get(2)) {
                    ("ok", _) => Done::Ok,
                    ("again", Some(after)) => Done::RequeueAfter(ms(after)),
                    ("fail", after) => Done::Retry { after: after.map(|after| ms(after)) },
                    _ => panic!("unknown command {command:?}"),
                };
                let took = queue.done(now, &key(), done);
                transcript
                    .push_str(&took.map_or("not running\n".to_owned(), |took| format!("{} took {took:?}\n", words[1])));
            }
        }
    }
    expected.assert_eq(&transcript);
}

fn cause(word: &str) -> Cause {
    match word {
        "changed" => Cause::Changed,
        "deleted" => Cause::Deleted,
        "scheduled" => Cause::Scheduled,
        "started" => Cause::TermStarted,
        _ => panic!("unknown cause {word:?}"),
    }
}

fn describe(ready: &Ready<String>, zero: Instant, now: Instant) -> String {
    let at = now.duration_since(zero).as_millis();
    let waited = now.duration_since(ready.queued_at).as_millis();
    let expired = if ready.hold_expired { ", hold expired" } else { "" };
    format!("{at}: {} {:?}, waited {waited} ms, {} failures{expired}\n", ready.key, ready.cause, ready.failures)
}

fn nothing(queue: &Queue<String>, zero: Instant) -> String {
    let next = queue.poll_timeout().map_or("never".to_owned(), |at| format!("{:?}", at.duration_since(zero)));
    format!("nothing (ready {}, running {}, next {next})\n", queue.depth(), queue.running())
}

#[test]
fn a_key_added_many_times_is_called_once() {
    check(
        2,
        "add a changed\nadd a changed\nat 5\nadd a scheduled\npoll\npoll\nok a\npoll",
        &expect![[r#"
        5: a Changed, waited 5 ms, 0 failures
        nothing (ready 0, running 1, next never)
        a took 0ns
        nothing (ready 0, running 0, next never)
    "#]],
    );
}

#[test]
fn a_key_added_while_it_runs_is_called_once_more_and_never_beside_itself() {
    check(
        2,
        "add a changed\npoll\nadd a changed\nadd a changed\npoll\nat 7\nok a\npoll\nok a\npoll",
        &expect![[r#"
        0: a Changed, waited 0 ms, 0 failures
        nothing (ready 0, running 1, next never)
        a took 7ms
        7: a Changed, waited 7 ms, 0 failures
        a took 0ns
        nothing (ready 0, running 0, next never)
    "#]],
    );
}

#[test]
fn no_more_keys_run_than_the_concurrency_allows() {
    check(
        2,
        "add a changed\nadd b changed\nadd c changed\npoll\npoll\npoll\nok a\npoll",
        &expect![[r#"
        0: a Changed, waited 0 ms, 0 failures
        0: b Changed, waited 0 ms, 0 failures
        nothing (ready 1, running 2, next never)
        a took 0ns
        0: c Changed, waited 0 ms, 0 failures
    "#]],
    );
}

#[test]
fn a_key_that_changes_all_the_time_lets_others_pass() {
    check(
        1,
        "add a changed\nadd b changed\npoll\nadd a changed\nok a\npoll\nok b\npoll",
        &expect![[r#"
        0: a Changed, waited 0 ms, 0 failures
        a took 0ns
        0: b Changed, waited 0 ms, 0 failures
        b took 0ns
        0: a Changed, waited 0 ms, 0 failures
    "#]],
    );
}

#[test]
fn failures_wait_longer_each_time_until_a_success() {
    check(
        1,
        "add a changed\npoll\nfail a\npoll\nat 1000\npoll\nfail a\npoll\nat 2000\npoll\nfail a\npoll\nat 3000\npoll\nok a\n
         add a changed\npoll\nfail a\npoll",
        &expect![[r#"
            0: a Changed, waited 0 ms, 0 failures
            a took 0ns
            nothing (ready 0, running 0, next 85.835961ms)
            1000: a Retried(1), waited 0 ms, 1 failures
            a took 0ns
            nothing (ready 0, running 0, next 1.162710912s)
            2000: a Retried(2), waited 0 ms, 2 failures
            a took 0ns
            nothing (ready 0, running 0, next 2.302899724s)
            3000: a Retried(3), waited 0 ms, 3 failures
            a took 0ns
            3000: a Changed, waited 0 ms, 0 failures
            a took 0ns
            nothing (ready 0, running 0, next 3.08889102s)
        "#]],
    );
}

#[test]
fn news_are_looked_at_during_backoff() {
    check(
        1,
        "add a changed\npoll\nfail a\nadd a changed\npoll\nok a\npoll",
        &expect![[r#"
        0: a Changed, waited 0 ms, 0 failures
        a took 0ns
        0: a Changed, waited 0 ms, 1 failures
        a took 0ns
        nothing (ready 0, running 0, next never)
    "#]],
    );
}

#[test]
fn a_wait_the_server_asked_for_is_kept_to_the_millisecond() {
    check(
        1,
        "add a changed\npoll\nfail a 750\npoll\nat 749\npoll\nat 750\npoll",
        &expect![[r#"
        0: a Changed, waited 0 ms, 0 failures
        a took 0ns
        nothing (ready 0, running 0, next 750ms)
        nothing (ready 0, running 0, next 750ms)
        750: a Retried(1), waited 0 ms, 1 failures
    "#]],
    );
}

#[test]
fn a_key_that_asked_to_be_called_again_is_and_its_newest_wish_counts() {
    check(
        1,
        "add a changed\npoll\nagain a 500\npoll\nat 100\nadd a changed\npoll\nok a\npoll\nat 600\npoll",
        &expect![[r#"
            0: a Changed, waited 0 ms, 0 failures
            a took 0ns
            nothing (ready 0, running 0, next 500ms)
            100: a Changed, waited 0 ms, 0 failures
            a took 0ns
            nothing (ready 0, running 0, next never)
            nothing (ready 0, running 0, next never)
        "#]],
    );
}

#[test]
fn what_was_added_for_later_comes_whatever_happens_in_between() {
    check(
        1,
        "later a scheduled 500\npoll\nadd a changed\npoll\nok a\nlater a scheduled 900\npoll\nat 500\npoll\nok a\npoll",
        &expect![[r#"
            nothing (ready 0, running 0, next 500ms)
            0: a Changed, waited 0 ms, 0 failures
            a took 0ns
            nothing (ready 0, running 0, next 500ms)
            500: a Scheduled, waited 0 ms, 0 failures
            a took 0ns
            nothing (ready 0, running 0, next never)
        "#]],
    );
}

#[test]
fn a_deletion_wins_over_changes_before_it() {
    check(
        1,
        "add a started\nadd a changed\nadd a deleted\npoll\nok a\npoll",
        &expect![[r#"
        0: a Deleted, waited 0 ms, 0 failures
        a took 0ns
        nothing (ready 0, running 0, next never)
    "#]],
    );
}

#[test]
fn an_object_that_came_back_is_called_for_after_its_deletion() {
    check(
        1,
        "add a deleted\nadd a changed\npoll\nok a\npoll\nok a\npoll",
        &expect![[r#"
        0: a Deleted, waited 0 ms, 0 failures
        a took 0ns
        0: a Changed, waited 0 ms, 0 failures
        a took 0ns
        nothing (ready 0, running 0, next never)
    "#]],
    );
}

#[test]
fn a_deletion_that_failed_stays_one_and_keeps_its_backoff() {
    check(
        1,
        "add a deleted\nadd a changed\npoll\nfail a\npoll\nat 1000\npoll\nok a\npoll\nok a\npoll",
        &expect![[r#"
        0: a Deleted, waited 0 ms, 0 failures
        a took 0ns
        nothing (ready 0, running 0, next 85.835961ms)
        1000: a Deleted, waited 0 ms, 1 failures
        a took 0ns
        1000: a Changed, waited 0 ms, 0 failures
        a took 0ns
        nothing (ready 0, running 0, next never)
    "#]],
    );
}

#[test]
fn the_first_call_of_a_term_says_so() {
    check(
        1,
        "add a started\nadd a changed\npoll\nok a",
        &expect![[r#"
        0: a TermStarted, waited 0 ms, 0 failures
        a took 0ns
    "#]],
    );
}

#[test]
fn a_held_key_waits_for_its_release_and_keeps_its_place() {
    check(
        1,
        "add a changed\nadd b changed\nhold a 5000\npoll\nok b\npoll\nadd c changed\nrelease a\npoll",
        &expect![[r#"
            0: b Changed, waited 0 ms, 0 failures
            b took 0ns
            nothing (ready 0, running 0, next 5s)
            0: a Changed, waited 0 ms, 0 failures
        "#]],
    );
}

#[test]
fn a_key_held_while_it_runs_is_not_called_again_before_its_write_is_seen() {
    check(
        1,
        "add a changed\npoll\nhold a 5000\nadd a changed\nok a\npoll\nat 30\nrelease a\npoll",
        &expect![[r#"
        0: a Changed, waited 0 ms, 0 failures
        a took 0ns
        nothing (ready 0, running 0, next 5s)
        30: a Changed, waited 30 ms, 0 failures
    "#]],
    );
}

#[test]
fn a_hold_nobody_releases_ends_and_says_so_once() {
    check(
        1,
        "add a changed\nhold a 5000\npoll\nat 5000\npoll\nok a\nadd a changed\npoll",
        &expect![[r#"
        nothing (ready 0, running 0, next 5s)
        5000: a Changed, waited 5000 ms, 0 failures, hold expired
        a took 0ns
        5000: a Changed, waited 0 ms, 0 failures
    "#]],
    );
}

#[test]
fn a_cleared_queue_forgets_everything_but_what_runs() {
    check(
        2,
        "add a changed\nadd b changed\npoll\nlater c scheduled 100\nhold d 100\nclear\npoll\nadd a started\npoll\nfail a\npoll",
        &expect![[r#"
            0: a Changed, waited 0 ms, 0 failures
            nothing (ready 0, running 1, next never)
            nothing (ready 0, running 1, next never)
            a took 0ns
            0: a TermStarted, waited 0 ms, 0 failures
        "#]],
    );
}

#[test]
fn a_key_that_is_not_running_cannot_be_done() {
    check(
        1,
        "ok a\nadd a changed\nok a\npoll",
        &expect![[r#"
        not running
        not running
        0: a Changed, waited 0 ms, 0 failures
    "#]],
    );
}

#[test]
fn a_wait_beyond_all_clocks_is_cut() {
    let mut queue = Queue::new(&QueueSettings::default(), 1);
    let zero = start();
    queue.add(zero, "a", Cause::Changed);
    assert!(queue.poll(zero).is_some());
    assert!(queue.done(zero, &"a", Done::RequeueAfter(Duration::MAX)).is_some());
    assert_eq!(queue.poll_timeout(), Some(zero + WAIT_MAX));
}

#[test]
fn statistics_count_as_the_workqueue_of_client_go_does() {
    let mut queue = Queue::new(&QueueSettings { concurrency: 2, ..QueueSettings::default() }, 1);
    let zero = start();
    let later = |seconds| zero + Duration::from_secs(seconds);
    for key in ["a", "a", "b"] {
        queue.add(zero, key, Cause::Changed);
    }
    assert_eq!((queue.depth(), queue.statistics().adds_total), (2, 2));
    assert!(queue.poll(zero).is_some() && queue.poll(later(1)).is_some());
    assert_eq!(queue.longest_running(later(3)), Duration::from_secs(3));
    assert_eq!(queue.unfinished_work(later(3)), Duration::from_secs(5));
    assert_eq!(queue.done(later(3), &"a", Done::Retry { after: None }), Some(Duration::from_secs(3)));
    assert_eq!(queue.done(later(3), &"b", Done::RequeueAfter(Duration::from_secs(1))), Some(Duration::from_secs(2)));
    assert_eq!((queue.retries_total(), queue.running(), queue.is_idle()), (2, 0, false));
}
