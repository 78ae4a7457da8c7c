//! The finalizer that the host keeps on objects whose deletion a plugin must not miss: when it is set and taken away, and the
//! patches that do it. Every write goes the way of the plugin's own.

use std::sync::Arc;

use serde_json::{Value, json};
use tenure_cluster::{ApiError, FieldSelector, GetQuery, Hub, Object, ResourceKey, Selector, WatchKey};
use tenure_sandbox::{Error, ObjectRef};

use super::answer;
use super::guest::Guest;
use super::term::TermContext;
use crate::catalog::{Interest, Ready};

/// How often its removal is tried against what others do to the list meanwhile; then the key comes back with backoff.
const TRIES_MAX: usize = 3;

/// An object as it is now, which a plugin is called for.
pub(crate) struct Current {
    pub(crate) resource: ResourceKey,
    pub(crate) object: Arc<Object>,
}

impl Current {
    /// Whether the plugin may be called only once the finalizer is on it.
    pub(crate) fn is_to_be_held(&self, plugin: &Ready) -> bool {
        plugin.wants_finalizer(&self.resource, &self.object) && !self.object.has_finalizer(&plugin.finalizer)
    }

    /// Whether a call that ends well is the last for it.
    pub(crate) fn is_to_be_let_go(&self, plugin: &Ready) -> bool {
        let ends = self.object.deletion || plugin.interest(&self.resource, &self.object) == Interest::Held;
        ends && self.object.has_finalizer(&plugin.finalizer)
    }

    /// Sets the finalizer.
    ///
    /// # Errors
    /// The API server's, also when the object is not any more what it was: the key comes back.
    pub(crate) async fn hold(&self, guest: &Guest, plugin: &Ready, reference: &ObjectRef) -> Result<(), Error> {
        guest.write_finalizers(reference, &self.resource, &setting(&self.object, &plugin.finalizer)).await
    }

    /// Takes the finalizer away. An object that is gone needs none.
    ///
    /// # Errors
    /// The API server's.
    pub(crate) async fn let_go(
        &self,
        guest: &Guest,
        term: &TermContext,
        plugin: &Ready,
        reference: &ObjectRef,
    ) -> Result<(), Error> {
        let mut object = Arc::clone(&self.object);
        for attempt in 1.. {
            let Some(patch) = taking(&object, &plugin.finalizer) else { break };
            match guest.write_finalizers(reference, &self.resource, &patch).await {
                Err(error) if error.reason == "NotFound" => break,
                // The list is not what the patch says: others changed it, or the cache was behind.
                Err(error) if matches!(&*error.reason, "Invalid" | "Conflict") && attempt < TRIES_MAX => {
                    let (namespace, name) = (reference.namespace.as_deref(), &*reference.name);
                    match term.house.cluster.get_live(&self.resource, namespace, name, &GetQuery::default()).await {
                        Ok(now) if now.uid == object.uid => object = Arc::new(now),
                        Ok(_) => break,
                        Err(ApiError::Status(status)) if status.code == 404 => break,
                        Err(error) => return Err(answer::api_failed(error)),
                    }
                }
                written => return written,
            }
        }
        Ok(())
    }
}

/// How many objects of these watches carry a finalizer.
pub(crate) fn count_held<'a>(hub: &Hub, keys: impl IntoIterator<Item = &'a WatchKey>, finalizer: &str) -> usize {
    let all = |key| hub.list(key, None, &Selector::default(), &FieldSelector::default());
    keys.into_iter().flat_map(all).filter(|object| object.has_finalizer(finalizer)).count()
}

/// A JSON patch that adds the finalizer to the list as it was seen.
fn setting(object: &Object, finalizer: &str) -> Value {
    let present = object.finalizers();
    let this_one = json!({"op": "test", "path": "/metadata/uid", "value": object.uid});
    if present.is_empty() {
        // Nothing can be said of a list that is not there, so nothing else may have changed either.
        let version = json!({"op": "test", "path": "/metadata/resourceVersion", "value": object.version.to_string()});
        return json!([this_one, version, {"op": "add", "path": "/metadata/finalizers", "value": [finalizer]}]);
    }
    json!([
        this_one,
        {"op": "test", "path": "/metadata/finalizers", "value": present},
        {"op": "add", "path": "/metadata/finalizers/-", "value": finalizer},
    ])
}

/// A JSON patch that takes the finalizer from where it was seen; none where it was not.
fn taking(object: &Object, finalizer: &str) -> Option<Value> {
    let at = object.finalizers().iter().position(|present| present == finalizer)?;
    let path = format!("/metadata/finalizers/{at}");
    Some(json!([
        {"op": "test", "path": "/metadata/uid", "value": object.uid},
        {"op": "test", "path": path, "value": finalizer},
        {"op": "remove", "path": path},
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "tenure.dev/ours";

    fn object(finalizers: &[&str]) -> Value {
        let mut object = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}});
        if !finalizers.is_empty() {
            object["metadata"]["finalizers"] = json!(finalizers);
        }
        object
    }

    fn parsed(object: &Value) -> Object {
        Object::parse(object.to_string().as_bytes()).unwrap()
    }

    /// What the API server would make of it.
    fn patched(mut object: Value, patch: Value) -> Option<Value> {
        let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
        json_patch::patch(&mut object, &patch).ok()?;
        Some(object["metadata"]["finalizers"].clone())
    }

    #[test]
    fn it_is_set_beside_those_of_others_and_taken_away_alone() {
        for others in [&[][..], &["x.dev/one"], &["x.dev/one", "x.dev/two"]] {
            let before = object(others);
            let after = patched(before.clone(), setting(&parsed(&before), OURS)).expect("it applies");
            let all: Vec<_> = others.iter().copied().chain([OURS]).collect();
            assert_eq!(after, json!(all));
            let held = object(&all);
            assert_eq!(patched(held.clone(), taking(&parsed(&held), OURS).unwrap()), Some(json!(others)));
        }
        assert_eq!(taking(&parsed(&object(&["x.dev/one"])), OURS), None);
    }

    #[test]
    fn what_changed_meanwhile_is_left_alone() {
        let (empty, held) = (object(&[]), object(&["x.dev/one", OURS]));
        let (set_first, set_more) = (setting(&parsed(&empty), OURS), setting(&parsed(&object(&["x.dev/one"])), OURS));
        let take = taking(&parsed(&held), OURS).unwrap();
        let mut newer = empty;
        newer["metadata"]["resourceVersion"] = "8".into();
        assert_eq!(patched(newer, set_first), None);
        assert_eq!(patched(object(&["x.dev/two"]), set_more), None);
        assert_eq!(patched(object(&["x.dev/two", "x.dev/one", OURS]), take.clone()), None, "the list has moved");
        let mut another = held;
        another["metadata"]["uid"] = "another".into();
        assert_eq!(patched(another, take), None, "an object made anew under the name");
    }
}
