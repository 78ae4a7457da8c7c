//! One object held against its Namespace: what must be applied, if anything.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenure_plugin::{Error, Metadata, PartialObject};

use crate::{OnConflict, Settings};

/// Where an object says what was copied to it: `{"labels":["team"],"annotations":[]}`.
pub(crate) const COPIED: &str = "label-propagator.tenure.dev/copied";
/// The host's own objects; it refuses every write to them, so none is tried.
const PLUGIN_LABELS: [&str; 2] = ["tenure.dev/plugin", "tenure.dev/plugin-chunk"];

/// A Namespace, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Namespace {
    pub(crate) metadata: Metadata,
}

impl Namespace {
    pub(crate) fn is_staying(&self) -> bool {
        !self.metadata.is_deleting()
    }
}

/// The keys that were copied, as they stand in the annotation.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Copied {
    labels: BTreeSet<String>,
    annotations: BTreeSet<String>,
}

/// What server-side apply is to make of one object.
pub(crate) struct Step<'a> {
    object: &'a Metadata,
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'a str, &'a str>,
    /// Absent: nothing was copied before, or it cannot be read any more.
    copied: Option<Copied>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(settings: &Settings, namespace: &'a Namespace, object: &'a PartialObject) -> Self {
        let object = &object.metadata;
        let copied: Option<Copied> = object.annotations.get(COPIED).and_then(|json| serde_json::from_str(json).ok());
        let mut labels = settings.labels.select(&namespace.metadata.labels);
        let mut annotations = settings.annotations.select(&namespace.metadata.annotations);
        if settings.on_conflict == OnConflict::Leave {
            let none = BTreeSet::new();
            let (ours, our_annotations) =
                copied.as_ref().map_or((&none, &none), |copied| (&copied.labels, &copied.annotations));
            labels.retain(|key, value| ours.contains(*key) || is_free(&object.labels, key, value));
            annotations.retain(|key, value| our_annotations.contains(*key) || is_free(&object.annotations, key, value));
        }
        Self { object, labels, annotations, copied }
    }

    /// Whether the object differs from what it should be. Most calls end here.
    pub(crate) fn is_needed(&self) -> bool {
        let is_left_alone =
            self.object.is_deleting() || PLUGIN_LABELS.iter().any(|label| self.object.labels.contains_key(*label));
        if is_left_alone {
            return false;
        }
        if self.is_empty() {
            return self.object.annotations.contains_key(COPIED);
        }
        self.copied.as_ref() != Some(&self.to_copy())
            || !holds(&self.object.labels, &self.labels)
            || !holds(&self.object.annotations, &self.annotations)
    }

    /// Everything this plugin wants of the object. The uid keeps apply from making an object that is gone.
    pub(crate) fn body(&self) -> Value {
        let mut metadata = json!({ "uid": self.object.uid });
        if !self.is_empty() {
            let mut annotations = json!(self.annotations);
            annotations[COPIED] = json!(self.to_copy()).to_string().into();
            metadata["labels"] = json!(self.labels);
            metadata["annotations"] = annotations;
        }
        json!({ "metadata": metadata })
    }

    /// Drops the keys that somebody else took over, as a conflict names them. False: there are none, and trying again is
    /// of no use.
    pub(crate) fn yield_to_owners(&mut self, conflict: &Error) -> bool {
        let before = self.labels.len() + self.annotations.len();
        for cause in conflict.causes().iter().filter(|cause| cause.reason == "FieldManagerConflict") {
            if let Some(key) = cause.field.strip_prefix(".metadata.labels.") {
                self.labels.remove(key);
            } else if let Some(key) = cause.field.strip_prefix(".metadata.annotations.") {
                self.annotations.remove(key);
            }
        }
        self.labels.len() + self.annotations.len() < before
    }

    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }

    fn to_copy(&self) -> Copied {
        let keys = |pairs: &BTreeMap<&str, &str>| pairs.keys().map(|key| (*key).to_owned()).collect();
        Copied { labels: keys(&self.labels), annotations: keys(&self.annotations) }
    }
}

fn is_free(present: &BTreeMap<String, String>, key: &str, wanted: &str) -> bool {
    present.get(key).is_none_or(|value| value == wanted)
}

fn holds(present: &BTreeMap<String, String>, wanted: &BTreeMap<&str, &str>) -> bool {
    wanted.iter().all(|(key, value)| present.get(*key).is_some_and(|held| held == value))
}
