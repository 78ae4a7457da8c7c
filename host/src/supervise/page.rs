//! Pages of objects for a guest: from the cache or from the API server, and always cut to what is granted.

use std::sync::Arc;

use tenure_capability::NamespaceFilter;
use tenure_cluster::{Cluster, FieldSelector, Hub, Impersonated, ListQuery, Object, ResourceKey, Selector, WatchKey};
use tenure_sandbox::{Error, ListOptions, Page};

use super::answer;

/// The most items a page holds, and how many it holds unless the guest asks for fewer.
const ITEMS_MAX: u32 = 500;
/// What a continue token of a cached list begins with; the API server's own tokens are base64 and hold no colon.
const CACHE_TOKEN: &str = "cache:";

/// A page of the shared cache. Its token is the name of the last object shown: objects that come or go between two pages
/// are seen or not, as with the API server's own cache.
pub(crate) fn from_cache(
    hub: &Hub,
    key: &WatchKey,
    namespace: Option<&str>,
    options: &ListOptions,
    granted: &NamespaceFilter,
) -> Result<Page, Error> {
    let labels = Selector::parse(options.label_selector.as_deref().unwrap_or_default())
        .map_err(|error| answer::bad_request(error.to_string()))?;
    let after = match options.continue_token.as_deref() {
        None => None,
        Some(token) => Some(token.strip_prefix(CACHE_TOKEN).ok_or_else(expired)?),
    };
    let resource_version = hub.seen_version(key).to_string();
    let all = hub.list(key, namespace, &labels, &FieldSelector::default());
    let mut rest = all
        .into_iter()
        .filter(|object| granted.admits_object(object.namespace.as_deref(), &object.name))
        .filter(|object| after.is_none_or(|after| position(object).as_str() > after))
        .peekable();
    let shown: Vec<Arc<Object>> = rest.by_ref().take(items_max(options)).collect();
    let continue_token = rest.peek().and(shown.last()).map(|last| format!("{CACHE_TOKEN}{}", position(last)));
    let remaining = continue_token.is_some().then(|| u32::try_from(rest.count()).unwrap_or(u32::MAX));
    let items = shown.iter().map(|object| rendered(object, options.metadata_only)).collect();
    Ok(Page { items, continue_token, resource_version, remaining })
}

/// A page of a live list.
pub(crate) async fn from_api(
    cluster: &Cluster,
    resource: &ResourceKey,
    namespace: Option<&str>,
    options: &ListOptions,
    granted: &NamespaceFilter,
    impersonated: Option<Arc<Impersonated>>,
) -> Result<Page, Error> {
    if options.continue_token.as_deref().is_some_and(|token| token.starts_with(CACHE_TOKEN)) {
        return Err(expired());
    }
    let query = ListQuery {
        namespace: namespace.map(str::to_owned),
        label_selector: options.label_selector.clone(),
        field_selector: options.field_selector.clone(),
        limit: u32::try_from(items_max(options)).ok(),
        continue_token: options.continue_token.clone(),
        metadata_only: options.metadata_only,
        impersonated,
    };
    let page = cluster.list_live(resource, &query).await.map_err(answer::api_failed)?;
    let shown = page.items.iter().filter(|object| granted.admits_object(object.namespace.as_deref(), &object.name));
    Ok(Page {
        items: shown.map(|object| object.json().to_owned()).collect(),
        continue_token: page.continue_token,
        resource_version: page.version,
        // The server counts what the grant hides as well: that would tell too much.
        remaining: None,
    })
}

fn rendered(object: &Object, metadata_only: bool) -> String {
    if metadata_only { object.metadata_json() } else { object.json().to_owned() }
}

fn items_max(options: &ListOptions) -> usize {
    options.limit.filter(|limit| *limit > 0).unwrap_or(ITEMS_MAX).min(ITEMS_MAX) as usize
}

/// Sorts as the cache does: by namespace, then name. A space sorts before every character of a name.
fn position(object: &Object) -> String {
    format!("{} {}", object.namespace.as_deref().unwrap_or_default(), object.name)
}

/// As the API server answers a token it no longer knows; the guest lists anew.
fn expired() -> Error {
    Error::new("Expired", "the continue token is from another kind of list; list again from the start")
}
