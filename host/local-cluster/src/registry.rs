//! Which kinds there are: Kubernetes' own, from a table, and those of CustomResourceDefinitions, which come and go.
//!
//! Readers take a snapshot and keep it for a request; a change makes a new one. Knows no object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};

use serde::Deserialize;

use crate::resource::{Collection, Column, Kind, Resource, Subresource, View, qualified};

/// A line of the table, made by `examples/kinds`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    namespaced: bool,
    verbs: Vec<String>,
    short_names: Vec<String>,
    categories: Vec<String>,
    subresources: Vec<Subresource>,
    schema: &'static str,
    create_on_update: bool,
    unconditional_update: bool,
    generation: bool,
    returns_deleted: bool,
    columns: Vec<Column>,
    storage_version_hash: &'static str,
}

const TABLE: &str = include_str!("tables/kinds.jsonl");

/// Kubernetes' own kinds, in the order discovery shows them.
static BUILT_IN: LazyLock<Vec<Arc<Resource>>> = LazyLock::new(|| {
    let mut numbered: BTreeMap<&str, u32> = BTreeMap::new();
    let line = |line| match serde_json::from_str::<Line>(line) {
        Ok(line) => line,
        Err(error) => unreachable!("the table of kinds is this program's own: {error}"),
    };
    TABLE.lines().map(line).map(|line| built_in(line, &mut numbered)).collect()
});

fn built_in(line: Line, numbered: &mut BTreeMap<&'static str, u32>) -> Arc<Resource> {
    // Stored as core/v1 whichever group they came through.
    let events = line.group == "events.k8s.io";
    let api_version = intern(&api_version(line.group, line.version));
    let collection_name = if events { "events" } else { intern(&qualified(line.plural, line.group)) };
    // Journals of earlier versions have leases under their plural alone.
    let collection_name = if line.plural == "leases" { "leases" } else { collection_name };
    let next = u32::try_from(numbered.len()).unwrap_or(u32::MAX);
    let named = Collection::NAMED.iter().find(|(_, name)| *name == collection_name);
    let collection = match named {
        Some((collection, _)) => *collection,
        None => Collection::Other(*numbered.entry(collection_name).or_insert(next)),
    };
    Arc::new(Resource {
        group: line.group,
        version: line.version,
        api_version,
        kind: line.kind,
        list_kind: intern(&format!("{}List", line.kind)),
        singular: line.singular,
        plural: line.plural,
        short_names: line.short_names,
        categories: line.categories,
        namespaced: line.namespaced,
        verbs: line.verbs,
        subresources: line.subresources,
        collection,
        collection_name,
        view: if events { View::EventsGroup } else { View::Stored },
        create_on_update: line.create_on_update,
        unconditional_update: line.unconditional_update,
        generation: line.generation || line.plural == "customresourcedefinitions",
        returns_deleted: line.returns_deleted,
        columns: line.columns,
        storage_version_hash: line.storage_version_hash,
        schema: Kind::BuiltIn(line.schema),
        stored_schema: Kind::BuiltIn(if events { "io.k8s.api.core.v1.Event" } else { line.schema }),
        recorded_api_version: api_version,
    })
}

/// `v1`, or `apps/v1`.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// A name that lives as long as the process. There are as many as there were names of kinds, a few bytes each.
pub(crate) fn intern(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(name);
    name
}

/// A built-in resource by its path.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Arc<Resource>> {
    BUILT_IN.iter().find(|resource| resource.group == group && resource.version == version && resource.plural == plural)
}

/// The name of a built-in kind's definition.
pub(crate) fn definition_of(api_version: &str, kind: &str) -> Option<&'static str> {
    let known = BUILT_IN.iter().find(|known| known.kind == kind && known.api_version == api_version)?;
    match known.schema {
        Kind::BuiltIn(definition) => Some(definition),
        Kind::Custom(_) => None,
    }
}

/// The resource namespaces are served under.
pub(crate) fn namespaces() -> &'static Arc<Resource> {
    static NAMESPACES: LazyLock<&Arc<Resource>> =
        LazyLock::new(|| find("", "v1", "namespaces").unwrap_or_else(|| unreachable!("the table has namespaces")));
    &NAMESPACES
}

/// The resource CustomResourceDefinitions are served under.
pub(crate) fn definitions() -> Option<&'static Arc<Resource>> {
    find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
}

/// What is served at one time.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    /// Built-in kinds first; then the custom ones by group and name.
    resources: Vec<Arc<Resource>>,
}

impl Served {
    pub(crate) fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// Those that discovery tells of: a version that is only known to be refused is not among them.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter().filter(|resource| resource.unserved_because().is_none())
    }

    /// The resource served under a group, version and plural name.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources
            .iter()
            .find(|resource| resource.plural == plural && resource.group == group && resource.version == version)
    }

    pub(crate) fn find_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|resource| resource.kind == kind && resource.api_version == api_version)
    }

    /// One resource of each collection: the one whose form is the stored one.
    pub(crate) fn collections(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let mut seen = BTreeSet::new();
        self.resources.iter().filter(move |resource| resource.view == View::Stored && seen.insert(resource.collection))
    }
}

/// The kinds of one cluster.
#[derive(Debug)]
pub(crate) struct Registry {
    served: RwLock<Arc<Served>>,
    /// Collections of custom resources, by the name they are journaled under. Never forgotten: watchers may still hold one.
    numbered: Mutex<BTreeMap<String, Collection>>,
}

impl Default for Registry {
    fn default() -> Self {
        let numbered = BUILT_IN.iter().map(|resource| (resource.collection_name.to_owned(), resource.collection));
        let served = Served { resources: BUILT_IN.clone() };
        Self { served: RwLock::new(Arc::new(served)), numbered: Mutex::new(numbered.collect()) }
    }
}

impl Registry {
    pub(crate) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The collection journaled under `name`, numbered at its first mention.
    pub(crate) fn collection(&self, name: &str) -> Collection {
        let mut numbered = self.numbered.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Collection::Other(u32::try_from(numbered.len()).unwrap_or(u32::MAX));
        *numbered.entry(name.to_owned()).or_insert(next)
    }

    /// Serves `resources` in the place of all that a definition (`plural.group`) had before.
    pub(crate) fn replace_custom(&self, definition: &str, resources: Vec<Arc<Resource>>) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Served::clone(&served);
        next.resources.retain(|resource| resource.custom().is_none_or(|custom| custom.definition != definition));
        next.resources.extend(resources);
        let built_in = BUILT_IN.len();
        // The order of versions within a definition is by priority already, and stays.
        next.resources[built_in..].sort_by(|a, b| (a.group, a.plural).cmp(&(b.group, b.plural)));
        *served = Arc::new(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_kind_with_a_definition() {
        assert_eq!(BUILT_IN.len(), TABLE.lines().count());
        for resource in BUILT_IN.iter() {
            assert!(!resource.schema.schema().fields.is_empty(), "{resource:?}");
        }
    }

    #[test]
    fn kinds_of_several_groups_share_a_collection_and_others_have_their_own() {
        let collection = |group, version, plural| find(group, version, plural).unwrap().collection;
        assert_eq!(collection("", "v1", "events"), collection("events.k8s.io", "v1", "events"));
        assert_eq!(
            collection("autoscaling", "v1", "horizontalpodautoscalers"),
            collection("autoscaling", "v2", "horizontalpodautoscalers")
        );
        let registry = Registry::default();
        let collections: Vec<_> = registry.served().collections().map(|resource| resource.collection).collect();
        let unique: BTreeSet<_> = collections.iter().copied().collect();
        assert_eq!(unique.len(), collections.len());
        let custom = registry.collection("widgets.example.org");
        assert!(!unique.contains(&custom));
        assert_eq!(registry.collection("widgets.example.org"), custom);
    }
}
