//! CustomResourceDefinitions themselves: defaults, rules, accepted names and conditions, and the resources one makes.
//!
//! Pure: from a definition's JSON to answers. Who stores what follows is `write::definitions`. Source: apiextensions-apiserver
//! `pkg/apis/apiextensions/{v1,validation}`, `pkg/controller/{status,establish,finalizer}`.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use super::{Custom, ScalePaths, columns, structural};
use crate::metadata;
use crate::registry::{Registry, Served, api_version, intern};
use crate::resource::{Column, GroupVersionKind, Kind, Resource, Subresource, View};
use crate::schema::{OBJECT_META, Schema};
use crate::status::{FieldError, Refusal, Result};
use crate::syntax;

/// Held until the last object of the kind is gone.
const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// The order the API server lists them in.
const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];
const IMMUTABLE: &str = "field is immutable";

/// Where a definition is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Alive,
    /// Being deleted: its objects go, then itself.
    Terminating,
}

pub(crate) fn stage(definition: &Value) -> Stage {
    if metadata::of(definition).is_deleting() { Stage::Terminating } else { Stage::Alive }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn versions(definition: &Value) -> &[Value] {
    list(definition, "/spec/versions")
}

fn storage_version(definition: &Value) -> &str {
    versions(definition).iter().find(|version| version["storage"] == true).map_or("", |version| text(version, "/name"))
}

/// Defaults of a definition (`SetDefaults_CustomResourceDefinitionSpec`), and the version its objects are stored in.
pub(crate) fn fill(definition: &mut Value) {
    let kind = text(definition, "/spec/names/kind").to_owned();
    let names = &mut definition["spec"]["names"];
    if text(names, "/singular").is_empty() {
        names["singular"] = kind.to_lowercase().into();
    }
    if text(names, "/listKind").is_empty() && !kind.is_empty() {
        names["listKind"] = format!("{kind}List").into();
    }
    if definition["spec"].get("conversion").is_none() {
        definition["spec"]["conversion"] = json!({"strategy": "None"});
    }
    let storage = Value::from(storage_version(definition));
    if storage == "" {
        return;
    }
    let stored = &mut definition["status"]["storedVersions"];
    match stored {
        Value::Array(stored) if stored.contains(&storage) => {}
        Value::Array(stored) => stored.push(storage),
        _ => *stored = json!([storage]),
    }
}

/// What is not evaluated here is not accepted either.
pub(crate) fn refuse_unsupported(definition: &Value) -> Result<()> {
    if text(definition, "/spec/conversion/strategy") == "Webhook" {
        let what = "conversion of custom resources by webhooks; use strategy None, or a real API server";
        return Err(Refusal::not_implemented(what));
    }
    for version in versions(definition) {
        if let Some(path) = structural::rule_in(&version["schema"]["openAPIV3Schema"]) {
            let what = format!(
                "CEL: x-kubernetes-validations at {path} of version {:?} would not be evaluated; remove the rules, or use a \
                 real API server",
                text(version, "/name")
            );
            return Err(Refusal::not_implemented(&what));
        }
    }
    Ok(())
}

/// What is wrong with a definition.
pub(crate) fn check(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
    let name = metadata::of(definition).name();
    if name != format!("{plural}.{group}") {
        errors.push(FieldError::invalid_text("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
    }
    let complaints = syntax::dns_subdomain(group);
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if !complaints.is_empty() {
        errors.push(FieldError::invalid_text("spec.group", group, &complaints.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid_text("spec.group", group, "should be a domain with at least one dot"));
    }
    match text(definition, "/spec/scope") {
        "" => errors.push(FieldError::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => errors.push(FieldError::not_supported("spec.scope", other, &["Cluster", "Namespaced"])),
    }
    check_approval(definition, group, &mut errors);
    check_versions(definition, &mut errors);
    let strategy = text(definition, "/spec/conversion/strategy");
    if !["", "None", "Webhook"].contains(&strategy) {
        errors.push(FieldError::not_supported("spec.conversion.strategy", strategy, &["None", "Webhook"]));
    }
    if definition.pointer("/spec/preserveUnknownFields") == Some(&Value::Bool(true)) {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", "true", why));
    }
    check_names(definition, &mut errors);
    if list(definition, "/status/storedVersions").is_empty() {
        errors.push(FieldError::invalid("status.storedVersions", "null", "must have at least one stored version"));
    }
    errors
}

/// Groups of Kubernetes' own community take approved definitions only.
fn check_approval(definition: &Value, group: &str, errors: &mut Vec<FieldError>) {
    const APPROVED: &str = "api-approved.kubernetes.io";
    let protected = ["k8s.io", "kubernetes.io"].iter().any(|own| group == *own || group.ends_with(&format!(".{own}")));
    let approved = definition.pointer("/metadata/annotations").and_then(|annotations| annotations.get(APPROVED));
    if protected && approved.is_none() {
        let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
                   https://github.com/kubernetes/enhancements/pull/1111";
        errors.push(FieldError::required(format!("metadata.annotations[{APPROVED}]"), why));
    }
}

fn check_versions(definition: &Value, errors: &mut Vec<FieldError>) {
    let versions = versions(definition);
    let shown = || if versions.is_empty() { "null".to_owned() } else { Value::from(versions).to_string() };
    let mut names: Vec<&str> = versions.iter().map(|version| text(version, "/name")).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        errors.push(FieldError::invalid("spec.versions", &shown(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &shown(), why));
    }
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let complaints = syntax::dns_label_from_a_letter(text(version, "/name"));
        if !complaints.is_empty() {
            errors.push(FieldError::invalid_text(
                format!("{path}.name"),
                text(version, "/name"),
                &complaints.join(","),
            ));
        }
        if let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str)
            && version["deprecated"] != true
        {
            let why = "can only be set for deprecated versions";
            errors.push(FieldError::invalid_text(format!("{path}.deprecationWarning"), warning, why));
        }
        let schema = version.pointer("/schema/openAPIV3Schema").filter(|schema| schema.is_object());
        match schema {
            None => errors.push(FieldError::required(format!("{path}.schema.openAPIV3Schema"), "")),
            Some(schema) if !is_common(versions, "/schema") => {
                errors.extend(structural::check(&format!("{path}.schema.openAPIV3Schema"), schema));
            }
            Some(schema) if index == 0 => {
                errors.extend(structural::check("spec.validation.openAPIV3Schema", schema));
            }
            Some(_) => {}
        }
        if !is_common(versions, "/additionalPrinterColumns") {
            check_columns(&path, version, errors);
        } else if index == 0 {
            check_columns("spec", version, errors);
        }
        if !is_common(versions, "/subresources") {
            check_scale(&path, version, errors);
        } else if index == 0 {
            check_scale("spec", version, errors);
        }
    }
}

/// Whether all versions say the same there: the API server then speaks of one place for all of them.
fn is_common(versions: &[Value], pointer: &str) -> bool {
    versions.windows(2).all(|pair| pair[0].pointer(pointer) == pair[1].pointer(pointer))
}

fn check_columns(path: &str, version: &Value, errors: &mut Vec<FieldError>) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    for (index, column) in list(version, "/additionalPrinterColumns").iter().enumerate() {
        let path = format!("{path}.additionalPrinterColumns[{index}]");
        if text(column, "/name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        let kind = text(column, "/type");
        let why = format!("must be one of {}", TYPES.join(","));
        if kind.is_empty() {
            errors.push(FieldError::required(format!("{path}.type"), &why));
        } else if !TYPES.contains(&kind) {
            errors.push(FieldError::invalid_text(format!("{path}.type"), kind, &why));
        }
        let json_path = text(column, "/jsonPath");
        if json_path.is_empty() {
            errors.push(FieldError::required(format!("{path}.JSONPath"), ""));
        } else if !columns::is_path(json_path) {
            let why = "is an invalid path, or one that the local cluster does not evaluate";
            errors.push(FieldError::invalid_text(format!("{path}.jsonPath"), json_path, why));
        }
    }
}

fn check_scale(path: &str, version: &Value, errors: &mut Vec<FieldError>) {
    let Some(scale) = version.pointer("/subresources/scale") else { return };
    for (field, below, required) in [
        ("specReplicasPath", &[".spec."][..], true),
        ("statusReplicasPath", &[".status."], true),
        ("labelSelectorPath", &[".spec.", ".status."], false),
    ] {
        let given = scale.get(field).and_then(Value::as_str).unwrap_or_default();
        let path = format!("{path}.subresources.scale.{field}");
        if given.is_empty() {
            if required {
                errors.push(FieldError::required(path, ""));
            }
        } else if !below.iter().any(|below| given.starts_with(below)) {
            let below: Vec<&str> = below.iter().map(|below| below.trim_end_matches('.')).collect();
            let either = if below.len() > 1 { "either " } else { "" };
            let why = format!("should be a json path under {either}{}", below.join(" or "));
            errors.push(FieldError::invalid_text(path, given, &why));
        }
    }
}

fn check_names(definition: &Value, errors: &mut Vec<FieldError>) {
    let names = &definition["spec"]["names"];
    for field in ["plural", "singular", "kind", "listKind"] {
        let path = format!("spec.names.{field}");
        let given = text(names, &format!("/{field}"));
        if given.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let complaints = syntax::dns_label_from_a_letter(&given.to_lowercase()).join(",");
        if field.ends_with("ind") {
            if !complaints.is_empty() {
                let why = format!("may have mixed case, but should otherwise match: {complaints}");
                errors.push(FieldError::invalid_text(path, given, &why));
            }
        } else if !syntax::dns_label_from_a_letter(given).is_empty() {
            errors.push(FieldError::invalid_text(path, given, &syntax::dns_label_from_a_letter(given).join(",")));
        }
    }
    for field in ["shortNames", "categories"] {
        for (index, name) in list(names, &format!("/{field}")).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            let complaints = syntax::dns_label_from_a_letter(name);
            if !complaints.is_empty() {
                let path = format!("spec.names.{field}[{index}]");
                errors.push(FieldError::invalid_text(path, name, &complaints.join(",")));
            }
        }
    }
    let kind = text(names, "/kind");
    if !kind.is_empty() && kind == text(names, "/listKind") {
        errors.push(FieldError::invalid_text("spec.names.listKind", kind, "kind and listKind may not be the same"));
    }
}

/// What must not change once a definition exists.
pub(crate) fn check_update(next: &Value, old: &Value) -> Vec<FieldError> {
    let fixed = ["/spec/group", "/spec/scope", "/spec/names/kind", "/spec/names/plural"];
    let changed = fixed.into_iter().filter(|pointer| text(next, pointer) != text(old, pointer));
    let mut errors: Vec<FieldError> = changed
        .map(|pointer| FieldError::invalid_text(pointer[1..].replace('/', "."), text(next, pointer), IMMUTABLE))
        .collect();
    for (index, stored) in list(next, "/status/storedVersions").iter().enumerate() {
        let stored = stored.as_str().unwrap_or_default();
        if !versions(next).iter().any(|version| text(version, "/name") == stored) {
            let why = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {stored} and removes {stored} from \
                 status.storedVersions"
            );
            errors.push(FieldError::invalid_text(format!("status.storedVersions[{index}]"), stored, &why));
        }
    }
    errors
}

/// The definition with the names that could be accepted and the conditions that follow.
pub(crate) fn accept(served: &Served, definition: &Value, now: &str) -> Value {
    let mut next = definition.clone();
    let spec = &definition["spec"]["names"];
    let group = text(definition, "/spec/group");
    let name = metadata::of(definition).name();
    let others = || {
        let others = served.resources().iter().filter(move |resource| resource.group == group);
        others.filter(move |resource| resource.custom().is_none_or(|custom| custom.definition != name))
    };
    let used = |name: &str| {
        others().any(|resource| {
            resource.plural == name
                || resource.singular == name
                || resource.short_names.iter().any(|short| short == name)
        })
    };
    let used_kind = |kind: &str| others().any(|resource| resource.kind == kind || resource.list_kind == kind);
    let short = list(spec, "/shortNames").iter().filter_map(Value::as_str);
    let checks = [
        ("PluralConflict", vec![text(spec, "/plural")], false),
        ("SingularConflict", vec![text(spec, "/singular")], false),
        ("ShortNamesConflict", short.collect(), false),
        ("KindConflict", vec![text(spec, "/kind")], true),
        ("ListKindConflict", vec![text(spec, "/listKind")], true),
    ];
    let conflict = checks.iter().rev().find_map(|(reason, names, kinds)| {
        let taken = names.iter().find(|name| if *kinds { used_kind(name) } else { used(name) });
        taken.map(|name| (*reason, format!("{name:?} is already in use")))
    });
    let accepted = conflict.is_none();
    let (status, reason, message) = match conflict {
        None => ("True", "NoConflicts", "no conflicts found".to_owned()),
        Some((reason, message)) => ("False", reason, message),
    };
    set_condition(&mut next, "NamesAccepted", [status, reason, &message], now);
    let fields = ["plural", "singular", "shortNames", "kind", "listKind"];
    for (field, (_, names, kinds)) in fields.into_iter().zip(&checks) {
        // Each name that is free is accepted, whatever becomes of the others.
        if names.iter().all(|name| !(if *kinds { used_kind(name) } else { used(name) }))
            && let Some(name) = spec.get(field)
        {
            next["status"]["acceptedNames"][field] = name.clone();
        }
    }
    if let Some(categories) = spec.get("categories") {
        next["status"]["acceptedNames"]["categories"] = categories.clone();
    }
    if accepted {
        set_condition(
            &mut next,
            "Established",
            ["True", "InitialNamesAccepted", "the initial names have been accepted"],
            now,
        );
    } else if !is_established(&next) {
        set_condition(&mut next, "Established", ["False", "NotAccepted", "not all names are accepted"], now);
    }
    next
}

fn is_established(definition: &Value) -> bool {
    list(definition, "/status/conditions").iter().any(|one| one["type"] == "Established" && one["status"] == "True")
}

/// Sets one condition; its time changes with its status only.
fn set_condition(definition: &mut Value, kind: &str, [status, reason, message]: [&str; 3], now: &str) {
    let conditions = &mut definition["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else { return };
    let mut next = json!({
        "type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message,
    });
    match conditions.iter_mut().find(|one| one["type"] == kind) {
        Some(old) => {
            if old["status"] == status {
                next["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = next;
        }
        None => conditions.push(next),
    }
}

/// The deletion of a definition begins: its objects go first.
pub(crate) fn begin_deletion(definition: &mut Value, now: &str) {
    let finalizers = metadata::of_mut(definition).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|one| one == CLEANUP_FINALIZER)
    {
        finalizers.push(CLEANUP_FINALIZER.into());
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_condition(definition, "Terminating", ["True", "InstanceDeletionPending", message], now);
}

/// Objects are being deleted, and some are not gone yet.
pub(crate) fn continue_deletion(definition: &mut Value, now: &str) {
    let message = "CustomResource deletion is in progress";
    set_condition(definition, "Terminating", ["True", "InstanceDeletionInProgress", message], now);
}

/// Whether no other definition has its names.
pub(crate) fn is_accepted(definition: &Value) -> bool {
    let mut conditions = list(definition, "/status/conditions").iter();
    conditions.any(|condition| condition["type"] == "NamesAccepted" && condition["status"] == "True")
}

/// The last object is gone. False if the finalizer was not there.
pub(crate) fn end_deletion(definition: &mut Value, now: &str) -> bool {
    set_condition(definition, "Terminating", ["False", "InstanceDeletionCompleted", "removed all instances"], now);
    let metadata = metadata::of_mut(definition);
    let Some(Value::Array(finalizers)) = metadata.get_mut("finalizers") else { return false };
    let before = finalizers.len();
    finalizers.retain(|one| one != CLEANUP_FINALIZER);
    let removed = finalizers.len() < before;
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    }
    removed
}

/// What an established definition serves: one resource a version, the foremost version first.
pub(crate) fn resources(registry: &Registry, definition: &Value) -> Vec<Arc<Resource>> {
    if !is_established(definition) {
        return Vec::new();
    }
    let mut served: Vec<&Value> = versions(definition).iter().filter(|version| version["served"] == true).collect();
    served.sort_by(|a, b| super::by_priority(text(a, "/name"), text(b, "/name")));
    served.into_iter().map(|version| Arc::new(resource(registry, definition, version))).collect()
}

fn resource(registry: &Registry, definition: &Value, version: &Value) -> Resource {
    let names = &definition["status"]["acceptedNames"];
    let name = |field: &str| intern(names.get(field).and_then(Value::as_str).unwrap_or_default());
    let texts = |pointer: &str| list(names, pointer).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let group = intern(text(definition, "/spec/group"));
    let version_name = intern(text(version, "/name"));
    let collection_name = intern(metadata::of(definition).name());
    let api_version = intern(&api_version(group, version_name));
    let kind = Kind::Custom(Arc::new(custom(definition, version, collection_name)));
    Resource {
        group,
        version: version_name,
        api_version,
        kind: name("kind"),
        list_kind: name("listKind"),
        singular: name("singular"),
        plural: name("plural"),
        short_names: texts("/shortNames"),
        categories: texts("/categories"),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        verbs: VERBS.map(str::to_owned).to_vec(),
        subresources: subresources(version, group, version_name, name("kind")),
        collection: registry.collection(collection_name),
        collection_name,
        view: View::Stored,
        create_on_update: false,
        unconditional_update: false,
        generation: true,
        returns_deleted: false,
        columns: columns_of(version),
        storage_version_hash: "",
        schema: kind.clone(),
        stored_schema: kind,
        recorded_api_version: api_version,
    }
}

fn subresources(version: &Value, group: &str, version_name: &str, kind: &str) -> Vec<Subresource> {
    let own = (group, version_name, kind);
    let known = [("status", own), ("scale", ("autoscaling", "v1", "Scale"))];
    let given = |name: &str| version.pointer(&format!("/subresources/{name}")).is_some_and(|one| !one.is_null());
    known
        .into_iter()
        .filter(|(name, _)| given(name))
        .map(|(name, (group, version, kind))| Subresource {
            name: name.to_owned(),
            answers: GroupVersionKind { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() },
            verbs: SUBRESOURCE_VERBS.map(str::to_owned).to_vec(),
        })
        .collect()
}

fn columns_of(version: &Value) -> Vec<Column> {
    let mut columns = vec![Column("Name".to_owned(), "string".to_owned(), "name".to_owned(), 0)];
    let given = list(version, "/additionalPrinterColumns");
    if given.is_empty() {
        columns.push(Column("Age".to_owned(), "date".to_owned(), String::new(), 0));
    }
    columns.extend(given.iter().map(|column| {
        let field = |pointer: &str| text(column, pointer).to_owned();
        let priority = column.get("priority").and_then(Value::as_i64).and_then(|one| i32::try_from(one).ok());
        Column(field("/name"), field("/type"), field("/format"), priority.unwrap_or(0))
    }));
    columns
}

fn custom(definition: &Value, version: &Value, name: &'static str) -> Custom {
    let given = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
    let mut schema = Schema::parse(&given);
    schema.fields.insert("metadata".to_owned(), Schema::reference(OBJECT_META));
    for field in ["apiVersion", "kind"] {
        schema.fields.insert(field.to_owned(), Schema::parse(&json!({"type": "string"})));
    }
    let selectable = list(version, "/selectableFields").iter();
    let selectable = selectable.map(|field| intern(text(field, "/jsonPath").trim_start_matches('.')));
    let mut columns: Vec<(String, String)> = list(version, "/additionalPrinterColumns")
        .iter()
        .map(|column| (text(column, "/name").to_owned(), text(column, "/jsonPath").to_owned()))
        .collect();
    if columns.is_empty() {
        columns.push(("Age".to_owned(), ".metadata.creationTimestamp".to_owned()));
    }
    let pointer = |path: &str| path.replace('.', "/");
    let scale = version.pointer("/subresources/scale").filter(|scale| scale.is_object()).map(|scale| ScalePaths {
        replicas: pointer(text(scale, "/specReplicasPath")),
        status_replicas: pointer(text(scale, "/statusReplicasPath")),
        selector: scale.get("labelSelectorPath").and_then(Value::as_str).map(pointer),
    });
    let deprecated = (version["deprecated"] == true).then(|| {
        let warning = version.get("deprecationWarning").and_then(Value::as_str).map(str::to_owned);
        warning.unwrap_or_else(|| {
            let (group, kind) = (text(definition, "/spec/group"), text(definition, "/spec/names/kind"));
            let own = text(version, "/name");
            let others =
                versions(definition).iter().filter(|other| other["served"] == true && other["deprecated"] != true);
            let newer = others.map(|other| text(other, "/name")).filter(|other| super::by_priority(other, own).is_lt());
            let instead = newer.min_by(|a, b| super::by_priority(a, b));
            let instead = instead.map(|newer| format!("; use {group}/{newer} {kind}")).unwrap_or_default();
            format!("{group}/{own} {kind} is deprecated{instead}")
        })
    });
    Custom {
        definition: name,
        schema,
        given,
        validator: OnceLock::new(),
        selectable_fields: selectable.collect(),
        storage_version: intern(storage_version(definition)),
        columns,
        scale,
        terminating: stage(definition) == Stage::Terminating,
        deprecation: deprecated,
    }
}

pub(super) fn without_descriptions(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, value)| name != "description" || !value.is_string())
            .map(|(name, value)| (name, without_descriptions(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(without_descriptions).collect(),
        other => other,
    }
}
