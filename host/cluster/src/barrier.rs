//! The barrier at the start of a term: the cache must hold what the predecessor wrote before any key is handed out.
//!
//! Per watch one consistent, metadata-only list straight from etcd says what exists and at which version; then the cache is waited
//! for. Hands out no key itself, and never lets a watch pass that could not be listed.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::hub::{Hub, Watched};
use crate::object::ListMetadata;
use crate::reader::{Accept, Reader, with_query};
use crate::{ApiError, WatchKey};

/// A healthy watch is behind by milliseconds; after this a new connection is opened in case the old one is dead.
const NUDGE_AFTER: Duration = Duration::from_secs(1);

/// Objects a page. Their metadata alone is about 300 bytes each, and each page is a round trip at the start of a term.
const PAGE_OBJECTS_MAX: u32 = 10_000;

/// Between two tries of the list while the server does not answer.
const LIST_RETRY: Duration = Duration::from_millis(250);

/// What the barrier found, per watch.
#[derive(Debug)]
#[must_use]
pub struct BarrierReport {
    /// In the order asked for.
    pub watches: Vec<WatchBarrier>,
    /// From the call to its end.
    pub waited: Duration,
}

impl BarrierReport {
    /// Whether keys of every watch may be handed out.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.watches.iter().all(WatchBarrier::is_ready)
    }

    /// Objects the cache lacked, held at an older version, or had not yet dropped, over all watches.
    #[must_use]
    pub fn behind_at_start(&self) -> usize {
        self.watches.iter().map(|watch| watch.behind_at_start).sum()
    }
}

/// What the barrier found for one watch.
#[derive(Debug)]
#[must_use]
pub struct WatchBarrier {
    /// The watch.
    pub key: WatchKey,
    /// Objects that exist.
    pub listed: usize,
    /// Objects the cache lacked, held at an older version, or had not yet dropped when the list was there.
    pub behind_at_start: usize,
    /// From the call to this watch's outcome.
    pub waited: Duration,
    /// How it ended.
    pub outcome: BarrierOutcome,
}

impl WatchBarrier {
    /// Whether keys of this watch may be handed out.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self.outcome, BarrierOutcome::Ready)
    }
}

/// How the barrier ended for one watch.
#[derive(Debug)]
#[must_use]
pub enum BarrierOutcome {
    /// The cache holds all that was written before.
    Ready,
    /// Time ran out while the cache still lacked this many objects.
    Behind {
        /// How many.
        objects: usize,
    },
    /// The list itself failed; the last error.
    Failed(ApiError),
    /// Nobody is subscribed to this watch, so there is no cache to wait for.
    NotWatched,
}

/// `PartialObjectMetadataList` of `meta/v1`, as much of it as is compared.
#[derive(Deserialize)]
struct MetadataList {
    #[serde(default)]
    metadata: ListMetadata,
    items: Option<Vec<MetadataItem>>,
}

#[derive(Deserialize)]
struct MetadataItem {
    metadata: ItemMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemMetadata {
    #[serde(default)]
    namespace: String,
    name: String,
    #[serde(default)]
    resource_version: String,
}

/// Namespace (empty for a cluster-scoped object) and name.
type Name = (String, String);

/// What existed at one moment.
struct Listing {
    /// The moment, as a version.
    version: u64,
    objects: HashMap<Name, u64>,
}

/// What the cache has still to catch up with.
struct Awaited {
    /// The list's own version.
    list_version: u64,
    objects: Vec<AwaitedObject>,
}

struct AwaitedObject {
    name: Name,
    /// `None`: it is gone and must be dropped.
    version: Option<u64>,
}

pub(crate) async fn run(reader: &Reader, hub: &Hub, watches: &[WatchKey], limit: Duration) -> BarrierReport {
    let started = Instant::now();
    let each = watches.iter().map(|key| run_one(reader, hub, key, started, limit));
    let watches = futures::future::join_all(each).await;
    BarrierReport { watches, waited: started.elapsed() }
}

async fn run_one(reader: &Reader, hub: &Hub, key: &WatchKey, started: Instant, limit: Duration) -> WatchBarrier {
    let deadline = started + limit;
    let end = |listed, behind_at_start, outcome| WatchBarrier {
        key: key.clone(),
        listed,
        behind_at_start,
        waited: started.elapsed(),
        outcome,
    };
    let Some(watched) = hub.watched(key) else { return end(0, 0, BarrierOutcome::NotWatched) };
    let listing = match list_until(reader, key, deadline).await {
        Ok(listing) => listing,
        Err(error) => return end(0, 0, BarrierOutcome::Failed(error)),
    };
    let listed = listing.objects.len();
    let mut awaited = Awaited::new(&watched, listing);
    let behind_at_start = awaited.objects.len();
    let mut progress = watched.progress();
    let (mut nudge_after, mut nudge_at) = (NUDGE_AFTER, Instant::now() + NUDGE_AFTER);
    loop {
        // Marked as seen before the cache is looked at: a change in between wakes us again.
        progress.borrow_and_update();
        awaited.look_again(&watched);
        if awaited.objects.is_empty() {
            return end(listed, behind_at_start, BarrierOutcome::Ready);
        }
        let now = Instant::now();
        if now >= deadline {
            return end(listed, behind_at_start, BarrierOutcome::Behind { objects: awaited.objects.len() });
        }
        if now >= nudge_at {
            watched.nudge();
            nudge_after *= 2;
            nudge_at = now + nudge_after;
        }
        // Either the cache moved or one of the two times came; the loop finds out which.
        let _ = timeout_at(deadline.min(nudge_at), progress.changed()).await;
    }
}

impl Awaited {
    fn new(watched: &Watched, listing: Listing) -> Self {
        let store = watched.read();
        let to_drop = store.iter().filter(|cached| cached.version <= listing.version).filter_map(|cached| {
            let name = (cached.namespace_or_empty().to_owned(), cached.name.to_string());
            (!listing.objects.contains_key(&name)).then_some(AwaitedObject { name, version: None })
        });
        let mut objects: Vec<_> = to_drop.collect();
        drop(store);
        objects
            .extend(listing.objects.into_iter().map(|(name, version)| AwaitedObject { name, version: Some(version) }));
        let mut awaited = Self { list_version: listing.version, objects };
        awaited.look_again(watched);
        awaited
    }

    /// Keeps what the cache still lacks.
    fn look_again(&mut self, watched: &Watched) {
        let list_version = self.list_version;
        // Past the list's own moment the cache knows better than the list.
        let passed = watched.seen_version() >= list_version;
        let store = watched.read();
        self.objects.retain(|object| {
            let cached = store.get(&object.name.0, &object.name.1).map(|cached| cached.version);
            match (object.version, cached) {
                (Some(listed), Some(cached)) => cached < listed,
                (Some(_), None) => !passed,
                (None, Some(cached)) => cached <= list_version,
                (None, None) => false,
            }
        });
    }
}

/// Lists until it works: a server that is restarting just now must not cost a plugin its term. A refusal is final.
async fn list_until(reader: &Reader, key: &WatchKey, deadline: Instant) -> Result<Listing, ApiError> {
    let mut last = None;
    loop {
        match timeout_at(deadline, list(reader, key)).await {
            Ok(Ok(listing)) => return Ok(listing),
            Ok(Err(error)) if is_final(&error) => return Err(error),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {
                let never = || ApiError::Timeout { method_and_path: format!("GET {key}"), limit: deadline.elapsed() };
                return Err(last.unwrap_or_else(never));
            }
        }
        sleep(LIST_RETRY).await;
    }
}

fn is_final(error: &ApiError) -> bool {
    match error {
        // 410: the list took so long that its continue token expired; a new one may be quicker.
        ApiError::Status(status) => status.code < 500 && !matches!(status.code, 410 | 429),
        ApiError::InvalidPath(_) => true,
        _ => false,
    }
}

/// All pages of one list. No resourceVersion: the answer is as fresh as etcd, and the later pages show the same moment.
async fn list(reader: &Reader, key: &WatchKey) -> Result<Listing, ApiError> {
    let path = key.path()?;
    let limit = PAGE_OBJECTS_MAX.to_string();
    let mut objects = HashMap::new();
    let mut token: Option<String> = None;
    loop {
        let page_path = with_query(path.clone(), [("limit", Some(limit.as_str())), ("continue", token.as_deref())]);
        let page: MetadataList = reader.read_as(&page_path, Accept::MetadataOfList).await?;
        objects.extend(page.items.unwrap_or_default().into_iter().map(|MetadataItem { metadata }| {
            ((metadata.namespace, metadata.name), metadata.resource_version.parse().unwrap_or(0))
        }));
        match page.metadata.continue_token.filter(|token| !token.is_empty()) {
            Some(next) => token = Some(next),
            None => {
                let version = page.metadata.resource_version.and_then(|version| version.parse().ok()).unwrap_or(0);
                return Ok(Listing { version, objects });
            }
        }
    }
}
