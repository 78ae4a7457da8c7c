//! What came back from a server, as it came, and what a later step may want of it.

use std::collections::BTreeMap;

use serde_json::Value;

/// The answer to one step.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Events of a watch; `ended` if the server closed it.
    Events {
        events: Vec<Value>,
        ended: bool,
    },
    /// A run of a program.
    Program {
        code: Option<i32>,
        stdout: String,
        stderr: String,
    },
    /// There is none: what went wrong instead.
    None(String),
}

impl Answer {
    /// The JSON a later step may refer to: the body, or the object of the last event.
    fn json(&self) -> Value {
        match self {
            Answer::Http { body, .. } => serde_json::from_slice(body).unwrap_or_default(),
            Answer::Events { events, .. } => events.last().map(|event| event["object"].clone()).unwrap_or_default(),
            Answer::Program { stdout, .. } => serde_json::from_str(stdout).unwrap_or_default(),
            Answer::None(_) => Value::Null,
        }
    }
}

/// The answers so far, by label, and the words a step may have of them.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    values: BTreeMap<String, Value>,
}

impl Answers {
    pub(crate) fn keep(&mut self, label: &str, answer: &Answer) {
        self.values.insert(label.to_owned(), answer.json());
    }

    /// Replaces `{uid:label}`, `{version:label}`, `{continue:label}`, `{name:label}`, `{value:label:/pointer}`, `{json:label}`, `{many:text:count}`
    /// and `{ns}`. What an answer does not have becomes `missing`, so that the difference is seen where it matters.
    pub(crate) fn fill(&self, text: &str, namespace: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            filled.push_str(&rest[..start]);
            let end = rest[start..].find('}').map(|length| start + length);
            let found = end.and_then(|end| Some((self.word(&rest[start + 1..end], namespace)?, end)));
            match found {
                Some((word, end)) => {
                    filled.push_str(&word);
                    rest = &rest[end + 1..];
                }
                None => {
                    filled.push('{');
                    rest = &rest[start + 1..];
                }
            }
        }
        filled + rest
    }

    fn word(&self, name: &str, namespace: &str) -> Option<String> {
        if name == "ns" {
            return Some(namespace.to_owned());
        }
        let (what, argument) = name.split_once(':')?;
        if argument.starts_with(' ') {
            return None;
        }
        let metadata = |label: &str, field: &str| self.text(label, &format!("/metadata/{field}"));
        Some(match what {
            "uid" => metadata(argument, "uid"),
            "version" => metadata(argument, "resourceVersion"),
            "continue" => metadata(argument, "continue"),
            "name" => metadata(argument, "name"),
            "value" => {
                let (label, pointer) = argument.split_once(':')?;
                self.text(label, pointer)
            }
            "json" => self.values.get(argument)?.to_string(),
            "many" => {
                let (text, count) = argument.split_once(':')?;
                text.repeat(count.parse().ok()?)
            }
            _ => return None,
        })
    }

    fn text(&self, label: &str, pointer: &str) -> String {
        let found = self.values.get(label).and_then(|value| value.pointer(pointer));
        match found {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "missing".to_owned(),
        }
    }
}
