//! From stored objects to the bytes of an answer, in the form that was asked for.
//!
//! Objects are copied as bytes wherever their form allows; only tables and metadata-only answers are parsed.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::negotiate::{Form, Of};
use crate::object::Object;
use crate::resource::Resource;
use crate::status::{Refusal, Result};
use crate::table::{self, Include};

/// Form and resource: all it takes to show an object.
#[derive(Debug, Clone)]
pub(crate) struct Renderer {
    pub(crate) resource: Arc<Resource>,
    pub(crate) form: Form,
    /// What a table's rows carry beside their cells.
    pub(crate) include: Include,
}

/// The metadata of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListMetadata {
    pub(crate) version: u64,
    /// Token for the next page; empty on the last.
    pub(crate) next: String,
    pub(crate) remaining: Option<u64>,
}

impl ListMetadata {
    fn value(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if !self.next.is_empty() {
            metadata["continue"] = self.next.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        metadata
    }
}

impl Renderer {
    /// One object, as a whole answer or in a watch event.
    pub(crate) fn object(&self, object: &Object) -> Bytes {
        match self.form {
            Form::Native => object.native(&self.resource),
            Form::Metadata(version, _) => Bytes::from(partial_metadata(&object.value(), version).to_string()),
            Form::Table(version) => {
                let metadata = json!({"resourceVersion": object.version.to_string()});
                self.table(version, &metadata, &[object], true)
            }
        }
    }

    /// One object in a watch event: only the first table of a watch repeats the columns.
    pub(crate) fn watched(&self, object: &Object, first: bool) -> Bytes {
        match self.form {
            Form::Table(version) => {
                let metadata = json!({"resourceVersion": object.version.to_string()});
                self.table(version, &metadata, &[object], first)
            }
            Form::Native | Form::Metadata(..) => self.object(object),
        }
    }

    /// Refuses metadata of a list where one object is shown, and the reverse.
    pub(crate) fn check_form(&self, shows_list: bool) -> Result<()> {
        let (package, kind, list_kind) =
            (self.resource.internal_package(), self.resource.kind, self.resource.list_kind);
        let why = match self.form {
            Form::Metadata(_, Of::List) if !shows_list => {
                format!(
                    "you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{kind})"
                )
            }
            Form::Metadata(_, Of::Object) if shows_list => {
                format!(
                    "you requested PartialObjectMetadata, but the requested object is a list (*{package}.{list_kind})"
                )
            }
            _ => return Ok(()),
        };
        Err(Refusal::new(406, "NotAcceptable", why))
    }

    /// A list of objects.
    pub(crate) fn list(&self, metadata: &ListMetadata, objects: &[Arc<Object>]) -> Bytes {
        let mut metadata = metadata.value();
        let custom = self.resource.custom().is_some();
        match self.form {
            // Custom objects are maps to the API server: they say their type in lists too, and nothing is left out for being empty.
            Form::Native if custom => {
                if metadata.get("continue").is_none() {
                    metadata["continue"] = "".into();
                }
                let items = objects.iter().map(|object| object.native(&self.resource));
                join_list(self.resource.list_kind, self.resource.api_version, &metadata, items)
            }
            Form::Native => {
                let items = objects.iter().map(|object| object.list_item(&self.resource));
                join_list(self.resource.list_kind, self.resource.api_version, &metadata, items)
            }
            Form::Metadata(version, _) => {
                let items =
                    objects.iter().map(|object| Bytes::from(partial_metadata(&object.value(), version).to_string()));
                join_list("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), &metadata, items)
            }
            Form::Table(version) => {
                let objects: Vec<&Object> = objects.iter().map(AsRef::as_ref).collect();
                self.table(version, &metadata, &objects, true)
            }
        }
    }

    /// The object of a bookmark: nothing but its kind and a version.
    pub(crate) fn bookmark(&self, version: u64, annotations: Option<Value>) -> Bytes {
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        let (kind, api_version) = match self.form {
            Form::Native => (self.resource.kind, self.resource.api_version.to_owned()),
            Form::Metadata(version, _) => ("PartialObjectMetadata", format!("meta.k8s.io/{version}")),
            Form::Table(version) => {
                // The API server prints the empty object of a bookmark like any other.
                let value = json!({"metadata": metadata});
                let shown = match self.include {
                    Include::None => Value::Null,
                    Include::Metadata => partial_metadata(&value, version),
                    Include::Object => json!({
                        "kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": metadata,
                    }),
                };
                let bookmark = json!({
                    "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "columnDefinitions": null,
                    "rows": [{"cells": table::cells(&self.resource, &value), "object": shown}],
                    "metadata": {"resourceVersion": metadata["resourceVersion"]},
                });
                return Bytes::from(bookmark.to_string());
            }
        };
        Bytes::from(json!({"kind": kind, "apiVersion": api_version, "metadata": metadata}).to_string())
    }

    fn table(&self, version: &str, metadata: &Value, objects: &[&Object], headed: bool) -> Bytes {
        let columns = if headed { table::columns(&self.resource) } else { Value::Null };
        let rows: Vec<Value> = objects
            .iter()
            .map(|object| {
                let value = object.value();
                let shown = match self.include {
                    Include::None => Value::Null,
                    Include::Metadata => partial_metadata(&value, version),
                    Include::Object => serde_json::from_slice(&object.native(&self.resource)).unwrap_or_default(),
                };
                json!({"cells": table::cells(&self.resource, &value), "object": shown})
            })
            .collect();
        let table = json!({
            "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
            "columnDefinitions": columns, "rows": rows,
        });
        Bytes::from(table.to_string())
    }
}

fn partial_metadata(value: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": value.get("metadata"),
    })
}

fn join_list(kind: &str, api_version: &str, metadata: &Value, items: impl Iterator<Item = Bytes>) -> Bytes {
    let mut whole = BytesMut::new();
    whole.put_slice(
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[")
            .as_bytes(),
    );
    for (index, item) in items.enumerate() {
        if index > 0 {
            whole.put_u8(b',');
        }
        whole.put_slice(&item);
    }
    whole.put_slice(b"]}");
    whole.freeze()
}
