//! Which fields an object has, and which changed between two: the walks over JSON that know how each list is merged.
//!
//! Pure. Source of the rules: structured-merge-diff `typed/tofieldset.go` and `typed/compare.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::field_set::{FieldSet, Scalar, Step};
use crate::schema::{ApplyRule, Shape};

/// What changed from one object to another.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

/// The first item that a set or keyed list has twice, in structured-merge-diff's words.
pub(super) fn repeated_item(value: &Value, shape: Shape<'_>, path: &str) -> Option<String> {
    match parts(value, shape) {
        Parts::Whole => None,
        Parts::Fields(fields) => {
            fields.iter().find_map(|(name, value)| repeated_item(value, shape.field(name), &format!("{path}.{name}")))
        }
        Parts::Items(items) => {
            let mut seen = std::collections::BTreeSet::new();
            items.iter().find_map(|item| {
                let step = item_step(item, shape.apply());
                let shown = step.shown();
                if seen.insert(step) {
                    return repeated_item(item, shape.item(), &format!("{path}{shown}"));
                }
                Some(format!("{path}: duplicate entries for key {shown}"))
            })
        }
    }
}

/// How a value is taken: as a whole, or by its parts.
enum Parts<'a> {
    Whole,
    Fields(&'a serde_json::Map<String, Value>),
    Items(&'a [Value]),
}

fn parts<'a>(value: &'a Value, shape: Shape<'_>) -> Parts<'a> {
    match (value, shape.apply()) {
        (Value::Object(fields), rule) if *rule != ApplyRule::Atomic => Parts::Fields(fields),
        (Value::Array(items), ApplyRule::Set | ApplyRule::Keyed(_)) => Parts::Items(items),
        _ => Parts::Whole,
    }
}

/// The step that leads to an item of a set or keyed list.
pub(super) fn item_step(item: &Value, rule: &ApplyRule) -> Step {
    let ApplyRule::Keyed(keys) = rule else { return Step::Value(Scalar::of(item)) };
    let keys = keys.iter().filter_map(|key| {
        let given = item.get(&key.name).cloned();
        let value = given.or_else(|| key.default.clone().map(Value::String))?;
        Some((key.name.clone(), Scalar::of(&value)))
    });
    Step::Key(keys.collect())
}

/// The fields an object has: what its applier owns.
pub(super) fn fields_of(value: &Value, shape: Shape<'_>) -> FieldSet {
    let mut set = FieldSet::default();
    match parts(value, shape) {
        Parts::Whole => set.member = true,
        Parts::Fields(fields) => {
            for (name, value) in fields {
                let mut child = fields_of(value, shape.field(name));
                child.member |= value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                set.children.insert(Step::Field(name.clone()), child);
            }
        }
        Parts::Items(items) => {
            for item in items {
                let mut child = fields_of(item, shape.item());
                child.member = true;
                set.children.insert(item_step(item, shape.apply()), child);
            }
        }
    }
    set.children.retain(|_, child| !child.is_empty());
    set
}

/// What changed from `old` to `new`.
pub(super) fn compare(old: &Value, new: &Value, shape: Shape<'_>) -> Comparison {
    let mut comparison = Comparison::default();
    walk(Some(old), Some(new), shape, &mut Vec::new(), &mut comparison);
    comparison
}

fn insert(set: &mut FieldSet, path: &[Step]) {
    let node = path.iter().fold(set, |node, step| node.child_mut(step.clone()));
    node.member = true;
}

fn walk(old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>, path: &mut Vec<Step>, found: &mut Comparison) {
    let children = children(old, new, shape);
    match (&children, old, new) {
        // Neither side has parts: one value.
        (None, Some(old), Some(new)) if old != new => insert(&mut found.modified, path),
        (None, Some(_), Some(_)) | (_, None, None) => {}
        (_, None, Some(_)) => insert(&mut found.added, path),
        (_, Some(_), None) => insert(&mut found.removed, path),
        (Some(_), Some(_), Some(_)) => {}
    }
    for (step, (old, new, shape)) in children.into_iter().flatten() {
        path.push(step);
        walk(old, new, shape, path, found);
        path.pop();
    }
}

type Children<'a> = BTreeMap<Step, (Option<&'a Value>, Option<&'a Value>, Shape<'a>)>;

/// The parts of both sides, matched; `None` where the place is one value on either side, or empty on both.
fn children<'a>(old: Option<&'a Value>, new: Option<&'a Value>, shape: Shape<'a>) -> Option<Children<'a>> {
    let mut children = Children::new();
    let mut has_parts = false;
    for (side, value) in [old, new].into_iter().enumerate() {
        // Null takes the form of the other side.
        let Some(value) = value.filter(|value| !value.is_null()) else { continue };
        let mut put = |step: Step, value: &'a Value, shape: Shape<'a>| {
            let entry = children.entry(step).or_insert((None, None, shape));
            if side == 0 { entry.0 = Some(value) } else { entry.1 = Some(value) }
        };
        match parts(value, shape) {
            Parts::Whole => return None,
            Parts::Fields(fields) => {
                fields.iter().for_each(|(name, value)| put(Step::Field(name.clone()), value, shape.field(name)));
            }
            Parts::Items(items) => {
                items.iter().for_each(|item| put(item_step(item, shape.apply()), item, shape.item()));
            }
        }
        has_parts = true;
    }
    (has_parts && !children.is_empty()).then_some(children)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Shape<'static> {
        Shape::of(crate::registry::find("", "v1", "pods").unwrap())
    }

    #[test]
    fn list_items_are_followed_by_key_not_position() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
        let new = json!({"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "a", "image": "1"}]}});
        let comparison = compare(&old, &new, pod());
        assert_eq!(comparison.modified.paths(), [".spec.containers[name=\"b\"].image"]);
        assert!(comparison.added.is_empty() && comparison.removed.is_empty());
    }

    #[test]
    fn a_new_map_is_added_with_its_keys_and_a_known_one_only_with_the_new_key() {
        let none = json!({"metadata": {}});
        let one = json!({"metadata": {"labels": {"a": "1"}}});
        let two = json!({"metadata": {"labels": {"a": "1", "b": "1"}}});
        let added = compare(&none, &one, pod()).added;
        assert_eq!(added.to_json(), json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}));
        assert_eq!(compare(&one, &two, pod()).added.paths(), [".metadata.labels.b"]);
        assert_eq!(compare(&two, &one, pod()).removed.paths(), [".metadata.labels.b"]);
    }

    #[test]
    fn an_applier_owns_leaves_and_items_but_not_the_maps_around_them() {
        let applied = json!({
            "metadata": {"labels": {"a": "1"}, "finalizers": ["x/y"]},
            "spec": {"containers": [{"name": "c", "command": ["sh", "-c"], "ports": [{"containerPort": 1}]}]},
        });
        assert_eq!(
            fields_of(&applied, pod()).to_json(),
            json!({
                "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x/y\"": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                    ".": {}, "f:name": {}, "f:command": {},
                    "f:ports": {"k:{\"containerPort\":1,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                }}},
            })
        );
    }
}
