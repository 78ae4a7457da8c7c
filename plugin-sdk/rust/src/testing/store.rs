//! Objects in memory under one rising resource version, with Kubernetes' rules for changing them. Knows nothing of plugins.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    apply::{Owner, Owners},
    selector::Selector,
};
use crate::{DeleteOptions, Error, Kind, ListOptions, ObjectRef, Reason, Result, host::Page};

/// As many as the host hands out at once.
const PAGE_SIZE_MAX: u32 = 500;
/// Written into every object: tests must not depend on the day.
const TIMESTAMP: &str = "2026-01-01T00:00:00Z";

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) value: Value,
    owners: Owners,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<ObjectRef, Stored>,
    version: u64,
}

impl Store {
    pub(super) fn get(&self, object: &ObjectRef) -> Result<&Value> {
        self.objects.get(object).map(|stored| &stored.value).ok_or_else(|| not_found(object))
    }

    pub(super) fn all(&self, kind: &Kind) -> Vec<Value> {
        self.objects.iter().filter(|(object, _)| object.kind == *kind).map(|(_, stored)| stored.value.clone()).collect()
    }

    pub(super) fn list(&self, kind: &Kind, options: &ListOptions) -> Result<Page> {
        let labels = Selector::parse(options.label_selector.as_deref().unwrap_or_default())?;
        let fields = field_selector(options.field_selector.as_deref().unwrap_or_default())?;
        let mut matching = Vec::new();
        for (object, stored) in self.objects.iter().filter(|(object, _)| object.kind == *kind) {
            let in_namespace = options.namespace.is_none() || object.namespace == options.namespace;
            let field_matches = |(path, wanted): &(String, String)| match path.as_str() {
                "metadata.name" => object.name == *wanted,
                _ => object.namespace.as_deref().unwrap_or_default() == wanted,
            };
            if in_namespace && labels.matches(&labels_of(&stored.value)) && fields.iter().all(field_matches) {
                matching.push(&stored.value);
            }
        }
        let start = match &options.continue_token {
            Some(token) => {
                token.parse().map_err(|_| Error::new(Reason::Expired, "the continue token is not one of ours"))?
            }
            None => 0_usize,
        };
        let size = options.page_size.unwrap_or(PAGE_SIZE_MAX).clamp(1, PAGE_SIZE_MAX) as usize;
        let end = (start + size).min(matching.len());
        let items = matching.get(start..end).unwrap_or_default();
        let left = matching.len() - end;
        Ok(Page {
            items: items.iter().map(|value| shown(value, options.metadata_only).to_string()).collect(),
            continue_token: (left > 0).then(|| end.to_string()),
            resource_version: self.version.to_string(),
            remaining: (left > 0).then(|| u32::try_from(left).unwrap_or(u32::MAX)),
        })
    }

    pub(super) fn create(&mut self, writer: Owner, object: &ObjectRef, body: Value) -> Result<Value> {
        let mut object = object.clone();
        if object.name.ends_with('-') {
            object.name = format!("{}{:05}", object.name, self.version + 1);
        }
        if self.objects.contains_key(&object) {
            return Err(Error::new(Reason::AlreadyExists, format!("{object} already exists")));
        }
        if body["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
            return Err(Error::new(Reason::BadRequest, "resourceVersion should not be set on objects to be created"));
        }
        let mut owners = Owners::default();
        owners.record_update(writer, &json!({}), &body);
        Ok(self.insert(object, body, owners))
    }

    /// Stores `body` over what is there. Only the status, or all but the status.
    pub(super) fn replace(&mut self, writer: Owner, object: &ObjectRef, body: &Value, status: bool) -> Result<Value> {
        let stored = self.objects.get(object).ok_or_else(|| not_found(object))?;
        check_preconditions(object, &stored.value, body)?;
        let (mut after, source) = if status { (stored.value.clone(), body) } else { (body.clone(), &stored.value) };
        match source.get("status") {
            Some(kept) => after["status"] = kept.clone(),
            None => drop(after.as_object_mut().and_then(|fields| fields.remove("status"))),
        }
        let mut owners = stored.owners.clone();
        owners.record_update(writer, &stored.value, &after);
        self.store(object, after, owners)
    }

    pub(super) fn apply(&mut self, writer: Owner, object: &ObjectRef, wanted: &Value, force: bool) -> Result<Value> {
        let Some(stored) = self.objects.get(object) else {
            if let Some(uid) = wanted["metadata"]["uid"].as_str() {
                let message =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Error::new(Reason::Conflict, message));
            }
            let mut owners = Owners::default();
            let mut made = json!({});
            owners.apply(writer, &mut made, wanted, force)?;
            return Ok(self.insert(object.clone(), made, owners));
        };
        check_preconditions(object, &stored.value, wanted)?;
        let (mut after, mut owners) = (stored.value.clone(), stored.owners.clone());
        owners.apply(writer, &mut after, wanted, force)?;
        self.store(object, after, owners)
    }

    pub(super) fn delete(&mut self, object: &ObjectRef, options: &DeleteOptions) -> Result<Value> {
        let stored = self.objects.get_mut(object).ok_or_else(|| not_found(object))?;
        let metadata = &mut stored.value["metadata"];
        for (name, wanted) in [("uid", &options.uid), ("resourceVersion", &options.resource_version)] {
            if let Some(wanted) = wanted
                && metadata[name].as_str() != Some(wanted)
            {
                return Err(Error::new(
                    Reason::Conflict,
                    format!("precondition failed: {name} of {object} is {}", metadata[name]),
                ));
            }
        }
        if metadata["finalizers"].as_array().is_none_or(Vec::is_empty) {
            self.version += 1;
            return Ok(self.objects.remove(object).map(|stored| stored.value).unwrap_or_default());
        }
        if metadata.get("deletionTimestamp").is_none() {
            self.version += 1;
            metadata["deletionTimestamp"] = TIMESTAMP.into();
            metadata["resourceVersion"] = self.version.to_string().into();
        }
        Ok(stored.value.clone())
    }

    /// Gone at once, whatever finalizers say.
    pub(super) fn remove(&mut self, object: &ObjectRef) {
        self.version += 1;
        self.objects.remove(object);
    }

    fn insert(&mut self, object: ObjectRef, mut value: Value, owners: Owners) -> Value {
        self.version += 1;
        value["apiVersion"] = object.kind.api_version.as_str().into();
        value["kind"] = object.kind.kind.as_str().into();
        let metadata = &mut value["metadata"];
        if !metadata.is_object() {
            *metadata = json!({});
        }
        metadata["name"] = object.name.as_str().into();
        if let Some(namespace) = &object.namespace {
            metadata["namespace"] = namespace.as_str().into();
        }
        metadata["uid"] = format!("uid-{}", self.version).into();
        metadata["resourceVersion"] = self.version.to_string().into();
        metadata["creationTimestamp"] = TIMESTAMP.into();
        drop_nulls(&mut value);
        self.objects.insert(object, Stored { value: value.clone(), owners });
        value
    }

    fn store(&mut self, object: &ObjectRef, mut after: Value, owners: Owners) -> Result<Value> {
        let stored = self.objects.get_mut(object).ok_or_else(|| not_found(object))?;
        for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"] {
            match stored.value["metadata"].get(name) {
                Some(kept) => after["metadata"][name] = kept.clone(),
                None => drop(after["metadata"].as_object_mut().and_then(|metadata| metadata.remove(name))),
            }
        }
        let deleting = stored.value["metadata"].get("deletionTimestamp").is_some();
        if deleting && finalizers(&after).iter().any(|name| !finalizers(&stored.value).contains(name)) {
            let message = format!("{object}: no new finalizers can be added if the object is being deleted");
            return Err(Error::new(Reason::Invalid, message));
        }
        drop_nulls(&mut after);
        if after == stored.value && owners == stored.owners {
            return Ok(after); // a write that changes nothing keeps the version
        }
        self.version += 1;
        after["metadata"]["resourceVersion"] = self.version.to_string().into();
        *stored = Stored { value: after.clone(), owners };
        if deleting && finalizers(&after).is_empty() {
            self.objects.remove(object);
        }
        Ok(after)
    }
}

/// To the API server a null is an absent field.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The object as an answer shows it.
pub(super) fn shown(value: &Value, metadata_only: bool) -> Value {
    if metadata_only {
        return json!({ "apiVersion": value["apiVersion"], "kind": value["kind"], "metadata": value["metadata"] });
    }
    value.clone()
}

pub(super) fn not_found(object: &ObjectRef) -> Error {
    Error::new(Reason::NotFound, format!("{object} not found"))
}

fn check_preconditions(object: &ObjectRef, stored: &Value, body: &Value) -> Result<()> {
    for name in ["uid", "resourceVersion"] {
        let wanted = body["metadata"][name].as_str().unwrap_or_default();
        if !wanted.is_empty() && stored["metadata"][name] != wanted {
            let message = format!("{object}: the object has been modified; {name} is {}", stored["metadata"][name]);
            return Err(Error::new(Reason::Conflict, message));
        }
    }
    Ok(())
}

fn finalizers(value: &Value) -> Vec<&str> {
    value["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn labels_of(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value["metadata"]["labels"].clone()).unwrap_or_default()
}

fn field_selector(text: &str) -> Result<Vec<(String, String)>> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('=') {
            Some((path @ ("metadata.name" | "metadata.namespace"), value)) => {
                Ok((path.to_owned(), value.trim_start_matches('=').to_owned()))
            }
            _ => Err(Error::new(Reason::BadRequest, format!("the fake cluster has no field selector {part:?}"))),
        })
        .collect()
}
