//! The task behind one watch: list, then follow from there on as long as each watch ends in order; after anything else, list again.
//!
//! Decides when to try again and when to call the watch failing. Keeps no object itself, see `store`.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};

use super::lines::Lines;
use super::{Change, WatchState, Watched};
use crate::object::{ListMetadata, ListPage};
use crate::reader::{Accept, PAGE_OBJECTS_MAX, READ_TIMEOUT, Reader, malformed, with_query};
use crate::{ApiError, ApiStatus, MalformedObject, Object};

/// The server is asked to end each watch after about this long, as client-go does, so that connections spread over its replicas again.
const WATCH_SECONDS: std::ops::RangeInclusive<u32> = 240..=300;

/// Bookmarks come about once a minute; silence for longer means a connection that is open on our side only.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// A watch that ends sooner and brought nothing counts as a failure, or it would be opened again in a busy loop.
const WATCH_MIN: Duration = Duration::from_secs(1);

const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// After a 401, 403 or 404, once it has been said a few times: only people mend those, unless an API server that has just started does
/// not know its Roles yet.
const REFUSED_BACKOFF_MAX: Duration = Duration::from_secs(20);

/// Failures in a row before the watch is called failing: one dropped connection is an everyday event.
const FAILURES_TOLD_AFTER: u32 = 3;

pub(super) struct Watcher {
    reader: Reader,
    watched: Arc<Watched>,
    /// Where to go on; `None` asks for a list.
    resume: Option<String>,
    failures: u32,
}

/// Why a list or a watch came to no good end.
enum Failure {
    /// The server no longer knows the version to go on from.
    Expired,
    /// Anything else.
    Api(ApiError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        if error.code() == Some(410) { Self::Expired } else { Self::Api(error) }
    }
}

/// One line of a watch (`WatchEvent` in `meta/v1`).
#[derive(Deserialize)]
struct Event<'a> {
    r#type: EventType,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What an event's object and a bookmark have in common.
#[derive(Deserialize)]
struct Versioned {
    #[serde(default)]
    metadata: ListMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl Watcher {
    pub(super) const fn new(reader: Reader, watched: Arc<Watched>) -> Self {
        Self { reader, watched, resume: None, failures: 0 }
    }

    /// Runs until aborted.
    pub(super) async fn run(mut self) {
        let _end = TaskEnd(Arc::clone(&self.watched));
        let path = match self.watched.key.path() {
            Ok(path) => path,
            Err(error) => {
                self.fail(400, error.to_string());
                return std::future::pending().await;
            }
        };
        loop {
            let result = match self.resume.clone() {
                None => self.list(&path).await,
                Some(version) => self.follow(&path, &version).await,
            };
            match result {
                Ok(()) => {}
                Err(Failure::Expired) => {
                    tracing::debug!(watch = %self.watched.key, "the server no longer has our version; listing again");
                    self.resume = None;
                }
                Err(Failure::Api(error)) => self.back_off(&error).await,
            }
        }
    }

    async fn list(&mut self, path: &str) -> Result<(), Failure> {
        let limit = PAGE_OBJECTS_MAX.to_string();
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        let version = loop {
            let page_path =
                with_query(path.to_owned(), [("limit", Some(limit.as_str())), ("continue", token.as_deref())]);
            let bytes = self.reader.read(&page_path, Accept::Json, READ_TIMEOUT).await?;
            let page =
                ListPage::parse(&bytes, &self.watched.key.resource).map_err(|source| malformed(&page_path, source))?;
            let store = self.watched.read();
            objects.extend(page.items.into_iter().map(|object| store.shared(object)));
            drop(store);
            match page.metadata.continue_token.filter(|token| !token.is_empty()) {
                Some(next) => token = Some(next),
                None => break page.metadata.resource_version.unwrap_or_default(),
            }
        };
        let count = objects.len();
        let gone = self.watched.write().replace(objects);
        // A restored server may count lower than before; its own word is the new measure.
        self.watched.version.send_replace(version.parse().unwrap_or(0));
        tracing::debug!(watch = %self.watched.key, objects = count, gone = gone.len(), %version, "listed");
        for object in gone {
            self.watched.tell(Change::Deleted(object));
        }
        self.failures = 0;
        self.resume = Some(version);
        self.watched.state.send_replace(WatchState::Synced);
        self.watched.tell(Change::Resynced);
        Ok(())
    }

    async fn follow(&mut self, path: &str, version: &str) -> Result<(), Failure> {
        let seconds = rand::random_range(WATCH_SECONDS).to_string();
        let path = with_query(
            path.to_owned(),
            [
                ("watch", Some("true")),
                ("allowWatchBookmarks", Some("true")),
                ("resourceVersion", Some(version)),
                ("timeoutSeconds", Some(seconds.as_str())),
            ],
        );
        let opened_at = Instant::now();
        let watched = Arc::clone(&self.watched);
        let mut body = tokio::select! {
            response = self.reader.open(&path, Accept::Json, READ_TIMEOUT) => response?.into_body(),
            () = watched.nudge.notified() => return Ok(()),
        };
        self.recovered();
        let mut lines = Lines::default();
        let mut events = 0_u64;
        let transport = |source| ApiError::Transport { method_and_path: format!("GET {path}"), source };
        loop {
            let frame = tokio::select! {
                frame = timeout(SILENCE_MAX, body.frame()) => frame,
                // The connection goes with the body; the next one starts where this one was.
                () = watched.nudge.notified() => return Ok(()),
            };
            let silent = || ApiError::Timeout { method_and_path: format!("GET {path}"), limit: SILENCE_MAX };
            match frame.map_err(|_| silent())? {
                None if events == 0 && opened_at.elapsed() < WATCH_MIN => {
                    return Err(transport("the watch ended as soon as it began".into()).into());
                }
                None => return Ok(()),
                Some(Err(error)) => return Err(transport(Box::new(error)).into()),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    lines.push(&data);
                    while let Some(line) = lines.next().map_err(|error| transport(Box::new(error)))? {
                        self.handle_line(&path, &line)?;
                        events += 1;
                        self.failures = 0;
                    }
                }
            }
        }
    }

    fn handle_line(&mut self, path: &str, line: &Bytes) -> Result<(), Failure> {
        let no_json = |error| malformed(path, MalformedObject::Json(error));
        let event: Event<'_> = serde_json::from_slice(line).map_err(no_json)?;
        if matches!(event.r#type, EventType::Error) {
            return Err(error_of(&serde_json::from_str(event.object.get()).map_err(no_json)?).into());
        }
        let Versioned { metadata } = serde_json::from_str(event.object.get()).map_err(no_json)?;
        let version = metadata.resource_version.unwrap_or_default();
        let parse = |object| Object::read(object, None).map_err(|source| malformed(path, source));
        let change = match event.r#type {
            EventType::Added | EventType::Modified => {
                let object = parse(event.object)?;
                Some(Change::Applied(self.watched.write().insert(object)))
            }
            EventType::Deleted => {
                let object = parse(event.object)?;
                self.watched.write().remove(object.namespace_or_empty(), &object.name);
                Some(Change::Deleted(Arc::new(object)))
            }
            EventType::Bookmark | EventType::Error => None,
        };
        let number: u64 = version.parse().unwrap_or(0);
        self.watched.version.send_modify(|seen| *seen = number.max(*seen));
        if !version.is_empty() {
            self.resume = Some(version);
        }
        if let Some(change) = change {
            self.watched.tell(change);
        }
        Ok(())
    }

    /// The watch is open. After a failure that was told, so is its end.
    fn recovered(&self) {
        let failing = |state: &mut WatchState| {
            let was = matches!(state, WatchState::Failing { .. });
            *state = WatchState::Synced;
            was
        };
        if self.watched.state.send_if_modified(failing) {
            self.watched.tell(Change::Resynced);
        }
    }

    async fn back_off(&mut self, error: &ApiError) {
        self.failures = self.failures.saturating_add(1);
        let code = error.code().unwrap_or(0);
        let refused = matches!(code, 401 | 403 | 404);
        if refused || self.failures >= FAILURES_TOLD_AFTER {
            self.fail(code, error.in_one_line());
        }
        // The server may have been restored from a backup meanwhile. A watch from a version that it has yet to reach would say
        // nothing, and one from a version it has reached again would never tell what differs up to there.
        self.resume = None;
        let wait = wait_after(self.failures, refused, error);
        tracing::debug!(watch = %self.watched.key, failures = self.failures, ?wait, error = %error.in_one_line(), "watch failed");
        tokio::select! {
            () = sleep(wait) => {}
            () = self.watched.nudge.notified() => {}
        }
    }

    fn fail(&self, code: u16, message: String) {
        let state = WatchState::Failing { code, message: message.clone() };
        let changed = self.watched.state.send_if_modified(|known| {
            let changed = *known != state;
            *known = state;
            changed
        });
        if changed {
            tracing::warn!(watch = %self.watched.key, code, %message, "watch is failing");
            self.watched.tell(Change::Failing { code, message });
        }
    }
}

/// Doubles from half a second to half a minute; each replica draws its own share of it, so that a server that comes back is not met
/// by all at once.
fn wait_after(failures: u32, refused: bool, error: &ApiError) -> Duration {
    let asked = match error {
        ApiError::Status(status) => status.retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    };
    let most = if refused { REFUSED_BACKOFF_MAX } else { BACKOFF_MAX };
    let base = BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(most);
    base.mul_f64(rand::random_range(0.8..1.2)).max(asked)
}

/// The `Status` in an ERROR event.
fn error_of(object: &Value) -> ApiError {
    let code = object["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
    let text = |field: &str| object[field].as_str().unwrap_or("Unknown").to_owned();
    ApiError::Status(Box::new(ApiStatus {
        code,
        reason: text("reason"),
        message: text("message"),
        retry_after: object["details"]["retryAfterSeconds"].as_u64().map(Duration::from_secs),
        json: object.to_string(),
    }))
}

/// Ends the subscriptions if the task dies of a panic, so that nobody waits for changes that will not come.
struct TaskEnd(Arc<Watched>);

impl Drop for TaskEnd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message = "the watch's task panicked; the log has the place".to_owned();
            self.0.state.send_replace(WatchState::Failing { code: 0, message });
            self.0.changes.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}
