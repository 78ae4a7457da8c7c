//! CustomResourceDefinitions and the objects of the kinds they make.

use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::rig::{Events, apply, delete, get, get_as, merge, patch_as, post, put, request, send};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const WIDGETS: &str = "/apis/example.org/v1/namespaces/default/widgets";

pub(crate) fn definition() -> Value {
    let spec = json!({
        "type": "object", "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "replicas": {"type": "integer", "default": 1},
            "color": {"type": "string", "enum": ["red", "green"]},
            "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
            "port": {"x-kubernetes-int-or-string": true},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 3, "items": {"type": "string"}},
            "parts": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object", "required": ["name"],
                    "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
                },
            },
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "opt": {"type": "string", "nullable": true},
            "when": {"type": "string", "format": "date-time"},
        },
    });
    let status = json!({
        "type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                }},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
            }],
        },
    })
}

pub(crate) fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

pub(crate) async fn with_widgets() -> LocalCluster {
    let cluster = LocalCluster::new();
    let (code, created) = post(&cluster, DEFINITIONS, &definition()).await;
    assert_eq!(code, 201, "{created}");
    cluster
}

fn condition<'a>(definition: &'a Value, kind: &str) -> &'a Value {
    let conditions = definition["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|one| one["type"] == kind).unwrap()
}

#[tokio::test]
async fn a_definition_is_established_and_its_kind_served_at_once() {
    let cluster = with_widgets().await;
    let (_, stored) = get(&cluster, &format!("{DEFINITIONS}/widgets.example.org")).await;
    assert_eq!(condition(&stored, "NamesAccepted")["reason"], "NoConflicts");
    assert_eq!(condition(&stored, "Established")["reason"], "InitialNamesAccepted");
    assert_eq!(stored["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(stored["status"]["storedVersions"], json!(["v1"]));
    let (code, created) = post(&cluster, WIDGETS, &widget("w", json!({"size": 1, "color": null, "opt": null}))).await;
    assert_eq!((code, &created["spec"]), (201, &json!({"size": 1, "replicas": 1, "opt": null})));
    assert_eq!(created["metadata"]["generation"], 1);
    assert_eq!(get(&cluster, "/apis/example.org/v1/widgets").await.1["kind"], "WidgetList");
    let (_, table) = get_as(&cluster, WIDGETS, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert_eq!(table["rows"][0]["cells"], json!(["w", 1]));
    assert_eq!(table["columnDefinitions"][1]["name"], "Size");
}

#[tokio::test]
async fn objects_are_validated_in_the_words_of_the_api_server() {
    let cluster = with_widgets().await;
    for (spec, why) in [
        (
            json!({"size": "a"}),
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
        ),
        (json!({}), "spec.size: Required value"),
        (json!({"size": 0}), "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        (json!({"size": 11}), "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"),
        (
            json!({"size": 1, "color": "blue"}),
            "spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\"",
        ),
        (
            json!({"size": 1, "name": "X1"}),
            "spec.name: Invalid value: \"X1\": spec.name in body should match '^[a-z]+$'",
        ),
        (json!({"size": 1, "name": "abcdefgh"}), "spec.name: Too long: may not be more than 5 bytes"),
        (
            json!({"size": 1, "name": "a"}),
            "spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long",
        ),
        (
            json!({"size": 1, "port": true}),
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
        ),
        (json!({"size": 1, "tags": ["a", "a"]}), "spec.tags[1]: Duplicate value: \"a\""),
        (json!({"size": 1, "tags": ["a", "b", "c", "d"]}), "spec.tags: Too many: 4: must have at most 3 items"),
        (
            json!({"size": 1, "parts": [{"name": "a"}, {"name": "a"}]}),
            "spec.parts[1]: Duplicate value: {\"name\":\"a\"}",
        ),
        (
            json!({"size": 1, "when": "soon"}),
            "spec.when: Invalid value: \"soon\": spec.when in body must be of type date-time: \"soon\"",
        ),
    ] {
        let (code, status) = post(&cluster, WIDGETS, &widget("w", spec)).await;
        let expected = format!("Widget.example.org \"w\" is invalid: {why}");
        assert_eq!((code, status["message"].as_str().unwrap()), (422, expected.as_str()));
    }
}

#[tokio::test]
async fn unknown_fields_are_pruned_with_a_warning_or_refused() {
    let cluster = with_widgets().await;
    let object = widget("w", json!({"size": 1, "zzz": 2, "free": {"any": {"thing": 1}}}));
    let (code, status) = post(&cluster, &format!("{WIDGETS}?fieldValidation=Strict"), &object).await;
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.zzz\""
    );
    let response = send(&cluster, request(http::Method::POST, WIDGETS, "application/json", &object)).await;
    assert_eq!(response.headers()["warning"], "299 - \"unknown field \\\"spec.zzz\\\"\"");
    let (_, stored) = get(&cluster, &format!("{WIDGETS}/w")).await;
    assert_eq!(stored["spec"], json!({"size": 1, "replicas": 1, "free": {"any": {"thing": 1}}}));
}

#[tokio::test]
async fn another_kind_or_version_is_refused() {
    let cluster = with_widgets().await;
    let other = json!({"apiVersion": "example.org/v1", "kind": "Other", "metadata": {"name": "w"}});
    let (code, status) = post(&cluster, WIDGETS, &other).await;
    let expected = "Other.example.org \"w\" is invalid: kind: Invalid value: \"Other\": must be Widget";
    assert_eq!((code, status["message"].as_str().unwrap()), (422, expected));
    let (code, status) = post(&cluster, WIDGETS, &json!({"metadata": {"name": "w"}})).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().unwrap().contains("Object 'Kind' is missing in '"), "{status}");
}

#[tokio::test]
async fn status_has_a_door_of_its_own_and_lists_merge_by_their_types() {
    let cluster = with_widgets().await;
    let path = format!("{WIDGETS}/w");
    post(&cluster, WIDGETS, &widget("w", json!({"size": 1}))).await;
    let both = json!({"spec": {"size": 2}, "status": {"replicas": 3}});
    let (_, updated) = merge(&cluster, &path, &both).await;
    assert_eq!((updated.get("status"), &updated["metadata"]["generation"]), (None, &json!(2)));
    let (_, reported) = merge(&cluster, &format!("{path}/status"), &both).await;
    assert_eq!((&reported["status"]["replicas"], &reported["metadata"]["generation"]), (&json!(3), &json!(2)));
    let part = |name: &str| widget("w", json!({"parts": [{"name": name}], "tags": [name]}));
    assert_eq!(apply(&cluster, &path, "one", &part("a")).await.0, 200);
    let (code, both) = apply(&cluster, &path, "two", &part("b")).await;
    assert_eq!((code, &both["spec"]["parts"]), (200, &json!([{"name": "a"}, {"name": "b"}])));
    assert_eq!(both["spec"]["tags"], json!(["a", "b"]));
    let strategic =
        patch_as(&cluster, &path, "application/strategic-merge-patch+json", &json!({"spec": {"size": 3}})).await;
    assert_eq!(strategic.0, 415);
    assert_eq!(
        put(&cluster, &path, &widget("w", json!({"size": 1}))).await.0,
        422,
        "a PUT says which version it replaces"
    );
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_along() {
    let cluster = with_widgets().await;
    let path = format!("{DEFINITIONS}/widgets.example.org");
    let mut held = widget("held", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    post(&cluster, WIDGETS, &held).await;
    post(&cluster, WIDGETS, &widget("w", json!({"size": 1}))).await;
    let mut events =
        Events::open(&cluster, &format!("{DEFINITIONS}?watch=true&resourceVersion={}", cluster.version())).await;
    assert_eq!(delete(&cluster, &path, &Value::Null).await.0, 200);
    // Marked for deletion, and then what that has come to.
    assert_eq!(events.next_line().await, "MODIFIED widgets.example.org");
    assert_eq!(events.next_line().await, "MODIFIED widgets.example.org");
    assert_eq!(get(&cluster, &format!("{WIDGETS}/w")).await.0, 404);
    let (_, definition) = get(&cluster, &path).await;
    assert_eq!(condition(&definition, "Terminating")["reason"], "InstanceDeletionInProgress");
    let (code, status) = post(&cluster, WIDGETS, &widget("late", json!({"size": 1}))).await;
    assert_eq!((code, status["reason"].as_str().unwrap()), (403, "Forbidden"));
    assert_eq!(merge(&cluster, &format!("{WIDGETS}/held"), &json!({"metadata": {"finalizers": null}})).await.0, 200);
    assert_eq!(events.next_line().await, "DELETED widgets.example.org");
    assert_eq!(get(&cluster, WIDGETS).await.0, 404);
    assert_eq!(get(&cluster, "/apis/example.org/v1").await.0, 404);
}

#[tokio::test]
async fn several_versions_show_the_same_object_each_under_its_own_name() {
    let cluster = LocalCluster::new();
    let mut definition = definition();
    let mut second = definition["spec"]["versions"][0].clone();
    second["name"] = "v2beta1".into();
    second["storage"] = false.into();
    second["deprecated"] = true.into();
    definition["spec"]["versions"].as_array_mut().unwrap().push(second);
    assert_eq!(post(&cluster, DEFINITIONS, &definition).await.0, 201);
    post(&cluster, WIDGETS, &widget("w", json!({"size": 1}))).await;
    let path = "/apis/example.org/v2beta1/namespaces/default/widgets/w";
    let (_, object) = get(&cluster, path).await;
    assert_eq!((&object["apiVersion"], &object["spec"]["size"]), (&json!("example.org/v2beta1"), &json!(1)));
    let response = send(&cluster, request(http::Method::GET, path, "", &Value::Null)).await;
    assert_eq!(
        response.headers()["warning"],
        "299 - \"example.org/v2beta1 Widget is deprecated; use example.org/v1 Widget\""
    );
    let (_, group) = get(&cluster, "/apis/example.org").await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
}

#[tokio::test]
async fn a_definition_that_could_not_be_kept_is_refused() {
    let cluster = LocalCluster::new();
    let with_schema = |schema: Value| {
        let mut definition = definition();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema;
        definition
    };
    let spec = |spec: Value| with_schema(json!({"type": "object", "properties": {"spec": spec}}));
    let at = "spec.validation.openAPIV3Schema";
    for (definition, why) in [
        (
            with_schema(json!({"type": "string"})),
            format!("{at}.type: Invalid value: \"string\": must be object at the root"),
        ),
        (spec(json!({"type": "array"})), format!("{at}.properties[spec].items: Required value: must be specified")),
        (
            spec(json!({})),
            format!("{at}.properties[spec].type: Required value: must not be empty for specified object fields"),
        ),
        (
            spec(json!({"type": "object", "anyOf": [{"type": "object"}]})),
            format!("{at}.properties[spec].anyOf[0].type: Forbidden: must be empty to be structural"),
        ),
    ] {
        let (code, status) = post(&cluster, DEFINITIONS, &definition).await;
        let message = status["message"].as_str().unwrap();
        assert_eq!(code, 422);
        assert!(message.ends_with(&format!("\"widgets.example.org\" is invalid: {why}")), "{message}");
    }
    let rules = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.size > 1"}]});
    let (code, status) = post(&cluster, DEFINITIONS, &spec(rules)).await;
    assert_eq!(code, 501);
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("x-kubernetes-validations at properties.spec of version \"v1\""), "{message}");
    assert_eq!(get(&cluster, WIDGETS).await.0, 404);
}

#[tokio::test]
async fn names_that_are_taken_are_not_accepted_twice() {
    let cluster = with_widgets().await;
    let mut other = definition();
    other["metadata"]["name"] = "gadgets.example.org".into();
    other["spec"]["names"] = json!({"plural": "gadgets", "kind": "Widget"});
    assert_eq!(post(&cluster, DEFINITIONS, &other).await.0, 201);
    let (_, stored) = get(&cluster, &format!("{DEFINITIONS}/gadgets.example.org")).await;
    assert_eq!(condition(&stored, "NamesAccepted")["reason"], "ListKindConflict");
    assert_eq!(condition(&stored, "NamesAccepted")["message"], "\"WidgetList\" is already in use");
    assert_eq!(stored["status"]["acceptedNames"], json!({"plural": "gadgets", "kind": ""}));
    assert_eq!(get(&cluster, "/apis/example.org/v1/gadgets").await.0, 404);
}

#[tokio::test]
async fn definitions_and_their_objects_outlive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    {
        let cluster = LocalCluster::builder().data(directory.path()).build().unwrap();
        post(&cluster, DEFINITIONS, &definition()).await;
        post(&cluster, WIDGETS, &widget("w", json!({"size": 4}))).await;
    }
    let cluster = LocalCluster::builder().data(directory.path()).build().unwrap();
    let (code, object) = get(&cluster, &format!("{WIDGETS}/w")).await;
    assert_eq!((code, &object["spec"]["size"]), (200, &json!(4)));
}
