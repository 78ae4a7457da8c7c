//! What goes wrong in a call to the host, in Kubernetes' own terms. Never sees a transport: the host has already turned
//! everything into a reason, a sentence and, where there was one, the API server's Status.

use std::{fmt, time::Duration};

use serde::Deserialize;

/// What the SDK's calls answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed: Kubernetes' `StatusReason` (`k8s.io/apimachinery/pkg/apis/meta/v1`), or one of Tenure's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The object, its kind or its namespace is not there.
    NotFound,
    /// `create` met an object of this name.
    AlreadyExists,
    /// The object changed since it was read, a precondition failed, or another field manager owns a field.
    Conflict,
    /// The server understood the object and refuses its content.
    Invalid,
    /// The server could not read the request.
    BadRequest,
    /// The API server's RBAC or an admission rule says no. (What the plugin was not granted is [`Reason::Denied`].)
    Forbidden,
    /// A continue token is too old: list again from the start.
    Expired,
    /// The resource version asked for is gone from the server's history.
    Gone,
    /// The server did not finish in time; a write may or may not have been stored.
    Timeout,
    /// The server asks to try again later.
    ServerTimeout,
    /// The server is throttling.
    TooManyRequests,
    /// The server cannot answer now.
    ServiceUnavailable,
    /// Something broke inside the server.
    InternalError,
    /// Leadership ends: finish or undo what was begun, start nothing.
    Cancelled,
    /// The plugin was not granted this. It stays so until the cluster's owner changes the grant.
    Denied,
    /// One of the plugin's budgets is used up for now.
    Limited,
    /// The answer to a write was lost: it may or may not have been stored.
    Unknown,
    /// The plugin's own failure.
    Guest,
    /// Any other reason, as the server spells it.
    Other(String),
}

impl Reason {
    /// The reason as it stands in the contract and in a Status.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Invalid => "Invalid",
            Self::BadRequest => "BadRequest",
            Self::Forbidden => "Forbidden",
            Self::Expired => "Expired",
            Self::Gone => "Gone",
            Self::Timeout => "Timeout",
            Self::ServerTimeout => "ServerTimeout",
            Self::TooManyRequests => "TooManyRequests",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::InternalError => "InternalError",
            Self::Cancelled => "Cancelled",
            Self::Denied => "Denied",
            Self::Limited => "Limited",
            Self::Unknown => "Unknown",
            Self::Guest => "GuestError",
            Self::Other(reason) => reason,
        }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        const NAMED: [Reason; 18] = [
            Reason::NotFound,
            Reason::AlreadyExists,
            Reason::Conflict,
            Reason::Invalid,
            Reason::BadRequest,
            Reason::Forbidden,
            Reason::Expired,
            Reason::Gone,
            Reason::Timeout,
            Reason::ServerTimeout,
            Reason::TooManyRequests,
            Reason::ServiceUnavailable,
            Reason::InternalError,
            Reason::Cancelled,
            Reason::Denied,
            Reason::Limited,
            Reason::Unknown,
            Reason::Guest,
        ];
        NAMED.into_iter().find(|reason| reason.as_str() == text).unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One entry of a Status' `details.causes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatusCause {
    /// A machine-readable word: `FieldManagerConflict`, `NamespaceTerminating`, `FieldValueInvalid`, ...
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// The field it is about, as a path: `.metadata.labels.team`.
    pub field: String,
}

/// A failed call. `?` on it inside `reconcile` makes the host call again for the same key, with backoff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    reason: Reason,
    message: String,
    status: Option<String>,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error with any reason.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), status: None, retry_after: None }
    }

    /// The plugin's own failure. The message should say what was wrong, where, and what to do.
    #[must_use]
    pub fn guest(message: impl Into<String>) -> Self {
        Self::new(Reason::Guest, message)
    }

    /// What a reconcile returns when it stopped early because [`Cluster::cancelled`](crate::Cluster::cancelled) said so.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(Reason::Cancelled, "leadership ends: stopped before the work was complete")
    }

    /// Adds the API server's Status object, as JSON.
    #[must_use]
    pub fn with_status(mut self, status: impl Into<String>) -> Self {
        self.status = Some(status.into());
        self
    }

    /// Adds how long to wait before trying again.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Why the call failed.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// One sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The API server's Status object as JSON, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// How long the server, or the budget, asks to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The Status' `details.causes`; empty where the server gave none.
    #[must_use]
    pub fn causes(&self) -> Vec<StatusCause> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Status {
            details: Details,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Details {
            causes: Vec<StatusCause>,
        }
        self.status
            .as_deref()
            .and_then(|json| serde_json::from_str::<Status>(json).ok())
            .map(|status| status.details.causes)
            .unwrap_or_default()
    }

    /// The object, its kind or its namespace is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// `create` met an object of this name.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }

    /// The object changed since it was read, a precondition failed, or another field manager owns a field.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// Leadership ends.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.reason == Reason::Cancelled
    }

    /// The plugin was not granted this.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.reason == Reason::Denied
    }

    /// One of the plugin's budgets is used up for now.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.reason == Reason::Limited
    }

    /// The write may or may not have been stored: read before trying again.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.reason, Reason::Unknown | Reason::Timeout)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Error {}

/// JSON that does not fit the plugin's types is the plugin's failure.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::guest(format!("JSON does not fit the plugin's type: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_reason_survives_the_way_through_the_contract() {
        for text in ["NotFound", "Conflict", "AlreadyExists", "Cancelled", "Denied", "Limited", "Unknown", "GuestError"]
        {
            let reason = Reason::from(text);
            assert_eq!(reason.as_str(), text);
            assert!(!matches!(reason, Reason::Other(_)), "{text} has a name of its own");
        }
        assert_eq!(Reason::from("Teapot"), Reason::Other("Teapot".to_owned()));
    }

    #[test]
    fn causes_are_read_from_the_status() {
        let status = r#"{"details":{"causes":[{"reason":"FieldManagerConflict","field":".metadata.labels.team"}]}}"#;
        let error = Error::new(Reason::Conflict, "conflict").with_status(status);
        assert_eq!(error.causes()[0].field, ".metadata.labels.team");
        assert!(Error::new(Reason::Conflict, "conflict").causes().is_empty());
        assert!(Error::new(Reason::Conflict, "conflict").with_status("not JSON").causes().is_empty());
    }
}
