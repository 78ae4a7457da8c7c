//! The host's functions as this crate's [`Host`].

use std::time::Duration;

use crate::{
    DeleteOptions, Error, EventType, GetOptions, Kind, ListOptions, ObjectRef, PatchType, Propagation, Reason, Result,
    WriteOptions,
    bindings::tenure::plugin::{kubernetes_read, kubernetes_write, leadership, log, types},
    host::{Host, Page, Reads},
    log::Level,
};

/// The imports of the contract. Bound by the host to one plugin and one term.
pub struct Imports;

impl Reads for Imports {
    fn get(&self, object: &ObjectRef, options: &GetOptions) -> Result<String> {
        let options = kubernetes_read::GetOptions {
            live: options.live,
            metadata_only: options.metadata_only,
            subresource: options.subresource.clone(),
            extra: Vec::new(),
        };
        Ok(kubernetes_read::get(&object.into(), &options)?)
    }

    fn list(&self, kind: &Kind, options: &ListOptions) -> Result<Page> {
        let options = kubernetes_read::ListOptions {
            namespace: options.namespace.clone(),
            label_selector: options.label_selector.clone(),
            field_selector: options.field_selector.clone(),
            limit: options.page_size,
            continue_token: options.continue_token.clone(),
            live: options.live,
            metadata_only: options.metadata_only,
            extra: Vec::new(),
        };
        let page = kubernetes_read::list(&kind.into(), &options)?;
        Ok(Page {
            items: page.items,
            continue_token: page.continue_token,
            resource_version: page.resource_version,
            remaining: page.remaining,
        })
    }
}

impl Host for Imports {
    fn create(&self, object: &ObjectRef, body: &str, options: &WriteOptions) -> Result<String> {
        Ok(kubernetes_write::create(&object.into(), body, &options.into())?)
    }

    fn replace(&self, object: &ObjectRef, body: &str, options: &WriteOptions) -> Result<String> {
        Ok(kubernetes_write::replace(&object.into(), body, &options.into())?)
    }

    fn patch(&self, object: &ObjectRef, patch_type: PatchType, body: &str, options: &WriteOptions) -> Result<String> {
        let patch_type = match patch_type {
            PatchType::Json => kubernetes_write::PatchType::Json,
            PatchType::Merge => kubernetes_write::PatchType::Merge,
        };
        Ok(kubernetes_write::patch(&object.into(), patch_type, body, &options.into())?)
    }

    fn apply(&self, object: &ObjectRef, body: &str, force: bool, options: &WriteOptions) -> Result<String> {
        Ok(kubernetes_write::apply(&object.into(), body, force, &options.into())?)
    }

    fn delete(&self, object: &ObjectRef, options: &DeleteOptions) -> Result<String> {
        let options = kubernetes_write::DeleteOptions {
            uid: options.uid.clone(),
            resource_version: options.resource_version.clone(),
            propagation: options.propagation.map(|propagation| match propagation {
                Propagation::Background => kubernetes_write::Propagation::Background,
                Propagation::Foreground => kubernetes_write::Propagation::Foreground,
                Propagation::Orphan => kubernetes_write::Propagation::Orphan,
            }),
            grace_period_seconds: options.grace_period_seconds,
            dry_run: options.dry_run,
            extra: Vec::new(),
        };
        Ok(kubernetes_write::delete(&object.into(), &options)?)
    }

    fn record_event(&self, object: &ObjectRef, event_type: EventType, reason: &str, message: &str) -> Result<()> {
        let event_type = match event_type {
            EventType::Normal => kubernetes_write::EventType::Normal,
            EventType::Warning => kubernetes_write::EventType::Warning,
        };
        Ok(kubernetes_write::record_event(&object.into(), event_type, reason, message)?)
    }

    fn term(&self) -> u64 {
        leadership::term()
    }

    fn cancelled(&self) -> bool {
        leadership::cancelled()
    }

    fn wait(&self, limit: Duration) -> bool {
        leadership::wait(u32::try_from(limit.as_millis()).unwrap_or(u32::MAX))
    }
}

/// The same without `kubernetes-write`: nothing here calls it, so the module does not import it. What a lock policy reads by, too.
pub struct ReadingImports;

impl ReadingImports {
    fn denied<T>() -> Result<T> {
        Err(Error::new(Reason::Denied, "this plugin only reads: it was made with `reconciler!(.., reads_only)`"))
    }
}

impl Reads for ReadingImports {
    fn get(&self, object: &ObjectRef, options: &GetOptions) -> Result<String> {
        Imports.get(object, options)
    }

    fn list(&self, kind: &Kind, options: &ListOptions) -> Result<Page> {
        Imports.list(kind, options)
    }
}

impl Host for ReadingImports {
    fn create(&self, _: &ObjectRef, _: &str, _: &WriteOptions) -> Result<String> {
        Self::denied()
    }

    fn replace(&self, _: &ObjectRef, _: &str, _: &WriteOptions) -> Result<String> {
        Self::denied()
    }

    fn patch(&self, _: &ObjectRef, _: PatchType, _: &str, _: &WriteOptions) -> Result<String> {
        Self::denied()
    }

    fn apply(&self, _: &ObjectRef, _: &str, _: bool, _: &WriteOptions) -> Result<String> {
        Self::denied()
    }

    fn delete(&self, _: &ObjectRef, _: &DeleteOptions) -> Result<String> {
        Self::denied()
    }

    fn record_event(&self, _: &ObjectRef, _: EventType, _: &str, _: &str) -> Result<()> {
        Self::denied()
    }

    fn term(&self) -> u64 {
        Imports.term()
    }

    fn cancelled(&self) -> bool {
        Imports.cancelled()
    }

    fn wait(&self, limit: Duration) -> bool {
        Imports.wait(limit)
    }
}

pub(super) fn emit(level: Level, message: &str, fields: &[(&str, String)]) {
    let level = match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    let fields: Vec<(String, String)> = fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    log::emit(level, message, &fields);
}

impl From<&Kind> for types::Kind {
    fn from(kind: &Kind) -> Self {
        Self { api_version: kind.api_version.clone(), kind: kind.kind.clone() }
    }
}

impl From<&ObjectRef> for types::ObjectRef {
    fn from(object: &ObjectRef) -> Self {
        Self { kind: (&object.kind).into(), namespace: object.namespace.clone(), name: object.name.clone() }
    }
}

impl From<&WriteOptions> for kubernetes_write::WriteOptions {
    fn from(options: &WriteOptions) -> Self {
        Self {
            subresource: options.subresource.clone(),
            dry_run: options.dry_run,
            field_validation: options.field_validation.clone(),
            extra: Vec::new(),
        }
    }
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        let mut own = Error::new(Reason::from(error.reason.as_str()), error.message);
        if let Some(status) = error.status {
            own = own.with_status(status);
        }
        if let Some(delay) = error.retry_after_ms {
            own = own.with_retry_after(Duration::from_millis(delay.into()));
        }
        own
    }
}
