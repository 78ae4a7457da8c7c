//! Derives the tables of built-in kinds from a running kube-apiserver and from the Go sources of the same release: what is served
//! under which names (`src/tables/kinds.jsonl`) and which fields it has (`src/tables/schemas.tsv`).
//!
//! Takes names, types, list keys and flags, no description texts. The sources are needed for what OpenAPI does not tell: which
//! fields Go writes although they are empty, and the flags of each kind's strategy. Their directory holds the folders `api`,
//! `apimachinery`, `apiextensions-apiserver`, `kube-aggregator` and `kubernetes`, each followed by `@` and its version.
//!
//! `KUBECONFIG=... cargo run -p tenure-local-cluster --example kinds -- <folder of k8s.io modules> host/local-cluster/src/tables`

mod go;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use self::go::Sources;

const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Subresources the local cluster serves; the others are not in the table.
const SUBRESOURCES: [&str; 3] = ["finalize", "scale", "status"];
/// What every document refers to beside its kinds.
const COMMON: [&str; 3] = ["Patch", "Status", "DeleteOptions"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(modules), Some(tables)) = (arguments.next(), arguments.next()) else {
        return Err("name the folder of the k8s.io modules and the folder of the tables".into());
    };
    let client = kube::Client::try_default().await?;
    let index = get(&client, "/openapi/v3", "application/json").await?;
    let mut definitions: BTreeMap<String, Value> = BTreeMap::new();
    for path in index["paths"].as_object().into_iter().flat_map(Map::keys) {
        let document = get(&client, &format!("/openapi/v3/{path}"), "application/json").await?;
        let schemas = document.pointer("/components/schemas").and_then(Value::as_object).cloned().unwrap_or_default();
        definitions.extend(schemas.into_iter().map(|(name, schema)| (name, without_descriptions(schema))));
    }
    let version = get(&client, "/version", "application/json").await?;
    let mut sources = Sources::new(modules, version["gitVersion"].as_str().unwrap_or_default());
    let mut kinds = String::new();
    let mut wanted: Vec<String> = Vec::new();
    for root in ["/api", "/apis"] {
        let groups = get(&client, root, AGGREGATED).await?;
        for group in list(&groups["items"]) {
            for version in list(&group["versions"]) {
                for resource in list(&version["resources"]) {
                    let group = group.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                    let line = kind(group, version, resource, &definitions, &sources, &mut wanted);
                    let Some(mut line) = line else { continue };
                    line["columns"] = columns(&client, root, &line).await?;
                    line["storageVersionHash"] = storage_version_hash(&client, root, &line).await?;
                    writeln!(kinds, "{line}")?;
                }
            }
        }
    }
    wanted.extend(definitions.keys().filter(|name| is_common(name)).cloned());
    std::fs::write(tables.join("kinds.jsonl"), kinds)?;
    std::fs::write(tables.join("schemas.tsv"), schemas(&definitions, wanted, &mut sources)?)?;
    Ok(())
}

/// The hash that legacy discovery shows of a kind.
async fn storage_version_hash(client: &kube::Client, root: &str, line: &Value) -> Result<Value, Box<dyn Error>> {
    let text = |field: &str| line[field].as_str().unwrap_or_default();
    let path = [root, text("group"), text("version")].into_iter().filter(|part| !part.is_empty());
    let resources = get(client, &path.collect::<Vec<_>>().join("/"), "application/json").await?;
    let found = list(&resources["resources"]).iter().find(|resource| resource["name"] == line["plural"]);
    Ok(found.map(|resource| resource["storageVersionHash"].clone()).unwrap_or_default())
}

/// The columns of a kind's table: name, type, format, priority.
async fn columns(client: &kube::Client, root: &str, line: &Value) -> Result<Value, Box<dyn Error>> {
    let text = |field: &str| line[field].as_str().unwrap_or_default();
    let path: Vec<&str> =
        [root, text("group"), text("version"), text("plural")].into_iter().filter(|part| !part.is_empty()).collect();
    let table = get(client, &path.join("/"), TABLE).await?;
    let column = |column: &Value| json!([column["name"], column["type"], column["format"], column["priority"]]);
    Ok(list(&table["columnDefinitions"]).iter().map(column).collect())
}

async fn get(client: &kube::Client, path: &str, accept: &str) -> Result<Value, Box<dyn Error>> {
    let request = http::Request::get(path).header("accept", accept).body(Vec::new())?;
    Ok(client.request(request).await?)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_common(name: &str) -> bool {
    name.strip_prefix("io.k8s.apimachinery.pkg.apis.meta.v1.").is_some_and(|name| COMMON.contains(&name))
}

fn without_descriptions(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, value)| name != "description" || !value.is_string())
            .map(|(name, value)| (name, without_descriptions(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_descriptions).collect(),
        other => other,
    }
}

/// One line of the table; `None` for what cannot be listed, such as reviews that are answered and not kept.
fn kind(
    group: &str,
    version: &Value,
    resource: &Value,
    definitions: &BTreeMap<String, Value>,
    sources: &Sources,
    wanted: &mut Vec<String>,
) -> Option<Value> {
    let verbs = list(&resource["verbs"]);
    if !verbs.contains(&"list".into()) || !verbs.contains(&"create".into()) {
        return None;
    }
    let (kind, version) = (resource.pointer("/responseKind/kind")?.as_str()?, version["version"].as_str()?);
    let gvk = json!({"group": group, "kind": kind, "version": version});
    let named = |gvk: &Value| {
        let has = |schema: &Value| list(&schema["x-kubernetes-group-version-kind"]).contains(gvk);
        definitions.iter().find(|(_, schema)| has(schema)).map(|(name, _)| name.clone())
    };
    let schema = named(&gvk)?;
    wanted.push(schema.clone());
    wanted.extend(named(&json!({"group": group, "kind": format!("{kind}List"), "version": version})));
    let mut subresources: Vec<Value> = list(&resource["subresources"]).to_vec();
    subresources
        .retain(|subresource| subresource["subresource"].as_str().is_some_and(|name| SUBRESOURCES.contains(&name)));
    for subresource in &subresources {
        wanted.extend(named(&subresource["responseKind"]));
    }
    let singular = resource["singularResource"].as_str()?;
    let plural = resource["resource"].as_str()?;
    let strategy = sources.strategy(group, singular, plural);
    Some(json!({
        "group": group, "version": version, "kind": kind, "plural": plural, "singular": singular,
        "namespaced": resource["scope"] == "Namespaced", "verbs": verbs, "shortNames": list(&resource["shortNames"]),
        "categories": list(&resource["categories"]), "subresources": subresources, "schema": schema,
        "createOnUpdate": strategy.create_on_update, "unconditionalUpdate": strategy.unconditional_update,
        "generation": strategy.generation, "returnsDeleted": strategy.returns_deleted,
    }))
}

/// The definitions that `wanted` needs, one a line: name, Go's treatment of empty fields, the schema.
fn schemas(
    definitions: &BTreeMap<String, Value>,
    mut wanted: Vec<String>,
    sources: &mut Sources,
) -> Result<String, Box<dyn Error>> {
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        let Some(schema) = definitions.get(&name).filter(|_| !lines.contains_key(&name)) else { continue };
        references(schema, &mut wanted);
        let fields = match schema.get("properties").and_then(Value::as_object) {
            Some(properties) => sources.fields_of(&name, properties)?,
            None => BTreeMap::new(),
        };
        lines.insert(name.clone(), format!("{name}\t{}\t{schema}\n", json!(fields)));
    }
    let heading = "# definition\tfields Go treats in a way of its own\tschema: made by examples/kinds; do not edit\n";
    Ok(lines.into_values().fold(heading.to_owned(), |all, line| all + &line))
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                found.extend(Path::new(reference).file_name().and_then(|name| name.to_str()).map(str::to_owned));
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
