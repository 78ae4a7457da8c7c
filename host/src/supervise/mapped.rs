//! Whose keys the objects of watches with `enqueue` make: what each reaches now, and what it reached before it changed or
//! went. Says what to look for; which objects that are is for the cache to say.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tenure_cluster::{Object, OwnerReference};
use tenure_settings::By;

use super::key::Key;
use crate::catalog::ResolvedEnqueue;

/// Objects of one kind that a changed object makes work for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reach {
    /// Their kind, as in [`Key::Object`].
    pub(crate) kind: usize,
    /// Where they are; `None` is everywhere, or in no namespace.
    pub(crate) namespace: Option<Arc<str>>,
    /// What they are called, unless by anything.
    pub(crate) name: Option<Arc<str>>,
    /// Key and value of a label they carry.
    pub(crate) label: Option<(Arc<str>, Arc<str>)>,
}

/// What the objects of one plugin's watches reach.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    /// By the number of the watch and the object.
    reached: HashMap<(usize, Key), Vec<Reach>>,
}

impl Mapped {
    /// An object appeared or changed; `selects` is whether the watch wants it as it is now. What it reached before counts as
    /// well: an object that changed hands is news to both.
    pub(crate) fn applied(
        &mut self,
        watch: usize,
        rules: &[ResolvedEnqueue],
        object: &Object,
        selects: bool,
    ) -> BTreeSet<Reach> {
        let key = (watch, Key::of(watch, object));
        let now = if selects { reaches(rules, object) } else { Vec::new() };
        let before = if now.is_empty() { self.reached.remove(&key) } else { self.reached.insert(key, now.clone()) };
        now.into_iter().chain(before.into_iter().flatten()).collect()
    }

    /// An object is gone.
    pub(crate) fn deleted(&mut self, watch: usize, object: &Object) -> BTreeSet<Reach> {
        self.reached.remove(&(watch, Key::of(watch, object))).into_iter().flatten().collect()
    }

    /// After changes in `scope` (a namespace, or all) were missed: `present` is what the watch selects there now.
    pub(crate) fn resynced(
        &mut self,
        watch: usize,
        rules: &[ResolvedEnqueue],
        scope: Option<&str>,
        present: &[Arc<Object>],
    ) -> BTreeSet<Reach> {
        let in_scope = |(of, key): &(usize, Key)| {
            *of == watch
                && (scope.is_none() || matches!(key, Key::Object { namespace, .. } if namespace.as_deref() == scope))
        };
        let before = self.reached.extract_if(|key, _| in_scope(key));
        let mut all: BTreeSet<Reach> = before.flat_map(|(_, reached)| reached).collect();
        for object in present {
            all.append(&mut self.applied(watch, rules, object, true));
        }
        all
    }
}

/// What an object reaches.
fn reaches(rules: &[ResolvedEnqueue], object: &Object) -> Vec<Reach> {
    rules.iter().flat_map(|rule| reach(rule, object)).collect()
}

fn reach(rule: &ResolvedEnqueue, object: &Object) -> Vec<Reach> {
    // Of two that are in namespaces, both are in the same one.
    let namespace = object.namespace.clone().filter(|_| rule.resource.namespaced);
    let all = Reach { kind: rule.kind, namespace, name: None, label: None };
    let label = |key: &str, value: &str| Some((Arc::from(key), Arc::from(value)));
    match &rule.by {
        By::Controller | By::Owner => {
            let wanted = |owner: &OwnerReference| {
                let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
                group == rule.resource.group
                    && owner.kind == rule.resource.kind
                    && (owner.controller || rule.by == By::Owner)
            };
            let owners = object.owners().into_iter().filter(wanted);
            owners.map(|owner| Reach { name: Some(owner.name.into()), ..all.clone() }).collect()
        }
        By::Namespace => {
            // A Namespace counts as in itself, on either side.
            let namespace = object.namespace.clone().unwrap_or_else(|| Arc::clone(&object.name));
            if rule.resource.namespaced {
                vec![Reach { namespace: Some(namespace), ..all }]
            } else {
                vec![Reach { name: Some(namespace), ..all }]
            }
        }
        By::NamedByLabel(key) => {
            object.labels.get(key).map(|name| Reach { name: Some(Arc::from(name)), ..all }).into_iter().collect()
        }
        By::LabelledWithName(key) => vec![Reach { label: label(key, &object.name), ..all }],
        By::SameLabel(key) => {
            object.labels.get(key).map(|value| Reach { label: label(key, value), ..all }).into_iter().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tenure_cluster::ResourceKey;

    use super::*;

    /// A rule for the first watch, whose objects are in namespaces or not.
    fn rule(by: By, namespaced: bool) -> [ResolvedEnqueue; 1] {
        let resource = ResourceKey {
            group: "example.com".into(),
            version: "v1".into(),
            plural: "apps".into(),
            kind: "App".into(),
            namespaced,
        };
        [ResolvedEnqueue { kind: 0, resource, by }]
    }

    fn object(namespace: &str, name: &str, more: &Value) -> Arc<Object> {
        let mut metadata = json!({"name": name, "namespace": namespace, "resourceVersion": "1"});
        for (key, value) in more.as_object().unwrap() {
            metadata[key] = value.clone();
        }
        Arc::new(Object::parse(json!({"metadata": metadata}).to_string().as_bytes()).unwrap())
    }

    /// `<namespace>/<name> <label>=<value>`, with what does not matter left out.
    fn shown(reached: impl IntoIterator<Item = Reach>) -> Vec<String> {
        let one = |reach: Reach| {
            let label = reach.label.map(|(key, value)| format!(" {key}={value}")).unwrap_or_default();
            let part = |part: Option<Arc<str>>| part.unwrap_or_else(|| "*".into());
            format!("{}/{}{label}", part(reach.namespace), part(reach.name))
        };
        reached.into_iter().map(one).collect()
    }

    fn owner(kind: &str, name: &str, controller: bool) -> Value {
        json!({"apiVersion": "example.com/v2", "kind": kind, "name": name, "uid": "u", "controller": controller})
    }

    #[test]
    fn an_owned_object_reaches_its_controller_or_each_owner_of_the_kind_in_any_version() {
        let owners = [owner("App", "one", false), owner("App", "two", true), owner("Other", "three", true)];
        let owned = object("ns", "a", &json!({"ownerReferences": owners}));
        assert_eq!(shown(reaches(&rule(By::Controller, true), &owned)), ["ns/two"]);
        assert_eq!(shown(reaches(&rule(By::Owner, true), &owned)), ["ns/one", "ns/two"]);
        assert_eq!(shown(reaches(&rule(By::Owner, false), &owned)), ["*/one", "*/two"]);
    }

    #[test]
    fn a_namespace_counts_as_in_itself() {
        let (shop, inside) = (object("", "shop", &json!({})), object("shop", "a", &json!({})));
        assert_eq!(shown(reaches(&rule(By::Namespace, true), &shop)), ["shop/*"]);
        assert_eq!(shown(reaches(&rule(By::Namespace, true), &inside)), ["shop/*"]);
        assert_eq!(shown(reaches(&rule(By::Namespace, false), &inside)), ["*/shop"]);
    }

    #[test]
    fn labels_name_or_are_named_within_the_namespace_where_both_have_one() {
        let (key, labels) = ("app".to_owned(), json!({"labels": {"app": "till"}}));
        let (inside, outside) = (object("ns", "a", &labels), object("", "a", &labels));
        let all = |object: &Object| {
            [By::NamedByLabel(key.clone()), By::LabelledWithName(key.clone()), By::SameLabel(key.clone())]
                .map(|by| shown(reaches(&rule(by, true), object)).join(","))
        };
        assert_eq!(all(&inside), ["ns/till", "ns/* app=a", "ns/* app=till"]);
        assert_eq!(all(&outside), ["*/till", "*/* app=a", "*/* app=till"]);
        assert_eq!(all(&object("ns", "a", &json!({}))), ["", "ns/* app=a", ""]);
    }

    #[test]
    fn an_object_that_changed_hands_is_news_to_both() {
        let (mut mapped, rule) = (Mapped::default(), rule(By::NamedByLabel("app".into()), true));
        let of = |app: &str| object("ns", "a", &json!({"labels": {"app": app}}));
        assert_eq!(shown(mapped.applied(1, &rule, &of("one"), true)), ["ns/one"]);
        assert_eq!(shown(mapped.applied(1, &rule, &of("two"), true)), ["ns/one", "ns/two"]);
        assert_eq!(shown(mapped.applied(1, &rule, &of("two"), false)), ["ns/two"], "what left a selector is news");
        assert_eq!(shown(mapped.applied(1, &rule, &of("two"), false)), [""; 0]);
        let _ = mapped.applied(1, &rule, &of("three"), true);
        assert_eq!(shown(mapped.deleted(1, &of("three"))), ["ns/three"]);
        assert!(mapped.reached.is_empty());
    }

    #[test]
    fn a_resync_reaches_what_objects_that_left_meanwhile_had_reached() {
        let (mut mapped, rule) = (Mapped::default(), rule(By::NamedByLabel("app".into()), true));
        let of = |namespace: &str, name: &str, app: &str| object(namespace, name, &json!({"labels": {"app": app}}));
        let _ = mapped.applied(1, &rule, &of("ns", "gone", "one"), true);
        let _ = mapped.applied(1, &rule, &of("ns", "moved", "two"), true);
        let _ = mapped.applied(1, &rule, &of("elsewhere", "a", "three"), true);
        let _ = mapped.applied(2, &rule, &of("ns", "a", "four"), true);
        let reached = mapped.resynced(1, &rule, Some("ns"), &[of("ns", "moved", "five")]);
        assert_eq!(shown(reached), ["ns/five", "ns/one", "ns/two"]);
        assert_eq!(mapped.reached.len(), 3);
    }
}
