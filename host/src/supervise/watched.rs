//! Which objects a plugin's watches select, and the last state of those that left. Turns changes of the shared cache into
//! keys; makes no calls.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tenure_cluster::Object;
use tenure_reconcile::Cause;

use super::key::Key;
use crate::catalog::Interest;

/// What one plugin's watches select right now, and what it holds by its finalizer besides.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    selected: HashSet<Key>,
    last_known: HashMap<Key, Arc<Object>>,
    /// Uids of objects that the plugin is done with for good: its finalizer was taken off, and the news of it are to come.
    released: HashMap<Key, Box<str>>,
}

impl Watched {
    /// An object appeared or changed; `interest` is what it is to the plugin as it is now.
    pub(crate) fn applied(&mut self, kind: usize, object: &Arc<Object>, interest: Interest) -> Option<(Key, Cause)> {
        let key = Key::of(kind, object);
        if let Some(uid) = self.released.get(&key) {
            let returns = *uid != object.uid || (interest == Interest::Selected && !object.deletion);
            if !returns {
                self.selected.remove(&key);
                return None;
            }
            self.released.remove(&key);
        }
        if interest == Interest::None {
            return self.left(key, object);
        }
        // A last state stays until a call has dealt with it: the object may be another one of the same name.
        self.selected.insert(key.clone());
        let ends = object.deletion || interest == Interest::Held;
        Some((key, if ends { Cause::Deleted } else { Cause::Changed }))
    }

    /// An object is gone; `object` is its last state.
    pub(crate) fn deleted(&mut self, kind: usize, object: &Arc<Object>) -> Option<(Key, Cause)> {
        let key = Key::of(kind, object);
        if self.released.remove(&key).is_some_and(|uid| uid == object.uid) {
            self.selected.remove(&key);
            return None;
        }
        self.left(key, object)
    }

    /// After changes in `scope` (a namespace, or all) were missed: `present` is what is of interest there now. The keys
    /// that must be looked at: all of these, and those that left meanwhile.
    pub(crate) fn resynced(
        &mut self,
        kind: usize,
        scope: Option<&str>,
        present: &[(Arc<Object>, Interest)],
    ) -> Vec<(Key, Cause)> {
        let now: HashSet<Key> = present.iter().map(|(object, _)| Key::of(kind, object)).collect();
        let in_scope = |key: &Key| match key {
            Key::Object { kind: of, namespace, .. } => {
                *of == kind && (scope.is_none() || namespace.as_deref() == scope)
            }
            Key::Schedule(_) | Key::Run => false,
        };
        let gone: Vec<Key> = self.selected.iter().filter(|key| in_scope(key) && !now.contains(*key)).cloned().collect();
        for key in &gone {
            self.selected.remove(key);
        }
        let mut keys: Vec<_> = gone.into_iter().map(|key| (key, Cause::Deleted)).collect();
        keys.retain(|(key, _)| self.released.remove(key).is_none());
        keys.extend(present.iter().filter_map(|(object, interest)| self.applied(kind, object, *interest)));
        keys
    }

    /// The plugin's finalizer was taken from the object with this uid: nothing of it is news any more.
    pub(crate) fn release(&mut self, key: &Key, uid: Box<str>) {
        if self.last_known.get(key).is_some_and(|known| known.uid == uid) {
            self.last_known.remove(key);
        }
        self.released.insert(key.clone(), uid);
    }

    /// Whether what was queued about a key is of an object that was let go meanwhile; `object` is what is known of it now.
    pub(crate) fn is_settled(&mut self, key: &Key, object: Option<&Object>) -> bool {
        match object {
            Some(object) => object.deletion && self.released.get(key).is_some_and(|uid| *uid == object.uid),
            None => self.released.remove(key).is_some(),
        }
    }

    /// The plugin may no longer be shown what is in `scope` (a namespace, or all): as if it had never been.
    pub(crate) fn hide(&mut self, kind: usize, scope: Option<&str>) {
        let is_hidden = |key: &Key| match key {
            Key::Object { kind: of, namespace, .. } => {
                *of == kind && (scope.is_none() || namespace.as_deref() == scope)
            }
            Key::Schedule(_) | Key::Run => false,
        };
        self.selected.retain(|key| !is_hidden(key));
        self.last_known.retain(|key, _| !is_hidden(key));
        self.released.retain(|key, _| !is_hidden(key));
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
        assert!(watched.applied(0, &one, Interest::Selected).is_some_and(|(_, cause)| cause == Cause::Changed));
        let (key, cause) = watched.applied(0, &one, Interest::None).unwrap();
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
        let _ = watched.applied(0, &given, Interest::Selected);
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
        let _ = watched.applied(0, &gone, Interest::Selected);
        let (key, _) = watched.deleted(0, &gone).unwrap();
        let _ = watched.applied(0, &object("one"), Interest::Selected);
        assert!(watched.selects(&key) && watched.last_known(&key).is_some());
    }

    #[test]
    fn an_object_that_never_matched_is_nobodys_business() {
        let mut watched = Watched::default();
        assert_eq!(watched.applied(0, &object("one"), Interest::None), None);
        assert_eq!(watched.deleted(0, &object("one")), None);
    }

    #[test]
    fn a_resync_finds_what_left_meanwhile() {
        let mut watched = Watched::default();
        let _ = watched.applied(0, &object("gone"), Interest::Selected);
        let _ = watched.applied(1, &object("elsewhere"), Interest::Selected);
        let keys = watched.resynced(0, None, &[(object("here"), Interest::Selected)]);
        let named: Vec<_> = keys.iter().map(|(key, cause)| (key.to_string(), *cause)).collect();
        assert_eq!(named, [("ns/gone".to_owned(), Cause::Deleted), ("ns/here".to_owned(), Cause::Changed)]);
    }

    #[test]
    fn what_carries_the_finalizer_without_being_selected_is_to_be_dealt_with_as_deleted() {
        let mut watched = Watched::default();
        let one = object("one");
        let (key, cause) = watched.applied(0, &one, Interest::Held).unwrap();
        assert_eq!(cause, Cause::Deleted);
        assert!(watched.selects(&key));
    }

    #[test]
    fn the_end_of_an_object_that_was_let_go_is_no_news_but_one_made_anew_is() {
        let uid = |uid: &str, deletion: bool| {
            let json = format!(r#"{{"metadata":{{"name":"one","namespace":"ns","uid":"{uid}"}}}}"#);
            Arc::new(Object { deletion, ..Object::parse(json.as_bytes()).unwrap() })
        };
        let mut watched = Watched::default();
        let (key, _) = watched.applied(0, &uid("a", true), Interest::Selected).unwrap();
        watched.release(&key, "a".into());
        assert!(watched.is_settled(&key, Some(&uid("a", true))) && !watched.is_settled(&key, Some(&uid("b", true))));
        assert_eq!(watched.applied(0, &uid("a", true), Interest::Selected), None, "others hold it still");
        assert_eq!(watched.deleted(0, &uid("a", true)), None);
        assert!(watched.applied(0, &uid("b", false), Interest::Selected).is_some());
        assert!(watched.deleted(0, &uid("b", false)).is_some());
        assert!(watched.released.is_empty());
    }

    #[test]
    fn the_end_that_was_told_before_it_was_let_go_is_forgotten() {
        let mut watched = Watched::default();
        let one = object("one");
        let _ = watched.applied(0, &one, Interest::Selected);
        let (key, _) = watched.deleted(0, &one).unwrap();
        watched.release(&key, one.uid.clone());
        assert!(watched.last_known(&key).is_none());
        assert!(watched.is_settled(&key, None), "no call for what was queued meanwhile");
        assert!(!watched.is_settled(&key, None) && watched.released.is_empty());
    }

    #[test]
    fn what_was_let_go_and_is_selected_again_counts_again() {
        let mut watched = Watched::default();
        let one = object("one");
        let (key, _) = watched.applied(0, &one, Interest::Held).unwrap();
        watched.release(&key, one.uid.clone());
        assert_eq!(watched.applied(0, &one, Interest::None), None, "the news of the finalizer");
        assert!(watched.applied(0, &one, Interest::Selected).is_some_and(|(_, cause)| cause == Cause::Changed));
    }
}
