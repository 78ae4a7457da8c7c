//! Strategic merge patch: a merge patch that knows which lists are merged by key, and its directives.
//!
//! What kubectl sends for `patch`, `label`, `annotate` and `edit` of the built-in kinds. Source: apimachinery `util/strategicpatch`,
//! whose errors these are; most of them reach the client as a 500.

use serde_json::{Map, Value};

use crate::schema::{PatchRule, Shape};
use crate::status::{Refusal, Result};

/// `replace` or `delete` for the map or list item it stands in.
const DIRECTIVE: &str = "$patch";
/// Keys of a map to keep; all others go.
const RETAIN_KEYS: &str = "$retainKeys";
/// `<prefix>/<list>`: scalars to take out of a list.
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
/// `<prefix>/<list>`: the order of a list's items.
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// What `patch` makes of `object`.
pub(crate) fn merge(object: &mut Value, patch: &Value, shape: Shape<'_>) -> Result<()> {
    match patch {
        Value::Object(patch) => merge_map(object, patch, shape),
        other => {
            *object = other.clone();
            Ok(())
        }
    }
}

/// An error the API server has no status for.
fn failed(message: String) -> Refusal {
    Refusal::new(500, "", message)
}

fn merge_map(object: &mut Value, patch: &Map<String, Value>, shape: Shape<'_>) -> Result<()> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        *object = match directive.as_str() {
            Some("replace") => patch.iter().filter(|(name, _)| *name != DIRECTIVE).map(owned).collect(),
            Some("delete") => Value::Object(Map::new()),
            _ => {
                let shown = (go_shown(directive), go_shown(&Value::Object(patch.clone())));
                return Err(failed(format!("unknown patch type: {} in map: {}", shown.0, shown.1)));
            }
        };
        return Ok(());
    }
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(fields) = object.as_object_mut() else { return Ok(()) };
    let mut patch = patch.clone();
    retain_keys(fields, &mut patch)?;
    merge_ordered_lists(fields, &mut patch, shape)?;
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(DELETE_FROM_LIST) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (fields.get_mut(list), value) {
                items.retain(|item| !gone.contains(item));
            }
        } else {
            merge_field(fields, &name, value, shape.field(&name))?;
        }
    }
    Ok(())
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

fn retain_keys(fields: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<()> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let unfit = || Refusal::bad_request("invalid patch format of retainKeys");
    let retained = retained.as_array().ok_or_else(unfit)?;
    let is_retained = |name: &String| retained.iter().any(|retained| retained == name);
    // What the patch sets must be among what is kept.
    let is_directive = |name: &str| name.starts_with(DELETE_FROM_LIST) || name.starts_with(ELEMENT_ORDER);
    if patch.iter().any(|(name, value)| !value.is_null() && !is_directive(name) && !is_retained(name)) {
        return Err(unfit());
    }
    fields.retain(|name, _| is_retained(name));
    Ok(())
}

/// Lists whose order the patch gives, merged and put in order. They and their directives are taken out of the patch.
fn merge_ordered_lists(
    fields: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    shape: Shape<'_>,
) -> Result<()> {
    let directives: Vec<String> = patch.keys().filter(|name| name.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let name = directive[ELEMENT_ORDER.len()..].to_owned();
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(failed(format!("expected a []interface {{}}, but received a {directive}")));
        };
        let shape = shape.field(&name);
        let key = merge_key(shape);
        let before = fields.get(&name).and_then(Value::as_array).cloned();
        let items = match (before.clone(), patch.remove(&name)) {
            (None, None) => continue,
            (Some(items), None) => items,
            (before, Some(Value::Array(items))) => {
                agrees_with_order(&items, &order, key)?;
                match before {
                    Some(before) => merge_list(before, items, shape)?,
                    None => items.into_iter().map(without_directives).collect(),
                }
            }
            (_, Some(other)) => return Err(failed(format!("expected a list, but received {}", go_shown(&other)))),
        };
        let items = in_order(items, &order, before.as_deref().unwrap_or_default(), key);
        fields.insert(name, Value::Array(items));
    }
    Ok(())
}

fn agrees_with_order(items: &[Value], order: &[Value], key: Option<&str>) -> Result<()> {
    let kept: Vec<Value> = items.iter().filter(|item| item[DIRECTIVE] != "delete").cloned().collect();
    let mut expected = kept.iter().peekable();
    for named in order {
        expected.next_if(|item| is_same(item, named, key));
    }
    if expected.peek().is_none() {
        return Ok(());
    }
    let (items, order) = (go_shown(&items.to_vec().into()), go_shown(&order.to_vec().into()));
    Err(failed(format!("The order in patch list:\n{items}\n doesn't match $setElementOrder list:\n{order}\n")))
}

fn merge_key(shape: Shape<'_>) -> Option<&str> {
    match shape.patch() {
        PatchRule::MergeByKey(key) => Some(key),
        PatchRule::MergeSet | PatchRule::Replace => None,
    }
}

fn merge_field(fields: &mut Map<String, Value>, name: &str, value: Value, shape: Shape<'_>) -> Result<()> {
    match (fields.get_mut(name), value) {
        (_, Value::Null) => {
            fields.remove(name);
        }
        (Some(present @ Value::Object(_)), Value::Object(patch)) => merge_map(present, &patch, shape)?,
        (Some(Value::Array(items)), Value::Array(patch)) => {
            *items = match shape.patch() {
                PatchRule::Replace => patch,
                PatchRule::MergeSet | PatchRule::MergeByKey(_) => merge_list(std::mem::take(items), patch, shape)?,
            };
        }
        (_, value) => {
            fields.insert(name.to_owned(), without_directives(value));
        }
    }
    Ok(())
}

/// What a patch says of something that was not there.
fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, value)| !name.starts_with('$') && !value.is_null())
            .map(|(name, value)| (name, without_directives(value)))
            .collect(),
        Value::Array(items) => {
            items.into_iter().filter(|item| item.get(DIRECTIVE).is_none()).map(without_directives).collect()
        }
        other => other,
    }
}

fn merge_list(mut items: Vec<Value>, patch: Vec<Value>, shape: Shape<'_>) -> Result<Vec<Value>> {
    let Some(key) = merge_key(shape) else {
        let before = items.clone();
        for item in &patch {
            if !items.contains(item) {
                items.push(item.clone());
            }
        }
        return Ok(in_order(items, &patch, &before, None));
    };
    let no_key = |item: &Value| failed(format!("map: {} does not contain declared merge key: {key}", go_shown(item)));
    let mut edits = Vec::new();
    let mut replaces = false;
    for item in patch {
        match item.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
            None => edits.push(item),
            Some("delete") => {
                let identity = item.get(key).ok_or_else(|| no_key(&item))?;
                items.retain(|present| present.get(key) != Some(identity));
            }
            Some("replace") => replaces = true,
            Some("merge") => return Err(failed("merging lists cannot yet be specified in the patch".to_owned())),
            Some(other) => return Err(failed(format!("unknown patch type: {other} in map: {}", go_shown(&item)))),
        }
    }
    if replaces {
        return Ok(edits);
    }
    let before = items.clone();
    for item in &edits {
        let identity = item.get(key).ok_or_else(|| no_key(item))?;
        match items.iter_mut().find(|present| present.get(key) == Some(identity)) {
            Some(present) => merge(present, item, shape.item())?,
            None => items.push(without_directives(item.clone())),
        }
    }
    Ok(in_order(items, &edits, &before, Some(key)))
}

fn is_same(one: &Value, other: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => one.get(key) == other.get(key),
        None => one == other,
    }
}

/// Items the patch names stand in its order, the others in theirs; where both were there before, the earlier one comes first.
fn in_order(items: Vec<Value>, named: &[Value], before: &[Value], key: Option<&str>) -> Vec<Value> {
    let place = |order: &[Value], item: &Value| order.iter().position(|other| is_same(item, other, key));
    let (mut patched, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(named, item).is_some());
    patched.sort_by_key(|item| place(named, item));
    others.sort_by_key(|item| place(before, item).unwrap_or(usize::MAX));
    let (mut patched, mut others) = (patched.into_iter().peekable(), others.into_iter().peekable());
    let mut merged = Vec::new();
    while let Some(other) = others.peek() {
        let Some(item) = patched.peek() else { break };
        let other_first = place(before, other).zip(place(before, item)).is_some_and(|(other, item)| other < item);
        merged.extend(if other_first { others.next() } else { patched.next() });
    }
    merged.extend(others);
    merged.extend(patched);
    merged
}

/// A value as Go's `%v` prints it.
pub(crate) fn go_shown(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}:{}", go_shown(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(go_shown).collect::<Vec<_>>().join(" ")),
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(mut object: Value, patch: &Value) -> Value {
        let pods = crate::registry::find("", "v1", "pods").unwrap();
        merge(&mut object, patch, Shape::of(pods)).unwrap();
        object
    }

    #[test]
    fn containers_are_merged_by_name() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "1"}, {"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}],
        }});
        assert_eq!(
            patched(pod, &patch),
            json!({"spec": {"containers": [{"name": "c", "image": "1"}, {"name": "a", "image": "2"}]}})
        );
    }

    #[test]
    fn finalizers_are_a_set() {
        let pod = json!({"metadata": {"finalizers": ["a/a"], "labels": {"x": "1", "y": "1"}}});
        let added = patched(pod.clone(), &json!({"metadata": {"finalizers": ["a/a", "b/b"], "labels": {"x": null}}}));
        assert_eq!(added, json!({"metadata": {"finalizers": ["a/a", "b/b"], "labels": {"y": "1"}}}));
        let removed = patched(pod, &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/a"]}}));
        assert_eq!(removed["metadata"]["finalizers"], json!([]));
    }

    #[test]
    fn replace_takes_the_patch_for_the_whole() {
        let pod = json!({"metadata": {"labels": {"x": "1"}}, "spec": {"tolerations": [{"key": "a"}]}});
        let patch = json!({
            "metadata": {"labels": {"$patch": "replace", "z": "1"}}, "spec": {"tolerations": [{"key": "b"}]},
        });
        assert_eq!(
            patched(pod, &patch),
            json!({"metadata": {"labels": {"z": "1"}}, "spec": {"tolerations": [{"key": "b"}]}})
        );
    }
}
