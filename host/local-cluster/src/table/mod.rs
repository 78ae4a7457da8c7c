//! What `kubectl get` shows: columns and cells per kind, as kube-apiserver prints them (kubernetes `pkg/printers/internalversion`).
//!
//! Presentation only; ages are counted from now. The columns come with each kind, from the table of kinds; what stands in them is here.

mod cells;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::metadata;
use crate::resource::{Collection, Column, Resource};
use crate::status::{Refusal, Result};

/// What a row carries beside its cells (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "None" => Ok(Include::None),
            "Object" => Ok(Include::Object),
            "" | "Metadata" => Ok(Include::Metadata),
            other => Err(Refusal::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
                 'Object', 'None', or empty"
            ))),
        }
    }
}

/// The `columnDefinitions` of a kind.
pub(crate) fn columns(resource: &Resource) -> Value {
    let column = |Column(name, kind, format, priority): &Column| json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority});
    resource.columns.iter().map(column).collect()
}

/// The cells of one object, in the order of the columns; `value` is in the stored form.
pub(crate) fn cells(resource: &Resource, value: &Value) -> Value {
    let name = metadata::of(value).name();
    match resource.collection {
        Collection::Pods => pod_cells(value, name, &age(metadata::of(value).get("creationTimestamp"))),
        Collection::Events => event_cells(value, name),
        _ => resource.columns.iter().map(|column| cells::cell(resource, column, value)).collect(),
    }
}

fn pod_cells(value: &Value, name: &str, age: &str) -> Value {
    let list = |pointer: &str| value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let statuses = list("/status/containerStatuses");
    let ready = statuses.iter().filter(|status| status["ready"] == true).count();
    let restarts: i64 = statuses.iter().filter_map(|status| status["restartCount"].as_i64()).sum();
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let waiting = statuses.iter().find_map(|status| {
        let reason = |state: &str| status.pointer(&format!("/state/{state}/reason")).and_then(Value::as_str);
        reason("waiting").or_else(|| reason("terminated"))
    });
    let status = if metadata::of(value).is_deleting() {
        "Terminating"
    } else {
        text("/status/reason").or(waiting).or_else(|| text("/status/phase")).unwrap_or("Unknown")
    };
    let or_none = |pointer: &str| text(pointer).unwrap_or("<none>");
    json!([
        name,
        format!("{ready}/{}", list("/spec/containers").len()),
        status,
        restarts.to_string(),
        age,
        or_none("/status/podIP"),
        or_none("/spec/nodeName"),
        or_none("/status/nominatedNodeName"),
        "<none>",
    ])
}

fn event_cells(value: &Value, name: &str) -> Value {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let time = |pointers: &[&str]| {
        let found = pointers.iter().find_map(|pointer| value.pointer(pointer).filter(|time| time.is_string()));
        age(found)
    };
    let first = time(&["/firstTimestamp", "/eventTime"]);
    let last = time(&["/series/lastObservedTime", "/lastTimestamp", "/firstTimestamp", "/eventTime"]);
    let count = ["/series/count", "/count"].iter().find_map(|pointer| value.pointer(pointer).and_then(Value::as_i64));
    let object = format!("{}/{}", text("/involvedObject/kind").to_lowercase(), text("/involvedObject/name"));
    let component = match text("/source/component") {
        "" => text("/reportingComponent"),
        component => component,
    };
    let source = match text("/source/host") {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    };
    json!([
        last,
        text("/type"),
        text("/reason"),
        object,
        text("/involvedObject/fieldPath"),
        source,
        text("/message").trim(),
        first,
        count.unwrap_or(1),
        name,
    ])
}

/// The age of what happened at a time, RFC 3339.
pub(crate) fn age_of(time: &str) -> String {
    age(Some(&time.into()))
}

fn age(since: Option<&Value>) -> String {
    let since = since.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    since.map_or_else(
        || "<unknown>".to_owned(),
        |since| human_duration(Timestamp::now().as_second() - since.as_second()),
    )
}

/// A duration as `kubectl` writes it (apimachinery `duration.HumanDuration`): two units at most, coarser as it grows.
fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let with_rest = |unit: i64, name: &str, rest: i64, rest_name: &str| match seconds % unit / rest {
        0 => format!("{}{name}", seconds / unit),
        left => format!("{}{name}{left}{rest_name}", seconds / unit),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => with_rest(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => with_rest(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => with_rest(DAY, "d", HOUR, "h"),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => with_rest(YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_grow_coarser() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (135, "2m15s"),
            (600, "10m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (100_000, "27h"),
            (200_000, "2d7h"),
            (700_000, "8d"),
            (70_000_000, "2y80d"),
        ] {
            assert_eq!(human_duration(seconds), shown);
        }
    }

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        for resource in crate::registry::Registry::default().served().resources() {
            let cells = cells(resource, &json!({"metadata": {"name": "a"}}));
            assert_eq!(cells.as_array().unwrap().len(), columns(resource).as_array().unwrap().len(), "{resource:?}");
        }
    }
}
