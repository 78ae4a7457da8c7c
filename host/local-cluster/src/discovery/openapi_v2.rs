//! The OpenAPI v2 document: that there is nothing in it. kubectl reads it before it sends an object of `kind: List`, and
//! checks against the definitions it finds; what it finds none of, it leaves to the server's own field validation.
//!
//! Paths are told in OpenAPI v3 only (`discovery`), schemas nowhere.

use serde_json::{Value, json};

use crate::negotiate::OpenApiForm;

const SWAGGER: &str = "2.0";
const TITLE: &str = "Tenure local cluster";
const DESCRIPTION: &str = "Holds neither paths nor definitions. Paths and their parameters are told in /openapi/v3; the server \
                           validates fields itself.";

/// The same document in either form.
pub(crate) enum OpenApiV2 {
    Json(Value),
    Protobuf(Vec<u8>),
}

/// The document of an API server of this `version`.
pub(crate) fn openapi_v2(form: OpenApiForm, version: &str) -> OpenApiV2 {
    match form {
        OpenApiForm::Json => OpenApiV2::Json(json!({
            "swagger": SWAGGER,
            "info": {"title": TITLE, "version": version, "description": DESCRIPTION},
            "paths": {},
            "definitions": {},
        })),
        OpenApiForm::Protobuf => OpenApiV2::Protobuf(protobuf(version)),
    }
}

/// `openapi.v2.Document` of gnostic's `OpenAPIv2.proto`, whose field numbers these are.
fn protobuf(version: &str) -> Vec<u8> {
    let (mut info, mut document) = (Vec::new(), Vec::new());
    put(&mut info, 1, TITLE.as_bytes());
    put(&mut info, 2, version.as_bytes());
    put(&mut info, 3, DESCRIPTION.as_bytes());
    put(&mut document, 1, SWAGGER.as_bytes());
    put(&mut document, 2, &info);
    put(&mut document, 8, &[]); // paths
    put(&mut document, 9, &[]); // definitions
    document
}

/// Adds a field of text or of a message: wire type 2.
fn put(message: &mut Vec<u8>, number: u8, content: &[u8]) {
    message.push(number << 3 | 2);
    let mut length = content.len();
    while length >= 0x80 {
        message.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_have_their_length_in_two_bytes() {
        let mut message = Vec::new();
        put(&mut message, 3, &[b'x'; 300]);
        assert_eq!(message[..3], [0x1a, 0xac, 0x02]);
        assert_eq!(message.len(), 3 + 300);
    }

    #[test]
    fn empty_messages_are_said() {
        assert!(protobuf("v1").ends_with(&[0x42, 0x00, 0x4a, 0x00]));
    }
}
