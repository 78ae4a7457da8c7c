//! What wasmtime generates from the contract, and the conversions to and from [`crate::contract`]. Nothing here decides.

use crate::contract;

wasmtime::component::bindgen!({
    path: "../../plugin-sdk/wit",
    world: "reconciler",
    imports: {
        "tenure:plugin/kubernetes-read": async,
        "tenure:plugin/kubernetes-write": async,
        "tenure:plugin/leadership.wait": async,
    },
    exports: { default: async },
});

/// The world of lock policies; what it shares with the other is the other's.
pub(crate) mod policy {
    wasmtime::component::bindgen!({
        path: "../../plugin-sdk/wit",
        world: "lock-policy",
        with: {
            "tenure:plugin/types": super::tenure::plugin::types,
            "tenure:plugin/kubernetes-read": super::tenure::plugin::kubernetes_read,
            "tenure:plugin/settings": super::tenure::plugin::settings,
            "tenure:plugin/log": super::tenure::plugin::log,
        },
        exports: { default: async },
    });
}

/// The world of tasks; all that it imports is the first one's.
pub(crate) mod task {
    wasmtime::component::bindgen!({
        path: "../../plugin-sdk/wit",
        world: "task",
        with: {
            "tenure:plugin/types": super::tenure::plugin::types,
            "tenure:plugin/kubernetes-read": super::tenure::plugin::kubernetes_read,
            "tenure:plugin/kubernetes-write": super::tenure::plugin::kubernetes_write,
            "tenure:plugin/leadership": super::tenure::plugin::leadership,
            "tenure:plugin/settings": super::tenure::plugin::settings,
            "tenure:plugin/log": super::tenure::plugin::log,
        },
        exports: { default: async },
    });
}

use policy::tenure::plugin::lock_policy_types;
use tenure::plugin::{kubernetes_read, kubernetes_write, log, reconcile_types, types};

impl From<contract::Error> for types::Error {
    fn from(error: contract::Error) -> Self {
        let contract::Error { reason, message, status, retry_after_ms } = error;
        Self { reason, message, status, retry_after_ms }
    }
}

impl From<types::Error> for contract::Error {
    fn from(error: types::Error) -> Self {
        let types::Error { reason, message, status, retry_after_ms } = error;
        Self { reason, message, status, retry_after_ms }
    }
}

impl From<types::Kind> for contract::Kind {
    fn from(kind: types::Kind) -> Self {
        let types::Kind { api_version, kind } = kind;
        Self { api_version, kind }
    }
}

impl From<types::ObjectRef> for contract::ObjectRef {
    fn from(object: types::ObjectRef) -> Self {
        let types::ObjectRef { kind, namespace, name } = object;
        Self { kind: kind.into(), namespace, name }
    }
}

impl From<contract::ObjectRef> for types::ObjectRef {
    fn from(object: contract::ObjectRef) -> Self {
        let contract::ObjectRef { kind: contract::Kind { api_version, kind }, namespace, name } = object;
        Self { kind: types::Kind { api_version, kind }, namespace, name }
    }
}

impl From<kubernetes_read::GetOptions> for contract::GetOptions {
    fn from(options: kubernetes_read::GetOptions) -> Self {
        let kubernetes_read::GetOptions { live, metadata_only, subresource, extra } = options;
        Self { live, metadata_only, subresource, extra }
    }
}

impl From<kubernetes_read::ListOptions> for contract::ListOptions {
    fn from(options: kubernetes_read::ListOptions) -> Self {
        let kubernetes_read::ListOptions {
            namespace,
            label_selector,
            field_selector,
            limit,
            continue_token,
            live,
            metadata_only,
            extra,
        } = options;
        Self { namespace, label_selector, field_selector, limit, continue_token, live, metadata_only, extra }
    }
}

impl From<contract::Page> for kubernetes_read::Page {
    fn from(page: contract::Page) -> Self {
        let contract::Page { items, continue_token, resource_version, remaining } = page;
        Self { items, continue_token, resource_version, remaining }
    }
}

impl From<kubernetes_write::PatchType> for contract::PatchType {
    fn from(patch_type: kubernetes_write::PatchType) -> Self {
        match patch_type {
            kubernetes_write::PatchType::Json => Self::Json,
            kubernetes_write::PatchType::Merge => Self::Merge,
        }
    }
}

impl From<kubernetes_write::WriteOptions> for contract::WriteOptions {
    fn from(options: kubernetes_write::WriteOptions) -> Self {
        let kubernetes_write::WriteOptions { subresource, dry_run, field_validation, extra } = options;
        Self { subresource, dry_run, field_validation, extra }
    }
}

impl From<kubernetes_write::Propagation> for contract::Propagation {
    fn from(propagation: kubernetes_write::Propagation) -> Self {
        match propagation {
            kubernetes_write::Propagation::Background => Self::Background,
            kubernetes_write::Propagation::Foreground => Self::Foreground,
            kubernetes_write::Propagation::Orphan => Self::Orphan,
        }
    }
}

impl From<kubernetes_write::DeleteOptions> for contract::DeleteOptions {
    fn from(options: kubernetes_write::DeleteOptions) -> Self {
        let kubernetes_write::DeleteOptions {
            uid,
            resource_version,
            propagation,
            grace_period_seconds,
            dry_run,
            extra,
        } = options;
        Self { uid, resource_version, propagation: propagation.map(Into::into), grace_period_seconds, dry_run, extra }
    }
}

impl From<kubernetes_write::EventType> for contract::EventType {
    fn from(event_type: kubernetes_write::EventType) -> Self {
        match event_type {
            kubernetes_write::EventType::Normal => Self::Normal,
            kubernetes_write::EventType::Warning => Self::Warning,
        }
    }
}

impl From<log::Level> for contract::Level {
    fn from(level: log::Level) -> Self {
        match level {
            log::Level::Trace => Self::Trace,
            log::Level::Debug => Self::Debug,
            log::Level::Info => Self::Info,
            log::Level::Warn => Self::Warn,
            log::Level::Error => Self::Error,
        }
    }
}

impl From<contract::Cause> for reconcile_types::Cause {
    fn from(cause: contract::Cause) -> Self {
        match cause {
            contract::Cause::Changed => Self::Changed,
            contract::Cause::Deleted => Self::Deleted,
            contract::Cause::Scheduled => Self::Scheduled,
            contract::Cause::Retried(failures) => Self::Retried(failures),
            contract::Cause::TermStarted => Self::TermStarted,
        }
    }
}

impl From<contract::Request> for reconcile_types::Request {
    fn from(request: contract::Request) -> Self {
        let contract::Request { cause, object, body, extra } = request;
        Self { cause: cause.into(), object: object.into(), body, extra }
    }
}

impl From<reconcile_types::Outcome> for contract::Outcome {
    fn from(outcome: reconcile_types::Outcome) -> Self {
        let reconcile_types::Outcome { requeue_after_ms, extra } = outcome;
        Self { requeue_after_ms, extra }
    }
}

impl From<contract::LockRecord> for lock_policy_types::LockRecord {
    fn from(record: contract::LockRecord) -> Self {
        let contract::LockRecord { holder, term, lease_duration_ms, transitions, unchanged_ms, free_in_ms } = record;
        Self { holder, term, lease_duration_ms, transitions, unchanged_ms, free_in_ms, extra: Vec::new() }
    }
}

impl From<contract::Candidate> for lock_policy_types::Candidate {
    fn from(candidate: contract::Candidate) -> Self {
        let contract::Candidate { name, zone, version, load, campaigns } = candidate;
        Self { name, zone, version, load, campaigns, extra: Vec::new() }
    }
}

impl From<contract::Observation> for lock_policy_types::Observation {
    fn from(observation: contract::Observation) -> Self {
        let contract::Observation { lock, leads, record, own, labels, peers, wait_max_ms } = observation;
        Self {
            lock,
            role: if leads { lock_policy_types::Role::Leader } else { lock_policy_types::Role::Standby },
            record: record.map(Into::into),
            own: own.into(),
            labels,
            peers: peers.into_iter().map(Into::into).collect(),
            wait_max_ms,
            extra: Vec::new(),
        }
    }
}

impl From<lock_policy_types::Verdict> for contract::Verdict {
    fn from(verdict: lock_policy_types::Verdict) -> Self {
        match verdict {
            lock_policy_types::Verdict::Campaign => Self::Campaign,
            lock_policy_types::Verdict::Wait(ms) => Self::Wait { ms },
            lock_policy_types::Verdict::Keep => Self::Keep,
            lock_policy_types::Verdict::Yield(reason) => Self::Yield { reason },
        }
    }
}
