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

/// Where the next page starts, as the token carries it.
#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    /// Version of the snapshot; absent to go on with the newest state.
    rv: Option<u64>,
    /// The last key of the page before.
    namespace: String,
    name: String,
}

impl Continue {
    fn encode(&self) -> String {
        let json = json!(self).to_string();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
    }

    fn decode(token: &str) -> Result<Self> {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).ok();
        let decoded = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        decoded.ok_or_else(|| Refusal::bad_request("continue key is not valid: illegal base64 data or JSON"))
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
    let wanted = version(query)?;
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
    let wanted = version(query)?;
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
            let key = last.key.clone();
            metadata.next = Continue { rv: Some(version), namespace: key.namespace, name: key.name }.encode();
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
    let (version, mut objects) = match token.rv {
        None => store.list(resource.collection, namespace),
        Some(version) => match store.list_at(resource.collection, namespace, version) {
            Ok(objects) => (version, objects),
            Err(_) => {
                let mut refusal = Refusal::expired(CONTINUE_TOO_OLD);
                refusal.next = Some(Continue { rv: None, ..token }.encode());
                return Err(refusal);
            }
        },
    };
    let last = Key { namespace: token.namespace, name: token.name };
    objects.retain(|object| object.key > last);
    Ok((version, objects))
}

/// The request's resourceVersion; absent and "0" both read as 0: any version will do.
pub(crate) fn version(query: &Query) -> Result<u64> {
    let text = query.text("resourceVersion");
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        Refusal::invalid("", "", "", &[FieldError::invalid_text("resourceVersion", text, &why)])
    })
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
    if !token.is_empty() {
        return forbidden("resourceVersionMatch is forbidden when continue is provided");
    }
    match query.text("resourceVersion") {
        "" => forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"),
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
    let message = format!("Too large resource version: {wanted}, current: {current}");
    Err(Refusal::new(504, "Timeout", message).with_details(json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    })))
}
