//! What the limits of one plugin have refused since somebody last asked. Joins the counts of sandbox and budget.

use tenure_console::Limit;
use tenure_sandbox::{Limit as SandboxLimit, Loaded};

use super::budget::Budget;

/// What was told already, in the order of [`Limit::ALL`].
pub(crate) struct Refused([u64; Limit::ALL.len()]);

impl Refused {
    /// From now on: an older runner of the same code has told what came before.
    pub(crate) fn since_now(loaded: &Loaded, budget: &Budget) -> Self {
        Self(totals(loaded, budget))
    }

    /// How much more each limit has refused by now.
    pub(crate) fn take(&mut self, loaded: &Loaded, budget: &Budget) -> [(Limit, u64); Limit::ALL.len()] {
        let now = totals(loaded, budget);
        let before = std::mem::replace(&mut self.0, now);
        Limit::ALL.map(|limit| (limit, now[limit as usize] - before[limit as usize]))
    }
}

fn totals(loaded: &Loaded, budget: &Budget) -> [u64; Limit::ALL.len()] {
    Limit::ALL.map(|limit| match limit {
        Limit::Memory => loaded.refused_total(SandboxLimit::Memory),
        Limit::TableElements => loaded.refused_total(SandboxLimit::TableElements),
        Limit::RequestsPerSecond => budget.refused_total(),
        Limit::RequestBytes => loaded.refused_total(SandboxLimit::RequestBytes),
        Limit::ResponseBytes => loaded.refused_total(SandboxLimit::ResponseBytes),
        Limit::LogLinesPerSecond => loaded.refused_total(SandboxLimit::LogLinesPerSecond),
        Limit::Cpu => loaded.refused_total(SandboxLimit::Cpu),
        Limit::GuestsCpu => loaded.refused_total(SandboxLimit::GuestsCpu),
    })
}
