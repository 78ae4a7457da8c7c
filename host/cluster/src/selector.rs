//! Label and field selectors, in the API's own syntax. Pure.
//!
//! The grammar and its answers are those of `labels.Parse` and `fields.ParseSelector` in apimachinery; fields are
//! the two every kind has, since the shared cache looks no deeper into objects.

use crate::{Labels, Object};

/// A label selector: every requirement must hold. Empty, it selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    /// Holds for an absent label, too.
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

/// A selector that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("selector {selector:?}: {problem}")]
pub struct InvalidSelector {
    /// As given.
    pub selector: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Selector {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    ///
    /// # Errors
    /// When it is not such a list.
    pub fn parse(selector: &str) -> Result<Self, InvalidSelector> {
        requirements(selector)
            .map(|parts| parts.iter().map(|part| requirement(part.trim())).collect())
            .and_then(|requirements: Result<Vec<_>, _>| requirements)
            .map(Self)
            .map_err(|problem| InvalidSelector { selector: selector.to_owned(), problem })
    }

    /// Selects what carries this label with this value.
    #[must_use]
    pub fn label(key: &str, value: &str) -> Self {
        Self(vec![Requirement { key: key.to_owned(), test: Test::In(vec![value.to_owned()]) }])
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
                Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
                Test::Above(limit) => number().is_some_and(|number| number > *limit),
                Test::Below(limit) => number().is_some_and(|number| number < *limit),
            }
        })
    }

    /// Whether it selects everything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Splits at commas that are not inside parentheses.
fn requirements(selector: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    if selector.trim().is_empty() {
        return Ok(parts);
    }
    let (mut start, mut inside) = (0, false);
    for (at, character) in selector.char_indices() {
        match character {
            '(' if inside => return Err("a `(` inside parentheses".into()),
            '(' => inside = true,
            ')' if !inside => return Err("a `)` without its `(`".into()),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err("a `(` is never closed".into());
    }
    parts.push(&selector[start..]);
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, String> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement { key: label_key(key)?, test: Test::Absent });
    }
    let end =
        part.find(|character: char| character.is_whitespace() || "=!<>(".contains(character)).unwrap_or(part.len());
    let (key, rest) = (label_key(&part[..end])?, part[end..].trim());
    let test = if rest.is_empty() {
        Test::Exists
    } else if let Some(value) = rest.strip_prefix("!=") {
        Test::NotIn(vec![label_value(value)?])
    } else if let Some(value) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
        Test::In(vec![label_value(value)?])
    } else if let Some(value) = rest.strip_prefix('>') {
        Test::Above(integer(value)?)
    } else if let Some(value) = rest.strip_prefix('<') {
        Test::Below(integer(value)?)
    } else if let Some(values) = rest.strip_prefix("notin") {
        Test::NotIn(set(values)?)
    } else if let Some(values) = rest.strip_prefix("in") {
        Test::In(set(values)?)
    } else {
        return Err(format!("{rest:?} after {key:?} is no test; write one of = == != in notin < >"));
    };
    Ok(Requirement { key, test })
}

fn set(values: &str) -> Result<Vec<String>, String> {
    let inner = values.trim().strip_prefix('(').and_then(|values| values.strip_suffix(')'));
    let inner = inner.ok_or_else(|| format!("{:?} is no set; write `(one,other)`", values.trim()))?;
    inner.split(',').map(label_value).collect()
}

/// `prefix/name`, both of letters, digits, `-`, `_` and `.` (`validation.IsQualifiedName`).
fn label_key(key: &str) -> Result<String, String> {
    let key = key.trim();
    let name = key.rsplit('/').next().unwrap_or_default();
    let fits = |text: &str, limit: usize| {
        text.len() <= limit
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.ends_with(|last: char| last.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let prefix_fits = key.split_once('/').is_none_or(|(prefix, name)| fits(prefix, 253) && !name.contains('/'));
    if fits(name, 63) && prefix_fits { Ok(key.to_owned()) } else { Err(format!("{key:?} is no label key")) }
}

/// At most 63 letters, digits, `-`, `_` and `.`; may be empty (`validation.IsValidLabelValue`).
fn label_value(value: &str) -> Result<String, String> {
    let value = value.trim();
    let fits = value.len() <= 63
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !value.starts_with(['-', '_', '.'])
        && !value.ends_with(['-', '_', '.']);
    if fits { Ok(value.to_owned()) } else { Err(format!("{value:?} is no label value")) }
}

fn integer(value: &str) -> Result<i64, String> {
    value.trim().parse().map_err(|_| format!("{:?} is no whole number", value.trim()))
}

/// A field selector over `metadata.name` and `metadata.namespace`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldRequirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    field: Field,
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
}

impl FieldSelector {
    /// Parses `metadata.name=a,metadata.namespace!=b`.
    ///
    /// # Errors
    /// When it is not such a list, or names another field.
    pub fn parse(selector: &str) -> Result<Self, InvalidSelector> {
        let parts = selector.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(field_requirement)
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(|problem| InvalidSelector { selector: selector.to_owned(), problem })
    }

    /// Whether the object is selected.
    #[must_use]
    pub fn matches(&self, object: &Object) -> bool {
        self.0.iter().all(|requirement| {
            let value = match requirement.field {
                Field::Name => &*object.name,
                Field::Namespace => object.namespace_or_empty(),
            };
            (value == requirement.value) == requirement.equal
        })
    }

    /// Whether it selects everything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn field_requirement(part: &str) -> Result<FieldRequirement, String> {
    let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
        (field, false, value)
    } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (field, true, value)
    } else {
        return Err(format!("{part:?} is no test; write `field=value` or `field!=value`"));
    };
    let field = match field.trim() {
        "metadata.name" => Field::Name,
        "metadata.namespace" => Field::Namespace,
        other => {
            return Err(format!("field {other:?} is not selectable here; metadata.name and metadata.namespace are"));
        }
    };
    Ok(FieldRequirement { field, equal, value: value.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        Selector::parse(selector).unwrap().matches(&labels.iter().copied().collect())
    }

    #[test]
    fn label_selectors_answer_as_the_api_server_does() {
        let labels =
            [("app", "web"), ("tier", "front"), ("tenure.dev/propagate", "true"), ("weight", "7"), ("empty", "")];
        for selector in [
            "",
            "app=web",
            "app==web",
            "app = web",
            "app!=db",
            "missing!=x",
            "app in (db, web)",
            "app notin (db)",
            "missing notin (x)",
            "app",
            "!missing",
            "tenure.dev/propagate=true",
            "app=web,tier=front",
            "weight>6",
            "weight<8",
            "empty=",
            "app in (web),!missing",
        ] {
            assert!(selects(selector, &labels), "{selector:?} should select");
        }
        for selector in [
            "app=db",
            "app!=web",
            "app in (db)",
            "app notin (web,db)",
            "missing",
            "!app",
            "app=web,tier=back",
            "missing=x",
            "weight>7",
            "app>1",
            "missing<1",
        ] {
            assert!(!selects(selector, &labels), "{selector:?} should not select");
        }
    }

    #[test]
    fn what_is_no_label_selector_is_refused() {
        for selector in [
            "app in web",
            "app in (web",
            "app)",
            "=web",
            "a b",
            "a/b/c",
            "app=web,,x",
            "app>x",
            "app=web!",
            "!",
            "in (a)(",
        ] {
            assert!(Selector::parse(selector).is_err(), "{selector:?} should be refused");
        }
    }

    #[test]
    fn field_selectors_look_at_name_and_namespace() {
        let object = Object::parse(br#"{"metadata":{"name":"a","namespace":"b"}}"#).unwrap();
        for (selector, selected) in [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a,metadata.namespace=b", true),
            ("metadata.name!=a", false),
            ("metadata.namespace!=c", true),
            ("metadata.name=a,metadata.namespace=c", false),
        ] {
            assert_eq!(FieldSelector::parse(selector).unwrap().matches(&object), selected, "{selector:?}");
        }
        assert!(FieldSelector::parse("spec.nodeName=x").is_err());
        assert!(FieldSelector::parse("metadata.name").is_err());
    }
}
