//! One namespace: what it wants is there, what it no longer wants is not.

use tenure_plugin::{Cluster, GetOptions, Kind, ListOptions, ObjectRef, PartialObject, Result};

use crate::{
    Settings,
    copy::{self, ConfigMap},
    marks::{self, COPY_OF, SourceName},
    skip_denied, source,
};

pub(crate) fn bring_up_to_date(name: &str, settings: &Settings, cluster: &Cluster) -> Result<()> {
    let Some(namespace) = cluster.find::<PartialObject>(&ObjectRef::namespace(name))? else { return Ok(()) };
    if namespace.metadata.is_deleting() {
        return Ok(()); // its copies go with it
    }
    let wanted = marks::wanted(&namespace.metadata);
    let mut kept = Vec::new();
    for wish in wanted.iter().filter(|wish| wish.namespace != name) {
        let source = match cluster.find::<ConfigMap>(&wish.reference()) {
            Err(error) => skip_denied(error, wish).map(|()| None)?,
            Ok(source) => source,
        };
        let Some(source) = source else { continue };
        if !source::may_copy(&source.metadata, name, settings) {
            continue;
        }
        // The finalizer comes before the first copy, so that no deletion is missed.
        if source::hold(&source.metadata, cluster)? {
            copy::keep(&source, name, cluster)?;
            kept.push(wish);
        }
    }
    let copies = ListOptions::in_namespace(name).labelled(COPY_OF).metadata_only();
    for copy in cluster.list::<PartialObject>(&Kind::config_map(), copies) {
        let copy = copy?.metadata;
        let Some(source) = marks::copied_from(&copy) else { continue };
        if copy.is_deleting() || kept.contains(&&source) || is_wanted(&source, name, &wanted, settings, cluster)? {
            continue;
        }
        copy::remove(&copy, cluster).or_else(|error| skip_denied(error, &source))?;
    }
    Ok(())
}

/// Only what the API server itself says is reason enough to remove: a cache may not have caught up yet. Nor is a source
/// that may not be read any more.
fn is_wanted(
    source: &SourceName,
    namespace: &str,
    wanted: &[SourceName],
    settings: &Settings,
    cluster: &Cluster,
) -> Result<bool> {
    let asks = wanted.contains(source) || asks_for(source, namespace, cluster)?;
    if !asks || source.namespace == namespace {
        return Ok(false);
    }
    match cluster.find_with::<PartialObject>(&source.reference(), &GetOptions::live().metadata_only()) {
        Ok(found) => Ok(found.is_some_and(|found| source::may_copy(&found.metadata, namespace, settings))),
        Err(error) if error.is_denied() => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether the namespace wants this source now, past the cache.
pub(crate) fn asks_for(source: &SourceName, namespace: &str, cluster: &Cluster) -> Result<bool> {
    let live = GetOptions::live().metadata_only();
    let found = cluster.find_with::<PartialObject>(&ObjectRef::namespace(namespace), &live)?;
    Ok(found.is_some_and(|namespace| marks::wanted(&namespace.metadata).contains(source)))
}
