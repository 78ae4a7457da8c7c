//! What the dashboard and the alerts ask for against what a replica shows: a metric, a label or a word in one that does not exist makes
//! an empty panel, or an alert that never goes off.
#![expect(clippy::unwrap_used, reason = "in a test, also in its helping functions, a panic is the failure")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tenure_console::Metrics;

const DASHBOARD: &str = include_str!("../../../deploy/kustomize/components/monitoring/dashboard.json");
const ALERTS: &str = include_str!("../../../deploy/kustomize/components/monitoring/alerts.yaml");

/// What Prometheus adds to every series of a Pod.
const OF_TARGET: [&str; 2] = ["namespace", "pod"];

/// Words of PromQL with labels in parentheses after them.
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];

/// Every metric of a replica with a lock and a plugin, and the values of each of its labels.
struct Shown(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Shown {
    fn by_a_replica() -> Self {
        let metrics = Metrics::new("0.1.0");
        let _lock = metrics.lock("host.tenure.dev");
        let _plugin = metrics.plugin("p-0");
        let mut shown: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for line in metrics.encode().lines().filter(|line| !line.starts_with('#')) {
            let (metric, labels) = line.split_once('{').unwrap();
            let labels_shown = shown.entry(metric.to_owned()).or_default();
            for label in matchers(labels.rsplit_once('}').unwrap().0) {
                labels_shown.entry(label.name).or_default().insert(label.value);
            }
        }
        Self(shown)
    }

    /// What is wrong with an expression.
    fn complaints(&self, expression: &str) -> Vec<String> {
        let asked = Asked::by(expression);
        let mut complaints = Vec::new();
        for (metric, matchers) in &asked.metrics {
            let Some(labels) = self.0.get(metric) else {
                complaints.push(format!("no metric {metric}"));
                continue;
            };
            for Matcher { name, value } in matchers.iter().filter(|it| !OF_TARGET.contains(&it.name.as_str())) {
                match labels.get(name) {
                    None => complaints.push(format!("no label {name} of {metric}")),
                    // What Grafana puts in, and whatever is not empty.
                    Some(_) if value.starts_with('$') || value.is_empty() => {}
                    Some(values) => {
                        let unknown = value.split('|').filter(|word| !values.contains(*word));
                        complaints.extend(unknown.map(|word| format!("no {name}={word:?} of {metric}")));
                    }
                }
            }
        }
        let known = |label: &str| {
            let mut of_metrics = asked.metrics.iter().filter_map(|(metric, _)| self.0.get(metric));
            OF_TARGET.contains(&label) || of_metrics.any(|labels| labels.contains_key(label))
        };
        complaints.extend(asked.grouped.iter().filter(|it| !known(it)).map(|it| format!("nothing to group by {it}")));
        if asked.metrics.is_empty() {
            complaints.push("no metric at all".to_owned());
        }
        complaints
    }
}

struct Matcher {
    name: String,
    value: String,
}

/// `a="b", c=~"d|e"`, whichever way they match.
fn matchers(text: &str) -> Vec<Matcher> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once(['=', '!']) {
        let (_, after) = after.split_once('"').unwrap();
        let (value, after) = after.split_once('"').unwrap();
        found.push(Matcher { name: name.trim_matches([',', ' ']).to_owned(), value: value.to_owned() });
        rest = after;
    }
    found
}

/// What an expression names.
#[derive(Default)]
struct Asked {
    metrics: Vec<(String, Vec<Matcher>)>,
    grouped: Vec<String>,
}

impl Asked {
    fn by(expression: &str) -> Self {
        let mut asked = Self::default();
        let mut rest = expression;
        while let Some(first) = rest.chars().next() {
            let word_end = rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(rest.len());
            let (word, after) = rest.split_at(word_end);
            let next = after.trim_start();
            if first.is_ascii_digit() {
                rest = after;
            } else if first == '[' {
                // A range.
                rest = rest.split_once(']').unwrap().1;
            } else if word.is_empty() {
                rest = &rest[first.len_utf8()..];
            } else if GROUPING.contains(&word) && next.starts_with('(') {
                let (labels, after) = next[1..].split_once(')').unwrap();
                asked.grouped.extend(labels.split(',').map(|label| label.trim().to_owned()));
                rest = after;
            } else if OPERATORS.contains(&word)
                || next.starts_with('(')
                || next.starts_with("by ")
                || next.starts_with("without ")
            {
                rest = after;
            } else if let Some(selector) = next.strip_prefix('{') {
                let (selector, after) = selector.split_once('}').unwrap();
                asked.metrics.push((word.to_owned(), matchers(selector)));
                rest = after;
            } else {
                asked.metrics.push((word.to_owned(), Vec::new()));
                rest = after;
            }
        }
        asked
    }
}

fn complain(what: &str, expression: &str, found: &mut Vec<String>) {
    let complaints = Shown::by_a_replica().complaints(expression);
    found.extend(complaints.into_iter().map(|complaint| format!("{what}: {complaint} in {expression}")));
}

#[test]
fn every_panel_asks_for_what_a_replica_shows() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut found = Vec::new();
    let mut expressions = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            complain(title, expression, &mut found);
            let grouped = Asked::by(expression).grouped;
            for part in target["legendFormat"].as_str().unwrap().split("{{").skip(1) {
                let label = part.split_once("}}").unwrap().0;
                if !grouped.iter().any(|it| it == label) {
                    found.push(format!("{title}: {label} in the legend is no label of {expression}"));
                }
            }
            expressions += 1;
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else { continue };
        let asked = definition.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')')).unwrap();
        let (metric, label) = asked.rsplit_once(", ").unwrap();
        complain(definition, &format!("count by ({label}) ({metric})"), &mut found);
        expressions += 1;
    }
    assert!(expressions > 0);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_alert_asks_for_what_a_replica_shows() {
    let alerts: Value = serde_saphyr::from_str(ALERTS).unwrap();
    let rules = alerts["spec"]["groups"][0]["rules"].as_array().unwrap();
    let mut found = Vec::new();
    for rule in rules {
        complain(rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap(), &mut found);
    }
    assert!(!rules.is_empty());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn whatever_no_replica_shows_is_found() {
    let shown = Shown::by_a_replica();
    let right = r#"histogram_quantile(0.99, sum by (pod, le) (rate(tenure_barrier_seconds_bucket{name=~"$lock"}[5m]))) > 0.5
        and on (namespace, pod) max without (pod) (tenure_writes_total{fate=~"answered|admitted", name!=""}) > 0"#;
    assert_eq!(shown.complaints(right), [] as [&str; 0]);
    for (expression, complaint) in [
        ("rate(tenure_barrier_seconds_total[5m]) > 0", "no metric tenure_barrier_seconds_total"),
        ("max(tenure_term) and tenure_epoch > 0", "no metric tenure_epoch"),
        // The one that is encoded without it.
        ("rate(tenure_writes[5m])", "no metric tenure_writes"),
        (r#"tenure_term{lock="a"}"#, "no label lock of tenure_term"),
        (r#"tenure_writes_total{fate=~"answered|lost"}"#, r#"no fate="lost" of tenure_writes_total"#),
        ("sum by (plugin) (workqueue_depth)", "nothing to group by plugin"),
        ("vector(1)", "no metric at all"),
    ] {
        assert_eq!(shown.complaints(expression), [complaint], "{expression}");
    }
}
