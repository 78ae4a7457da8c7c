//! The records of the plugin contract (`plugin-sdk/wit/tenure.wit`) as plain Rust, for those who implement [`crate::Host`]
//! or call an instance. No wasmtime here: the bindings convert at the border.

/// A key and its value: what the contract's `extra` and log `fields` are made of.
pub type Pair = (String, String);

/// What went wrong, in Kubernetes' own terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Error {
    /// Kubernetes' StatusReason (`NotFound`, `Conflict`, ...), or one of Tenure's: `Cancelled`, `Denied`, `Limited`,
    /// `Unknown`, `GuestError`.
    pub reason: String,
    /// One sentence for people: what, where, how to mend it.
    pub message: String,
    /// The API server's whole Status object as JSON, where there was one.
    pub status: Option<String>,
    /// How long the server asks to wait, in milliseconds.
    pub retry_after_ms: Option<u32>,
}

impl Error {
    /// An error of Tenure's own: no Status, nothing to wait for.
    #[must_use]
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), status: None, retry_after_ms: None }
    }

    /// Leadership ended: the call was not made, or its answer is no longer this plugin's business.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new("Cancelled", "this term has ended: the call was not made, or its answer came too late")
    }

    /// A budget is used up.
    #[must_use]
    pub fn limited(message: impl Into<String>) -> Self {
        Self::new("Limited", message)
    }
}

/// A kind as manifests write it: `apps/v1` and `Deployment`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Group and version: `v1`, `apps/v1`.
    pub api_version: String,
    /// The kind: `ConfigMap`.
    pub kind: String,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; `None` for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// How to read one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// Ask the API server, past the cache.
    pub live: bool,
    /// `apiVersion`, `kind` and `metadata` only.
    pub metadata_only: bool,
    /// `status` or `scale`; always live.
    pub subresource: Option<String>,
    /// Room for what later contracts add.
    pub extra: Vec<Pair>,
}

/// Which objects to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// `None`: all namespaces; the answer then holds the granted ones only.
    pub namespace: Option<String>,
    /// A label selector as `kubectl -l` takes it.
    pub label_selector: Option<String>,
    /// A field selector as `kubectl --field-selector` takes it; always live.
    pub field_selector: Option<String>,
    /// At most this many items; 500 unless given, and never more.
    pub limit: Option<u32>,
    /// From the page before.
    pub continue_token: Option<String>,
    /// Ask the API server, past the cache.
    pub live: bool,
    /// `apiVersion`, `kind` and `metadata` only.
    pub metadata_only: bool,
    /// Room for what later contracts add.
    pub extra: Vec<Pair>,
}

/// One page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Each one object's JSON.
    pub items: Vec<String>,
    /// Present when there is more.
    pub continue_token: Option<String>,
    /// The list's resourceVersion.
    pub resource_version: String,
    /// How many more there are, where the server says.
    pub remaining: Option<u32>,
}

/// How a patch's body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
}

/// How to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// `status` or `scale`.
    pub subresource: Option<String>,
    /// Try it without storing anything.
    pub dry_run: bool,
    /// `Strict`, `Warn` or `Ignore`; the server's default unless given.
    pub field_validation: Option<String>,
    /// Room for what later contracts add.
    pub extra: Vec<Pair>,
}

/// What becomes of an object's dependents when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are collected afterwards.
    Background,
    /// They go first.
    Foreground,
    /// They stay.
    Orphan,
}

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only at this resourceVersion.
    pub resource_version: Option<String>,
    /// What becomes of dependents; the kind's default unless given.
    pub propagation: Option<Propagation>,
    /// Seconds the object has to end gracefully.
    pub grace_period_seconds: Option<u32>,
    /// Try it without deleting anything.
    pub dry_run: bool,
    /// Room for what later contracts add.
    pub extra: Vec<Pair>,
}

/// The type of a Kubernetes Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For those who write the plugin.
    Debug,
    /// For those who run it.
    Info,
    /// Something to look at.
    Warn,
    /// Something to mend.
    Error,
}

/// Why a plugin is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The object appeared or changed.
    Changed,
    /// The object is being deleted or is gone.
    Deleted,
    /// A `[[schedule]]` came due.
    Scheduled,
    /// The call before failed or asked to be called again; the number of failures in a row.
    Retried(u32),
    /// The first call for this key in this term.
    TermStarted,
}

/// What a plugin is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Why it is called.
    pub cause: Cause,
    /// What this is about.
    pub object: ObjectRef,
    /// The object's JSON as the cache has it.
    pub body: Option<String>,
    /// Room for what later contracts add.
    pub extra: Vec<Pair>,
}

/// What a plugin answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Call again for this key after so many milliseconds.
    pub requeue_after_ms: Option<u64>,
    /// Room for what later contracts add.
    pub extra: Vec<Pair>,
}

/// The lock's record as a lock policy sees it. Durations in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRecord {
    /// Empty: nobody.
    pub holder: String,
    /// The holder's term, or the last one's.
    pub term: Option<u64>,
    /// `spec.leaseDurationSeconds`.
    pub lease_duration_ms: u64,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
    /// For how long it has been seen to say this.
    pub unchanged_ms: u64,
    /// Until it may be taken, if nothing changes.
    pub free_in_ms: u64,
}

/// A candidate for the lock as a lock policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its Pod's name, or its host's.
    pub name: String,
    /// Where it runs.
    pub zone: Option<String>,
    /// The version of Tenure.
    pub version: String,
    /// The load of its machine, in percent of its processors.
    pub load: u32,
    /// Whether its last verdict was to campaign.
    pub campaigns: bool,
}

/// What a lock policy is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// `<namespace>/<name>`.
    pub lock: String,
    /// Whether this replica leads.
    pub leads: bool,
    /// The lock's record; `None` where there is none yet.
    pub record: Option<LockRecord>,
    /// This replica.
    pub own: Candidate,
    /// What it was labelled with.
    pub labels: Vec<Pair>,
    /// The others that live.
    pub peers: Vec<Candidate>,
    /// What waits on a free lock may come to, in milliseconds.
    pub wait_max_ms: u64,
}

/// What a lock policy answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Take a free lock.
    Campaign,
    /// Leave a free lock alone.
    Wait {
        /// For so many milliseconds.
        ms: u32,
    },
    /// Keep a held lock.
    Keep,
    /// Give a held lock up.
    Yield {
        /// Why, for people.
        reason: String,
    },
}
