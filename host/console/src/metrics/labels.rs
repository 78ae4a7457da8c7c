//! The words that stand in labels, and the sets of labels.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::{PluginState, SettingsState};

/// How a reconcile ended, as controller-runtime tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReconcileResult {
    /// Done.
    Success,
    /// Failed; comes back with backoff.
    Error,
    /// Asked to be called again at once.
    Requeue,
    /// Asked to be called again after some time.
    RequeueAfter,
}

impl ReconcileResult {
    pub(crate) const ALL: [Self; 4] = [Self::Success, Self::Error, Self::Requeue, Self::RequeueAfter];
}

/// What a plugin called the host for: a function of `kubernetes-read` or `kubernetes-write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostFunction {
    /// `kubernetes-read.get`
    Get,
    /// `kubernetes-read.list`
    List,
    /// `kubernetes-write.create`
    Create,
    /// `kubernetes-write.replace`
    Replace,
    /// `kubernetes-write.patch`
    Patch,
    /// `kubernetes-write.apply`
    Apply,
    /// `kubernetes-write.delete`
    Delete,
    /// `kubernetes-write.record-event`
    RecordEvent,
}

impl HostFunction {
    pub(crate) const ALL: [Self; 8] =
        [Self::Get, Self::List, Self::Create, Self::Replace, Self::Patch, Self::Apply, Self::Delete, Self::RecordEvent];
}

/// How a plugin's call of the host ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallResult {
    /// Answered.
    Ok,
    /// Not granted.
    Denied,
    /// A budget was used up.
    Limited,
    /// Leadership had ended.
    Cancelled,
    /// The API server said no, or could not be asked.
    Error,
}

impl CallResult {
    pub(crate) const ALL: [Self; 5] = [Self::Ok, Self::Denied, Self::Limited, Self::Cancelled, Self::Error];
}

/// A limit of plugins that refuses and lets the plugin go on, under its key in the settings' `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `memory`: linear memory did not grow.
    Memory,
    /// `table-elements`: a table did not grow.
    TableElements,
    /// `requests-per-second`: a request was not made.
    RequestsPerSecond,
    /// `request-bytes`: a host call was not taken.
    RequestBytes,
    /// `response-bytes`: an answer or a result was not passed on.
    ResponseBytes,
    /// `log-lines-per-second`: a line was dropped.
    LogLinesPerSecond,
    /// `cpu`: a guest had to wait for its plugin's share of the processor.
    Cpu,
    /// `guests-cpu`: a guest had to wait for the share of all guests together.
    GuestsCpu,
}

impl Limit {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Memory,
        Self::TableElements,
        Self::RequestsPerSecond,
        Self::RequestBytes,
        Self::ResponseBytes,
        Self::LogLinesPerSecond,
        Self::Cpu,
        Self::GuestsCpu,
    ];

    /// Its key in the settings, which is the word in labels and in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::TableElements => "table-elements",
            Self::RequestsPerSecond => "requests-per-second",
            Self::RequestBytes => "request-bytes",
            Self::ResponseBytes => "response-bytes",
            Self::LogLinesPerSecond => "log-lines-per-second",
            Self::Cpu => "cpu",
            Self::GuestsCpu => "guests-cpu",
        }
    }
}

/// What became of a plugin's write at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteFate {
    /// The gate let it begin.
    Admitted,
    /// The API server answered it.
    Answered,
    /// The authority had ended before its last byte was handed to the kernel.
    RefusedLate,
    /// Its last byte left while the authority was good, and no answer came.
    Unanswered,
}

impl WriteFate {
    pub(crate) const ALL: [Self; 4] = [Self::Admitted, Self::Answered, Self::RefusedLate, Self::Unanswered];
}

macro_rules! label_words {
    ($($type:ty { $($variant:ident => $word:literal),+ $(,)? })+) => {$(
        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
                match self { $(Self::$variant => $word),+ }.encode(encoder)
            }
        }
    )+};
}

label_words! {
    HostFunction {
        Get => "get", List => "list", Create => "create", Replace => "replace", Patch => "patch", Apply => "apply",
        Delete => "delete", RecordEvent => "record-event",
    }
    ReconcileResult { Success => "success", Error => "error", Requeue => "requeue", RequeueAfter => "requeue_after" }
    CallResult { Ok => "ok", Denied => "denied", Limited => "limited", Cancelled => "cancelled", Error => "error" }
    WriteFate {
        Admitted => "admitted", Answered => "answered", RefusedLate => "refused_late", Unanswered => "unanswered",
    }
}

impl EncodeLabelValue for Limit {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

impl EncodeLabelValue for PluginState {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

impl EncodeLabelValue for SettingsState {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfSettings {
    pub(crate) state: SettingsState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfLock {
    pub(crate) name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfController {
    pub(crate) controller: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfResult {
    pub(crate) controller: String,
    pub(crate) result: ReconcileResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfQueue {
    pub(crate) name: String,
    pub(crate) controller: String,
}

/// `priority` is empty where a queue has none; controller-runtime writes it so.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfDepth {
    pub(crate) name: String,
    pub(crate) controller: String,
    pub(crate) priority: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfPlugin {
    pub(crate) plugin: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfState {
    pub(crate) plugin: String,
    pub(crate) state: PluginState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfLimit {
    pub(crate) plugin: String,
    pub(crate) limit: Limit,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfHostCall {
    pub(crate) plugin: String,
    pub(crate) function: HostFunction,
    pub(crate) result: CallResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfWrite {
    pub(crate) name: String,
    pub(crate) fate: WriteFate,
}
