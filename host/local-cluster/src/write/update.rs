//! PUT, and the last half of every PATCH: from an existing object and its wanted successor to a commit.
//!
//! Versions and uids are held against the existing object here (registry `Store.Update`, `rest.BeforeUpdate`).

use serde_json::Value;

use super::create::Ownership;
use super::{Answer, Committed, Existing, Prepared, Writer, metadata};
use crate::defaults;
use crate::object::Key;
use crate::ownership::{self, FieldManager};
use crate::resource::Collection;
use crate::status::{FieldError, Refusal, Result};
use crate::store::Expected;
use crate::validation;

/// What is to be done with an existing object.
pub(super) enum Step {
    /// Done: this is the answer.
    Answered(Answer),
    /// Somebody else was first: compute again.
    Again,
}

impl Writer<'_> {
    /// Replaces (or, for the kinds that allow it, creates) the object named in the path.
    pub(crate) fn update(&self, name: &str, prepared: Prepared) -> Result<Answer> {
        let Prepared { mut value, warnings } = prepared;
        let given = metadata::of(&value).name();
        check_name(given, name)?;
        self.adopt_namespace(&mut value)?;
        let key = self.key(name);
        loop {
            let Some(existing) = self.existing(&key) else {
                match self.create_by_update(&key, value.clone(), warnings.clone()) {
                    Err(refusal) if refusal.reason == "AlreadyExists" && !self.options.dry_run => continue,
                    answer => return answer,
                }
            };
            // A PUT says which object it means; a patch that writes another uid breaks a rule instead.
            let uid = metadata::of(&value).uid();
            if !uid.is_empty() && uid != existing.object.uid {
                return Err(self.uid_differs(&key, uid, &existing.object.uid));
            }
            let next = value.clone();
            let mut managed = |existing: &Value, next: &mut Value| {
                ownership::after_update(&self.ownership(), Some(existing), next);
            };
            if let Step::Answered(answer) = self.replace(&key, &existing, next, warnings.clone(), &mut managed)? {
                return Ok(answer);
            }
        }
    }

    /// A PUT that found nothing: created where the kind allows it, unless the client named the uid it meant. Its resourceVersion
    /// counts for nothing then.
    fn create_by_update(&self, key: &Key, value: Value, warnings: Vec<String>) -> Result<Answer> {
        if !self.resource.create_on_update || self.subresource.is_some() {
            return Err(Refusal::not_found(self.resource, &key.name));
        }
        let uid = metadata::of(&value).uid();
        if !uid.is_empty() {
            return Err(self.uid_differs(key, uid, ""));
        }
        self.create_named(value, warnings, Ownership::ToRecord)
    }

    /// Replaces `existing` by `next`, if version, uid and rules allow.
    pub(super) fn replace(
        &self,
        key: &Key,
        existing: &Existing,
        mut next: Value,
        warnings: Vec<String>,
        record_ownership: &mut dyn FnMut(&Value, &mut Value),
    ) -> Result<Step> {
        self.check_version(key, existing.object.version, &next)?;
        self.refuse_unsupported(&next)?;
        let old = &existing.value;
        self.keep_other_part(old, &mut next);
        keep_system_fields(old, &mut next);
        defaults::fill_replaced(self.resource, &mut next, old);
        if self.resource.collection == Collection::Services {
            super::services::keep_addresses(old, &mut next);
        }
        let errors = validation::of_update(self.resource, &next, old);
        if !errors.is_empty() {
            return Err(Refusal::invalid(self.resource.kind, self.resource.stored_group(), &key.name, &errors));
        }
        record_ownership(old, &mut next);
        metadata::of_mut(&mut next).insert("resourceVersion".to_owned(), existing.object.version.to_string().into());
        if ownership::equal_but_for_times(old, &next) && !is_finished(self.resource.collection, &next) {
            let object = std::sync::Arc::clone(&existing.object);
            let content = super::Content::Object(object);
            return Ok(Step::Answered(Answer { code: 200, content, warnings, committed: false }));
        }
        if self.options.dry_run {
            return Ok(Step::Answered(self.unstored(200, next, existing.object.version, warnings)));
        }
        let remove = metadata::of(&next).is_deleting() && is_finished(self.resource.collection, &next);
        let expected = Expected::Version(existing.object.version);
        match self.commit(key, expected, (!remove).then(|| next.clone()), 200)? {
            Committed::Stored(_) if remove => {
                // The object as it was last wanted, under the version it was last stored with.
                let answer = self.unstored(200, next, existing.object.version, warnings);
                Ok(Step::Answered(Answer { committed: true, ..answer }))
            }
            Committed::Stored(object) => Ok(Step::Answered(Self::stored(200, object, warnings))),
            Committed::Moved => Ok(Step::Again),
        }
    }

    fn check_version(&self, key: &Key, stored: u64, next: &Value) -> Result<()> {
        let given = metadata::of(next).resource_version();
        let version = if given.is_empty() { Ok(0) } else { given.parse::<u64>() };
        let version = version
            .map_err(|_| Refusal::new(500, "", format!("strconv.ParseUint: parsing {given:?}: invalid syntax")))?;
        if version == 0 && !self.resource.unconditional_update {
            let error = FieldError::invalid("metadata.resourceVersion", "0", "must be specified for an update");
            // The API server names the resource, not the kind, in this one.
            return Err(Refusal::invalid(self.resource.plural, self.resource.group, &key.name, &[error]));
        }
        if version != 0 && version != stored {
            return Err(Refusal::modified(self.resource, &key.name));
        }
        Ok(())
    }

    /// The storage's words for a uid that is not the stored one.
    fn uid_differs(&self, key: &Key, given: &str, stored: &str) -> Refusal {
        let path = match key.namespace.as_str() {
            "" => format!("/registry/{}/{}", self.resource.plural, key.name),
            namespace => format!("/registry/{}/{namespace}/{}", self.resource.plural, key.name),
        };
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {given}, UID in object meta: {stored}"
        );
        Refusal::conflict(self.resource.plural, self.resource.group, &key.name, &why)
    }

    /// A write to a subresource leaves the rest as it is, and the other way round.
    fn keep_other_part(&self, old: &Value, next: &mut Value) {
        let keep = |next: &mut Value, field: &str| match old.get(field) {
            Some(value) => next[field] = value.clone(),
            None => {
                if let Some(object) = next.as_object_mut() {
                    object.remove(field);
                }
            }
        };
        match (self.resource.collection, self.subresource) {
            (_, Some("status")) if self.resource.custom().is_some() => {
                // Of a custom object nothing but its status is written there.
                let (mut kept, status) = (old.clone(), next.get("status").cloned());
                for field in ["resourceVersion", "managedFields"] {
                    if let Some(value) = metadata::of(next).get(field) {
                        metadata::of_mut(&mut kept).insert(field.to_owned(), value.clone());
                    }
                }
                if let Some(kept) = kept.as_object_mut() {
                    kept.remove("status");
                    kept.extend(status.map(|status| ("status".to_owned(), status)));
                }
                *next = kept;
            }
            (_, Some("status")) => {
                keep(next, "spec");
                let class = old.pointer("/status/qosClass").filter(|_| next.pointer("/status/qosClass").is_none());
                if let (Collection::Pods, Some(class)) = (self.resource.collection, class) {
                    next["status"]["qosClass"] = class.clone();
                }
                if let Some(owners) = metadata::of(old).get("ownerReferences").cloned() {
                    metadata::of_mut(next).insert("ownerReferences".to_owned(), owners);
                }
            }
            (Collection::Namespaces, Some("finalize")) => keep(next, "status"),
            (Collection::Namespaces, None) => {
                keep(next, "spec");
                keep(next, "status");
            }
            (_, None) if self.resource.has_status() => keep(next, "status"),
            _ => {}
        }
    }

    pub(super) fn ownership(&self) -> FieldManager<'_> {
        FieldManager {
            name: &self.origin.field_manager,
            resource: self.resource,
            subresource: self.subresource,
            now: self.now_text(),
        }
    }
}

/// The object's name must be there and be the path's.
pub(super) fn check_name(given: &str, name: &str) -> Result<()> {
    if given.is_empty() {
        return Err(Refusal::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != name {
        return Err(Refusal::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

/// What the server alone sets stays, whatever the client says or leaves out (`rest.BeforeUpdate`).
fn keep_system_fields(old: &Value, next: &mut Value) {
    for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if let Some(value) = metadata::of(old).get(field)
            && metadata::of(next).get(field).is_none()
        {
            metadata::of_mut(next).insert(field.to_owned(), value.clone());
        }
    }
    let kept = ["creationTimestamp", "generation"].map(|field| (field, metadata::of(old).get(field).cloned()));
    let metadata = metadata::of_mut(next);
    metadata.remove("selfLink");
    for (field, value) in kept {
        match value {
            Some(value) => metadata.insert(field.to_owned(), value),
            None => metadata.remove(field),
        };
    }
}

/// Whether an object that is being deleted has nothing left to wait for.
pub(super) fn is_finished(collection: Collection, value: &Value) -> bool {
    let metadata = metadata::of(value);
    let waits_for_grace = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) > 0;
    let spec_finalizers = value.pointer("/spec/finalizers").and_then(Value::as_array);
    let held_by_spec =
        collection == Collection::Namespaces && spec_finalizers.is_some_and(|finalizers| !finalizers.is_empty());
    metadata.is_deleting() && metadata.finalizers().is_empty() && !waits_for_grace && !held_by_spec
}
