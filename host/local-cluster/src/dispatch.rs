//! From a request for objects to the verb that serves it.
//!
//! Checks what concerns the request as a whole: subresource, method, parameters, form of the answer. Rules about objects are `read`'s,
//! `watch`'s and `write`'s.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::body::{self, Checked, Syntax};
use crate::negotiate::{self, Form};
use crate::query::{Query, WriteOptions};
use crate::read;
use crate::render::{ListMetadata, Renderer};
use crate::resource::Collection;
use crate::respond::{Body, add_warning, events, json, written};
use crate::route::{ObjectPath, Target, UnservedPath};
use crate::selector::Selector;
use crate::status::{Refusal, Result};
use crate::store::{Origin, Store};
use crate::table::Include;
use crate::watch::{WatchRequest, Watcher};
use crate::write::{self, Answer, Content, DeleteOptions, PatchFormat, Preconditions, Writer};

/// A request's head, taken apart.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) user_agent: String,
    pub(crate) received_at: SystemTime,
    /// The verb of a request for objects; `None` for a method the API does not have.
    pub(crate) verb: Option<&'static str>,
    /// Turns true when the server shuts down.
    pub(crate) closing: Option<watch::Receiver<bool>>,
}

impl Head {
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Accept`, of which there may be several lines.
    pub(crate) fn accept(&self) -> Option<String> {
        let lines: Vec<&str> =
            self.headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok()).collect();
        (!lines.is_empty()).then(|| lines.join(","))
    }

    pub(crate) fn content_type(&self) -> &str {
        self.header(header::CONTENT_TYPE).unwrap_or_default()
    }
}

/// Subresources that kube-apiserver has for some kind, and this server does not implement.
const UNIMPLEMENTED_SUBRESOURCES: [&str; 11] = [
    "approval",
    "attach",
    "binding",
    "ephemeralcontainers",
    "eviction",
    "exec",
    "log",
    "portforward",
    "proxy",
    "resize",
    "token",
];

/// Resources that kube-apiserver has, and this server does not implement.
const UNIMPLEMENTED: [&str; 2] = ["bindings", "componentstatuses"];

/// A kind that is not served: nobody's, if Kubernetes does not have it either. 501 also for versions other than the one served.
pub(crate) fn unserved(store: &Store, path: &UnservedPath) -> Refusal {
    let served = store.registry.served();
    let known = served.resources().iter().filter(|resource| resource.custom().is_none()).any(|resource| {
        resource.group == path.group && resource.plural == path.resource && resource.version != path.version
    });
    let unimplemented = match path.group.as_str() {
        "" => path.version == "v1" && UNIMPLEMENTED.contains(&path.resource.as_str()),
        // Reviews, which are answered and not kept.
        group => ["authentication.k8s.io", "authorization.k8s.io"].contains(&group),
    };
    if unimplemented || (known && !path.group.is_empty()) {
        let qualified = crate::resource::qualified(&path.resource, &path.group);
        return Refusal::not_implemented(&format!("{qualified} of version {}", path.version));
    }
    let has_group = served.resources().iter().any(|resource| resource.group == path.group);
    let is_custom =
        served.resources().iter().any(|resource| resource.group == path.group && resource.custom().is_some());
    if has_group && !is_custom { Refusal::no_such_resource() } else { Refusal::no_such_page() }
}

pub(crate) fn origin(head: &Head, path: &ObjectPath, verb: &'static str) -> Origin {
    let given = head.query.text("fieldManager");
    let from_agent = head.user_agent.split('/').next().unwrap_or_default();
    let field_manager = if given.is_empty() { from_agent } else { given };
    Origin {
        verb,
        resource: Arc::clone(&path.resource),
        subresource: path.subresource.clone(),
        user_agent: head.user_agent.clone(),
        field_manager: if field_manager.is_empty() { "unknown" } else { field_manager }.to_owned(),
        received_at: head.received_at,
    }
}

pub(crate) fn serve_objects(
    store: &Arc<Store>,
    head: &Head,
    path: &ObjectPath,
    body: &Bytes,
) -> Result<Response<Body>> {
    let mut response = serve(store, head, path, body)?;
    if let Some(warning) = path.resource.custom().and_then(|custom| custom.deprecation.as_deref()) {
        add_warning(&mut response, warning);
    }
    Ok(response)
}

fn serve(store: &Arc<Store>, head: &Head, path: &ObjectPath, body: &Bytes) -> Result<Response<Body>> {
    let verb = head.verb.ok_or_else(Refusal::method_not_allowed)?;
    let resource = &path.resource;
    if let Some(sentence) = resource.unserved_because() {
        return Err(Refusal::not_implemented(sentence));
    }
    if let Some(subresource) = &path.subresource {
        if resource.subresource(subresource).is_none() {
            let first = subresource.split('/').next().unwrap_or_default();
            if !UNIMPLEMENTED_SUBRESOURCES.contains(&first) {
                return Err(Refusal::no_such_resource());
            }
            return Err(Refusal::not_implemented(&format!("{}/{subresource}", resource.plural)));
        }
        if !matches!(verb, "get" | "update" | "patch") || (subresource == "finalize" && verb != "update") {
            return Err(Refusal::method_not_allowed());
        }
    }
    let form = negotiate::form(head.accept().as_deref())?;
    let include = match form {
        Form::Table(_) => Include::parse(head.query.text("includeObject"))?,
        Form::Native | Form::Metadata(..) => Include::Metadata,
    };
    let renderer = Renderer { resource: Arc::clone(resource), form, include };
    if verb != "watch" {
        renderer.check_form(matches!(verb, "list" | "deletecollection"))?;
    }
    let namespace = path.namespace.as_deref();
    let selector = || Selector::parse(resource, head.query.text("labelSelector"), head.query.text("fieldSelector"));
    match (verb, path.name.as_deref()) {
        ("get", Some(name)) => {
            let object = read::get(store, resource, namespace.unwrap_or_default(), name, &head.query)?;
            if path.subresource.as_deref() == Some("scale") {
                let scale = write::scale_of(resource, &object.value());
                return Ok(json(StatusCode::OK, Bytes::from(scale.to_string())));
            }
            Ok(json(StatusCode::OK, renderer.object(&object)))
        }
        ("list", _) => {
            let page = read::list(store, resource, namespace, &selector()?, &head.query)?;
            Ok(json(StatusCode::OK, renderer.list(&page.metadata, &page.objects)))
        }
        ("watch", _) => {
            let request = WatchRequest::parse(renderer, path.namespace.clone(), selector()?, &head.query)?;
            Ok(events(Watcher::start(Arc::clone(store), request), head.closing.clone()))
        }
        _ => serve_write(store, head, path, body, verb, &renderer),
    }
}

fn serve_write(
    store: &Arc<Store>,
    head: &Head,
    path: &ObjectPath,
    body: &Bytes,
    verb: &'static str,
    renderer: &Renderer,
) -> Result<Response<Body>> {
    let resource = &path.resource;
    if resource.namespaced && path.namespace.is_none() {
        // Objects of a namespaced kind are written in a namespace.
        return Err(Refusal::method_not_allowed());
    }
    let (options, deletion) = options(head, body, verb)?;
    let writer = Writer {
        store,
        resource,
        namespace: path.namespace.as_deref().unwrap_or_default(),
        subresource: path.subresource.as_deref(),
        options,
        origin: origin(head, path, verb),
        now: Timestamp::now(),
    };
    let checked = || {
        body::read(
            &store.registry.served(),
            resource,
            body,
            Syntax::of(head.content_type())?,
            writer.options.validation,
        )
    };
    // Oddities of an object are told also where it is refused for something else.
    let with_warnings = |write: &dyn Fn(Checked) -> Result<write::Answer>| {
        let checked = checked()?;
        let warnings = checked.warnings.clone();
        write(checked).map_err(|refusal| Refusal { warnings, ..refusal })
    };
    let scale = path.subresource.as_deref() == Some("scale");
    let answer = match (verb, path.name.as_deref(), deletion) {
        ("update", Some(name), _) if scale => writer.put_scale(name, body, Syntax::of(head.content_type())?),
        ("patch", Some(name), _) if scale => writer.patch_scale(name, PatchFormat::of(head.content_type())?, body),
        ("create", None, _) if resource.custom().is_some_and(|custom| custom.terminating) => {
            with_warnings(&|checked| {
                let why = "create not allowed while custom resource definition is terminating";
                Err(Refusal::forbidden(resource, crate::metadata::of(&checked.value).name(), why))
            })
        }
        ("create", None, _) => with_warnings(&|checked| writer.create(checked)),
        ("update", Some(name), _) => with_warnings(&|checked| writer.update(name, checked)),
        ("patch", Some(name), _) => {
            let format = PatchFormat::of(head.content_type())?;
            if format == PatchFormat::Strategic && resource.custom().is_some() {
                return Err(strategic_of_custom());
            }
            let force = head.query.get("force").map(|_| head.query.flag("force"));
            writer.patch(name, format, body, force)
        }
        ("delete", Some(name), Some(deletion)) => writer.delete(name, &deletion),
        ("deletecollection", None, Some(deletion)) if resource.collection != Collection::Namespaces => {
            let selector =
                Selector::parse(resource, head.query.text("labelSelector"), head.query.text("fieldSelector"))?;
            let deleted = writer.delete_collection(&selector, &deletion)?;
            write::after_write(store, resource, None);
            let metadata = ListMetadata { version: store.version(), ..ListMetadata::default() };
            write::finish_deletion(store, writer.namespace);
            write::collect_later(store);
            return Ok(json(StatusCode::OK, renderer.list(&metadata, &deleted)));
        }
        _ => Err(Refusal::method_not_allowed()),
    }?;
    if answer.committed {
        write::after_write(store, resource, written_name(&answer, path));
    }
    match (answer.committed, resource.collection, path.name.as_deref()) {
        (false, _, name) => {
            let entry = writer.origin.entry(None, writer.namespace, name.unwrap_or_default(), answer.code);
            store.audit.record(entry);
        }
        (true, Collection::Namespaces, Some(name)) if verb == "delete" => {
            drop(tokio::spawn(write::delete_content_later(Arc::downgrade(store), name.to_owned())));
        }
        (true, Collection::Namespaces, name) => write::finish_deletion(store, name.unwrap_or_default()),
        (true, ..) => write::finish_deletion(store, writer.namespace),
    }
    write::collect_later(store);
    Ok(written(&answer, renderer))
}

/// Custom resources have no Go types that would say how their lists are merged.
fn strategic_of_custom() -> Refusal {
    Refusal::new(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
         application/merge-patch+json, application/apply-patch+yaml",
    )
}

/// The name of what was written: a create says it in its answer only.
fn written_name<'a>(answer: &'a Answer, path: &'a ObjectPath) -> Option<&'a str> {
    match (&path.name, &answer.content) {
        (Some(name), _) => Some(name),
        (None, Content::Object(object)) => Some(&object.key.name),
        (None, Content::Plain(_)) => None,
    }
}

/// What a write is asked to heed, and for a deletion how it is to delete.
fn options(head: &Head, body: &Bytes, verb: &str) -> Result<(WriteOptions, Option<DeleteOptions>)> {
    let kind = match verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        _ => {
            let deletion = delete_options(head, body)?;
            return Ok((WriteOptions::of_deletion(deletion.is_dry_run()), Some(deletion)));
        }
    };
    Ok((WriteOptions::parse(&head.query, kind)?, None))
}

/// Options of a deletion: the body's; the query's only where there is no body at all.
fn delete_options(head: &Head, body: &Bytes) -> Result<DeleteOptions> {
    let query = &head.query;
    let options = if body.is_empty() {
        DeleteOptions {
            grace_period_seconds: query.number("gracePeriodSeconds")?,
            preconditions: Preconditions::of(query.get("uid"), query.get("resourceVersion")),
            propagation_policy: query.get("propagationPolicy").map(str::to_owned),
            orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
            dry_run: query.all("dryRun"),
        }
    } else {
        let value = body::parse_options(body, head.content_type())?;
        DeleteOptions::check_kind(&value)?;
        serde_json::from_value(value).map_err(|error| Refusal::bad_request(format!("json: {error}")))?
    };
    options.validate()?;
    Ok(options)
}
