//! The grammar of label selectors, read word by word as apimachinery's `labels` package reads it, with its errors.
//!
//! Pure: from text to requirements, and from a requirement and labels to yes or no.

use std::collections::{BTreeMap, BTreeSet};

use crate::status::{Refusal, Result};
use crate::syntax;

/// What one label must be like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq)]
enum Operator {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

impl Requirement {
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(bound) => number(value).is_some_and(|value| value > *bound),
            Operator::LessThan(bound) => number(value).is_some_and(|value| value < *bound),
        }
    }
}

fn number(value: Option<&String>) -> Option<i64> {
    value?.parse().ok()
}

/// Reads a selector; an empty one has no requirements.
pub(crate) fn parse_labels(text: &str) -> Result<Vec<Requirement>> {
    parse(&words(text)).map_err(Refusal::bad_request)
}

const SYMBOLS: &str = "=!(),<>";
const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// Symbols are taken as long as they can be; whatever else stands between blanks is an identifier.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if ["==", "!="].iter().any(|symbol| rest.starts_with(symbol)) {
            2
        } else if SYMBOLS.contains(first) {
            1
        } else {
            rest.find(|c: char| c.is_whitespace() || SYMBOLS.contains(c)).unwrap_or(rest.len())
        };
        let (word, behind) = rest.split_at(length);
        words.push(word);
        rest = behind.trim_start();
    }
    words
}

fn is_identifier(word: &str) -> bool {
    !word.is_empty() && !word.starts_with(|c| SYMBOLS.contains(c))
}

/// The words still to be read; behind the last there are empty ones.
struct Reader<'a> {
    words: &'a [&'a str],
    at: usize,
}

type Parsed<T> = std::result::Result<T, String>;

impl<'a> Reader<'a> {
    fn peek(&self) -> &'a str {
        self.words.get(self.at).copied().unwrap_or_default()
    }

    fn next(&mut self) -> &'a str {
        let word = self.peek();
        self.at += 1;
        word
    }
}

fn parse(words: &[&str]) -> Parsed<Vec<Requirement>> {
    let mut reader = Reader { words, at: 0 };
    let mut requirements = Vec::new();
    loop {
        match reader.peek() {
            "" => return Ok(requirements),
            word if word == "!" || is_identifier(word) => {}
            word => return Err(format!("found '{word}', expected: !, identifier, or 'end of string'")),
        }
        requirements.push(reader.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?);
        match reader.next() {
            "" => return Ok(requirements),
            "," => match reader.peek() {
                word if word == "!" || is_identifier(word) => {}
                word => return Err(format!("found '{word}', expected: identifier after ','")),
            },
            word => return Err(format!("found '{word}', expected: ',' or 'end of string'")),
        }
    }
}

impl Reader<'_> {
    fn requirement(&mut self) -> Parsed<Requirement> {
        let absent = self.peek() == "!";
        if absent {
            self.next();
        }
        let key = self.next();
        if !is_identifier(key) {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let complaints = syntax::label_key(key);
        if !complaints.is_empty() {
            return Err(format!("<nil>: Invalid value: {key:?}: {}", complaints.join("; ")));
        }
        let operator = match self.peek() {
            _ if absent => Operator::DoesNotExist,
            "" | "," => Operator::Exists,
            _ => self.operator(key)?,
        };
        Ok(Requirement { key: key.to_owned(), operator })
    }

    fn operator(&mut self, key: &str) -> Parsed<Operator> {
        let checked = |values: BTreeSet<String>| {
            for (index, value) in values.iter().enumerate() {
                let complaints = syntax::label_value(value);
                if !complaints.is_empty() {
                    let why = complaints.join("; ");
                    return Err(format!("values[{index}][{key}]: Invalid value: {value:?}: {why}"));
                }
            }
            Ok(values)
        };
        let one = |value: String| checked(BTreeSet::from([value]));
        match self.next() {
            "in" => checked(self.values()?).map(Operator::In),
            "notin" => checked(self.values()?).map(Operator::NotIn),
            "=" | "==" => one(self.exact_value()?).map(Operator::In),
            "!=" => one(self.exact_value()?).map(Operator::NotIn),
            ">" => bound(&self.exact_value()?).map(Operator::GreaterThan),
            "<" => bound(&self.exact_value()?).map(Operator::LessThan),
            word => Err(format!("found '{word}', expected: {OPERATORS}")),
        }
    }

    fn exact_value(&mut self) -> Parsed<String> {
        match self.peek() {
            "" | "," => Ok(String::new()),
            word if is_identifier(word) => Ok(self.next().to_owned()),
            word => Err(format!("found '{word}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Parsed<BTreeSet<String>> {
        let open = self.next();
        if open != "(" {
            return Err(format!("found '{open}' expected: '('"));
        }
        let mut values = BTreeSet::new();
        if self.peek() == ")" {
            self.next();
            return Ok(BTreeSet::from([String::new()]));
        }
        loop {
            match self.next() {
                word if is_identifier(word) => {
                    values.insert(word.to_owned());
                    match self.next() {
                        "," => {}
                        ")" => return Ok(values),
                        word => return Err(format!("found '{word}', expected: ',' or ')'")),
                    }
                }
                // An empty value, in front of a comma or the end.
                "," => drop(values.insert(String::new())),
                ")" => {
                    values.insert(String::new());
                    return Ok(values);
                }
                word => return Err(format!("found '{word}', expected: ',', or identifier")),
            }
        }
    }
}

fn bound(text: &str) -> Parsed<i64> {
    let why = "for 'Gt', 'Lt' operators, the value must be an integer";
    text.parse().map_err(|_| format!("values[0]: Invalid value: {text:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels_match(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        parse_labels(selector).unwrap().iter().all(|requirement| requirement.matches(&labels))
    }

    #[test]
    fn each_operator_selects_what_its_name_says() {
        let labels = [("app", "web"), ("size", "3"), ("tenure.dev/plugin", "true")];
        for selector in [
            "",
            "app",
            "!other",
            "app=web",
            "app==web",
            "app = web",
            "app!=db",
            "other!=x",
            "app in (db, web)",
            "app notin (db)",
            "other notin (db)",
            "size>2",
            "size<4",
            "app=web,tenure.dev/plugin=true,size in (3)",
        ] {
            assert!(labels_match(selector, &labels), "{selector} should match");
        }
        for selector in ["other", "!app", "app=db", "app!=web", "app in (db)", "app notin (web)", "size>3", "app>1"] {
            assert!(!labels_match(selector, &labels), "{selector} should not match");
        }
    }

    #[test]
    fn nonsense_is_a_bad_request() {
        for selector in ["a b c", "=x", "a in x", "a=b,,c=d", "a/b/c=d", "size>x"] {
            assert_eq!(parse_labels(selector).unwrap_err().code, 400, "{selector}");
        }
    }
}
