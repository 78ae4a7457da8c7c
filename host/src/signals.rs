//! The signals that ask a process to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for SIGTERM and SIGINT from its creation on; a signal that comes while nobody awaits is not lost. As long as the
/// process lives, neither ends it by itself any more.
pub(crate) struct EndSignals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
}

impl EndSignals {
    pub(crate) fn listen() -> Self {
        Self { terminate: listen(SignalKind::terminate()), interrupt: listen(SignalKind::interrupt()) }
    }

    /// Returns at the next SIGTERM or SIGINT. Loses none when dropped.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            () = wait(&mut self.terminate) => {}
            () = wait(&mut self.interrupt) => {}
        }
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::warn!(%error, "cannot listen for a signal")).ok()
}

async fn wait(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
