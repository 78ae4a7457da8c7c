//! How a call is to be made. All defaults are what a reconcile wants most of the time.

/// How to read one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct GetOptions {
    /// Ask the API server, past the cache.
    pub live: bool,
    /// Only `apiVersion`, `kind` and `metadata`.
    pub metadata_only: bool,
    /// `status` or `scale`; always live.
    pub subresource: Option<String>,
}

impl GetOptions {
    /// Reads from the API server, past the cache: for decisions that must not rest on old news, such as a deletion.
    pub fn live() -> Self {
        Self { live: true, ..Self::default() }
    }

    /// Leaves out everything but the metadata.
    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }
}

/// Which objects to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ListOptions {
    /// Absent: all namespaces the plugin was granted.
    pub namespace: Option<String>,
    /// `team=web,tier!=cache`, as kubectl's `-l` takes it.
    pub label_selector: Option<String>,
    /// `metadata.name=prices`; always live.
    pub field_selector: Option<String>,
    /// Objects per page, not in all; the host caps it at 500.
    pub page_size: Option<u32>,
    /// Where the page before left off; [`Reader::list`](crate::Reader::list) fills it in.
    pub continue_token: Option<String>,
    /// Ask the API server, past the cache.
    pub live: bool,
    /// Only `apiVersion`, `kind` and `metadata`.
    pub metadata_only: bool,
}

impl ListOptions {
    /// All objects in all granted namespaces.
    pub fn everywhere() -> Self {
        Self::default()
    }

    /// All objects in one namespace.
    pub fn in_namespace(namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::default() }
    }

    /// Only those whose labels match.
    pub fn labelled(mut self, selector: impl Into<String>) -> Self {
        self.label_selector = Some(selector.into());
        self
    }

    /// Reads from the API server, past the cache.
    pub fn live(mut self) -> Self {
        self.live = true;
        self
    }

    /// Leaves out everything but the metadata.
    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }
}

/// How to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct WriteOptions {
    /// `status` or `scale`.
    pub subresource: Option<String>,
    /// Let the server check and answer, but store nothing.
    pub dry_run: bool,
    /// `Strict`, `Warn` or `Ignore`; the server's default unless given.
    pub field_validation: Option<String>,
}

impl WriteOptions {
    /// Writes the `status` subresource.
    pub fn status() -> Self {
        Self { subresource: Some("status".to_owned()), ..Self::default() }
    }
}

/// How a patch is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// A list of operations, RFC 6902.
    Json,
    /// An object laid over the stored one, RFC 7386: `null` removes, lists are replaced whole.
    Merge,
}

/// What becomes of the objects that name the deleted one as their owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay.
    Orphan,
}

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct DeleteOptions {
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// Only if the object still has this resource version.
    pub resource_version: Option<String>,
    /// The kind's default unless given.
    pub propagation: Option<Propagation>,
    /// The kind's default unless given.
    pub grace_period_seconds: Option<u32>,
    /// Let the server check and answer, but delete nothing.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Deletes exactly the object that was read: not a newer state of it, not a later one of the same name.
    pub fn exactly(metadata: &crate::Metadata) -> Self {
        Self {
            uid: Some(metadata.uid.clone()),
            resource_version: Some(metadata.resource_version.clone()),
            ..Self::default()
        }
    }
}

/// What an Event says about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// For information.
    Normal,
    /// Somebody should look.
    Warning,
}
