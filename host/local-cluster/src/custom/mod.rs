//! Custom resources: what one version of a CustomResourceDefinition says, and what follows for its objects.
//!
//! Rules in CEL and conversion by webhooks are not evaluated; a definition that has some is refused (`definition`).

mod columns;
mod definition;
mod objects;
mod structural;
mod validate;

use std::cmp::Ordering;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

pub(crate) use self::definition::{
    Stage, accept, begin_deletion, check, check_update, continue_deletion, end_deletion, fill, is_accepted,
    refuse_unsupported, resources, stage,
};
use crate::resource::Resource;
use crate::schema::Schema;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// One version of a CustomResourceDefinition.
pub(crate) struct Custom {
    /// Name of the definition, `plural.group`.
    pub(crate) definition: &'static str,
    /// Read for pruning, defaults and merging; with the fields every object has.
    pub(crate) schema: Schema,
    /// The schema as it was given.
    given: Value,
    /// Made when an object is first validated.
    validator: OnceLock<Option<jsonschema::Validator>>,
    pub(crate) selectable_fields: Vec<&'static str>,
    /// The version objects are said to be stored in.
    pub(crate) storage_version: &'static str,
    /// Name and path of each column beside the object's name.
    columns: Vec<(String, String)>,
    pub(crate) scale: Option<ScalePaths>,
    /// The definition is being deleted: nothing is created any more.
    pub(crate) terminating: bool,
    /// Said with every answer of a deprecated version.
    pub(crate) deprecation: Option<String>,
}

/// Where the scale subresource finds its numbers, as JSON pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    pub(crate) replicas: String,
    pub(crate) status_replicas: String,
    pub(crate) selector: Option<String>,
}

impl std::fmt::Debug for Custom {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Custom").field("definition", &self.definition).finish_non_exhaustive()
    }
}

impl Custom {
    /// The name of this version's definition in OpenAPI: the group's parts reversed, the version, the kind.
    pub(crate) fn definition_name(&self, resource: &Resource) -> String {
        let mut parts: Vec<&str> = resource.group.split('.').rev().collect();
        parts.extend([resource.version, resource.kind]);
        parts.join(".")
    }

    /// The schemas of OpenAPI that this version adds: the kind's and its list's.
    pub(crate) fn published(&self, resource: &Resource) -> Map<String, Value> {
        let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{META}.{name}")});
        let kinds = |kind: &str| json!([{"group": resource.group, "version": resource.version, "kind": kind}]);
        let name = self.definition_name(resource);
        let mut own = definition::without_descriptions(self.given.clone());
        if own.get("properties").is_some() || own.get("x-kubernetes-preserve-unknown-fields").is_none() {
            for field in ["apiVersion", "kind"] {
                own["properties"][field] = json!({"type": "string"});
            }
            own["properties"]["metadata"] = reference("ObjectMeta");
        }
        own["x-kubernetes-group-version-kind"] = kinds(resource.kind);
        let list = json!({
            "type": "object", "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": reference("ListMeta"),
                "items": {"type": "array", "items": {"$ref": format!("#/components/schemas/{name}")}},
            },
            "x-kubernetes-group-version-kind": kinds(resource.list_kind),
        });
        let list_name = format!("{name}List");
        [(name, own), (list_name, list)].into_iter().collect()
    }
}

/// The order of versions: `v2` before `v1` before `v1beta2` before `v1beta1` before `v1alpha1`, and others by name after them.
pub(crate) fn by_priority(a: &str, b: &str) -> Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major, minor.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, tail) = rest.split_at(end);
    let major = major.parse().ok()?;
    match tail {
        "" => Some((2, major, 0)),
        _ => {
            let (stability, minor) = match tail.strip_prefix("beta") {
                Some(minor) => (1, minor),
                None => (0, tail.strip_prefix("alpha")?),
            };
            Some((stability, major, minor.parse().ok()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_before_betas_and_high_numbers_before_low_ones() {
        let mut versions = ["v1alpha1", "foo", "v1", "v11beta2", "v10", "v2", "v1beta1"];
        versions.sort_by(|a, b| by_priority(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v11beta2", "v1beta1", "v1alpha1", "foo"]);
    }
}
