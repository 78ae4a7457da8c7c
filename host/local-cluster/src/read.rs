//! GET and LIST: single objects, pages of one consistent snapshot, and what a resourceVersion in a request asks for.
//!
//! Semantics: kubernetes.io/docs/reference/using-api/api-concepts. Everything here is served from the newest state, so "at least as
//! new as" always holds unless the version lies in the future.

use std::sync::Arc;

use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::object::{Key, Object};
use crate::query::Query;
use crate::render::ListMetadata;
use crate::resource::Resource;
use crate::selector::Selector;
use crate::status::{FieldError, Refusal, Result};
use crate::store::Store;

/// The version is gone, for a list.
const LIST_TOO_OLD: &str = "The resourceVersion for the provided list is too old.";
/// The version is gone, for a page of a list.
const CONTINUE_TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start \
    a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
    results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
    deleted between the time the first chunk was returned and now may show up in the list.";

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) metadata: ListMetadata,
    pub(crate) objects: Vec<Arc<Object>>,
}

/// Where the next page starts, as the token carries it (apiserver `storage.continueToken`).
#[derive(Debug, Serialize, Deserialize, Default)]
#[serde(default)]
struct Continue {
    /// The form of the token.
    v: String,
    /// Version of the snapshot; -1 to go on with the newest state.
    rv: i64,
    /// The first key that may follow: the last one's path below the list's, and a zero byte.
    start: String,
}

const TOKEN_FORM: &str = "meta.k8s.io/v1";

impl Continue {
    fn after(key: &Key, in_namespace: bool, version: u64) -> Self {
        let start = match key.namespace.as_str() {
            namespace if !in_namespace && !namespace.is_empty() => format!("/{namespace}/{}\0", key.name),
            _ => format!("/{}\0", key.name),
        };
        Self { v: TOKEN_FORM.to_owned(), rv: i64::try_from(version).unwrap_or(i64::MAX), start }
    }

    /// The last key of the page before.
    fn last(&self, namespace: Option<&str>, namespaced: bool) -> Key {
        let path = self.start.trim_start_matches('/').trim_end_matches('\0');
        match (namespace, path.split_once('/')) {
            (None, Some((namespace, name))) if namespaced => Key::new(namespace, name),
            (namespace, _) => Key::new(namespace.unwrap_or_default(), path),
        }
    }

    fn encode(&self) -> String {
        let json = json!(self).to_string();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
    }

    fn decode(token: &str) -> Result<Self> {
        let refuse =
            |why: &str| Refusal::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.trim_end_matches('='));
        let bytes = bytes.map_err(|error| refuse(&error.to_string()))?;
        let decoded: Self =
            serde_json::from_slice(&bytes).map_err(|error| refuse(&crate::go_json::syntax_error(&bytes, &error)))?;
        if decoded.v != TOKEN_FORM {
            return Err(refuse(&format!("server does not recognize this encoded version {}", decoded.v)));
        }
        Ok(decoded)
    }
}

/// How a list's resourceVersion is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    NotOlderThan,
    Exact,
}

/// One object.
pub(crate) fn get(
    store: &Store,
    resource: &Resource,
    namespace: &str,
    name: &str,
    query: &Query,
) -> Result<Arc<Object>> {
    // A single object's error has no status of its own.
    let wanted = version(query).map_err(|why| Refusal::new(500, "", why))?;
    refuse_future(store, wanted)?;
    let object = store.get(resource.collection, &Key::new(namespace, name));
    object.ok_or_else(|| Refusal::not_found(resource, name))
}

/// One page of a list. `namespace` is `None` for all of them.
pub(crate) fn list(
    store: &Store,
    resource: &Resource,
    namespace: Option<&str>,
    selector: &Selector,
    query: &Query,
) -> Result<Page> {
    if query.get("sendInitialEvents").is_some() {
        let error = FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
        return Err(Refusal::invalid("ListOptions", "meta.k8s.io", "", &[error]));
    }
    let limit = query.number("limit")?.unwrap_or(0).max(0);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let token = query.text("continue");
    let matching = resource_version_match(query, token)?;
    let wanted = list_version(query)?;
    let (version, mut objects) = if !token.is_empty() {
        if wanted != 0 {
            return Err(Refusal::bad_request("specifying resource version is not allowed when using continue"));
        }
        rest_of_list(store, resource, namespace, Continue::decode(token)?)?
    } else if matching == Some(Match::Exact) {
        refuse_future(store, wanted)?;
        let objects =
            store.list_at(resource.collection, namespace, wanted).map_err(|_| Refusal::expired(LIST_TOO_OLD))?;
        (wanted, objects)
    } else {
        refuse_future(store, wanted)?;
        store.list(resource.collection, namespace)
    };
    objects.retain(|object| selector.matches(object));
    let mut metadata = ListMetadata { version, next: String::new(), remaining: None };
    if limit > 0 && objects.len() > limit {
        // With a selector the API server does not know how many of the rest it selects, and says nothing.
        metadata.remaining = selector.is_everything().then(|| (objects.len() - limit) as u64);
        objects.truncate(limit);
        if let Some(last) = objects.last() {
            metadata.next = Continue::after(&last.key, namespace.is_some(), version).encode();
        }
    }
    Ok(Page { metadata, objects })
}

/// What follows the last page, in the snapshot it was taken from.
fn rest_of_list(
    store: &Store,
    resource: &Resource,
    namespace: Option<&str>,
    token: Continue,
) -> Result<(u64, Vec<Arc<Object>>)> {
    let last = token.last(namespace, resource.namespaced);
    let (version, mut objects) = match u64::try_from(token.rv) {
        Err(_) => store.list(resource.collection, namespace),
        Ok(version) => match store.list_at(resource.collection, namespace, version) {
            Ok(objects) => (version, objects),
            Err(_) => {
                let mut refusal = Refusal::expired(CONTINUE_TOO_OLD);
                refusal.next = Some(Continue { rv: -1, ..token }.encode().into());
                return Err(refusal);
            }
        },
    };
    objects.retain(|object| object.key > last);
    Ok((version, objects))
}

/// The request's resourceVersion, or what is wrong with it; absent and "0" both read as 0: any version will do.
pub(crate) fn version(query: &Query) -> std::result::Result<u64, String> {
    let text = query.text("resourceVersion");
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        format!("resourceVersion: Invalid value: {text:?}: {why}")
    })
}

fn list_version(query: &Query) -> Result<u64> {
    version(query).map_err(|why| Refusal::bad_request(format!("invalid resource version: {why}")))
}

fn resource_version_match(query: &Query, token: &str) -> Result<Option<Match>> {
    let given = query.text("resourceVersionMatch");
    let refuse = |error| Err(Refusal::invalid("ListOptions", "meta.k8s.io", "", &[error]));
    let forbidden = |why: &str| refuse(FieldError::forbidden("resourceVersionMatch", why));
    let matching = match given {
        "" => return Ok(None),
        "Exact" => Match::Exact,
        "NotOlderThan" => Match::NotOlderThan,
        other => {
            let supported = ["Exact", "NotOlderThan", ""];
            return refuse(FieldError::not_supported("resourceVersionMatch", other, &supported));
        }
    };
    let unfit = [
        (
            query.text("resourceVersion").is_empty(),
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (!token.is_empty(), "resourceVersionMatch is forbidden when continue is provided"),
    ];
    let errors: Vec<FieldError> = unfit
        .into_iter()
        .filter(|(unfit, _)| *unfit)
        .map(|(_, why)| FieldError::forbidden("resourceVersionMatch", why))
        .collect();
    if !errors.is_empty() {
        return Err(Refusal::invalid("ListOptions", "meta.k8s.io", "", &errors));
    }
    match query.text("resourceVersion") {
        "0" if matching == Match::Exact => {
            forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        _ => Ok(Some(matching)),
    }
}

fn refuse_future(store: &Store, wanted: u64) -> Result<()> {
    let current = store.version();
    if wanted <= current {
        return Ok(());
    }
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    Err(Refusal::new(504, "Timeout", message).with_details(json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    })))
}
