//! Tenure: WebAssembly plugins for Kubernetes that run only while this replica holds leadership.
//! Wiring only: parse what was typed, run the command, say what went wrong.

mod board;
mod catalog;
mod cli;
mod commands;
mod logging;
mod policy;
mod reload;
mod run;
mod signals;
mod supervise;
mod throttling;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command, FenceCommand, PluginCommand};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before there is a runtime: its threads would be memory that is not for compiling.
    if let Command::Compile(args) = &cli.command {
        return exit(commands::compile::compile(args));
    }
    let result =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from).and_then(
            |runtime| {
                let result = runtime.block_on(dispatch(cli.command));
                // A compile under way is not waited for.
                runtime.shutdown_background();
                result
            },
        );
    exit(result)
}

fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            commands::complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => commands::run::run(*args).await,
        Command::Dev(args) => commands::dev::dev(args).await,
        Command::Compile(args) => commands::compile::compile(&args),
        Command::Check(args) => commands::check::check(&args),
        Command::Status(args) => commands::status::status(args).await,
        Command::Drill(args) => commands::drill::drill(*args).await,
        Command::DrillCandidate(args) => commands::drill::become_candidate(&args),
        Command::Plugin(PluginCommand::Pack(args)) => commands::plugin::pack(&args),
        Command::Plugin(PluginCommand::Check(args)) => commands::plugin::check(&args),
        Command::Plugin(PluginCommand::Remove(args)) => commands::remove::remove(args).await,
        Command::Fence(FenceCommand::Reset(args)) => commands::fence::reset(args).await,
        Command::Plugin(PluginCommand::Rbac(args)) => commands::plugin::rbac(&args),
    }
}
