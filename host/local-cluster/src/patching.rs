//! JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch: from one JSON value to another.
//!
//! Works on an object as its clients see it, with `apiVersion` and `kind`. What comes out is checked by `body`, not here.

use serde_json::Value;

use crate::go_json;
use crate::resource::Resource;
use crate::schema::Shape;
use crate::status::{Refusal, Result};
use crate::strategic;
use crate::write::PatchFormat;

/// A patch, read and ready to be applied to as many versions as it takes.
#[derive(Debug)]
pub(crate) enum Edit {
    Json(Vec<Value>),
    Merge(Value),
    Strategic(Value),
}

/// Most operations of a JSON patch (kube-apiserver `maxJSONPatchOperations`).
const OPERATIONS_MAX: usize = 10_000;

impl Edit {
    pub(crate) fn parse(format: PatchFormat, patch: &[u8]) -> Result<Self> {
        // A strategic patch is unmarshalled elsewhere, without a word on what it is.
        let what = if format == PatchFormat::Strategic { "" } else { "error decoding patch: " };
        let patch: Value = serde_json::from_slice(patch)
            .map_err(|error| Refusal::bad_request(format!("{what}{}", go_json::syntax_error(patch, &error))))?;
        let unfit = |value: &Value, wanted: &str| {
            Refusal::bad_request(format!(
                "{what}json: cannot unmarshal {} into Go value of type {wanted}",
                go_json::kind(value)
            ))
        };
        match (format, patch) {
            (PatchFormat::Json, Value::Array(operations)) if operations.len() > OPERATIONS_MAX => Err(Refusal::new(
                413,
                "RequestEntityTooLarge",
                format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len()),
            )),
            (PatchFormat::Json, Value::Array(operations)) => Ok(Edit::Json(operations)),
            (PatchFormat::Json, other) => Err(unfit(&other, "[]handlers.jsonPatchOp")),
            (PatchFormat::Merge, patch @ Value::Object(_)) => Ok(Edit::Merge(patch)),
            (_, patch @ Value::Object(_)) => Ok(Edit::Strategic(patch)),
            (_, other) => Err(unfit(&other, "map[string]interface {}")),
        }
    }

    /// The patch as errors show it, where they do not show what came of it.
    pub(crate) fn shown(&self) -> Option<String> {
        match self {
            Edit::Strategic(patch) => Some(strategic::go_shown(patch)),
            Edit::Json(_) | Edit::Merge(_) => None,
        }
    }

    /// What the patch makes of `object`.
    pub(crate) fn apply(&self, resource: &Resource, mut object: Value) -> Result<Value> {
        match self {
            Edit::Json(operations) => {
                for operation in operations {
                    let operation = read_operation(operation, &object).ok_or_else(json_patch_failed)?;
                    json_patch::patch(&mut object, &[operation]).map_err(|_| json_patch_failed())?;
                }
            }
            Edit::Merge(patch) => json_patch::merge(&mut object, patch),
            Edit::Strategic(patch) => strategic::merge(&mut object, patch, Shape::of(resource))?,
        }
        Ok(object)
    }
}

/// The API server does not say what failed either.
fn json_patch_failed() -> Refusal {
    Refusal::new(422, "Invalid", "the server rejected our request due to an error in our request")
        .with_details(serde_json::json!({}))
}

/// An operation as RFC 6902 means it; the API server's library also lets `replace` name a field that is not there yet.
fn read_operation(operation: &Value, object: &Value) -> Option<json_patch::PatchOperation> {
    let mut operation = operation.clone();
    if operation["op"] == "replace"
        && let Some((parent, _)) = operation["path"].as_str().and_then(|path| path.rsplit_once('/'))
        && object.pointer(parent).is_some_and(Value::is_object)
    {
        operation["op"] = "add".into();
    }
    serde_json::from_value(operation).ok()
}
