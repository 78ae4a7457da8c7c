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

use crate::body::{self, Syntax};
use crate::negotiate;
use crate::query::{Query, WriteOptions};
use crate::read;
use crate::render::{ListMetadata, Renderer};
use crate::resource::Collection;
use crate::respond::{Body, events, json, written};
use crate::route::{ObjectPath, Target, UnservedPath};
use crate::selector::Selector;
use crate::status::{Refusal, Result};
use crate::store::{Origin, Store};
use crate::table::Include;
use crate::watch::{WatchRequest, Watcher};
use crate::write::{self, DeleteOptions, PatchFormat, Preconditions, Writer};

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

/// A kind that is not served: 404 where a cluster without it would say so, 501 where Kubernetes always has it.
pub(crate) fn unserved(path: &UnservedPath) -> Refusal {
    // kubectl describe reads a 404 on these two as "this server has no quotas", which is the truth here.
    let optional = ["limitranges", "resourcequotas"];
    if path.group.is_empty() && optional.contains(&path.resource.as_str()) {
        return Refusal::no_such_resource();
    }
    let qualified = crate::resource::qualified(&path.resource, &path.group);
    Refusal::not_implemented(&format!("{qualified} of version {}", path.version))
}

pub(crate) fn origin(head: &Head, path: &ObjectPath, verb: &'static str) -> Origin {
    let given = head.query.text("fieldManager");
    let from_agent = head.user_agent.split('/').next().unwrap_or_default();
    let field_manager = if given.is_empty() { from_agent } else { given };
    Origin {
        verb,
        resource: path.resource,
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
    let verb = head.verb.ok_or_else(Refusal::method_not_allowed)?;
    let resource = path.resource;
    if let Some(subresource) = &path.subresource {
        let served = resource.subresources.contains(&subresource.as_str());
        if !served {
            return Err(Refusal::not_implemented(&format!("{}/{subresource}", resource.plural)));
        }
        if !matches!(verb, "get" | "update" | "patch") || (subresource == "finalize" && verb != "update") {
            return Err(Refusal::method_not_allowed());
        }
    }
    let include = Include::parse(head.query.text("includeObject"));
    let renderer = Renderer { resource, form: negotiate::form(head.accept().as_deref())?, include };
    let namespace = path.namespace.as_deref();
    let selector = || Selector::parse(resource, head.query.text("labelSelector"), head.query.text("fieldSelector"));
    match (verb, path.name.as_deref()) {
        ("get", Some(name)) => {
            let object = read::get(store, resource, namespace.unwrap_or_default(), name, &head.query)?;
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
        _ => serve_write(store, head, path, body, verb, renderer),
    }
}

fn serve_write(
    store: &Arc<Store>,
    head: &Head,
    path: &ObjectPath,
    body: &Bytes,
    verb: &'static str,
    renderer: Renderer,
) -> Result<Response<Body>> {
    let resource = path.resource;
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
    let checked = || body::read(resource, body, Syntax::of(head.content_type())?, writer.options.validation);
    let answer = match (verb, path.name.as_deref(), deletion) {
        ("create", None, _) => writer.create(checked()?),
        ("update", Some(name), _) => writer.update(name, checked()?),
        ("patch", Some(name), _) => {
            let format = PatchFormat::of(head.content_type())?;
            let force = head.query.get("force").map(|_| head.query.flag("force")).transpose()?;
            writer.patch(name, format, body, force)
        }
        ("delete", Some(name), Some(deletion)) => writer.delete(name, &deletion),
        ("deletecollection", None, Some(deletion)) if resource.collection != Collection::Namespaces => {
            let selector =
                Selector::parse(resource, head.query.text("labelSelector"), head.query.text("fieldSelector"))?;
            let deleted = writer.delete_collection(&selector, &deletion)?;
            let metadata = ListMetadata { version: store.version(), ..ListMetadata::default() };
            write::finish_deletion(store, writer.namespace);
            return Ok(json(StatusCode::OK, renderer.list(&metadata, &deleted)));
        }
        _ => Err(Refusal::method_not_allowed()),
    }?;
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
    Ok(written(&answer, &renderer))
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
            orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")).transpose()?,
            dry_run: query.all("dryRun"),
        }
    } else {
        let value = body::parse_options(body, head.content_type())?;
        serde_json::from_value(value)
            .map_err(|error| Refusal::bad_request(format!("DeleteOptions cannot be read: {error}")))?
    };
    options.validate()?;
    Ok(options)
}
