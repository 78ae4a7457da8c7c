//! OpenAPI v3: an index, and a document for each group version with its paths and the schemas of its kinds, without descriptions.
//!
//! Paths carry what clients look at: verbs, kinds, parameters.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Document, group_version_path, release};
use crate::registry::Served;
use crate::resource::{Kind, Resource};
use crate::schema;
use crate::status::{Refusal, Result};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const REFERENCE: &str = "#/components/schemas/";

/// The index of documents. The hash in each address changes with the document, so that clients may keep it.
pub(super) fn index(served: &Served) -> Value {
    let mut paths = Map::new();
    for resource in served.listed() {
        let path = group_version_path(resource);
        let key = path.trim_start_matches('/').to_owned();
        if paths.contains_key(&key) {
            continue;
        }
        // What a built-in group serves follows from the release; a definition's schema may change at any time.
        let digest = match resource.custom() {
            None => Sha256::digest(format!("{}{path}", release())),
            Some(_) => Sha256::digest(build(served, resource.group, resource.version).to_string()),
        };
        let hash: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let entry = json!({"serverRelativeURL": format!("/openapi/v3{path}?hash={hash}")});
        paths.insert(key, entry);
    }
    json!({"paths": paths})
}

pub(super) fn document(served: &Served, group: &str, version: &str) -> Result<Document> {
    if served.listed().any(|resource| resource.group == group && resource.version == version) {
        Ok(Document::Json(build(served, group, version)))
    } else {
        Err(Refusal::no_such_resource())
    }
}

fn build(served: &Served, group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let mut wanted: Vec<String> = ["Patch", "Status", "DeleteOptions"].map(|name| format!("{META}.{name}")).to_vec();
    let served = served.listed().filter(|resource| resource.group == group && resource.version == version);
    for resource in served {
        add_paths(resource, &mut paths);
        match &resource.schema {
            Kind::BuiltIn(definition) => {
                wanted.push((*definition).to_owned());
                wanted.push(format!("{definition}List"));
            }
            Kind::Custom(custom) => {
                wanted.extend([format!("{META}.ObjectMeta"), format!("{META}.ListMeta")]);
                schemas.extend(custom.published(resource));
            }
        }
        if resource.subresource("scale").is_some() {
            wanted.push("io.k8s.api.autoscaling.v1.Scale".to_owned());
        }
    }
    schemas.extend(schema::closure(wanted.iter().map(String::as_str)));
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": release()},
        "paths": paths, "components": {"schemas": schemas},
    })
}

const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const PATCH: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: [&str; 3] = ["dryRun", "gracePeriodSeconds", "propagationPolicy"];
const LIST: [&str; 10] = [
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

fn add_paths(resource: &Resource, paths: &mut Map<String, Value>) {
    let base = group_version_path(resource);
    let operation = |action: &str, parameters: &[&str]| operation(resource, action, parameters);
    if resource.namespaced {
        paths.insert(format!("{base}/{}", resource.plural), json!({"get": operation("list", &LIST)}));
    }
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}{scope}/{}", resource.plural);
    let mut methods = json!({"get": operation("list", &LIST), "post": operation("post", &WRITE)});
    if resource.verbs.iter().any(|verb| verb == "deletecollection") {
        methods["delete"] = operation("deletecollection", &["labelSelector", "fieldSelector", "dryRun"]);
    }
    paths.insert(collection.clone(), methods);
    paths.insert(
        format!("{collection}/{{name}}"),
        json!({
            "get": operation("get", &[]), "put": operation("put", &WRITE), "patch": operation("patch", &PATCH),
            "delete": operation("delete", &DELETE),
        }),
    );
    for subresource in &resource.subresources {
        let mut methods = Map::new();
        for verb in &subresource.verbs {
            match verb.as_str() {
                "get" => methods.insert("get".to_owned(), operation("get", &[])),
                "update" => methods.insert("put".to_owned(), operation("put", &WRITE)),
                "patch" => methods.insert("patch".to_owned(), operation("patch", &PATCH)),
                _ => None,
            };
        }
        paths.insert(format!("{collection}/{{name}}/{}", subresource.name), Value::Object(methods));
    }
}

fn operation(resource: &Resource, action: &str, parameters: &[&str]) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
        .collect();
    let definition = match &resource.schema {
        Kind::BuiltIn(definition) => (*definition).to_owned(),
        Kind::Custom(custom) => custom.definition_name(resource),
    };
    let definition = if action == "list" { format!("{definition}List") } else { definition };
    json!({
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": resource.group, "version": resource.version, "kind": resource.kind,
        },
        "parameters": parameters,
        "responses": {"200": {
            "description": "OK",
            "content": {"application/json": {"schema": {"$ref": format!("{REFERENCE}{definition}")}}},
        }},
    })
}
