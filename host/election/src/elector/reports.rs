//! What people are told, and how often. Decides nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Elector;
use super::messages::{Action, Report};
use crate::Instant;

/// A warning of one kind is not repeated within this.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// When, by the boot clock, a warning of each kind was last told; the kinds are the callers' literals, so there are few.
#[derive(Debug, Clone, Default)]
pub(crate) struct Warnings {
    told: BTreeMap<&'static str, Duration>,
}

impl Warnings {
    /// Whether a warning of this kind is due; notes that it is told.
    fn is_due(&mut self, now: Instant, kind: &'static str) -> bool {
        let due = self.told.get(kind).is_none_or(|at| now.boot >= at.saturating_add(WARNING_PAUSE));
        if due {
            self.told.insert(kind, now.boot);
        }
        due
    }

    /// What was warned about is over: the next is told at once.
    pub(crate) fn forget(&mut self, kind: &'static str) {
        self.told.remove(kind);
    }
}

impl Elector {
    pub(super) fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }

    pub(super) fn slow_path(&mut self, why: String) {
        self.report(Report::SlowPath { why });
    }

    pub(crate) fn warn(&mut self, now: Instant, kind: &'static str, message: String) {
        if self.warnings.is_due(now, kind) {
            self.report(Report::Warning { message });
        }
    }
}
