//! Events: lenient in core/v1 for the sake of old clients, strict in events.k8s.io/v1.
//!
//! Events come in their stored form, so fields have their core/v1 names here, as in the messages of the API server.
//! Source: kubernetes `pkg/apis/core/validation/events.go`.

use serde_json::Value;

use crate::metadata;
use crate::resource::{Resource, View};
use crate::status::FieldError;
use crate::syntax;

const TEXT_CHARACTERS_MAX: usize = 128;
const NOTE_CHARACTERS_MAX: usize = 1024;

/// Fields the strict group does not let change.
const FIXED: [&str; 13] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
];

pub(super) fn of_new(resource: &Resource, value: &Value) -> Vec<FieldError> {
    let mut errors = of_every_event(resource, value);
    if resource.view == View::EventsGroup {
        errors.extend(of_series(value));
        errors.extend(of_strict_event(value));
    }
    errors
}

pub(super) fn of_update(resource: &Resource, next: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = of_every_event(resource, next);
    if resource.view == View::EventsGroup {
        if next.get("series") != old.get("series") {
            errors.extend(of_series(next));
        }
        let changed = FIXED.into_iter().filter(|field| next.get(field) != old.get(field));
        errors.extend(changed.map(|field| {
            let shown = next.get(field).map_or("null".to_owned(), Value::to_string);
            FieldError::invalid(field, &shown, super::IMMUTABLE)
        }));
    }
    errors
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn of_every_event(resource: &Resource, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let namespace = metadata::of(value).namespace();
    let involved = text(value, "/involvedObject/namespace");
    let elsewhere = || FieldError::invalid_text("involvedObject.namespace", involved, "does not match event.namespace");
    if text(value, "/eventTime").is_empty() {
        // An event of the old kind. Objects without a namespace have theirs in `default`.
        if involved != namespace && !(involved.is_empty() && namespace == "default") {
            errors.push(elsewhere());
        }
        return errors;
    }
    if involved.is_empty() && !["default", "kube-system"].contains(&namespace) {
        errors.push(elsewhere());
    }
    let reporter_field = if resource.view == View::Stored { "reportingComponent" } else { "reportingController" };
    let reporter = text(value, "/reportingComponent");
    if reporter.is_empty() {
        errors.push(FieldError::required(reporter_field, ""));
    }
    let complaints = syntax::qualified_name(reporter);
    errors.extend(complaints.iter().map(|why| FieldError::invalid_text(reporter_field, reporter, why)));
    let limited = [
        ("reportingInstance", TEXT_CHARACTERS_MAX, true),
        ("action", TEXT_CHARACTERS_MAX, true),
        ("reason", TEXT_CHARACTERS_MAX, true),
        ("message", NOTE_CHARACTERS_MAX, false),
    ];
    for (field, characters_max, is_required) in limited {
        let given = value.get(field).and_then(Value::as_str).unwrap_or_default();
        if is_required && given.is_empty() {
            errors.push(FieldError::required(field, ""));
        }
        if given.len() > characters_max {
            let why = format!("can have at most {characters_max} characters");
            errors.push(FieldError::invalid_text(field, "", &why));
        }
    }
    errors
}

fn of_series(value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(series) = value.get("series") else { return errors };
    if series.get("count").and_then(Value::as_i64).unwrap_or(0) < 2 {
        errors.push(FieldError::invalid_text("series.count", "", "should be at least 2"));
    }
    if text(series, "/lastObservedTime").is_empty() {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
    errors
}

fn of_strict_event(value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(value, "/eventTime").is_empty() {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = text(value, "/type");
    if !["Normal", "Warning"].contains(&kind) {
        errors.push(FieldError::invalid_text("type", "", &format!("has invalid value: {kind}")));
    }
    let set = |field: &str| value.get(field).is_some_and(|value| *value != 0 && !value.is_null());
    for field in ["firstTimestamp", "lastTimestamp", "count"].into_iter().filter(|field| set(field)) {
        errors.push(FieldError::invalid_text(field, "", "needs to be unset"));
    }
    if !text(value, "/source/component").is_empty() || !text(value, "/source/host").is_empty() {
        errors.push(FieldError::invalid_text("source", "", "needs to be unset"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(group: &str, value: &Value) -> Vec<String> {
        let events = crate::registry::find(group, "v1", "events").unwrap();
        of_new(events, value).into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn an_old_event_only_needs_the_namespace_of_its_object() {
        let event = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}, "message": "m"});
        assert!(fields("", &event).is_empty());
        let event = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}});
        assert_eq!(fields("", &event), ["involvedObject.namespace"]);
        assert!(fields("", &json!({"metadata": {"namespace": "default"}})).is_empty());
    }

    #[test]
    fn a_new_event_says_who_reports_it_and_why() {
        let event = json!({
            "metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
        });
        let missing =
            ["reportingComponent", "reportingComponent", "reportingComponent", "reportingInstance", "action", "reason"];
        assert_eq!(fields("", &event), missing);
    }

    #[test]
    fn the_newer_group_wants_a_time_and_none_of_the_old_fields() {
        let event = json!({
            "metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}, "count": 2, "series": {"count": 1},
        });
        let wrong = ["series.count", "series.lastObservedTime", "eventTime", "type", "count"];
        assert_eq!(fields("events.k8s.io", &event), wrong);
    }
}
