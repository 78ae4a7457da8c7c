//! What of the shared cache a plugin may be shown that works under an account of its own: what the API server would let that
//! account read. The cache is filled under the host's account, so the API server is asked, again and again; until it has said
//! yes, nothing is shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tenure_cluster::{ApiError, Cluster, Impersonated, Review, WatchKey};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::supervise::describe;

/// How often the API server is asked again.
const REVIEW_EVERY: Duration = Duration::from_secs(30);
/// How soon when it did not answer.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// How long an answer stands while none follows.
const ANSWER_STANDS: Duration = Duration::from_secs(60);
/// What a watch needs.
const WATCH_VERBS: [&str; 2] = ["list", "watch"];

/// What may be shown.
#[derive(Clone)]
pub(crate) enum Visible {
    /// All that the plugin's own rules cover: it works under the host's account.
    Everything,
    /// What was found for each of its watches.
    Reviewed {
        found: watch::Receiver<Found>,
        /// Asks on; ends with the last clone.
        _task: Arc<AbortOnDropHandle<()>>,
    },
}

type Found = Arc<BTreeMap<WatchKey, Verdict>>;

/// What was found for one watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether its objects may be shown at all: `list` and `watch`. Why not, else.
    shown: Result<(), String>,
    /// Whether one may be asked for by name.
    get: bool,
}

impl Visible {
    /// What `account` may be shown of these watches. Nothing until the API server was asked. Must be called in a tokio runtime.
    pub(crate) fn to(account: Arc<Impersonated>, keys: Vec<WatchKey>, cluster: Arc<Cluster>) -> Self {
        let (sender, found) = watch::channel(Found::default());
        let task = tokio::spawn(review_all(account, keys, cluster, sender));
        Self::Reviewed { found, _task: Arc::new(AbortOnDropHandle::new(task)) }
    }

    /// Whether objects of this watch may be shown.
    pub(crate) fn shows(&self, key: &WatchKey) -> bool {
        self.verdict(key, |verdict| verdict.is_some_and(|verdict| verdict.shown.is_ok()))
    }

    /// Whether one object of this watch may be asked for.
    pub(crate) fn answers_get(&self, key: &WatchKey) -> bool {
        self.verdict(key, |verdict| verdict.is_some_and(|verdict| verdict.shown.is_ok() && verdict.get))
    }

    /// Why nothing of this watch is shown; `None` where it is, or nobody knows yet.
    pub(crate) fn hidden_because(&self, key: &WatchKey) -> Option<String> {
        match self {
            Self::Everything => None,
            Self::Reviewed { found, .. } => found.borrow().get(key)?.shown.clone().err(),
        }
    }

    /// Waits until something else may be shown than before.
    pub(crate) async fn changed(&mut self) {
        if let Self::Reviewed { found, .. } = self
            && found.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    fn verdict(&self, key: &WatchKey, ask: impl FnOnce(Option<&Verdict>) -> bool) -> bool {
        match self {
            Self::Everything => true,
            Self::Reviewed { found, .. } => ask(found.borrow().get(key)),
        }
    }
}

async fn review_all(
    account: Arc<Impersonated>,
    keys: Vec<WatchKey>,
    cluster: Arc<Cluster>,
    sender: watch::Sender<Found>,
) {
    let mut found = BTreeMap::new();
    let mut answered: BTreeMap<WatchKey, Instant> = BTreeMap::new();
    loop {
        let mut wait = REVIEW_EVERY;
        for key in &keys {
            let asked = Instant::now();
            match review(&account, key, &cluster).await {
                Ok(verdict) => {
                    answered.insert(key.clone(), asked);
                    found.insert(key.clone(), verdict);
                }
                Err(error) => {
                    wait = RETRY_EVERY;
                    let stands = answered.get(key).is_some_and(|at| at.elapsed() < ANSWER_STANDS);
                    // Not allowed to ask is an answer too.
                    if !stands || error.code() == Some(403) {
                        let shown = Err(format!("its account's rights cannot be asked for: {}", describe(&error)));
                        found.insert(key.clone(), Verdict { shown, get: false });
                    }
                }
            }
        }
        sender.send_if_modified(|known| {
            let news = **known != found;
            if news {
                *known = Arc::new(found.clone());
            }
            news
        });
        tokio::time::sleep(wait).await;
    }
}

async fn review(account: &Impersonated, key: &WatchKey, cluster: &Cluster) -> Result<Verdict, ApiError> {
    let asked = |verb| Review {
        verb,
        group: &key.resource.group,
        resource: &key.resource.plural,
        namespace: key.namespace.as_deref(),
        ..Review::default()
    };
    let mut shown = Ok(());
    for verb in WATCH_VERBS {
        let reviewed = cluster.review(Some(account), &asked(verb)).await?;
        if !reviewed.allowed {
            shown = Err(format!("{} may not {verb} {key}: {}", account.user(), or_nothing(&reviewed.reason)));
            break;
        }
    }
    let get = shown.is_ok() && cluster.review(Some(account), &asked("get")).await?.allowed;
    Ok(Verdict { shown, get })
}

fn or_nothing(reason: &str) -> &str {
    if reason.is_empty() { "no Role gives it that right" } else { reason }
}
