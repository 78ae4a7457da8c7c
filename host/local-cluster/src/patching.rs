//! JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch: from one JSON value to another.
//!
//! Works on an object as its clients see it, with `apiVersion` and `kind`. What comes out is checked by `body`, not here.

use serde_json::Value;

use crate::resource::Resource;
use crate::schema::Shape;
use crate::status::{Refusal, Result};
use crate::strategic;
use crate::write::PatchFormat;

/// A patch, read and ready to be applied to as many versions as it takes.
#[derive(Debug)]
pub(crate) enum Edit {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

/// Most operations of a JSON patch (kube-apiserver `maxJSONPatchOperations`).
const OPERATIONS_MAX: usize = 10_000;

impl Edit {
    pub(crate) fn parse(format: PatchFormat, patch: &[u8]) -> Result<Self> {
        let unreadable = |error: serde_json::Error| Refusal::bad_request(format!("error decoding patch: {error}"));
        match format {
            PatchFormat::Json => {
                let patch: json_patch::Patch = serde_json::from_slice(patch).map_err(unreadable)?;
                if patch.0.len() > OPERATIONS_MAX {
                    return Err(Refusal::new(
                        413,
                        "RequestEntityTooLarge",
                        format!(
                            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                            patch.0.len()
                        ),
                    ));
                }
                Ok(Edit::Json(patch))
            }
            PatchFormat::Merge | PatchFormat::Strategic | PatchFormat::Apply => {
                let patch: Value = serde_json::from_slice(patch).map_err(unreadable)?;
                if !patch.is_object() {
                    return Err(Refusal::bad_request("error decoding patch: json: a patch must be an object"));
                }
                Ok(if format == PatchFormat::Merge { Edit::Merge(patch) } else { Edit::Strategic(patch) })
            }
        }
    }

    /// What the patch makes of `object`.
    pub(crate) fn apply(&self, resource: &Resource, mut object: Value) -> Result<Value> {
        match self {
            Edit::Json(patch) => {
                json_patch::patch(&mut object, patch).map_err(|_| json_patch_failed())?;
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
}
