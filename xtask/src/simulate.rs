//! `cargo xtask simulate`: runs the simulator of the election (tests/simulator), which is a program of its own.

use std::process::Command;
use std::time::Duration;

use crate::cli::SimulateArgs;
use crate::workspace::Workspace;
use crate::{mutations, process};

/// What to do when it finds something.
pub(crate) const ADVICE: &str =
    "cargo xtask simulate [--moving] --seed <the seed> --trace shows what happened, the same each time";

/// A swarm runs until told to end.
const LIMIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// For `cargo xtask test`: known seeds, and fresh ones, in a build that is not optimised; about a minute.
const FIXED_SEED: &str = "1";
const FIXED_HOURS: &str = "150";
const FRESH_HOURS: &str = "50";
/// Seeds that have shown something once, also about the oracles.
const TELLING_SEEDS: [&str; 3] = ["103", "754", "217824046675431"];
const TEST_LIMIT: Duration = Duration::from_secs(15 * 60);

/// `cargo xtask simulate`.
pub(crate) fn run(workspace: &Workspace, args: &SimulateArgs) -> anyhow::Result<()> {
    if let Some(part) = &args.mutations {
        return mutations::run(workspace, part);
    }
    let mut words = Vec::new();
    for (flag, value) in
        [("--seed", args.seed.map(|it| it.to_string())), ("--hours", args.hours.map(|it| it.to_string()))]
    {
        words.extend(value.map(|value| [flag.to_owned(), value]).into_iter().flatten());
    }
    words.extend(args.swarm.then(|| "--swarm".to_owned()));
    words.extend(args.trace.then(|| "--trace".to_owned()));
    words.extend(args.moving.then(|| "--moving".to_owned()));
    process::run(optimised(workspace).args(words), LIMIT)
}

/// So many hours from fresh seeds.
pub(crate) fn swarm(workspace: &Workspace, hours: f64) -> anyhow::Result<()> {
    let hours = hours.to_string();
    process::run(optimised(workspace).args(["--swarm", "--hours", &hours]), LIMIT)?;
    process::run(optimised(workspace).args(["--moving", "--swarm", "--hours", &hours]), LIMIT)
}

fn optimised(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--release", "--package", "tenure-simulator", "--bin", "simulate", "--"]);
    cargo
}

/// The program that the workspace's build made.
pub(crate) fn for_test(workspace: &Workspace) -> anyhow::Result<()> {
    let program = workspace.target().join("debug").join("simulate");
    for seed in TELLING_SEEDS {
        process::run(Command::new(&program).args(["--seed", seed]), TEST_LIMIT)?;
    }
    process::run(Command::new(&program).args(["--seed", FIXED_SEED, "--hours", FIXED_HOURS]), TEST_LIMIT)?;
    process::run(Command::new(&program).args(["--swarm", "--hours", FRESH_HOURS]), TEST_LIMIT)?;
    process::run(Command::new(&program).args(["--moving", "--swarm", "--hours", FRESH_HOURS]), TEST_LIMIT)
}
