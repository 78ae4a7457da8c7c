//! One file a subcommand. These talk to people: the only place that prints.
#![expect(clippy::print_stdout, reason = "commands print what they were asked for")]

pub(crate) mod check;
pub(crate) mod dev;
pub(crate) mod plugin;
pub(crate) mod run;
pub(crate) mod status;
mod table;

/// Says on stderr what went wrong, with everything that caused it, in one piece.
#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
