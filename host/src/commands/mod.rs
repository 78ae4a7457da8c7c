//! One file a subcommand. These talk to people: the only place that prints.

pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod dev;
pub(crate) mod drill;
pub(crate) mod fence;
pub(crate) mod plugin;
pub(crate) mod remove;
pub(crate) mod run;
pub(crate) mod status;
mod table;

use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _, Write as _};

use anyhow::bail;
use tenure_settings::Warning;

/// Set by whoever wants a replica of a test build to stop at a certain point.
const FAILPOINT_VARIABLE: &str = "TENURE_STOP_AT";

/// Says on stderr what went wrong, with everything that caused it, in one piece.
#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Says on stderr what somebody should know who pipes stdout on.
#[expect(clippy::print_stderr, reason = "stdout is for programs")]
fn caution(text: std::fmt::Arguments<'_>) {
    eprintln!("warning: {text}");
}

/// Prints a line, as `println!` does, but returns what went wrong.
macro_rules! say {
    ($($text:tt)*) => { $crate::commands::print_line(::std::format_args!($($text)*)) };
}
use say;

/// # Errors
/// When stdout cannot be written, such as when nobody reads it any more: see [`unless_nobody_reads`].
fn print_line(text: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
}

/// Whoever read what a command prints has enough of it (`| head`): that is a good end, not a failure.
///
/// # Errors
/// Whatever else went wrong.
fn unless_nobody_reads(result: anyhow::Result<()>) -> anyhow::Result<()> {
    let nobody_reads = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    };
    match result {
        Err(error) if nobody_reads(&error) => Ok(()),
        result => result,
    }
}

/// Tells the person at the terminal what is about to be done, and asks.
///
/// # Errors
/// When it is not agreed to, or nobody can be asked.
async fn agree(plan: &str) -> anyhow::Result<()> {
    let _ = writeln!(io::stderr().lock(), "{plan}");
    if !io::stdin().is_terminal() {
        bail!(
            "nothing was done: this has to be agreed to, and stdin is no terminal to ask at; --yes agrees beforehand"
        );
    }
    let _ = write!(io::stderr(), "Go on? [y/N] ");
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    match answer.await??.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was done"),
    }
}

/// A warning for each variable of this process that looks like one of ours and is none.
fn misspelt_variables() -> Vec<Warning> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let expected = |name: &String| cfg!(feature = "failpoints") && name == FAILPOINT_VARIABLE;
    tenure_settings::unknown_variables(names.filter(|name| !expected(name)))
}
