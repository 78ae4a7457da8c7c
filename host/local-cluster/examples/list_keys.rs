//! Derives `src/list_keys.tsv` from the OpenAPI documents Kubernetes publishes (`api/openapi-spec/v3` of its source).
//!
//! Takes paths, list types and keys, nothing else: how lists of the served kinds are merged by server-side apply
//! (`x-kubernetes-list-type`) and by a strategic merge patch (`x-kubernetes-patch-strategy`). Lists that are not in the table are
//! atomic, maps that are not are merged by key.
//!
//! `cargo run -p tenure-local-cluster --example list_keys -- <directory> > host/local-cluster/src/list_keys.tsv`

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

/// (document, definition, name in the table)
const KINDS: [(&str, &str, &str); 8] = [
    ("api__v1", "io.k8s.api.core.v1.ConfigMap", "v1/ConfigMap"),
    ("api__v1", "io.k8s.api.core.v1.Event", "v1/Event"),
    ("api__v1", "io.k8s.api.core.v1.Namespace", "v1/Namespace"),
    ("api__v1", "io.k8s.api.core.v1.Pod", "v1/Pod"),
    ("api__v1", "io.k8s.api.core.v1.Secret", "v1/Secret"),
    ("api__v1", "io.k8s.api.core.v1.ServiceAccount", "v1/ServiceAccount"),
    ("apis__coordination.k8s.io__v1", "io.k8s.api.coordination.v1.Lease", "coordination.k8s.io/v1/Lease"),
    ("apis__events.k8s.io__v1", "io.k8s.api.events.v1.Event", "events.k8s.io/v1/Event"),
];

/// Path -> how it is applied, how it is patched.
type Rows = BTreeMap<String, (String, String)>;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("name the directory of the OpenAPI v3 documents")?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "# kind\tpath\tapply\tpatch: made by examples/list_keys.rs from the OpenAPI of Kubernetes 1.36; do not edit"
    )?;
    for (document, definition, kind) in KINDS {
        let path = Path::new(&directory).join(format!("{document}_openapi.json"));
        let document: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let schemas = document.pointer("/components/schemas").ok_or("a document without schemas")?;
        let mut rows = Rows::new();
        walk(schemas, &schemas[definition], "", &mut rows);
        for (path, (apply, patch)) in rows {
            writeln!(out, "{kind}\t{path}\t{apply}\t{patch}")?;
        }
    }
    Ok(())
}

/// Follows a reference; extensions beside it stay with the referring schema.
fn resolve<'a>(schemas: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    match reference.and_then(|reference| reference.rsplit('/').next()) {
        Some(name) => &schemas[name],
        None => schema,
    }
}

fn walk(schemas: &Value, schema: &Value, path: &str, rows: &mut Rows) {
    let target = resolve(schemas, schema);
    let extension = |name: &str| schema.get(name).or_else(|| target.get(name));
    let (apply, patch) = (apply_rule(&extension, target), patch_rule(&extension));
    if apply != "-" || patch != "-" {
        rows.insert(path.to_owned(), (apply, patch));
    }
    if let Some(items) = target.get("items") {
        let keys = rows.get(path).map(|(apply, _)| apply.clone()).unwrap_or_default();
        walk(schemas, items, &format!("{path}[]"), rows);
        // Keys with a default, such as a port's protocol, may be left out of an applied item.
        if let Some(keys) = keys.strip_prefix("map:") {
            let item = resolve(schemas, items);
            let with_defaults: Vec<String> = keys.split(',').map(|key| key_with_default(item, key)).collect();
            if let Some(row) = rows.get_mut(path) {
                row.0 = format!("map:{}", with_defaults.join(","));
            }
        }
    }
    if let Some(values) = target.get("additionalProperties").filter(|values| values.is_object()) {
        walk(schemas, values, &format!("{path}{{}}"), rows);
    }
    for (name, property) in target.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let separator = if path.is_empty() { "" } else { "." };
        walk(schemas, property, &format!("{path}{separator}{name}"), rows);
    }
}

fn apply_rule<'a>(extension: &impl Fn(&str) -> Option<&'a Value>, target: &Value) -> String {
    let text = |name: &str| extension(name).and_then(Value::as_str).unwrap_or_default();
    match (text("x-kubernetes-list-type"), text("x-kubernetes-map-type")) {
        ("map", _) => {
            let keys = extension("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
            let keys: Vec<&str> = keys.filter_map(Value::as_str).collect();
            format!("map:{}", keys.join(","))
        }
        ("set", _) => "set".to_owned(),
        (_, "atomic") => "atomic".to_owned(),
        // Objects without known fields cannot be merged; metav1.FieldsV1 is one.
        _ if target["type"] == "object"
            && target.get("properties").is_none()
            && target.get("additionalProperties").is_none() =>
        {
            "atomic".to_owned()
        }
        _ => "-".to_owned(),
    }
}

fn patch_rule<'a>(extension: &impl Fn(&str) -> Option<&'a Value>) -> String {
    let text = |name: &str| extension(name).and_then(Value::as_str).unwrap_or_default();
    match (text("x-kubernetes-patch-strategy"), text("x-kubernetes-patch-merge-key")) {
        ("", _) => "-".to_owned(),
        (strategy, "") => strategy.to_owned(),
        (strategy, key) => format!("{strategy}:{key}"),
    }
}

fn key_with_default(item: &Value, key: &str) -> String {
    match item.pointer(&format!("/properties/{key}/default")) {
        Some(Value::String(default)) if !default.is_empty() => format!("{key}={default}"),
        _ => key.to_owned(),
    }
}
