//! The API server's refusals: code, reason, message and details of a `Status`, word for word where clients look at them.
//!
//! Owns the wording (apimachinery's `errors` package), not the decision to refuse.

use serde_json::{Value, json};

use crate::resource::{Resource, qualified};

/// What an optimistic write that came too late is told (registry `OptimisticLockErrorMsg`).
const OBJECT_MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// The reason of a refusal that is no `Status`, but a line of text.
pub(crate) const PAGE_NOT_FOUND: &str = "PageNotFound";

/// A refusal, as it will stand in a `Status`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Option<Value>,
    /// A token to go on with, for a list whose snapshot is gone.
    pub(crate) next: Option<Box<str>>,
    /// For `Warning` headers: a refused object may have been odd as well.
    pub(crate) warnings: Vec<String>,
}

pub(crate) type Result<T> = std::result::Result<T, Refusal>;

/// One field that broke a rule (apimachinery `field.Error`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldError {
    pub(crate) reason: &'static str,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn invalid(field: impl Into<String>, value: &str, detail: &str) -> Self {
        Self { reason: "FieldValueInvalid", field: field.into(), message: format!("Invalid value: {value}: {detail}") }
    }

    /// A value of the wrong type; `value` is what it is.
    pub(crate) fn type_invalid(field: impl Into<String>, value: &str, detail: &str) -> Self {
        Self { reason: "FieldValueTypeInvalid", ..Self::invalid(field, value, detail) }
    }

    pub(crate) fn too_many(field: impl Into<String>, actual: usize, most: u64) -> Self {
        Self {
            reason: "FieldValueTooMany",
            field: field.into(),
            message: format!("Too many: {actual}: must have at most {most} items"),
        }
    }

    /// An invalid string, quoted as Go's `%q` does for ordinary text.
    pub(crate) fn invalid_text(field: impl Into<String>, value: &str, detail: &str) -> Self {
        Self::invalid(field, &format!("{value:?}"), detail)
    }

    pub(crate) fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self { reason: "FieldValueRequired", field: field.into(), message }
    }

    pub(crate) fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self { reason: "FieldValueForbidden", field: field.into(), message: format!("Forbidden: {detail}") }
    }

    pub(crate) fn not_supported(field: impl Into<String>, value: &str, supported: &[&str]) -> Self {
        Self::not_supported_value(field, &Value::from(value), supported)
    }

    /// The same for a value of any type.
    pub(crate) fn not_supported_value(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        Self {
            reason: "FieldValueNotSupported",
            field: field.into(),
            message: format!("Unsupported value: {value}: supported values: {}", supported.join(", ")),
        }
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &str) -> Self {
        Self { reason: "FieldValueDuplicate", field: field.into(), message: format!("Duplicate value: {value}") }
    }

    pub(crate) fn too_long(field: impl Into<String>, bytes_max: usize) -> Self {
        Self {
            reason: "FieldValueTooLong",
            field: field.into(),
            message: format!("Too long: may not be more than {bytes_max} bytes"),
        }
    }
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut details = serde_json::Map::new();
    for (key, text) in [("name", name), ("group", group), ("kind", kind)] {
        if !text.is_empty() {
            details.insert(key.to_owned(), text.into());
        }
    }
    Value::Object(details)
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, next: None, warnings: Vec::new() }
    }

    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", resource.qualified())).with_details(details(
            name,
            resource.group,
            resource.plural,
        ))
    }

    /// A path no resource is served under.
    pub(crate) fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with_details(json!({}))
    }

    /// A path of no group at all; answered as plain text.
    pub(crate) fn no_such_page() -> Self {
        Self::new(404, PAGE_NOT_FOUND, "404 page not found")
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {name:?} already exists", resource.qualified()))
            .with_details(details(name, resource.group, resource.plural))
    }

    /// A name that is taken, where the client also gave a base to generate one from.
    pub(crate) fn not_generated(resource: &Resource, name: &str) -> Self {
        let mut refusal = Self::already_exists(resource, name);
        refusal.message.push_str(", the server was not able to generate a unique name for the object");
        if let Some(details) = &mut refusal.details {
            details["retryAfterSeconds"] = 1.into();
        }
        refusal
    }

    /// A conflict about `what` (a plural, or a kind where the API server says it with the kind).
    pub(crate) fn conflict(what: &str, group: &str, name: &str, why: &str) -> Self {
        let qualified = qualified(what, group);
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {qualified} {name:?}: {why}"))
            .with_details(details(name, group, what))
    }

    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(resource.plural, resource.group, name, OBJECT_MODIFIED)
    }

    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let quoted = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        Self::new(403, "Forbidden", format!("{}{quoted} is forbidden: {why}", resource.qualified()))
            .with_details(details(name, resource.group, resource.plural))
    }

    /// `kind` is qualified by the group in the message only.
    pub(crate) fn invalid(kind: &str, group: &str, name: &str, errors: &[FieldError]) -> Self {
        // What several rules complain about alike is said once, but caused as often.
        let mut texts: Vec<String> = Vec::new();
        for error in errors {
            let text = format!("{}: {}", error.field, error.message);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let listed = match texts.as_slice() {
            [only] => only.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|error| json!({"reason": error.reason, "message": error.message, "field": error.field}))
            .collect();
        let mut details = details(name, group, kind);
        details["causes"] = Value::Array(causes);
        Self::new(422, "Invalid", format!("{} {name:?} is invalid: {listed}", qualified(kind, group)))
            .with_details(details)
    }

    /// What is not built here says so, in a form every client can show.
    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("the local cluster does not implement {what}"))
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .with_details(json!({}))
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// The object it is about.
    pub(crate) fn name(&self) -> &str {
        let name = self.details.as_ref().and_then(|details| details.get("name"));
        name.and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn body(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(next) = &self.next {
            status["metadata"]["continue"] = next.as_ref().into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;

    #[test]
    fn messages_name_the_resource_with_its_group() {
        let leases = find("coordination.k8s.io", "v1", "leases").unwrap();
        assert_eq!(Refusal::not_found(leases, "a").message, "leases.coordination.k8s.io \"a\" not found");
        assert_eq!(
            Refusal::modified(leases, "a").message,
            "Operation cannot be fulfilled on leases.coordination.k8s.io \"a\": the object has been modified; \
             please apply your changes to the latest version and try again"
        );
    }

    #[test]
    fn several_field_errors_are_bracketed_and_each_is_a_cause() {
        let refusal =
            Refusal::invalid("ConfigMap", "", "a", &[FieldError::required("x", ""), FieldError::forbidden("y", "no")]);
        assert_eq!(refusal.message, "ConfigMap \"a\" is invalid: [x: Required value, y: Forbidden: no]");
        assert_eq!(refusal.body()["details"]["causes"][1]["field"], "y");
    }
}
