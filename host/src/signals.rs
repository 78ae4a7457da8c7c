//! The signals that ask a process to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Returns on the first SIGTERM or SIGINT. Call it once: a second signal must keep its usual meaning only if nobody waits.
pub(crate) async fn end_asked_for() {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    tokio::select! {
        () = wait(&mut terminate) => {}
        () = wait(&mut interrupt) => {}
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
