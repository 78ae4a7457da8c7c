//! The Event a plugin records on an object, as core/v1 has it and `kubectl describe` shows it. Pure.

use serde_json::{Value, json};
use tenure_sandbox::{EventType, ObjectRef};

/// The longest message the API takes, in bytes (core/v1 Event validation).
const MESSAGE_BYTES_MAX: usize = 1024;
/// Events on objects without a namespace go here, as the API demands.
const NAMESPACE_OF_CLUSTER_SCOPED: &str = "default";

/// The namespace an Event on this object lies in.
pub(crate) fn namespace(object: &ObjectRef) -> &str {
    object.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(NAMESPACE_OF_CLUSTER_SCOPED)
}

/// What an Event is about.
pub(crate) struct About<'a> {
    pub(crate) object: &'a ObjectRef,
    /// By which `kubectl describe` finds the Event.
    pub(crate) uid: Option<String>,
}

/// An Event that `component` records at `now`. `number` tells it from others on the same object.
pub(crate) fn event(
    about: &About<'_>,
    event_type: EventType,
    (reason, message): (&str, &str),
    component: &str,
    now: jiff::Timestamp,
    number: u64,
) -> Value {
    let object = about.object;
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": format!("{}.{number:016x}", object.name), "namespace": namespace(object) },
        "involvedObject": {
            "apiVersion": object.kind.api_version,
            "kind": object.kind.kind,
            "namespace": object.namespace,
            "name": object.name,
            "uid": about.uid,
        },
        "type": match event_type { EventType::Normal => "Normal", EventType::Warning => "Warning" },
        "reason": reason,
        "message": shortened(message),
        "source": { "component": component },
        "reportingComponent": component,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    })
}

fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters() {
        let message = "ä".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(shortened(&message).len(), MESSAGE_BYTES_MAX);
        let odd = format!("x{message}");
        assert_eq!(shortened(&odd).len(), MESSAGE_BYTES_MAX - 1);
        assert_eq!(shortened("short"), "short");
    }
}
