//! The project's own commands: demo, test, check, plugins, bench, long, simulate, fuzz, cluster.
//!
//! Runs cargo, go, the programs they build, and kubectl. Sees none of the project's crates: what the demo claims it
//! has observed, it has observed from outside, through the Kubernetes API.
#![expect(clippy::print_stdout, reason = "a command talks to whoever typed it")]

mod arrows;
mod bench;
mod check;
mod cli;
mod cluster;
mod demo;
mod deploy;
mod fuzz;
mod go;
mod image;
mod languages;
mod long;
mod mutations;
mod plugins;
mod process;
mod simulate;
mod steps;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::Parser;
use cli::{Cli, Command};
use workspace::Workspace;

fn main() -> ExitCode {
    LazyLock::force(&process::OWN_PROGRAM);
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// Beside what the command printed: some of that is for a shell to take.
#[expect(clippy::print_stderr, reason = "what went wrong goes there")]
fn tell(error: &anyhow::Error) {
    eprintln!("\nerror: {error:#}");
}

fn run(cli: Cli) -> anyhow::Result<()> {
    process::notice_signals()?;
    let workspace = Workspace::find()?;
    match cli.command {
        Command::Test(args) => test::run(&workspace, &args),
        Command::Check(args) => check::run(&workspace, &args),
        Command::Plugins(args) => plugins::run(&workspace, &args),
        Command::Demo(args) => demo::run(&workspace, &args),
        Command::Bench(args) => bench::run(&workspace, &args),
        Command::Long(args) => long::run(&workspace, &args),
        Command::Image(args) => image::run(&workspace, &args),
        Command::Simulate(args) => simulate::run(&workspace, &args),
        Command::Fuzz(args) => fuzz::run(&workspace, &args),
        Command::Cluster(command) => cluster::run(&workspace, &command),
    }
}
