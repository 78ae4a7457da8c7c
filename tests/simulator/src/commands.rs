//! The scenario language: one command a line; unknown words panic.
//!
//! - The world: `tick 10s`, `start a b [timing=fast|lazy] [create=immediate] [release=off] [shutdown-grace=20s] [as=name] [seed=9]
//!   [container=known]`.
//! - The lease, by somebody's hand: `create-lease` and `edit-lease field=value ..`, `delete-lease`, `save-lease`, `restore-lease`,
//!   `show-lease`, `upsert` (a PUT creates what is missing).
//! - A machine: `pause`, `resume`, `crash a 60s` (until it starts again), `partition`, `heal`, `wall-step a +30s`, `show`, `show-renewals`.
//! - Its Pod's status: `kubelet-delay a 5s`, `mislead a unknown|unfinished|earlier|gone|other-pod|sidecar`.
//! - Its next write: `lose-answer`, `lose-request`, `delay-write a 5s`, `answer-unchanged`, `answer-conflict`; all of them: `refuse a 403`, `allow`.
//! - Its watch: `watch a works|silent|forbidden`, `watch-again a @version`, `watch-finds-nothing`, `watch-delay 1s`.
//! - Another candidate's Lease, as it is shown it: `peer a b campaigns|waits|gone [@version] [listed]`.
//! - What its host hands in: `shutdown`, `yield`, `busy` (guests stay until told), `drained a [unanswered]`,
//!   `verdict a campaign|keep|wait 5s|yield`, `token a refused|object how-far-above`.

use std::time::Duration;

use tenure_election::{Drain, FirstCreate, PeerSeen, Settings, Source, Term, Timing, Token, Verdict};

use crate::api::{Api, apply_edit};
use crate::episode::any_container;
use crate::kubelet::Misleading;
use crate::machine::{Fate, RATE_TRUE, Watching};
use crate::process::{Guests, Input};
use crate::world::{WALL_START, World};

/// Runs scenarios: a world, and the store as it was saved.
#[derive(Debug)]
pub struct Scenario {
    /// The world.
    pub world: World,
    saved: Option<Api>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self { world: World::new(0, true), saved: None }
    }
}

impl Scenario {
    /// Runs one command and says what was seen while it ran.
    ///
    /// # Panics
    /// Where the command is none.
    pub fn run(&mut self, line: &str) -> Vec<String> {
        let world = &mut self.world;
        let words = line.split_whitespace().collect::<Vec<_>>();
        let (command, rest) = words.split_first().expect("a command");
        match *command {
            "tick" => world.advance(duration(rest[0])),
            "start" => rest.iter().filter(|word| !word.contains('=')).for_each(|name| start(world, name, rest)),
            "edit-lease" | "create-lease" => {
                let wall = WALL_START + world.now;
                let event = world.api.edit(world.now, |record| {
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
            "save-lease" => self.saved = Some(world.api.clone()),
            "restore-lease" => world.api = self.saved.clone().expect("saved before"),
            "upsert" => world.api.upsert = true,
            "watch-delay" => world.nodes.iter_mut().for_each(|node| node.link.watch_delay = duration(rest[0])),
            "show-lease" => world.note_lock(),
            _ => {
                let node = world.find(rest[0]).unwrap_or_else(|| panic!("no node {} for {command}", rest[0]));
                on_machine(world, command, node, &rest[1..]);
            }
        }
        world.look_on();
        std::mem::take(&mut world.log)
    }
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
            ("container", "known") => settings.container = Some(any_container()),
            ("as", _) => value.clone_into(&mut identity),
            ("seed", _) => seed = value.parse().expect("a seed"),
            ("annotation", _) => {
                settings.annotations.insert("tenure.dev/console".to_owned(), value.to_owned());
            }
            _ => panic!("no such option: {key}={value}"),
        }
    }
    let node = world.find(name).unwrap_or_else(|| world.add_machine(name, RATE_TRUE));
    world.start(node, &identity, settings, seed);
}

fn on_machine(world: &mut World, command: &str, node: usize, rest: &[&str]) {
    let link = &mut world.nodes[node].link;
    match command {
        "pause" => world.nodes[node].paused = true,
        "resume" => world.resume(node),
        "crash" => world.crash(node, duration(rest[0])),
        "kubelet-delay" => world.nodes[node].kubelet.delay = duration(rest[0]),
        "mislead" => world.mislead(
            node,
            match rest[0] {
                "unknown" => Misleading::Unknown,
                "unfinished" => Misleading::Unfinished,
                "earlier" => Misleading::Earlier,
                "gone" => Misleading::Gone,
                "other-pod" => Misleading::OtherPod,
                "sidecar" => Misleading::Sidecar,
                other => panic!("no such misleading status: {other}"),
            },
        ),
        "partition" => (link.out_cut, link.back_cut) = (true, true),
        "heal" => {
            world.heal(node);
            world.send_current(node);
        }
        "lose-answer" => link.fates.push_back(Fate::LoseAnswer),
        "lose-request" => link.fates.push_back(Fate::LoseRequest),
        "answer-conflict" => link.fates.push_back(Fate::FalseConflict),
        "answer-unchanged" => link.fates.push_back(Fate::Unchanged),
        "delay-write" => link.fates.push_back(Fate::Delay(duration(rest[0]))),
        "refuse" => link.refusal = Some(rest[0].parse().expect("a code")),
        "allow" => link.refusal = None,
        "busy" => world.nodes[node].guests = Guests::Stay,
        "show-renewals" => world.nodes[node].verbose = true,
        "drained" => world.hand(node, Input::Drained(rest == ["unanswered"])),
        "shutdown" => world.begin_drain(node, Drain::Shutdown),
        "yield" => world.begin_drain(node, Drain::Yield),
        "wall-step" => {
            let (sign, by) = rest[0].split_at(1);
            let now = world.now;
            let machine = &mut world.nodes[node];
            machine.clocks.step_wall(sign == "+", duration(by));
            let read = machine.clocks.read(now);
            machine.ours_mut().expect("a process of ours").elector.handle_timeout(read);
            world.drive(node);
        }
        "watch" => world.set_watching(
            node,
            match rest[0] {
                "works" => Watching::Works,
                "silent" => Watching::Silent,
                "forbidden" => Watching::Forbidden,
                other => panic!("no such watch: {other}"),
            },
        ),
        "watch-again" => {
            let version: u64 = rest[0].trim_start_matches('@').parse().expect("@version");
            let event = world.history.iter().find(|(event, _)| event.seen.version == version).cloned();
            let (event, _) = event.expect("an event of that version");
            let source = if event.deleted { Source::Deleted } else { Source::Watch };
            world.send_watch(node, source, Some(event.seen));
        }
        "watch-finds-nothing" => world.send_watch(node, Source::Watch, None),
        "peer" => {
            let name = rest[0].to_owned();
            let version = rest.iter().find_map(|word| word.strip_prefix('@')).map(|it| it.parse().expect("a version"));
            let (version, listed) = (version.unwrap_or(1), rest.contains(&"listed"));
            let campaigns = rest[1] == "campaigns";
            let seen = (rest[1] != "gone").then_some(PeerSeen { version, campaigns, listed });
            world.hand(node, Input::Peer(name, seen));
        }
        "token" | "verdict" => hand_in(world, command, node, rest),
        "show" => {
            let elector = &world.nodes[node].ours().expect("a process of ours").elector;
            let text = format!("is {:?} as {}", elector.phase(), elector.identity());
            world.note(node, || text);
        }
        _ => panic!("no such command: {command}"),
    }
}

fn hand_in(world: &mut World, command: &str, node: usize, rest: &[&str]) {
    let elector = &world.nodes[node].ours().expect("a process of ours").elector;
    let input = match (command, rest[0]) {
        ("token", kind) => {
            let running = elector.authority().map_or(0, |authority| authority.term.get());
            let term = Term::new(running + rest[1].parse::<u64>().expect("how far above")).expect("a term");
            Input::Token(match kind {
                "refused" => Token::RefusedFor(term),
                "object" => Token::OnObject(term),
                other => panic!("no such token: {other}"),
            })
        }
        (_, verdict) => Input::Verdict(match verdict {
            "campaign" => Verdict::Campaign,
            "keep" => Verdict::Keep,
            "wait" => Verdict::Wait(duration(rest[1])),
            "yield" => Verdict::Yield { reason: "the zone is drained".to_owned() },
            other => panic!("no such verdict: {other}"),
        }),
    };
    world.hand(node, input);
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
