//! A manifest's `[[watch]]` entries: what is watched, and whose keys a change there makes.

use crate::document::{DocumentError, Source};
use crate::identity::{is_dns_label, is_dns_name};
use crate::raw::{RawBy, RawEnqueue, RawWatch};

/// Mappings of one watch; each is looked up for every change.
const ENQUEUES_MAX: usize = 16;

/// What a plugin is called for when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// `ConfigMap`.
    pub kind: String,
    /// `None`: all that are granted.
    pub namespace: Option<String>,
    /// As kubectl's `-l`.
    pub label_selector: Option<String>,
    /// As kubectl's `--field-selector`.
    pub field_selector: Option<String>,
    /// Whether the host keeps a finalizer on each, so that no deletion is missed.
    pub finalizer: bool,
    /// Which objects a change makes work for. Empty: the changed object itself.
    pub enqueue: Vec<Enqueue>,
}

/// Objects that a changed object of a watch makes work for, instead of itself. All of them are objects that another watch,
/// one without such mappings, selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueue {
    /// Their `apiVersion`, as that watch writes it.
    pub api_version: String,
    /// Their kind, as that watch writes it.
    pub kind: String,
    /// How they follow from the changed object.
    pub by: By,
}

/// How objects follow from a changed one. Where both are in namespaces, only those in the same one do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The owner that controls it (`metadata.ownerReferences` with `controller: true`).
    Controller,
    /// Each of its owners.
    Owner,
    /// All in its namespace. A Namespace counts as in itself.
    Namespace,
    /// Those whose name is the value of this label of the changed object.
    NamedByLabel(String),
    /// Those whose label has the changed object's name as its value.
    LabelledWithName(String),
    /// Those whose label has the same value as the changed object's.
    SameLabel(String),
}

/// Reads all `[[watch]]` entries.
pub(super) fn read_watches(raw: &[toml::Spanned<RawWatch>], source: &Source<'_>) -> Result<Vec<Watch>, DocumentError> {
    let watches: Vec<Watch> = raw.iter().map(|watch| read_watch(watch, source)).collect::<Result<_, _>>()?;
    for (raw, watch) in raw.iter().zip(&watches) {
        for (raw, enqueue) in raw.get_ref().enqueue.iter().zip(&watch.enqueue) {
            let makes_keys = |watch: &Watch| {
                watch.enqueue.is_empty() && watch.api_version == enqueue.api_version && watch.kind == enqueue.kind
            };
            if !watches.iter().any(makes_keys) {
                let message = format!(
                    "names {} {}, which no [[watch]] without `enqueue` is for; add one, which also selects the objects that count",
                    enqueue.api_version, enqueue.kind
                );
                return Err(source.value_error(&raw.span(), "watch.enqueue", message));
            }
        }
    }
    Ok(watches)
}

fn read_watch(raw: &toml::Spanned<RawWatch>, source: &Source<'_>) -> Result<Watch, DocumentError> {
    let invalid = |key: &str, message: String| Err(source.value_error(&raw.span(), &format!("watch.{key}"), message));
    let RawWatch { api_version, kind, namespace, label_selector, field_selector, finalizer, enqueue } = raw.get_ref();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if !((group.is_empty() && !api_version.contains('/')) || is_dns_name(group)) || !is_dns_label(version) {
        return invalid("api-version", format!("{api_version:?} is none; write \"v1\" or \"apps/v1\""));
    }
    if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return invalid("kind", format!("{kind:?} is none; write it as in manifests, such as \"ConfigMap\""));
    }
    if let Some(namespace) = namespace
        && !is_dns_label(namespace)
    {
        let message =
            format!("{namespace:?} is no namespace; write one name, or leave the key out for all that are granted");
        return invalid("namespace", message);
    }
    if enqueue.len() > ENQUEUES_MAX {
        let message = format!("has {} entries, and at most {ENQUEUES_MAX} are allowed", enqueue.len());
        return invalid("enqueue", message);
    }
    if *finalizer && !enqueue.is_empty() {
        let message = "says nothing beside `enqueue`: the plugin is not called for these objects themselves; give their kind \
                       a second [[watch]] without `enqueue`";
        return invalid("finalizer", message.to_owned());
    }
    Ok(Watch {
        api_version: api_version.clone(),
        kind: kind.clone(),
        namespace: namespace.clone(),
        label_selector: label_selector.clone(),
        field_selector: field_selector.clone(),
        finalizer: *finalizer,
        enqueue: enqueue.iter().map(|enqueue| read_enqueue(enqueue, source)).collect::<Result<_, _>>()?,
    })
}

fn read_enqueue(raw: &toml::Spanned<RawEnqueue>, source: &Source<'_>) -> Result<Enqueue, DocumentError> {
    let invalid = |key: &str, message: String| source.value_error(&raw.span(), &format!("watch.enqueue{key}"), message);
    let RawEnqueue { by, api_version, kind, label } = raw.get_ref();
    let by = match (by, label) {
        (RawBy::Controller, None) => By::Controller,
        (RawBy::Owner, None) => By::Owner,
        (RawBy::Namespace, None) => By::Namespace,
        (RawBy::Controller | RawBy::Owner | RawBy::Namespace, Some(_)) => {
            return Err(invalid(".label", "says nothing here: `by` goes by no label; leave it out".to_owned()));
        }
        (_, None) => return Err(invalid("", "needs `label`, the key of the label that `by` is about".to_owned())),
        (_, Some(label)) if !is_label_key(label) => {
            let message = format!("{label:?} is no key of a label; write one such as \"app.kubernetes.io/part-of\"");
            return Err(invalid(".label", message));
        }
        (RawBy::NamedByLabel, Some(label)) => By::NamedByLabel(label.clone()),
        (RawBy::LabelledWithName, Some(label)) => By::LabelledWithName(label.clone()),
        (RawBy::SameLabel, Some(label)) => By::SameLabel(label.clone()),
    };
    Ok(Enqueue { api_version: api_version.clone(), kind: kind.clone(), by })
}

/// What Kubernetes calls a qualified name.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    prefix.is_none_or(is_dns_name)
        && name.len() <= 63
        && name.bytes().all(is_allowed)
        && is_end(name.bytes().next())
        && is_end(name.bytes().next_back())
}
