//! The barrier before a plugin's first key in a term: repeated until every watch has passed, each asked for no more often
//! than it has to be.

use std::time::Duration;

use tenure_cluster::{BarrierOutcome, BarrierReport, WatchKey};
use tenure_console::PluginState;

use super::term::TermContext;
use crate::catalog::Ready;

/// How long one round may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The pause after a round that did not pass, doubled each time: a watch that is forbidden stays so for long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Returns once the cache holds everything that was written to `keys` before this call.
pub(crate) async fn pass(ready: &Ready, term: &TermContext, mut keys: Vec<WatchKey>) {
    let mut pause = PAUSE_MIN;
    while !keys.is_empty() {
        let report = term.barrier(&keys, LIMIT).await;
        keys = report.watches.iter().filter(|watch| !watch.is_ready()).map(|watch| watch.key.clone()).collect();
        if keys.is_empty() {
            tracing::debug!(plugin = ready.identity, behind = report.behind_at_start(), waited = ?report.waited, "barrier passed");
            return;
        }
        let why = explained(&report);
        tracing::warn!(plugin = ready.identity, why, "the cache is not complete yet: no key is handed out");
        let message = Some(format!("waits for a complete cache: {why}"));
        term.house.board.set_running(&ready.identity, PluginState::Ready, message);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn explained(report: &BarrierReport) -> String {
    let of_watch = |outcome: &BarrierOutcome| match outcome {
        BarrierOutcome::Ready => None,
        BarrierOutcome::Behind { objects } => Some(format!("{objects} objects have not come yet")),
        BarrierOutcome::Failed(error) => Some(super::describe(error)),
        BarrierOutcome::NotWatched => Some("nobody watches it".to_owned()),
    };
    let waiting =
        report.watches.iter().filter_map(|watch| Some(format!("{}: {}", watch.key, of_watch(&watch.outcome)?)));
    waiting.collect::<Vec<_>>().join("; ")
}
