//! `simulate`: seeds until so many hours are simulated, or until told. Prints what each wrong seed did, and sums as its last line.
#![expect(clippy::print_stdout, reason = "a command talks to whoever typed it")]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use tenure_simulator::episode::{Cast, Episode};
use tenure_simulator::moving::{Moves, Moving};
use tenure_simulator::tally::Tally;

/// Lines of a wrong seed's trace that are shown; `--trace` shows all.
const TRACE_LINES: usize = 120;

/// Seeds between two lines that say how far it is.
const SEEDS_PER_LINE: u64 = 2000;

/// After so many wrong seeds a swarm has found enough to look at; seeds that were named end at the first.
const WRONG_MAX: u64 = 5;

/// Elections under faults, from seeds.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Args {
    /// The first seed; without it, a fresh one.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// At least so many hours are simulated; without it, one seed.
    #[arg(long, value_name = "H", default_value_t = 0.0)]
    hours: f64,
    /// Fresh seeds until told to end (Ctrl-C), or until --hours are over.
    #[arg(long, conflicts_with = "seed")]
    swarm: bool,
    /// Show everything that each seed does.
    #[arg(long)]
    trace: bool,
    /// Instead: locks held together, moved from one to the other by rollouts.
    #[arg(long)]
    moving: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let told = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&told)) {
            println!("cannot watch for signals: {error}");
            return ExitCode::FAILURE;
        }
    }
    let first = args.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 16);
    println!("seeds from {first}");
    let until = Duration::from_secs_f64(args.hours.max(0.0) * 3600.0);
    let endless = args.swarm && until.is_zero();
    let wrong_max = if args.swarm { WRONG_MAX } else { 1 };
    if args.moving {
        return move_locks(first, args.trace, |moves| {
            let enough = !endless && moves.simulated >= until;
            enough || moves.violations >= wrong_max || told.load(Ordering::Relaxed)
        });
    }
    let mut tally = Tally::default();
    for seed in first.. {
        let episode = Episode::run(seed, Cast::Drawn, args.trace);
        if args.trace {
            episode.world.log.iter().for_each(|line| println!("{line}"));
        }
        tally.add(&episode);
        if episode.is_wrong() {
            show(&episode, args.trace);
        }
        if tally.seeds.is_multiple_of(SEEDS_PER_LINE) {
            println!("{tally}");
        }
        let enough = !endless && tally.simulated >= until;
        if enough || tally.violations >= wrong_max || told.load(Ordering::Relaxed) {
            break;
        }
    }
    println!("{tally}");
    if tally.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Seeds of moves, until it is enough.
fn move_locks(first: u64, trace: bool, enough: impl Fn(&Moves) -> bool) -> ExitCode {
    let mut moves = Moves::default();
    for seed in first.. {
        let world = Moving::run(seed);
        let wrong = !world.violations.is_empty();
        if wrong {
            println!("seed={seed} {}", world.violations.join("; "));
        }
        if wrong || trace {
            world.log.iter().for_each(|line| println!("  {line}"));
        }
        moves.add(&world);
        if enough(&moves) {
            break;
        }
    }
    println!("{moves}");
    if moves.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seed once more, with its trace; the same seed does the same.
fn show(wrong: &Episode, traced: bool) {
    println!("{}", wrong.told());
    if !traced {
        let again = Episode::run(wrong.seed, Cast::Drawn, true);
        let from = again.world.log.len().saturating_sub(TRACE_LINES);
        again.world.log[from..].iter().for_each(|line| println!("  {line}"));
        println!("cargo xtask simulate --seed {} --trace shows all of it", wrong.seed);
    }
}
