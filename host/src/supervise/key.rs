//! What a queue counts by: one object, however many watches select it, one schedule, or the run of a task.

use std::sync::Arc;

use tenure_cluster::Object;

/// One key of a plugin's queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// An object.
    Object {
        /// Its kind: the first `[[watch]]` of the manifest that watches it.
        kind: usize,
        /// Absent for cluster-scoped objects.
        namespace: Option<Arc<str>>,
        /// Its name.
        name: Arc<str>,
    },
    /// The `[[schedule]]` with this number.
    Schedule(usize),
    /// The run of a task.
    Run,
}

impl Key {
    /// The key of an object.
    pub(crate) fn of(kind: usize, object: &Object) -> Self {
        Self::Object { kind, namespace: object.namespace.clone(), name: Arc::clone(&object.name) }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Object { namespace: Some(namespace), name, .. } => write!(f, "{namespace}/{name}"),
            Self::Object { namespace: None, name, .. } => f.write_str(name),
            Self::Schedule(number) => write!(f, "schedule {number}"),
            Self::Run => f.write_str("run"),
        }
    }
}
