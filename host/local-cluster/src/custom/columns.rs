//! What stands in the columns a definition asks for: a part of JSONPath, as `kubectl get` shows it.
//!
//! Fields, quoted fields, indices, `[*]` and filters that compare one field with a text or number.

use serde_json::Value;

use super::Custom;

impl Custom {
    /// The cell of a column for an object in its stored form.
    pub(crate) fn cell(&self, column: &str, kind: &str, value: &Value) -> Value {
        if let Some((_, path)) = self.columns.iter().find(|(name, _)| name == column) {
            let found = first(value, path);
            return match kind {
                "date" => found.and_then(Value::as_str).map_or(Value::Null, |time| crate::table::age_of(time).into()),
                "string" => found.map_or(Value::Null, shown),
                "integer" => found.and_then(Value::as_f64).map_or(Value::Null, |number| (number as i64).into()),
                "number" => found.filter(|value| value.is_number()).cloned().unwrap_or_default(),
                _ => found.filter(|value| value.is_boolean()).cloned().unwrap_or_default(),
            };
        }
        crate::metadata::of(value).name().into()
    }
}

fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Null => Value::Null,
        other => other.to_string().into(),
    }
}

/// The first value a path leads to.
pub(crate) fn first<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut found = vec![value];
    for step in steps(path)? {
        found = found.into_iter().flat_map(|value| step.take(value)).collect();
    }
    found.into_iter().next()
}

/// Whether a path is one that is read here.
pub(super) fn is_path(path: &str) -> bool {
    steps(path).is_some()
}

enum Step<'a> {
    Field(String),
    Index(i64),
    All,
    Equal { field: Vec<&'a str>, value: Value },
}

impl Step<'_> {
    fn take<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match (self, value) {
            (Step::Field(name), value) => value.get(name).into_iter().collect(),
            (Step::Index(index), Value::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let index = if *index < 0 { index + length } else { *index };
                usize::try_from(index).ok().and_then(|index| items.get(index)).into_iter().collect()
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(fields)) => fields.values().collect(),
            (Step::Equal { field, value: wanted }, Value::Array(items)) => {
                let matches = |item: &&Value| {
                    field.iter().try_fold(*item, |value, name| value.get(name)).is_some_and(|value| value == wanted)
                };
                items.iter().filter(matches).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// `.a.b[0]['c.d'][?(@.type=="Ready")].e`; `None` for anything else.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = closing(after)?;
            steps.push(bracket(&after[..end])?);
            rest = &after[end + 1..];
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let (name, length) = field_name(rest);
            if name.is_empty() {
                return None;
            }
            steps.push(if name == "*" { Step::All } else { Step::Field(name) });
            rest = &rest[length..];
        }
    }
    Some(steps)
}

/// A name up to the next dot or bracket; a backslash takes a dot into it.
fn field_name(text: &str) -> (String, usize) {
    let mut name = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, at),
            other => name.push(other),
        }
    }
    (name, text.len())
}

/// Where the bracket just opened closes, quotes aside.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, ']') => return Some(at),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), character) if open == character => quote = None,
            _ => {}
        }
    }
    None
}

fn bracket(inside: &str) -> Option<Step<'_>> {
    if inside == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquoted(inside) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(filter) = inside.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        let (field, value) = filter.split_once("==")?;
        let field = field.trim().strip_prefix("@.")?.split('.').collect();
        let value = value.trim();
        let value = match unquoted(value) {
            Some(text) => text.into(),
            None => serde_json::from_str(value).ok()?,
        };
        return Some(Step::Equal { field, value });
    }
    inside.parse().ok().map(Step::Index)
}

fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_columns_lead_to_their_values() {
        let value = json!({
            "spec": {"size": 3, "a.b": "dotted", "list": [{"n": 1}, {"n": 2}]},
            "status": {"conditions": [{"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        for (path, expected) in [
            (".spec.size", json!(3)),
            (".spec['a.b']", json!("dotted")),
            (".spec.a\\.b", json!("dotted")),
            (".spec.list[1].n", json!(2)),
            (".spec.list[-1].n", json!(2)),
            (".spec.list[*].n", json!(1)),
            (".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
            (".status.conditions[?(@.type=='Synced')].status", json!("False")),
        ] {
            assert_eq!(first(&value, path), Some(&expected), "{path}");
        }
        assert_eq!(first(&value, ".spec.missing"), None);
        assert!(!is_path(".spec.list[?(@.n>1)]"));
        assert!(!is_path(".spec..n"));
    }
}
