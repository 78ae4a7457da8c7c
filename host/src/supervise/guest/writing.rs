//! A guest's wish to write, on its way to the gate: allowed, paid for, and, for a plugin that is fenced by object, with its token.

use std::sync::{Arc, PoisonError};

use serde_json::Value;
use tenure_capability::{Request as Access, Verb};
use tenure_cluster::{GetQuery, Object, PatchKind, ResourceKey, Write, WriteError, WriteVerb, Written};
use tenure_election::Token;
use tenure_sandbox::{DeleteOptions, Error, ObjectRef, WriteOptions};

use super::super::answer;
use super::super::fence::{self, Before, Stamp};
use super::{Guest, Resolved, WriteMade};

/// Where an object says which version of it it is.
const VERSION: &str = "/metadata/resourceVersion";

/// A write before it is built.
pub(super) struct Intent<'a> {
    pub(super) object: &'a ObjectRef,
    pub(super) resolved: Resolved,
    pub(super) options: &'a WriteOptions,
    /// Labels the object would carry afterwards, as far as this write says so.
    pub(super) labels: Vec<(String, String)>,
    pub(super) content: Content,
}

/// What a write says.
pub(super) enum Content {
    Create(Value),
    Replace(Value),
    JsonPatch(Value),
    MergePatch(Value),
    Apply { object: Value, force: bool },
    Delete(DeleteOptions),
}

/// What a write is of.
#[derive(Clone, Copy)]
struct Target<'a> {
    resource: &'a ResourceKey,
    namespace: Option<&'a str>,
    name: &'a str,
}

impl Intent<'_> {
    fn names_are_generated(&self) -> bool {
        matches!(self.content, Content::Create(_)) && self.object.name.ends_with('-')
    }
}

impl Target<'_> {
    /// Events say what happened; fences leave them alone.
    fn is_event(self) -> bool {
        matches!(&*self.resource.group, "" | "events.k8s.io") && self.resource.plural == "events"
    }
}

impl Content {
    const fn verb(&self) -> Verb {
        match self {
            Self::Create(_) => Verb::Create,
            Self::Replace(_) => Verb::Update,
            Self::JsonPatch(_) | Self::MergePatch(_) | Self::Apply { .. } => Verb::Patch,
            Self::Delete(_) => Verb::Delete,
        }
    }

    fn into_write(self, target: Target<'_>, subresource: Option<&str>, dry_run: bool) -> Write {
        let Target { resource, namespace, name } = target;
        let resource = resource.clone();
        let bytes = |value: Value| value.to_string().into();
        let write = match self {
            Self::Create(object) => {
                let write = Write::create(resource, namespace, bytes(object));
                // A subresource such as pods/eviction is created under the object it belongs to.
                if subresource.is_some() { Write { name: Some(name.to_owned()), ..write } } else { write }
            }
            Self::Replace(object) => Write::replace(resource, namespace, name, bytes(object)),
            Self::JsonPatch(patch) => Write::patch(resource, namespace, name, PatchKind::Json, bytes(patch)),
            Self::MergePatch(patch) => Write::patch(resource, namespace, name, PatchKind::Merge, bytes(patch)),
            Self::Apply { object, force } => Write::apply(resource, namespace, name, bytes(object), force),
            Self::Delete(options) => {
                Write::delete(resource, namespace, name, bytes(answer::delete_options(&options, dry_run)))
            }
        };
        match subresource {
            Some(subresource) => write.with_subresource(subresource),
            None => write,
        }
    }
}

impl Guest {
    /// Everything between a guest's wish to write and the gate.
    pub(super) async fn write(&self, intent: Intent<'_>) -> Result<String, Error> {
        let Resolved { resource, paid } = &intent.resolved;
        let namespace = answer::namespace_of(resource, intent.object)?;
        let subresource = intent.options.subresource.as_deref();
        self.allow(&Access {
            verb: intent.content.verb(),
            group: &resource.group,
            resource: &resource.plural,
            subresource,
            namespace,
            name: (!intent.names_are_generated()).then_some(intent.object.name.as_str()),
            labels_written: &intent.labels,
        })?;
        self.admit(*paid)?;
        let target = Target { resource, namespace, name: &intent.object.name };
        let dry_run = self.is_dry_run(intent.options.dry_run);
        let mut content = self.check_tokens(target, subresource, intent.content).await?;
        if let Some(annotation) = self.ready.fence.as_deref().filter(|_| !target.is_event()) {
            let stamp = Stamp { annotation, term: self.term.live.term() };
            content = self.fenced(stamp, target, subresource, content, dry_run).await?;
        }
        let verb = content.verb();
        let mut write = content.into_write(target, subresource, dry_run);
        if let Some(level) = &intent.options.field_validation {
            write = write.with_field_validation(level);
        }
        let written = self.send(write, dry_run).await?;
        if let (false, Some(version), Some(watch)) = (dry_run, written.version, self.ready.key_for(resource, namespace))
        {
            let made = WriteMade { watch: watch.clone(), version };
            self.writes_made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
        }
        if dry_run && self.ready.dry_run {
            tracing::info!(plugin = self.ready.identity, verb = %verb.as_str(), name = intent.object.name, "dry run: not stored");
        }
        answer::text(&written.bytes)
    }

    /// To the gate, in the plugin's name.
    async fn send(&self, write: Write, dry_run: bool) -> Result<Written, Error> {
        let mut write = write.impersonating(self.ready.impersonated.clone());
        if write.verb != WriteVerb::Delete {
            write = write.with_field_manager(&self.ready.field_manager);
        }
        if dry_run {
            write = write.with_dry_run();
        }
        // Without a writer nothing is led; what runs there imports no writes.
        let writer = self.term.writer.as_ref().ok_or_else(Error::cancelled)?;
        writer.write(write).await.map_err(|error| {
            if let (Some(annotation), WriteError::Status(status)) = (self.ready.fence.as_deref(), &error) {
                let stamp = Stamp { annotation, term: self.term.live.term() };
                if let Some(larger) = stamp.refused_for(status) {
                    self.term.met(Token::RefusedFor(larger));
                }
            }
            answer::write_failed(error)
        })
    }

    /// Whether a write says nothing of other plugins' tokens. A replace has to bring back what is there: it is held against the
    /// object it was made from.
    async fn check_tokens(
        &self,
        target: Target<'_>,
        subresource: Option<&str>,
        content: Content,
    ) -> Result<Content, Error> {
        let own = self.ready.fence.as_deref();
        match &content {
            Content::Create(body) | Content::MergePatch(body) | Content::Apply { object: body, .. } => {
                fence::check_tokens(body, own)?;
            }
            Content::JsonPatch(patch) => fence::check_tokens_of_json_patch(patch)?,
            Content::Replace(body) => {
                let brought = fence::tokens_of_others(body, own);
                if let (Some((key, _)), None | Some("status")) = (brought.first(), subresource) {
                    let version = body.pointer(VERSION).and_then(Value::as_str).ok_or_else(|| fence::not_ours(key))?;
                    let there = self.at_version(target, version).await?;
                    let there: Value = serde_json::from_str(there.json()).map_err(answer::unreadable)?;
                    if fence::tokens_of_others(&there, own) != brought {
                        return Err(fence::not_ours(key));
                    }
                }
            }
            Content::Delete(_) => {}
        }
        Ok(content)
    }

    /// The object as it was at a version, which is the one it has now: any other could not be replaced.
    async fn at_version(&self, target: Target<'_>, version: &str) -> Result<Arc<Object>, Error> {
        let is_it = |object: &Object| object.version.to_string() == version;
        if let Some(cached) = self.seen(target).filter(|object| is_it(object)) {
            return Ok(cached);
        }
        let query = GetQuery { subresource: None, metadata_only: true, impersonated: self.ready.impersonated.clone() };
        let cluster = &self.term.house.cluster;
        let live = cluster.get_live(target.resource, target.namespace, target.name, &query).await;
        let live = live.map_err(answer::api_failed)?;
        if is_it(&live) { Ok(Arc::new(live)) } else { Err(answer::changed_meanwhile(target.name)) }
    }

    /// What the plugin's cache has of an object.
    fn seen(&self, target: Target<'_>) -> Option<Arc<Object>> {
        let key = self.cached_for_get(target.resource, target.namespace)?;
        self.term.house.cluster.hub().get(key, target.namespace, target.name)
    }

    /// What is sent of a write of a plugin that is fenced by object. Each carries the token, or holds for one version only of an
    /// object that carries it: the API server then refuses what comes late from a term before.
    async fn fenced(
        &self,
        stamp: Stamp<'_>,
        target: Target<'_>,
        subresource: Option<&str>,
        mut content: Content,
        dry_run: bool,
    ) -> Result<Content, Error> {
        let seen = self.seen(target);
        let token = seen.as_ref().and_then(|object| fence::token_on(object, stamp.annotation));
        if let Some(larger) = token.filter(|token| *token > stamp.term) {
            self.term.met(Token::OnObject(larger));
            return Err(fence::denied_for(larger, stamp));
        }
        match (&mut content, subresource) {
            (Content::Create(_), None) if target.name.ends_with('-') => {
                return Err(answer::bad_request(
                    "a plugin with fence = \"object\" creates under fixed names only: what a former leader creates under a name made \
                     up by the API server comes beside what its successor has created; give the object a name",
                ));
            }
            (Content::Create(object) | Content::MergePatch(object) | Content::Replace(object), None) => {
                stamp.put_into(object)?;
            }
            (Content::Apply { object, .. }, None) => {
                // As a change of its own, or the token set by another kind of write would conflict with the one applied.
                if token != Some(stamp.term) {
                    match self.touch(stamp, target, None, dry_run).await {
                        Err(error) if error.reason == "NotFound" => {}
                        touched => drop(touched?),
                    }
                }
                stamp.put_into(object)?;
            }
            (Content::JsonPatch(patch), None) => {
                let before = match &seen {
                    Some(object) => fence::before(object),
                    None => {
                        self.touch(stamp, target, None, dry_run).await?;
                        Before::Annotated
                    }
                };
                *patch = stamp.put_into_json_patch(patch, &before)?;
            }
            (Content::Replace(object), Some(subresource @ ("status" | "scale"))) => {
                let version = object.pointer(VERSION).and_then(Value::as_str).map(str::to_owned);
                let touched = self.touch(stamp, target, version.as_deref(), dry_run).await?;
                answer::set_version(object, &touched.version.to_string())?;
                if subresource == "status" {
                    stamp.put_into(object)?;
                }
            }
            (Content::Delete(options), _) => {
                let touched = self.touch(stamp, target, options.resource_version.as_deref(), dry_run).await?;
                options.uid.get_or_insert_with(|| touched.uid.to_string());
                options.resource_version = Some(touched.version.to_string());
            }
            (_, Some(subresource)) => {
                return Err(answer::bad_request(format!(
                    "a plugin with fence = \"object\" writes status and scale by replace, and no other subresource: a fencing token \
                     cannot be put into this write of {subresource}"
                )));
            }
        }
        Ok(content)
    }

    /// Sets the token on an object, and nothing else: from then on the API server refuses smaller ones. Of one version only, where the
    /// plugin says which it means.
    async fn touch(
        &self,
        stamp: Stamp<'_>,
        target: Target<'_>,
        version: Option<&str>,
        dry_run: bool,
    ) -> Result<Object, Error> {
        self.allow(&Access {
            verb: Verb::Patch,
            group: &target.resource.group,
            resource: &target.resource.plural,
            subresource: None,
            namespace: target.namespace,
            name: Some(target.name),
            labels_written: &[],
        })?;
        self.admit(false)?;
        let write = Content::MergePatch(stamp.alone(version)).into_write(target, None, dry_run);
        let written = self.send(write, dry_run).await?;
        Object::parse(&written.bytes).map_err(answer::unreadable)
    }
}
