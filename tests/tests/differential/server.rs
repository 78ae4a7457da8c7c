//! One server and how a scenario is played to it: requests as they are written, watches kept open, kubectl.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::answer::{Answer, Answers};
use crate::scenario::{Action, Scenario, Step};

/// Longest wait for anything a server does; nothing is meant to come near it.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(50);
const USER_AGENT: &str = "differential/1.0";

/// An API server under comparison.
pub(crate) struct Server {
    client: kube::Client,
    kubeconfig: PathBuf,
    /// What its answers show of where it listens.
    pub(crate) address: String,
}

/// Where kinds outside of the core group are found, for paths that begin with a plural.
const GROUPS: [(&str, &str, &str); 12] = [
    ("leases", "coordination.k8s.io/v1", "leases"),
    ("newevents", "events.k8s.io/v1", "events"),
    ("deployments", "apps/v1", "deployments"),
    ("replicasets", "apps/v1", "replicasets"),
    ("statefulsets", "apps/v1", "statefulsets"),
    ("daemonsets", "apps/v1", "daemonsets"),
    ("jobs", "batch/v1", "jobs"),
    ("cronjobs", "batch/v1", "cronjobs"),
    ("roles", "rbac.authorization.k8s.io/v1", "roles"),
    ("rolebindings", "rbac.authorization.k8s.io/v1", "rolebindings"),
    ("ingresses", "networking.k8s.io/v1", "ingresses"),
    ("networkpolicies", "networking.k8s.io/v1", "networkpolicies"),
];

/// `configmaps/a` is short for the ConfigMap in the scenario's namespace, `crds/a` for a definition, `own/v1/things` for what one
/// in the scenario's own group makes; a path with a leading slash is itself.
fn full_path(path: &str, namespace: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    if let Some(rest) = path.strip_prefix("crds") {
        return format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions{rest}");
    }
    // A custom kind of the scenario's own group: its version and the rest.
    if let Some((version, rest)) = path.strip_prefix("own/").and_then(|path| path.split_once('/')) {
        return format!("/apis/{namespace}.example.org/{version}/namespaces/{namespace}/{rest}");
    }
    let end = path.find(['/', '?']).unwrap_or(path.len());
    let (plural, rest) = path.split_at(end);
    match GROUPS.iter().find(|(short, ..)| *short == plural) {
        Some((_, group_version, plural)) => format!("/apis/{group_version}/namespaces/{namespace}/{plural}{rest}"),
        None => format!("/api/v1/namespaces/{namespace}/{plural}{rest}"),
    }
}

/// A watch that is open, and what of it was not read yet.
struct Events {
    body: Body,
    pending: Vec<u8>,
}

impl Events {
    /// The next event; `None` at the end of the watch.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Some(
                    serde_json::from_slice(&line)
                        .unwrap_or_else(|error| serde_json::json!({"unreadable": error.to_string()})),
                );
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.pending.extend_from_slice(&data);
            }
        }
    }
}

impl Server {
    /// The server a kubeconfig names.
    pub(crate) async fn of_kubeconfig(path: &Path) -> Self {
        let kubeconfig = kube::config::Kubeconfig::read_from(path).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        // What is slow is said by this suite, which knows what it waited for.
        config.read_timeout = None;
        config.default_retry = false;
        let address = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        let client = kube::Client::try_from(config).unwrap();
        Self { client, kubeconfig: path.to_owned(), address }
    }

    /// Plays a scenario in `namespace`, which it makes, and returns the answer to each step.
    pub(crate) async fn play(&self, scenario: &Scenario, namespace: &str) -> Vec<Answer> {
        let body = format!("{{\"metadata\": {{\"name\": \"{namespace}\"}}}}");
        let made = self.request("POST", "/api/v1/namespaces", &[], body.into_bytes()).await;
        assert!(matches!(made, Answer::Http { status: 201, .. }), "the namespace {namespace} was not made: {made:?}");
        let mut play = Play { server: self, namespace, answers: Answers::default(), watches: BTreeMap::new() };
        let mut answers = Vec::new();
        for step in &scenario.steps {
            let answer = match tokio::time::timeout(PATIENCE, play.act(step)).await {
                Ok(answer) => answer,
                Err(_) => Answer::None(format!("no answer within {} s", PATIENCE.as_secs())),
            };
            play.answers.keep(&step.label, &answer);
            answers.push(answer);
        }
        answers
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<http::Response<Body>, String> {
        let mut request = Request::builder().method(method).uri(path).header("user-agent", USER_AGENT);
        let said = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        if !body.is_empty() && !said("content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body)).map_err(|error| error.to_string())?;
        self.client.send(request).await.map_err(|error| error.to_string())
    }

    async fn request(&self, method: &str, path: &str, headers: &[(String, String)], body: Vec<u8>) -> Answer {
        match self.send(method, path, headers, body).await {
            Ok(response) => whole(response).await,
            Err(error) => Answer::None(error),
        }
    }

    async fn kubectl(&self, arguments: &str, namespace: &str, input: &str) -> Answer {
        let mut command = tokio::process::Command::new(kubectl());
        // A scenario's own: what another one makes kubectl forget must not show here.
        let cache = self.kubeconfig.with_extension(format!("{namespace}.cache"));
        command
            .arg("--cache-dir")
            .arg(cache)
            .args(["--namespace", namespace])
            .args(words(arguments))
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A kubectl that does not read its input closes it.
        let _unread = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        Answer::Program {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// `KUBECTL`, or the one on the path.
pub(crate) fn kubectl() -> PathBuf {
    std::env::var_os("KUBECTL").map_or_else(|| "kubectl".into(), PathBuf::from)
}

/// Splits a command line; single quotes keep words together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

async fn whole(response: http::Response<Body>) -> Answer {
    let status = response.status().as_u16();
    let headers = headers_of(&response);
    match response.into_body().collect().await {
        Ok(body) => Answer::Http { status, headers, body: body.to_bytes().to_vec() },
        Err(error) => Answer::None(format!("the answer broke off: {error}")),
    }
}

fn headers_of(response: &http::Response<Body>) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// A scenario on its way through one server.
struct Play<'a> {
    server: &'a Server,
    namespace: &'a str,
    answers: Answers,
    watches: BTreeMap<String, Events>,
}

impl Play<'_> {
    fn fill(&self, text: &str) -> String {
        self.answers.fill(text, self.namespace)
    }

    fn path(&self, path: &str) -> String {
        full_path(&self.fill(path), self.namespace)
    }

    async fn act(&mut self, step: &Step) -> Answer {
        match &step.action {
            Action::Request { method, path } => {
                let mut body = self.fill(&step.body).into_bytes();
                if step.body.contains('\n') {
                    body.push(b'\n');
                }
                self.server.request(method, &self.path(path), &step.headers, body).await
            }
            Action::Watch { path } => self.watch(step, path).await,
            Action::Read { watch, events } => self.read(watch, Some(*events)).await,
            Action::End { watch } => self.read(watch, None).await,
            Action::Await { code, path } => loop {
                let answer = self.server.request("GET", &self.path(path), &step.headers, Vec::new()).await;
                match &answer {
                    Answer::Http { status, .. } if status == code => return answer,
                    _ => tokio::time::sleep(POLL_EVERY).await,
                }
            },
            Action::Until { text, path } => {
                let (wanted, path) = (self.fill(text), self.path(path));
                loop {
                    let answer = self.server.request("GET", &path, &step.headers, Vec::new()).await;
                    match &answer {
                        Answer::Http { body, .. } if String::from_utf8_lossy(body).contains(&wanted) => return answer,
                        _ => tokio::time::sleep(POLL_EVERY).await,
                    }
                }
            }
            Action::Kubectl { arguments } => {
                let arguments = self.fill(arguments);
                self.server.kubectl(&arguments, self.namespace, &self.fill(&step.body)).await
            }
        }
    }

    async fn watch(&mut self, step: &Step, path: &str) -> Answer {
        let path = self.path(path);
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}watch=true");
        match self.server.send("GET", &path, &step.headers, Vec::new()).await {
            Err(error) => Answer::None(error),
            Ok(response) if response.status() != 200 => whole(response).await,
            Ok(response) => {
                let (status, headers) = (200, headers_of(&response));
                let events = Events { body: response.into_body(), pending: Vec::new() };
                self.watches.insert(step.label.clone(), events);
                Answer::Http { status, headers, body: Vec::new() }
            }
        }
    }

    async fn read(&mut self, watch: &str, count: Option<usize>) -> Answer {
        let Some(watch) = self.watches.get_mut(watch) else { return Answer::None("no such watch is open".to_owned()) };
        let mut events = Vec::new();
        while count.is_none_or(|count| events.len() < count) {
            match tokio::time::timeout(PATIENCE / 2, watch.next()).await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return Answer::Events { events, ended: true },
                Err(_) => {
                    events.push(serde_json::json!({"type": "no further event"}));
                    break;
                }
            }
        }
        Answer::Events { events, ended: false }
    }
}
