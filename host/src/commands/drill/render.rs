//! A drill's report for people.

use std::fmt::Write as _;

use super::allowance::{Peer, Window};
use super::report::Report;
use crate::commands::table::Table;

/// The smallest difference that is printed.
const SHOWN_MS: f64 = 0.1;

/// The whole report, without a last newline.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{words}");
    };
    line(format_args!("lease {}: {}, {}", report.lease, report.mode, report.action));
    line(format_args!("{} of {} trials measured", report.trials_measured, report.trials_wanted));
    line(format_args!(""));
    line(format_args!("{}", phases(report).to_string().trim_end()));
    line(format_args!(""));
    line(format_args!("{}", trials(report).to_string().trim_end()));
    line(format_args!(""));
    line(format_args!("Clock: {}.", report.clock));
    line(format_args!(
        "Expiry: the lease's duration after the last renewal seen; by record: after its renewTime, up to the successor's acquireTime."
    ));
    if report.trials.iter().any(|trial| trial.successor_kind == Some(Peer::Other)) {
        let retry_ms = report.assumed_retry_period_ms;
        line(format_args!(
            "Allowed, of a successor that is not Tenure: client-go's loop with a retry period of {retry_ms:.0} ms (--retry-period); no lease says its own."
        ));
    }
    for note in &report.notes {
        line(format_args!("Note: {note}"));
    }
    if report.sights.is_empty() {
        line(format_args!("Nothing was seen that should not be."));
    } else {
        line(format_args!("Seen, and should not be:"));
        for sight in &report.sights {
            let place = match (sight.trial, sight.since_action_ms) {
                (Some(trial), Some(ms)) => format!("trial {trial}, {ms:+.0} ms"),
                _ => "before the first trial".to_owned(),
            };
            line(format_args!("  {place}: {}", one_line(&sight.message)));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn phases(report: &Report) -> Table<7> {
    let mut table = Table::new(&["PHASE", "TRIALS", "MIN", "P50", "P99", "MAX", "THE LEASE'S TIMING ALLOWS"]);
    for phase in report.phases.iter().filter(|phase| phase.trials > 0 || phase.phase == "takeover") {
        let figures = phase.figures;
        table.row([
            phase.label.to_owned(),
            phase.trials.to_string(),
            time(figures.min_ms),
            time(figures.p50_ms),
            time(figures.p99_ms),
            time(figures.max_ms),
            phase.allowed_ms.map_or_else(|| "-".to_owned(), window),
        ]);
    }
    table
}

fn trials(report: &Report) -> Table<7> {
    let mut table = Table::new(&["TRIAL", "HOLDER", "SUCCESSOR", "RELEASE", "TAKEOVER", "PAST EXPIRY", "AND"]);
    for trial in &report.trials {
        let mut and = Vec::new();
        if let Some(resume) = &trial.resume {
            and.push(format!("resumed after {}:", time(Some(resume.resumed_ms))));
            let did = match (resume.renewed_over_successor, resume.released_successors_lease) {
                (true, true) => "wrote over its successor and released its lease",
                (true, false) => "wrote over its successor",
                (false, true) => "released its successor's lease",
                (false, false) => "left the lease alone",
            };
            and.push(did.to_owned());
        }
        if trial.by_proof_of_death {
            and.push("before expiry, by proof of death".to_owned());
        }
        and.extend(trial.failure.as_deref().map(one_line));
        table.row([
            trial.trial.to_string(),
            one_line(&trial.holder),
            trial.successor.as_deref().map_or_else(|| "-".to_owned(), one_line),
            time(trial.release_ms),
            time(trial.takeover_ms),
            time(trial.past_expiry_ms),
            if and.is_empty() { "-".to_owned() } else { and.join(" ") },
        ]);
    }
    table
}

fn time(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
}

fn window(window: Window) -> String {
    if window.max - window.min < SHOWN_MS {
        format!("{:.1} ms", window.max)
    } else {
        format!("{:.1} to {:.1} ms", window.min, window.max)
    }
}

/// What others wrote, for one line: an identity must not move the cursor of whoever looks.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
