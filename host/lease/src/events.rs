//! Kubernetes Events on the lock, posted from a side task: the election never waits for them, and a failure costs a log
//! line.

use std::time::Duration;

use http::Request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::api::chain;
use crate::{Lock, PodRef};

/// Events waiting to be posted. A term makes two and warnings are at most one a minute each: more waiting means that the
/// API server takes none, and then the oldest say enough.
const QUEUE_MAX: usize = 32;
/// How long one post may take.
const POST_TIMEOUT: Duration = Duration::from_secs(5);
/// The reason client-go's leader election gives.
const REASON: &str = "LeaderElection";
/// An object's name has at most 253 characters; the time in hex and a dot take up to 17 of them.
const NAME_PREFIX_MAX: usize = 230;

/// How loud an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loudness {
    Normal,
    Warning,
}

/// One event to post.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) loudness: Loudness,
    pub(crate) message: String,
    /// Since 1970.
    pub(crate) at: Duration,
    /// The object's uid and version, if known.
    pub(crate) lease: Option<(String, u64)>,
}

/// What all events of one election share.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) lock: Lock,
    pub(crate) component: String,
    pub(crate) pod: Option<PodRef>,
}

/// Takes events and posts them one after the other.
#[derive(Debug)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Notice>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Within a tokio runtime.
    pub(crate) fn new(client: Client, origin: Origin) -> Self {
        let (queue, notices) = mpsc::channel(QUEUE_MAX);
        Self { queue, task: tokio::spawn(post_all(client, origin, notices)) }
    }

    /// Queues an event; past [`QUEUE_MAX`] it is dropped.
    pub(crate) fn record(&self, notice: Notice) {
        if let Err(refused) = self.queue.try_send(notice) {
            tracing::debug!(%refused, "an event on the lock is dropped");
        }
    }

    /// Posts what is queued, within `limit`.
    pub(crate) async fn finish(self, limit: Duration) {
        drop(self.queue);
        if tokio::time::timeout(limit, self.task).await.is_err() {
            tracing::debug!("the last events on the lock could not be posted in time");
        }
    }
}

async fn post_all(client: Client, origin: Origin, mut notices: mpsc::Receiver<Notice>) {
    let path = format!("/api/v1/namespaces/{}/events", origin.lock.namespace);
    while let Some(notice) = notices.recv().await {
        let message = notice.message.clone();
        if let Err(error) = post(&client, &path, &event(&origin, notice)).await {
            tracing::warn!(event = message, error, "cannot post an event on the lock");
        }
    }
}

async fn post(client: &Client, path: &str, event: &Event) -> Result<(), String> {
    let body = serde_json::to_vec(event).map_err(|error| error.to_string())?;
    let request = Request::post(path).header(http::header::CONTENT_TYPE, "application/json").body(body);
    let request = request.map_err(|error| error.to_string())?;
    match tokio::time::timeout(POST_TIMEOUT, client.request_text(request)).await {
        Ok(answer) => answer.map(drop).map_err(|error| chain(&error)),
        Err(_elapsed) => Err(format!("no answer within {} s", POST_TIMEOUT.as_secs())),
    }
}

/// As client-go's recorder makes it: a core/v1 Event without `eventTime`, which validation would hold to stricter rules.
fn event(origin: &Origin, notice: Notice) -> Event {
    let Origin { lock, component, pod } = origin;
    let seconds = i64::try_from(notice.at.as_secs()).unwrap_or(i64::MAX);
    let time = Some(Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)));
    let prefix: String = lock.name.chars().take(NAME_PREFIX_MAX).collect();
    let (uid, version) = notice.lease.unzip();
    Event {
        metadata: ObjectMeta {
            namespace: Some(lock.namespace.clone()),
            name: Some(format!("{}.{:x}", prefix.trim_end_matches('.'), notice.at.as_nanos())),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(lock.kind.api_version().to_owned()),
            kind: Some(lock.kind.kind().to_owned()),
            namespace: Some(lock.namespace.clone()),
            name: Some(lock.name.clone()),
            uid,
            resource_version: version.map(|version| version.to_string()),
            ..ObjectReference::default()
        },
        related: pod.as_ref().map(|pod| ObjectReference {
            api_version: Some(String::from("v1")),
            kind: Some(String::from("Pod")),
            name: Some(pod.name.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectReference::default()
        }),
        type_: Some(String::from(match notice.loudness {
            Loudness::Normal => "Normal",
            Loudness::Warning => "Warning",
        })),
        reason: Some(String::from(REASON)),
        message: Some(notice.message),
        source: Some(EventSource { component: Some(component.clone()), host: None }),
        reporting_component: Some(component.clone()),
        reporting_instance: Some(pod.as_ref().map(|pod| pod.name.clone()).unwrap_or_default()),
        first_timestamp: time.clone(),
        last_timestamp: time,
        count: Some(1),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            loudness: Loudness::Normal,
            message: String::from("a became leader"),
            at: Duration::from_millis(1_767_323_045_123),
            lease: Some((String::from("6b1c"), 4711)),
        }
    }

    fn origin(name: String) -> Origin {
        let pod = Some(PodRef { name: String::from("pod-a"), uid: String::from("77") });
        Origin { lock: Lock::lease("ns", name), component: String::from("tenure"), pod }
    }

    #[test]
    fn event_is_on_the_lease_from_the_component_and_related_to_the_pod() {
        let event = serde_json::to_value(event(&origin(String::from("lock")), notice())).unwrap();
        assert_eq!(event["involvedObject"]["kind"], "Lease");
        assert_eq!(event["involvedObject"]["uid"], "6b1c");
        assert_eq!(event["involvedObject"]["namespace"], event["metadata"]["namespace"]);
        assert_eq!(event["reason"], "LeaderElection");
        assert_eq!(event["message"], "a became leader");
        assert_eq!(event["source"]["component"], "tenure");
        assert_eq!(event["related"]["name"], "pod-a");
        assert_eq!(event["firstTimestamp"], "2026-01-02T03:04:05Z");
        assert_eq!(event.get("eventTime"), None);
    }

    #[test]
    fn events_name_fits_an_object_whatever_the_locks_name() {
        let event = event(&origin("x".repeat(253)), notice());
        assert!(event.metadata.name.unwrap().len() <= 253);
    }
}
