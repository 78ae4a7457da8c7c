//! Strategic merge patch: a merge patch that knows which lists are merged by key, and its directives.
//!
//! What kubectl sends for `patch`, `label`, `annotate` and `edit` of the built-in kinds. Source: apimachinery `util/strategicpatch`.

use serde_json::{Map, Value};

use crate::schema::{PatchRule, Shape};
use crate::status::{Refusal, Result};

/// `replace`, `merge` or `delete` for the map or list item it stands in.
const DIRECTIVE: &str = "$patch";
/// Keys of a map to keep; all others go.
const RETAIN_KEYS: &str = "$retainKeys";
/// `<prefix>/<list>`: scalars to take out of a list.
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
/// `<prefix>/<list>`: the order of a list's items.
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// What `patch` makes of `object`.
pub(crate) fn merge(object: &mut Value, patch: &Value, shape: Shape) -> Result<()> {
    match patch {
        Value::Object(patch) => merge_map(object, patch, shape),
        other => {
            *object = other.clone();
            Ok(())
        }
    }
}

fn bad_directive(what: &str) -> Refusal {
    Refusal::bad_request(format!("invalid strategic merge patch: {what}"))
}

fn merge_map(object: &mut Value, patch: &Map<String, Value>, shape: Shape) -> Result<()> {
    let mut patch = patch.clone();
    match patch.remove(DIRECTIVE).as_ref().map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => {
            *object = Value::Object(patch);
            return Ok(());
        }
        Some("delete") => {
            *object = Value::Object(Map::new());
            return Ok(());
        }
        Some(other) => return Err(bad_directive(&format!("unknown patch type {other:?}"))),
    }
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(fields) = object.as_object_mut() else { return Ok(()) };
    if let Some(retained) = patch.remove(RETAIN_KEYS) {
        let retained = retained.as_array().ok_or_else(|| bad_directive("$retainKeys must be a list"))?;
        fields.retain(|name, _| retained.iter().any(|retained| retained == name));
    }
    let mut orders = Vec::new();
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(ELEMENT_ORDER) {
            orders.push((list.to_owned(), value));
        } else if let Some(list) = name.strip_prefix(DELETE_FROM_LIST) {
            let gone = value.as_array().ok_or_else(|| bad_directive("$deleteFromPrimitiveList must be a list"))?;
            if let Some(Value::Array(items)) = fields.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
        } else {
            merge_field(fields, &name, &value, shape.field(&name))?;
        }
    }
    for (list, order) in orders {
        if let (Some(Value::Array(items)), Value::Array(order)) = (fields.get_mut(&list), order) {
            put_in_order(items, &order, shape.field(&list).patch());
        }
    }
    Ok(())
}

fn merge_field(fields: &mut Map<String, Value>, name: &str, value: &Value, shape: Shape) -> Result<()> {
    match (value, shape.patch()) {
        (Value::Null, _) => {
            fields.remove(name);
        }
        (Value::Object(patch), _) => {
            let mut merged = fields.remove(name).unwrap_or_else(|| Value::Object(Map::new()));
            merge_map(&mut merged, patch, shape)?;
            fields.insert(name.to_owned(), merged);
        }
        (Value::Array(patch), PatchRule::MergeSet) => {
            let items = list_at(fields, name);
            for item in patch.iter().filter(|item| !item.is_null()) {
                if !items.contains(item) {
                    items.push(item.clone());
                }
            }
        }
        (Value::Array(patch), PatchRule::MergeByKey(key)) => merge_keyed(list_at(fields, name), patch, key, shape)?,
        (value, _) => {
            fields.insert(name.to_owned(), value.clone());
        }
    }
    Ok(())
}

fn list_at<'a>(fields: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let list = fields.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    match list {
        Value::Array(items) => items,
        _ => unreachable!("made a list just above"),
    }
}

fn merge_keyed(items: &mut Vec<Value>, patch: &[Value], key: &str, shape: Shape) -> Result<()> {
    let replaces = patch.iter().any(|item| item[DIRECTIVE] == "replace" && item.get(key).is_none());
    if replaces {
        *items = patch.iter().filter(|item| item.get(DIRECTIVE).is_none()).cloned().collect();
        return Ok(());
    }
    for item in patch {
        let identity = item
            .get(key)
            .ok_or_else(|| bad_directive(&format!("map: {item} does not contain declared merge key: {key}")))?;
        let at = items.iter().position(|present| present.get(key) == Some(identity));
        match (item[DIRECTIVE].as_str(), at) {
            (Some("delete"), Some(_)) => items.retain(|present| present.get(key) != Some(identity)),
            (Some("delete"), None) => {}
            (_, Some(at)) => merge(&mut items[at], item, shape.item())?,
            (_, None) => {
                let mut new = Value::Object(Map::new());
                merge(&mut new, item, shape.item())?;
                items.push(new);
            }
        }
    }
    Ok(())
}

/// Items the order names come first and in that order; the others keep theirs behind them.
fn put_in_order(items: &mut [Value], order: &[Value], rule: &PatchRule) {
    let place = |item: &Value| {
        let at = match rule {
            PatchRule::MergeByKey(key) => order.iter().position(|named| named.get(key) == item.get(key)),
            PatchRule::MergeSet | PatchRule::Replace => order.iter().position(|named| named == item),
        };
        at.unwrap_or(usize::MAX)
    };
    items.sort_by_key(place);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(mut object: Value, patch: &Value) -> Value {
        let pods = crate::resource::find("", "v1", "pods").unwrap();
        merge(&mut object, patch, Shape::of(pods)).unwrap();
        object
    }

    #[test]
    fn containers_are_merged_by_name() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}, {"name": "c", "image": "1"}],
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
