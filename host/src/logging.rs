//! Where log lines go: stderr, as text for people or JSON for programs, through a thread of their own.

use std::io::IsTerminal as _;

use tenure_settings::{LogFormat, LogSettings};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for stderr; past this they are dropped. A reader that has stopped must not stop the election.
const LINES_MAX: usize = 16 * 1024;

/// Starts logging as the settings say; RUST_LOG, where set, says what is logged instead. What still waits is written when
/// the guard is dropped.
pub(crate) fn start(settings: &LogSettings) -> WorkerGuard {
    let level = settings.level.as_str();
    let rooms = ["tenure", "plugin"].map(|target| format!("{target}={level}"));
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("warn,{}", rooms.join(","))));
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).finish(std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match settings.format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    guard
}
