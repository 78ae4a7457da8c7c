//! The table of kinds: what is served, under which names, and with which of the API server's per-kind strategies.
//!
//! Owns no object and no rule beyond a flag; everything that differs between kinds and is more than a flag lives in `validation`,
//! `defaults`, `fields` and `table`.

use k8s_openapi::api::{coordination, core, events};
use k8s_openapi::{ListableResource, Metadata};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::decode::{DecodeError, Decoded, decode_typed};

/// Where objects are stored. Two resources may share one collection (events are served by two groups).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Collection {
    Namespaces,
    ConfigMaps,
    Secrets,
    ServiceAccounts,
    Pods,
    Events,
    Leases,
}

impl Collection {
    pub(crate) const ALL: [Collection; 7] = [
        Collection::Namespaces,
        Collection::ConfigMaps,
        Collection::Secrets,
        Collection::ServiceAccounts,
        Collection::Pods,
        Collection::Events,
        Collection::Leases,
    ];

    /// The resource whose form is the stored one.
    pub(crate) fn resource(self) -> &'static Resource {
        RESOURCES
            .iter()
            .find(|resource| resource.collection == self && resource.view == View::Stored)
            .unwrap_or(&RESOURCES[0])
    }

    pub(crate) fn from_plural(plural: &str) -> Option<Collection> {
        Self::ALL.into_iter().find(|collection| collection.resource().plural == plural)
    }
}

/// How a resource's JSON relates to what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The stored form itself.
    Stored,
    /// `events.k8s.io/v1`: some top-level fields of the stored core/v1 Event have other names.
    EventsGroup,
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
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) namespaced: bool,
    pub(crate) collection: Collection,
    pub(crate) view: View,
    /// Subresources written with PUT and PATCH.
    pub(crate) subresources: &'static [&'static str],
    /// `AllowCreateOnUpdate`: a PUT to a missing object creates it.
    pub(crate) create_on_update: bool,
    /// `AllowUnconditionalUpdate`: a PUT without a resourceVersion replaces whatever is there.
    pub(crate) unconditional_update: bool,
    /// `ReturnDeletedObject`: DELETE answers with the object in place of a Status.
    pub(crate) returns_deleted: bool,
    /// Go's package of the internal type, which conversion errors name.
    pub(crate) internal_package: &'static str,
    pub(crate) decode: fn(Value) -> Result<Decoded, DecodeError>,
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
}

pub(crate) fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

const fn base<T>(collection: Collection, singular: &'static str) -> Resource
where
    T: ListableResource + Metadata + DeserializeOwned + Serialize,
{
    Resource {
        group: T::GROUP,
        version: T::VERSION,
        api_version: T::API_VERSION,
        kind: T::KIND,
        list_kind: T::LIST_KIND,
        singular,
        plural: T::URL_PATH_SEGMENT,
        short_names: &[],
        categories: &[],
        namespaced: true,
        collection,
        view: View::Stored,
        subresources: &[],
        create_on_update: false,
        unconditional_update: true,
        returns_deleted: false,
        internal_package: "core",
        decode: decode_typed::<T>,
    }
}

/// Every resource served. The order is the one discovery shows.
pub(crate) static RESOURCES: [Resource; 8] = [
    Resource { short_names: &["cm"], ..base::<core::v1::ConfigMap>(Collection::ConfigMaps, "configmap") },
    Resource { short_names: &["ev"], create_on_update: true, ..base::<core::v1::Event>(Collection::Events, "event") },
    Resource {
        short_names: &["ns"],
        namespaced: false,
        subresources: &["finalize", "status"],
        returns_deleted: true,
        ..base::<core::v1::Namespace>(Collection::Namespaces, "namespace")
    },
    Resource {
        short_names: &["po"],
        categories: &["all"],
        subresources: &["status"],
        returns_deleted: true,
        ..base::<core::v1::Pod>(Collection::Pods, "pod")
    },
    base::<core::v1::Secret>(Collection::Secrets, "secret"),
    Resource {
        short_names: &["sa"],
        returns_deleted: true,
        ..base::<core::v1::ServiceAccount>(Collection::ServiceAccounts, "serviceaccount")
    },
    Resource {
        create_on_update: true,
        unconditional_update: false,
        internal_package: "coordination",
        ..base::<coordination::v1::Lease>(Collection::Leases, "lease")
    },
    Resource {
        short_names: &["ev"],
        create_on_update: true,
        view: View::EventsGroup,
        ..base::<events::v1::Event>(Collection::Events, "event")
    },
];

/// The resource served under a group, version and plural name.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|resource| resource.group == group && resource.version == version && resource.plural == plural)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{NamespaceResourceScope, Resource as _};

    use super::*;

    #[test]
    fn scopes_are_those_of_the_published_api() {
        fn namespaced<T: k8s_openapi::Resource>() -> bool {
            std::any::type_name::<T::Scope>() == std::any::type_name::<NamespaceResourceScope>()
        }
        assert!(!namespaced::<core::v1::Namespace>());
        assert!(namespaced::<core::v1::ConfigMap>());
        assert_eq!(core::v1::ConfigMap::URL_PATH_SEGMENT, "configmaps");
        for resource in &RESOURCES {
            assert_eq!(resource.namespaced, resource.kind != "Namespace", "{resource:?}");
        }
    }

    #[test]
    fn every_collection_has_a_stored_form_of_its_own() {
        for collection in Collection::ALL {
            assert_eq!(collection.resource().collection, collection);
            assert_eq!(Collection::from_plural(collection.resource().plural), Some(collection));
        }
    }
}
