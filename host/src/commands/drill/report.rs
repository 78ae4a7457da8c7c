//! What a drill came to: figures over its trials, in the shape that `-o json` prints. Pure.

use serde::Serialize;

use super::allowance::Window;
use super::chronicle::{Sight, SightKind, milliseconds};
use super::trial::Outcome;
use crate::cli::{DrillMode, LeaseName};

/// Everything there is to print.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) lease: String,
    pub(super) mode: &'static str,
    /// What was done to the holder.
    pub(super) action: String,
    /// What the figures cover.
    pub(super) clock: String,
    pub(super) trials_wanted: u32,
    pub(super) trials_measured: usize,
    pub(super) assumed_retry_period_ms: f64,
    pub(super) phases: Vec<Phase>,
    pub(super) trials: Vec<Outcome>,
    /// What should not be.
    pub(super) sights: Vec<Seen>,
    pub(super) notes: Vec<String>,
}

/// One stretch of time, over all trials that had it.
#[derive(Debug, Serialize)]
pub(super) struct Phase {
    pub(super) phase: &'static str,
    /// From what to what, for people.
    pub(super) label: &'static str,
    pub(super) trials: usize,
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// What the lease's timing allows, over all trials; requests and delivery come on top.
    pub(super) allowed_ms: Option<Window>,
}

/// Nearest-rank percentiles: each is a time that was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) min_ms: Option<f64>,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) max_ms: Option<f64>,
}

impl Figures {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let ranked = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied()
        };
        Self { min_ms: times.first().copied(), p50_ms: ranked(50), p99_ms: ranked(99), max_ms: times.last().copied() }
    }
}

/// Something that should not be, and in which trial it was seen.
#[derive(Debug, Serialize)]
pub(super) struct Seen {
    pub(super) kind: SightKind,
    /// Who did it, as far as that can be told.
    pub(super) by: Option<String>,
    /// The trial that was on or had been last; none before the first.
    pub(super) trial: Option<u32>,
    pub(super) since_action_ms: Option<f64>,
    pub(super) message: String,
}

impl Report {
    /// A report on no trial yet.
    pub(super) fn new(lease: &LeaseName, mode: DrillMode, trials: u32, retry_period: std::time::Duration) -> Self {
        Self {
            lease: lease.to_string(),
            mode: match mode {
                DrillMode::Handover => "handover",
                DrillMode::Crash => "crash",
                DrillMode::Pause => "pause",
            },
            action: String::new(),
            clock:
                "the drill's own monotonic clock, from right before the action was sent until its watch delivered the \
                    write; the action's way to the holder and the watch's delivery are included"
                    .into(),
            trials_wanted: trials,
            trials_measured: 0,
            assumed_retry_period_ms: milliseconds(std::time::Duration::ZERO, retry_period),
            phases: phases(&[]),
            trials: Vec::new(),
            sights: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a trial.
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.trials.push(outcome);
        self.trials_measured = self.trials.iter().filter(|trial| trial.failure.is_none()).count();
        self.phases = phases(&self.trials);
    }

    /// Adds what should not be; `action` is the trial that is on or was last, and when its action was.
    pub(super) fn add_sights(&mut self, sights: Vec<Sight>, action: Option<(u32, std::time::Duration)>) {
        self.sights.extend(sights.into_iter().map(|sight| Seen {
            kind: sight.kind,
            by: sight.by,
            trial: action.map(|(trial, _)| trial),
            since_action_ms: action.map(|(_, at)| milliseconds(at, sight.at)),
            message: sight.message,
        }));
    }

    /// Whether every trial was measured and nothing was seen that should not be.
    pub(super) fn is_clean(&self) -> bool {
        self.sights.is_empty() && self.trials_measured == self.trials_wanted as usize
    }
}

fn phases(trials: &[Outcome]) -> Vec<Phase> {
    let phase = |phase, label, time: &dyn Fn(&Outcome) -> Option<f64>, allowed_ms| {
        let times: Vec<f64> = trials.iter().filter_map(time).collect();
        Phase { phase, label, trials: times.len(), figures: Figures::of(times), allowed_ms }
    };
    let takeover = Window::around(trials.iter().filter_map(|trial| trial.takeover_allowed_ms));
    let window_of = |has_it: &dyn Fn(&Outcome) -> bool| {
        Window::around(trials.iter().filter(|trial| has_it(trial)).filter_map(|trial| trial.takeover_window))
    };
    let after_release = window_of(&|trial| trial.release_to_takeover_ms.is_some());
    let after_expiry = window_of(&|trial| trial.past_expiry_ms.is_some());
    vec![
        phase("release", "action -> release seen", &|trial| trial.release_ms, None),
        phase("takeover", "action -> takeover seen", &|trial| trial.takeover_ms, takeover),
        phase("release_to_takeover", "release -> takeover seen", &|trial| trial.release_to_takeover_ms, after_release),
        phase("past_expiry", "expiry -> takeover seen", &|trial| trial.past_expiry_ms, after_expiry),
        phase(
            "past_expiry_by_record",
            "expiry -> takeover by record",
            &|trial| trial.past_expiry_by_record_ms,
            after_expiry,
        ),
        phase("term", "action -> term risen", &|trial| trial.term_ms, None),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let figures = |times: &[f64]| {
            let figures = Figures::of(times.to_vec());
            [figures.min_ms, figures.p50_ms, figures.p99_ms, figures.max_ms].map(|time| time.unwrap_or(f64::NAN))
        };
        assert_eq!(figures(&[3.0]), [3.0; 4]);
        assert_eq!(figures(&[4.0, 1.0, 3.0, 2.0]), [1.0, 2.0, 4.0, 4.0]);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(figures(&hundred), [1.0, 50.0, 99.0, 100.0]);
        assert_eq!(Figures::of(Vec::new()), Figures::default());
    }
}
