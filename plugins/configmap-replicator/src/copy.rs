//! One copy: made, followed, repaired, removed. Each write holds only for the state that was read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tenure_plugin::{Cluster, DeleteOptions, Metadata, ObjectRef, PartialObject, Result, info, warn};

use crate::{
    marks::{COPIED_FROM, COPY_OF, SourceName, copied_from},
    skip_denied,
};

/// A ConfigMap as far as copies go.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConfigMap {
    pub(crate) metadata: Metadata,
    data: BTreeMap<String, String>,
    binary_data: BTreeMap<String, String>,
}

/// Makes the ConfigMap of the source's name in `namespace` a copy of it. One that is not ours stays as it is.
pub(crate) fn keep(source: &ConfigMap, namespace: &str, cluster: &Cluster) -> Result<()> {
    let name = SourceName::of(&source.metadata);
    let reference = ObjectRef::config_map(namespace, &name.name);
    let written = match cluster.find::<ConfigMap>(&reference)? {
        None => create(source, &name, &reference, cluster),
        Some(existing) => update(source, &name, &reference, &existing, cluster),
    };
    written.or_else(|error| {
        // The namespace went, or is going: its objects go with it.
        let is_going =
            error.is_not_found() || error.causes().iter().any(|cause| cause.reason == "NamespaceTerminating");
        if is_going { Ok(()) } else { skip_denied(error, &reference) }
    })
}

/// Removes a copy, in exactly the state in which it was found unwanted.
pub(crate) fn remove(copy: &Metadata, cluster: &Cluster) -> Result<()> {
    cluster.proceed()?;
    let reference = ObjectRef::config_map(copy.namespace.as_deref().unwrap_or_default(), &copy.name);
    match cluster.delete(&reference, &DeleteOptions::exactly(copy)) {
        Ok(()) => {
            info!(copy = reference; "removed a copy that nobody wants any more");
            Ok(())
        }
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

fn create(source: &ConfigMap, name: &SourceName, reference: &ObjectRef, cluster: &Cluster) -> Result<()> {
    cluster.proceed()?;
    let body = json!({
        "metadata": {
            "labels": { COPY_OF: name.hash() },
            "annotations": { COPIED_FROM: name.to_string() },
        },
        "data": source.data,
        "binaryData": source.binary_data,
    });
    cluster.create::<PartialObject>(reference, &body)?;
    info!(source = name, copy = reference; "made a copy");
    Ok(())
}

fn update(
    source: &ConfigMap,
    name: &SourceName,
    reference: &ObjectRef,
    existing: &ConfigMap,
    cluster: &Cluster,
) -> Result<()> {
    if existing.metadata.is_deleting() {
        return Ok(()); // its deletion is an event of its own, and then it is made again
    }
    if copied_from(&existing.metadata).as_ref() != Some(name) {
        warn!(source = name, object = reference; "not copied: a ConfigMap of this name is there already and is no copy of it");
        return Ok(());
    }
    let label = existing.metadata.labels.get(COPY_OF);
    let is_current = label.is_some_and(|hash| *hash == name.hash())
        && existing.data == source.data
        && existing.binary_data == source.binary_data;
    if is_current {
        return Ok(());
    }
    cluster.proceed()?;
    let body = json!({
        "metadata": {
            // Against a change since the read: the server then answers Conflict.
            "resourceVersion": existing.metadata.resource_version,
            "uid": existing.metadata.uid,
            "labels": { COPY_OF: name.hash() },
        },
        "data": laid_over(&existing.data, &source.data),
        "binaryData": laid_over(&existing.binary_data, &source.binary_data),
    });
    cluster.merge_patch::<PartialObject>(reference, &body)?;
    info!(source = name, copy = reference; "brought a copy up to date");
    Ok(())
}

/// A merge patch that leaves exactly `wanted`.
fn laid_over(existing: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Value {
    let removed = existing.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let set = wanted.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
    Value::Object(removed.chain(set).collect::<Map<_, _>>())
}
