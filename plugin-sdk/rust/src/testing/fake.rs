//! The cluster a native test runs a plugin against: holds objects, records writes, and lets a test step in between.

use std::{cell::RefCell, rc::Rc, time::Duration};

use serde_json::{Value, json};

use super::{
    apply::{PLUGIN, PLUGIN_UPDATES, SOMEBODY},
    store::{Store, shown},
};
use crate::{
    Cause, Cluster, DeleteOptions, Error, EventType, GetOptions, Kind, ListOptions, ObjectRef, Outcome, PatchType,
    Reason, Reconciler, Request, Result, WriteOptions,
    host::{Host, Page, Reads},
};

/// What a plugin called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the call")]
pub enum Verb {
    Get,
    List,
    Create,
    Replace,
    Patch,
    Apply,
    Delete,
    RecordEvent,
}

impl Verb {
    fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List)
    }
}

/// One write the plugin asked for, stored or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Which call.
    pub verb: Verb,
    /// Which object.
    pub object: ObjectRef,
    /// What was sent; null for a delete.
    pub body: Value,
    /// Why it was refused, if it was.
    pub refused: Option<Reason>,
}

type Interruption = Rc<dyn Fn(Verb, &ObjectRef) -> Result<()>>;

#[derive(Default)]
struct State {
    store: Store,
    /// What cached reads see while the test keeps the cache behind.
    cache: Option<Store>,
    writes: Vec<Write>,
    writes_until_cancelled: Option<usize>,
    interruption: Option<Interruption>,
}

/// An in-memory cluster that answers get, list, create, replace, patch, apply and delete as Kubernetes does in the simple
/// cases: resource versions, uids, preconditions, finalizers, selectors, pages, field ownership.
///
/// It knows no schemas, defaults or admission; a Namespace does not take its objects along; keyed lists are applied whole.
/// Clones share one state.
#[derive(Clone, Default)]
pub struct FakeCluster {
    state: Rc<RefCell<State>>,
}

impl FakeCluster {
    /// An empty cluster.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The handle a reconcile gets.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        Cluster::new(self.clone())
    }

    /// Stores an object as somebody other than the plugin, over what may be there.
    ///
    /// # Panics
    /// When it has no apiVersion, kind or name.
    pub fn put(&self, object: Value) -> ObjectRef {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let reference = ObjectRef {
            kind: Kind::new(
                text(&object["apiVersion"]).expect("the object needs an apiVersion"),
                text(&object["kind"]).expect("the object needs a kind"),
            ),
            namespace: text(&object["metadata"]["namespace"]),
            name: text(&object["metadata"]["name"]).expect("the object needs a metadata.name"),
        };
        let mut state = self.state.borrow_mut();
        state.store.remove(&reference);
        state.store.create(SOMEBODY, &reference, object).expect("what was there is gone");
        reference
    }

    /// Changes an object as somebody other than the plugin.
    ///
    /// # Panics
    /// When it is not there, or the change is one the API server refuses.
    pub fn edit(&self, object: &ObjectRef, change: impl FnOnce(&mut Value)) {
        let mut state = self.state.borrow_mut();
        let mut after = state.store.get(object).expect("the object to edit is there").clone();
        change(&mut after);
        let status = after["status"].clone();
        state.store.replace(SOMEBODY, object, &after, false).expect("a change the API server takes");
        state
            .store
            .replace(SOMEBODY, object, &json!({ "status": status }), true)
            .expect("a status the API server takes");
    }

    /// Deletes as `kubectl delete` does: finalizers hold the object.
    ///
    /// # Panics
    /// When it is not there.
    pub fn delete(&self, object: &ObjectRef) {
        self.state.borrow_mut().store.delete(object, &DeleteOptions::default()).expect("the object to delete is there");
    }

    /// The object as stored now.
    #[must_use]
    pub fn object(&self, object: &ObjectRef) -> Option<Value> {
        self.state.borrow().store.get(object).ok().cloned()
    }

    /// All objects of a kind as stored now, by namespace and name.
    #[must_use]
    pub fn objects(&self, kind: &Kind) -> Vec<Value> {
        self.state.borrow().store.all(kind)
    }

    /// From now on cached reads show the cluster as it is at this moment; live reads and writes go on.
    pub fn freeze_cache(&self) {
        let mut state = self.state.borrow_mut();
        state.cache = Some(state.store.clone());
    }

    /// The cache has caught up and stays so.
    pub fn thaw_cache(&self) {
        self.state.borrow_mut().cache = None;
    }

    /// Runs before each call of the plugin: it may change the cluster, or fail the call with an error. Replaces the one
    /// before.
    pub fn interrupt(&self, interruption: impl Fn(Verb, &ObjectRef) -> Result<()> + 'static) {
        self.state.borrow_mut().interruption = Some(Rc::new(interruption));
    }

    /// Leadership ends after so many more writes; 0 is now.
    pub fn cancel_after_writes(&self, writes: usize) {
        self.state.borrow_mut().writes_until_cancelled = Some(writes);
    }

    /// What the plugin asked to write since the last call of this method, refused or not.
    #[must_use]
    pub fn take_writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.state.borrow_mut().writes)
    }

    /// A request about an object, with its body as the cache has it.
    #[must_use]
    pub fn request(&self, cause: Cause, object: &ObjectRef) -> Request {
        let state = self.state.borrow();
        let seen = state.cache.as_ref().unwrap_or(&state.store).get(object).ok();
        Request::new(cause, object.clone(), seen.map(Value::to_string))
    }

    /// Calls the plugin about an object as the host would: `Deleted` when it is gone or going, else `Changed`.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn reconcile(&self, plugin: &mut impl Reconciler, object: &ObjectRef) -> Result<Outcome> {
        let going = self.object(object).is_none_or(|value| value["metadata"].get("deletionTimestamp").is_some());
        let cause = if going { Cause::Deleted } else { Cause::Changed };
        plugin.reconcile(self.request(cause, object), &self.cluster())
    }

    fn interrupted(&self, verb: Verb, object: &ObjectRef) -> Result<()> {
        let interruption = self.state.borrow().interruption.clone();
        interruption.map_or(Ok(()), |interrupt| interrupt(verb, object))
    }

    fn read<T>(&self, verb: Verb, object: &ObjectRef, live: bool, read: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        self.interrupted(verb, object)?;
        let state = self.state.borrow();
        match &state.cache {
            Some(cache) if !live => read(cache),
            _ => read(&state.store),
        }
    }

    fn write(
        &self,
        verb: Verb,
        object: &ObjectRef,
        body: Value,
        dry_run: bool,
        change: impl FnOnce(&mut Store, &Value) -> Result<Value>,
    ) -> Result<String> {
        let answer = self.interrupted(verb, object).and_then(|()| {
            let mut state = self.state.borrow_mut();
            if dry_run { change(&mut state.store.clone(), &body) } else { change(&mut state.store, &body) }
        });
        let mut state = self.state.borrow_mut();
        let refused = answer.as_ref().err().map(|error| error.reason().clone());
        state.writes.push(Write { verb, object: object.clone(), body, refused });
        if verb.writes() {
            state.writes_until_cancelled = state.writes_until_cancelled.map(|left| left.saturating_sub(1));
        }
        answer.map(|value| value.to_string())
    }
}

impl Reads for FakeCluster {
    fn get(&self, object: &ObjectRef, options: &GetOptions) -> Result<String> {
        let live = options.live || options.subresource.is_some();
        self.read(Verb::Get, object, live, |store| Ok(shown(store.get(object)?, options.metadata_only).to_string()))
    }

    fn list(&self, kind: &Kind, options: &ListOptions) -> Result<Page> {
        let all = ObjectRef { kind: kind.clone(), namespace: options.namespace.clone(), name: String::new() };
        let live = options.live || options.field_selector.is_some();
        self.read(Verb::List, &all, live, |store| store.list(kind, options))
    }
}

impl Host for FakeCluster {
    fn create(&self, object: &ObjectRef, body: &str, options: &WriteOptions) -> Result<String> {
        let body = whole(object, body)?;
        self.write(Verb::Create, object, body, options.dry_run, |store, body| {
            store.create(PLUGIN_UPDATES, object, body.clone())
        })
    }

    fn replace(&self, object: &ObjectRef, body: &str, options: &WriteOptions) -> Result<String> {
        let (body, status) = (whole(object, body)?, is_status(options)?);
        self.write(Verb::Replace, object, body, options.dry_run, |store, body| {
            store.replace(PLUGIN_UPDATES, object, body, status)
        })
    }

    fn patch(&self, object: &ObjectRef, patch_type: PatchType, body: &str, options: &WriteOptions) -> Result<String> {
        let (body, status) = (serde_json::from_str(body)?, is_status(options)?);
        self.write(Verb::Patch, object, body, options.dry_run, |store, body| {
            let mut after = store.get(object)?.clone();
            match patch_type {
                PatchType::Merge => json_patch::merge(&mut after, body),
                PatchType::Json => {
                    let operations: json_patch::Patch = serde_json::from_value(body.clone())
                        .map_err(|error| Error::new(Reason::BadRequest, format!("not a JSON patch: {error}")))?;
                    json_patch::patch(&mut after, &operations)
                        .map_err(|error| Error::new(Reason::Invalid, format!("{object}: {error}")))?;
                }
            }
            store.replace(PLUGIN_UPDATES, object, &after, status)
        })
    }

    fn apply(&self, object: &ObjectRef, body: &str, force: bool, options: &WriteOptions) -> Result<String> {
        let body = whole(object, body)?;
        self.write(Verb::Apply, object, body, options.dry_run, |store, body| store.apply(PLUGIN, object, body, force))
    }

    fn delete(&self, object: &ObjectRef, options: &DeleteOptions) -> Result<String> {
        self.write(Verb::Delete, object, Value::Null, options.dry_run, |store, _| store.delete(object, options))
    }

    fn record_event(&self, object: &ObjectRef, event_type: EventType, reason: &str, message: &str) -> Result<()> {
        let body = json!({ "type": format!("{event_type:?}"), "reason": reason, "message": message });
        self.write(Verb::RecordEvent, object, body, false, |_, body| Ok(body.clone())).map(drop)
    }

    fn term(&self) -> u64 {
        1
    }

    fn cancelled(&self) -> bool {
        self.state.borrow().writes_until_cancelled == Some(0)
    }

    fn wait(&self, _limit: Duration) -> bool {
        self.cancelled()
    }
}

/// A whole body as the host passes it on: what the reference says and the body leaves out is filled in, and nothing may
/// contradict it.
fn whole(object: &ObjectRef, body: &str) -> Result<Value> {
    let refused = |what: &str| Error::new(Reason::BadRequest, format!("{object}: {what}"));
    let mut body: Value = serde_json::from_str(body)?;
    let fields = body.as_object_mut().ok_or_else(|| refused("the body is not a JSON object"))?;
    let api_version = fields.entry("apiVersion").or_insert_with(|| object.kind.api_version.as_str().into());
    let mut agrees = *api_version == object.kind.api_version.as_str();
    agrees &= *fields.entry("kind").or_insert_with(|| object.kind.kind.as_str().into()) == object.kind.kind.as_str();
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let metadata = metadata.as_object_mut().ok_or_else(|| refused("the body's metadata is not a JSON object"))?;
    let name_field = if object.name.ends_with('-') { "generateName" } else { "name" };
    agrees &= *metadata.entry(name_field).or_insert_with(|| object.name.as_str().into()) == object.name.as_str();
    if let Some(namespace) = &object.namespace {
        metadata.entry("namespace").or_insert_with(|| namespace.as_str().into());
    }
    agrees &= metadata.get("namespace").and_then(Value::as_str) == object.namespace.as_deref();
    if agrees { Ok(body) } else { Err(refused("the body does not agree with the reference")) }
}

fn is_status(options: &WriteOptions) -> Result<bool> {
    match options.subresource.as_deref() {
        None => Ok(false),
        Some("status") => Ok(true),
        Some(other) => Err(Error::new(Reason::NotFound, format!("the fake cluster has no subresource {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_completed_from_its_reference() {
        let whole = whole(&ObjectRef::config_map("shop", "prices"), r#"{"data":{}}"#).expect("an object");
        let metadata = json!({ "namespace": "shop", "name": "prices" });
        assert_eq!(whole, json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": {}, "metadata": metadata }));
    }

    #[test]
    fn a_name_ending_in_a_dash_becomes_a_generate_name() {
        let whole = whole(&ObjectRef::config_map("shop", "job-"), "{}").expect("an object");
        assert_eq!(whole["metadata"], json!({ "namespace": "shop", "generateName": "job-" }));
    }

    #[test]
    fn a_contradiction_and_what_is_no_object_are_refused_as_the_host_does() {
        for body in [r#"{"metadata":{"name":"other"}}"#, r#"{"kind":"Secret"}"#, "[1]", r#"{"metadata":7}"#] {
            let refused = whole(&ObjectRef::config_map("shop", "prices"), body).expect_err(body);
            assert_eq!(*refused.reason(), Reason::BadRequest, "{body}");
        }
    }
}
