//! From an artifact to something that can start: grant, limits, code, kinds. Refuses whole, with the reason in one text.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tenure_capability::{Capability, Decision, Protected, Request as Access, Rule, Verb, missing};
use tenure_cluster::{Cluster, FieldSelector, ResolveError, ResourceKey, Selector, WatchKey};
use tenure_plugin_source::Artifact;
use tenure_reconcile::Schedule;
use tenure_sandbox::{InstanceLimits, Kind, Loaded, Sandbox, World};
use tenure_settings::{By, Enqueue, Fence, Limits, Manifest, Recurrence, RunOn, Watch};
use tokio::sync::watch;

use super::entitlement::{Entitlement, Grants};
use super::impersonate::become_account;
use super::ready::{Budgets, Ready, ResolvedEnqueue, ResolvedWatch};
use super::trial;
use super::visible::Visible;
use crate::supervise::{Generation, describe};

/// What is told of a refusal at most, in bytes: it stands in the log, in status and in each answer about it, and quotes what
/// a plugin's manifest says.
const REFUSAL_BYTES_MAX: usize = 16 << 10;

/// Why a plugin does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What, where, how to mend it.
    pub(crate) message: String,
    /// Whether it may mend itself: worth another look later.
    pub(crate) may_pass: bool,
    /// Whether other grants would mend it.
    pub(crate) for_want_of_a_grant: bool,
}

impl Refusal {
    pub(crate) fn for_good(message: impl Into<String>) -> Self {
        Self { message: shortened(message.into()), may_pass: false, for_want_of_a_grant: false }
    }

    pub(crate) fn for_now(message: impl Into<String>) -> Self {
        Self { may_pass: true, ..Self::for_good(message) }
    }

    pub(crate) fn for_want_of_a_grant(message: impl Into<String>) -> Self {
        Self { for_want_of_a_grant: true, ..Self::for_good(message) }
    }
}

fn shortened(mut message: String) -> String {
    if message.len() > REFUSAL_BYTES_MAX {
        let end = message.floor_char_boundary(REFUSAL_BYTES_MAX);
        let cut = message.len() - end;
        message.truncate(end);
        message.push_str(&format!(" ... ({cut} bytes cut)"));
    }
    message
}

/// What loading needs of the house.
pub(crate) struct Loader {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) grants: watch::Receiver<Grants>,
    pub(crate) limits: Limits,
    /// The Pod this process is in.
    pub(crate) pod: Option<String>,
    pub(crate) protected: Protected,
    /// Whether standbys keep their caches filled.
    pub(crate) warm: bool,
}

impl Loader {
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.cluster)
    }

    /// Makes an artifact ready, or says why not.
    pub(crate) async fn load(&self, artifact: Artifact, generation: Generation) -> Result<Ready, Refusal> {
        let manifest = Arc::clone(&artifact.manifest);
        let identity = artifact.identity.as_str();
        let entitlement = Entitlement::new(self.grants.clone(), &artifact);
        if let Some(refusal) = entitlement.refusal() {
            return Err(refusal);
        }
        if entitlement.fence().is_some() {
            check_fence(&manifest.permissions)?;
        }
        // What it may do is what it requests, not what it is granted.
        let capability = Capability::new(manifest.permissions.clone(), self.protected.clone())
            .map_err(|error| Refusal::for_good(describe(&error)))?;
        let impersonated = match entitlement.account() {
            Some(account) => Some(Arc::new(become_account(account, self.pod.as_deref(), &self.cluster).await?)),
            None => None,
        };
        let Examined { loaded, budgets, schedules } =
            examine(&self.sandbox, artifact.wasm.clone(), &manifest, identity, &self.limits).await?;

        let mut watches = Vec::with_capacity(manifest.watches.len());
        for watch in &manifest.watches {
            watches.push(self.resolve(watch, &manifest.permissions, &capability).await?);
        }
        for (number, watch) in manifest.watches.iter().enumerate() {
            let enqueue = watch.enqueue.iter().map(|enqueue| mapping(&watches, number, enqueue));
            watches[number].enqueue = enqueue.collect::<Result<_, _>>()?;
        }
        let mut ready = Ready {
            identity: identity.to_owned(),
            field_manager: artifact.identity.field_manager(),
            finalizer: artifact.identity.finalizer(),
            fence: entitlement.fence().map(|Fence::Object| artifact.identity.fence()),
            generation,
            loaded,
            capability,
            entitlement: Arc::new(entitlement),
            impersonated,
            visible: Visible::Everything,
            watches,
            schedules,
            settings_json: manifest.settings.to_string(),
            manifest,
            dry_run: artifact.annotations.dry_run,
            finishing: artifact.annotations.finish,
            budgets,
            _warm: Arc::default(),
        };
        if let Some(account) = &ready.impersonated {
            ready.visible = Visible::to(Arc::clone(account), ready.watch_keys(), Arc::clone(&self.cluster));
        }
        if self.warm {
            ready._warm = ready.watch_keys().into_iter().map(|key| self.cluster.hub().subscribe(key)).collect();
        }
        Ok(ready)
    }

    async fn resolve(
        &self,
        watch: &Watch,
        requested: &[Rule],
        capability: &Capability,
    ) -> Result<ResolvedWatch, Refusal> {
        let what = format!("{} {}", watch.api_version, watch.kind);
        let resource = self.cluster.resolve(&watch.api_version, &watch.kind).await.map_err(|error| match error {
            ResolveError::InvalidApiVersion { .. } => Refusal::for_good(describe(&error)),
            error => Refusal::for_now(format!("it watches {what}: {}", describe(&error))),
        })?;
        let resource = resource.key;
        let invalid = |problem: String| Refusal::for_good(format!("its watch of {what}: {problem}"));
        let labels = Selector::parse(watch.label_selector.as_deref().unwrap_or_default())
            .map_err(|error| invalid(error.to_string()))?;
        let fields = FieldSelector::parse(watch.field_selector.as_deref().unwrap_or_default())
            .map_err(|error| invalid(error.to_string()))?;
        if let (Some(namespace), false) = (&watch.namespace, resource.namespaced) {
            return Err(invalid(format!("{} is in no namespace; leave out namespace = {namespace:?}", watch.kind)));
        }
        let access = |verb| Access {
            verb,
            group: &resource.group,
            resource: &resource.plural,
            subresource: None,
            namespace: watch.namespace.as_deref(),
            name: None,
            labels_written: &[],
        };
        for verb in [Verb::List, Verb::Watch] {
            if let Decision::Deny(reason) = capability.decide(&access(verb)) {
                return Err(invalid(format!("it needs the verbs list and watch among its permissions: {reason}")));
            }
        }
        if watch.finalizer {
            check_finalizer(&resource, watch.namespace.as_deref(), requested).map_err(invalid)?;
        }
        let granted = capability.filter(&access(Verb::Watch));
        let scopes =
            watch.namespace.clone().map_or_else(|| scopes(&resource, requested), |namespace| vec![Some(namespace)]);
        let keys = scopes.into_iter().map(|namespace| WatchKey { resource: resource.clone(), namespace }).collect();
        let kind = Kind { api_version: watch.api_version.clone(), kind: watch.kind.clone() };
        let finalizer = watch.finalizer;
        Ok(ResolvedWatch { kind, resource, keys, labels, fields, granted, finalizer, enqueue: Vec::new() })
    }
}

/// A mapping of the watch with this number to another of `watches`.
fn mapping(watches: &[ResolvedWatch], number: usize, enqueue: &Enqueue) -> Result<ResolvedEnqueue, Refusal> {
    let (from, to) = (&watches[number], Kind { api_version: enqueue.api_version.clone(), kind: enqueue.kind.clone() });
    let refuse = |problem: &str| {
        let what = format!("{} {}", from.kind.api_version, from.kind.kind);
        let target = format!("{} {}", to.api_version, to.kind);
        Err(Refusal::for_good(format!("its watch of {what}: it cannot enqueue {target}: {problem}")))
    };
    let Some(target) = watches.iter().find(|watch| watch.kind == to) else {
        return refuse("no [[watch]] is for that");
    };
    let resource = target.resource.clone();
    let is_somewhere = |resource: &ResourceKey| resource.namespaced || is_namespace(resource);
    match &enqueue.by {
        By::Namespace if !is_somewhere(&from.resource) => return refuse("what changes is in no namespace"),
        By::Namespace if !is_somewhere(&resource) => return refuse("that is in no namespace"),
        By::Controller | By::Owner if resource.namespaced && !from.resource.namespaced => {
            return refuse("what is in no namespace has no owner in one");
        }
        _ => {}
    }
    let kind = watches.iter().position(|watch| watch.resource == resource).unwrap_or_default();
    Ok(ResolvedEnqueue { kind, resource, by: enqueue.by.clone() })
}

fn is_namespace(resource: &ResourceKey) -> bool {
    resource.group.is_empty() && resource.plural == "namespaces"
}

/// Rules as they are pasted below a `[[grant]]`.
pub(crate) fn as_toml(rules: &[Rule]) -> String {
    let mut text = String::new();
    for rule in rules {
        let separator = if text.is_empty() { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{rule}");
    }
    text
}

/// What is known of a plugin without a cluster and without a grant.
pub(crate) struct Examined {
    /// Its code, which has started once.
    pub(crate) loaded: Arc<Loaded>,
    budgets: Budgets,
    schedules: Vec<Schedule>,
}

/// Everything about a plugin that can be judged without a cluster: what its manifest relies on, its limits and schedules, its
/// code, and whether that starts.
///
/// # Errors
/// Why it would not run on a host with these limits.
pub(crate) async fn examine(
    sandbox: &Arc<Sandbox>,
    wasm: Bytes,
    manifest: &Manifest,
    identity: &str,
    limits: &Limits,
) -> Result<Examined, Refusal> {
    if manifest.run_on == RunOn::All && manifest.watches.iter().any(|watch| watch.finalizer) {
        let why = "run-on = \"all\" and finalizer = true exclude each other: setting a finalizer takes leadership; leave one out";
        return Err(Refusal::for_good(why));
    }
    let limits = limits.tightened_by(&manifest.limits).map_err(|error| Refusal::for_good(describe(&error)))?;
    let schedules = schedules(manifest, identity)?;
    let sandbox = Arc::clone(sandbox);
    // The sandbox compiles one at a time, in a process of its own, and waits for it here.
    let loaded = tokio::task::spawn_blocking(move || sandbox.load(&wasm))
        .await
        .map_err(|error| Refusal::for_good(format!("compiling it failed: {error}")))?
        .map_err(|error| match error.may_pass() {
            true => Refusal::for_now(describe(&error)),
            false => Refusal::for_good(describe(&error)),
        })?;
    if manifest.run_on == RunOn::All && loaded.imports().writes {
        let why = "run-on = \"all\" is for components that cannot write, and this one imports kubernetes-write: several replicas \
                   would write at once; leave the import out, or run it on the leader";
        return Err(Refusal::for_good(why));
    }
    refuse_what_does_not_fit(loaded.world(), manifest)?;
    let budgets = budgets(&limits);
    trial::instantiate(&loaded, budgets.instance.clone()).await?;
    Ok(Examined { loaded, budgets, schedules })
}

/// A manifest has to make work for a reconciler, and must not speak of work that a task never gets.
fn refuse_what_does_not_fit(world: World, manifest: &Manifest) -> Result<(), Refusal> {
    let said = [
        ("[[watch]]", !manifest.watches.is_empty()),
        ("[[schedule]]", !manifest.schedules.is_empty()),
        ("limits.reconcile-timeout", manifest.limits.reconcile_timeout.is_some()),
        ("limits.concurrency", manifest.limits.concurrency_max.is_some()),
    ];
    match (world, said.iter().find(|(_, said)| *said)) {
        (World::Reconciler, _) if manifest.watches.is_empty() && manifest.schedules.is_empty() => {
            let told = "its manifest has neither [[watch]] nor [[schedule]], so nothing would ever call it; add one";
            Err(Refusal::for_good(told))
        }
        (World::Task, Some((key, _))) => Err(Refusal::for_good(format!(
            "its manifest has {key}, and it is a task (world task): run once a term, called for nothing, for as long as it likes; leave that out"
        ))),
        _ => Ok(()),
    }
}

/// Whether the host may set the token of the object fence wherever it has to come before a write that cannot carry it.
fn check_fence(requested: &[Rule]) -> Result<(), Refusal> {
    let covers = |rule: &Rule, verb: Verb| rule.verbs.iter().any(|entry| entry == "*" || entry == verb.as_str());
    let touched = requested.iter().filter_map(|rule| {
        let is_touched = |resource: &&String| match resource.split_once('/') {
            Some((_, "status" | "scale")) => covers(rule, Verb::Update),
            Some(_) => false,
            None => covers(rule, Verb::Delete),
        };
        let objects = rule.resources.iter().filter(is_touched);
        let mut objects: Vec<_> =
            objects.filter_map(|resource| resource.split('/').next().map(str::to_owned)).collect();
        objects.dedup();
        let verbs = vec![Verb::Patch.as_str().to_owned()];
        (!objects.is_empty()).then(|| Rule { resources: objects, verbs, ..rule.clone() })
    });
    let missing = missing(&touched.collect::<Vec<_>>(), requested);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refusal::for_want_of_a_grant(format!(
        "its grant has fence = \"object\", and before a delete and before a write of status or scale the host sets the token on the \
         object, which needs the verb patch; missing among its permissions (in plugin.toml, where each begins with [[permission]]) and \
         in its grant:\n{}",
        as_toml(&missing)
    )))
}

/// Whether the host may set a finalizer, in the plugin's name, on everything that the plugin may watch of a resource, in a
/// namespace or in all.
fn check_finalizer(resource: &ResourceKey, namespace: Option<&str>, requested: &[Rule]) -> Result<(), String> {
    let somewhere = |rule: &&Rule| rule.namespaces.is_empty() != resource.namespaced;
    let patched = watching(resource, requested).filter(somewhere).map(|rule| Rule {
        api_groups: vec![resource.group.clone()],
        resources: vec![resource.plural.clone()],
        verbs: vec![Verb::Patch.as_str().to_owned()],
        namespaces: namespace.map_or_else(|| rule.namespaces.clone(), |namespace| vec![namespace.to_owned()]),
        resource_names: rule.resource_names.clone(),
    });
    let missing = missing(&patched.collect::<Vec<_>>(), requested);
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "finalizer = true needs the verb patch on what it watches; missing among its permissions (in plugin.toml, where each \
         begins with [[permission]]) and in its grant:\n{}",
        as_toml(&missing)
    ))
}

/// The rules that let a plugin watch a resource.
fn watching<'a>(resource: &ResourceKey, rules: &'a [Rule]) -> impl Iterator<Item = &'a Rule> {
    let covers = |list: &[String], word: &str| list.iter().any(|entry| entry == word || entry == "*");
    rules.iter().filter(move |rule| {
        covers(&rule.api_groups, &resource.group)
            && covers(&rule.resources, &resource.plural)
            && covers(&rule.verbs, Verb::Watch.as_str())
    })
}

/// Where to watch: in the namespaces that the plugin's rules name, or everywhere as soon as one of them is a pattern. What
/// a plugin then sees is decided object by object.
fn scopes(resource: &ResourceKey, rules: &[Rule]) -> Vec<Option<String>> {
    let mut namespaces: Vec<&String> = watching(resource, rules).flat_map(|rule| &rule.namespaces).collect();
    namespaces.sort();
    namespaces.dedup();
    if !resource.namespaced || namespaces.is_empty() || namespaces.iter().any(|namespace| namespace.contains('*')) {
        return vec![None];
    }
    namespaces.into_iter().map(|namespace| Some(namespace.clone())).collect()
}

fn schedules(manifest: &Manifest, identity: &str) -> Result<Vec<Schedule>, Refusal> {
    let follow = |(number, recurrence): (usize, &Recurrence)| match recurrence {
        Recurrence::Every(period) => Schedule::every(*period, &format!("{identity}#{number}")),
        Recurrence::Cron { expression, time_zone, catch_up } => Schedule::cron(expression, time_zone, *catch_up),
    };
    let schedules = manifest.schedules.iter().enumerate().map(follow);
    schedules
        .collect::<Result<_, _>>()
        .map_err(|error| Refusal::for_good(format!("[[schedule]]: {}", describe(&error))))
}

fn budgets(limits: &Limits) -> Budgets {
    Budgets {
        instance: InstanceLimits {
            memory_bytes_max: limits.memory_bytes_max,
            table_elements_max: limits.table_elements_max,
            cpu_millis_max: limits.cpu_millis_max,
            request_bytes_max: limits.request_bytes_max,
            response_bytes_max: limits.response_bytes_max,
            log_lines_per_second: limits.log_lines_per_second,
            instantiate_timeout: limits.reconcile_timeout.max(Duration::from_secs(1)),
            ..InstanceLimits::default()
        },
        reconcile_timeout: limits.reconcile_timeout,
        concurrency_max: limits.concurrency_max as usize,
        requests_per_second: NonZeroU32::new(limits.requests_per_second).unwrap_or(NonZeroU32::MIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_quotes_much_is_cut_and_says_so() {
        let refusal = Refusal::for_good("ä".repeat(REFUSAL_BYTES_MAX));
        assert!(refusal.message.len() < REFUSAL_BYTES_MAX + 50, "{} bytes", refusal.message.len());
        assert!(refusal.message.ends_with("ä ... (16384 bytes cut)"));
        assert_eq!(Refusal::for_now("short").message, "short");
    }

    #[test]
    fn a_fence_needs_patch_on_what_is_deleted_and_on_what_has_its_status_written() {
        let rule = |resources: &[&str], verbs: &[&str]| Rule {
            api_groups: vec!["apps".to_owned()],
            resources: resources.iter().map(|&resource| resource.to_owned()).collect(),
            verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
            namespaces: vec!["shop".to_owned()],
            resource_names: Vec::new(),
        };
        let patched = rule(&["deployments"], &["patch"]);
        for needing in
            [rule(&["deployments"], &["delete"]), rule(&["deployments/status", "deployments/scale"], &["update"])]
        {
            let refusal = check_fence(std::slice::from_ref(&needing)).expect_err("patch is missing");
            assert!(
                refusal.message.contains("resources = [\"deployments\"]\nverbs = [\"patch\"]"),
                "{}",
                refusal.message
            );
            assert_eq!(check_fence(&[needing, patched.clone()]), Ok(()));
        }
        for sufficient in [rule(&["*"], &["*"]), rule(&["deployments"], &["get", "create", "update"])] {
            assert_eq!(check_fence(&[sufficient]), Ok(()));
        }
    }

    #[test]
    fn missing_rules_are_toml_to_paste_below_a_grant() {
        let rule = |resource: &str, namespaces: &[&str]| Rule {
            api_groups: vec![String::new()],
            resources: vec![resource.to_owned()],
            verbs: vec!["get".to_owned()],
            namespaces: namespaces.iter().map(|&namespace| namespace.to_owned()).collect(),
            resource_names: Vec::new(),
        };
        let rules = [rule("secrets", &["team-*"]), rule("nodes", &[])];
        let pasted = format!("[[grant]]\nplugin = \"a/b\"\n{}", as_toml(&rules));
        let parsed: toml::Table = toml::from_str(&pasted).expect("TOML");
        let permissions = parsed["grant"][0]["permission"].as_array().expect("permissions");
        assert_eq!(permissions.len(), rules.len(), "{pasted}");
        assert_eq!(permissions[0]["namespaces"][0].as_str(), Some("team-*"));
    }
}
