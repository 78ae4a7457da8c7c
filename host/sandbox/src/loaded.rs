//! A plugin that is ready: compiled, checked against the contract, not running.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentExtern, ComponentItem};

use crate::bindings::ReconcilerPre;
use crate::bindings::policy::LockPolicyPre;
use crate::bindings::task::TaskPre;
use crate::common::{Common, Limit};
use crate::errors::{InstantiateError, LoadError};
use crate::guest::GuestState;
use crate::imports::{CONTRACT_VERSION, Imports};
use crate::instance::Instance;
use crate::kill::KillSwitch;
use crate::limits::InstanceLimits;
use crate::port::Host;
use crate::sandbox::Shared;
use crate::words::{NAME_CHARS_MAX, SENTENCE_CHARS_MAX, readable};

/// Exports that are named where a plugin has the wrong ones; whoever built it recognises it by the first few.
const EXPORTS_NAMED_MAX: usize = 8;

/// What a plugin is for: the world of the contract it is a component of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// `reconciler`: called for objects, on the leader.
    Reconciler,
    /// `lock-policy`: asked about the lock, on every replica.
    LockPolicy,
    /// `task`: run once a term, on the leader.
    Task,
}

/// A component whose imports and exports are resolved.
pub(crate) enum ReadyWorld {
    Reconciler(ReconcilerPre<GuestState>),
    LockPolicy(LockPolicyPre<GuestState>),
    Task(TaskPre<GuestState>),
}

/// A loaded plugin. Keeps the engine alive.
pub struct Loaded {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ready: ReadyWorld,
    pub(crate) common: Arc<Common>,
    digest: String,
    imports: Imports,
    wrapped: bool,
    from_cache: bool,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("digest", &self.digest)
            .field("imports", &self.imports)
            .field("wrapped", &self.wrapped)
            .field("from_cache", &self.from_cache)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    pub(crate) fn new(
        shared: Arc<Shared>,
        digest: String,
        component: &Component,
        wrapped: bool,
        from_cache: bool,
    ) -> Result<Self, LoadError> {
        let component_type = component.component_type();
        let imports = Imports::of(component_type.imports(&shared.engine).map(|(name, _)| name))?;
        let instantiable = shared.linker.instantiate_pre(component).map_err(|error| LoadError::WrongImport {
            contract: CONTRACT_VERSION,
            message: readable(&format!("{error:#}"), SENTENCE_CHARS_MAX),
        })?;
        let exports: Vec<_> = component_type.exports(&shared.engine).collect();
        let world = World::ALL.into_iter().find(|world| has_function(&exports, world.export()));
        if world == Some(World::LockPolicy)
            && let Some(import) = imports.beyond_a_policy.first()
        {
            return Err(LoadError::PolicyActs { import: readable(import, NAME_CHARS_MAX) });
        }
        let ready = match world {
            Some(World::LockPolicy) => LockPolicyPre::new(instantiable).map(ReadyWorld::LockPolicy),
            Some(World::Task) => TaskPre::new(instantiable).map(ReadyWorld::Task),
            Some(World::Reconciler) | None => ReconcilerPre::new(instantiable).map(ReadyWorld::Reconciler),
        };
        let ready = ready.map_err(|error| {
            let found = if world.is_some() {
                format!("exports it with other types: {}", readable(&format!("{error:#}"), SENTENCE_CHARS_MAX))
            } else if exports.is_empty() {
                "exports nothing".to_owned()
            } else {
                let named = exports.iter().take(EXPORTS_NAMED_MAX).map(|(name, _)| readable(name, NAME_CHARS_MAX));
                let named = named.collect::<Vec<_>>().join(", ");
                match exports.len().saturating_sub(EXPORTS_NAMED_MAX) {
                    0 => format!("exports {named}"),
                    more => format!("exports {named} and {more} more"),
                }
            };
            LoadError::WrongWorld { contract: CONTRACT_VERSION, found }
        })?;
        Ok(Self { shared, ready, common: Arc::default(), digest, imports, wrapped, from_cache })
    }

    /// SHA-256 of the bytes it was loaded from, 64 hex digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What it is for.
    #[must_use]
    pub fn world(&self) -> World {
        match &self.ready {
            ReadyWorld::Reconciler(_) => World::Reconciler,
            ReadyWorld::LockPolicy(_) => World::LockPolicy,
            ReadyWorld::Task(_) => World::Task,
        }
    }

    /// What it can do, as far as its imports tell.
    #[must_use]
    pub fn imports(&self) -> &Imports {
        &self.imports
    }

    /// Whether it came as a core module and was made a component here.
    #[must_use]
    pub fn wrapped(&self) -> bool {
        self.wrapped
    }

    /// Whether its code came from the code cache.
    #[must_use]
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    /// How often a limit has refused something of this plugin's instances, all together, since it was loaded.
    #[must_use]
    pub fn refused_total(&self, limit: Limit) -> u64 {
        self.common.refused_total(limit)
    }

    /// Linear memory that its instances hold, all together, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.common.memory_bytes()
    }

    /// Processor time that its instances have used, all together, since it was loaded.
    #[must_use]
    pub fn cpu_used(&self) -> Duration {
        self.common.processor.used()
    }

    /// Starts an instance with a host port of its own. `kill` ends it, this moment or any later one.
    ///
    /// # Errors
    /// When the host is full, the plugin needs more than its limits to start, or its start functions trap or take too long.
    pub async fn instantiate(
        self: &Arc<Self>,
        host: Arc<dyn Host>,
        limits: InstanceLimits,
        kill: KillSwitch,
    ) -> Result<Instance, InstantiateError> {
        Instance::start(Arc::clone(self), host, limits, kill).await
    }
}

impl World {
    /// Every world, the one first that a component with the functions of several is taken for.
    const ALL: [Self; 3] = [Self::LockPolicy, Self::Reconciler, Self::Task];

    /// Its name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reconciler => "reconciler",
            Self::LockPolicy => "lock-policy",
            Self::Task => "task",
        }
    }

    /// The function by which it is told from the others.
    const fn export(self) -> &'static str {
        match self {
            Self::Reconciler => "reconcile",
            Self::LockPolicy => "decide",
            Self::Task => "run",
        }
    }
}

fn has_function(exports: &[(&str, ComponentExtern<'_>)], name: &str) -> bool {
    exports.iter().any(|(export, item)| *export == name && matches!(item.ty, ComponentItem::ComponentFunc(_)))
}

/// SHA-256 in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
