//! What is known of each plugin, for people: written by catalog and runners, read by the console. Decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tenure_console::{LastResult, Metrics, PluginMetrics, PluginState, PluginStatus};

/// One row a plugin.
pub(crate) struct Board {
    metrics: Arc<Metrics>,
    rows: Mutex<BTreeMap<String, Row>>,
}

/// A plugin's row and its series.
struct Row {
    key: String,
    status: PluginStatus,
    metrics: PluginMetrics,
}

impl Board {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, rows: Mutex::default() }
    }

    /// The row of a plugin is there from the first word about it. `key` is what its series are labelled with.
    pub(crate) fn enter(&self, identity: &str, key: &str) -> PluginMetrics {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(identity.to_owned()).or_insert_with(|| Row {
            key: key.to_owned(),
            metrics: self.metrics.plugin(key),
            status: PluginStatus {
                identity: identity.to_owned(),
                manifest_name: None,
                state: PluginState::Loading,
                digest: None,
                last_result: None,
                queue_depth: 0,
                retries: 0,
                message: None,
                memory_bytes: 0,
            },
        });
        row.metrics.set_state(row.status.state);
        row.metrics.clone()
    }

    /// Changes a row; nothing happens when the plugin is gone.
    pub(crate) fn update(&self, identity: &str, change: impl FnOnce(&mut PluginStatus)) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get_mut(identity) {
            change(&mut row.status);
            row.metrics.set_state(row.status.state);
            row.metrics.set_memory_bytes(row.status.memory_bytes);
        }
    }

    /// A state, with the sentence that explains it.
    pub(crate) fn set_state(&self, identity: &str, state: PluginState, message: Option<String>) {
        self.update(identity, |status| {
            status.state = state;
            status.message = message;
        });
    }

    /// How a call ended.
    pub(crate) fn set_result(&self, identity: &str, ok: bool, message: String) {
        let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.update(identity, |status| status.last_result = Some(LastResult { at, ok, message }));
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
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).values().map(|row| row.status.clone()).collect()
    }
}
