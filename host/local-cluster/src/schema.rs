//! How lists and maps of each kind are merged: by key, as sets, or whole.
//!
//! A table derived from the published OpenAPI (`examples/list_keys.rs`), read once. What is not in it has the default: lists are
//! atomic, maps are merged by key.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::resource::Resource;

/// The rules at one place of a kind and below it. `Copy`, so that walks can carry it along.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape(Option<&'static Node>);

#[derive(Debug, Default)]
struct Node {
    apply: ApplyRule,
    patch: PatchRule,
    children: BTreeMap<String, Node>,
}

/// How server-side apply merges a list or map (`x-kubernetes-list-type`, `x-kubernetes-map-type`).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum ApplyRule {
    /// Lists as one value, maps by key.
    #[default]
    Default,
    /// A list as a set of scalars.
    Set,
    /// A list of items told apart by these keys.
    Keyed(Vec<Key>),
    /// A map as one value.
    Atomic,
}

/// One key of a keyed list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// What an absent key means.
    pub(crate) default: Option<String>,
}

/// How a strategic merge patch merges a list (`x-kubernetes-patch-strategy`).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum PatchRule {
    #[default]
    Replace,
    /// A list of scalars, merged as a set.
    MergeSet,
    /// A list of items told apart by this key.
    MergeByKey(String),
}

const TABLE: &str = include_str!("list_keys.tsv");
const ITEM: &str = "[]";
const VALUE: &str = "{}";

static KINDS: LazyLock<BTreeMap<String, Node>> = LazyLock::new(|| parse(TABLE));

impl Shape {
    /// The rules of a whole object.
    pub(crate) fn of(resource: &Resource) -> Self {
        Shape(KINDS.get(&format!("{}/{}", resource.api_version, resource.kind)))
    }

    /// The rules of a field, or of a map's value.
    pub(crate) fn field(self, name: &str) -> Self {
        Shape(self.0.and_then(|node| node.children.get(name).or_else(|| node.children.get(VALUE))))
    }

    /// The rules of a list's items.
    pub(crate) fn item(self) -> Self {
        Shape(self.0.and_then(|node| node.children.get(ITEM)))
    }

    pub(crate) fn apply(self) -> &'static ApplyRule {
        self.0.map_or(&ApplyRule::Default, |node| &node.apply)
    }

    pub(crate) fn patch(self) -> &'static PatchRule {
        self.0.map_or(&PatchRule::Replace, |node| &node.patch)
    }
}

fn parse(table: &str) -> BTreeMap<String, Node> {
    let mut kinds: BTreeMap<String, Node> = BTreeMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let (Some(kind), Some(path), Some(apply), Some(patch)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        let steps = path.replace(ITEM, ".[]").replace(VALUE, ".{}");
        let node = steps
            .split('.')
            .filter(|step| !step.is_empty())
            .fold(kinds.entry(kind.to_owned()).or_default(), |node, step| {
                node.children.entry(step.to_owned()).or_default()
            });
        node.apply = apply_rule(apply);
        node.patch = patch_rule(patch);
    }
    kinds
}

fn apply_rule(text: &str) -> ApplyRule {
    match text.split_once(':') {
        Some((_, keys)) => ApplyRule::Keyed(keys.split(',').map(key).collect()),
        None if text == "set" => ApplyRule::Set,
        None if text == "atomic" => ApplyRule::Atomic,
        None => ApplyRule::Default,
    }
}

fn key(text: &str) -> Key {
    match text.split_once('=') {
        Some((name, default)) => Key { name: name.to_owned(), default: Some(default.to_owned()) },
        None => Key { name: text.to_owned(), default: None },
    }
}

fn patch_rule(text: &str) -> PatchRule {
    match text.split_once(':') {
        Some((strategy, key)) if strategy.contains("merge") => PatchRule::MergeByKey(key.to_owned()),
        None if text.contains("merge") => PatchRule::MergeSet,
        _ => PatchRule::Replace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{RESOURCES, find};

    #[test]
    fn every_kind_is_in_the_table() {
        for resource in &RESOURCES {
            let finalizers = Shape::of(resource).field("metadata").field("finalizers");
            assert_eq!(finalizers.apply(), &ApplyRule::Set, "{resource:?}");
            assert_eq!(finalizers.patch(), &PatchRule::MergeSet, "{resource:?}");
        }
    }

    #[test]
    fn keys_carry_their_defaults() {
        let pod = Shape::of(find("", "v1", "pods").unwrap());
        let containers = pod.field("spec").field("containers");
        assert_eq!(containers.patch(), &PatchRule::MergeByKey("name".to_owned()));
        let ApplyRule::Keyed(keys) = containers.item().field("ports").apply() else { panic!("ports are keyed") };
        assert_eq!(keys[1], Key { name: "protocol".to_owned(), default: Some("TCP".to_owned()) });
        assert_eq!(containers.item().field("command").apply(), &ApplyRule::Default);
    }
}
