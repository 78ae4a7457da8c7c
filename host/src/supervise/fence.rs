//! The object fence in what a plugin writes: where its token is put in, and what no plugin may say of tokens. Pure; what is sent, and
//! in which order, is in `guest.rs`. What the API server makes of tokens is in `deploy/kustomize/components/object-fence`.

use serde_json::{Value, json};
use tenure_cluster::{ApiStatus, Object};
use tenure_election::Term;
use tenure_sandbox::Error;
use tenure_settings::FENCE_PREFIX;

use super::answer::bad_request;

const ANNOTATIONS: &str = "/metadata/annotations";

/// The token that one plugin's writes carry in one term.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp<'a> {
    /// The annotation's name: [`tenure_settings::PluginIdentity::fence`].
    pub(crate) annotation: &'a str,
    pub(crate) term: Term,
}

/// What is known of an object before a JSON patch of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Before {
    /// It has annotations.
    Annotated,
    /// It had none at this version.
    Bare { version: u64 },
}

impl Stamp<'_> {
    /// Puts the token into an object, an apply or a merge patch.
    ///
    /// # Errors
    /// When the body has something there that cannot hold it, or that takes all annotations away.
    pub(crate) fn put_into(self, body: &mut Value) -> Result<(), Error> {
        let cannot = |what: &str| {
            bad_request(format!(
                "{what} is not a JSON object, so that the token of the object fence ({}) cannot be put into it; to take annotations \
                 away, name each with the value null",
                self.annotation
            ))
        };
        let root = body.as_object_mut().ok_or_else(|| cannot("the body"))?;
        let metadata = root.entry("metadata").or_insert_with(|| json!({}));
        let metadata = metadata.as_object_mut().ok_or_else(|| cannot("the body's metadata"))?;
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        let annotations = annotations.as_object_mut().ok_or_else(|| cannot("the body's metadata.annotations"))?;
        annotations.insert(self.annotation.to_owned(), self.value());
        Ok(())
    }

    /// A JSON patch that also sets the token. Where the object has no annotations the patch makes the map first, and holds only for
    /// that version: a map made over another would take what is in it away.
    ///
    /// # Errors
    /// When the patch replaces what the token stands in.
    pub(crate) fn put_into_json_patch(self, patch: &Value, before: &Before) -> Result<Value, Error> {
        let operations = patch.as_array().ok_or_else(|| bad_request("a JSON patch is an array of operations"))?;
        for operation in operations {
            let text = |field: &str| operation.get(field).and_then(Value::as_str).unwrap_or_default();
            let is_above = |path: &str| matches!(path, "" | "/metadata" | ANNOTATIONS);
            let changes = text("op") != "test" && is_above(text("path"));
            let moves = text("op") == "move" && is_above(text("from"));
            if changes || moves {
                return Err(bad_request(format!(
                    "a JSON patch that replaces {:?} takes the token of the object fence ({}) away: add and remove annotations one by \
                     one, below {ANNOTATIONS}, which is there",
                    if changes { text("path") } else { text("from") },
                    self.annotation
                )));
            }
        }
        let mut all = Vec::with_capacity(operations.len() + 3);
        if let Before::Bare { version } = before {
            all.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": version.to_string()}));
            all.push(json!({"op": "add", "path": ANNOTATIONS, "value": {}}));
        }
        all.extend(operations.iter().cloned());
        let path = format!("{ANNOTATIONS}/{}", self.annotation.replace('~', "~0").replace('/', "~1"));
        all.push(json!({"op": "add", "path": path, "value": self.value()}));
        Ok(Value::Array(all))
    }

    /// A merge patch that sets the token and nothing else, of the object as it is or only of one version of it.
    pub(crate) fn alone(self, version: Option<&str>) -> Value {
        let mut metadata = json!({"annotations": {self.annotation: self.value()}});
        if let Some(version) = version {
            metadata["resourceVersion"] = version.into();
        }
        json!({"metadata": metadata})
    }

    /// The larger token for which the API server refused a write with this one, if that is why.
    pub(crate) fn refused_for(self, status: &ApiStatus) -> Option<Term> {
        if status.code != 403 {
            return None;
        }
        // The policy's words: deploy/kustomize/components/object-fence.
        let (_, after) = status.message.split_once(&format!("{} is ", self.annotation))?;
        let digits = after.find(|char: char| !char.is_ascii_digit()).unwrap_or(after.len());
        term(&after[..digits]).filter(|larger| *larger > self.term)
    }

    fn value(self) -> Value {
        self.term.to_string().into()
    }
}

/// The token that stands on an object under this name.
pub(crate) fn token_on(object: &Object, annotation: &str) -> Option<Term> {
    // Cheap where there is none: asked before each write.
    if !object.json().contains(annotation) {
        return None;
    }
    let object: Value = serde_json::from_slice(&object.bytes).ok()?;
    term(object.pointer(ANNOTATIONS)?.get(annotation)?.as_str()?)
}

/// What is known of a cached object before a JSON patch.
pub(crate) fn before(object: &Object) -> Before {
    let json: Option<Value> = serde_json::from_slice(&object.bytes).ok();
    let annotated = json.is_some_and(|json| json.pointer(ANNOTATIONS).is_some_and(Value::is_object));
    if annotated { Before::Annotated } else { Before::Bare { version: object.version } }
}

/// The tokens in a body, but for `own`.
pub(crate) fn tokens_of_others(body: &Value, own: Option<&str>) -> Vec<(String, Value)> {
    let annotations = body.pointer(ANNOTATIONS).and_then(Value::as_object);
    let tokens = annotations.into_iter().flatten().filter(|(key, _)| is_token(key) && Some(key.as_str()) != own);
    tokens.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// # Errors
/// When a new object, a merge patch or an apply says anything of another plugin's token.
pub(crate) fn check_tokens(body: &Value, own: Option<&str>) -> Result<(), Error> {
    tokens_of_others(body, own).first().map_or(Ok(()), |(key, _)| Err(not_ours(key)))
}

/// # Errors
/// When a JSON patch writes a token, or may: the host alone does.
pub(crate) fn check_tokens_of_json_patch(patch: &Value) -> Result<(), Error> {
    for operation in patch.as_array().into_iter().flatten() {
        let text = |field: &str| operation.get(field).and_then(Value::as_str).unwrap_or_default();
        let op = text("op");
        let written = [("path", op != "test"), ("from", op == "move")].into_iter().filter(|(_, writes)| *writes);
        for (field, _) in written {
            let below = text(field).strip_prefix(ANNOTATIONS).and_then(|rest| rest.strip_prefix('/'));
            let key = below.unwrap_or_default().replace("~1", "/").replace("~0", "~");
            if is_token(&key) {
                return Err(not_ours(&key));
            }
        }
        let path = text("path");
        if path == ANNOTATIONS && matches!(op, "move" | "copy") {
            return Err(bad_request(format!("a JSON patch may not {op} onto {path:?}: add annotations one by one")));
        }
        let above = match path {
            "" => ANNOTATIONS,
            "/metadata" => "/annotations",
            ANNOTATIONS => "",
            _ => continue,
        };
        let annotations = operation.get("value").and_then(|value| value.pointer(above)).and_then(Value::as_object);
        if let Some((key, _)) = annotations.into_iter().flatten().find(|(key, _)| op != "test" && is_token(key)) {
            return Err(not_ours(key));
        }
    }
    Ok(())
}

/// The object carries a larger token than this term's.
pub(crate) fn denied_for(larger: Term, stamp: Stamp<'_>) -> Error {
    Error::new(
        "Denied",
        format!(
            "the object carries {} = {larger}, above the running term {}: somebody else wrote it, or it was put there by hand; `tenure \
             fence reset` mends the object",
            stamp.annotation, stamp.term
        ),
    )
}

/// Tokens are set by the host, each plugin's by itself.
pub(crate) fn not_ours(key: &str) -> Error {
    Error::new("Denied", format!("annotation {key} is a fencing token, which only the host sets; leave it out"))
}

fn is_token(key: &str) -> bool {
    key.starts_with(FENCE_PREFIX)
}

/// A token as it is written: a term in plain digits. Anything else is none, as to the policy.
fn term(text: &str) -> Option<Term> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { Term::new(text.parse().ok()?) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "fence.tenure.dev/ours-1";
    const THEIRS: &str = "fence.tenure.dev/theirs-2";

    fn stamp() -> Stamp<'static> {
        Stamp { annotation: OURS, term: Term::new(7).expect("a term") }
    }

    fn patched(mut object: Value, patch: Value) -> Option<Value> {
        let patch: json_patch::Patch = serde_json::from_value(patch).expect("a patch");
        json_patch::patch(&mut object, &patch).ok().map(|()| object)
    }

    #[test]
    fn the_token_of_the_term_stands_in_every_body_whatever_the_plugin_wrote_there() {
        for body in [
            json!({}),
            json!({"metadata": {}}),
            json!({"metadata": {"annotations": {"a": "b"}}}),
            json!({"metadata": {"annotations": {OURS: "99"}}}),
            json!({"metadata": {"annotations": {OURS: null}}}),
        ] {
            let mut stamped = body.clone();
            stamp().put_into(&mut stamped).expect("there is room");
            assert_eq!(stamped["metadata"]["annotations"][OURS], "7", "{body}");
        }
        let mut kept = json!({"metadata": {"annotations": {"a": "b"}}});
        stamp().put_into(&mut kept).expect("there is room");
        assert_eq!(kept["metadata"]["annotations"]["a"], "b");
    }

    #[test]
    fn a_body_that_takes_all_annotations_away_is_refused() {
        for mut body in [
            json!({"metadata": {"annotations": null}}),
            json!({"metadata": null}),
            json!([]),
            json!({"metadata": {"annotations": []}}),
        ] {
            assert!(stamp().put_into(&mut body).is_err(), "{body}");
        }
    }

    #[test]
    fn a_json_patch_sets_the_token_beside_all_annotations_there_are() {
        let operations = json!([{"op": "add", "path": "/data", "value": {"x": "y"}}]);
        let annotated = json!({"metadata": {"annotations": {"a": "b"}}});
        let patch = stamp().put_into_json_patch(&operations, &Before::Annotated).expect("it can be put in");
        let after = patched(annotated, patch).expect("it applies");
        assert_eq!(after, json!({"metadata": {"annotations": {"a": "b", OURS: "7"}}, "data": {"x": "y"}}));

        let patch = stamp().put_into_json_patch(&operations, &Before::Bare { version: 3 }).expect("it can be put in");
        let bare = json!({"metadata": {"resourceVersion": "3"}});
        let after = patched(bare, patch.clone()).expect("it applies");
        assert_eq!(after["metadata"]["annotations"], json!({OURS: "7"}));
        let newer = json!({"metadata": {"resourceVersion": "4", "annotations": {"a": "b"}}});
        assert_eq!(patched(newer, patch), None, "what came in between stays");
    }

    #[test]
    fn a_json_patch_that_replaces_what_the_token_stands_in_is_refused() {
        for operation in [
            json!({"op": "remove", "path": "/metadata/annotations"}),
            json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}),
            json!({"op": "replace", "path": "/metadata", "value": {}}),
            json!({"op": "replace", "path": "", "value": {}}),
            json!({"op": "move", "from": "/metadata/annotations", "path": "/data"}),
        ] {
            let refused = stamp().put_into_json_patch(&json!([operation]), &Before::Annotated);
            assert!(refused.is_err(), "{operation}");
        }
        assert!(stamp().put_into_json_patch(&json!({"op": "add"}), &Before::Annotated).is_err());
        let test = json!([{"op": "test", "path": "/metadata/annotations", "value": {}}]);
        assert!(stamp().put_into_json_patch(&test, &Before::Annotated).is_ok());
    }

    #[test]
    fn no_plugin_writes_another_plugins_token_and_by_json_patch_not_even_its_own() {
        let body = json!({"metadata": {"annotations": {THEIRS: "1"}}});
        assert_eq!(check_tokens(&body, Some(OURS)).expect_err("denied").reason, "Denied");
        let own = json!({"metadata": {"annotations": {OURS: "1"}}});
        assert!(check_tokens(&own, Some(OURS)).is_ok() && check_tokens(&own, None).is_err());
        for operation in [
            json!({"op": "add", "path": "/metadata/annotations/fence.tenure.dev~1theirs-2", "value": "1"}),
            json!({"op": "remove", "path": "/metadata/annotations/fence.tenure.dev~1ours-1"}),
            json!({"op": "move", "from": "/metadata/annotations/fence.tenure.dev~1ours-1", "path": "/data/x"}),
            json!({"op": "add", "path": "/metadata/annotations", "value": {THEIRS: "1"}}),
            json!({"op": "replace", "path": "/metadata", "value": {"annotations": {THEIRS: "1"}}}),
            json!({"op": "replace", "path": "", "value": {"metadata": {"annotations": {THEIRS: "1"}}}}),
            json!({"op": "copy", "from": "/spec/x", "path": "/metadata/annotations"}),
        ] {
            assert!(check_tokens_of_json_patch(&json!([operation])).is_err(), "{operation}");
        }
        for operation in [
            json!({"op": "test", "path": "/metadata/annotations/fence.tenure.dev~1theirs-2", "value": "1"}),
            json!({"op": "add", "path": "/metadata/annotations/fence.tenure.device", "value": "1"}),
            json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}),
        ] {
            assert_eq!(check_tokens_of_json_patch(&json!([operation])), Ok(()), "{operation}");
        }
    }

    #[test]
    fn a_refusal_names_the_larger_token() {
        let refused = |code, message: &str| {
            let status = ApiStatus {
                code,
                reason: "Forbidden".to_owned(),
                message: message.to_owned(),
                retry_after: None,
                json: String::new(),
            };
            stamp().refused_for(&status).map(Term::get)
        };
        let message = |token: &str| format!("denied request: {OURS} is {token} on the object, and this write brings 7");
        assert_eq!(refused(403, &message("12")), Some(12));
        assert_eq!(refused(403, &message("6")), None);
        assert_eq!(refused(403, &message("99999999999999999999")), None);
        assert_eq!(refused(409, &message("12")), None);
        assert_eq!(refused(403, &message("12").replace(OURS, THEIRS)), None);
    }

    #[test]
    fn what_is_no_term_in_plain_digits_is_no_token() {
        let on = |value: &str| {
            let object = json!({"metadata": {"name": "a", "annotations": {OURS: value}}}).to_string();
            token_on(&Object::parse(object.as_bytes()).expect("an object"), OURS).map(Term::get)
        };
        assert_eq!(on("7"), Some(7));
        for value in ["", "0", "07", "+7", "7 ", "1e3", "99999999999999999999", "x"] {
            assert_eq!(on(value), None, "{value}");
        }
    }
}
