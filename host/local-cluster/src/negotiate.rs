//! Which form an answer takes: what `Accept` asks for, among what is served.
//!
//! Only JSON, as objects, tables or metadata. What a client cannot read is a 406, never a guess.

use crate::status::{Refusal, Result};

/// The form of an answer that carries objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects themselves.
    Native,
    /// `Table` of this version of meta.k8s.io: what `kubectl get` prints.
    Table(&'static str),
    /// `PartialObjectMetadata(List)`: no spec, no status, no data.
    Metadata(&'static str, Of),
}

/// What metadata was asked for; the other of the two is refused, where something was asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Object,
    List,
}

/// The form of a discovery document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiscoveryForm {
    /// One document a group version.
    Plain,
    /// One `APIGroupDiscoveryList` of this version of apidiscovery.k8s.io for all of `/api` or `/apis`.
    Aggregated(&'static str),
}

/// The form of the OpenAPI v2 document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenApiForm {
    Json,
    /// The only one kubectl reads.
    Protobuf,
}

/// Content type of [`OpenApiForm::Protobuf`]; clients ask with an `@` before the version, which a content type must not have.
pub(crate) const OPENAPI_V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const OPENAPI_V2_PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Clause<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

fn clauses(accept: &str) -> impl Iterator<Item = Clause<'_>> {
    accept.split(',').filter(|clause| !clause.trim().is_empty()).map(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        Clause { media_type, parameters: parts.filter_map(|part| part.split_once('=')).collect() }
    })
}

fn is_json(media_type: &str) -> bool {
    matches!(media_type, "application/json" | "*/*" | "application/*")
}

/// The media types of the API server's objects.
const SERVED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const YAML: &str = "application/yaml";

fn not_acceptable() -> Refusal {
    Refusal::new(406, "NotAcceptable", format!("only the following media types are accepted: {SERVED}"))
}

/// The API server looks at `Accept` twice: whether any media type in it is one of its own (no partial wildcards), then for a form.
fn refuse_unknown(accept: &str) -> Result<()> {
    let known =
        |clause: Clause<'_>| clause.media_type == "*/*" || SERVED.split(", ").any(|served| served == clause.media_type);
    if accept.trim().is_empty() || clauses(accept).any(known) {
        return Ok(());
    }
    let message = format!("406: Not Acceptable\n\nAvailable representations: {SERVED}");
    Err(Refusal::new(406, "NotAcceptable", message).with_details(serde_json::json!({})))
}

/// Whether the answer is to be written as YAML: it is asked for before anything else that is served.
pub(crate) fn wants_yaml(accept: Option<&str>) -> bool {
    let served = |clause: &Clause<'_>| is_json(clause.media_type) || clause.media_type == YAML;
    clauses(accept.unwrap_or_default()).find(served).is_some_and(|clause| clause.media_type == YAML)
}

/// The first clause of `accept` that can be served. Without an `Accept`, JSON.
pub(crate) fn form(accept: Option<&str>) -> Result<Form> {
    let Some(accept) = accept else { return Ok(Form::Native) };
    refuse_unknown(accept)?;
    if wants_yaml(Some(accept)) {
        return Ok(Form::Native);
    }
    for clause in clauses(accept).filter(|clause| is_json(clause.media_type)) {
        let version = match (clause.parameter("g"), clause.parameter("v")) {
            ("meta.k8s.io", "v1") => "v1",
            ("meta.k8s.io", "v1beta1") => "v1beta1",
            _ if clause.parameter("as").is_empty() => return Ok(Form::Native),
            _ => continue,
        };
        match clause.parameter("as") {
            "" => return Ok(Form::Native),
            "Table" => return Ok(Form::Table(version)),
            "PartialObjectMetadata" => return Ok(Form::Metadata(version, Of::Object)),
            "PartialObjectMetadataList" => return Ok(Form::Metadata(version, Of::List)),
            _ => {}
        }
    }
    if accept.trim().is_empty() { Ok(Form::Native) } else { Err(not_acceptable()) }
}

/// The first clause of `accept` that a discovery root can be served as.
pub(crate) fn discovery_form(accept: Option<&str>) -> Result<DiscoveryForm> {
    let Some(accept) = accept else { return Ok(DiscoveryForm::Plain) };
    for clause in clauses(accept).filter(|clause| is_json(clause.media_type)) {
        match (clause.parameter("as"), clause.parameter("g"), clause.parameter("v")) {
            ("", _, _) => return Ok(DiscoveryForm::Plain),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => return Ok(DiscoveryForm::Aggregated("v2")),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1") => {
                return Ok(DiscoveryForm::Aggregated("v2beta1"));
            }
            _ => {}
        }
    }
    Err(not_acceptable())
}

/// The first clause of `accept` that the OpenAPI v2 document can be served as.
pub(crate) fn openapi_form(accept: Option<&str>) -> Result<OpenApiForm> {
    let Some(accept) = accept else { return Ok(OpenApiForm::Json) };
    for clause in clauses(accept) {
        match clause.media_type {
            OPENAPI_V2_PROTOBUF | OPENAPI_V2_PROTOBUF_ASKED => return Ok(OpenApiForm::Protobuf),
            media_type if is_json(media_type) => return Ok(OpenApiForm::Json),
            _ => {}
        }
    }
    Err(Refusal::new(
        406,
        "NotAcceptable",
        format!("only the following media types are accepted: application/json, {OPENAPI_V2_PROTOBUF}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_is_served_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(form(Some(table)), Ok(Form::Table("v1")));
        assert_eq!(form(Some("application/vnd.kubernetes.protobuf, application/json")), Ok(Form::Native));
        let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(form(Some(metadata)), Ok(Form::Metadata("v1", Of::List)));
        assert_eq!(form(Some("application/json;as=Foo;g=meta.k8s.io;v=v1,*/*")), Ok(Form::Native));
        assert_eq!(form(None), Ok(Form::Native));
    }

    #[test]
    fn what_cannot_be_read_is_not_sent() {
        assert_eq!(form(Some("application/vnd.kubernetes.protobuf")).unwrap_err().code, 406);
    }
}
