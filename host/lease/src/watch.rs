//! The one watch on a lock: keeps it running, and passes on what it says. Believes nothing and decides nothing; the
//! elector judges how new a piece of news is.

use std::time::Duration;

use futures::StreamExt;
use http::Request;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::{CallFailure, LockApi, chain};
use crate::object::LockObject;

/// What the watch brings.
#[derive(Debug)]
pub(crate) enum News {
    /// The answer to a list: the lock's object, or that the list was empty.
    Listed(Option<LockObject>),
    /// An event that shows the object.
    Changed(LockObject),
    /// A DELETED event: the object as it was last, at the version of its deletion.
    Deleted(LockObject),
    /// This account may not list or watch.
    Forbidden(CallFailure),
    /// The watch does not work at the moment.
    Failing(CallFailure),
    /// The watch works (again).
    Working,
}

/// Passes on the news of one of the locks.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    pub(crate) lock: usize,
    pub(crate) news: mpsc::Sender<(usize, News)>,
}

/// News waiting for the election thread. It takes each within microseconds; past this the watch waits, loses nothing.
pub(crate) const NEWS_MAX: usize = 64;

/// A watch ends by itself after so long, plus a draw, so that a load balancer spreads them again.
const STREAM_SECONDS_MIN: u64 = 240;
const STREAM_SECONDS_SPREAD: u64 = 60;
/// The shortest silence that counts as a dead connection, whatever the lease duration.
const SILENCE_MIN: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A stream that ends without a word in less than this has failed, whatever its status: it is not reopened in a loop.
const STREAM_SHORT: Duration = Duration::from_secs(1);
/// An API server that has just started knows no Role for a moment; what is still forbidden then is asked for ever more rarely.
const FORBIDDEN_PAUSE_MIN: Duration = Duration::from_secs(1);
/// A Role that was mended is noticed after so long.
const FORBIDDEN_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why a stream or list ended before its time.
enum End {
    /// The version to resume from is too old (410): list again.
    Gone(CallFailure),
    Forbidden(CallFailure),
    Failed(CallFailure),
    /// Nobody takes the news any more.
    Unheard,
}

/// Lists, then watches, for ever; ends when `news` is closed. A held lock is renewed every few seconds, so a stream that
/// is silent for one lease duration is taken for dead. However a stream ended, the next begins with a list of its own: on
/// a server that was restored meanwhile, a watch from an old version would wait without a word.
pub(crate) async fn follow(api: LockApi, lease_duration: Duration, news: Teller) {
    let silence = lease_duration.max(SILENCE_MIN);
    let mut failures = 0_u32;
    let mut forbidden_pause = FORBIDDEN_PAUSE_MIN;
    loop {
        let opened = Instant::now();
        let mut heard = false;
        let end = match list(&api, silence, &news).await {
            Ok(version) => stream(&api, &version, silence, &news, &mut heard).await,
            Err(end) => Err(end),
        };
        if end.is_ok() {
            forbidden_pause = FORBIDDEN_PAUSE_MIN;
        }
        match end {
            Ok(()) if heard || opened.elapsed() >= STREAM_SHORT => failures = 0,
            Ok(()) => failures = failures.saturating_add(1),
            Err(End::Unheard) => return,
            Err(End::Forbidden(failure)) => {
                if tell(&news, News::Forbidden(failure)).await.is_err() {
                    return;
                }
                tokio::time::sleep(forbidden_pause).await;
                forbidden_pause = FORBIDDEN_PAUSE_MAX.min(forbidden_pause * 2);
                continue;
            }
            Err(End::Gone(failure)) => {
                tracing::debug!(reason = failure.message, "the watch on the lock starts over");
                failures = failures.saturating_add(1);
            }
            Err(End::Failed(failure)) => {
                failures = if heard { 1 } else { failures.saturating_add(1) };
                if tell(&news, News::Failing(failure)).await.is_err() {
                    return;
                }
            }
        }
        if failures > 0 {
            tokio::time::sleep(backoff(failures, rand::random_range(0.5..1.0))).await;
        }
    }
}

/// Doubles from [`BACKOFF_MIN`] to [`BACKOFF_MAX`], times a draw in `0.5..1`.
fn backoff(failures: u32, draw: f64) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(BACKOFF_MAX).mul_f64(draw)
}

/// One consistent list of at most this one object; the version to watch from.
async fn list(api: &LockApi, timeout: Duration, news: &Teller) -> Result<String, End> {
    let path = format!("{}?fieldSelector=metadata.name%3D{}", api.collection(), api.lock().name);
    let call = async {
        let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        api.client().request::<Value>(request).await
    };
    let mut list = match tokio::time::timeout(timeout, call).await {
        Ok(Ok(list)) => list,
        Ok(Err(error)) => return Err(classify(api, "list", &error)),
        Err(_elapsed) => {
            let within = format!("no answer within {} s", timeout.as_secs());
            return Err(End::Failed(api.failure("list", None, within)));
        }
    };
    let Some(version) = list.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(String::from) else {
        return Err(End::Failed(api.failure("list", None, "the answer has no metadata.resourceVersion")));
    };
    let item = list.pointer_mut("/items/0").map(Value::take);
    let item = item.map(|item| LockObject::from_value(api.lock().kind, item)).transpose();
    let item = item.map_err(|error| End::Failed(api.failure("list", None, chain(&error))))?;
    tell(news, News::Listed(item)).await?;
    Ok(version)
}

/// One watch request from `version` on, until the server ends it in order or falls silent; notes whether it said anything.
async fn stream(api: &LockApi, version: &str, silence: Duration, news: &Teller, heard: &mut bool) -> Result<(), End> {
    let seconds = STREAM_SECONDS_MIN + rand::random_range(0..STREAM_SECONDS_SPREAD);
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&fieldSelector=metadata.name%3D{}&resourceVersion={version}&timeoutSeconds={seconds}",
        api.collection(),
        api.lock().name,
    );
    let open = async {
        let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        api.client().request_events::<Value>(request).await
    };
    let events = tokio::time::timeout(silence, open).await.map_err(|_elapsed| {
        let within = format!("no answer within {} s", silence.as_secs());
        End::Failed(api.failure("watch", None, within))
    })?;
    let events = events.map_err(|error| classify(api, "watch", &error))?;
    let mut events = std::pin::pin!(events);
    tell(news, News::Working).await?;
    loop {
        let Ok(next) = tokio::time::timeout(silence, events.next()).await else {
            // Dead, or nobody holds the lock: dropping the stream closes its connection, and a new one tells.
            tracing::debug!(silent_seconds = silence.as_secs(), "the watch on the lock is opened again after silence");
            return Ok(());
        };
        let Some(event) = next else { return Ok(()) };
        let event = event.map_err(|error| classify(api, "watch", &error))?;
        let (object, deleted) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
            WatchEvent::Deleted(object) => (object, true),
            WatchEvent::Bookmark(_) => {
                *heard = true;
                continue;
            }
            WatchEvent::Error(status) => return Err(classify(api, "watch", &kube::Error::Api(status))),
        };
        let object = LockObject::from_value(api.lock().kind, object);
        let object = object.map_err(|error| End::Gone(api.failure("watch", None, chain(&error))))?;
        *heard = true;
        tell(news, if deleted { News::Deleted(object) } else { News::Changed(object) }).await?;
    }
}

async fn tell(news: &Teller, what: News) -> Result<(), End> {
    news.news.send((news.lock, what)).await.map_err(|_closed| End::Unheard)
}

fn classify(api: &LockApi, verb: &str, error: &kube::Error) -> End {
    let kube::Error::Api(status) = error else {
        return End::Failed(api.failure(verb, None, api.unreachable(error)));
    };
    let failure = api.refused(verb, status.code, &status.message);
    match status.code {
        403 => End::Forbidden(failure),
        410 => End::Gone(failure),
        _ => End::Failed(failure),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use futures::stream;
    use http::Response;
    use http_body_util::StreamBody;
    use http_body_util::combinators::UnsyncBoxBody;
    use hyper::body::{Bytes, Frame};
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::Lock;

    /// What the API server answers next.
    enum Answer {
        /// This status and body.
        Whole(u16, Value),
        /// 200 and these lines; then the stream ends.
        Ends(Vec<Value>),
        /// 200 and these lines; then silence.
        Silent(Vec<Value>),
    }

    /// An API server that answers as scripted, then never again.
    struct Server {
        paths: Arc<Mutex<Vec<String>>>,
        news: mpsc::Receiver<(usize, News)>,
    }

    impl Server {
        fn start(script: Vec<Answer>) -> Self {
            let paths = Arc::new(Mutex::new(Vec::new()));
            let asked = Arc::clone(&paths);
            let script = Arc::new(Mutex::new(VecDeque::from(script)));
            let service = tower::service_fn(move |request: Request<Body>| {
                asked.lock().unwrap().push(request.uri().to_string());
                let answer = script.lock().unwrap().pop_front();
                async move {
                    match answer {
                        Some(answer) => Ok::<_, Infallible>(respond(answer)),
                        None => std::future::pending().await,
                    }
                }
            });
            let lock = Lock::lease("ns", "lock");
            let api = LockApi::over(Client::new(service, "default"), lock);
            let (tell, news) = mpsc::channel(NEWS_MAX);
            tokio::spawn(follow(api, LEASE, Teller { lock: 0, news: tell }));
            Self { paths, news }
        }

        /// The next piece of news, but for how the watch does.
        async fn next(&mut self) -> News {
            loop {
                match self.news.recv().await.expect("the watch goes on").1 {
                    News::Working | News::Failing(_) => {}
                    news => return news,
                }
            }
        }

        /// What was asked for so far: `list`, or the version the watch was opened at.
        fn asked(&self) -> Vec<String> {
            let version = |path: &String| {
                let (_, rest) = path.split_once("resourceVersion=")?;
                rest.split('&').next().map(String::from)
            };
            let paths = self.paths.lock().unwrap();
            paths.iter().map(|path| version(path).unwrap_or_else(|| String::from("list"))).collect()
        }
    }

    const LEASE: Duration = Duration::from_secs(15);

    fn respond(answer: Answer) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let (status, lines, silent) = match answer {
            Answer::Whole(status, body) => (status, vec![body], false),
            Answer::Ends(lines) => (200, lines, false),
            Answer::Silent(lines) => (200, lines, true),
        };
        let frames = lines.into_iter().map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n")))));
        let frames = stream::iter(frames.collect::<Vec<_>>());
        let body = if silent {
            UnsyncBoxBody::new(StreamBody::new(frames.chain(stream::pending())))
        } else {
            UnsyncBoxBody::new(StreamBody::new(frames))
        };
        Response::builder().status(status).body(body).unwrap()
    }

    fn lease(version: u64) -> Value {
        json!({ "metadata": { "name": "lock", "namespace": "ns", "uid": "u", "resourceVersion": version.to_string() } })
    }

    fn listed(version: u64, items: &[Value]) -> Answer {
        Answer::Whole(200, json!({ "metadata": { "resourceVersion": version.to_string() }, "items": items }))
    }

    fn event(kind: &str, object: &Value) -> Value {
        json!({ "type": kind, "object": object })
    }

    fn bookmark(version: u64) -> Value {
        let metadata = json!({ "resourceVersion": version.to_string() });
        event("BOOKMARK", &json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata }))
    }

    fn status(code: u16) -> Value {
        json!({ "kind": "Status", "status": "Failure", "reason": "x", "message": "said so", "code": code })
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_passed_on_and_each_watch_begins_with_a_list() {
        let mut server = Server::start(vec![
            listed(5, &[lease(3)]),
            Answer::Ends(vec![event("MODIFIED", &lease(6)), event("DELETED", &lease(7))]),
            listed(8, &[]),
            Answer::Ends(vec![bookmark(9)]),
            listed(10, &[]),
            Answer::Silent(vec![event("ADDED", &lease(12))]),
        ]);
        assert!(matches!(server.next().await, News::Listed(Some(object)) if object.seen().version == 3));
        assert!(matches!(server.next().await, News::Changed(object) if object.seen().version == 6));
        assert!(matches!(server.next().await, News::Deleted(object) if object.seen().version == 7));
        assert!(matches!(server.next().await, News::Listed(None)));
        assert!(matches!(server.next().await, News::Listed(None)));
        assert!(matches!(server.next().await, News::Changed(object) if object.seen().version == 12));
        assert_eq!(server.asked(), ["list", "5", "list", "8", "list", "10"]);
    }

    #[tokio::test(start_paused = true)]
    async fn empty_list_says_so_and_is_watched_from_its_version() {
        let mut server = Server::start(vec![listed(5, &[]), Answer::Silent(vec![event("ADDED", &lease(6))])]);
        assert!(matches!(server.next().await, News::Listed(None)));
        assert!(matches!(server.next().await, News::Changed(_)));
        assert_eq!(server.asked(), ["list", "5"]);
    }

    #[tokio::test(start_paused = true)]
    async fn version_that_is_gone_is_listed_again() {
        let mut server = Server::start(vec![
            listed(5, &[lease(3)]),
            Answer::Whole(410, status(410)),
            listed(20, &[lease(18)]),
            Answer::Ends(vec![event("ERROR", &status(410))]),
            listed(30, &[]),
        ]);
        assert!(matches!(server.next().await, News::Listed(Some(_))));
        assert!(matches!(server.next().await, News::Listed(Some(object)) if object.seen().version == 18));
        assert!(matches!(server.next().await, News::Listed(None)));
        assert_eq!(server.asked()[..5], ["list", "5", "list", "20", "list"]);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connection_is_given_up_for_a_new_one() {
        let mut server = Server::start(vec![
            listed(5, &[lease(3)]),
            Answer::Silent(vec![event("MODIFIED", &lease(6))]),
            listed(7, &[lease(7)]),
            Answer::Silent(vec![event("MODIFIED", &lease(8))]),
        ]);
        let started = Instant::now();
        for version in [3, 6, 7, 8] {
            assert!(matches!(
                server.next().await,
                News::Listed(Some(object)) | News::Changed(object) if object.seen().version == version
            ));
        }
        assert!(started.elapsed() >= LEASE, "silence is waited for");
        assert!(started.elapsed() < LEASE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn forbidden_watch_is_told_and_tried_again_soon_then_ever_more_rarely() {
        let refused = || [listed(5, &[lease(3)]), Answer::Whole(403, status(403))];
        let mut server = Server::start((0..8).flat_map(|_| refused()).chain([listed(5, &[])]).collect());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(matches!(server.next().await, News::Listed(Some(_))));
            let News::Forbidden(failure) = server.next().await else { panic!("it is forbidden") };
            assert!(failure.message.contains("forbidden to watch"), "{}", failure.message);
            pauses.push(Instant::now());
        }
        assert!(matches!(server.next().await, News::Listed(None)));
        assert!(pauses[1] - pauses[0] < FORBIDDEN_PAUSE_MIN * 2);
        assert!(pauses[7].elapsed() >= FORBIDDEN_PAUSE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn watch_that_failed_lists_before_it_goes_on() {
        let mut server = Server::start(vec![
            listed(90, &[lease(80)]),
            Answer::Whole(503, status(503)),
            listed(40, &[lease(30)]),
            Answer::Silent(vec![event("MODIFIED", &lease(41))]),
        ]);
        for version in [80, 30, 41] {
            assert!(matches!(
                server.next().await,
                News::Listed(Some(object)) | News::Changed(object) if object.seen().version == version
            ));
        }
        assert_eq!(server.asked(), ["list", "90", "list", "40"]);
    }

    #[tokio::test(start_paused = true)]
    async fn server_that_ends_each_stream_at_once_is_not_asked_in_a_loop() {
        let endless = (0..200).map(|_| Answer::Ends(Vec::new()));
        let mut server = Server::start(std::iter::once(listed(5, &[])).chain(endless).collect());
        assert!(matches!(server.next().await, News::Listed(None)));
        tokio::time::sleep(Duration::from_secs(60)).await;
        while server.news.try_recv().is_ok() {}
        assert!(server.asked().len() < 60, "{} requests in a minute", server.asked().len());
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        assert_eq!(backoff(1, 1.0), BACKOFF_MIN);
        assert_eq!(backoff(3, 1.0), BACKOFF_MIN * 4);
        assert_eq!(backoff(3, 0.5), BACKOFF_MIN * 2);
        assert_eq!(backoff(u32::MAX, 1.0), BACKOFF_MAX);
    }
}
