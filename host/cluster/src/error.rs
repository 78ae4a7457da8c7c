//! What a request can come back with besides what was asked for. Writes have an error of their own, [`crate::WriteError`].

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};

use crate::{InvalidPath, MalformedObject};

/// The API server's own answer that something did not work: a `Status` of `meta/v1`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the API server answered {code} {reason}: {message}")]
pub struct ApiStatus {
    /// HTTP status code.
    pub code: u16,
    /// `StatusReason`: `NotFound`, `Conflict`, ...
    pub reason: String,
    /// For people.
    pub message: String,
    /// How long to wait before trying again, from `details.retryAfterSeconds` or the Retry-After header.
    pub retry_after: Option<Duration>,
    /// The `Status` as JSON; made up from the code where the answer was none (a proxy's page, for example).
    pub json: String,
}

impl ApiStatus {
    /// Reads an answer that is no success.
    #[must_use]
    pub(crate) fn read(code: StatusCode, headers: &HeaderMap, body: &Bytes) -> Self {
        let status = serde_json::from_slice::<Value>(body).ok().filter(|value| value["kind"] == "Status");
        let is_status = status.is_some();
        let status = status.unwrap_or_else(|| {
            let text: String = String::from_utf8_lossy(body).trim().chars().take(MESSAGE_CHARACTERS_MAX).collect();
            let message =
                if text.is_empty() { code.canonical_reason().unwrap_or("no reason given").into() } else { text };
            json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(),
                "reason": reason_of(code), "message": message})
        });
        let text = |field: &str| status[field].as_str().filter(|text| !text.is_empty());
        let header = || headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<u64>().ok();
        let retry_after =
            status["details"]["retryAfterSeconds"].as_u64().or_else(header).filter(|seconds| *seconds > 0);
        Self {
            code: code.as_u16(),
            reason: text("reason").map_or_else(|| reason_of(code).to_owned(), str::to_owned),
            message: text("message").unwrap_or("no message given").to_owned(),
            retry_after: retry_after.map(Duration::from_secs),
            json: if is_status { String::from_utf8_lossy(body).into_owned() } else { status.to_string() },
        }
    }
}

/// As much of a proxy's error page as helps to recognise it.
const MESSAGE_CHARACTERS_MAX: usize = 512;

/// The `StatusReason` that belongs to a code (`meta/v1/types.go`).
fn reason_of(code: StatusCode) -> &'static str {
    match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    }
}

/// A read that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server said no.
    #[error(transparent)]
    Status(Box<ApiStatus>),
    /// No answer in time.
    #[error("no answer to {method_and_path} within {limit:?}")]
    Timeout {
        /// `GET /api/v1/configmaps`.
        method_and_path: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The server could not be reached, or the connection ended early.
    #[error("{method_and_path} failed on the way")]
    Transport {
        /// `GET /api/v1/configmaps`.
        method_and_path: String,
        /// What the client said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is not what the API answers.
    #[error("the answer to {method_and_path} makes no sense")]
    Malformed {
        /// `GET /api/v1/configmaps`.
        method_and_path: String,
        /// What is wrong with it.
        #[source]
        source: MalformedObject,
    },
    /// The request could not be put together.
    #[error(transparent)]
    InvalidPath(#[from] InvalidPath),
}

impl ApiError {
    /// The HTTP status code, if the server answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status.code),
            _ => None,
        }
    }

    /// Message and sources in one line, as states and reports show it.
    pub(crate) fn in_one_line(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            source = cause.source();
        }
        line
    }
}

/// The cluster cannot be spoken to with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// kube refuses the configuration: credentials that cannot be read, certificates that do not parse.
    #[error("the client configuration for {cluster_url} cannot be used; check its certificates and credentials")]
    Configuration {
        /// The API server's address.
        cluster_url: String,
        /// What kube said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The address has no host.
    #[error(
        "the API server's address {cluster_url:?} names no host; set `server` to a URL such as https://10.0.0.1:6443"
    )]
    NoHost {
        /// The address.
        cluster_url: String,
    },
    /// A write must have time and a connection.
    #[error("{setting} must be more than zero")]
    Zero {
        /// Which field of the writer's settings.
        setting: &'static str,
    },
}

/// A kind that discovery could not resolve.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The server serves no such kind.
    #[error("the cluster serves no kind {kind:?} in {api_version:?}{}", hint(.nearest.as_deref()))]
    NotFound {
        /// As asked.
        api_version: String,
        /// As asked.
        kind: String,
        /// What was probably meant: a kind in the same version, or a version.
        nearest: Option<String>,
    },
    /// Not `version` or `group/version`.
    #[error("{api_version:?} is no apiVersion: write `v1` or `group/version`")]
    InvalidApiVersion {
        /// As asked.
        api_version: String,
    },
    /// Discovery itself failed.
    #[error("discovery failed")]
    Api(#[from] ApiError),
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_keeps_what_the_server_said() {
        let body = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","message":"slow down","code":429,"details":{"retryAfterSeconds":3}}"#;
        let status =
            ApiStatus::read(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()));
        assert_eq!((status.reason.as_str(), status.message.as_str()), ("TooManyRequests", "slow down"));
        assert_eq!(status.retry_after, Some(Duration::from_secs(3)));
        assert_eq!(status.json, body);
    }

    #[test]
    fn a_page_of_a_proxy_becomes_a_status() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let status =
            ApiStatus::read(StatusCode::SERVICE_UNAVAILABLE, &headers, &Bytes::from_static(b"<html>no upstream"));
        assert_eq!((status.code, status.reason.as_str()), (503, "ServiceUnavailable"));
        assert_eq!(status.message, "<html>no upstream");
        assert_eq!(status.retry_after, Some(Duration::from_secs(7)));
        let json: Value = serde_json::from_str(&status.json).unwrap();
        assert_eq!(json["kind"], "Status");
    }
}
