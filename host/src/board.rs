//! What is known of each plugin, for people: written by catalog and runners, read by the console. Decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenure_console::{LastResult, Limit, Metrics, PluginMetrics, PluginState, PluginStatus};

/// One row a plugin.
pub(crate) struct Board {
    metrics: Arc<Metrics>,
    rows: Mutex<BTreeMap<String, Row>>,
}

/// A plugin's row and its series.
struct Row {
    key: String,
    /// All but state and message, which are put together when somebody looks.
    status: PluginStatus,
    /// What the catalog says: whether the plugin could run.
    loaded: Stand,
    /// What its runner says, while there is one.
    running: Option<Stand>,
    metrics: PluginMetrics,
    /// Finer than the row shows it: what is counted at once may be less than a millisecond.
    cpu: Duration,
}

/// A state, with the sentence that explains it.
type Stand = (PluginState, Option<String>);

impl Row {
    /// A refusal, a suspension or a removal is what its owner must know, also while a version from before runs on.
    fn stand(&self) -> &Stand {
        match (&self.loaded, &self.running) {
            ((PluginState::Refused | PluginState::Suspended | PluginState::Removing, _), _) => &self.loaded,
            (_, Some(running)) => running,
            (_, None) => &self.loaded,
        }
    }

    /// A runner with nothing to explain leaves the word to the catalog: a dry run is one while it runs.
    fn shown(&self) -> PluginStatus {
        let (state, message) = self.stand().clone();
        let message = message.or_else(|| self.loaded.1.clone());
        PluginStatus { state, message, ..self.status.clone() }
    }
}

impl Board {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, rows: Mutex::default() }
    }

    /// The row of a plugin is there from the catalog's first word about it, and only the catalog's: a runner that outlives its
    /// plugin must not bring it back. `key` is what its series are labelled with.
    pub(crate) fn enter(&self, identity: &str, key: &str) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(identity.to_owned()).or_insert_with(|| Row {
            key: key.to_owned(),
            metrics: self.metrics.plugin(key),
            cpu: Duration::ZERO,
            loaded: (PluginState::Loading, None),
            running: None,
            status: PluginStatus {
                identity: identity.to_owned(),
                manifest_name: None,
                state: PluginState::Loading,
                digest: None,
                granted_by: None,
                last_result: None,
                queue_depth: 0,
                retries: 0,
                message: None,
                memory_bytes: 0,
                cpu_ms: 0,
                refused: BTreeMap::new(),
            },
        });
        row.metrics.set_state(row.stand().0);
    }

    /// The series of a plugin; none once it is gone.
    pub(crate) fn metrics(&self, identity: &str) -> Option<PluginMetrics> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.get(identity).map(|row| row.metrics.clone())
    }

    /// Changes a row, but for its state; nothing happens when the plugin is gone.
    pub(crate) fn update(&self, identity: &str, change: impl FnOnce(&mut PluginStatus)) {
        self.change(identity, |row| {
            change(&mut row.status);
            row.metrics.set_memory_bytes(row.status.memory_bytes);
        });
    }

    /// What the catalog says of a plugin.
    pub(crate) fn set_loaded(&self, identity: &str, state: PluginState, message: Option<String>) {
        self.change(identity, |row| row.loaded = (state, message));
    }

    /// What its runner says.
    pub(crate) fn set_running(&self, identity: &str, state: PluginState, message: Option<String>) {
        self.change(identity, |row| row.running = Some((state, message)));
    }

    /// Its runner has ended.
    pub(crate) fn set_stopped(&self, identity: &str) {
        self.change(identity, |row| {
            row.running = None;
            row.status.queue_depth = 0;
            row.status.memory_bytes = 0;
            row.metrics.set_memory_bytes(0);
        });
    }

    fn change(&self, identity: &str, change: impl FnOnce(&mut Row)) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get_mut(identity) {
            change(row);
            row.metrics.set_state(row.stand().0);
        }
    }

    /// How a call ended.
    pub(crate) fn set_result(&self, identity: &str, ok: bool, message: String) {
        let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.update(identity, |status| status.last_result = Some(LastResult { at, ok, message }));
    }

    /// A plugin has used so much more of the processor.
    pub(crate) fn count_cpu(&self, identity: &str, used: Duration) {
        self.change(identity, |row| {
            row.metrics.count_cpu(used);
            row.cpu += used;
            row.status.cpu_ms = u64::try_from(row.cpu.as_millis()).unwrap_or(u64::MAX);
        });
    }

    /// Limits have refused a plugin something so many times more.
    pub(crate) fn count_refused(&self, identity: &str, more: &[(Limit, u64)]) {
        self.change(identity, |row| {
            for (limit, count) in more.iter().filter(|(_, count)| *count > 0) {
                row.metrics.count_refused(*limit, *count);
                *row.status.refused.entry(limit.as_str().to_owned()).or_default() += count;
            }
        });
    }

    /// The plugin is gone, and its series with it.
    pub(crate) fn forget(&self, identity: &str) {
        let row = self.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(identity);
        if let Some(row) = row {
            self.metrics.forget_plugin(&row.key);
        }
    }

    /// All rows, by identity.
    pub(crate) fn rows(&self) -> Vec<PluginStatus> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).values().map(Row::shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(board: &Board) -> Stand {
        let row = board.rows().remove(0);
        (row.state, row.message)
    }

    #[test]
    fn a_refusal_shows_also_while_the_version_before_runs() {
        let board = Board::new(Arc::new(Metrics::new("0")));
        board.enter("ns/a", "a");
        board.set_loaded("ns/a", PluginState::Ready, None);
        board.set_running("ns/a", PluginState::Running, None);
        assert_eq!(shown(&board), (PluginState::Running, None));
        board.set_loaded("ns/a", PluginState::Refused, Some("why".into()));
        assert_eq!(shown(&board), (PluginState::Refused, Some("why".into())));
        board.set_running("ns/a", PluginState::Running, None);
        assert_eq!(shown(&board).0, PluginState::Refused);
    }

    #[test]
    fn a_dry_run_shows_its_note_while_it_runs() {
        let board = Board::new(Arc::new(Metrics::new("0")));
        board.enter("ns/a", "a");
        board.set_loaded("ns/a", PluginState::Ready, Some("dry run".into()));
        board.set_running("ns/a", PluginState::Running, None);
        assert_eq!(shown(&board), (PluginState::Running, Some("dry run".into())));
        board.set_running("ns/a", PluginState::CircuitOpen, Some("trapped".into()));
        assert_eq!(shown(&board), (PluginState::CircuitOpen, Some("trapped".into())));
    }

    #[test]
    fn what_limits_refused_adds_up_and_what_they_never_refused_is_left_out() {
        let metrics = Arc::new(Metrics::new("0"));
        let board = Board::new(Arc::clone(&metrics));
        board.enter("ns/a", "a");
        for _ in 0..2 {
            board.count_refused("ns/a", &[(Limit::Memory, 0), (Limit::LogLinesPerSecond, 4)]);
        }
        let refused = BTreeMap::from([("log-lines-per-second".to_owned(), 8)]);
        assert_eq!(board.rows().remove(0).refused, refused);
        let series = "tenure_plugin_limit_refused_total{plugin=\"a\",limit=\"log-lines-per-second\"} 8";
        assert!(metrics.encode().contains(series));
    }

    #[test]
    fn processor_time_adds_up_however_little_it_is() {
        let metrics = Arc::new(Metrics::new("0"));
        let board = Board::new(Arc::clone(&metrics));
        board.enter("ns/a", "a");
        for _ in 0..3 {
            board.count_cpu("ns/a", Duration::from_micros(500));
        }
        assert_eq!(board.rows().remove(0).cpu_ms, 1);
        let text = metrics.encode();
        assert!(text.contains("tenure_plugin_cpu_seconds_total{plugin=\"a\"} 0.001"), "{text}");
    }

    #[test]
    fn the_end_of_a_runner_does_not_hide_a_suspension() {
        let board = Board::new(Arc::new(Metrics::new("0")));
        board.enter("ns/a", "a");
        board.set_running("ns/a", PluginState::Running, None);
        board.set_loaded("ns/a", PluginState::Suspended, None);
        board.set_stopped("ns/a");
        assert_eq!(shown(&board).0, PluginState::Suspended);
    }
}
