//! The plugins this replica knows: what the sources hand out, held against grants, compiled, ready to start. On every
//! replica, leader or not. Owns last-good: a version that is refused leaves the one before in place. What an owner says about
//! running a plugin (suspend, dry run) acts at once, whatever becomes of the code beside it.

mod entitlement;
mod feed;
mod holdings;
mod impersonate;
mod load;
mod ready;
mod reporter;
mod trial;
mod visible;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, StreamExt as _};
use tenure_console::PluginState;
use tenure_plugin_source::{Annotations, Artifact, Origin, SourceEvent, SourceLimits};
use tenure_settings::{PluginIdentity, Settings};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use self::entitlement::Grants;
pub(crate) use self::feed::HubFeed;
use self::holdings::{Holdings, Left};
pub(crate) use self::impersonate::POD_NAME;
use self::load::Refusal;
pub(crate) use self::load::{Loader, as_toml, examine};
pub(crate) use self::ready::{Interest, Ready, ResolvedEnqueue};
pub(crate) use self::reporter::Reporter;
pub(crate) use self::visible::Visible;
use crate::board::Board;
use crate::supervise::Generation;

/// What should run, by identity.
pub(crate) type Wanted = Arc<BTreeMap<String, Arc<Ready>>>;

/// How long a refusal that may mend itself (a kind that is not served yet) waits before it is looked at again.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// Follows the sources and keeps [`Wanted`] true.
pub(crate) struct Catalog {
    loader: Arc<Loader>,
    board: Arc<Board>,
    reporter: Reporter,
    sources: SelectAll<BoxStream<'static, SourceEvent>>,
    /// Sources that have not handed out everything they had at the start.
    unsynced: usize,
    /// Plugins whose first load has not ended. Nothing is added once the sources have handed out what they had.
    first_loads: BTreeSet<String>,
    /// Whether every plugin that was there at the start has been loaded or refused.
    synced: Arc<AtomicBool>,
    wanted: watch::Sender<Wanted>,
    known: BTreeMap<String, Known>,
    holdings: Holdings,
    loads: JoinSet<LoadEnd>,
    generation: Generation,
    grants: watch::Receiver<Grants>,
}

/// One plugin, as its source has it.
struct Known {
    identity: PluginIdentity,
    artifact: Option<Artifact>,
    origin: Origin,
    /// The load under way or last done; the end of an older one counts for nothing.
    generation: Generation,
    /// A load is under way; a newer artifact waits for its end, so that a row of edits costs two compiles, not one each.
    loading: bool,
    stale: bool,
    /// Why its newest version does not run.
    refusal: Option<Refusal>,
    /// That the source said so, of something newer than `artifact`: no load of that one takes it back.
    refused_by_source: bool,
}

type LoadEnd = (String, Generation, Result<Ready, Refusal>);

impl Catalog {
    /// A catalog over the sources that `settings` names, and what it will hand to the supervisor.
    pub(crate) fn new(
        settings: &Settings,
        loader: Loader,
        board: Arc<Board>,
        reporter: Reporter,
        synced: Arc<AtomicBool>,
    ) -> (Self, watch::Receiver<Wanted>) {
        let limits = SourceLimits { artifact_bytes_max: settings.limits.artifact_bytes_max };
        let mut sources = SelectAll::new();
        for namespace in &settings.plugins.namespaces {
            let feed = Arc::new(HubFeed::new(loader.cluster(), namespace));
            sources.push(tenure_plugin_source::config_maps(feed, limits).boxed());
        }
        if let Some(directory) = &settings.plugins.directory {
            sources.push(tenure_plugin_source::directory(directory.clone(), limits).boxed());
        }
        let (wanted, receiver) = watch::channel(Wanted::default());
        let catalog = Self {
            unsynced: sources.len(),
            holdings: Holdings::new(loader.cluster()),
            grants: loader.grants.clone(),
            loader: Arc::new(loader),
            board,
            reporter,
            sources,
            first_loads: BTreeSet::new(),
            synced,
            wanted,
            known: BTreeMap::new(),
            loads: JoinSet::new(),
            generation: 0,
        };
        (catalog, receiver)
    }

    /// Never returns while the process is to go on.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut retry = tokio::time::interval(RETRY_EVERY);
        self.note_synced();
        loop {
            tokio::select! {
                Some(event) = self.sources.next() => self.handle_source(event),
                Some(ended) = self.loads.join_next() => self.handle_load(ended?),
                became_leader = self.reporter.became_leader() => {
                    if !became_leader {
                        return Ok(());
                    }
                    self.report_again();
                }
                _ = retry.tick() => {
                    self.retry();
                    self.count_held();
                }
                Ok(()) = self.grants.changed() => self.regrant(),
            }
        }
    }

    fn handle_source(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Present(artifact) => self.present(artifact),
            SourceEvent::Refused { identity, origin, error } => {
                self.enter(&identity, &origin).refused_by_source = true;
                self.refuse(identity.as_str(), Refusal::for_good(error.full()));
            }
            SourceEvent::Gone(identity) => {
                tracing::info!(plugin = %identity, "plugin removed");
                self.known.remove(identity.as_str());
                let may_hold = self.holdings.gone(identity.as_str());
                self.want(identity.as_str(), None);
                if may_hold {
                    self.board.set_loaded(identity.as_str(), PluginState::Removing, None);
                    self.count_held();
                } else {
                    self.board.forget(identity.as_str());
                }
                self.end_first_load(identity.as_str());
            }
            SourceEvent::Synced => {
                self.unsynced = self.unsynced.saturating_sub(1);
                self.note_synced();
            }
            SourceEvent::Failing(message) => {
                tracing::warn!(message, "a plugin source cannot be read; what it gave stays")
            }
        }
    }

    fn note_synced(&self) {
        if self.unsynced == 0 && self.first_loads.is_empty() {
            self.synced.store(true, Ordering::SeqCst);
        }
    }

    /// It runs, rests, is refused or gone: this replica does not have to wait for it any more.
    fn end_first_load(&mut self, identity: &str) {
        if self.first_loads.remove(identity) {
            self.note_synced();
        }
    }

    fn enter(&mut self, identity: &PluginIdentity, origin: &Origin) -> &mut Known {
        self.board.enter(identity.as_str(), &identity.key());
        if self.unsynced > 0 && !self.known.contains_key(identity.as_str()) {
            self.first_loads.insert(identity.as_str().to_owned());
        }
        let known = self.known.entry(identity.as_str().to_owned()).or_insert_with(|| Known {
            identity: identity.clone(),
            artifact: None,
            origin: origin.clone(),
            generation: 0,
            loading: false,
            stale: false,
            refusal: None,
            refused_by_source: false,
        });
        known.origin = origin.clone();
        known
    }

    fn present(&mut self, artifact: Artifact) {
        let identity = artifact.identity.as_str().to_owned();
        let Annotations { suspend, dry_run, finish } = artifact.annotations;
        let running = self.wanted.borrow().get(&identity).cloned();
        let is_running = running.as_ref().is_some_and(|running| running.is_made_of(&artifact));
        let known = self.enter(&artifact.identity, &artifact.origin);
        known.refused_by_source = false;
        let (digest, name) = (artifact.digest.clone(), artifact.manifest.name.clone());
        known.artifact = Some(artifact);
        match running {
            _ if suspend => self.suspend(&identity, digest, name),
            Some(running) if is_running => self.take_again(&identity, &running, (dry_run, finish)),
            // Nothing of this plugin is to be stored, or begun, from now on, also if its new code never comes to run. The way
            // back waits for the new code: what runs now may be what the dry run was for.
            Some(running) if (dry_run && !running.dry_run) || (finish && !running.finishing) => {
                self.rerun(&identity, &running, (dry_run || running.dry_run, finish || running.finishing));
                self.load(&identity);
            }
            _ => self.load(&identity),
        }
    }

    /// Holds a plugin still without looking at its code. The artifact is loaded when its owner lets it go.
    fn suspend(&mut self, identity: &str, digest: String, manifest_name: String) {
        tracing::info!(plugin = identity, "plugin suspended");
        self.supersede_loads(identity);
        self.want(identity, None);
        self.board.set_loaded(identity, PluginState::Suspended, None);
        self.board.update(identity, |status| {
            status.digest = Some(digest);
            status.manifest_name = Some(manifest_name);
        });
        self.end_first_load(identity);
    }

    /// The artifact is the one that runs: only what its owner says about running it can have changed.
    fn take_again(&mut self, identity: &str, running: &Ready, (dry_run, finishing): (bool, bool)) {
        self.supersede_loads(identity);
        if (running.dry_run, running.finishing) == (dry_run, finishing) {
            self.show_ready(identity, running);
        } else {
            self.rerun(identity, running, (dry_run, finishing));
        }
    }

    /// Starts what runs once more, writing for real or not, and only to let go of what it holds or not.
    fn rerun(&mut self, identity: &str, running: &Ready, (dry_run, finishing): (bool, bool)) {
        tracing::info!(plugin = identity, dry_run, finishing, "plugin starts again");
        self.generation += 1;
        let ready = Ready { generation: self.generation, dry_run, finishing, ..running.clone() };
        self.show_ready(identity, &ready);
        self.want(identity, Some(ready));
    }

    /// A load under way or refused is not what is wanted any more.
    fn supersede_loads(&mut self, identity: &str) {
        self.generation += 1;
        if let Some(known) = self.known.get_mut(identity) {
            (known.generation, known.loading, known.stale) = (self.generation, false, false);
            known.refusal = None;
        }
    }

    /// Loads the newest artifact of a plugin, now or when the load under way has ended.
    fn load(&mut self, identity: &str) {
        let Some(known) = self.known.get_mut(identity) else { return };
        let Some(artifact) = known.artifact.clone() else { return };
        if known.loading {
            known.stale = true;
            return;
        }
        self.generation += 1;
        (known.generation, known.loading, known.stale) = (self.generation, true, false);
        let running = self.wanted.borrow().contains_key(identity);
        if !running {
            self.board.set_loaded(identity, PluginState::Loading, None);
        }
        let (loader, identity, generation) = (Arc::clone(&self.loader), identity.to_owned(), self.generation);
        self.loads.spawn(async move {
            let result = loader.load(artifact, generation).await;
            (identity, generation, result)
        });
    }

    fn handle_load(&mut self, (identity, generation, result): LoadEnd) {
        let Some(known) = self.known.get_mut(&identity) else { return };
        if known.generation != generation {
            return;
        }
        known.loading = false;
        if known.stale {
            return self.load(&identity);
        }
        // What the source refused is newer than what was loaded here: that may run, but is not the last word.
        let newer = if known.refused_by_source { known.refusal.clone() } else { None };
        // The grants may have been narrowed since it began.
        let result = result.and_then(|ready| match ready.entitlement.refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(ready),
        });
        match (result, newer) {
            (Ok(ready), None) => {
                known.refusal = None;
                self.accept(&identity, ready);
            }
            (Ok(ready), Some(refusal)) => {
                self.accept(&identity, ready);
                self.refuse(&identity, refusal);
            }
            (Err(refusal), None) => self.refuse(&identity, refusal),
            (Err(refusal), Some(_)) => {
                tracing::debug!(plugin = identity, reason = refusal.message, "an older version is refused too");
            }
        }
        self.end_first_load(&identity);
    }

    fn accept(&mut self, identity: &str, ready: Ready) {
        tracing::info!(
            plugin = identity,
            digest = &ready.loaded.digest()[..12],
            from_cache = ready.loaded.from_cache(),
            writes = ready.loaded.imports().writes,
            inert = ?ready.loaded.imports().inert,
            dry_run = ready.dry_run,
            finishing = ready.finishing,
            "plugin loaded"
        );
        if let Some(known) = self.known.get(identity) {
            self.holdings.runs(&known.identity, &known.origin, &ready);
        }
        self.show_ready(identity, &ready);
        self.want(identity, Some(ready));
    }

    fn show_ready(&self, identity: &str, ready: &Ready) {
        let dry_run = ready.dry_run.then(|| "dry run: nothing it writes is stored".to_owned());
        let finishing = ready.finishing.then(|| "finishing: it only lets go of what carries its finalizer".to_owned());
        let held = self.holdings.left().find(|left| left.identity.as_str() == identity).map(|left| left.message());
        let message = [dry_run, finishing, held].into_iter().flatten().reduce(|all, one| format!("{all}; {one}"));
        self.board.set_loaded(identity, PluginState::Ready, message);
        self.board.update(identity, |status| {
            status.digest = Some(ready.loaded.digest().to_owned());
            status.granted_by = Some(ready.entitlement.granted_by());
            status.manifest_name = Some(ready.manifest.name.clone());
        });
    }

    /// The grants have changed. What they cover no longer ends, refused whole: from here on its calls are denied anyway. What
    /// was refused for want of a grant is looked at again.
    fn regrant(&mut self) {
        let wanted = self.wanted.borrow().clone();
        let mut refused = BTreeSet::new();
        for (identity, ready) in wanted.iter() {
            let Some(refusal) = ready.entitlement.refusal() else {
                let granted_by = ready.entitlement.granted_by();
                self.board.update(identity, |status| status.granted_by = Some(granted_by));
                continue;
            };
            self.want(identity, None);
            if ready.entitlement.is_for_another_conduct() {
                self.load(identity);
                continue;
            }
            self.refuse(identity, refusal);
            let artifact = self.known.get(identity).and_then(|known| known.artifact.as_ref());
            if artifact.is_none_or(|artifact| ready.is_made_of(artifact)) {
                refused.insert(identity.clone());
            }
        }
        let waits =
            |known: &Known| known.loading || known.refusal.as_ref().is_some_and(|refusal| refusal.for_want_of_a_grant);
        let again = self.known.iter().filter(|(identity, known)| waits(known) && !refused.contains(*identity));
        for identity in again.map(|(identity, _)| identity.clone()).collect::<Vec<_>>() {
            self.load(&identity);
        }
    }

    fn refuse(&mut self, identity: &str, refusal: Refusal) {
        let running = self.wanted.borrow().contains_key(identity);
        tracing::warn!(plugin = identity, reason = refusal.message, last_good_stays = running, "plugin refused");
        let message = if running {
            format!("{} (the version before goes on running)", refusal.message)
        } else {
            refusal.message.clone()
        };
        self.board.set_loaded(identity, PluginState::Refused, Some(message));
        if let Some(known) = self.known.get_mut(identity) {
            if known.refusal.as_ref() != Some(&refusal) {
                self.reporter.refused(&known.identity, &known.origin, &refusal.message);
            }
            known.refusal = Some(refusal);
        }
        // A load under way is of an older version; whether that runs meanwhile is worth waiting for.
        if self.known.get(identity).is_none_or(|known| !known.loading) {
            self.end_first_load(identity);
        }
    }

    fn want(&self, identity: &str, ready: Option<Ready>) {
        self.wanted.send_modify(|wanted| {
            let wanted = Arc::make_mut(wanted);
            match ready {
                Some(ready) => {
                    wanted.insert(identity.to_owned(), Arc::new(ready));
                }
                None => {
                    wanted.remove(identity);
                }
            }
        });
    }

    fn retry(&mut self) {
        let passing = |known: &Known| known.refusal.as_ref().is_some_and(|refusal| refusal.may_pass) && !known.loading;
        let again: Vec<_> =
            self.known.iter().filter(|(_, known)| passing(known)).map(|(identity, _)| identity.clone()).collect();
        for identity in again {
            self.load(&identity);
        }
    }

    /// Objects that nobody lets go of, as their number changes.
    fn count_held(&mut self) {
        for left in self.holdings.count() {
            let identity = left.identity.as_str();
            if left.objects > 0 {
                let message = left.message();
                tracing::warn!(plugin = identity, message, "finalizers are left");
                self.reporter.held(&left);
            }
            let running = self.wanted.borrow().get(identity).cloned();
            match (self.known.get(identity), running) {
                (Some(known), Some(running)) if known.refusal.is_none() => self.show_ready(identity, &running),
                (Some(_), _) => {}
                (None, _) if left.objects == 0 => self.board.forget(identity),
                (None, _) => self.board.set_loaded(identity, PluginState::Removing, Some(left.message())),
            }
        }
    }

    /// A new leader says what it refuses and what is held: the one before may have died before it could.
    fn report_again(&self) {
        for left in self.holdings.left() {
            self.reporter.held(&left);
        }
        for known in self.known.values() {
            if let Some(refusal) = &known.refusal {
                self.reporter.refused(&known.identity, &known.origin, &refusal.message);
            }
        }
    }
}
