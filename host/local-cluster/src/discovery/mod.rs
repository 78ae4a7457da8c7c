//! What this cluster serves, told in the ways clients ask: legacy and aggregated discovery, version, OpenAPI.
//!
//! Derived from the registry of kinds; nothing is listed that is not served.

mod groups;
mod openapi_v2;
mod openapi_v3;

use serde_json::{Value, json};

use self::openapi_v2::{OpenApiV2, openapi_v2};
use crate::negotiate::{self, DiscoveryForm, OPENAPI_V2_PROTOBUF};
use crate::registry::Served;
use crate::resource::Resource;
use crate::status::{Refusal, Result};

/// The Kubernetes minor version whose API is served: that of the tables.
const MINOR: &str = "36";

/// The body of a discovery, version or health path.
pub(crate) enum Document {
    Json(Value),
    /// JSON with a content type of its own.
    Typed(Value, &'static str),
    Text(&'static str),
    /// Of this content type.
    Bytes(Vec<u8>, &'static str),
}

/// Serves a path that is not an object's. `accept` decides between plain and aggregated discovery, and the form of OpenAPI v2.
pub(crate) fn document(served: &Served, path: &str, accept: Option<&str>) -> Result<Document> {
    let form = || negotiate::discovery_form(accept);
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match segments.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => Ok(Document::Text("ok")),
        ["version"] => Ok(Document::Json(version())),
        [] => Ok(Document::Json(json!({"paths": paths(served)}))),
        ["api"] => Ok(match form()? {
            DiscoveryForm::Plain => Document::Json(json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
            })),
            DiscoveryForm::Aggregated(version) => groups::aggregated(served, version, |group| group.is_empty()),
        }),
        ["apis"] => Ok(match form()? {
            DiscoveryForm::Plain => Document::Json(groups::list(served)),
            DiscoveryForm::Aggregated(version) => groups::aggregated(served, version, |group| !group.is_empty()),
        }),
        ["api", version] => groups::resources(served, "", version),
        ["apis", name] => groups::one(served, name),
        ["apis", group, version] => groups::resources(served, group, version),
        ["openapi", "v3"] => Ok(Document::Json(openapi_v3::index(served))),
        ["openapi", "v3", "api", version] => openapi_v3::document(served, "", version),
        ["openapi", "v3", "apis", group, version] => openapi_v3::document(served, group, version),
        ["openapi", "v2"] => Ok(match openapi_v2(negotiate::openapi_form(accept)?, &release()) {
            OpenApiV2::Json(value) => Document::Json(value),
            OpenApiV2::Protobuf(bytes) => Document::Bytes(bytes, OPENAPI_V2_PROTOBUF),
        }),
        _ => Err(Refusal::no_such_resource()),
    }
}

/// The release whose API this is.
fn release() -> String {
    format!("v1.{MINOR}.0")
}

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+tenure-local-cluster"), "gitCommit": "",
        "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn paths(served: &Served) -> Vec<String> {
    let mut paths: Vec<String> =
        ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            .map(str::to_owned)
            .to_vec();
    for resource in served.listed() {
        paths.push(group_version_path(resource));
        if !resource.group.is_empty() {
            paths.push(format!("/apis/{}", resource.group));
        }
    }
    paths.sort();
    paths.dedup();
    paths
}

fn group_version_path(resource: &Resource) -> String {
    if resource.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", resource.api_version) }
}
