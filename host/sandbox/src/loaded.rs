//! A plugin that is ready: compiled, checked against the contract, not running.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::bindings::ReconcilerPre;
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

/// A loaded plugin. Keeps the engine alive.
pub struct Loaded {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ready: ReconcilerPre<GuestState>,
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
        let ready = ReconcilerPre::new(instantiable).map_err(|error| {
            let exports: Vec<_> = component_type.exports(&shared.engine).collect();
            let found = if exports
                .iter()
                .any(|(name, item)| *name == "reconcile" && matches!(item.ty, ComponentItem::ComponentFunc(_)))
            {
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

/// SHA-256 in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
