//! Which objects a plugin's watches select, and the last state of those that left. Turns changes of the shared cache into
//! keys; makes no calls.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tenure_cluster::Object;
use tenure_reconcile::Cause;

use super::key::Key;

/// What one plugin's watches select right now.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    selected: HashSet<Key>,
    last_known: HashMap<Key, Arc<Object>>,
}

impl Watched {
    /// An object appeared or changed; `selects` is whether a watch wants it as it is now.
    pub(crate) fn applied(&mut self, kind: usize, object: &Arc<Object>, selects: bool) -> Option<(Key, Cause)> {
        let key = Key::of(kind, object);
        if selects {
            // A last state stays until a call has dealt with it: the object may be another one of the same name.
            self.selected.insert(key.clone());
            return Some((key, if object.deletion { Cause::Deleted } else { Cause::Changed }));
        }
        self.left(key, object)
    }

    /// An object is gone; `object` is its last state.
    pub(crate) fn deleted(&mut self, kind: usize, object: &Arc<Object>) -> Option<(Key, Cause)> {
        self.left(Key::of(kind, object), object)
    }

    /// After changes in `scope` (a namespace, or all) were missed: `present` is what the watches select there now. The keys
    /// that must be looked at: all of these, and those that left meanwhile.
    pub(crate) fn resynced(&mut self, kind: usize, scope: Option<&str>, present: &[Arc<Object>]) -> Vec<(Key, Cause)> {
        let now: HashSet<Key> = present.iter().map(|object| Key::of(kind, object)).collect();
        let in_scope = |key: &Key| match key {
            Key::Object { kind: of, namespace, .. } => {
                *of == kind && (scope.is_none() || namespace.as_deref() == scope)
            }
            Key::Schedule(_) => false,
        };
        let gone: Vec<Key> = self.selected.iter().filter(|key| in_scope(key) && !now.contains(*key)).cloned().collect();
        for key in &gone {
            self.selected.remove(key);
        }
        let mut keys: Vec<_> = gone.into_iter().map(|key| (key, Cause::Deleted)).collect();
        keys.extend(present.iter().filter_map(|object| self.applied(kind, object, true)));
        keys
    }

    /// Whether the object of `key` is selected.
    pub(crate) fn selects(&self, key: &Key) -> bool {
        self.selected.contains(key)
    }

    /// The last state of an object that left, if it was seen.
    pub(crate) fn last_known(&self, key: &Key) -> Option<&Arc<Object>> {
        self.last_known.get(key)
    }

    /// A call was given `object` and has dealt with it. What left since then is still to be dealt with.
    pub(crate) fn dealt_with(&mut self, key: &Key, object: &Arc<Object>) {
        if self.last_known.get(key).is_some_and(|known| Arc::ptr_eq(known, object)) {
            self.last_known.remove(key);
        }
    }

    fn left(&mut self, key: Key, object: &Arc<Object>) -> Option<(Key, Cause)> {
        if !self.selected.remove(&key) {
            return None;
        }
        self.last_known.insert(key.clone(), Arc::clone(object));
        Some((key, Cause::Deleted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> Arc<Object> {
        let json = format!(r#"{{"metadata":{{"name":"{name}","namespace":"ns","resourceVersion":"1"}}}}"#);
        Arc::new(Object::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn an_object_that_stops_matching_is_a_deletion_with_its_last_state() {
        let mut watched = Watched::default();
        let one = object("one");
        assert!(watched.applied(0, &one, true).is_some_and(|(_, cause)| cause == Cause::Changed));
        let (key, cause) = watched.applied(0, &one, false).unwrap();
        assert_eq!(cause, Cause::Deleted);
        assert!(watched.last_known(&key).is_some());
        assert!(!watched.selects(&key));
        watched.dealt_with(&key, &one);
        assert!(watched.last_known(&key).is_none());
    }

    #[test]
    fn a_call_that_began_before_the_deletion_does_not_deal_with_it() {
        let mut watched = Watched::default();
        let (given, later) = (object("one"), object("one"));
        let _ = watched.applied(0, &given, true);
        let (key, _) = watched.deleted(0, &later).unwrap();
        watched.dealt_with(&key, &given);
        assert!(watched.last_known(&key).is_some());
        watched.dealt_with(&key, &later);
        assert!(watched.last_known(&key).is_none());
    }

    #[test]
    fn an_object_made_anew_does_not_hide_the_one_that_went() {
        let mut watched = Watched::default();
        let gone = object("one");
        let _ = watched.applied(0, &gone, true);
        let (key, _) = watched.deleted(0, &gone).unwrap();
        let _ = watched.applied(0, &object("one"), true);
        assert!(watched.selects(&key) && watched.last_known(&key).is_some());
    }

    #[test]
    fn an_object_that_never_matched_is_nobodys_business() {
        let mut watched = Watched::default();
        assert_eq!(watched.applied(0, &object("one"), false), None);
        assert_eq!(watched.deleted(0, &object("one")), None);
    }

    #[test]
    fn a_resync_finds_what_left_meanwhile() {
        let mut watched = Watched::default();
        let _ = watched.applied(0, &object("gone"), true);
        let _ = watched.applied(1, &object("elsewhere"), true);
        let keys = watched.resynced(0, None, &[object("here")]);
        let named: Vec<_> = keys.iter().map(|(key, cause)| (key.to_string(), *cause)).collect();
        assert_eq!(named, [("ns/gone".to_owned(), Cause::Deleted), ("ns/here".to_owned(), Cause::Changed)]);
    }
}
