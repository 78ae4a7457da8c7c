//! Errors of the house in the words of the contract, and what is read out of a guest's JSON before it is let through.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tenure_capability::Reason;
use tenure_cluster::{ApiError, ApiStatus, ResolveError, ResourceKey, WriteError};
use tenure_console::CallResult;
use tenure_sandbox::{DeleteOptions, Error, ObjectRef, Propagation};

/// Where an object says who wrote which of its fields.
const MANAGED_FIELDS: &str = "/metadata/managedFields";

/// Not granted.
pub(crate) fn denied(reason: &Reason) -> Error {
    Error::new("Denied", reason.to_string())
}

/// Not granted any more: the settings have changed since the plugin was loaded.
pub(crate) fn no_longer_granted(refusal: &str) -> Error {
    Error::new("Denied", refusal)
}

/// The request makes no sense, whoever asks.
pub(crate) fn bad_request(message: impl Into<String>) -> Error {
    Error::new("BadRequest", message)
}

/// Discovery did not find the kind, or could not be asked.
pub(crate) fn unresolved(error: ResolveError) -> Error {
    match error {
        ResolveError::Api(error) => api_failed(error),
        other => Error::new("NotFound", other.to_string()),
    }
}

/// A read that failed.
pub(crate) fn api_failed(error: ApiError) -> Error {
    match error {
        ApiError::Status(status) => from_status(*status),
        ApiError::Timeout { .. } => Error::new("Timeout", describe(&error)),
        other => Error::new("InternalError", describe(&other)),
    }
}

/// A write that failed, or whose answer was lost.
pub(crate) fn write_failed(error: WriteError) -> Error {
    match error {
        WriteError::Status(status) => from_status(*status),
        WriteError::Closed { .. } => Error::cancelled(),
        WriteError::Unknown { .. } => Error::new("Unknown", describe(&error)),
        other => bad_request(describe(&other)),
    }
}

fn from_status(status: ApiStatus) -> Error {
    Error {
        reason: status.reason,
        message: status.message,
        status: Some(status.json),
        retry_after_ms: status.retry_after.map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX)),
    }
}

/// An error with everything that caused it, in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// How a host call is counted.
pub(crate) fn call_result<T>(result: &Result<T, Error>) -> CallResult {
    match result {
        Ok(_) => CallResult::Ok,
        Err(error) => match error.reason.as_str() {
            "Denied" => CallResult::Denied,
            "Limited" => CallResult::Limited,
            "Cancelled" => CallResult::Cancelled,
            _ => CallResult::Error,
        },
    }
}

/// JSON from the API server as text.
pub(crate) fn text(bytes: &Bytes) -> Result<String, Error> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| Error::new("InternalError", "the API server's answer is not UTF-8"))
}

/// The namespace a reference must have, or must not have.
pub(crate) fn namespace_of<'a>(resource: &ResourceKey, object: &'a ObjectRef) -> Result<Option<&'a str>, Error> {
    match (resource.namespaced, object.namespace.as_deref().filter(|namespace| !namespace.is_empty())) {
        (true, Some(namespace)) => Ok(Some(namespace)),
        (false, None) => Ok(None),
        (true, None) => {
            Err(bad_request(format!("{} is namespaced: the reference must name a namespace", resource.kind)))
        }
        (false, Some(namespace)) => Err(bad_request(format!(
            "{} is cluster-scoped: the reference must not name a namespace, it names {namespace:?}",
            resource.kind
        ))),
    }
}

/// No such object.
pub(crate) fn not_found(resource: &ResourceKey, name: &str) -> Error {
    Error::new("NotFound", format!("{resource} {name:?} not found"))
}

/// The object is not any more what the plugin made its write from.
pub(crate) fn changed_meanwhile(name: &str) -> Error {
    Error::new("Conflict", format!("{name:?} has changed since it was read; read it and apply the changes to that"))
}

/// The API server's answer is not what it should be.
pub(crate) fn unreadable(error: impl std::error::Error) -> Error {
    Error::new("InternalError", format!("the API server's answer cannot be read: {}", describe(&error)))
}

/// A guest's JSON.
pub(crate) fn json(body: &str) -> Result<Value, Error> {
    serde_json::from_str(body).map_err(|error| bad_request(format!("the body is not JSON: {error}")))
}

/// The body of a create: as [`whole_body_of`], but a reference whose name ends in `-` asks for a generated name.
pub(crate) fn new_body_of(object: &ObjectRef, subresource: Option<&str>, body: &str) -> Result<Value, Error> {
    if !object.name.ends_with('-') {
        return whole_body_of(object, subresource, body);
    }
    let value = json(body)?;
    if value.pointer("/metadata/name").is_some() {
        return Err(bad_request("the reference asks for a generated name, the body has a metadata.name: leave it out"));
    }
    let unnamed = ObjectRef { name: String::new(), ..object.clone() };
    let kind_too = has_kind_of_object(subresource);
    complete(object, kind_too, "generateName", agree(&unnamed, kind_too, value)?)
}

/// The body of a replace or an apply: agrees with the reference, which says what it leaves out. The API server knows neither
/// a custom resource's kind nor the name in an apply from the path alone, and no guest should have to say them twice.
pub(crate) fn whole_body_of(object: &ObjectRef, subresource: Option<&str>, body: &str) -> Result<Value, Error> {
    complete(object, has_kind_of_object(subresource), "name", body_of(object, subresource, body)?)
}

/// What a guest wants to lay over an object, once it agrees with the reference about what it is.
pub(crate) fn body_of(object: &ObjectRef, subresource: Option<&str>, body: &str) -> Result<Value, Error> {
    agree(object, has_kind_of_object(subresource), json(body)?)
}

/// A subresource other than status has a kind of its own (`Scale`, `Eviction`), which only the server can judge.
fn has_kind_of_object(subresource: Option<&str>) -> bool {
    subresource.is_none_or(|subresource| subresource == "status")
}

/// Writes into a body what it leaves out and the reference says.
fn complete(object: &ObjectRef, kind_too: bool, name_field: &str, mut body: Value) -> Result<Value, Error> {
    let set = |fields: &mut Map<String, Value>, field: &str, value: &str| {
        if fields.get(field).is_none_or(Value::is_null) {
            fields.insert(field.to_owned(), value.into());
        }
    };
    let metadata = metadata_of(&mut body)?;
    set(metadata, name_field, &object.name);
    if let Some(namespace) = object.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        set(metadata, "namespace", namespace);
    }
    if kind_too && let Some(fields) = body.as_object_mut() {
        set(fields, "apiVersion", &object.kind.api_version);
        set(fields, "kind", &object.kind.kind);
    }
    Ok(body)
}

/// A body's metadata, made where there is none.
fn metadata_of(body: &mut Value) -> Result<&mut Map<String, Value>, Error> {
    let fields = body.as_object_mut().ok_or_else(|| bad_request("the body is not a JSON object"))?;
    let metadata = fields.entry("metadata").or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().ok_or_else(|| bad_request("the body's metadata is not a JSON object"))
}

/// Writes into a body which object is meant, and no other of its name.
pub(crate) fn set_uid(body: &mut Value, uid: &str) -> Result<(), Error> {
    set_in_metadata(body, "uid", uid)
}

/// Writes into a body which version of the object it replaces, and no other.
pub(crate) fn set_version(body: &mut Value, version: &str) -> Result<(), Error> {
    set_in_metadata(body, "resourceVersion", version)
}

fn set_in_metadata(body: &mut Value, field: &str, text: &str) -> Result<(), Error> {
    metadata_of(body)?.insert(field.to_owned(), Value::String(text.to_owned()));
    Ok(())
}

fn agree(object: &ObjectRef, kind_too: bool, value: Value) -> Result<Value, Error> {
    if value.pointer(MANAGED_FIELDS).is_some() {
        return Err(names_managers("the body has metadata.managedFields"));
    }
    let claims = [
        ("apiVersion", value.get("apiVersion"), Some(object.kind.api_version.as_str())),
        ("kind", value.get("kind"), Some(object.kind.kind.as_str())),
        ("metadata.name", value.pointer("/metadata/name"), Some(object.name.as_str())),
        ("metadata.namespace", value.pointer("/metadata/namespace"), object.namespace.as_deref()),
    ];
    let claims = claims.into_iter().skip(if kind_too { 0 } else { 2 });
    for (field, claimed, referenced) in claims {
        let agrees = match claimed {
            None | Some(Value::Null) => true,
            Some(Value::String(claimed)) => Some(claimed.as_str()) == referenced,
            Some(_) => false,
        };
        if !agrees {
            return Err(bad_request(format!(
                "the body's {field} is {}, the reference says {}",
                claimed.unwrap_or(&Value::Null),
                referenced.map_or_else(|| "none".to_owned(), |text| format!("{text:?}")),
            )));
        }
    }
    Ok(value)
}

/// The API server takes entries about anybody from whoever writes them; no read shows them to a guest, so none has to bring
/// them back.
fn names_managers(what: &str) -> Error {
    bad_request(format!("{what}: who wrote which field is the API server's to say, under the plugin's own name"))
}

/// Looks at what a JSON patch reaches into, as far as its paths tell.
///
/// # Errors
/// When a path is none: the API server's library takes what stands before the first slash for nothing, so that the path it
/// follows is another than the one that was judged. When it writes who wrote which field.
pub(crate) fn check_json_patch(patch: &Value) -> Result<(), Error> {
    for operation in patch.as_array().into_iter().flatten() {
        for field in ["path", "from"] {
            let Some(path) = operation.get(field) else { continue };
            let path = path.as_str().filter(|path| path.is_empty() || path.starts_with('/'));
            let path = path.ok_or_else(|| {
                bad_request(format!("a JSON patch's {field} is a text that begins with a slash, as RFC 6901 has it"))
            })?;
            let below = path.strip_prefix(MANAGED_FIELDS);
            if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                return Err(names_managers(&format!("a JSON patch's {field} is {path}")));
            }
        }
        let above = match operation.get("path").and_then(Value::as_str) {
            Some("") => MANAGED_FIELDS,
            Some("/metadata") => "/managedFields",
            _ => continue,
        };
        if operation.get("value").is_some_and(|value| value.pointer(above).is_some()) {
            return Err(names_managers("a JSON patch's value has metadata.managedFields"));
        }
    }
    Ok(())
}

/// The labels an object to be stored carries.
pub(crate) fn labels_of(object: &Value) -> Vec<(String, String)> {
    pairs(object.pointer("/metadata/labels")).collect()
}

/// The labels a JSON patch may write: what it sets at, below or above `/metadata/labels`.
///
/// # Errors
/// When it moves or copies something there that only the server could look up.
pub(crate) fn labels_of_json_patch(patch: &Value) -> Result<Vec<(String, String)>, Error> {
    let mut labels = Vec::new();
    for operation in patch.as_array().into_iter().flatten() {
        let text = |field: &str| operation.get(field).and_then(Value::as_str).unwrap_or_default();
        let (path, value) = (text("path"), operation.get("value").unwrap_or(&Value::Null));
        if let Some(label) = path.strip_prefix("/metadata/labels/") {
            let label = label.replace("~1", "/").replace("~0", "~");
            labels.push((label, value.as_str().unwrap_or_default().to_owned()));
            continue;
        }
        let above = matches!(path, "" | "/metadata" | "/metadata/labels");
        if above && matches!(text("op"), "move" | "copy") {
            return Err(bad_request(format!(
                "a JSON patch may not {} onto {path:?}: add labels one by one",
                text("op")
            )));
        }
        let inner = match path {
            "/metadata/labels" => Some(value),
            "/metadata" => value.get("labels"),
            "" => value.pointer("/metadata/labels"),
            _ => None,
        };
        labels.extend(pairs(inner));
    }
    Ok(labels)
}

fn pairs(labels: Option<&Value>) -> impl Iterator<Item = (String, String)> {
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
}

/// `DeleteOptions` in meta/v1.
///
/// A dry run has to be asked for in here: beside a body, the API server does not read these from the query.
pub(crate) fn delete_options(options: &DeleteOptions, dry_run: bool) -> Value {
    let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    if dry_run {
        body["dryRun"] = json!(["All"]);
    }
    if options.uid.is_some() || options.resource_version.is_some() {
        body["preconditions"] = json!({"uid": options.uid, "resourceVersion": options.resource_version});
    }
    if let Some(propagation) = options.propagation {
        body["propagationPolicy"] = json!(match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        });
    }
    if let Some(seconds) = options.grace_period_seconds {
        body["gracePeriodSeconds"] = seconds.into();
    }
    body
}

#[cfg(test)]
mod tests {
    use tenure_sandbox::Kind;

    use super::*;

    fn reference() -> ObjectRef {
        ObjectRef {
            kind: Kind { api_version: "v1".into(), kind: "ConfigMap".into() },
            namespace: Some("a".into()),
            name: "b".into(),
        }
    }

    #[test]
    fn a_body_that_says_nothing_of_itself_agrees() {
        assert_eq!(body_of(&reference(), None, r#"{"data":{}}"#), Ok(json!({"data": {}})));
    }

    #[test]
    fn a_body_of_another_kind_namespace_or_name_is_refused() {
        for (body, field) in [
            (r#"{"kind":"Secret"}"#, "kind"),
            (r#"{"apiVersion":"apps/v1"}"#, "apiVersion"),
            (r#"{"metadata":{"name":"other"}}"#, "metadata.name"),
            (r#"{"metadata":{"namespace":"other"}}"#, "metadata.namespace"),
            (r#"{"kind":7}"#, "kind"),
        ] {
            let error = body_of(&reference(), None, body).unwrap_err();
            assert!(error.message.contains(field), "{body}: {error}");
        }
    }

    #[test]
    fn a_scale_has_a_kind_of_its_own() {
        let scale = r#"{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"b","namespace":"a"}}"#;
        assert!(body_of(&reference(), Some("scale"), scale).is_ok());
        assert!(body_of(&reference(), Some("status"), scale).is_err());
        let other = scale.replace("\"b\"", "\"c\"");
        assert!(body_of(&reference(), Some("scale"), &other).is_err());
    }

    #[test]
    fn a_dry_run_delete_says_so_in_its_body() {
        assert_eq!(delete_options(&DeleteOptions::default(), true)["dryRun"], json!(["All"]));
        assert!(delete_options(&DeleteOptions::default(), false).get("dryRun").is_none());
    }

    #[test]
    fn labels_hidden_anywhere_in_a_json_patch_are_found() {
        let found = labels_of_json_patch(&json!([
            {"op": "add", "path": "/metadata/labels/tenure.dev~1plugin", "value": "true"},
            {"op": "add", "path": "/metadata/labels", "value": {"b": "2"}},
            {"op": "replace", "path": "/metadata", "value": {"labels": {"c": "3"}}},
            {"op": "replace", "path": "", "value": {"metadata": {"labels": {"d": "4"}}}},
            {"op": "add", "path": "/data/x", "value": "y"},
        ]))
        .unwrap();
        let names: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(names, ["tenure.dev/plugin", "b", "c", "d"]);
    }

    #[test]
    fn labels_that_only_the_server_could_look_up_are_refused() {
        let patch = json!([{"op": "copy", "from": "/data", "path": "/metadata/labels"}]);
        assert!(labels_of_json_patch(&patch).is_err());
        let patch = json!([{"op": "move", "from": "/data/x", "path": "/metadata/labels/tenure.dev~1plugin"}]);
        assert_eq!(labels_of_json_patch(&patch).unwrap()[0].0, "tenure.dev/plugin");
    }

    #[test]
    fn json_nested_100_000_deep_is_refused_and_does_not_bring_the_host_down() {
        let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for body in [deep("[", "]"), deep("{\"a\":", "}"), "[".repeat(100_000), "{\"a\":".repeat(100_000)] {
            let body = format!("{{\"data\":{body}}}");
            // The stack that a worker thread has.
            let judged = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
                [body_of(&reference(), None, &body), new_body_of(&reference(), None, &body), json(&body)]
                    .map(|result| result.expect_err("too deep").reason)
            });
            assert_eq!(judged.expect("a thread").join().expect("no panic"), ["BadRequest"; 3]);
        }
    }

    #[test]
    fn a_body_that_says_who_wrote_which_field_is_refused() {
        let spoofed = r#"{"metadata":{"managedFields":[{"manager":"kubectl"}]}}"#;
        let emptied = r#"{"metadata":{"managedFields":[{}]}}"#;
        for body in [spoofed, emptied, r#"{"metadata":{"managedFields":null}}"#] {
            for refused in [body_of(&reference(), None, body), new_body_of(&reference(), None, body)] {
                assert!(refused.unwrap_err().message.contains("managedFields"), "{body}");
            }
            assert!(body_of(&reference(), Some("status"), body).is_err(), "{body}");
            assert!(body_of(&reference(), Some("scale"), body).is_err(), "{body}");
        }
        let generated = ObjectRef { name: "b-".into(), ..reference() };
        assert!(new_body_of(&generated, None, spoofed).is_err());
    }

    #[test]
    fn a_json_patch_that_says_who_wrote_which_field_is_refused() {
        for operation in [
            json!({"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "kubectl"}),
            json!({"op": "remove", "path": "/metadata/managedFields"}),
            json!({"op": "move", "from": "/metadata/managedFields/0", "path": "/metadata/annotations/x"}),
            json!({"op": "copy", "from": "/data", "path": "/metadata/managedFields/-"}),
            json!({"op": "add", "path": "/metadata", "value": {"managedFields": []}}),
            json!({"op": "add", "path": "", "value": {"metadata": {"managedFields": []}}}),
        ] {
            assert!(check_json_patch(&json!([operation])).is_err(), "{operation}");
        }
        let other = json!([{"op": "add", "path": "/metadata/managedFieldsOfMine", "value": 1}]);
        assert_eq!(check_json_patch(&other), Ok(()));
    }

    /// `x/metadata/labels/..` is `/metadata/labels/..` to the API server.
    #[test]
    fn a_json_patch_with_a_path_that_does_not_begin_with_a_slash_is_refused() {
        for operation in [
            json!({"op": "add", "path": "x/metadata/labels/tenure.dev~1plugin", "value": "true"}),
            json!({"op": "add", "path": "metadata/labels", "value": {}}),
            json!({"op": "move", "from": "x/data", "path": "/data"}),
            json!({"op": "add", "path": 7, "value": 1}),
            json!({"op": "add", "path": null, "value": 1}),
        ] {
            assert!(check_json_patch(&json!([operation])).is_err(), "{operation}");
        }
        let well =
            json!([{"op": "test", "path": "", "value": {}}, {"op": "copy", "from": "/data/a", "path": "/data/b"}]);
        assert_eq!(check_json_patch(&well), Ok(()));
    }

    #[test]
    fn a_whole_body_is_told_what_the_reference_says() {
        let whole = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "namespace": "a"}});
        for body in ["{}", r#"{"metadata":null}"#, r#"{"kind":null,"metadata":{"name":null}}"#, &whole.to_string()] {
            assert_eq!(whole_body_of(&reference(), None, body), Ok(whole.clone()), "{body}");
            assert_eq!(new_body_of(&reference(), None, body), Ok(whole.clone()), "{body}");
        }
        assert_eq!(body_of(&reference(), None, "{}"), Ok(json!({})), "a patch says what it changes, and no more");
        let cluster_scoped = ObjectRef { namespace: None, ..reference() };
        let completed = whole_body_of(&cluster_scoped, None, "{}").unwrap();
        assert_eq!(completed["metadata"], json!({"name": "b"}));
        assert!(whole_body_of(&reference(), None, "[]").unwrap_err().message.contains("not a JSON object"));
        assert!(whole_body_of(&reference(), None, r#"{"metadata":7}"#).unwrap_err().message.contains("metadata"));
    }

    #[test]
    fn a_body_of_a_subresource_keeps_its_own_kind() {
        let scale = whole_body_of(&reference(), Some("scale"), r#"{"kind":"Scale"}"#).unwrap();
        assert_eq!(scale, json!({"kind": "Scale", "metadata": {"name": "b", "namespace": "a"}}));
        let eviction = new_body_of(&reference(), Some("eviction"), r#"{"kind":"Eviction"}"#).unwrap();
        assert_eq!(eviction, json!({"kind": "Eviction", "metadata": {"name": "b", "namespace": "a"}}));
        assert_eq!(whole_body_of(&reference(), Some("status"), "{}").unwrap()["kind"], "ConfigMap");
    }

    #[test]
    fn a_reference_that_ends_in_a_dash_asks_for_a_generated_name() {
        let generated = ObjectRef { name: "b-".into(), ..reference() };
        let created = new_body_of(&generated, None, "{}").unwrap();
        assert_eq!(created["metadata"], json!({"generateName": "b-", "namespace": "a"}));
        assert!(new_body_of(&generated, None, r#"{"metadata":{"name":"x"}}"#).is_err());
    }
}
