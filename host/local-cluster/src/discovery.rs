//! What this cluster serves, told in the ways clients ask: legacy and aggregated discovery, version, OpenAPI paths.
//!
//! Derived from the table of kinds; nothing is listed that is not served. The OpenAPI documents carry paths, verbs and parameters,
//! no schemas: enough for kubectl to see that the server validates fields, and honest about the rest.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::negotiate::{self, DiscoveryForm, OPENAPI_V2_PROTOBUF};
use crate::openapi_v2::{OpenApiV2, openapi_v2};
use crate::resource::{RESOURCES, Resource};
use crate::status::{Refusal, Result};

/// The Kubernetes minor version whose types are served (k8s-openapi's feature `v1_36`).
const MINOR: &str = "36";

/// The body of a discovery, version or health path.
pub(crate) enum Document {
    Json(Value),
    /// JSON with a content type of its own.
    Typed(Value, &'static str),
    Text(&'static str),
    /// Of this content type.
    Bytes(Vec<u8>, &'static str),
}

/// Serves a path that is not an object's. `accept` decides between plain and aggregated discovery, and the form of OpenAPI v2.
pub(crate) fn document(path: &str, accept: Option<&str>) -> Result<Document> {
    let form = || negotiate::discovery_form(accept);
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match segments.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => Ok(Document::Text("ok")),
        ["version"] => Ok(Document::Json(version())),
        [] => Ok(Document::Json(json!({"paths": paths()}))),
        ["api"] => Ok(match form()? {
            DiscoveryForm::Plain => Document::Json(json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
            })),
            DiscoveryForm::Aggregated(version) => aggregated(version, |group| group.is_empty()),
        }),
        ["apis"] => Ok(match form()? {
            DiscoveryForm::Plain => {
                let groups: Vec<Value> = groups().into_iter().filter(|group| !group.is_empty()).map(group).collect();
                Document::Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
            }
            DiscoveryForm::Aggregated(version) => aggregated(version, |group| !group.is_empty()),
        }),
        ["api", version] => resources("", version),
        ["apis", name] if groups().contains(name) && !name.is_empty() => {
            let mut group = group(name);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            Ok(Document::Json(group))
        }
        ["apis", group, version] => resources(group, version),
        ["openapi", "v3"] => Ok(Document::Json(openapi_index())),
        ["openapi", "v3", "api", version] => openapi("", version),
        ["openapi", "v3", "apis", group, version] => openapi(group, version),
        ["openapi", "v2"] => Ok(match openapi_v2(negotiate::openapi_form(accept)?, &release()) {
            OpenApiV2::Json(value) => Document::Json(value),
            OpenApiV2::Protobuf(bytes) => Document::Bytes(bytes, OPENAPI_V2_PROTOBUF),
        }),
        _ => Err(Refusal::no_such_resource()),
    }
}

/// The release whose API this is.
fn release() -> String {
    format!("v1.{MINOR}.0")
}

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+tenure-local-cluster"), "gitCommit": "",
        "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = RESOURCES.iter().map(|resource| resource.group).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn group_version(resource: &Resource) -> Value {
    json!({"groupVersion": resource.api_version, "version": resource.version})
}

fn group(name: &str) -> Value {
    let mut versions: Vec<Value> = Vec::new();
    for resource in RESOURCES.iter().filter(|resource| resource.group == name) {
        let version = group_version(resource);
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

fn paths() -> Vec<String> {
    let mut paths: Vec<String> =
        ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            .map(str::to_owned)
            .to_vec();
    for resource in &RESOURCES {
        paths.push(group_version_path(resource));
        if !resource.group.is_empty() {
            paths.push(format!("/apis/{}", resource.group));
        }
    }
    paths.sort();
    paths.dedup();
    paths
}

fn group_version_path(resource: &Resource) -> String {
    if resource.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", resource.api_version) }
}

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

fn verbs(resource: &Resource) -> Vec<&'static str> {
    // The API server has no deletecollection for namespaces either.
    VERBS.into_iter().filter(|verb| resource.kind != "Namespace" || *verb != "deletecollection").collect()
}

/// `APIResourceList` of one group version.
fn resources(group: &str, version: &str) -> Result<Document> {
    let served = RESOURCES.iter().filter(|resource| resource.group == group && resource.version == version);
    let mut listed = Vec::new();
    let mut api_version = "";
    for resource in served {
        api_version = resource.api_version;
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs(resource), "storageVersionHash": storage_version_hash(resource),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        listed.push(entry);
        for subresource in resource.subresources {
            listed.push(json!({
                "name": format!("{}/{subresource}", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": resource.kind, "verbs": subresource_verbs(subresource),
            }));
        }
    }
    if listed.is_empty() {
        return Err(Refusal::no_such_resource());
    }
    Ok(Document::Json(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": listed,
    })))
}

fn subresource_verbs(subresource: &str) -> &'static [&'static str] {
    if subresource == "finalize" { &["update"] } else { &SUBRESOURCE_VERBS }
}

/// Eight bytes that change with what is stored, as discovery shows them.
fn storage_version_hash(resource: &Resource) -> String {
    use base64::Engine;
    let stored = resource.collection.resource();
    let digest = Sha256::digest(format!("{}/{}/{}", stored.group, stored.version, stored.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// `APIGroupDiscoveryList`: everything below `/api` or `/apis` in one answer.
fn aggregated(version: &'static str, wanted: impl Fn(&str) -> bool) -> Document {
    let items: Vec<Value> = groups()
        .into_iter()
        .filter(|group| wanted(group))
        .map(|group| {
            let served: Vec<&Resource> = RESOURCES.iter().filter(|resource| resource.group == group).collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !group.is_empty() {
                metadata["name"] = group.into();
            }
            let version = served.first().map(|resource| resource.version);
            let resources: Vec<Value> = served.iter().map(|resource| aggregated_resource(resource)).collect();
            json!({
                "metadata": metadata,
                "versions": [{"version": version, "freshness": "Current", "resources": resources}],
            })
        })
        .collect();
    let content_type = match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {},
        "items": items,
    });
    Document::Typed(list, content_type)
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let mut entry = json!({
        "resource": resource.plural, "responseKind": kind, "singularResource": resource.singular,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }, "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let subresources = resource.subresources.iter().map(|subresource| {
            json!({"subresource": subresource, "responseKind": kind, "verbs": subresource_verbs(subresource)})
        });
        entry["subresources"] = subresources.collect();
    }
    entry
}

/// The index of OpenAPI v3 documents. The hash in each address changes with the document, so that clients may keep it.
fn openapi_index() -> Value {
    let mut paths = Map::new();
    for resource in &RESOURCES {
        let path = group_version_path(resource);
        let document = openapi_document(resource.group, resource.version).to_string();
        let hash: String = Sha256::digest(document).iter().map(|byte| format!("{byte:02X}")).collect();
        let entry = json!({"serverRelativeURL": format!("/openapi/v3{path}?hash={hash}")});
        paths.insert(path.trim_start_matches('/').to_owned(), entry);
    }
    json!({"paths": paths})
}

fn openapi(group: &str, version: &str) -> Result<Document> {
    if RESOURCES.iter().any(|resource| resource.group == group && resource.version == version) {
        Ok(Document::Json(openapi_document(group, version)))
    } else {
        Err(Refusal::no_such_resource())
    }
}

fn openapi_document(group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    for resource in RESOURCES.iter().filter(|resource| resource.group == group && resource.version == version) {
        let base = group_version_path(resource);
        let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{base}{scope}/{}", resource.plural);
        let operation = |action: &str, parameters: &[&str]| openapi_operation(resource, action, parameters);
        let write = ["dryRun", "fieldManager", "fieldValidation"];
        let list = [
            "labelSelector",
            "fieldSelector",
            "limit",
            "continue",
            "resourceVersion",
            "resourceVersionMatch",
            "watch",
            "allowWatchBookmarks",
            "sendInitialEvents",
            "timeoutSeconds",
        ];
        paths.insert(
            collection.clone(),
            json!({
                "get": operation("list", &list), "post": operation("post", &write),
                "delete": operation("deletecollection", &["labelSelector", "fieldSelector", "dryRun"]),
            }),
        );
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({
                "get": operation("get", &[]), "put": operation("put", &write),
                "patch": operation("patch", &["dryRun", "fieldManager", "fieldValidation", "force"]),
                "delete": operation("delete", &["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
            }),
        );
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Tenure local cluster", "version": release()},
        "paths": paths, "components": {"schemas": {}},
    })
}

fn openapi_operation(resource: &Resource, action: &str, parameters: &[&str]) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
        .collect();
    json!({
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": resource.group, "version": resource.version, "kind": resource.kind,
        },
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
    })
}
