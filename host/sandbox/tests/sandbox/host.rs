//! A host port that records what it is asked and answers what it was told to; and short ways to an instance.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure_sandbox::{
    Cause, DeleteOptions, Error, EventType, GetOptions, Host, Instance, InstanceLimits, KillSwitch, Kind, Level,
    ListOptions, Loaded, ObjectRef, Page, PatchType, Request, Sandbox, SandboxSettings, WriteOptions,
};
use tokio::sync::Notify;

/// Far longer than any test should take; only what loops for ever gets less.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What each call that may fail answers.
pub(crate) enum Answer {
    Json(String),
    Fail(Error),
    Panic,
    /// Never answers.
    Hang,
}

/// A log line: level, message, fields.
pub(crate) type Line = (Level, String, Vec<(String, String)>);

pub(crate) struct TestHost {
    answer: Answer,
    calls: AtomicUsize,
    lines: Mutex<Vec<Line>>,
    /// Told each time a call has arrived.
    pub(crate) arrived: Notify,
    /// Told when a pending call's future is dropped.
    pub(crate) dropped: Arc<Notify>,
}

impl TestHost {
    pub(crate) fn new(answer: Answer) -> Arc<Self> {
        Arc::new(Self {
            answer,
            calls: AtomicUsize::new(0),
            lines: Mutex::default(),
            arrived: Notify::new(),
            dropped: Arc::default(),
        })
    }

    pub(crate) fn answering(json: &str) -> Arc<Self> {
        Self::new(Answer::Json(json.to_owned()))
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.lock().expect("not poisoned").clone()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.lines().into_iter().map(|(_, message, _)| message).collect()
    }

    async fn answer(&self) -> Result<String, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.arrived.notify_one();
        match &self.answer {
            Answer::Json(json) => Ok(json.clone()),
            Answer::Fail(error) => Err(error.clone()),
            Answer::Panic => panic!("a bug in the host port, made by a test"),
            Answer::Hang => {
                let _told_when_dropped = Told(Arc::clone(&self.dropped));
                std::future::pending().await
            }
        }
    }
}

struct Told(Arc<Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait::async_trait]
impl Host for TestHost {
    async fn get(&self, _: ObjectRef, _: GetOptions) -> Result<String, Error> {
        self.answer().await
    }

    async fn list(&self, _: Kind, _: ListOptions) -> Result<Page, Error> {
        self.answer().await.map(|item| Page { items: vec![item], ..Page::default() })
    }

    async fn create(&self, _: ObjectRef, _: String, _: WriteOptions) -> Result<String, Error> {
        self.answer().await
    }

    async fn replace(&self, _: ObjectRef, _: String, _: WriteOptions) -> Result<String, Error> {
        self.answer().await
    }

    async fn patch(&self, _: ObjectRef, _: PatchType, _: String, _: WriteOptions) -> Result<String, Error> {
        self.answer().await
    }

    async fn apply(&self, object: ObjectRef, body: String, force: bool, _: WriteOptions) -> Result<String, Error> {
        assert!(!force, "the fixture does not force");
        assert_eq!((object, Some(body)), (request().object, request().body), "what was asked for arrives");
        self.answer().await
    }

    async fn delete(&self, _: ObjectRef, _: DeleteOptions) -> Result<String, Error> {
        self.answer().await
    }

    async fn record_event(&self, _: ObjectRef, _: EventType, _: String, _: String) -> Result<(), Error> {
        self.answer().await.map(|_| ())
    }

    fn term(&self) -> u64 {
        7
    }

    fn cancelled(&self) -> bool {
        false
    }

    async fn wait(&self, _: u32) -> bool {
        self.answer().await.is_err()
    }

    fn settings(&self) -> String {
        "{}".to_owned()
    }

    fn log(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        self.lines.lock().expect("not poisoned").push((level, message, fields));
    }
}

pub(crate) fn sandbox() -> Sandbox {
    Sandbox::new(SandboxSettings::default()).expect("a sandbox")
}

pub(crate) fn load(wasm: &[u8]) -> Arc<Loaded> {
    sandbox().load(wasm).expect("a plugin")
}

pub(crate) async fn instance(wasm: &[u8], host: &Arc<TestHost>) -> Instance {
    instance_within(wasm, host, InstanceLimits::default()).await
}

pub(crate) async fn instance_within(wasm: &[u8], host: &Arc<TestHost>, limits: InstanceLimits) -> Instance {
    let host = Arc::clone(host) as Arc<dyn Host>;
    load(wasm).instantiate(host, limits, KillSwitch::new()).await.expect("an instance")
}

pub(crate) fn request() -> Request {
    Request {
        cause: Cause::Changed,
        object: ObjectRef {
            kind: Kind { api_version: "v1".into(), kind: "ConfigMap".into() },
            namespace: Some("default".into()),
            name: "settings".into(),
        },
        body: Some(r#"{"kind":"ConfigMap"}"#.into()),
        extra: Vec::new(),
    }
}
