//! The Kubernetes API as a plugin sees it: typed by serde, cut down to the plugin's grant, bound to one term of leadership.

use std::{ops::Deref, rc::Rc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    DeleteOptions, Error, EventType, GetOptions, Kind, ListOptions, ObjectRef, PatchType, Result, WriteOptions,
    host::{Host, Reads},
    list::Objects,
};

/// Reading, without more: what a lock policy gets, and part of [`Cluster`]. Reads come from the shared object cache where the
/// plugin watches the kind, else from the API server.
#[derive(Clone)]
pub struct Reader {
    host: Rc<dyn Reads>,
}

impl Reader {
    /// Reads through any [`Reads`]. Plugins are handed theirs.
    #[must_use]
    pub fn new(host: impl Reads + 'static) -> Self {
        Self { host: Rc::new(host) }
    }

    /// Reads one object. Any type that picks what it needs will do, `serde_json::Value` for all of it.
    ///
    /// # Errors
    /// `NotFound`, and what the API answers otherwise.
    pub fn get<T: DeserializeOwned>(&self, object: &ObjectRef) -> Result<T> {
        self.get_with(object, &GetOptions::default())
    }

    /// [`get`](Self::get) with options.
    ///
    /// # Errors
    /// `NotFound`, and what the API answers otherwise.
    pub fn get_with<T: DeserializeOwned>(&self, object: &ObjectRef, options: &GetOptions) -> Result<T> {
        read(object, &self.host.get(object, options)?)
    }

    /// Reads one object that may be absent.
    ///
    /// # Errors
    /// What the API answers, but for `NotFound`.
    pub fn find<T: DeserializeOwned>(&self, object: &ObjectRef) -> Result<Option<T>> {
        self.find_with(object, &GetOptions::default())
    }

    /// [`find`](Self::find) with options.
    ///
    /// # Errors
    /// What the API answers, but for `NotFound`.
    pub fn find_with<T: DeserializeOwned>(&self, object: &ObjectRef, options: &GetOptions) -> Result<Option<T>> {
        match self.get_with(object, options) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Walks through all objects of a kind, fetching pages as it goes: memory holds one page.
    pub fn list<T: DeserializeOwned>(&self, kind: &Kind, options: ListOptions) -> Objects<T> {
        Objects::new(Rc::clone(&self.host), kind.clone(), options)
    }
}

/// The handle a reconcile gets. Reads come from the shared object cache where something watches the kind, else from the API
/// server; each write passes the plugin's grant, its budget and the authority of the term.
///
/// The short methods use default options; those ending in `_with` take them.
#[derive(Clone)]
pub struct Cluster {
    host: Rc<dyn Host>,
    reader: Reader,
}

/// Reading, as [`Reader`] does it.
impl Deref for Cluster {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Cluster {
    /// A cluster behind any [`Host`]. Plugins are handed theirs.
    #[must_use]
    pub fn new(host: impl Host + 'static) -> Self {
        let host: Rc<dyn Host> = Rc::new(host);
        Self { reader: Reader { host: Rc::clone(&host) as Rc<dyn Reads> }, host }
    }

    /// Stores a new object. What the reference says (apiVersion, kind, namespace, name) the body may leave out.
    ///
    /// # Errors
    /// `AlreadyExists`, and what the API answers otherwise.
    pub fn create<T: DeserializeOwned>(&self, object: &ObjectRef, body: &impl Serialize) -> Result<T> {
        self.create_with(object, body, &WriteOptions::default())
    }

    /// [`create`](Self::create) with options.
    ///
    /// # Errors
    /// `AlreadyExists`, and what the API answers otherwise.
    pub fn create_with<T: DeserializeOwned>(
        &self,
        object: &ObjectRef,
        body: &impl Serialize,
        options: &WriteOptions,
    ) -> Result<T> {
        read(object, &self.host.create(object, &serde_json::to_string(body)?, options)?)
    }

    /// Stores over an existing object. With the `metadata.resourceVersion` that was read, a change in between is a
    /// `Conflict` and not an overwrite.
    ///
    /// # Errors
    /// `Conflict`, `NotFound`, and what the API answers otherwise.
    pub fn replace<T: DeserializeOwned>(&self, object: &ObjectRef, body: &impl Serialize) -> Result<T> {
        self.replace_with(object, body, &WriteOptions::default())
    }

    /// [`replace`](Self::replace) with options.
    ///
    /// # Errors
    /// `Conflict`, `NotFound`, and what the API answers otherwise.
    pub fn replace_with<T: DeserializeOwned>(
        &self,
        object: &ObjectRef,
        body: &impl Serialize,
        options: &WriteOptions,
    ) -> Result<T> {
        read(object, &self.host.replace(object, &serde_json::to_string(body)?, options)?)
    }

    /// Lays `body` over the stored object (RFC 7386). With `metadata.resourceVersion` in it, a change in between is a
    /// `Conflict` and not an overwrite.
    ///
    /// # Errors
    /// `Conflict`, `NotFound`, and what the API answers otherwise.
    pub fn merge_patch<T: DeserializeOwned>(&self, object: &ObjectRef, body: &impl Serialize) -> Result<T> {
        self.patch_with(object, PatchType::Merge, body, &WriteOptions::default())
    }

    /// Runs a list of operations on the stored object (RFC 6902); a failed `test` is `Invalid`.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, and what the API answers otherwise.
    pub fn json_patch<T: DeserializeOwned>(&self, object: &ObjectRef, operations: &impl Serialize) -> Result<T> {
        self.patch_with(object, PatchType::Json, operations, &WriteOptions::default())
    }

    /// A patch of either type, with options.
    ///
    /// # Errors
    /// `Conflict`, `Invalid`, `NotFound`, and what the API answers otherwise.
    pub fn patch_with<T: DeserializeOwned>(
        &self,
        object: &ObjectRef,
        patch_type: PatchType,
        body: &impl Serialize,
        options: &WriteOptions,
    ) -> Result<T> {
        read(object, &self.host.patch(object, patch_type, &serde_json::to_string(body)?, options)?)
    }

    /// Server-side apply under the plugin's own field manager: `body` is everything this plugin wants of the object. What it
    /// applied before and leaves out now is removed, unless somebody else owns it too. An object that is not there is
    /// created; `metadata.uid` in the body forbids that. What the reference says may be left out, as in [`create`](Self::create).
    ///
    /// # Errors
    /// `Conflict` where another manager owns a field with another value; [`Error::causes`] names the fields.
    pub fn apply<T: DeserializeOwned>(&self, object: &ObjectRef, body: &impl Serialize) -> Result<T> {
        self.apply_with(object, body, false, &WriteOptions::default())
    }

    /// [`apply`](Self::apply) with options; `force` takes fields over from other managers.
    ///
    /// # Errors
    /// `Conflict` unless forced, and what the API answers otherwise.
    pub fn apply_with<T: DeserializeOwned>(
        &self,
        object: &ObjectRef,
        body: &impl Serialize,
        force: bool,
        options: &WriteOptions,
    ) -> Result<T> {
        read(object, &self.host.apply(object, &serde_json::to_string(body)?, force, options)?)
    }

    /// Deletes. [`DeleteOptions::exactly`] spares an object that changed, or came back, since it was read.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` where a precondition fails, and what the API answers otherwise.
    pub fn delete(&self, object: &ObjectRef, options: &DeleteOptions) -> Result<()> {
        self.host.delete(object, options).map(drop)
    }

    /// Records an Event on the object, as `kubectl describe` shows it. `reason` is one CamelCase word.
    ///
    /// # Errors
    /// What the API answers.
    pub fn record_event(&self, object: &ObjectRef, event_type: EventType, reason: &str, message: &str) -> Result<()> {
        self.host.record_event(object, event_type, reason, message)
    }

    /// The fencing token of this term: grows with each term of the lock.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.host.term()
    }

    /// Whether leadership ends: finish or undo what was begun, start nothing.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.host.cancelled()
    }

    /// [`cancelled`](Self::cancelled) for use with `?`, before each step of a longer work.
    ///
    /// # Errors
    /// [`Error::cancelled`] when leadership ends.
    pub fn proceed(&self) -> Result<()> {
        if self.cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Sleeps at most `limit`, in whole milliseconds; true at once when leadership ends. It counts against the call's time
    /// limit: [`Outcome::requeue_after`](crate::Outcome::requeue_after) is better for anything longer than a moment.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        self.host.wait(limit)
    }
}

fn read<T: DeserializeOwned>(object: &ObjectRef, json: &str) -> Result<T> {
    serde_json::from_str(json)
        .map_err(|error| Error::guest(format!("{object}: the object does not fit the plugin's type: {error}")))
}
