//! The scenario language: one command a line; unknown words panic.
//!
//! - The world: `tick 10s`, `start a b [timing=fast|lazy] [create=immediate] [release=off] [shutdown-grace=20s] [as=name] [seed=9]`.
//! - The lease, by somebody's hand: `create-lease` and `edit-lease field=value ..`, `delete-lease`, `save-lease`, `restore-lease`,
//!   `show-lease`, `upsert` (a PUT creates what is missing).
//! - A machine: `pause`, `resume`, `partition`, `heal`, `wall-step a +30s`, `show`, `show-renewals`.
//! - Its next write: `lose-answer`, `lose-request`, `delay-write a 5s`; all of them: `refuse a 403`, `allow`.
//! - Its watch: `watch a works|silent|forbidden`, `watch-again a @version`, `watch-finds-nothing`, `watch-delay 1s`.
//! - What its host hands in: `shutdown`, `yield`, `busy` (guests stay until told), `drained a [unanswered]`,
//!   `verdict a campaign|keep|wait 5s|yield`, `token a refused|object how-far-above`.

use std::time::Duration;

use tenure_election::{Drain, FirstCreate, Settings, Source, Term, Timing, Verdict};

use super::World;
use super::api::apply_edit;
use super::node::{Fate, Guests, Input, Watching};

/// Runs one command and says what was seen while it ran.
pub fn run(world: &mut World, saved: &mut Option<super::Api>, line: &str) -> Vec<String> {
    let words = line.split_whitespace().collect::<Vec<_>>();
    let (command, rest) = words.split_first().expect("a command");
    match *command {
        "tick" => world.advance(duration(rest[0])),
        "start" => rest.iter().filter(|word| !word.contains('=')).for_each(|name| start(world, name, rest)),
        "edit-lease" | "create-lease" => {
            let wall = super::WALL_START + world.now;
            let event = world.api.edit(|record| {
                for word in rest {
                    let (field, value) = word.split_once('=').expect("field=value");
                    apply_edit(record, field, value, wall);
                }
            });
            world.publish(Some(event));
        }
        "delete-lease" => {
            let event = world.api.delete();
            world.publish(event);
        }
        "save-lease" => *saved = Some(world.api.clone()),
        "restore-lease" => world.api = saved.clone().expect("saved before"),
        "upsert" => world.api.upsert = true,
        "watch-delay" => world.watch_delay = duration(rest[0]),
        "show-lease" => show_lease(world),
        _ => on_node(world, command, rest[0], &rest[1..]),
    }
    std::mem::take(&mut world.log)
}

fn start(world: &mut World, name: &str, options: &[&str]) {
    let mut settings = Settings { timing: Timing::DEFAULT, ..Settings::default() };
    let (mut identity, mut seed) = (name.to_owned(), world.nodes.len() as u64 + 1);
    for (key, value) in options.iter().filter_map(|word| word.split_once('=')) {
        match (key, value) {
            ("timing", "fast") => settings.timing = Timing::FAST,
            ("timing", "lazy") => settings.timing = Timing::LAZY,
            ("create", "immediate") => settings.first_create = FirstCreate::Immediate,
            ("release", "off") => settings.release_on_cancel = false,
            ("shutdown-grace", _) => settings.shutdown_grace = duration(value),
            ("as", _) => value.clone_into(&mut identity),
            ("seed", _) => seed = value.parse().expect("a seed"),
            ("annotation", _) => {
                settings.annotations.insert("tenure.dev/console".to_owned(), value.to_owned());
            }
            _ => panic!("no such option: {key}={value}"),
        }
    }
    world.start(name, &identity, settings, seed, 1_000_000);
}

fn on_node(world: &mut World, command: &str, name: &str, rest: &[&str]) {
    let now = world.now;
    let node = world.nodes.get_mut(name).unwrap_or_else(|| panic!("no node {name} for {command}"));
    let clock = node.clock(now);
    match command {
        "pause" => node.paused = true,
        "resume" => world.resume(name),
        "partition" => node.partitioned = true,
        "heal" => {
            node.partitioned = false;
            world.send_current(name);
        }
        "lose-answer" => node.fates.push_back(Fate::LoseAnswer),
        "lose-request" => node.fates.push_back(Fate::LoseRequest),
        "delay-write" => node.fates.push_back(Fate::Delay(duration(rest[0]))),
        "refuse" => node.refusal = Some(rest[0].parse().expect("a code")),
        "allow" => node.refusal = None,
        "busy" => node.guests = Guests::Stay,
        "show-renewals" => node.verbose = true,
        "drained" => world.hand(name, Input::Drained(rest == ["unanswered"])),
        "shutdown" | "yield" => {
            let why = if command == "yield" { Drain::Yield } else { Drain::Shutdown };
            node.elector.begin_drain(clock, why);
            world.drive(name);
        }
        "wall-step" => {
            let (sign, by) = rest[0].split_at(1);
            let by = duration(by);
            node.wall_offset = if sign == "+" { node.wall_offset + by } else { node.wall_offset.saturating_sub(by) };
            node.elector.handle_timeout(node.clock(now));
            world.drive(name);
        }
        "watch" => {
            node.watching = match rest[0] {
                "works" => Watching::Works,
                "silent" => Watching::Silent,
                "forbidden" => Watching::Forbidden,
                other => panic!("no such watch: {other}"),
            };
            match node.watching {
                Watching::Works => world.send_current(name),
                Watching::Forbidden => {
                    node.elector.handle_watch_unavailable(clock, "forbidden by the test (403)".to_owned());
                    world.drive(name);
                }
                Watching::Silent => {}
            }
        }
        "watch-again" => {
            let version: u64 = rest[0].trim_start_matches('@').parse().expect("@version");
            let event = world.history.iter().find(|event| event.seen.version == version).cloned();
            let event = event.expect("an event of that version");
            let source = if event.deleted { Source::Deleted } else { Source::Watch };
            world.send_watch(name, source, Some(event.seen));
        }
        "watch-finds-nothing" => world.send_watch(name, Source::Watch, None),
        "token" => {
            let running = world.nodes[name].elector.authority().map_or(0, |authority| authority.term.get());
            let term = Term::new(running + rest[1].parse::<u64>().expect("how far above")).expect("a term");
            let token = match rest[0] {
                "refused" => tenure_election::Token::RefusedFor(term),
                "object" => tenure_election::Token::OnObject(term),
                other => panic!("no such token: {other}"),
            };
            world.nodes.get_mut(name).expect("known").elector.handle_token(clock, token);
            world.drive(name);
        }
        "verdict" => {
            let verdict = match rest[0] {
                "campaign" => Verdict::Campaign,
                "keep" => Verdict::Keep,
                "wait" => Verdict::Wait(duration(rest[1])),
                "yield" => Verdict::Yield { reason: "the zone is drained".to_owned() },
                other => panic!("no such verdict: {other}"),
            };
            node.elector.handle_verdict(clock, verdict);
            world.drive(name);
        }
        "show" => {
            let elector = &node.elector;
            let text = format!("is {:?} as {}", elector.phase(), elector.identity());
            world.note(name, &text);
        }
        _ => panic!("no such command: {command}"),
    }
}

fn show_lease(world: &mut World) {
    let text = match &world.api.object {
        None => "the lease: none".to_owned(),
        Some(seen) => {
            let record = &seen.record;
            let annotations = record.annotations.iter().filter(|(key, _)| !key.ends_with("/attempt"));
            let annotations = annotations.map(|(key, value)| format!(" {key}={value}")).collect::<String>();
            format!(
                "the lease: {}@{} holder={:?} duration={}s renewed={:?} acquired={:?} transitions={}{annotations}",
                seen.uid,
                seen.version,
                record.holder,
                record.lease_duration_seconds,
                record.renew_time.unwrap_or_default(),
                record.acquire_time.unwrap_or_default(),
                record.transitions,
            )
        }
    };
    let now = world.now.as_secs_f64();
    world.log.push(format!("{now:>8.3} {text}"));
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).expect("a unit"));
    let number: u64 = number.parse().expect("a whole number");
    match unit {
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(60 * number),
        other => panic!("no such unit: {other}"),
    }
}
