//! A small Kubernetes client over plain HTTP, for the loopback API of `tenure dev` only: no TLS, no credentials.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::process;

/// One request. The API is on this machine: slower than this is broken.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How often a wait looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(100);

/// How long the server keeps a watch open before it is begun anew.
const WATCH_SECONDS: u32 = 600;

/// Where the API is.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    base: String,
    agent: ureq::Agent,
}

impl Api {
    /// At an address like `http://127.0.0.1:6443`.
    pub(crate) fn at(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(REQUEST_LIMIT))
            .timeout_recv_response(Some(REQUEST_LIMIT))
            .user_agent("tenure-xtask")
            .build();
        Self { base: base.trim_end_matches('/').to_owned(), agent: config.into() }
    }

    /// An object or a list.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let response = self.agent.get(self.url(path)).call();
        answered("GET", path, response)
    }

    /// Creates.
    pub(crate) fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        let request = self.agent.post(self.url(path)).content_type("application/json");
        answered("POST", path, request.send(object.to_string()))
    }

    /// Changes by a merge patch.
    pub(crate) fn merge(&self, path: &str, patch: &Value) -> anyhow::Result<Value> {
        let request = self.agent.patch(self.url(path)).content_type("application/merge-patch+json");
        answered("PATCH", path, request.send(patch.to_string()))
    }

    /// Deletes.
    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        answered("DELETE", path, self.agent.delete(self.url(path)).call())
    }

    /// Lists `path` and follows what changes from there, each change with the instant it arrived here.
    pub(crate) fn follow(&self, path: &str) -> anyhow::Result<Followed> {
        let list = self.get(path)?;
        let version = list.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or("0").to_owned();
        let mut followed =
            Followed { path: path.to_owned(), objects: BTreeMap::new(), changes: channel().1, at: Instant::now() };
        for object in list["items"].as_array().into_iter().flatten() {
            followed.objects.insert(key(object), object.clone());
        }
        let (sender, changes) = channel();
        followed.changes = changes;
        let (api, path) = (self.clone(), path.to_owned());
        // Ends with the API, or when nobody receives any more.
        std::thread::spawn(move || {
            if let Err(error) = api.watch(&path, version, &sender) {
                let _ = sender.send(Change::Broken(format!("{error:#}")));
            }
        });
        Ok(followed)
    }

    fn watch(&self, path: &str, mut version: String, sender: &Sender<Change>) -> anyhow::Result<()> {
        loop {
            let url = self.url(&format!("{path}?watch=1&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}"));
            let response = self.agent.get(url).call().with_context(|| format!("watch {path}"))?;
            if response.status() != 200 {
                bail!("watch {path}: {}", response.status());
            }
            for line in BufReader::new(response.into_body().into_reader()).lines() {
                let line = line.with_context(|| format!("watch {path} broke off"))?;
                let arrived = Instant::now();
                let mut event: Value = serde_json::from_str(&line).with_context(|| format!("watch {path}: {line}"))?;
                let object = event["object"].take();
                if let Some(newer) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
                    version = newer.to_owned();
                }
                let change = match event["type"].as_str() {
                    Some("ADDED" | "MODIFIED") => Change::Applied(arrived, object),
                    Some("DELETED") => Change::Deleted(arrived, object),
                    Some("BOOKMARK") => continue,
                    _ => bail!("watch {path}: {object}"),
                };
                if sender.send(change).is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn answered(
    verb: &str,
    path: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> anyhow::Result<Value> {
    let mut response = response.with_context(|| format!("{verb} {path}"))?;
    let code = response.status();
    let text = response.body_mut().read_to_string().with_context(|| format!("{verb} {path}"))?;
    let value: Value = serde_json::from_str(&text).with_context(|| format!("{verb} {path} answered {code}: {text}"))?;
    if !code.is_success() {
        bail!("{verb} {path} answered {code}: {}", value["message"].as_str().unwrap_or(&text));
    }
    Ok(value)
}

enum Change {
    Applied(Instant, Value),
    Deleted(Instant, Value),
    Broken(String),
}

/// Objects under one path as a watch shows them, one change at a time.
pub(crate) struct Followed {
    path: String,
    objects: BTreeMap<String, Value>,
    changes: Receiver<Change>,
    at: Instant,
}

impl Followed {
    /// Waits until `seen` finds what it looks for, looking after each single change. Answers with it and the instant the
    /// change arrived that brought it.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut seen: impl FnMut(&Objects<'_>) -> Option<T>,
    ) -> anyhow::Result<(Instant, T)> {
        let begun = Instant::now();
        loop {
            if let Some(found) = seen(&Objects { objects: &self.objects, at: self.at }) {
                return Ok((self.at, found));
            }
            match self.changes.recv_timeout(LOOK) {
                Ok(Change::Applied(at, object)) => {
                    self.at = at;
                    self.objects.insert(key(&object), object);
                }
                Ok(Change::Deleted(at, object)) => {
                    self.at = at;
                    self.objects.remove(&key(&object));
                }
                Ok(Change::Broken(why)) => bail!("while waiting until {what}: {why}"),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("while waiting until {what}: the watch of {} ended", self.path)
                }
                Err(RecvTimeoutError::Timeout) if process::interrupted() => bail!("interrupted"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if begun.elapsed() > limit {
                bail!("not observed within {}: {what}", process::seconds(limit));
            }
        }
    }
}

/// What stands under a path at one moment.
pub(crate) struct Objects<'a> {
    objects: &'a BTreeMap<String, Value>,
    /// When the newest change arrived.
    pub(crate) at: Instant,
}

impl<'a> Objects<'a> {
    /// One object; `namespace` is empty where there is none.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&'a Value> {
        self.objects.get(&format!("{namespace}/{name}"))
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.objects.values()
    }
}

fn key(object: &Value) -> String {
    let meta = &object["metadata"];
    format!("{}/{}", meta["namespace"].as_str().unwrap_or_default(), meta["name"].as_str().unwrap_or_default())
}

/// `metadata.resourceVersion` as a number: of two objects in one etcd the larger was written later.
pub(crate) fn version(object: &Value) -> u64 {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).and_then(|it| it.parse().ok()).unwrap_or(0)
}
