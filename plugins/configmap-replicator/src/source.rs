//! One source: everyone who asks has a copy, nobody else does, and the source is held until that is undone.

use serde_json::json;
use tenure_plugin::{Cluster, GetOptions, Kind, ListOptions, Metadata, ObjectRef, PartialObject, Result, info, warn};

use crate::{
    Settings,
    copy::{self, ConfigMap},
    marks::{self, FINALIZER, SourceName},
    namespace, skip_denied,
};

pub(crate) fn bring_up_to_date(reference: &ObjectRef, settings: &Settings, cluster: &Cluster) -> Result<()> {
    let mut source = cluster.find::<ConfigMap>(reference)?;
    if !source.as_ref().is_some_and(|source| is_serving(&source.metadata, settings)) {
        // Copies are about to go: not on the word of a cache that may not have caught up.
        source = cluster.find_with(reference, &GetOptions::live())?;
    }
    match source {
        Some(source) if is_serving(&source.metadata, settings) => serve(&source, settings, cluster),
        Some(source) => {
            // No source any more, or about to go.
            remove_copies(&SourceName::of(&source.metadata), |_| Ok(false), cluster)?;
            release(&source.metadata, cluster)
        }
        None => {
            let namespace = reference.namespace.clone().unwrap_or_default();
            remove_copies(&SourceName { namespace, name: reference.name.clone() }, |_| Ok(false), cluster)
        }
    }
}

/// Whether this namespace may have a copy of this ConfigMap now.
pub(crate) fn may_copy(source: &Metadata, namespace: &str, settings: &Settings) -> bool {
    is_serving(source, settings) && marks::allows(source, namespace)
}

/// Puts the finalizer on. False: it may not be put there, so no copy may be made.
pub(crate) fn hold(source: &Metadata, cluster: &Cluster) -> Result<bool> {
    if source.finalizers.iter().any(|name| name == FINALIZER) {
        return Ok(true);
    }
    let finalizers: Vec<&str> = source.finalizers.iter().map(String::as_str).chain([FINALIZER]).collect();
    match patch_finalizers(source, &finalizers, cluster) {
        Ok(()) => Ok(true),
        Err(error) if error.is_denied() => {
            let name = SourceName::of(source);
            warn!(source = name; "not copied: its finalizer may not be set: {}", error.message());
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn is_serving(source: &Metadata, settings: &Settings) -> bool {
    let is_allowed = source.namespace.as_deref().is_some_and(|namespace| settings.allows_source(namespace));
    is_allowed && marks::is_source(source) && !source.is_deleting()
}

fn serve(source: &ConfigMap, settings: &Settings, cluster: &Cluster) -> Result<()> {
    let name = SourceName::of(&source.metadata);
    let mut targets = Vec::new();
    for namespace in cluster.list::<PartialObject>(&Kind::namespace(), ListOptions::everywhere().metadata_only()) {
        let namespace = namespace?.metadata;
        let is_target = namespace.name != name.namespace
            && !namespace.is_deleting()
            && marks::wanted(&namespace).contains(&name)
            && may_copy(&source.metadata, &namespace.name, settings);
        if is_target {
            targets.push(namespace.name);
        }
    }
    if !targets.is_empty() && hold(&source.metadata, cluster)? {
        for namespace in &targets {
            copy::keep(source, namespace, cluster)?;
        }
    }
    let keeps = |namespace: &str| {
        if targets.iter().any(|target| target == namespace) {
            return Ok(true);
        }
        // It may have asked since the list above.
        let may_have = namespace != name.namespace && may_copy(&source.metadata, namespace, settings);
        Ok(may_have && namespace::asks_for(&name, namespace, cluster)?)
    };
    remove_copies(&name, keeps, cluster)
}

/// Removes the copies outside the namespaces that keep theirs.
fn remove_copies(source: &SourceName, keeps: impl Fn(&str) -> Result<bool>, cluster: &Cluster) -> Result<()> {
    let mut denied = None;
    let copies = ListOptions::everywhere().labelled(source.selector()).metadata_only();
    for copy in cluster.list::<PartialObject>(&Kind::config_map(), copies) {
        let copy = copy?.metadata;
        let is_ours = marks::copied_from(&copy).as_ref() == Some(source);
        if !is_ours || copy.is_deleting() || keeps(copy.namespace.as_deref().unwrap_or_default())? {
            continue;
        }
        match copy::remove(&copy, cluster) {
            Err(error) if error.is_denied() => denied = Some(error),
            other => other?,
        }
    }
    // The rest is done; a source is not released while copies of it are left.
    denied.map_or(Ok(()), Err)
}

/// Takes the finalizer off, once no copy is left.
fn release(source: &Metadata, cluster: &Cluster) -> Result<()> {
    if !source.finalizers.iter().any(|name| name == FINALIZER) {
        return Ok(());
    }
    let finalizers: Vec<&str> =
        source.finalizers.iter().map(String::as_str).filter(|name| *name != FINALIZER).collect();
    let name = SourceName::of(source);
    match patch_finalizers(source, &finalizers, cluster) {
        Ok(()) => {
            info!(source = name; "released: its copies are gone");
            Ok(())
        }
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => skip_denied(error, &name),
    }
}

/// Replaces the list, and only in the state that was read: a merge patch knows no single entries.
fn patch_finalizers(source: &Metadata, finalizers: &[&str], cluster: &Cluster) -> Result<()> {
    cluster.proceed()?;
    let body = json!({
        "metadata": { "resourceVersion": source.resource_version, "uid": source.uid, "finalizers": finalizers },
    });
    cluster.merge_patch::<PartialObject>(&SourceName::of(source).reference(), &body).map(drop)
}
