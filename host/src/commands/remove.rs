//! `tenure plugin remove`: takes a plugin away together with the finalizers that the host set for it. With the rights of whoever
//! types it, and past no host: a host that runs sees it all as any other change.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::discovery::{Discovery, verbs};
use serde_json::json;
use tenure_plugin_source::{CHUNK_LABEL, FINISH_ANNOTATION, PLUGIN_LABEL, SUSPEND_ANNOTATION};
use tenure_settings::PluginIdentity;

use super::{agree, say, unless_nobody_reads};
use crate::cli::RemoveArgs;
use crate::run::kube_config;

/// Objects asked for at once.
const PAGE: u32 = 500;
/// How often is looked whether anything is still held.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Rounds over all kinds until nothing is found: a host may be in the middle of a call for a plugin that was just deleted.
const ROUNDS_MAX: usize = 10;
/// Objects that are shown by name.
const SHOWN_MAX: usize = 10;

/// One object that carries the finalizer.
#[derive(Debug, Clone)]
struct Held {
    resource: ApiResource,
    namespace: Option<String>,
    name: String,
    uid: String,
    deleting: bool,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = self.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let deleting = if self.deleting { " (being deleted)" } else { "" };
        write!(f, "{} {namespace}{}{deleting}", self.resource.kind, self.name)
    }
}

/// A plugin in a cluster.
struct Plugin {
    client: Client,
    identity: PluginIdentity,
    /// Its ConfigMap, if it is one and there.
    head: Option<ConfigMap>,
}

/// Says what is about to be done, asks, and does it.
pub(crate) async fn remove(args: RemoveArgs) -> anyhow::Result<()> {
    let identity = PluginIdentity::parse(&args.identity)?;
    let client = Client::try_from(kube_config(&args.cluster).await?)?;
    let plugin = Plugin::find(client, identity).await?;
    let held = plugin.held().await?;
    if plugin.head.is_none() && held.is_empty() {
        bail!(
            "there is no ConfigMap of plugin {0}, and nothing carries its finalizer {1}",
            args.identity,
            plugin.finalizer()
        );
    }
    let finishes = !args.strip && !held.is_empty();
    if finishes {
        plugin.check_it_can_finish()?;
    }
    let plan = plugin.plan(&held, args.strip);
    if !args.yes {
        agree(&plan).await?;
    }
    if finishes {
        plugin.finish(held, args.timeout).await?;
    }
    let gone = plugin.delete().await?;
    let stripped = if args.strip { plugin.strip().await? } else { 0 };
    unless_nobody_reads(report(&gone, stripped))
}

fn report(gone: &[String], stripped: usize) -> anyhow::Result<()> {
    for config_map in gone {
        say!("deleted ConfigMap {config_map}")?;
    }
    if stripped > 0 {
        say!("took the finalizer off {stripped} objects")?;
    }
    Ok(())
}

impl Plugin {
    async fn find(client: Client, identity: PluginIdentity) -> anyhow::Result<Self> {
        let head = match identity.place() {
            None => None,
            Some((namespace, name)) => {
                let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
                let head =
                    config_maps.get_opt(name).await.with_context(|| format!("cannot read ConfigMap {identity}"))?;
                if let Some(head) = &head
                    && !is_labelled(head, PLUGIN_LABEL)
                {
                    bail!("ConfigMap {identity} is no plugin: it has no label {PLUGIN_LABEL}: \"true\"");
                }
                head
            }
        };
        Ok(Self { client, identity, head })
    }

    fn finalizer(&self) -> String {
        self.identity.finalizer()
    }

    fn plan(&self, held: &[Held], strip: bool) -> String {
        let (identity, finalizer) = (&self.identity, self.finalizer());
        let mut lines = vec![format!("{} objects carry {finalizer}, the finalizer of plugin {identity}.", held.len())];
        lines.extend(held.iter().take(SHOWN_MAX).map(|one| format!("  {one}")));
        if held.len() > SHOWN_MAX {
            lines.push(format!("  ... and {} more", held.len() - SHOWN_MAX));
        }
        let deleted = match (&self.head, self.identity.place()) {
            (Some(_), _) => "The plugin's ConfigMaps are deleted, then the",
            (None, Some(_)) => "The",
            (None, None) => "The plugin's files must be gone from the plugin directory already. The",
        };
        match (strip, held.is_empty()) {
            (false, false) => lines.push(
                "The plugin is called for each of them as if it were deleted, and the finalizer is taken off. Nothing else of \
                 it runs from now on. Then its ConfigMaps are deleted."
                    .to_owned(),
            ),
            (true, _) => lines.push(format!(
                "{deleted} finalizer is taken off without calling the plugin: what it would have cleaned up stays, and objects \
                 that are being deleted go."
            )),
            (false, true) => lines.push("The plugin's ConfigMaps are deleted.".to_owned()),
        }
        lines.join("\n")
    }

    /// # Errors
    /// Where nobody would answer.
    fn check_it_can_finish(&self) -> anyhow::Result<()> {
        let Some(head) = &self.head else {
            bail!(
                "objects carry the finalizer of plugin {}, which has no ConfigMap here and cannot be told to let go of them; \
                 bring it back, or take the finalizer off with --strip",
                self.identity
            );
        };
        if head
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|all| all.get(SUSPEND_ANNOTATION).is_some_and(|on| on == "true"))
        {
            bail!(
                "plugin {} is suspended ({SUSPEND_ANNOTATION}) and lets go of nothing; take the annotation off, or the \
                 finalizers with --strip",
                self.identity
            );
        }
        Ok(())
    }

    /// Has the plugin let go of all it holds.
    async fn finish(&self, mut held: Vec<Held>, limit: Duration) -> anyhow::Result<()> {
        let Some((namespace, name)) = self.identity.place() else { return Ok(()) };
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let wish = Patch::Merge(json!({"metadata": {"annotations": {FINISH_ANNOTATION: "true"}}}));
        config_maps
            .patch(name, &PatchParams::default(), &wish)
            .await
            .with_context(|| format!("cannot annotate ConfigMap {}", self.identity))?;
        let began = Instant::now();
        while !held.is_empty() {
            let mut left = Vec::new();
            for resource in kinds_of(&held) {
                self.find_held(&resource, &mut left).await?;
            }
            if left.is_empty() {
                left = self.held().await?;
            }
            held = left;
            if began.elapsed() > limit && !held.is_empty() {
                bail!(
                    "{} objects carry {} still after {}, among them {}; `tenure status` says how the plugin fares. It goes on \
                     with it while it has the annotation {FINISH_ANNOTATION}; call this again to wait on, or with --strip",
                    held.len(),
                    self.finalizer(),
                    humantime::format_duration(limit),
                    held[0],
                );
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        Ok(())
    }

    /// Deletes head and chunks, old ones too, and names them.
    async fn delete(&self) -> anyhow::Result<Vec<String>> {
        let (Some(_), Some((namespace, name))) = (&self.head, self.identity.place()) else { return Ok(Vec::new()) };
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let chunks = ListParams::default().labels(&format!("{CHUNK_LABEL}=true"));
        let chunks = config_maps.list_metadata(&chunks).await.context("cannot list the plugin's chunks")?;
        let chunks = chunks.items.into_iter().filter_map(|chunk| chunk.metadata.name);
        // The head first: nothing that is left of it is a plugin.
        let all: Vec<_> =
            [name.to_owned()].into_iter().chain(chunks.filter(|chunk| is_chunk_of(name, chunk))).collect();
        for name in &all {
            match config_maps.delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => drop(deleted.with_context(|| format!("cannot delete ConfigMap {namespace}/{name}"))?),
            }
        }
        Ok(all.into_iter().map(|name| format!("{namespace}/{name}")).collect())
    }

    /// Takes the finalizer off everything, and says off how much.
    async fn strip(&self) -> anyhow::Result<usize> {
        let mut stripped = 0;
        for _ in 0..ROUNDS_MAX {
            let held = self.held().await?;
            if held.is_empty() {
                return Ok(stripped);
            }
            for one in held {
                stripped += usize::from(self.strip_one(&one).await.with_context(|| format!("cannot change {one}"))?);
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        bail!("{} comes back again and again: does a host still run the plugin?", self.finalizer())
    }

    /// False where it has to be looked at again.
    async fn strip_one(&self, held: &Held) -> anyhow::Result<bool> {
        let objects = self.objects(&held.resource, held.namespace.as_deref());
        let Some(now) = objects.get_metadata_opt(&held.name).await? else { return Ok(false) };
        let finalizer = self.finalizer();
        let at = now.metadata.finalizers.iter().flatten().position(|present| *present == finalizer);
        let Some(at) = at.filter(|_| now.metadata.uid.as_deref() == Some(&held.uid)) else { return Ok(false) };
        let path = format!("/metadata/finalizers/{at}");
        let patch = json!([
            {"op": "test", "path": "/metadata/uid", "value": held.uid},
            {"op": "test", "path": path, "value": finalizer},
            {"op": "remove", "path": path},
        ]);
        let patch: json_patch::Patch = serde_json::from_value(patch)?;
        match objects.patch_metadata(&held.name, &PatchParams::default(), &Patch::Json::<()>(patch)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Everything that carries the finalizer, of every kind that can be listed.
    async fn held(&self) -> anyhow::Result<Vec<Held>> {
        let discovery =
            Discovery::new(self.client.clone()).run().await.context("cannot learn which kinds there are")?;
        let kinds = discovery.groups().flat_map(|group| group.recommended_resources());
        let mut found = Vec::new();
        for (resource, capabilities) in kinds {
            if capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::PATCH) {
                self.find_held(&resource, &mut found).await?;
            }
        }
        // Some kinds are served by more than one group.
        let by_uid: BTreeMap<String, Held> = found.into_iter().map(|one: Held| (one.uid.clone(), one)).collect();
        Ok(by_uid.into_values().collect())
    }

    async fn find_held(&self, resource: &ApiResource, found: &mut Vec<Held>) -> anyhow::Result<()> {
        let finalizer = self.finalizer();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = self.objects(resource, None).list_metadata(&page).await.with_context(|| {
                format!("cannot list all {}, among which may be objects with {finalizer}", resource.plural)
            })?;
            let held = list.items.into_iter().map(|object| object.metadata);
            let held =
                held.filter(|metadata| metadata.finalizers.iter().flatten().any(|present| *present == finalizer));
            found.extend(held.map(|metadata| Held {
                resource: resource.clone(),
                namespace: metadata.namespace,
                name: metadata.name.unwrap_or_default(),
                uid: metadata.uid.unwrap_or_default(),
                deleting: metadata.deletion_timestamp.is_some(),
            }));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => return Ok(()),
            }
        }
    }

    fn objects(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }
}

/// Each kind once.
fn kinds_of(held: &[Held]) -> Vec<ApiResource> {
    let by_name: BTreeMap<_, _> =
        held.iter().map(|one| ((&one.resource.group, &one.resource.plural), &one.resource)).collect();
    by_name.into_values().cloned().collect()
}

fn is_labelled(config_map: &ConfigMap, label: &str) -> bool {
    config_map.metadata.labels.as_ref().is_some_and(|labels| labels.get(label).is_some_and(|value| value == "true"))
}

/// Whether `tenure plugin pack` gives a chunk of this head such a name.
fn is_chunk_of(head: &str, name: &str) -> bool {
    let parts = name.strip_prefix(head).and_then(|rest| rest.strip_prefix('-')).and_then(|rest| rest.split_once('-'));
    let is_hex = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    parts.is_some_and(|(digest, number)| is_hex(digest) && is_number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_belongs_to_the_head_whose_name_it_begins_with_and_to_no_other() {
        let digest = "0123456789abcdef";
        assert!(is_chunk_of("a", &format!("a-{digest}-0")));
        assert!(is_chunk_of("a-b", &format!("a-b-{digest}-12")));
        let others =
            [format!("a-b-{digest}-0"), format!("a-{digest}"), format!("a-{digest}-x"), "a-0".into(), "a".into()];
        for other in others {
            assert!(!is_chunk_of("a", &other), "{other}");
        }
        let of_longer = format!("a-{digest}-{digest}-0");
        assert!(is_chunk_of(&format!("a-{digest}"), &of_longer) && !is_chunk_of("a", &of_longer));
    }
}
