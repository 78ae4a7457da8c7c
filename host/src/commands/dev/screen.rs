//! What `tenure dev` shows: lines for people, or lines of JSON for programs.

use std::path::Path;
use std::{fmt, io};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::commands::say;

/// Where the lines go.
pub(super) struct Screen {
    json: bool,
    failures: mpsc::Sender<io::Error>,
}

impl Screen {
    /// A screen, and where it says that nothing can be shown any more.
    pub(super) fn new(json: bool) -> (Self, mpsc::Receiver<io::Error>) {
        let (failures, receiver) = mpsc::channel(1);
        (Self { json, failures }, receiver)
    }

    /// The API answers.
    pub(super) fn ready(&self, what: &str, api: &str, kubeconfig: &Path) {
        if self.json {
            self.event(&json!({"event": "ready", "kubeconfig": kubeconfig, "api": api}));
            return;
        }
        self.show(format_args!("{what} at {api}; in another terminal:"));
        self.show(format_args!("  export KUBECONFIG={}", kubeconfig.display()));
        self.show(format_args!("  kubectl get lease -n tenure-system -w"));
        self.show(format_args!("  tenure status"));
        self.show(format_args!("Ctrl-C ends it all."));
    }

    /// A replica's process runs and its console answers.
    pub(super) fn replica(&self, name: &str, pid: u32, console: &str) {
        if self.json {
            self.event(&json!({"event": "replica", "name": name, "pid": pid, "console": console}));
        } else {
            self.show(format_args!("{name}  pid {pid}  {console}"));
        }
    }

    /// A replica's process ended.
    pub(super) fn ended(&self, name: &str, pid: u32, how: &str) {
        if self.json {
            self.event(&json!({"event": "ended", "name": name, "pid": pid, "how": how}));
        } else {
            self.show(format_args!("{name}  pid {pid} ended: {how}"));
        }
    }

    /// A log line of a replica, as its JSON subscriber wrote it.
    pub(super) fn log(&self, name: &str, line: &Value) {
        if self.json {
            self.event(&json!({"event": "log", "name": name, "line": line}));
            return;
        }
        let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
        let fields = line.get("fields").and_then(Value::as_object);
        let message = fields.and_then(|fields| fields.get("message")).and_then(Value::as_str).unwrap_or_default();
        let rest: Vec<String> = fields
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != "message")
            .map(|(key, value)| match value {
                Value::String(text) => format!("{key}={text}"),
                other => format!("{key}={other}"),
            })
            .collect();
        let time = text("timestamp").get(11..23).unwrap_or_default().to_owned();
        self.show(format_args!("{time} {name} {:5} {message}  {}", text("level"), rest.join(" ")));
    }

    /// A line that is not a log line.
    pub(super) fn raw(&self, name: &str, line: &str) {
        if self.json {
            self.event(&json!({"event": "output", "name": name, "line": line}));
        } else {
            self.show(format_args!("{name} {line}"));
        }
    }

    /// A word of our own.
    pub(super) fn note(&self, text: &str) {
        if self.json {
            self.event(&json!({"event": "note", "text": text}));
        } else {
            self.show(format_args!("{text}"));
        }
    }

    fn event(&self, event: &Value) {
        self.show(format_args!("{event}"));
    }

    fn show(&self, line: fmt::Arguments<'_>) {
        if let Err(error) = say!("{line}") {
            // The first failure ends the command; the rest say the same.
            let _ = self.failures.try_send(error);
        }
    }
}
