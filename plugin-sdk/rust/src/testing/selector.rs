//! Label selectors as kubectl's `-l` takes them, for lists on the fake cluster.

use std::collections::BTreeMap;

use crate::{Error, Reason, Result};

enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// All requirements hold, or the object is left out.
pub(super) struct Selector(Vec<Requirement>);

impl Selector {
    pub(super) fn parse(text: &str) -> Result<Self> {
        split_outside_parentheses(text)
            .into_iter()
            .map(|part| {
                requirement(part.trim()).ok_or_else(|| {
                    Error::new(Reason::BadRequest, format!("unable to parse the label selector {text:?} at {part:?}"))
                })
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            // As the API server has it: an absent key is not in any set.
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .filter(|part| !part.trim().is_empty())
    .collect()
}

fn requirement(part: &str) -> Option<Requirement> {
    if let Some((head, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => Some(Requirement::In(name(key)?, values)),
            "notin" => Some(Requirement::NotIn(name(key)?, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(name(key)?, vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(name(key)?, vec![value.trim().to_owned()]));
    }
    match part.strip_prefix('!') {
        Some(key) => Some(Requirement::Absent(name(key)?)),
        None => Some(Requirement::Exists(name(part)?)),
    }
}

fn name(key: &str) -> Option<String> {
    let key = key.trim();
    let sound =
        !key.is_empty() && key.chars().all(|character| character.is_ascii_alphanumeric() || "-_./".contains(character));
    sound.then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_mean_what_they_mean_to_kubectl() {
        let labels = BTreeMap::from([("team".to_owned(), "web".to_owned()), ("x.io/tier".to_owned(), "1".to_owned())]);
        for (selector, expected) in [
            ("", true),
            ("team=web", true),
            ("team==web, x.io/tier", true),
            ("team!=web", false),
            ("other!=web", true),
            ("team in (web, shop)", true),
            ("team notin (web,shop),x.io/tier", false),
            ("!team", false),
            ("!other,team", true),
        ] {
            assert_eq!(Selector::parse(selector).expect("a selector").matches(&labels), expected, "{selector}");
        }
        for broken in ["team in web", "a b", "=web"] {
            assert!(Selector::parse(broken).is_err(), "{broken}");
        }
    }
}
