//! Trials as transcripts: what the watch brought and what was done, one line each with its second; and what came of it.
//!
//! `a` alone means that the Lease is held by `a` and renewed just now; `-` that nobody holds it. `key=value` changes a field.

use std::time::Duration;

use expect_test::{Expect, expect};

use super::chronicle::{Chronicle, News, Sight, SightKind};
use super::lease::{LeaseState, Term};
use super::trial::{Outcome, Stage, Trial};
use crate::cli::DrillMode;

/// Plays the lines in one trial of this mode, and compares what the report would say.
fn check(mode: DrillMode, transcript: &str, expected: &Expect) {
    expected.assert_eq(&Player::default().play(mode, transcript));
}

#[derive(Default)]
struct Player {
    chronicle: Chronicle,
    trial: Option<Trial>,
    state: LeaseState,
    sights: Vec<Sight>,
    resumed_at: Option<Duration>,
}

impl Player {
    fn play(mut self, mode: DrillMode, transcript: &str) -> String {
        let mut now = Duration::ZERO;
        for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.split_whitespace();
            now = seconds(words.next().expect("a time"));
            let what = words.next().expect("what happens");
            match what {
                "ACT" => self.act(mode, now),
                "RESUME" => self.resume(now),
                "TIMEOUT" => self.trial().handle_timeout(now),
                "GONE" => self.news(now, News::Absent),
                "GAP" => self.news(now, News::Gap),
                holder => {
                    self.write(now, holder, words);
                    self.news(now, News::State(self.state.clone()));
                }
            }
        }
        self.sights.extend(self.chronicle.take_sights());
        self.say(now)
    }

    fn trial(&mut self) -> &mut Trial {
        self.trial.as_mut().expect("ACT comes first")
    }

    fn act(&mut self, mode: DrillMode, now: Duration) {
        let holder = self.chronicle.tenancy().expect("a holder").clone();
        match mode {
            DrillMode::Crash => self.chronicle.kill(&holder.holder),
            DrillMode::Handover | DrillMode::Pause => self.chronicle.tell(&holder.holder),
        }
        let retry = Duration::from_secs(2);
        self.trial = Some(Trial::begin(1, mode, holder, retry, now, now + Duration::from_secs(60)));
    }

    fn resume(&mut self, now: Duration) {
        assert_eq!(self.trial().stage(), Stage::ToResume, "at {now:?}");
        self.sights.extend(self.chronicle.take_sights());
        self.resumed_at = Some(now);
        self.trial().resume(now);
    }

    fn news(&mut self, now: Duration, news: News) {
        let step = self.chronicle.observe(now, news);
        if let Some(trial) = &mut self.trial {
            trial.observe(now, &step, &self.chronicle);
        }
    }

    /// As client-go writes it, unless the line says otherwise.
    fn write<'a>(&mut self, now: Duration, holder: &str, fields: impl Iterator<Item = &'a str>) {
        let holder = if holder == "-" { "" } else { holder };
        let state = &mut self.state;
        state.uid = "u".into();
        state.duration = Duration::from_secs(if holder.is_empty() { 1 } else { 5 });
        if state.holder != holder && !holder.is_empty() {
            state.transitions = Some(state.transitions.unwrap_or(0) + 1);
            state.acquired = Some(now);
        }
        state.holder = holder.into();
        state.renewed = Some(now);
        for field in fields {
            let (key, value) = field.split_once('=').expect("key=value");
            match key {
                "acquired" => state.acquired = Some(seconds(value)),
                "renewed" => state.renewed = Some(seconds(value)),
                "transitions" => state.transitions = value.parse().ok(),
                "term" => state.term = value.parse().ok().map(|number| Term { number, identity: holder.into() }),
                "released" => state.released_by = Some(value.into()).filter(|by: &String| by != "-"),
                "container" => state.names_container = value != "-",
                _ => panic!("{key} is no field"),
            }
        }
    }

    fn say(&self, now: Duration) -> String {
        let Some(trial) = &self.trial else { return self.say_sights() };
        let after = |kind| {
            let is_it = |it: &&Sight| it.kind == kind && it.by.as_deref() == Some(trial.holder());
            self.sights.iter().filter(is_it).any(|it| self.resumed_at.is_some_and(|at| it.at >= at))
        };
        let interfered = (after(SightKind::InterleavedRenewals), after(SightKind::ReleaseOverSuccessor));
        let outcome = trial.outcome(now, &self.chronicle, interfered);
        format!("{:?}\n{}{}", trial.stage(), say_outcome(&outcome), self.say_sights())
    }

    fn say_sights(&self) -> String {
        self.sights.iter().map(|it| format!("{} s {:?}: {}\n", it.at.as_secs_f64(), it.kind, it.message)).collect()
    }
}

fn say_outcome(outcome: &Outcome) -> String {
    let ms = |name: &str, time: Option<f64>| time.map(|time| format!("{name} {time} ms\n")).unwrap_or_default();
    let mut text = [
        ms("since renewal", Some(outcome.since_renewal_ms)),
        ms("release", outcome.release_ms),
        ms("takeover", outcome.takeover_ms),
        ms("release to takeover", outcome.release_to_takeover_ms),
        ms("past expiry", outcome.past_expiry_ms),
        ms("past expiry by record", outcome.past_expiry_by_record_ms),
        ms("term", outcome.term_ms),
    ]
    .concat();
    if outcome.by_proof_of_death {
        text.push_str("by proof of death\n");
    }
    if let Some(window) = outcome.takeover_allowed_ms {
        text.push_str(&format!("allowed {} to {} ms\n", window.min, window.max));
    }
    if let Some(resume) = &outcome.resume {
        text.push_str(&format!(
            "resumed {} ms; renewed over {}, released {}, successor still holds {}\n",
            resume.resumed_ms,
            resume.renewed_over_successor,
            resume.released_successors_lease,
            resume.successor_still_holds
        ));
    }
    if let Some(failure) = &outcome.failure {
        text.push_str(&format!("failure: {failure}\n"));
    }
    text
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("seconds"))
}

#[test]
fn a_handover_is_measured_to_release_takeover_and_term() {
    check(
        DrillMode::Handover,
        "
        0.0 a term=7
        1.0 a term=7
        1.5 ACT
        1.6 - released=a
        1.62 b term=8 released=-
        2.6 b term=8
        ",
        &expect![[r#"
            Over
            since renewal 500 ms
            release 100 ms
            takeover 120 ms
            release to takeover 20 ms
            term 120 ms
            allowed 100 to 130 ms
        "#]],
    );
}

#[test]
fn client_gos_handover_is_allowed_a_retry_with_its_jitter() {
    check(
        DrillMode::Handover,
        "
        0.0 a
        2.0 a
        2.5 ACT
        2.6 -
        4.1 b
        6.1 b
        ",
        &expect![[r#"
            Over
            since renewal 500 ms
            release 100 ms
            takeover 1600 ms
            release to takeover 1500 ms
            allowed 100 to 4500 ms
        "#]],
    );
}

#[test]
fn a_crash_is_measured_from_the_action_and_from_the_expiry_of_the_last_renewal_seen() {
    check(
        DrillMode::Crash,
        "
        0.0 a
        2.0 a
        3.0 ACT
        3.01 a
        9.51 b
        11.5 b
        ",
        &expect![[r#"
            Over
            since renewal 1000 ms
            takeover 6510 ms
            past expiry 1500 ms
            past expiry by record 1500 ms
            allowed 5010 to 13810 ms
        "#]],
    );
}

#[test]
fn a_takeover_before_expiry_is_seen_by_the_drills_clock_and_the_records() {
    check(
        DrillMode::Crash,
        "
        0.0 a
        2.0 a
        3.0 ACT
        6.8 b
        8.0 b
        ",
        &expect![[r#"
            Over
            since renewal 1000 ms
            takeover 3800 ms
            past expiry -200 ms
            past expiry by record -200 ms
            allowed 4000 to 12800 ms
            6.8 s TakeoverBeforeExpiry: b took over from a 200 ms before a's lease ran out
        "#]],
    );
}

#[test]
fn a_takeover_before_expiry_from_a_killed_tenure_that_named_its_container_is_by_proof_of_death() {
    let transcript = |container: &str| {
        format!(
            "
            0.0 a term=7 container={container}
            2.0 a term=7
            3.0 ACT
            4.5 b term=8
            6.5 b term=8
            "
        )
    };
    check(
        DrillMode::Crash,
        &transcript("named"),
        &expect![[r#"
            Over
            since renewal 1000 ms
            takeover 1500 ms
            term 1500 ms
            by proof of death
            allowed 0 to 4000 ms
        "#]],
    );
    for (mode, container) in [(DrillMode::Crash, "-"), (DrillMode::Handover, "named")] {
        let said = Player::default().play(mode, &transcript(container));
        assert!(said.contains("TakeoverBeforeExpiry: b took over"), "{mode:?}, {container}: {said}");
    }
}

#[test]
fn a_renewal_that_was_only_delivered_late_is_no_early_takeover() {
    check(
        DrillMode::Crash,
        "
        0.0 a
        2.3 a renewed=2.0
        3.0 ACT
        7.05 b
        8.0 b
        ",
        &expect![[r#"
            Over
            since renewal 700 ms
            takeover 4050 ms
            past expiry -250 ms
            past expiry by record 50 ms
            allowed 4300 to 13100 ms
        "#]],
    );
}

#[test]
fn a_paused_holder_that_leaves_the_lease_alone_is_said_to() {
    check(
        DrillMode::Pause,
        "
        0.0 a
        1.0 a
        1.5 ACT
        6.1 b
        7.1 b
        7.2 RESUME
        8.1 b
        12.2 TIMEOUT
        ",
        &expect![[r#"
            Over
            since renewal 500 ms
            takeover 4600 ms
            past expiry 100 ms
            past expiry by record 100 ms
            allowed 4500 to 13300 ms
            resumed 5700 ms; renewed over false, released false, successor still holds true
        "#]],
    );
}

#[test]
fn a_resumed_holders_late_release_over_its_successor_is_told_by_the_transitions_it_knew() {
    check(
        DrillMode::Pause,
        "
        0.0 a
        1.0 a
        1.5 ACT
        6.1 b
        7.1 b
        7.2 RESUME
        9.0 - transitions=1
        9.1 c transitions=2
        9.5 b transitions=2
        12.2 TIMEOUT
        ",
        &expect![[r#"
            Over
            since renewal 500 ms
            takeover 4600 ms
            past expiry 100 ms
            past expiry by record 100 ms
            allowed 4500 to 13300 ms
            resumed 5700 ms; renewed over false, released true, successor still holds true
            9 s TransitionsFell: leaseTransitions fell from 2 to 1
            9 s ReleaseOverSuccessor: the Lease that b held was released by a record from before its takeover, so probably by a
            9.5 s InterleavedRenewals: b, who held it before, wrote over c 4600 ms before c's lease ran out
        "#]],
    );
}

#[test]
fn a_release_marked_with_another_name_is_that_ones() {
    check(
        DrillMode::Handover,
        "
        0.0 a term=7
        1.0 a term=7
        1.5 ACT
        6.1 b term=8
        6.5 - released=a
        7.0 b term=9 released=-
        8.0 b term=9
        ",
        &expect![[r#"
            Over
            since renewal 500 ms
            takeover 4600 ms
            past expiry 100 ms
            past expiry by record 100 ms
            term 4600 ms
            allowed 4500 to 4500 ms
            6.5 s ReleaseOverSuccessor: a released the Lease that b held
        "#]],
    );
}

#[test]
fn two_holders_that_write_in_turn_are_seen_each_time() {
    check(
        DrillMode::Pause,
        "
        0.0 a
        1.0 a
        1.5 ACT
        6.1 b
        7.1 b
        7.2 RESUME
        7.3 a acquired=0 transitions=1
        8.1 b acquired=6.1 transitions=2
        8.3 a acquired=0 transitions=1
        12.2 TIMEOUT
        ",
        &expect![[r#"
            Over
            since renewal 500 ms
            takeover 4600 ms
            past expiry 100 ms
            past expiry by record 100 ms
            allowed 4500 to 13300 ms
            resumed 5700 ms; renewed over true, released false, successor still holds false
            7.3 s TransitionsFell: leaseTransitions fell from 2 to 1
            7.3 s InterleavedRenewals: a, who held it before, wrote over b 4800 ms before b's lease ran out
            8.1 s InterleavedRenewals: b, who held it before, wrote over a 4200 ms before a's lease ran out
            8.3 s TransitionsFell: leaseTransitions fell from 2 to 1
            8.3 s InterleavedRenewals: a, who held it before, wrote over b 4800 ms before b's lease ran out
        "#]],
    );
}

#[test]
fn a_falling_term_and_a_lease_that_goes_are_seen() {
    check(
        DrillMode::Crash,
        "
        0.0 a term=7
        1.0 a term=7
        2.0 a term=6
        3.0 GONE
        ",
        &expect![[r#"
            2 s TermFell: the term fell from 7 to 6
            3 s LeaseDeleted: the Lease was deleted
        "#]],
    );
}

#[test]
fn a_release_that_nobody_asked_for_is_seen() {
    check(
        DrillMode::Crash,
        "
        0.0 a
        1.0 a
        2.0 -
        ",
        &expect![[r#"
            2 s ReleaseUnasked: the Lease was released while a held it, which nobody here had told to end
        "#]],
    );
}

#[test]
fn after_a_gap_in_the_watch_no_distance_from_expiry_is_claimed() {
    check(
        DrillMode::Crash,
        "
        0.0 a
        1.0 a
        1.5 ACT
        2.0 GAP
        4.0 b
        5.0 b
        ",
        &expect![[r#"
            Over
            since renewal 500 ms
            takeover 2500 ms
            allowed 4500 to 13300 ms
        "#]],
    );
}

#[test]
fn a_holder_that_renews_on_is_no_takeover() {
    check(
        DrillMode::Crash,
        "
        0.0 a
        1.0 a
        1.5 ACT
        2.0 a
        3.0 a
        61.5 TIMEOUT
        ",
        &expect![[r#"
            Over
            since renewal 500 ms
            failure: nobody took over within 60 s: a renewed 2 times more (a restart in the same name cannot be told from it)
        "#]],
    );
}

#[test]
fn a_pause_without_a_successor_ends_with_the_holder_going_on() {
    check(
        DrillMode::Pause,
        "
        0.0 a
        1.0 a
        1.5 ACT
        61.5 TIMEOUT
        61.5 RESUME
        ",
        &expect![[r#"
            Over
            since renewal 500 ms
            resumed 60000 ms; renewed over false, released false, successor still holds false
            failure: nobody took over within 60 s
        "#]],
    );
}

#[test]
fn a_holder_that_changed_before_the_action_spoils_the_trial() {
    let mut player = Player::default();
    for (now, holder) in [(0.0, "a"), (1.0, "a")] {
        player.write(Duration::from_secs_f64(now), holder, std::iter::empty());
        player.news(Duration::from_secs_f64(now), News::State(player.state.clone()));
    }
    player.act(DrillMode::Crash, Duration::from_secs(2));
    player.write(Duration::from_millis(1900), "b", std::iter::empty());
    player.news(Duration::from_millis(1900), News::State(player.state.clone()));
    let said = player.say(Duration::from_secs(2));
    assert!(said.starts_with("Over\n") && said.contains("b had taken over before the action"), "{said}");
}
