//! What was typed, nothing more.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The project's own commands. What they need and do not find they install by ordinary means, or say what to do.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything that must pass; CI runs this and nothing else.
    Test(TestArgs),
    /// What needs no test to run: arrows between rooms, tidiness, fmt, clippy, doc, deny.
    Check(CheckArgs),
    /// Build every plugin to WebAssembly, into target/plugins, one folder each.
    Plugins,
    /// Three replicas on a cluster in memory: plugins dropped in, the leader killed, the next one ended in order.
    Demo(DemoArgs),
    /// Measure, and write the figures into docs/benchmarks.md.
    Bench(BenchArgs),
    /// What takes too long for every commit.
    Long(LongArgs),
}

/// `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Only arrows, tidiness, fmt and the workspace's tests; for while you work.
    #[arg(long)]
    pub(crate) fast: bool,
}

/// `cargo xtask check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Install cargo-deny where it is missing (it compiles for minutes) instead of leaving its step out.
    #[arg(long)]
    pub(crate) deny: bool,
}

/// `cargo xtask demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave it running afterwards and say what to try.
    #[arg(long)]
    pub(crate) stay: bool,
    /// A `tenure` built already, instead of building it.
    #[arg(long, value_name = "FILE")]
    pub(crate) tenure: Option<PathBuf>,
}

/// `cargo xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// How many handovers and takeovers to measure.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) trials: u32,
    /// How many ConfigMaps to converge.
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub(crate) objects: u32,
    /// Leave docs/benchmarks.md as it is.
    #[arg(long)]
    pub(crate) print: bool,
}

/// `cargo xtask long`.
#[derive(Debug, Args)]
pub(crate) struct LongArgs {
    /// How often each whole-host test is repeated.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) rounds: u32,
}
