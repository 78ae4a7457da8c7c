//! The audit log as the API server writes it, one JSON object a line. Reads; judges nothing.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// What is written down: writes with what was sent and what was stored, reads by their heads. Events and requests that are
/// not about objects are left out.
pub(crate) const POLICY: &str = include_str!("audit-policy.yaml");

/// One answered request (`audit.k8s.io/v1` Event, stage `ResponseComplete`, or `ResponseStarted` of a watch).
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    /// `auditID`: what the client sent as `Audit-ID`, or the server's own.
    pub id: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// `user.username`.
    pub user: String,
    /// `user.extra["authentication.kubernetes.io/pod-name"]`, of a token bound to a Pod.
    pub pod: Option<String>,
    /// The request's `User-Agent`.
    pub user_agent: String,
    /// API group of the object; empty for the core group.
    pub group: String,
    /// Plural name of the resource.
    pub resource: String,
    /// Subresource, such as `status`; empty for the object itself.
    pub subresource: String,
    /// Namespace of the object; empty for a kind without.
    pub namespace: String,
    /// Name of the object, as far as the request or the answer names one.
    pub name: String,
    /// Path and query as sent.
    pub uri: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// The body of a write, as sent.
    pub request: Option<Value>,
    /// The answer to a write.
    pub response: Option<Value>,
    /// When the request came (RFC 3339, the API server's clock): for figures, never for the order of writes.
    pub received_at: String,
    /// When this stage was reached.
    pub answered_at: String,
}

impl AuditEvent {
    fn parse(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut name = text("/objectRef/name");
        if name.is_empty() {
            name = text("/responseObject/metadata/name");
        }
        let extra = event.pointer("/user/extra/authentication.kubernetes.io~1pod-name");
        Some(Self {
            id: text("/auditID"),
            verb: text("/verb"),
            user: text("/user/username"),
            pod: extra.and_then(|names| names.get(0)).and_then(Value::as_str).map(str::to_owned),
            user_agent: text("/userAgent"),
            group: text("/objectRef/apiGroup"),
            resource: text("/objectRef/resource"),
            subresource: text("/objectRef/subresource"),
            namespace: text("/objectRef/namespace"),
            name,
            uri: text("/requestURI"),
            code: event
                .pointer("/responseStatus/code")
                .and_then(Value::as_u64)
                .and_then(|code| code.try_into().ok())?,
            request: event.get("requestObject").cloned(),
            response: event.get("responseObject").cloned(),
            received_at: text("/requestReceivedTimestamp"),
            answered_at: text("/stageTimestamp"),
        })
    }

    /// The resourceVersion a successful write stored: that of the object in the answer. A deletion that answers with a Status
    /// has none; a watch shows it.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        if !(200..300).contains(&self.code) {
            return None;
        }
        self.response.as_ref()?.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
    }

    /// Whether the request asked for a dry run.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.uri.contains("dryRun=")
    }
}

/// Reads a growing log, each line once. Clones share what was read.
#[derive(Debug, Clone)]
pub struct AuditLog(Arc<Log>);

#[derive(Debug)]
struct Log {
    file: PathBuf,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    offset: u64,
    events: Vec<Arc<AuditEvent>>,
}

impl AuditLog {
    /// The log in this file, which need not be there yet.
    #[must_use]
    pub fn at(file: &Path) -> Self {
        Self(Arc::new(Log { file: file.to_owned(), read: Mutex::default() }))
    }

    /// The same, but only what is written from now on.
    #[must_use]
    pub fn at_end(file: &Path) -> Self {
        let log = Self::at(file);
        let length = std::fs::metadata(file).map_or(0, |of_file| of_file.len());
        log.0.read.lock().unwrap_or_else(PoisonError::into_inner).offset = length;
        log
    }

    /// Everything written so far, in the order of answers. A line still being written is left for the next call.
    #[must_use]
    pub fn events(&self) -> Vec<Arc<AuditEvent>> {
        let mut read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that is not there yet is empty.
        if let Ok(text) = self.rest(read.offset) {
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            read.events.extend(text[..whole].lines().filter_map(AuditEvent::parse).map(Arc::new));
            read.offset += whole as u64;
        }
        read.events.clone()
    }

    fn rest(&self, offset: u64) -> io::Result<String> {
        let mut file = File::open(&self.0.file)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"tenure-7-1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/default/configmaps?fieldManager=a","verb":"create","user":{"username":"system:serviceaccount:tenure-system:tenure","extra":{"authentication.kubernetes.io/pod-name":["tenure-0"]}},"userAgent":"tenure/0.1.0 term/7","objectRef":{"resource":"configmaps","namespace":"default","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},"responseObject":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"41"}},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:00.001000Z"}"#;

    #[test]
    fn a_write_is_known_by_its_version_its_agent_and_its_pod() {
        let event = AuditEvent::parse(LINE).unwrap();
        assert_eq!((event.version(), event.name.as_str(), event.pod.as_deref()), (Some(41), "a", Some("tenure-0")));
        assert_eq!((event.id.as_str(), event.user_agent.as_str()), ("tenure-7-1", "tenure/0.1.0 term/7"));
    }

    #[test]
    fn a_line_still_being_written_is_read_when_it_is_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = AuditLog::at(file.path());
        let mut writer = File::options().append(true).open(file.path()).unwrap();
        write!(writer, "{LINE}\n{}", &LINE[..40]).unwrap();
        assert_eq!(log.events().len(), 1);
        writeln!(writer, "{}", &LINE[40..]).unwrap();
        assert_eq!(log.events().len(), 2);
    }
}
