//! Who owns which field: `managedFields`, kept at every write, and server-side apply, which is decided by them.
//!
//! Source of the rules: apimachinery `managedfields` and structured-merge-diff `merge/update.go`. Objects come in their stored form;
//! events are tracked as core/v1 whoever wrote them.

mod compare;
mod field_set;
mod managers;
mod merge;

use serde_json::{Value, json};

use self::compare::{compare, fields_of};
use self::field_set::FieldSet;
use self::managers::{Entry, Operation};
use crate::metadata;
use crate::resource::{Collection, Resource};
use crate::schema::Shape;
use crate::status::{Refusal, Result};

/// Fields nobody owns: who sets them is not a question of intent.
const UNOWNED: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "creationTimestamp"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "resourceVersion"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
];

/// Who writes, and through which door.
#[derive(Debug)]
pub(crate) struct FieldManager<'a> {
    pub(crate) name: &'a str,
    pub(crate) resource: &'a Resource,
    pub(crate) subresource: Option<&'a str>,
    /// The time of the write, RFC 3339.
    pub(crate) now: String,
}

impl FieldManager<'_> {
    fn entry(&self, operation: Operation, fields: FieldSet) -> Entry {
        Entry {
            manager: self.name.to_owned(),
            operation,
            api_version: self.resource.recorded_api_version.to_owned(),
            subresource: self.subresource.unwrap_or_default().to_owned(),
            time: self.now.clone(),
            fields,
        }
    }

    fn shape(&self) -> Shape<'_> {
        Shape::stored(self.resource)
    }

    /// What this door never writes (`GetResetFields`), so what nobody comes to own through it.
    fn reset_field(&self) -> Option<&'static str> {
        match (self.resource.collection, self.subresource) {
            (Collection::Namespaces, Some("finalize")) => Some("status"),
            (_, None) if self.resource.has_status() => Some("status"),
            (_, Some("status")) => Some("spec"),
            _ => None,
        }
    }

    fn owned(&self, mut fields: FieldSet) -> FieldSet {
        if let Some(field) = self.reset_field() {
            fields.remove_branch(field);
        }
        for path in UNOWNED {
            fields.remove_member(path);
        }
        fields
    }
}

/// Records in `next` that a create, update or patch made it out of `old`.
pub(crate) fn after_update(manager: &FieldManager<'_>, old: Option<&Value>, next: &mut Value) {
    let stored_entries = old.map(managers::read).unwrap_or_default();
    let mut entries = if managers::are_reset(next) {
        Vec::new()
    } else if metadata::of(next).get("managedFields").is_some() {
        managers::read(next)
    } else {
        stored_entries
    };
    let old_has_uid = old.is_some();
    let empty;
    let old = match old {
        Some(old) => old,
        None => {
            empty = manager.resource.empty();
            &empty
        }
    };
    if old_has_uid && entries.is_empty() {
        // Once nobody is known to own anything, only an apply begins a new record.
        managers::write(entries, next);
        return;
    }
    let changes = compare(&without_record(old), &without_record(next), manager.shape());
    let written = changes.added.clone().union(&changes.modified);
    let mut own = manager.entry(Operation::Update, FieldSet::default());
    for entry in &mut entries {
        if entry.is_of_same(&own) {
            own.fields = entry.fields.clone();
            own.time.clone_from(&entry.time);
        }
        entry.fields = entry.fields.difference(&written).difference(&changes.removed);
    }
    let fields = manager.owned(own.fields.difference(&changes.removed).union(&written));
    if fields != own.fields {
        own.time.clone_from(&manager.now);
    }
    own.fields = fields;
    entries.retain(|entry| !entry.is_of_same(&own));
    entries.push(own);
    managers::write(entries, next);
}

/// What an apply makes of `live` (or of nothing): the object with its new `managedFields`, or the conflict.
pub(crate) fn apply(manager: &FieldManager<'_>, live: Option<&Value>, applied: &Value, force: bool) -> Result<Value> {
    let shape = manager.shape();
    let mut entries = live.map(managers::read).unwrap_or_default();
    let base = live.cloned().unwrap_or_else(|| manager.resource.empty());
    if let (Some(live), true) = (live, entries.is_empty()) {
        // An object nobody is known to have written: what it has belongs to those before.
        let nothing = manager.resource.empty();
        let fields = manager.owned(compare(&nothing, &without_record(live), shape).added);
        let before = FieldManager { name: "before-first-apply", now: manager.now.clone(), ..*manager };
        entries.push(before.entry(Operation::Update, fields));
    }
    let mut own = Entry { time: String::new(), ..manager.entry(Operation::Apply, FieldSet::default()) };
    let mut before = FieldSet::default();
    if let Some(entry) = entries.iter().find(|entry| entry.is_of_same(&own)) {
        before = entry.fields.clone();
        own.time.clone_from(&entry.time);
    }
    entries.retain(|entry| !entry.is_of_same(&own));

    let mut applied = without_record(applied);
    if let (Some(field), Some(applied)) = (manager.reset_field(), applied.as_object_mut()) {
        // What this door does not write is as if it had not been said.
        applied.remove(field);
    }
    let configured = fields_of(&applied, shape);
    let mut next = base.clone();
    merge::merge(&mut next, &applied, shape);
    let kept = entries.iter().fold(configured.clone(), |kept, entry| kept.union(&entry.fields));
    merge::prune(&mut next, &before, &kept, shape);

    let changes = compare(&without_record(&base), &without_record(&next), shape);
    let written = changes.added.clone().union(&changes.modified);
    let conflicts: Vec<(&Entry, FieldSet)> = entries
        .iter()
        .map(|entry| (entry, entry.fields.intersection(&written)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }
    for entry in &mut entries {
        entry.fields = entry.fields.difference(&written).difference(&changes.removed);
    }
    own.fields = manager.owned(configured);
    if live.is_none() || !changes.is_empty() {
        // An applier that changes nothing is written down without a time.
        own.time.clone_from(&manager.now);
    }
    entries.push(own);
    managers::write(entries, &mut next);
    Ok(next)
}

/// Whether two versions of an object say the same, whenever their fields were last touched: then nothing is written.
pub(crate) fn equal_but_for_times(old: &Value, next: &Value) -> bool {
    let mut next = next.clone();
    managers::copy_times(old, &mut next);
    *old == next
}

/// What is wrong with a set or keyed list that has the same item twice.
pub(crate) fn repeated_item(resource: &Resource, value: &Value) -> Option<String> {
    compare::repeated_item(value, Shape::stored(resource), "")
}

fn without_record(object: &Value) -> Value {
    let mut object = object.clone();
    metadata::of_mut(&mut object).remove("managedFields");
    object
}

fn conflict(conflicts: &[(&Entry, FieldSet)]) -> Refusal {
    let mut by_manager: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|(entry, fields)| (entry.shown(), fields.paths())).collect();
    by_manager.sort();
    let causes: Vec<Value> = by_manager
        .iter()
        .flat_map(|(manager, paths)| paths.iter().map(move |path| (manager, path)))
        .map(|(manager, path)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
        })
        .collect();
    let message = match by_manager.as_slice() {
        [(manager, paths)] if paths.len() == 1 => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths[0])
        }
        many => {
            let listed: Vec<String> = many
                .iter()
                .map(|(manager, paths)| {
                    let paths: String = paths.iter().map(|path| format!("\n- {path}")).collect();
                    format!("conflicts with {manager}:{paths}")
                })
                .collect();
            format!("Apply failed with {} conflicts: {}", causes.len(), listed.join("\n"))
        }
    };
    Refusal::new(409, "Conflict", message).with_details(json!({"causes": causes}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(name: &str) -> FieldManager<'_> {
        let resource = crate::registry::find("", "v1", "configmaps").unwrap();
        FieldManager { name, resource, subresource: None, now: "2026-01-01T00:00:00Z".to_owned() }
    }

    fn fields(object: &Value, manager: &str) -> Value {
        let entries = object["metadata"]["managedFields"].as_array().unwrap();
        entries.iter().find(|entry| entry["manager"] == manager).map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }

    #[expect(clippy::needless_pass_by_value, reason = "`json!` at the call is what makes tests readable")]
    fn config_map(data: Value) -> Value {
        json!({"metadata": {"name": "a", "namespace": "n"}, "data": data})
    }

    #[test]
    fn a_creator_owns_what_it_wrote_and_loses_what_another_changes() {
        let mut first = config_map(json!({"a": "1", "b": "1"}));
        after_update(&manager("one"), None, &mut first);
        assert_eq!(fields(&first, "one"), json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}}));
        let mut second = first.clone();
        second["data"]["b"] = "2".into();
        after_update(&manager("two"), Some(&first), &mut second);
        assert_eq!(fields(&second, "one"), json!({"f:data": {".": {}, "f:a": {}}}));
        assert_eq!(fields(&second, "two"), json!({"f:data": {"f:b": {}}}));
    }

    #[test]
    fn a_write_that_changes_nothing_is_equal_to_what_it_replaces() {
        let mut first = config_map(json!({"a": "1"}));
        after_update(&manager("one"), None, &mut first);
        let mut second = first.clone();
        let later = FieldManager { now: "2027-01-01T00:00:00Z".to_owned(), ..manager("two") };
        after_update(&later, Some(&first), &mut second);
        assert!(equal_but_for_times(&first, &second));
    }

    #[test]
    fn an_applier_takes_away_what_it_stops_applying() {
        let first = apply(&manager("one"), None, &config_map(json!({"a": "1", "b": "1"})), false).unwrap();
        let second = apply(&manager("one"), Some(&first), &config_map(json!({"a": "1"})), false).unwrap();
        assert_eq!(second["data"], json!({"a": "1"}));
        assert_eq!(fields(&second, "one"), json!({"f:data": {"f:a": {}}}));
    }

    #[test]
    fn what_two_apply_alike_both_own_and_one_leaving_keeps_it() {
        let first = apply(&manager("one"), None, &config_map(json!({"a": "1"})), false).unwrap();
        let second = apply(&manager("two"), Some(&first), &config_map(json!({"a": "1"})), false).unwrap();
        assert_eq!(fields(&second, "one"), fields(&second, "two"));
        let nothing = json!({"metadata": {"name": "a", "namespace": "n"}});
        let third = apply(&manager("one"), Some(&second), &nothing, false).unwrap();
        assert_eq!(third["data"], json!({"a": "1"}));
        assert_eq!(fields(&third, "one"), Value::Null);
    }

    #[test]
    fn another_value_conflicts_until_it_is_forced() {
        let first = apply(&manager("one"), None, &config_map(json!({"a": "1"})), false).unwrap();
        let refusal = apply(&manager("two"), Some(&first), &config_map(json!({"a": "2"})), false).unwrap_err();
        assert_eq!(refusal.code, 409);
        assert_eq!(refusal.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
        assert_eq!(
            refusal.details.unwrap()["causes"],
            json!([{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.a"}])
        );
        let forced = apply(&manager("two"), Some(&first), &config_map(json!({"a": "2"})), true).unwrap();
        assert_eq!(forced["data"]["a"], "2");
        assert_eq!(fields(&forced, "one"), Value::Null);
    }

    #[test]
    fn an_updater_in_the_way_is_named_with_its_version() {
        let mut first = config_map(json!({"a": "1"}));
        after_update(&manager("kubectl-edit"), None, &mut first);
        let refusal = apply(&manager("two"), Some(&first), &config_map(json!({"a": "2"})), false).unwrap_err();
        assert_eq!(refusal.message, "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using v1: .data.a");
    }
}
