//! The drill's eye: one watch on the Lease, resumed by kube's watcher, each piece of news stamped the moment it is delivered.

use std::time::Instant;

use anyhow::{Context as _, anyhow};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::chronicle::News;
use super::lease::LeaseState;
use super::rbac;
use crate::cli::LeaseName;

/// News that waits for the drill. It takes each within milliseconds; past this the watch waits, and stamps what it brings later.
const NEWS_MAX: usize = 1024;

/// News and when it was delivered, or why there will be none.
pub(super) type Delivery = anyhow::Result<(Instant, News)>;

/// A watch that runs until dropped.
pub(super) struct LeaseWatch {
    news: mpsc::Receiver<Delivery>,
    task: JoinHandle<()>,
}

impl LeaseWatch {
    /// Begins to watch.
    pub(super) fn start(client: kube::Client, lease: LeaseName) -> Self {
        let (tell, news) = mpsc::channel(NEWS_MAX);
        Self { news, task: tokio::spawn(follow(client, lease, tell)) }
    }

    /// The next piece of news. Loses none when dropped.
    pub(super) async fn next(&mut self) -> Delivery {
        self.news.recv().await.context("the watch on the lease ended")?
    }

    /// What has been delivered already.
    pub(super) fn waiting(&mut self) -> Option<Delivery> {
        self.news.try_recv().ok()
    }
}

impl Drop for LeaseWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(client: kube::Client, lease: LeaseName, tell: mpsc::Sender<Delivery>) {
    let api: Api<Lease> = Api::namespaced(client, &lease.namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", lease.name));
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut was_synced = false;
    let mut is_listed = false;
    loop {
        let event = events.try_next().await;
        let at = Instant::now();
        let news = match event {
            Ok(Some(Event::Apply(lease))) => News::State(LeaseState::of(lease)),
            Ok(Some(Event::InitApply(lease))) => {
                is_listed = true;
                News::State(LeaseState::of(lease))
            }
            Ok(Some(Event::Delete(_))) => News::Absent,
            Ok(Some(Event::Init)) => {
                is_listed = false;
                if !was_synced {
                    continue;
                }
                News::Gap
            }
            Ok(Some(Event::InitDone)) => {
                was_synced = true;
                if is_listed {
                    continue;
                }
                News::Absent
            }
            Ok(None) => return,
            Err(error) => match judge(error, &lease, was_synced) {
                Some(fatal) => {
                    let _ = tell.send(Err(fatal)).await;
                    return;
                }
                // It is opened again where it ended; if that cannot be, it starts over and says so.
                None => continue,
            },
        };
        if tell.send(Ok((at, news))).await.is_err() {
            return;
        }
    }
}

/// What ends the drill: what no waiting mends, and anything before the Lease was seen for the first time.
fn judge(error: watcher::Error, lease: &LeaseName, was_synced: bool) -> Option<anyhow::Error> {
    let verb = match &error {
        watcher::Error::InitialListFailed(_) => "list",
        _ => "watch",
    };
    let code = match &error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some((status.code, status.message.clone())),
        watcher::Error::WatchError(status) => Some((status.code, status.message.clone())),
        _ => None,
    };
    match code {
        Some((403, said)) => Some(rbac::forbidden(verb, "coordination.k8s.io", "leases", &lease.namespace, &said)),
        Some((401, said)) => {
            Some(anyhow!("cannot {verb} lease {lease}: the API server does not know this account: {said}"))
        }
        _ if was_synced => None,
        _ => Some(anyhow::Error::from(error).context(format!("cannot {verb} lease {lease}"))),
    }
}
