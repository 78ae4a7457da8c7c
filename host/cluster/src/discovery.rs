//! Which resource serves a kind: asked of the API server, one group version at a time, and remembered.
//!
//! The per-version documents (`/api/v1`, `/apis/<group>/<version>`) are what every server has, also those without
//! aggregated discovery, and a plugin needs one or two of them. Never guesses a plural.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use tokio::time::Instant;

use crate::reader::{Accept, Reader};
use crate::{ApiError, ResolveError, Resource, ResourceKey};

/// A kind that is missing is asked for again at most this often: a CRD shows soon after it is installed, and a plugin that
/// asks for nonsense costs little.
const REFRESH_MIN: Duration = Duration::from_secs(3);

/// Group versions remembered, more than large clusters serve: guests choose the names asked for, so there must be an end.
const VERSIONS_MAX: usize = 512;

/// How unlike a kind may be to what was asked for and still be worth a hint (1 is equal).
const LIKENESS_MIN: f64 = 0.7;

/// Remembers what was discovered.
pub(crate) struct Discovery {
    reader: Reader,
    versions: Mutex<HashMap<String, Arc<VersionSlot>>>,
}

/// One group version. The lock is held while it is fetched, so that many askers make one request.
type VersionSlot = tokio::sync::Mutex<Option<Known>>;

struct Known {
    fetched_at: Instant,
    /// By kind; empty when the server does not serve the version.
    resources: BTreeMap<String, Resource>,
}

impl Discovery {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, versions: Mutex::default() }
    }

    pub(crate) async fn resolve(&self, api_version: &str, kind: &str) -> Result<Resource, ResolveError> {
        let (group, version) = split(api_version)
            .ok_or_else(|| ResolveError::InvalidApiVersion { api_version: api_version.to_owned() })?;
        let slot = self.slot(api_version);
        let mut known = slot.lock().await;
        if let Some(resource) = known.as_ref().and_then(|known| known.resources.get(kind)) {
            return Ok(resource.clone());
        }
        if known.as_ref().is_none_or(|known| known.fetched_at.elapsed() >= REFRESH_MIN) {
            let resources = self.fetch(group, version).await?;
            *known = Some(Known { fetched_at: Instant::now(), resources });
        }
        let Some(resources) = known.as_ref().map(|known| &known.resources) else {
            return Err(not_found(api_version, kind, None));
        };
        if let Some(resource) = resources.get(kind) {
            return Ok(resource.clone());
        }
        let near_kind = nearest(kind, resources.keys()).map(|kind| format!("{kind:?}"));
        let served = !resources.is_empty();
        drop(known);
        let near = if served { near_kind } else { self.nearest_version(api_version).await };
        Err(not_found(api_version, kind, near))
    }

    fn slot(&self, api_version: &str) -> Arc<VersionSlot> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if versions.len() >= VERSIONS_MAX && !versions.contains_key(api_version) {
            // Forgets what nobody serves; what is being fetched just now is in use and stays.
            versions.retain(|_, slot| {
                slot.try_lock().map_or(true, |known| known.as_ref().is_some_and(|known| !known.resources.is_empty()))
            });
        }
        Arc::clone(versions.entry(api_version.to_owned()).or_default())
    }

    async fn fetch(&self, group: &str, version: &str) -> Result<BTreeMap<String, Resource>, ApiError> {
        let list: APIResourceList = match self.reader.read_as(&version_path(group, version), Accept::Json).await {
            Err(ApiError::Status(status)) if status.code == 404 => return Ok(BTreeMap::new()),
            other => other?,
        };
        Ok(resources(group, version, list))
    }

    /// The version or group that was probably meant. Only a hint: without an answer there is none.
    async fn nearest_version(&self, api_version: &str) -> Option<String> {
        let groups: APIGroupList = self.reader.read_as("/apis", Accept::Json).await.ok()?;
        let versions = groups.groups.into_iter().flat_map(|group| group.versions).map(|version| version.group_version);
        let versions: Vec<String> = versions.chain(["v1".to_owned()]).collect();
        nearest(api_version, versions.iter()).map(|version| format!("apiVersion {version:?}"))
    }
}

fn not_found(api_version: &str, kind: &str, nearest: Option<String>) -> ResolveError {
    ResolveError::NotFound { api_version: api_version.to_owned(), kind: kind.to_owned(), nearest }
}

/// Group (empty for core) and version of an `apiVersion`.
fn split(api_version: &str) -> Option<(&str, &str)> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let fits = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)) && !text.starts_with('.')
    };
    let well_formed =
        !version.is_empty() && fits(version) && fits(group) && api_version.contains('/') != group.is_empty();
    well_formed.then_some((group, version))
}

fn version_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn nearest<'a>(asked: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let asked = asked.to_lowercase();
    known
        .map(|name| (strsim::jaro_winkler(&asked, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

fn resources(group: &str, version: &str, list: APIResourceList) -> BTreeMap<String, Resource> {
    let (children, parents): (Vec<_>, Vec<_>) =
        list.resources.into_iter().partition(|listed| listed.name.contains('/'));
    let mut by_kind = BTreeMap::new();
    for parent in parents {
        let subresources = children.iter().filter_map(|child| {
            let (of, subresource) = child.name.split_once('/')?;
            (of == parent.name).then(|| subresource.to_owned())
        });
        let resource = Resource {
            subresources: subresources.collect(),
            key: ResourceKey {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: parent.name,
                kind: parent.kind.clone(),
                namespaced: parent.namespaced,
            },
            verbs: parent.verbs,
        };
        // Where two resources share a kind the first is the one that stores it, as in kubectl's mapper.
        by_kind.entry(parent.kind).or_insert(resource);
    }
    by_kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_version_is_a_version_with_or_without_a_group() {
        assert_eq!(split("v1"), Some(("", "v1")));
        assert_eq!(split("apps/v1"), Some(("apps", "v1")));
        for wrong in ["", "/v1", "apps/", "a/b/c", "../v1", "v1?x", "apps/v1/"] {
            assert_eq!(split(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn subresources_belong_to_their_resource() {
        let list: APIResourceList = serde_json::from_str(
            r#"{"groupVersion":"v1","resources":[
                {"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get","list"]},
                {"name":"pods/status","singularName":"","namespaced":true,"kind":"Pod","verbs":["patch"]},
                {"name":"pods/eviction","singularName":"","namespaced":true,"kind":"Eviction","verbs":["create"]}]}"#,
        )
        .unwrap();
        let kinds = resources("", "v1", list);
        assert_eq!(kinds.len(), 1);
        assert_eq!(kinds["Pod"].subresources, ["status", "eviction"]);
        assert!(kinds["Pod"].serves("list") && !kinds["Pod"].serves("watch"));
    }

    #[test]
    fn a_slip_gets_a_hint_and_nonsense_none() {
        let kinds = ["ConfigMap".to_owned(), "Secret".to_owned()];
        assert_eq!(nearest("configmap", kinds.iter()), Some(&kinds[0]));
        assert_eq!(nearest("Zzz", kinds.iter()), None);
    }
}
