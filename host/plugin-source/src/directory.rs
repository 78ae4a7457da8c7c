//! A directory as a source: scanned at the start, then whenever the system says that something in it changed.

mod entry;
mod scan;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use notify::{
    EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::warn;

use crate::{SourceEvent, SourceLimits, directory::scan::Scanner};

/// After the first sign of a change: copying a file makes many.
const QUIET: Duration = Duration::from_millis(100);
/// Also without a sign: file systems that send none (network mounts), and signs lost to a full queue.
const RESCAN_EVERY: Duration = Duration::from_secs(10);

/// Plugins in a directory: `<stem>.wasm` (or `.wasm.gz`, `.wasm.zst`) beside `<stem>.toml`, or a folder `<stem>` with
/// `plugin.wasm` and `plugin.toml`. Names that begin with a dot are passed over. A file is taken once it has stopped
/// changing. Never ends; must be polled inside a tokio runtime.
pub fn directory(path: PathBuf, limits: SourceLimits) -> impl Stream<Item = SourceEvent> + Send + use<> {
    let (signs, changes) = mpsc::channel(1);
    let running = Running {
        scanner: Arc::new(Mutex::new(Scanner::new(path.clone(), limits))),
        path,
        signs,
        changes,
        watcher: None,
        next: Wait::None,
    };
    stream::unfold(running, |mut running| async move {
        let events = running.next().await?;
        Some((stream::iter(events), running))
    })
    .flatten()
}

/// What comes before the next scan.
enum Wait {
    None,
    ForChange,
    ToSettle,
}

struct Running {
    /// Only ever used by one blocking call at a time; the lock is there to hand it over.
    scanner: Arc<Mutex<Scanner>>,
    path: PathBuf,
    signs: mpsc::Sender<()>,
    changes: mpsc::Receiver<()>,
    /// None while it cannot be had, such as before the directory exists.
    watcher: Option<notify::RecommendedWatcher>,
    next: Wait,
}

impl Running {
    async fn next(&mut self) -> Option<Vec<SourceEvent>> {
        match self.next {
            Wait::None => {}
            Wait::ToSettle => sleep(scan::SETTLED_AFTER).await,
            Wait::ForChange => {
                // Either way it is time to look: a change, or the regular round.
                if timeout(RESCAN_EVERY, self.changes.recv()).await.is_ok() {
                    sleep(QUIET).await;
                }
            }
        }
        while self.changes.try_recv().is_ok() {}
        // Watching begins before the scan: what changes in between is seen twice, not missed.
        self.watch();
        let scanner = Arc::clone(&self.scanner);
        let scan = move || scanner.lock().unwrap_or_else(PoisonError::into_inner).scan();
        let scanned = match tokio::task::spawn_blocking(scan).await {
            Ok(scanned) => scanned,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return None, // the runtime shuts down
        };
        if scanned.is_unreadable {
            self.watcher = None; // it may be another directory when it comes back
        }
        self.next = if scanned.is_settled { Wait::ForChange } else { Wait::ToSettle };
        Some(scanned.events)
    }

    fn watch(&mut self) {
        if self.watcher.is_none() && self.path.is_dir() {
            self.watcher = watcher(&self.path, self.signs.clone())
                .inspect_err(|error| {
                    let seconds = RESCAN_EVERY.as_secs();
                    warn!(path = %self.path.display(), %error, "cannot watch the plugin directory; looking every {seconds} s");
                })
                .ok();
        }
    }
}

fn watcher(path: &Path, signs: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let is_reading = event.is_ok_and(|event| match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            EventKind::Access(_) => true, // our own scan, too
            _ => false,
        });
        if !is_reading {
            let _ = signs.try_send(()); // one sign that waits is as good as many
        }
    })?;
    watcher.watch(path, RecursiveMode::Recursive)?;
    Ok(watcher)
}
