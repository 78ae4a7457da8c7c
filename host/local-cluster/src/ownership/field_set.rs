//! Sets of fields of an object, and their form in `managedFields` (`FieldsV1`).
//!
//! A tree: each node may itself be a member and have members below it. Pure; knows no manager. Format: structured-merge-diff
//! `fieldpath`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field of a struct or a key of a map: `f:name`.
    Field(String),
    /// An item of a keyed list, by its keys as JSON: `k:{"name":"a"}`.
    Key(BTreeMap<String, Scalar>),
    /// An item of a set, as JSON: `v:"a"`.
    Value(Scalar),
    /// An item of a list by position: `i:0`. Never made here, but read.
    Index(u64),
}

/// A scalar as its JSON text, which orders and compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scalar(String);

impl Scalar {
    pub(super) fn of(value: &Value) -> Self {
        Self(value.to_string())
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// A set of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// Whether the place this node stands for is in the set.
    pub(super) member: bool,
    pub(super) children: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(FieldSet::is_empty)
    }

    pub(super) fn child_mut(&mut self, step: Step) -> &mut FieldSet {
        self.children.entry(step).or_default()
    }

    pub(super) fn union(mut self, other: &FieldSet) -> FieldSet {
        self.member |= other.member;
        for (step, child) in &other.children {
            let mine = self.children.remove(step).unwrap_or_default();
            self.children.insert(step.clone(), mine.union(child));
        }
        self
    }

    pub(super) fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |mine, theirs| mine && theirs)
    }

    pub(super) fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |mine, theirs| mine && !theirs)
    }

    /// Keeps of this set's members those `keep` says yes to; branches without members are dropped.
    fn combine(&self, other: &FieldSet, keep: impl Fn(bool, bool) -> bool + Copy) -> FieldSet {
        let nothing = FieldSet::default();
        let children = self
            .children
            .iter()
            .map(|(step, child)| (step.clone(), child.combine(other.children.get(step).unwrap_or(&nothing), keep)))
            .filter(|(_, child)| !child.is_empty())
            .collect();
        FieldSet { member: keep(self.member, other.member), children }
    }

    /// Takes a field and everything below it out.
    pub(super) fn remove_branch(&mut self, field: &str) {
        self.children.remove(&Step::Field(field.to_owned()));
    }

    /// Takes one field out, not what is below it.
    pub(super) fn remove_member(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            self.member = false;
            return;
        };
        let step = Step::Field((*first).to_owned());
        if let Some(child) = self.children.get_mut(&step) {
            child.remove_member(rest);
            if child.is_empty() {
                self.children.remove(&step);
            }
        }
    }

    /// Paths of all members, as messages show them: `.spec.containers[name="a"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, path: &str, paths: &mut Vec<String>) {
        if self.member {
            paths.push(path.to_owned());
        }
        for (step, child) in &self.children {
            child.collect_paths(&format!("{path}{}", step.shown()), paths);
        }
    }

    /// The set as `FieldsV1`.
    pub(super) fn to_json(&self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.children.is_empty() {
            fields.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, child) in &self.children {
            fields.insert(step.to_text(), child.to_json());
        }
        Value::Object(fields)
    }

    /// Reads `FieldsV1`; steps it cannot read are left out.
    pub(super) fn from_json(fields: &Value) -> Self {
        let mut set = FieldSet::default();
        for (text, below) in fields.as_object().into_iter().flatten() {
            if text == "." {
                set.member = true;
            } else if let Some(step) = Step::from_text(text) {
                let mut child = FieldSet::from_json(below);
                // A leaf is written as an empty object.
                child.member |= below.as_object().is_none_or(Map::is_empty);
                set.children.insert(step, child);
            }
        }
        set
    }
}

impl Step {
    fn to_text(&self) -> String {
        match self {
            Step::Field(name) => format!("f:{name}"),
            Step::Key(keys) => {
                let keys: Map<String, Value> = keys.iter().map(|(name, key)| (name.clone(), key.value())).collect();
                format!("k:{}", Value::Object(keys))
            }
            Step::Value(value) => format!("v:{}", value.0),
            Step::Index(index) => format!("i:{index}"),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Step::Field(rest.to_owned())),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
                Some(Step::Key(keys.iter().map(|(name, key)| (name.clone(), Scalar::of(key))).collect()))
            }
            "v" => Some(Step::Value(Scalar::of(&serde_json::from_str(rest).ok()?))),
            "i" => rest.parse().ok().map(Step::Index),
            _ => None,
        }
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Step::Field(name) => format!(".{name}"),
            Step::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(name, key)| format!("{name}={}", key.0)).collect();
                format!("[{}]", keys.join(","))
            }
            Step::Value(value) => format!("[={}]", value.0),
            Step::Index(index) => format!("[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({
            "f:data": {".": {}, "f:a": {}},
            "f:metadata": {"f:finalizers": {"v:\"x/y\"": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}},
        })
    }

    #[test]
    fn what_is_read_is_written_back() {
        assert_eq!(FieldSet::from_json(&sample()).to_json(), sample());
    }

    #[test]
    fn members_are_shown_as_the_api_server_shows_them() {
        let set = FieldSet::from_json(&sample());
        assert_eq!(
            set.paths(),
            [
                ".data",
                ".data.a",
                ".metadata.finalizers[=\"x/y\"]",
                ".spec.containers[name=\"c\"]",
                ".spec.containers[name=\"c\"].image"
            ]
        );
    }

    #[test]
    fn sets_combine_member_by_member() {
        let all = FieldSet::from_json(&sample());
        let part = FieldSet::from_json(&json!({"f:data": {"f:a": {}}, "f:other": {}}));
        assert_eq!(all.intersection(&part).paths(), [".data.a"]);
        assert!(all.difference(&all).is_empty());
        assert_eq!(all.difference(&part).union(&all.intersection(&part)), all);
    }
}
