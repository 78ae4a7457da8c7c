//! A plugin that traps again and again is left alone for a while. Pure: time is an argument.

use std::time::{Duration, Instant};

/// How long it stays open the first time; twice as long each time after, up to the maximum.
const OPEN_MIN: Duration = Duration::from_secs(10);
const OPEN_MAX: Duration = Duration::from_secs(300);

/// Whether a plugin may be called.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    traps_in_a_row: u32,
    openings_in_a_row: u32,
    open_until: Option<Instant>,
}

impl Circuit {
    /// So many traps in a row open the circuit: one bad object alone backs off by its own key before.
    pub(crate) const TRAPS_MAX: u32 = 5;

    /// A call ended in a trap, a timeout or out of memory. True when this opened the circuit.
    #[must_use]
    pub(crate) fn trapped(&mut self, now: Instant) -> bool {
        if self.open_until.is_some_and(|until| now < until) {
            // A call that was under way when it opened: it says nothing new.
            return false;
        }
        self.traps_in_a_row += 1;
        // After an opening one call is tried: its trap opens the circuit again at once.
        let limit = if self.openings_in_a_row > 0 { 1 } else { Self::TRAPS_MAX };
        if self.traps_in_a_row < limit {
            return false;
        }
        let open = OPEN_MIN.saturating_mul(1 << self.openings_in_a_row.min(10)).min(OPEN_MAX);
        self.open_until = Some(now + open);
        self.openings_in_a_row += 1;
        self.traps_in_a_row = 0;
        true
    }

    /// A call came back, well or with an error of the plugin's own.
    /// True when this closed the circuit.
    pub(crate) fn returned(&mut self) -> bool {
        let was_open = self.openings_in_a_row > 0;
        self.traps_in_a_row = 0;
        self.openings_in_a_row = 0;
        was_open
    }

    /// How many calls may run at once: none while open, one to try after it, any number else.
    #[must_use]
    pub(crate) fn calls_max(&self, now: Instant) -> usize {
        match self.open_until {
            Some(until) if now < until => 0,
            _ if self.openings_in_a_row > 0 => 1,
            _ => usize::MAX,
        }
    }

    /// When an open circuit lets a call through again.
    pub(crate) fn closes_at(&self) -> Option<Instant> {
        self.open_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_in_a_row_open_the_circuit_and_one_try_closes_it() {
        let mut circuit = Circuit::default();
        let start = Instant::now();
        for _ in 1..Circuit::TRAPS_MAX {
            assert!(!circuit.trapped(start));
        }
        assert_eq!(circuit.calls_max(start), usize::MAX);
        assert!(circuit.trapped(start));
        assert_eq!(circuit.calls_max(start), 0);
        assert_eq!(circuit.calls_max(start + OPEN_MIN), 1);
        assert!(circuit.returned());
        assert_eq!(circuit.calls_max(start + OPEN_MIN), usize::MAX);
    }

    #[test]
    fn calls_that_were_under_way_do_not_open_it_for_longer() {
        let mut circuit = Circuit::default();
        let start = Instant::now();
        for _ in 0..Circuit::TRAPS_MAX + 3 {
            let _ = circuit.trapped(start);
        }
        assert_eq!(circuit.closes_at(), Some(start + OPEN_MIN));
    }

    #[test]
    fn a_failed_try_opens_it_for_twice_as_long() {
        let mut circuit = Circuit::default();
        let start = Instant::now();
        for _ in 0..Circuit::TRAPS_MAX {
            let _ = circuit.trapped(start);
        }
        let tried = start + OPEN_MIN;
        assert!(circuit.trapped(tried));
        assert_eq!(circuit.closes_at(), Some(tried + 2 * OPEN_MIN));
    }

    #[test]
    fn a_good_call_in_between_forgives_the_traps_before() {
        let mut circuit = Circuit::default();
        let start = Instant::now();
        for _ in 0..3 * Circuit::TRAPS_MAX {
            assert!(!circuit.trapped(start));
            assert!(!circuit.returned());
        }
    }
}
