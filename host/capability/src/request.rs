//! What a plugin asks to do, as the API server would see it. Owns no judgement.

use std::str::FromStr;

/// One of the API's verbs that a plugin can send. Server-side apply is [`Verb::Patch`]; where it may create the object,
/// [`Verb::Create`] has to be asked for as well, as the API server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read many objects.
    List,
    /// Follow changes.
    Watch,
    /// Make an object.
    Create,
    /// Replace an object.
    Update,
    /// Change parts of an object, server-side apply included.
    Patch,
    /// Remove one object.
    Delete,
    /// Remove many objects.
    DeleteCollection,
}

/// A word that is no verb a plugin can send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no verb a plugin can send; the verbs are {list}", list = Verb::ALL.map(Verb::as_str).join(", "))]
pub struct UnknownVerb(pub String);

impl Verb {
    /// Every verb, in the order RBAC rules are usually written.
    pub const ALL: [Self; 8] = [
        Self::Get,
        Self::List,
        Self::Watch,
        Self::Create,
        Self::Update,
        Self::Patch,
        Self::Delete,
        Self::DeleteCollection,
    ];

    /// As RBAC writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// Whether it leaves the cluster as it was.
    #[must_use]
    pub const fn only_reads(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }

    /// Whether a rule with `resource-names` can cover it for an object whose name is known (`named`). What creates has no
    /// name the server could hold against the list, and what takes a whole collection has none either.
    #[must_use]
    pub(crate) const fn can_be_held_to_names(self, named: bool) -> bool {
        match self {
            Self::Create | Self::DeleteCollection => false,
            Self::Get | Self::List | Self::Watch | Self::Update | Self::Patch | Self::Delete => named,
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verb {
    type Err = UnknownVerb;

    fn from_str(word: &str) -> Result<Self, UnknownVerb> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == word).ok_or_else(|| UnknownVerb(word.to_owned()))
    }
}

/// One request to the API, resolved: the kind has become group and resource, and its scope is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// What to do.
    pub verb: Verb,
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The plural resource, such as `configmaps`; never with a subresource.
    pub resource: &'a str,
    /// `status`, `scale` and so on.
    pub subresource: Option<&'a str>,
    /// `None`: the resource is cluster-scoped, or, for list and watch of a namespaced one, all namespaces.
    pub namespace: Option<&'a str>,
    /// `None`: many objects, or a create with a generated name.
    pub name: Option<&'a str>,
    /// Every label that the object would carry after a write, or at least those the write adds or changes. Whoever cannot
    /// tell what a patch does to labels must apply it first and hand in the result.
    pub labels_written: &'a [(String, String)],
}

impl Request<'_> {
    /// Whether this takes many objects of more than one namespace (or of a cluster-scoped resource).
    #[must_use]
    pub(crate) const fn spans_namespaces(&self) -> bool {
        self.namespace.is_none() && matches!(self.verb, Verb::List | Verb::Watch)
    }
}
