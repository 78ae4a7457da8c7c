//! WATCH: a stream of changes from a version on, seen through a selector.
//!
//! A watcher sleeps on its collection's bell and reads the history with a cursor of its own: nothing polls, nothing is queued for
//! it, and one that falls out of the history is told 410 and ended, as the API server's watch cache does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::history::Change;
use crate::object::Object;
use crate::query::Query;
use crate::read;
use crate::render::Renderer;
use crate::resource::Collection;
use crate::selector::Selector;
use crate::status::{FieldError, Refusal, Result};
use crate::store::Store;

/// Time between bookmarks (kube-apiserver's watch cache: one a minute).
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long a watch lasts where the client does not say: this to twice this (kube-apiserver `--min-request-timeout`).
const LIFETIME_MIN: Duration = Duration::from_secs(1800);
/// Bytes of events sent as one chunk; more wait for the next.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// What a watch asks for.
#[derive(Debug)]
pub(crate) struct WatchRequest {
    pub(crate) renderer: Renderer,
    /// `None` for all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) selector: Selector,
    pub(crate) from: From,
    pub(crate) bookmarks: bool,
    /// End the initial events with a marked bookmark.
    pub(crate) mark_initial_end: bool,
    pub(crate) lifetime: Duration,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// With what there is now, as ADDED events, and then the changes.
    Now,
    /// With the changes from now on.
    NewChanges,
    /// With the changes above a version.
    Version(u64),
}

impl WatchRequest {
    pub(crate) fn parse(
        renderer: Renderer,
        namespace: Option<String>,
        selector: Selector,
        query: &Query,
    ) -> Result<Self> {
        let bookmarks = query.flag("allowWatchBookmarks");
        let initial_events = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
        check_initial_events(query, initial_events)?;
        query.number("limit")?;
        // As with a single object, this error has no status of its own.
        let version = read::version(query).map_err(|why| Refusal::new(500, "", why))?;
        let from = match (initial_events, version) {
            (Some(true), _) | (None, 0) => From::Now,
            (Some(false), 0) => From::NewChanges,
            (_, version) => From::Version(version),
        };
        let lifetime = match query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => LIFETIME_MIN.mul_f64(1.0 + rand::random::<f64>()),
        };
        let mark_initial_end = initial_events == Some(true) && bookmarks;
        Ok(Self { renderer, namespace, selector, from, bookmarks, mark_initial_end, lifetime })
    }

    fn collection(&self) -> Collection {
        self.renderer.resource.collection
    }

    fn selects(&self, object: &Object) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == object.key.namespace)
            && self.selector.matches(object)
    }
}

/// `sendInitialEvents` needs to be told which version the events must reach, and nothing else may be told that.
fn check_initial_events(query: &Query, initial_events: Option<bool>) -> Result<()> {
    let matching = query.text("resourceVersionMatch");
    let mut errors = Vec::new();
    let why = match initial_events {
        None if !matching.is_empty() => {
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        }
        Some(_) if matching != "NotOlderThan" => {
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        }
        _ if !query.text("continue").is_empty() => "resourceVersionMatch is forbidden when continue is provided",
        _ => return Ok(()),
    };
    errors.push(FieldError::forbidden("resourceVersionMatch", why));
    if initial_events.is_some() && !matches!(matching, "" | "NotOlderThan") {
        errors.push(FieldError::not_supported("resourceVersionMatch", matching, &["NotOlderThan"]));
    }
    Err(Refusal::invalid("ListOptions", "meta.k8s.io", "", &errors))
}

/// A running watch.
pub(crate) struct Watcher {
    store: Arc<Store>,
    request: WatchRequest,
    bell: watch::Receiver<u64>,
    /// Every change up to here has been looked at.
    cursor: u64,
    /// Objects still to be shown as ADDED before any change.
    initial: VecDeque<Arc<Object>>,
    initial_end_due: bool,
    /// No event was sent yet: a table needs its columns.
    first: bool,
    next_bookmark: Instant,
    end: Instant,
    ended: bool,
}

impl Watcher {
    pub(crate) fn start(store: Arc<Store>, request: WatchRequest) -> Self {
        let collection = request.collection();
        // The bell first: what is committed after the look at the state rings it.
        let mut bell = store.history(collection).bell();
        bell.mark_changed();
        let (cursor, initial) = match request.from {
            From::Version(version) => (version, VecDeque::new()),
            From::NewChanges => (store.version(), VecDeque::new()),
            From::Now => {
                let (version, objects) = store.list(collection, request.namespace.as_deref());
                (version, objects.into_iter().filter(|object| request.selects(object)).collect())
            }
        };
        let now = Instant::now();
        Self {
            initial_end_due: request.mark_initial_end,
            next_bookmark: now + BOOKMARK_PERIOD,
            end: now + request.lifetime,
            store,
            request,
            bell,
            cursor,
            initial,
            first: true,
            ended: false,
        }
    }

    /// The next chunk of events; `None` at the end of the watch.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.ended {
                return None;
            }
            let mut chunk = BytesMut::new();
            self.take_initial(&mut chunk);
            if self.initial.is_empty() && chunk.is_empty() {
                self.take_changes(&mut chunk);
            }
            if !chunk.is_empty() {
                return Some(chunk.freeze());
            }
            let bookmark = self.next_bookmark;
            tokio::select! {
                rung = self.bell.changed() => self.ended = rung.is_err(),
                () = tokio::time::sleep_until(bookmark), if self.request.bookmarks => return Some(self.bookmark()),
                () = tokio::time::sleep_until(self.end) => {
                    self.ended = true;
                    // A last bookmark, so that the next watch need not go over what this one saw.
                    return self.request.bookmarks.then(|| self.bookmark());
                }
            }
        }
    }

    fn take_initial(&mut self, chunk: &mut BytesMut) {
        while chunk.len() < CHUNK_BYTES_MAX
            && let Some(object) = self.initial.pop_front()
        {
            self.put(chunk, "ADDED", &object);
        }
        if self.initial.is_empty() && std::mem::take(&mut self.initial_end_due) {
            let annotations = json!({"k8s.io/initial-events-end": "true"});
            let bookmark = self.request.renderer.bookmark(self.cursor, Some(annotations));
            put_event(chunk, "BOOKMARK", &bookmark);
        }
    }

    /// Reads the history on from the cursor until the chunk is full or nothing is left; true in the latter case.
    fn take_changes(&mut self, chunk: &mut BytesMut) -> bool {
        while chunk.len() < CHUNK_BYTES_MAX {
            self.bell.mark_unchanged();
            let changes = match self.store.history(self.request.collection()).since(self.cursor) {
                Ok(changes) => changes,
                Err(too_old) => {
                    let message = format!("too old resource version: {} ({})", self.cursor, too_old.oldest);
                    put_event(chunk, "ERROR", Refusal::expired(message).body().to_string().as_bytes());
                    self.ended = true;
                    return false;
                }
            };
            if changes.is_empty() {
                return true;
            }
            for change in &changes {
                self.cursor = change.version;
                self.put_change(chunk, change);
            }
        }
        // The chunk is full: come back for the rest without waiting for the bell.
        self.bell.mark_changed();
        false
    }

    /// An object that enters the selection is ADDED, one that leaves it DELETED, whatever happened to it.
    fn put_change(&mut self, chunk: &mut BytesMut, change: &Change) {
        let selected_before = change.previous.as_ref().filter(|previous| self.request.selects(previous));
        let selected_now = !change.deleted && self.request.selects(&change.object);
        match (selected_before, selected_now) {
            (None, false) => {}
            (None, true) => self.put(chunk, "ADDED", &change.object),
            (Some(_), true) => self.put(chunk, "MODIFIED", &change.object),
            (Some(_), false) if change.deleted => self.put(chunk, "DELETED", &change.object),
            (Some(previous), false) => {
                let left = previous.restamped(self.request.collection(), change.version);
                self.put(chunk, "DELETED", &left);
            }
        }
    }

    fn put(&mut self, chunk: &mut BytesMut, kind: &str, object: &Object) {
        let shown = self.request.renderer.watched(object, std::mem::take(&mut self.first));
        put_event(chunk, kind, &shown);
    }

    /// Says up to which version this watch has seen everything.
    fn bookmark(&mut self) -> Bytes {
        self.next_bookmark = Instant::now() + BOOKMARK_PERIOD;
        let mut chunk = BytesMut::new();
        // Everything up to this version is in the history by now, so what is read below reaches it.
        let version = self.store.version();
        if self.take_changes(&mut chunk) {
            self.cursor = self.cursor.max(version);
            put_event(&mut chunk, "BOOKMARK", &self.request.renderer.bookmark(self.cursor, None));
        }
        chunk.freeze()
    }
}

fn put_event(chunk: &mut BytesMut, kind: &str, object: &[u8]) {
    chunk.put_slice(b"{\"type\":\"");
    chunk.put_slice(kind.as_bytes());
    chunk.put_slice(b"\",\"object\":");
    chunk.put_slice(object);
    chunk.put_slice(b"}\n");
}
