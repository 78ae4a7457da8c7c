//! What all instances of one plugin have in common: the second their log lines are counted in, the memory they hold, what
//! they used of the processor, and how often each limit refused something. Outlives instances and terms, not the plugin's version.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::log_budget::Window;
use crate::processor::Account;

/// A limit that answers with a refusal and lets the plugin go on. Those that end a call show in how the call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Linear memory: `memory.grow` answered -1.
    Memory,
    /// Table elements: `table.grow` answered -1.
    TableElements,
    /// Bytes a host call brought.
    RequestBytes,
    /// Bytes of a host call's answer, or of a call's own result.
    ResponseBytes,
    /// Log lines a second: a line was dropped.
    LogLinesPerSecond,
    /// The plugin's share of the processor: it had to wait.
    Cpu,
    /// The share of all guests together: this plugin had to wait.
    GuestsCpu,
}

impl Limit {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::Memory,
        Self::TableElements,
        Self::RequestBytes,
        Self::ResponseBytes,
        Self::LogLinesPerSecond,
        Self::Cpu,
        Self::GuestsCpu,
    ];
}

/// Shared by the instances of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Common {
    log: Mutex<Window>,
    memory_bytes: AtomicU64,
    pub(crate) processor: Account,
    refused: [AtomicU64; Limit::ALL.len()],
}

impl Common {
    pub(crate) fn count_refused(&self, limit: Limit) {
        self.refused[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused_total(&self, limit: Limit) -> u64 {
        self.refused[limit as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn take_memory(&self, bytes: u64) {
        self.memory_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_memory_back(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Linear memory of all instances together.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Plain numbers: a poisoned lock is still good.
    pub(crate) fn log(&self) -> MutexGuard<'_, Window> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_counted_by_itself() {
        let common = Common::default();
        for (times, limit) in Limit::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| common.count_refused(limit));
        }
        assert_eq!(Limit::ALL.map(|limit| common.refused_total(limit)), [0, 1, 2, 3, 4, 5, 6]);
    }
}
