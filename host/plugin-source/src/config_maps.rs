//! The cluster as a source: a port for what is watched, and the stream of events made of it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    SourceEvent, SourceLimits,
    assembly::{Assembly, CHUNKS_LATE_AFTER},
};

/// What is seen of the ConfigMaps in the plugin namespaces. Others than heads and chunks may be among them.
#[derive(Clone, Debug)]
pub enum FeedEvent {
    /// One is there, new or changed: its JSON.
    Applied(Bytes),
    /// One is gone, or no longer matches what is watched.
    Deleted {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// All there is, after a gap: what is not in it is gone.
    Snapshot(Vec<Bytes>),
    /// Everything that was there at the start has been sent.
    Synced,
    /// Watching does not work now, and why; it goes on trying.
    Failing(String),
}

/// The port to the cluster.
pub trait ConfigMapFeed: Send + Sync + 'static {
    /// What is there, then what changes. The stream ends when nobody watches any more.
    fn events(&self) -> BoxStream<'static, FeedEvent>;
}

/// Plugins in ConfigMaps: one event for each real change. Ends when the feed ends.
///
/// Decompressing and hashing happen on tokio's blocking threads, so the stream must be polled inside a tokio runtime.
#[expect(clippy::needless_pass_by_value, reason = "whoever makes the feed hands it over")]
pub fn config_maps(
    feed: Arc<dyn ConfigMapFeed>,
    limits: SourceLimits,
) -> impl Stream<Item = SourceEvent> + Send + use<> {
    let running =
        Running { feed: feed.events(), assembly: Arc::new(Mutex::new(Assembly::new(limits))), chunks_late_at: None };
    stream::unfold(running, |mut running| async move {
        let events = running.next().await?;
        Some((stream::iter(events), running))
    })
    .flatten()
}

struct Running {
    feed: BoxStream<'static, FeedEvent>,
    /// Only ever used by one blocking call at a time; the lock is there to hand it over.
    assembly: Arc<Mutex<Assembly>>,
    /// When waiting for chunks becomes worth telling.
    chunks_late_at: Option<Instant>,
}

impl Running {
    async fn next(&mut self) -> Option<Vec<SourceEvent>> {
        let arrived = match self.chunks_late_at {
            Some(late_at) => timeout_at(late_at, self.feed.next()).await.ok(),
            None => Some(self.feed.next().await),
        };
        let event = match arrived {
            Some(event) => Some(event?),
            None => None,
        };
        let judge = move |assembly: &mut Assembly| {
            let events = match event {
                Some(event) => assembly.handle(event),
                None => assembly.handle_late_chunks(),
            };
            (events, assembly.is_waiting())
        };
        let (events, is_waiting) = on_blocking_thread(Arc::clone(&self.assembly), judge).await?;
        let deadline = self.chunks_late_at.unwrap_or_else(|| Instant::now() + CHUNKS_LATE_AFTER);
        self.chunks_late_at = is_waiting.then_some(deadline);
        Some(events)
    }
}

/// None when the runtime shuts down. A panic goes on here: its owner must see it.
async fn on_blocking_thread<T: Send + 'static>(
    assembly: Arc<Mutex<Assembly>>,
    work: impl FnOnce(&mut Assembly) -> T + Send + 'static,
) -> Option<T> {
    let work = move || work(&mut assembly.lock().unwrap_or_else(PoisonError::into_inner));
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}
