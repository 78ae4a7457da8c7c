//! What a plugin may use. Enforces nothing: that is for whoever runs it.

use std::time::Duration;

use crate::document::{DocumentError, Source};
use crate::place::Given;
use crate::quantity::{duration_text, processors_text, size_text};
use crate::raw::RawManifestLimits;

/// The most that a plugin may use. Instances and `guests_cpu_millis_max` are those of all plugins together; all else counts for each
/// plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory_bytes_max: u64,
    /// Elements in an instance's tables.
    pub table_elements_max: u32,
    /// Wall time of one call.
    pub reconcile_timeout: Duration,
    /// Instances that work at the same time, each on a key of its own.
    pub concurrency_max: u32,
    /// Processor time of its instances, in thousandths of one processor.
    pub cpu_millis_max: u32,
    /// Processor time of all plugins together, in thousandths of one processor; `None`: three quarters of what the host may use.
    pub guests_cpu_millis_max: Option<u32>,
    /// Requests to the API, cached reads aside.
    pub requests_per_second: u32,
    /// Bytes of one object that a plugin hands to the host.
    pub request_bytes_max: u64,
    /// Bytes of one answer that the host hands to a plugin.
    pub response_bytes_max: u64,
    /// Lines in the log.
    pub log_lines_per_second: u32,
    /// Instances of all plugins together.
    pub instances_max: u32,
    /// Bytes of one plugin's Wasm, unpacked.
    pub artifact_bytes_max: u64,
    /// Memory that compiling one plugin may take, in bytes.
    pub compile_memory_bytes_max: u64,
    /// Wall time that compiling one plugin may take.
    pub compile_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            table_elements_max: 10_000,
            reconcile_timeout: Duration::from_secs(30),
            concurrency_max: 4,
            cpu_millis_max: 1000,
            guests_cpu_millis_max: None,
            requests_per_second: 50,
            request_bytes_max: 3 << 20,
            response_bytes_max: 16 << 20,
            log_lines_per_second: 100,
            instances_max: 200,
            artifact_bytes_max: 16 << 20,
            compile_memory_bytes_max: 256 << 20,
            compile_timeout: Duration::from_secs(120),
        }
    }
}

/// What a manifest asks for; `None`: what the host allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestedLimits {
    /// `memory`, in bytes.
    pub memory_bytes_max: Option<u64>,
    /// `table-elements`.
    pub table_elements_max: Option<u32>,
    /// `reconcile-timeout`.
    pub reconcile_timeout: Option<Duration>,
    /// `concurrency`.
    pub concurrency_max: Option<u32>,
    /// `cpu`, in thousandths of one processor.
    pub cpu_millis_max: Option<u32>,
    /// `requests-per-second`.
    pub requests_per_second: Option<u32>,
    /// `request-bytes`.
    pub request_bytes_max: Option<u64>,
    /// `response-bytes`.
    pub response_bytes_max: Option<u64>,
    /// `log-lines-per-second`.
    pub log_lines_per_second: Option<u32>,
}

/// A manifest that wants more than the host allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "limits.{key} {requested} in the manifest is above the host's {allowed}; lower it there, or raise limits.{key} in the \
     host's settings"
)]
pub struct LimitError {
    key: &'static str,
    requested: String,
    allowed: String,
}

impl Limits {
    /// These limits, tightened by what a manifest asks for.
    ///
    /// # Errors
    /// When it asks for more than these allow.
    pub fn tightened_by(&self, manifest: &RequestedLimits) -> Result<Self, LimitError> {
        let count = |number: u32| number.to_string();
        Ok(Self {
            memory_bytes_max: tighter("memory", self.memory_bytes_max, manifest.memory_bytes_max, size_text)?,
            table_elements_max: tighter("table-elements", self.table_elements_max, manifest.table_elements_max, count)?,
            reconcile_timeout: tighter(
                "reconcile-timeout",
                self.reconcile_timeout,
                manifest.reconcile_timeout,
                duration_text,
            )?,
            concurrency_max: tighter("concurrency", self.concurrency_max, manifest.concurrency_max, count)?,
            cpu_millis_max: tighter("cpu", self.cpu_millis_max, manifest.cpu_millis_max, processors_text)?,
            requests_per_second: tighter(
                "requests-per-second",
                self.requests_per_second,
                manifest.requests_per_second,
                count,
            )?,
            request_bytes_max: tighter("request-bytes", self.request_bytes_max, manifest.request_bytes_max, size_text)?,
            response_bytes_max: tighter(
                "response-bytes",
                self.response_bytes_max,
                manifest.response_bytes_max,
                size_text,
            )?,
            log_lines_per_second: tighter(
                "log-lines-per-second",
                self.log_lines_per_second,
                manifest.log_lines_per_second,
                count,
            )?,
            ..self.clone()
        })
    }
}

fn tighter<T: Copy + PartialOrd>(
    key: &'static str,
    allowed: T,
    requested: Option<T>,
    text: impl Fn(T) -> String,
) -> Result<T, LimitError> {
    match requested {
        Some(requested) if requested > allowed => {
            Err(LimitError { key, requested: text(requested), allowed: text(allowed) })
        }
        Some(requested) => Ok(requested),
        None => Ok(allowed),
    }
}

impl RequestedLimits {
    /// What stands in a manifest's `[limits]`.
    pub(crate) fn read(raw: &RawManifestLimits, source: &Source<'_>) -> Result<Self, DocumentError> {
        Ok(Self {
            memory_bytes_max: positive("memory", source.size(&raw.memory))?,
            table_elements_max: positive("table-elements", source.count(&raw.table_elements))?,
            reconcile_timeout: positive("reconcile-timeout", source.duration(&raw.reconcile_timeout))?,
            concurrency_max: positive("concurrency", source.count(&raw.concurrency))?,
            cpu_millis_max: positive("cpu", source.processors(&raw.cpu))?,
            requests_per_second: positive("requests-per-second", source.count(&raw.requests_per_second))?,
            request_bytes_max: positive("request-bytes", source.size(&raw.request_bytes))?,
            response_bytes_max: positive("response-bytes", source.size(&raw.response_bytes))?,
            log_lines_per_second: positive("log-lines-per-second", source.count(&raw.log_lines_per_second))?,
        })
    }
}

/// Nothing can be done with none of it.
pub(crate) fn positive<T: Default + PartialEq>(key: &str, given: Option<Given<T>>) -> Result<Option<T>, DocumentError> {
    match given {
        Some(given) if given.value == T::default() => {
            let message = "must be more than 0; leave the key out for the default".to_owned();
            Err(DocumentError::Value { place: given.place, key: format!("limits.{key}"), message })
        }
        given => Ok(given.map(|given| given.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_may_only_be_tighter() {
        let host = Limits::default();
        let asked =
            RequestedLimits { memory_bytes_max: Some(32 << 20), concurrency_max: Some(2), ..Default::default() };
        let tightened = host.tightened_by(&asked).unwrap();
        assert_eq!(tightened, Limits { memory_bytes_max: 32 << 20, concurrency_max: 2, ..host });
    }

    #[test]
    fn a_manifest_that_wants_more_is_refused_with_both_numbers() {
        let asked = RequestedLimits { memory_bytes_max: Some(128 << 20), ..Default::default() };
        let error = Limits::default().tightened_by(&asked).unwrap_err();
        assert_eq!(
            error.to_string(),
            "limits.memory 128Mi in the manifest is above the host's 64Mi; lower it there, or raise limits.memory in the \
             host's settings"
        );
    }
}
