//! Label and field selectors: parsed once, matched often.
//!
//! The grammar of labels is `label_grammar`'s; that of fields, and its errors, follow apimachinery's `fields` package.

use crate::fields::{self, Field};
use crate::label_grammar::{Requirement, parse_labels};
use crate::object::Object;
use crate::resource::Resource;
use crate::status::{Refusal, Result};

/// What a list or watch asks for within its scope. Empty selects everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
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

impl FieldRequirement {
    fn matches(&self, object: &Object) -> bool {
        let looked_up;
        let value = match self.field {
            Field::Name => object.key.name.as_str(),
            Field::Namespace => object.key.namespace.as_str(),
            Field::Indexed(index) => object.fields.get(index).map_or("", |value| value),
            Field::Path(path) => {
                looked_up = fields::text(&object.value(), path);
                looked_up.as_str()
            }
        };
        (value == self.value) == self.equal
    }
}

fn parse_fields(resource: &Resource, text: &str) -> Result<Vec<FieldRequirement>> {
    let mut requirements = Vec::new();
    for part in split_unescaped(text) {
        if part.is_empty() {
            continue;
        }
        let Some((label, equal, value)) = split_term(part) else {
            return Err(Refusal::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")));
        };
        let value = unescape(value)?;
        let field = fields::find(resource, label).ok_or_else(|| unknown_field(resource, label))?;
        requirements.push(FieldRequirement { field, value, equal });
    }
    Ok(requirements)
}

/// Kinds with fields of their own to select by have a conversion function, whose words differ from the general one's.
fn unknown_field(resource: &Resource, label: &str) -> Refusal {
    if fields::names(resource.collection).is_empty() {
        let known = "only \"metadata.name\", \"metadata.namespace\"";
        return Refusal::bad_request(format!("{label:?} is not a known field selector: {known}"));
    }
    Refusal::bad_request(format!("field label not supported: {label}"))
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

/// A field, whether it must equal the value, and the value, at the first operator that is not escaped.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let mut escaped = false;
    for (at, character) in term.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '!' | '=' => {
                let (label, rest) = term.split_at(at);
                for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
                    if let Some(value) = rest.strip_prefix(operator) {
                        return Some((label, equal, value));
                    }
                }
            }
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> Result<String> {
    let refuse =
        |what: &str, shown: String| Err(Refusal::bad_request(format!("invalid field selector: {what}: {shown}")));
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return refuse("invalid escape sequence", sequence);
                }
            },
            ',' | '=' => return refuse("unescaped character in value", u32::from(character).to_string()),
            other => plain.push(other),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let config_maps = crate::registry::find("", "v1", "configmaps").unwrap();
        let refusal = Selector::parse(config_maps, "", "data.x=1").unwrap_err();
        assert_eq!(
            refusal.message,
            "\"data.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }
}
