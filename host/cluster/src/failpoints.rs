//! Stops the process at one named point of a write, for the tests that pause a leader at the worst moment.
//!
//! Exists only with the cargo feature `failpoints`, and acts only when the environment names a point:
//! `TENURE_STOP_AT=<point>` raises SIGSTOP there, once per process. Whoever started the process sends SIGCONT.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Signal, kill_process};
use rustix::thread::gettid;

/// Where a write can be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// Admitted; no connection yet.
    AfterAdmission,
    /// A connection of the term was obtained.
    AfterCheckout,
    /// The next thing would be a look at the clocks, for bytes of a request.
    BeforeLastLook,
    /// The clocks were looked at and allowed it; the next thing would be `write(2)`.
    AfterLastLook,
    /// Half of the request's body was handed to the connection.
    HalfBody,
}

impl Point {
    const fn name(self) -> &'static str {
        match self {
            Self::AfterAdmission => "after-admission",
            Self::AfterCheckout => "after-checkout",
            Self::BeforeLastLook => "before-last-look",
            Self::AfterLastLook => "after-last-look",
            Self::HalfBody => "half-body",
        }
    }
}

static ASKED: OnceLock<Option<String>> = OnceLock::new();
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Whether the environment names this point.
pub(crate) fn is_asked(point: Point) -> bool {
    let asked = ASKED.get_or_init(|| std::env::var("TENURE_STOP_AT").ok());
    // `,once` is how it always is; accepted so that a command line can say it.
    asked.as_deref().is_some_and(|asked| asked.strip_suffix(",once").unwrap_or(asked) == point.name())
}

/// Stops the process here if the environment says so and it was not stopped before.
pub(crate) fn reach(point: Point) {
    if is_asked(point) && !STOPPED.swap(true, Ordering::SeqCst) {
        tracing::warn!(point = point.name(), "stopping this process, as TENURE_STOP_AT asks");
        // By this thread's id: the kernel then lets this very thread take the signal, before kill(2) returns. By the process's id the
        // main thread would take it, and this one would run on until the news has spread.
        if let Err(error) = kill_process(gettid(), Signal::STOP) {
            tracing::error!(%error, "the process could not stop itself");
        }
    }
}
