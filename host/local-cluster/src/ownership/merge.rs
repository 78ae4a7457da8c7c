//! Laying an applied configuration over an object, and taking out what its applier no longer mentions.
//!
//! Pure. Source of the rules: structured-merge-diff `typed/merge.go` and `merge/update.go`.

use serde_json::Value;

use super::compare::item_step;
use super::field_set::{FieldSet, Step};
use crate::schema::{ApplyRule, Shape};

/// `applied` over `live`: maps by key, keyed lists by item, sets by value, everything else replaced.
pub(super) fn merge(live: &mut Value, applied: &Value, shape: Shape<'_>) {
    let rule = shape.apply();
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if *rule != ApplyRule::Atomic => {
            for (name, value) in applied {
                match live.get_mut(name) {
                    Some(present) => merge(present, value, shape.field(name)),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(live), Value::Array(applied)) if matches!(rule, ApplyRule::Set | ApplyRule::Keyed(_)) => {
            *live = merge_items(live, applied, shape);
        }
        (live, applied) => *live = applied.clone(),
    }
}

/// Items of both, in the applied order where both have them, each of the others behind what it followed.
fn merge_items(live: &[Value], applied: &[Value], shape: Shape<'_>) -> Vec<Value> {
    let rule = shape.apply();
    let steps = |items: &[Value]| items.iter().map(|item| item_step(item, rule)).collect::<Vec<Step>>();
    let (live_steps, applied_steps) = (steps(live), steps(applied));
    let mut shared = applied_steps.iter().filter(|step| live_steps.contains(step));
    let mut next_shared = shared.next();
    let mut merged = Vec::new();
    let mut taken: Vec<&Step> = Vec::new();
    let both = |step: &Step, item: &Value| match live_steps.iter().position(|live| live == step) {
        None => item.clone(),
        Some(at) => {
            let mut present = live[at].clone();
            merge(&mut present, item, shape.item());
            present
        }
    };
    let (mut from_live, mut from_applied) = (0, 0);
    while from_live < live.len() || from_applied < applied.len() {
        if let (Some(ours), Some(theirs)) = (live_steps.get(from_live), applied_steps.get(from_applied)) {
            if ours == theirs {
                merged.push(both(theirs, &applied[from_applied]));
                taken.push(theirs);
                from_live += 1;
                from_applied += 1;
                next_shared = shared.next();
                continue;
            }
            if applied_steps.contains(ours) && next_shared.is_some_and(|next| next != ours) {
                // In both, but its turn comes later.
                from_live += 1;
                continue;
            }
        }
        if let Some(ours) = live_steps.get(from_live) {
            if !applied_steps.contains(ours) {
                merged.push(live[from_live].clone());
                from_live += 1;
                continue;
            }
            if taken.contains(&ours) {
                from_live += 1;
            }
        }
        if let Some(theirs) = applied_steps.get(from_applied) {
            merged.push(both(theirs, &applied[from_applied]));
            taken.push(theirs);
            from_applied += 1;
            if next_shared == Some(theirs) {
                next_shared = shared.next();
            }
        }
    }
    merged
}

/// Takes out of `object` what is in `dropped` and neither itself nor with anything below it in `kept`.
pub(super) fn prune(object: &mut Value, dropped: &FieldSet, kept: &FieldSet, shape: Shape<'_>) {
    let rule = shape.apply();
    for (step, dropped_below) in &dropped.children {
        let kept_below = kept.children.get(step).filter(|kept| !kept.is_empty());
        match (object.as_object_mut(), step) {
            (Some(fields), Step::Field(name)) => match (fields.get_mut(name), kept_below) {
                (Some(_), None) => {
                    fields.remove(name);
                }
                (Some(below), Some(kept_below)) => prune(below, dropped_below, kept_below, shape.field(name)),
                (None, _) => {}
            },
            (None, step) => {
                let Some(items) = object.as_array_mut() else { continue };
                let Some(at) = items.iter().position(|item| item_step(item, rule) == *step) else { continue };
                match kept_below {
                    None => {
                        items.remove(at);
                    }
                    Some(kept_below) => {
                        let dropped_below = without_keys(dropped_below, rule);
                        prune(&mut items[at], &dropped_below, kept_below, shape.item());
                    }
                }
            }
            (Some(_), _) => {}
        }
    }
}

/// An item that stays keeps what tells it apart.
fn without_keys(dropped: &FieldSet, rule: &ApplyRule) -> FieldSet {
    let mut dropped = dropped.clone();
    if let ApplyRule::Keyed(keys) = rule {
        for key in keys {
            dropped.remove_branch(&key.name);
        }
    }
    dropped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Shape<'static> {
        Shape::of(crate::registry::find("", "v1", "pods").unwrap())
    }

    #[test]
    fn keyed_lists_and_sets_are_merged_item_by_item() {
        let mut live = json!({
            "metadata": {"finalizers": ["a/b"]},
            "spec": {"containers": [{"name": "a", "image": "1", "tty": true}], "nodeSelector": {"x": "1"}},
        });
        let applied = json!({
            "metadata": {"finalizers": ["a/b", "c/d"]},
            "spec": {"containers": [{"name": "a", "image": "2"}, {"name": "b", "image": "1"}]},
        });
        merge(&mut live, &applied, pod());
        assert_eq!(live["metadata"]["finalizers"], json!(["a/b", "c/d"]));
        assert_eq!(
            live["spec"]["containers"],
            json!([{"name": "a", "image": "2", "tty": true}, {"name": "b", "image": "1"}])
        );
    }

    #[test]
    fn what_another_manager_owns_stays() {
        let mut object = json!({"data": {"a": "1", "b": "1"}});
        let dropped = FieldSet::from_json(&json!({"f:data": {"f:a": {}, "f:b": {}}}));
        let kept = FieldSet::from_json(&json!({"f:data": {"f:b": {}}}));
        prune(&mut object, &dropped, &kept, pod());
        assert_eq!(object, json!({"data": {"b": "1"}}));
        prune(&mut object, &dropped, &FieldSet::default(), pod());
        assert_eq!(object, json!({}));
    }
}
