//! Scenarios as text: what is sent, and nothing about what comes back.
//!
//! ```text
//! # A comment.
//! name := text that {name} stands for below
//!
//! == what the scenario is about
//! made: POST configmaps
//!   {"metadata": {"name": "a"}}
//! PUT configmaps/a
//!   X-Some-Header: value
//!   {"metadata": {"name": "a", "resourceVersion": "{version:made}"}}
//! ```
//!
//! A step is a verb and its arguments; what is indented below it is headers, then the body. Knows no server.

use std::collections::BTreeMap;

/// One idea, tried in a namespace of its own.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) title: String,
    pub(crate) line: usize,
    pub(crate) steps: Vec<Step>,
}

/// One thing done to both servers.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// What later steps call its answer: its label, or its number.
    pub(crate) label: String,
    /// The line as written.
    pub(crate) text: String,
    pub(crate) action: Action,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Why the two servers may answer differently here.
    pub(crate) differs: Option<Difference>,
    pub(crate) compared: Compared,
}

/// How much of an answer is held against the other: `compare: served`, `compare: fields`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Compared {
    #[default]
    Whole,
    /// What the in-memory API tells must be told by kube-apiserver alike; what that tells beyond it is left out.
    Served,
    /// The names and types `kubectl explain` prints, without their documentation.
    Fields,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Request {
        method: String,
        path: String,
    },
    /// Opens a watch, known by the step's label.
    Watch {
        path: String,
    },
    /// Reads so many events of a watch.
    Read {
        watch: String,
        events: usize,
    },
    /// Reads a watch to its end.
    End {
        watch: String,
    },
    /// Asks again until the answer has this status.
    Await {
        code: u16,
        path: String,
    },
    /// Asks again until the answer holds this text.
    Until {
        text: String,
        path: String,
    },
    /// Runs kubectl with these arguments and the body as its input.
    Kubectl {
        arguments: String,
    },
}

/// A difference that is known and why it is left.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    /// Where in the answer, as [`crate::compared::places`] names it, or the beginning of such a way; everything else is equal.
    pub(crate) places: Vec<String>,
    pub(crate) reason: String,
}

impl Difference {
    /// Whether a place is one where the answers may differ.
    pub(crate) fn covers(&self, place: &str) -> bool {
        let below = |known: &String| place.strip_prefix(known.as_str());
        self.places.iter().filter_map(below).any(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// The patches have verbs of their own, after their content types.
const PATCHES: [(&str, &str); 4] = [
    ("JSON", "application/json-patch+json"),
    ("MERGE", "application/merge-patch+json"),
    ("STRATEGIC", "application/strategic-merge-patch+json"),
    ("APPLY", "application/apply-patch+yaml"),
];

const METHODS: [&str; 8] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE"];

/// Reads a file of scenarios.
///
/// # Panics
/// On what cannot be read, with the line.
pub(crate) fn parse(file: &str, text: &str) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let fail = |why: &str| -> ! { panic!("{file}:{}: {why}: {line}", at + 1) };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = substitute(line, &names);
        if let Some(title) = line.strip_prefix("== ") {
            scenarios.push(Scenario { title: title.to_owned(), line: at + 1, steps: Vec::new() });
        } else if let Some(content) = line.strip_prefix("  ") {
            match scenarios.last_mut().and_then(|scenario| scenario.steps.last_mut()) {
                Some(step) => step.add_content(content),
                None => fail("there is no step this could belong to"),
            }
        } else if let Some((name, text)) = line.split_once(" := ") {
            names.insert(format!("{{{name}}}"), text.to_owned());
        } else {
            match scenarios.last_mut() {
                Some(scenario) => {
                    let number = scenario.steps.len() + 1;
                    scenario.steps.push(parse_step(&line, number).unwrap_or_else(|why| fail(&why)));
                }
                None => fail("a step before the first scenario"),
            }
        }
    }
    scenarios
}

fn substitute(line: &str, names: &BTreeMap<String, String>) -> String {
    names.iter().fold(line.to_owned(), |line, (name, text)| line.replace(name, text))
}

impl Step {
    fn add_content(&mut self, content: &str) {
        if self.body.is_empty()
            && let Some((name, value)) = content.split_once(": ")
        {
            if let Some(places) = name.strip_prefix("differs at ") {
                let places = places.split(", ").map(str::to_owned).collect();
                self.differs = Some(Difference { places, reason: value.to_owned() });
                return;
            }
            if name == "compare" {
                self.compared = match value {
                    "served" => Compared::Served,
                    "fields" => Compared::Fields,
                    other => panic!("{}: nothing is compared by {other:?}", self.text),
                };
                return;
            }
            if name.starts_with(char::is_uppercase) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                self.headers.push((name.to_owned(), value.to_owned()));
                return;
            }
        }
        if !self.body.is_empty() {
            self.body.push('\n');
        }
        self.body.push_str(content);
    }
}

fn parse_step(line: &str, number: usize) -> Result<Step, String> {
    let (label, rest) = match line.split_once(": ") {
        Some((label, rest)) if !label.contains(' ') => (label.to_owned(), rest),
        _ => (number.to_string(), line),
    };
    let (verb, arguments) = rest.split_once(' ').unwrap_or((rest, ""));
    let arguments = arguments.trim();
    let mut headers = Vec::new();
    let action = match verb {
        "WATCH" => Action::Watch { path: arguments.to_owned() },
        "READ" => {
            let (watch, events) = arguments.split_once(' ').ok_or("READ takes a watch and a number of events")?;
            let events = events.parse().map_err(|_| "READ takes a number of events")?;
            Action::Read { watch: watch.to_owned(), events }
        }
        "END" => Action::End { watch: arguments.to_owned() },
        "AWAIT" => {
            let (code, path) = arguments.split_once(' ').ok_or("AWAIT takes a status and a path")?;
            Action::Await { code: code.parse().map_err(|_| "AWAIT takes a status")?, path: path.to_owned() }
        }
        "UNTIL" => {
            let (text, path) = arguments.split_once(' ').ok_or("UNTIL takes a text without spaces and a path")?;
            Action::Until { text: text.to_owned(), path: path.to_owned() }
        }
        "KUBECTL" => Action::Kubectl { arguments: arguments.to_owned() },
        _ => {
            let method = match PATCHES.iter().find(|(patch, _)| *patch == verb) {
                Some((_, content_type)) => {
                    headers.push(("Content-Type".to_owned(), (*content_type).to_owned()));
                    "PATCH"
                }
                None if METHODS.contains(&verb) => verb,
                None => return Err(format!("unknown verb {verb:?}")),
            };
            Action::Request { method: method.to_owned(), path: arguments.to_owned() }
        }
    };
    Ok(Step {
        label,
        text: rest.to_owned(),
        action,
        headers,
        body: String::new(),
        differs: None,
        compared: Compared::Whole,
    })
}

#[test]
fn a_step_has_a_label_headers_a_reason_and_a_body() {
    let text = "cm := {\"metadata\": {}}\n== it\na: POST configmaps\n  Accept: x/y\n  differs at code, details.causes: because\n  {cm}\n  b: 1\nAPPLY configmaps/a\n";
    let scenarios = parse("test", text);
    let steps = &scenarios[0].steps;
    assert_eq!((steps[0].label.as_str(), steps[1].label.as_str()), ("a", "2"));
    assert_eq!(steps[0].headers, [("Accept".to_owned(), "x/y".to_owned())]);
    let places = ["code", "details.causes"].map(str::to_owned).to_vec();
    assert_eq!(steps[0].differs, Some(Difference { places, reason: "because".to_owned() }));
    let difference = steps[0].differs.as_ref().unwrap();
    let covered = ["code", "details.causes.[].field", "details", "codes"].map(|place| difference.covers(place));
    assert_eq!(covered, [true, true, false, false]);
    assert_eq!(steps[0].body, "{\"metadata\": {}}\nb: 1");
    assert_eq!(steps[1].headers[0].1, "application/apply-patch+yaml");
}
