//! The objects of one watch, by namespace and name. Knows nothing of how they come.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{FieldSelector, Object, Selector};

/// What one watch has seen.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// The outer key is empty for cluster-scoped objects.
    namespaces: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Object>>>,
}

impl Store {
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.namespaces.get(namespace)?.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.namespaces.values().flat_map(BTreeMap::values)
    }

    pub(crate) fn select(
        &self,
        namespace: Option<&str>,
        labels: &Selector,
        fields: &FieldSelector,
    ) -> Vec<Arc<Object>> {
        let selected = |object: &&Arc<Object>| labels.matches(&object.labels) && fields.matches(object);
        match namespace {
            Some(namespace) => self
                .namespaces
                .get(namespace)
                .into_iter()
                .flat_map(BTreeMap::values)
                .filter(selected)
                .cloned()
                .collect(),
            None => self.iter().filter(selected).cloned().collect(),
        }
    }

    /// Puts a newer state in.
    pub(crate) fn insert(&mut self, object: Object) -> Arc<Object> {
        let object = self.shared(object);
        self.put(Arc::clone(&object));
        object
    }

    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let objects = self.namespaces.get_mut(namespace)?;
        let removed = objects.remove(name);
        if objects.is_empty() {
            self.namespaces.remove(namespace);
        }
        removed
    }

    /// The object as it will be kept: what is already here when it is the same state, so that a relist does not hold all twice.
    pub(crate) fn shared(&self, mut object: Object) -> Arc<Object> {
        if let Some(known) = self.get(object.namespace_or_empty(), &object.name)
            && known.version == object.version
            && known.uid == object.uid
        {
            return Arc::clone(known);
        }
        // One copy of a namespace's name, however many objects are in it.
        if let Some(namespace) = &object.namespace
            && let Some((known, _)) = self.namespaces.get_key_value(namespace)
        {
            object.namespace = Some(Arc::clone(known));
        }
        Arc::new(object)
    }

    /// Replaces everything by a fresh list and returns what is gone: absent from the list, or listed as another object of the same name.
    pub(crate) fn replace(&mut self, objects: Vec<Arc<Object>>) -> Vec<Arc<Object>> {
        let before = std::mem::take(self);
        for object in objects {
            self.put(object);
        }
        let gone = before
            .iter()
            .filter(|old| self.get(old.namespace_or_empty(), &old.name).is_none_or(|new| new.uid != old.uid));
        gone.cloned().collect()
    }

    fn put(&mut self, object: Arc<Object>) {
        let namespace = object.namespace.clone().unwrap_or_default();
        self.namespaces.entry(namespace).or_default().insert(Arc::clone(&object.name), object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str, name: &str, uid: &str, version: u64) -> Object {
        let json = serde_json::json!({"metadata": {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": version.to_string()}});
        Object::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_relist_names_what_is_gone_also_when_its_name_lives_on() {
        let mut store = Store::default();
        let kept = store.insert(object("a", "kept", "1", 1));
        store.insert(object("a", "gone", "2", 2));
        store.insert(object("b", "recreated", "3", 3));
        let listed =
            [object("a", "kept", "1", 1), object("b", "recreated", "4", 9)].map(|object| store.shared(object)).to_vec();
        let gone: Vec<String> = store.replace(listed).iter().map(|old| format!("{}/{}", old.name, old.uid)).collect();
        assert_eq!(gone, ["gone/2", "recreated/3"]);
        assert!(Arc::ptr_eq(store.get("a", "kept").unwrap(), &kept), "an unchanged object is not held twice");
        assert_eq!(store.iter().count(), 2);
    }

    #[test]
    fn selection_is_by_namespace_labels_and_fields() {
        let mut store = Store::default();
        for (namespace, name) in [("a", "one"), ("a", "two"), ("b", "one")] {
            store.insert(object(namespace, name, "u", 1));
        }
        let fields = FieldSelector::parse("metadata.name=one").unwrap();
        let all = Selector::default();
        assert_eq!(store.select(None, &all, &fields).len(), 2);
        assert_eq!(store.select(Some("a"), &all, &FieldSelector::default()).len(), 2);
        assert_eq!(store.select(Some("a"), &Selector::parse("x").unwrap(), &fields).len(), 0);
        store.remove("b", "one");
        assert!(store.select(Some("b"), &all, &fields).is_empty());
    }
}
