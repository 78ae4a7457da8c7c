//! Label and field selectors: parsed once, matched often.
//!
//! Grammar and errors follow apimachinery's `labels` and `fields` packages.

use std::collections::BTreeMap;

use crate::fields::{self, Field};
use crate::object::Object;
use crate::resource::Resource;
use crate::status::{Refusal, Result};
use crate::syntax;

/// What a list or watch asks for within its scope. Empty selects everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

#[derive(Debug, Clone)]
struct FieldRequirement {
    field: Field,
    value: String,
    equal: bool,
}

impl Selector {
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self> {
        Ok(Self { labels: parse_labels(labels)?, fields: parse_fields(resource, fields)? })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.labels.iter().all(|requirement| requirement.matches(&object.labels))
            && self.fields.iter().all(|requirement| requirement.matches(object))
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
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

impl FieldRequirement {
    fn matches(&self, object: &Object) -> bool {
        let value = match self.field {
            Field::Name => object.key.name.as_str(),
            Field::Namespace => object.key.namespace.as_str(),
            Field::Indexed(index) => object.fields.get(index).map_or("", |value| value),
        };
        (value == self.value) == self.equal
    }
}

fn unparsable(why: impl std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!("unable to parse requirement: {why}"))
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>> {
    let mut requirements = Vec::new();
    for part in split_outside_parentheses(text) {
        let part = part.trim();
        if part.is_empty() {
            if text.trim().is_empty() {
                continue;
            }
            return Err(unparsable("found ',', expected: identifier"));
        }
        requirements.push(parse_requirement(part)?);
    }
    Ok(requirements)
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_usize, 0, Vec::new());
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_requirement(part: &str) -> Result<Requirement> {
    let checked = |key: &str, operator: Operator| {
        let key = key.trim();
        if let Some(why) = syntax::qualified_name(key).first() {
            return Err(unparsable(format!("<nil>: Invalid value: {key:?}: {why}")));
        }
        let values: &[String] = match &operator {
            Operator::In(values) | Operator::NotIn(values) => values,
            _ => &[],
        };
        for value in values {
            if let Some(why) = syntax::label_value(value).first() {
                return Err(unparsable(format!("values[0][{key}]: Invalid value: {value:?}: {why}")));
            }
        }
        Ok(Requirement { key: key.to_owned(), operator })
    };
    if let Some(key) = part.strip_prefix('!') {
        return checked(key, Operator::DoesNotExist);
    }
    if let Some((key, value)) = part.split_once("!=") {
        return checked(key, Operator::NotIn(vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return checked(key, Operator::In(vec![value.trim().to_owned()]));
    }
    if let Some((key, bound)) = part.split_once('>') {
        return checked(key, Operator::GreaterThan(parse_bound(bound)?));
    }
    if let Some((key, bound)) = part.split_once('<') {
        return checked(key, Operator::LessThan(parse_bound(bound)?));
    }
    let words: Vec<&str> = part.splitn(2, char::is_whitespace).collect();
    let [key, rest] = words.as_slice() else { return checked(part, Operator::Exists) };
    let rest = rest.trim();
    if let Some(values) = rest.strip_prefix("notin") {
        return checked(key, Operator::NotIn(parse_values(values)?));
    }
    if let Some(values) = rest.strip_prefix("in") {
        return checked(key, Operator::In(parse_values(values)?));
    }
    Err(unparsable(format!("found '{rest}', expected: in, notin, =, ==, !=, gt, lt")))
}

fn parse_bound(text: &str) -> Result<i64> {
    let text = text.trim();
    text.parse().map_err(|_| unparsable(format!("for 'Gt', 'Lt' operators, the value must be an integer: {text:?}")))
}

fn parse_values(text: &str) -> Result<Vec<String>> {
    let text = text.trim();
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    let inner = inner.ok_or_else(|| unparsable(format!("found '{text}' expected: '('")))?;
    Ok(inner.split(',').map(|value| value.trim().to_owned()).collect())
}

fn parse_fields(resource: &Resource, text: &str) -> Result<Vec<FieldRequirement>> {
    let mut requirements = Vec::new();
    for part in split_unescaped(text) {
        if part.is_empty() {
            continue;
        }
        let (label, value, equal) = if let Some((label, value)) = part.split_once("!=") {
            (label, value, false)
        } else if let Some((label, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (label, value, true)
        } else {
            return Err(Refusal::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")));
        };
        let field = fields::find(resource, label)
            .ok_or_else(|| Refusal::bad_request(format!("field label not supported: {label}")))?;
        requirements.push(FieldRequirement { field, value: unescape(value), equal });
    }
    Ok(requirements)
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut escaped, mut start, mut parts) = (false, 0, Vec::new());
    for (at, character) in text.char_indices() {
        match character {
            '\\' if !escaped => escaped = true,
            ',' if !escaped => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => escaped = false,
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    plain
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

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let config_maps = crate::resource::find("", "v1", "configmaps").unwrap();
        let refusal = Selector::parse(config_maps, "", "data.x=1").unwrap_err();
        assert_eq!(refusal.message, "field label not supported: data.x");
    }
}
