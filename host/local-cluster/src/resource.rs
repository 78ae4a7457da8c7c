//! A kind as it is served: its names, its scope, its schema, and the flags of the API server's strategy for it.
//!
//! Owns no object and no rule beyond a flag; what differs between kinds and is more than a flag lives in `validation`, `defaults`,
//! `fields` and `table`. Which kinds there are is `registry`'s.

use std::sync::Arc;

use serde::Deserialize;

use crate::custom::Custom;
use crate::schema::{self, Schema};

/// Where objects are stored. Two resources may share one collection (events are served by two groups, custom resources in several
/// versions). The named ones have rules of their own here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Collection {
    Namespaces,
    CustomResourceDefinitions,
    ConfigMaps,
    Secrets,
    ServiceAccounts,
    Pods,
    Services,
    Events,
    Leases,
    /// Numbered by the registry.
    Other(u32),
}

impl Collection {
    /// The collections with rules of their own, and the names they are journaled under.
    pub(crate) const NAMED: [(Collection, &'static str); 9] = [
        (Collection::Namespaces, "namespaces"),
        (Collection::CustomResourceDefinitions, "customresourcedefinitions.apiextensions.k8s.io"),
        (Collection::ConfigMaps, "configmaps"),
        (Collection::Secrets, "secrets"),
        (Collection::ServiceAccounts, "serviceaccounts"),
        (Collection::Pods, "pods"),
        (Collection::Services, "services"),
        (Collection::Events, "events"),
        (Collection::Leases, "leases"),
    ];
}

/// How a resource's JSON relates to what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The stored form itself.
    Stored,
    /// `events.k8s.io/v1`: some top-level fields of the stored core/v1 Event have other names.
    EventsGroup,
}

/// One subresource, as discovery tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Subresource {
    #[serde(rename = "subresource")]
    pub(crate) name: String,
    #[serde(rename = "responseKind")]
    pub(crate) answers: GroupVersionKind,
    pub(crate) verbs: Vec<String>,
}

/// The kind of an answer. Group and version are empty where they are the resource's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct GroupVersionKind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

/// One served resource and the flags of its strategy in kube-apiserver (pkg/registry/*/strategy.go).
pub(crate) struct Resource {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) list_kind: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
    pub(crate) subresources: Vec<Subresource>,
    pub(crate) collection: Collection,
    /// What the collection is journaled under.
    pub(crate) collection_name: &'static str,
    pub(crate) view: View,
    /// `AllowCreateOnUpdate`: a PUT to a missing object creates it.
    pub(crate) create_on_update: bool,
    /// `AllowUnconditionalUpdate`: a PUT without a resourceVersion replaces whatever is there.
    pub(crate) unconditional_update: bool,
    /// `metadata.generation` counts the changes of everything but metadata and status.
    pub(crate) generation: bool,
    /// `ReturnDeletedObject`: DELETE answers with the object in place of a Status.
    pub(crate) returns_deleted: bool,
    /// As discovery shows it; empty for custom kinds, where it follows from the definition.
    pub(crate) storage_version_hash: &'static str,
    /// What `kubectl get` shows.
    pub(crate) columns: Vec<Column>,
    /// What is read and written, as published.
    pub(crate) schema: Kind,
    /// What is stored: differs where the view does.
    pub(crate) stored_schema: Kind,
    /// The version ownership records of this resource speak of.
    pub(crate) recorded_api_version: &'static str,
}

/// A column of a table: name, type, format and priority; above 0 it is shown with `-o wide` only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Column(pub(crate) String, pub(crate) String, pub(crate) String, pub(crate) i32);

/// Where a kind's schema comes from.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// One of Kubernetes' own, by the name of its definition.
    BuiltIn(&'static str),
    /// Of a CustomResourceDefinition.
    Custom(Arc<Custom>),
}

impl Kind {
    pub(crate) fn schema(&self) -> &Schema {
        match self {
            Kind::BuiltIn(definition) => schema::definition(definition),
            Kind::Custom(custom) => &custom.schema,
        }
    }
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.api_version, self.plural)
    }
}

impl Resource {
    /// `configmaps`, or `leases.coordination.k8s.io`: how messages name a resource.
    pub(crate) fn qualified(&self) -> String {
        qualified(self.plural, self.group)
    }

    pub(crate) fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Whether the status is written through a door of its own.
    pub(crate) fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// An object before anything is set, as Go serialises it: what is there is not added by who creates it.
    pub(crate) fn empty(&self) -> serde_json::Value {
        let mut empty = crate::decode::empty(self.stored_schema.schema());
        crate::metadata::of_mut(&mut empty);
        empty
    }

    /// What of a `CustomResourceDefinition` this is a version of.
    pub(crate) fn custom(&self) -> Option<&Custom> {
        match &self.schema {
            Kind::Custom(custom) => Some(custom),
            Kind::BuiltIn(_) => None,
        }
    }

    /// Group of the stored form: the one the API server's rules for objects speak of.
    pub(crate) fn stored_group(&self) -> &'static str {
        match self.view {
            // Events of both groups are stored, and held to their rules, as those of the core group.
            View::EventsGroup => "",
            View::Stored => self.recorded_api_version.split_once('/').map_or("", |(group, _)| group),
        }
    }

    /// Go's package of the internal type, which conversion errors name.
    pub(crate) fn internal_package(&self) -> &str {
        if self.group.is_empty() { "core" } else { self.group.split('.').next().unwrap_or_default() }
    }

    /// Whether requests for this kind are served; the sentence says why not.
    pub(crate) fn unserved_because(&self) -> Option<&'static str> {
        let horizontal = self.group == "autoscaling" && self.version == "v1";
        horizontal
            .then_some("autoscaling/v1: HorizontalPodAutoscalers are kept as autoscaling/v2 here; ask for that version")
    }
}

pub(crate) fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}
