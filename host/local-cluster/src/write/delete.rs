//! DELETE of one object and of a collection: preconditions, grace, finalizers.
//!
//! What a propagation policy asks for is written down as a finalizer here; `garbage` does it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::update::is_finished;
use super::{Answer, Committed, Content, Existing, Writer, metadata, time_text};
use crate::dependents::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER};
use crate::object::{Key, Object};
use crate::query::dry_run_error;
use crate::resource::Collection;
use crate::selector::Selector;
use crate::status::{FieldError, Refusal, Result};
use crate::store::Expected;

/// Namespaces that cannot be deleted (NamespaceLifecycle's immortal namespaces).
const IMMORTAL_NAMESPACES: [&str; 3] = ["default", "kube-public", "kube-system"];

/// `meta/v1.DeleteOptions`, from the body and the query.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) preconditions: Option<Preconditions>,
    pub(crate) propagation_policy: Option<String>,
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) dry_run: Option<Vec<String>>,
}

/// What must hold for the deletion to happen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

impl Preconditions {
    /// Of query parameters; empty ones say nothing.
    pub(crate) fn of(uid: Option<&str>, resource_version: Option<&str>) -> Option<Self> {
        let said = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let preconditions = Self { uid: said(uid), resource_version: said(resource_version) };
        (preconditions.uid.is_some() || preconditions.resource_version.is_some()).then_some(preconditions)
    }
}

impl DeleteOptions {
    /// Whether nothing is to be stored; what else than `All` may be said is refused by [`Self::validate`].
    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|values| !values.is_empty())
    }

    /// A body that says what it is must be options.
    pub(crate) fn check_kind(value: &Value) -> Result<()> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
        match (text("kind"), text("apiVersion")) {
            ("" | "DeleteOptions", _) => Ok(()),
            (kind, version) => Err(Refusal::bad_request(format!(
                "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
            ))),
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let mut errors = Vec::new();
        if let Some(policy) = &self.propagation_policy
            && !["Foreground", "Background", "Orphan"].contains(&policy.as_str())
        {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            errors.push(FieldError::not_supported("propagationPolicy", policy, &supported));
        }
        if self.propagation_policy.is_some() && self.orphan_dependents.is_some() {
            errors.push(FieldError::invalid_text(
                "propagationPolicy",
                self.propagation_policy.as_deref().unwrap_or_default(),
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        errors.extend(dry_run_error(self.dry_run.as_deref().unwrap_or_default()));
        if errors.is_empty() { Ok(()) } else { Err(Refusal::invalid("DeleteOptions", "meta.k8s.io", "", &errors)) }
    }
}

impl Writer<'_> {
    /// Deletes one object, or begins to.
    pub(crate) fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Answer> {
        let key = self.key(name);
        if self.resource.collection == Collection::Namespaces && IMMORTAL_NAMESPACES.contains(&name) {
            return Err(Refusal::forbidden(self.resource, name, "this namespace may not be deleted"));
        }
        loop {
            let Some(existing) = self.existing(&key) else {
                return Err(Refusal::not_found(self.resource, name));
            };
            self.check_preconditions(&key, &existing, options)?;
            if let Some(answer) = self.delete_existing(&key, &existing, options)? {
                return Ok(answer);
            }
        }
    }

    /// One attempt; `None` if somebody else was first.
    fn delete_existing(&self, key: &Key, existing: &Existing, options: &DeleteOptions) -> Result<Option<Answer>> {
        let was_deleting = metadata::of(&existing.value).is_deleting();
        let mut next = existing.value.clone();
        set_propagation(&mut next, options);
        self.mark_deleting(&mut next, options);
        if self.resource.collection == Collection::CustomResourceDefinitions && !was_deleting {
            crate::custom::begin_deletion(&mut next, &self.now_text());
        }
        let remove = is_finished(self.resource.collection, &next);
        // What has no grace and nothing to wait for goes without having been marked.
        let shown =
            if remove && self.resource.collection != Collection::Pods { existing.value.clone() } else { next.clone() };
        if self.options.dry_run {
            return Ok(Some(self.deleted(existing, existing.object.version, remove, shown)));
        }
        if !remove && was_deleting && next == existing.value {
            // Deleting again what already is being deleted changes nothing.
            let content = Content::Object(Arc::clone(&existing.object));
            return Ok(Some(Answer { code: 200, content, warnings: Vec::new(), committed: false }));
        }
        let expected = Expected::Version(existing.object.version);
        match self.commit(key, expected, (!remove).then(|| next.clone()), 200)? {
            Committed::Moved => Ok(None),
            Committed::Stored(object) if !remove => Ok(Some(Self::stored(200, object, Vec::new()))),
            Committed::Stored(object) => {
                let mut answer = self.deleted(existing, object.version, true, shown);
                answer.committed = true;
                Ok(Some(answer))
            }
        }
    }

    /// The answer to a deletion that took the object away, or (in a dry run) to one that only marked it.
    fn deleted(&self, existing: &Existing, version: u64, removed: bool, next: Value) -> Answer {
        if !removed || self.resource.returns_deleted {
            return self.unstored(200, next, version, Vec::new());
        }
        let mut details = json!({"name": existing.object.key.name, "kind": self.resource.plural});
        if !self.resource.group.is_empty() {
            details["group"] = self.resource.group.into();
        }
        details["uid"] = existing.object.uid.as_str().into();
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
        });
        Answer { code: 200, content: Content::Plain(status), warnings: Vec::new(), committed: false }
    }

    /// Deletes every object of the collection that `selector` selects, and answers with the list of them.
    pub(crate) fn delete_collection(&self, selector: &Selector, options: &DeleteOptions) -> Result<Vec<Arc<Object>>> {
        let namespace = (!self.namespace.is_empty()).then_some(self.namespace);
        let (_, objects) = self.store.list(self.resource.collection, namespace);
        let mut deleted = Vec::new();
        for object in objects.into_iter().filter(|object| selector.matches(object)) {
            let one = Writer {
                namespace: &object.key.namespace,
                options: self.options.clone(),
                origin: self.origin.clone(),
                ..*self
            };
            match one.delete(&object.key.name, options) {
                Ok(_) => deleted.push(object),
                // Gone in the meantime: what was wanted.
                Err(refusal) if refusal.code == 404 => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(deleted)
    }

    fn check_preconditions(&self, key: &Key, existing: &Existing, options: &DeleteOptions) -> Result<()> {
        let Some(preconditions) = &options.preconditions else { return Ok(()) };
        let conflict = |what: &str, given: &str, stored: &str, how: &str| {
            let why = format!(
                "the {what} in the precondition ({given}) does not match the {what} in record ({stored}). \
                 The object might have been {how}"
            );
            // The API server names the kind in these two.
            Err(Refusal::conflict(self.resource.kind, self.resource.group, &key.name, &why))
        };
        if let Some(uid) = &preconditions.uid
            && *uid != existing.object.uid
        {
            return conflict("UID", uid, &existing.object.uid, "deleted and then recreated");
        }
        if let Some(version) = &preconditions.resource_version
            && *version != existing.object.version.to_string()
        {
            return conflict("ResourceVersion", version, &existing.object.version.to_string(), "modified");
        }
        Ok(())
    }

    /// Sets what marks an object as being deleted (`rest.BeforeDelete`); a shorter grace replaces a longer one.
    fn mark_deleting(&self, value: &mut Value, options: &DeleteOptions) {
        let grace_seconds = self.grace_seconds(value, options);
        if self.resource.collection == Collection::Namespaces {
            value["status"]["phase"] = "Terminating".into();
        }
        let was_deleting = metadata::of(value).is_deleting();
        let old_grace_seconds = metadata::of(value).get("deletionGracePeriodSeconds").and_then(Value::as_i64);
        if was_deleting && old_grace_seconds.is_none_or(|old| grace_seconds >= old) {
            return;
        }
        let deadline = self.now.saturating_add(jiff::SignedDuration::from_secs(grace_seconds)).unwrap_or(self.now);
        let generation = metadata::of(value).get("generation").and_then(Value::as_i64).unwrap_or(0);
        let metadata = metadata::of_mut(value);
        metadata.insert("deletionTimestamp".to_owned(), time_text(deadline).into());
        // These two are not deleted through the generic registry, which counts a deletion as a change.
        let generic =
            !matches!(self.resource.collection, Collection::Namespaces | Collection::CustomResourceDefinitions);
        if generic {
            metadata.insert("deletionGracePeriodSeconds".to_owned(), grace_seconds.into());
        }
        if generic && generation > 0 && !was_deleting {
            metadata.insert("generation".to_owned(), (generation + 1).into());
        }
    }

    /// Only a Pod that runs on a node is given time (`podStrategy.CheckGracefulDelete`): its kubelet confirms the end.
    fn grace_seconds(&self, value: &Value, options: &DeleteOptions) -> i64 {
        if self.resource.collection != Collection::Pods {
            return 0;
        }
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Failed" | "Succeeded") {
            return 0;
        }
        let own = value.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
        options.grace_period_seconds.or(own).unwrap_or(0).max(0)
    }
}

/// Writes the policy of a deletion down (`deletionFinalizersForGarbageCollection`): what is asked for now, else what the object has.
fn set_propagation(value: &mut Value, options: &DeleteOptions) {
    let asked = match (options.orphan_dependents, options.propagation_policy.as_deref()) {
        (Some(true), _) | (None, Some("Orphan")) => Some(ORPHAN_FINALIZER),
        (None, Some("Foreground")) => Some(FOREGROUND_FINALIZER),
        (Some(false), _) | (None, Some(_)) => None,
        // Nothing was said, so that what the object says holds.
        (None, None) => return,
    };
    let metadata = metadata::of_mut(value);
    let mut finalizers = match metadata.remove("finalizers") {
        Some(Value::Array(finalizers)) => finalizers,
        _ => Vec::new(),
    };
    finalizers.retain(|finalizer| finalizer != ORPHAN_FINALIZER && finalizer != FOREGROUND_FINALIZER);
    finalizers.extend(asked.map(Value::from));
    if !finalizers.is_empty() {
        metadata.insert("finalizers".to_owned(), Value::Array(finalizers));
    }
}
