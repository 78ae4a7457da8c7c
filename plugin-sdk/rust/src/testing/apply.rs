//! Who owns which field, and server-side apply on top of it. Maps are owned key by key, everything else whole; lists keyed
//! by a field (containers, ports) are therefore taken whole here, unlike on a real server.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{Error, Reason, Result};

/// The field manager that every write of the plugin under test carries.
pub(super) const PLUGIN: Owner = Owner { manager: "tenure-plugin-under-test", apply: true };
/// The plugin's writes other than apply: to the API server a manager of its own.
pub(super) const PLUGIN_UPDATES: Owner = Owner { manager: "tenure-plugin-under-test", apply: false };
/// Whoever else writes: the test itself.
pub(super) const SOMEBODY: Owner = Owner { manager: "somebody", apply: false };

/// A manager and how it writes: the API server keeps applies and updates of one manager apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    manager: &'static str,
    apply: bool,
}

type Path = Vec<String>;

/// Which owner has which leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owners(BTreeMap<Owner, BTreeSet<Path>>);

impl Owners {
    /// A write other than apply: what it added or changed is now the writer's alone, what it removed is nobody's.
    pub(super) fn record_update(&mut self, writer: Owner, before: &Value, after: &Value) {
        let (before, after) = (leaves(before), leaves(after));
        let changed: BTreeSet<Path> = after
            .iter()
            .filter(|(path, value)| before.get(*path) != Some(value))
            .map(|(path, _)| path.clone())
            .collect();
        for paths in self.0.values_mut() {
            paths.retain(|path| after.contains_key(path) && !changed.contains(path));
        }
        self.0.entry(writer).or_default().extend(changed);
        self.0.retain(|_, paths| !paths.is_empty());
    }

    /// Lays `wanted` over `object` as server-side apply does.
    pub(super) fn apply(&mut self, writer: Owner, object: &mut Value, wanted: &Value, force: bool) -> Result<()> {
        let wanted = leaves(wanted);
        let current = leaves(object);
        let contested: BTreeSet<Path> = wanted
            .iter()
            .filter(|(path, value)| current.get(*path).is_some_and(|held| held != *value))
            .map(|(path, _)| path.clone())
            .collect();
        let conflicts: Vec<(&Owner, &Path)> = self
            .0
            .iter()
            .filter(|(owner, _)| **owner != writer)
            .flat_map(|(owner, paths)| paths.intersection(&contested).map(move |path| (owner, path)))
            .collect();
        if !conflicts.is_empty() && !force {
            return Err(conflict(&conflicts));
        }
        for (owner, paths) in &mut self.0 {
            if *owner != writer {
                paths.retain(|path| !contested.contains(path));
            }
        }
        let owned_before = self.0.remove(&writer).unwrap_or_default();
        for path in owned_before.iter().filter(|path| !wanted.contains_key(*path)) {
            if !self.0.values().any(|paths| paths.contains(path)) {
                remove(object, path);
            }
        }
        for (path, value) in &wanted {
            set(object, path, value.clone());
        }
        self.0.insert(writer, wanted.into_keys().collect());
        self.0.retain(|_, paths| !paths.is_empty());
        Ok(())
    }
}

fn conflict(conflicts: &[(&Owner, &Path)]) -> Error {
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|(owner, path)| {
            json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {:?}", owner.manager),
                "field": format!(".{}", path.join(".")),
            })
        })
        .collect();
    let message = format!("Apply failed with {} conflict(s)", conflicts.len());
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409, "reason": "Conflict",
        "message": message, "details": { "causes": causes },
    });
    Error::new(Reason::Conflict, message).with_status(status.to_string())
}

/// Everything that can be owned, by path: what the server itself keeps is left out.
fn leaves(object: &Value) -> BTreeMap<Path, Value> {
    const SERVERS_METADATA: [&str; 8] = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "managedFields",
    ];
    let mut found = BTreeMap::new();
    let Some(fields) = object.as_object() else { return found };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("apiVersion" | "kind", _) => {}
            ("metadata", Value::Object(metadata)) => {
                for (name, value) in metadata.iter().filter(|(name, _)| !SERVERS_METADATA.contains(&name.as_str())) {
                    collect(vec!["metadata".to_owned(), name.clone()], value, &mut found);
                }
            }
            _ => collect(vec![name.clone()], value, &mut found),
        }
    }
    found
}

fn collect(path: Path, value: &Value, found: &mut BTreeMap<Path, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let mut path = path.clone();
                path.push(name.clone());
                collect(path, value, found);
            }
        }
        _ => {
            found.insert(path, value.clone());
        }
    }
}

fn set(object: &mut Value, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut place = object;
    for name in parents {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[name.as_str()];
    }
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    place[last.as_str()] = value;
}

/// Removes a leaf, and the maps it leaves empty: the API server omits those.
fn remove(object: &mut Value, path: &[String]) {
    match path {
        [] => {}
        [last] => {
            if let Some(fields) = object.as_object_mut() {
                fields.remove(last);
            }
        }
        [first, rest @ ..] => {
            let Some(child) = object.get_mut(first) else { return };
            remove(child, rest);
            if child.as_object().is_some_and(Map::is_empty) {
                remove(object, std::slice::from_ref(first));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(labels: &Value) -> Value {
        json!({ "metadata": { "labels": labels } })
    }

    #[test]
    fn apply_removes_what_it_no_longer_wants_and_nothing_else() {
        let mut object = labelled(&json!({ "theirs": "1" }));
        let mut owners = Owners::default();
        owners.record_update(SOMEBODY, &json!({}), &object);
        owners.apply(PLUGIN, &mut object, &labelled(&json!({ "ours": "2" })), false).expect("no conflict");
        assert_eq!(object, labelled(&json!({ "theirs": "1", "ours": "2" })));
        owners.apply(PLUGIN, &mut object, &json!({ "metadata": {} }), false).expect("no conflict");
        assert_eq!(object, labelled(&json!({ "theirs": "1" })));
    }

    #[test]
    fn a_shared_field_stays_until_its_last_owner_goes() {
        let mut object = labelled(&json!({ "team": "web" }));
        let mut owners = Owners::default();
        owners.record_update(SOMEBODY, &json!({}), &object);
        owners.apply(PLUGIN, &mut object, &labelled(&json!({ "team": "web" })), false).expect("the same value");
        owners.apply(PLUGIN, &mut object, &json!({ "metadata": {} }), false).expect("no conflict");
        assert_eq!(object, labelled(&json!({ "team": "web" })));
    }

    #[test]
    fn another_value_is_a_conflict_that_names_the_field_unless_forced() {
        let mut object = labelled(&json!({ "example.com/team": "shop" }));
        let mut owners = Owners::default();
        owners.record_update(SOMEBODY, &json!({}), &object);
        let wanted = labelled(&json!({ "example.com/team": "web" }));
        let refused = owners.apply(PLUGIN, &mut object, &wanted, false).expect_err("somebody owns it");
        assert_eq!(refused.causes()[0].field, ".metadata.labels.example.com/team");
        owners.apply(PLUGIN, &mut object, &wanted, true).expect("forced");
        assert_eq!(object, wanted);
    }
}
