//! PATCH in its four forms. What a patch makes of an object then goes the way of every update.
//!
//! The three that edit are applied to the newest version and, when somebody else was first, again to the next newest: only a
//! patch that names a version or uid can conflict.

use serde_json::Value;

use super::create::Ownership;
use super::update::{self, Step};
use super::{Answer, Existing, Prepared, Writer, metadata};
use crate::body;
use crate::go_json;
use crate::object::Key;
use crate::ownership;
use crate::patching;
use crate::status::{FieldError, Refusal, Result};

/// The four media types of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchFormat {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchFormat {
    pub(crate) fn of(content_type: &str) -> Result<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(PatchFormat::Json),
            "application/merge-patch+json" => Ok(PatchFormat::Merge),
            "application/strategic-merge-patch+json" => Ok(PatchFormat::Strategic),
            "application/apply-patch+yaml" => Ok(PatchFormat::Apply),
            _ => Err(Refusal::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
                .with_details(serde_json::json!({}))),
        }
    }
}

impl Writer<'_> {
    /// Applies a patch to the object named in the path.
    pub(crate) fn patch(&self, name: &str, format: PatchFormat, patch: &[u8], force: Option<bool>) -> Result<Answer> {
        self.check_patch_options(format, force)?;
        if format == PatchFormat::Apply {
            return self.apply(name, patch, force.unwrap_or(false));
        }
        let repeated = body::repeated_fields(patch, self.options.validation);
        let patch = patching::Edit::parse(format, patch)?;
        let key = self.key(name);
        loop {
            let Some(existing) = self.existing(&key) else {
                return Err(Refusal::not_found(self.resource, name));
            };
            let patched = patch.apply(self.resource, self.native(&existing))?;
            let prepared = body::check_patched(
                &self.store.registry.served(),
                self.resource,
                patched,
                &repeated,
                self.options.validation,
                patch.shown(),
            )?;
            let mut managed = |existing: &Value, next: &mut Value| {
                ownership::after_update(&self.ownership(), Some(existing), next);
            };
            if let Step::Answered(answer) = self.replace_patched(&key, &existing, prepared, &mut managed)? {
                return Ok(answer);
            }
        }
    }

    /// Server-side apply.
    fn apply(&self, name: &str, patch: &[u8], force: bool) -> Result<Answer> {
        let applied = self.read_applied(patch)?;
        if metadata::of(&applied).get("managedFields").is_some() {
            return Err(Refusal::bad_request("metadata.managedFields must be nil"));
        }
        update::check_name(metadata::of(&applied).name(), name)?;
        let repeated = body::repeated_fields(patch, self.options.validation);
        let Prepared { value: mut applied, warnings } = body::check_applied(self.resource, applied, &repeated)?;
        self.adopt_namespace(&mut applied)?;
        let key = self.key(name);
        loop {
            match self.apply_once(&key, &applied, warnings.clone(), force) {
                Ok(Step::Answered(answer)) => return Ok(answer),
                Ok(Step::Again) => {}
                // Created by somebody else between the look and the commit.
                Err(refusal) if refusal.reason == "AlreadyExists" => {}
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// The configuration of an apply, of the kind the path speaks of.
    fn read_applied(&self, patch: &[u8]) -> Result<Value> {
        let unreadable = |why: String| Refusal::bad_request(format!("error decoding YAML: {why}"));
        let applied = match body::parse_yaml(patch).map_err(unreadable)? {
            Value::Null => Value::Object(serde_json::Map::new()),
            applied @ Value::Object(_) => applied,
            other => {
                return Err(unreadable(format!(
                    "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type \
                     map[string]interface {{}}",
                    go_json::kind(&other)
                )));
            }
        };
        let text = |field: &str| applied.get(field).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version != self.resource.api_version || kind != self.resource.kind {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            return Err(Refusal::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
        }
        Ok(applied)
    }

    fn apply_once(&self, key: &Key, applied: &Value, warnings: Vec<String>, force: bool) -> Result<Step> {
        let Some(existing) = self.existing(key) else {
            if self.subresource.is_some() {
                return Err(Refusal::not_found(self.resource, &key.name));
            }
            if !metadata::of(applied).uid().is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {}, and no existing object was found",
                    metadata::of(applied).uid()
                );
                return Err(Refusal::conflict(self.resource.plural, self.resource.group, &key.name, &why));
            }
            let next = ownership::apply(&self.ownership(), None, applied, force)?;
            let mut next = body::normal(self.resource, next)?;
            // Which version a configuration was made for counts only where there is one.
            metadata::of_mut(&mut next).remove("resourceVersion");
            return self.create_named(next, warnings, Ownership::Recorded).map(Step::Answered);
        };
        let next = ownership::apply(&self.ownership(), Some(&existing.value), applied, force)?;
        let next = body::normal(self.resource, next)?;
        let prepared = Prepared { value: next, warnings };
        // Ownership is part of what `apply` returned.
        self.replace_patched(key, &existing, prepared, &mut |_, _| {})
    }

    fn replace_patched(
        &self,
        key: &Key,
        existing: &Existing,
        prepared: Prepared,
        record_ownership: &mut dyn FnMut(&Value, &mut Value),
    ) -> Result<Step> {
        let Prepared { mut value, warnings } = prepared;
        update::check_name(metadata::of(&value).name(), &key.name)?;
        self.adopt_namespace(&mut value)?;
        self.replace(key, existing, value, warnings, record_ownership)
    }

    fn check_patch_options(&self, format: PatchFormat, force: Option<bool>) -> Result<()> {
        let mut errors = Vec::new();
        if format == PatchFormat::Apply && self.options.field_manager.is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if format != PatchFormat::Apply && force.is_some() {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        if errors.is_empty() { Ok(()) } else { Err(Refusal::invalid("PatchOptions", "meta.k8s.io", "", &errors)) }
    }
}
