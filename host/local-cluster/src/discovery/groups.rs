//! Groups, their versions and their resources: the legacy documents and the aggregated one.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Document;
use crate::registry::Served;
use crate::resource::{Resource, Subresource};
use crate::status::{Refusal, Result};

/// The groups in their order, each with its versions in theirs: the order of the registry, which is that of priority.
fn groups(served: &Served) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    for resource in served.listed() {
        let at = groups.iter().position(|(group, _)| *group == resource.group).unwrap_or_else(|| {
            groups.push((resource.group, Vec::new()));
            groups.len() - 1
        });
        if !groups[at].1.contains(&resource.version) {
            groups[at].1.push(resource.version);
        }
    }
    for (_, versions) in groups.iter_mut() {
        versions.sort_by(|a, b| crate::custom::by_priority(a, b));
    }
    groups
}

fn group(name: &str, versions: &[&str]) -> Value {
    let version = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

/// `APIGroupList`.
pub(super) fn list(served: &Served) -> Value {
    let named = groups(served).into_iter().filter(|(name, _)| !name.is_empty());
    let groups: Vec<Value> = named.map(|(name, versions)| group(name, &versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `APIGroup`.
pub(super) fn one(served: &Served, name: &str) -> Result<Document> {
    let known = groups(served).into_iter().find(|(group, _)| *group == name && !name.is_empty());
    let (name, versions) = known.ok_or_else(Refusal::no_such_resource)?;
    let mut group = group(name, &versions);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Ok(Document::Json(group))
}

/// The resources of one group version, in the order discovery shows them.
fn of_version<'a>(served: &'a Served, group: &str, version: &str) -> Vec<&'a Resource> {
    let resources = served.listed().map(AsRef::as_ref);
    let mut resources: Vec<&Resource> =
        resources.filter(|resource: &&Resource| resource.group == group && resource.version == version).collect();
    resources.sort_by_key(|resource| resource.plural);
    resources
}

/// `APIResourceList` of one group version.
pub(super) fn resources(served: &Served, group: &str, version: &str) -> Result<Document> {
    let mut listed = Vec::new();
    let resources = of_version(served, group, version);
    let Some(first) = resources.first() else { return Err(Refusal::no_such_resource()) };
    let api_version = first.api_version;
    for resource in resources {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": resource.verbs, "storageVersionHash": storage_version_hash(resource),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        listed.push(entry);
        for Subresource { name, answers, verbs } in &resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": answers.kind, "verbs": verbs,
            });
            let own =
                answers.version.is_empty() || (answers.group == resource.group && answers.version == resource.version);
            if !own {
                entry["group"] = answers.group.as_str().into();
                entry["version"] = answers.version.as_str().into();
            }
            listed.push(entry);
        }
    }
    let mut document = json!({"kind": "APIResourceList", "groupVersion": api_version, "resources": listed});
    // The one document the API server gives without a version of its own.
    if !group.is_empty() {
        document["apiVersion"] = "v1".into();
    }
    Ok(Document::Json(document))
}

/// Eight bytes that change with the version objects of a custom kind are stored in; those of built-in kinds are in the table.
fn storage_version_hash(resource: &Resource) -> String {
    use base64::Engine;
    let Some(custom) = resource.custom() else { return resource.storage_version_hash.to_owned() };
    let digest = Sha256::digest(format!("{}/{}/{}", resource.group, custom.storage_version, resource.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// `APIGroupDiscoveryList`: everything below `/api` or `/apis` in one answer.
pub(super) fn aggregated(served: &Served, version: &'static str, wanted: impl Fn(&str) -> bool) -> Document {
    let items: Vec<Value> = groups(served)
        .into_iter()
        .filter(|(group, _)| wanted(group))
        .map(|(group, versions)| {
            let mut metadata = json!({});
            if !group.is_empty() {
                metadata["name"] = group.into();
            }
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|version| {
                    let resources = of_version(served, group, version);
                    let resources: Vec<Value> = resources.into_iter().map(aggregated_resource).collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            json!({"metadata": metadata, "versions": versions})
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
    // Kubernetes' own kinds leave their group and version to the place they stand in; those of definitions name them.
    let own = match resource.custom() {
        None => json!({"group": "", "version": "", "kind": resource.kind}),
        Some(_) => json!({"group": resource.group, "version": resource.version, "kind": resource.kind}),
    };
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| entry.insert(name.to_owned(), value);
    put("resource", resource.plural.into());
    put("responseKind", own);
    put("scope", if resource.namespaced { "Namespaced" } else { "Cluster" }.into());
    put("singularResource", resource.singular.into());
    put("verbs", json!(resource.verbs));
    if !resource.short_names.is_empty() {
        put("shortNames", json!(resource.short_names));
    }
    if !resource.categories.is_empty() {
        put("categories", json!(resource.categories));
    }
    if !resource.subresources.is_empty() {
        let subresources = resource.subresources.iter().map(|Subresource { name, answers, verbs }| {
            let kind = json!({"group": answers.group, "version": answers.version, "kind": answers.kind});
            json!({"subresource": name, "responseKind": kind, "verbs": verbs})
        });
        put("subresources", subresources.collect());
    }
    Value::Object(entry)
}
