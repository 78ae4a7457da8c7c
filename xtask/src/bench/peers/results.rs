//! What was measured, kept by part so that a later run replaces only its own, and the table it makes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::candidate::Contender;

/// What a value is counted in.
#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    Seconds,
    Mebibytes,
    /// Processor seconds in a minute.
    SecondsPerMinute,
    PerMinute,
    Writes,
    /// Of two leaders.
    Overlap,
}

/// All figures, in the order of the table: key, what it is, unit. Of each, less is better.
const FIGURES: [(&str, &str, Unit); 23] = [
    ("handover-held", "SIGTERM to the successor's acquiring write", Unit::Milliseconds),
    ("handover-written", "SIGTERM to the successor's first write of its work", Unit::Milliseconds),
    ("crash-held", "SIGKILL to the successor's acquiring write", Unit::Seconds),
    ("crash-expiry", "the same, past the lease's expiry", Unit::Milliseconds),
    ("pause-late", "writes of a leader stopped for 25 s, stored after the takeover", Unit::Writes),
    ("pause-two-leaders", "two leaders at work after such a pause", Unit::Overlap),
    ("cut-late", "writes of deposed leaders after a cut of 17-20 s, stored after a takeover", Unit::Writes),
    ("cut-two-leaders", "two leaders at work after such a cut", Unit::Overlap),
    ("first-warm-few", "elected to first write of a reconcile, warm standby, 1 object", Unit::Milliseconds),
    ("first-cold-few", "the same, cold standby", Unit::Milliseconds),
    ("first-warm-ten", "elected to first write, warm standby, 10 ConfigMaps", Unit::Milliseconds),
    ("first-warm-many", "elected to first write, warm standby, 2000 ConfigMaps", Unit::Milliseconds),
    ("first-cold-many", "the same, cold standby", Unit::Milliseconds),
    ("converged-term", "elected to 2000 ConfigMaps written, warm standby", Unit::Seconds),
    ("converged-live", "a Namespace's label changed to its 2000 ConfigMaps written", Unit::Seconds),
    ("requests-lock", "requests for the lock, 3 candidates", Unit::PerMinute),
    ("requests-all", "all requests, 3 idle candidates", Unit::PerMinute),
    ("processor-leader", "processor time of an idle leader", Unit::SecondsPerMinute),
    ("processor-standby", "processor time of an idle standby", Unit::SecondsPerMinute),
    ("resident-leader", "resident memory of a leader, 10 ConfigMaps", Unit::Mebibytes),
    ("resident-standby", "resident memory of a standby, 10 ConfigMaps", Unit::Mebibytes),
    ("resident-leader-many", "resident memory of a leader, 2000 ConfigMaps just written", Unit::Mebibytes),
    ("resident-standby-many", "resident memory of a standby, 2000 ConfigMaps", Unit::Mebibytes),
];

/// What one part measured: figure, contender, one value a trial.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Samples(BTreeMap<String, BTreeMap<String, Vec<f64>>>);

impl Samples {
    /// One trial's.
    pub(crate) fn add(&mut self, figure: &str, contender: Contender, value: f64) {
        let of_figure = self.0.entry(figure.to_owned()).or_default();
        of_figure.entry(contender.name().to_owned()).or_default().push(value);
    }
}

/// One part as it was measured last.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// The machine, the versions and the day.
    pub(crate) on: String,
    /// The load average of one minute just before and just after.
    pub(crate) load: [f64; 2],
    pub(crate) samples: Samples,
}

/// All parts so far, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Results(BTreeMap<String, Measured>);

impl Results {
    /// From a file, or none where there is none yet.
    pub(crate) fn load(file: &Path) -> anyhow::Result<Self> {
        if !file.is_file() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} holds other results: delete it", file.display()))
    }

    /// Puts a part in the place of its last run.
    pub(crate) fn replace(&mut self, part: &str, measured: Measured) {
        self.0.insert(part.to_owned(), measured);
    }

    /// To a file.
    pub(crate) fn store(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("results cannot be written")?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// As Markdown: what was measured on what, and a row a figure.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut on: Vec<(&str, Vec<String>)> = Vec::new();
        for (part, measured) in &self.0 {
            let [before, after] = measured.load;
            let part = format!("{part} ({before:.1} before, {after:.1} after)");
            match on.iter_mut().find(|(on, _)| *on == measured.on) {
                Some((_, parts)) => parts.push(part),
                None => on.push((&measured.on, vec![part])),
            }
        }
        for (on, parts) in on {
            text += &format!("{on} Parts, with the machine's load average: {}.\n\n", parts.join(", "));
        }
        text += "| what | Tenure | client-go | controller-runtime |\n|---|---|---|---|\n";
        for (key, what, unit) in FIGURES {
            let of: Vec<_> = Contender::ALL.iter().map(|contender| self.values(key, *contender)).collect();
            if of.iter().all(Vec::is_empty) {
                continue;
            }
            let loses = of[1..].iter().any(|peer| !peer.is_empty() && middle(peer) < middle(&of[0]));
            let note = if loses { " (**ours loses**)" } else { "" };
            let cells = of.iter().enumerate().map(|(index, values)| cell(values, unit, (index > 0).then_some(&of[0])));
            text += &format!("| {what}{note} | {} |\n", cells.collect::<Vec<_>>().join(" | "));
        }
        text
    }

    fn values(&self, figure: &str, contender: Contender) -> Vec<f64> {
        let mut parts = self.0.values().filter_map(|part| part.samples.0.get(figure)?.get(contender.name()));
        let mut values = parts.next().cloned().unwrap_or_default();
        values.sort_by(f64::total_cmp);
        values
    }
}

/// Of sorted values; none: none.
fn middle(values: &[f64]) -> f64 {
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// p50 and the largest, or p99 where there are enough to have one; behind a peer's, how many times ours it is.
fn cell(values: &[f64], unit: Unit, ours: Option<&Vec<f64>>) -> String {
    let Some(largest) = values.last().copied() else { return "-".to_owned() };
    let (p50, count) = (middle(values), values.len());
    if matches!(unit, Unit::Overlap) {
        let with = values.iter().filter(|value| **value > 0.0).count();
        return format!("in {with} of {count}, at most {largest:.1} s");
    }
    let ratio = match ours.map(|ours| middle(ours)) {
        Some(ours) if ours > 0.0 && p50 > 0.0 => format!("; x{}", of_ratio(p50 / ours)),
        _ => String::new(),
    };
    let (digits, name) = match unit {
        Unit::Milliseconds => (if p50.abs() < 100.0 { 1 } else { 0 }, " ms"),
        Unit::Seconds => (2, " s"),
        Unit::Mebibytes => (0, " MiB"),
        Unit::SecondsPerMinute => (2, " s/min"),
        Unit::PerMinute => (1, " /min"),
        Unit::Writes | Unit::Overlap => (0, ""),
    };
    if count == 1 {
        return format!("{p50:.digits$}{name}{ratio}");
    }
    const ENOUGH_FOR_P99: usize = 100;
    let (far, what) = if count < ENOUGH_FOR_P99 { (largest, "max") } else { (values[count * 99 / 100], "p99") };
    format!("p50 {p50:.digits$}, {what} {far:.digits$}{name} (n = {count}{ratio})")
}

fn of_ratio(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn measured(samples: &[(&str, Contender, &[f64])]) -> Measured {
        let mut all = Samples::default();
        for (key, contender, values) in samples {
            values.iter().for_each(|value| all.add(key, *contender, *value));
        }
        Measured { on: "A machine.".into(), load: [0.1, 1.2], samples: all }
    }

    #[test]
    fn a_row_says_who_loses_and_by_how_much() {
        let mut results = Results::default();
        results.replace(
            "handover",
            measured(&[
                ("handover-held", Contender::Tenure, &[5.0, 4.0, 90.0]),
                ("handover-held", Contender::ClientGo, &[1600.0, 900.0, 3800.0]),
            ]),
        );
        results.replace(
            "quiet",
            measured(&[
                ("resident-leader", Contender::Tenure, &[60.0]),
                ("resident-leader", Contender::ClientGo, &[50.0]),
                ("cut-two-leaders", Contender::ClientGo, &[0.0, 10.5]),
                ("cut-two-leaders", Contender::Tenure, &[0.0, 0.0]),
                ("cut-late", Contender::Tenure, &[0.0, 0.0]),
            ]),
        );
        expect![[r#"
            A machine. Parts, with the machine's load average: handover (0.1 before, 1.2 after), quiet (0.1 before, 1.2 after).

            | what | Tenure | client-go | controller-runtime |
            |---|---|---|---|
            | SIGTERM to the successor's acquiring write | p50 5.0, max 90.0 ms (n = 3) | p50 1600, max 3800 ms (n = 3; x320) | - |
            | writes of deposed leaders after a cut of 17-20 s, stored after a takeover | p50 0, max 0 (n = 2) | - | - |
            | two leaders at work after such a cut | in 0 of 2, at most 0.0 s | in 1 of 2, at most 10.5 s | - |
            | resident memory of a leader, 10 ConfigMaps (**ours loses**) | 60 MiB | 50 MiB; x0.8 | - |
        "#]].assert_eq(&results.table());
    }

    #[test]
    fn a_part_measured_again_replaces_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.json");
        let mut results = Results::load(&file).unwrap();
        results.replace("a", measured(&[("handover-held", Contender::Tenure, &[1.0])]));
        results.replace("b", measured(&[("requests-lock", Contender::Tenure, &[30.0])]));
        results.store(&file).unwrap();
        let mut results = Results::load(&file).unwrap();
        results.replace("b", measured(&[("requests-lock", Contender::Tenure, &[31.0])]));
        assert_eq!(results.values("handover-held", Contender::Tenure), [1.0]);
        assert_eq!(results.values("requests-lock", Contender::Tenure), [31.0]);
    }
}
