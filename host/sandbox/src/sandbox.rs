//! The engine and what all plugins of a process share: the linker, the ticker, the code cache, the room for instances.
//!
//! Choices, and why:
//! - Epochs, not fuel: they cost a load and a compare at loops and calls, and the callback lets a spinning guest yield to the
//!   other tasks of its worker thread at every tick.
//! - Instances on demand, not from a pool: a pool fixes memories, tables and their sizes for all plugins ahead, and keeps
//!   more resident (measured with 1000 instances of a Rust plugin of 230 KB: 59 KiB each against 52). What it saves, 16
//!   against 23 microseconds a start, nobody notices: instances start once a term.
//! - Memory images are mapped copy-on-write (wasmtime's default), so an instance costs only the pages it has written.
//! - No threads, no shared memory, no 64-bit memory, no garbage-collected types: compiled out or switched off.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, WasmBacktraceDetails, WasmFeatures};

use crate::bindings::Reconciler;
use crate::bindings::policy::tenure::plugin::lock_policy_types;
use crate::code_cache::{CodeCache, EngineFingerprint};
use crate::compiler::code_of;
use crate::diagnosis::FRAMES_MAX;
use crate::errors::{LoadError, SandboxError};
use crate::guest::GuestState;
use crate::limits::SandboxSettings;
use crate::loaded::Loaded;
use crate::processor::{Account, usual_guests_cpu_millis};
use crate::ticker::Ticker;
use crate::words::{SENTENCE_CHARS_MAX, readable};
use crate::wrap::Format;

/// What host calls may use of a fiber's stack beside the guest: clients, TLS and JSON run on it, unoptimised in tests.
const HOST_STACK_BYTES: usize = 1536 << 10;

/// Loads plugins. One for the process; clones share it.
#[derive(Debug, Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

/// What the sandbox, the loaded plugins and their instances hold together.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<GuestState>,
    pub(crate) ticker: Ticker,
    pub(crate) settings: SandboxSettings,
    /// What all guests together have used of the processor, and may use.
    pub(crate) processor: Account,
    pub(crate) guests_cpu_millis_max: u32,
    /// One permit for each instance that may be alive.
    pub(crate) room: Arc<Semaphore>,
    code_cache: Option<CodeCache>,
    /// Compiling takes up to hundreds of megabytes: one at a time.
    compiling: Mutex<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .field("room", &self.room.available_permits())
            .field("code_cache", &self.code_cache)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Sets up the engine and starts the thread that interrupts guests. A code cache that cannot be used is reported in the
    /// log and done without.
    ///
    /// # Errors
    /// When wasmtime does not support this machine or these settings, or no thread can be started.
    pub fn new(settings: SandboxSettings) -> Result<Self, SandboxError> {
        let refused = |error: wasmtime::Error| SandboxError::Engine(error.into());
        let engine = Engine::new(&config(&settings)).map_err(refused)?;
        let mut linker = Linker::new(&engine);
        Reconciler::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state).map_err(refused)?;
        lock_policy_types::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state).map_err(refused)?;
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(refused)?;
        let code_cache = settings.code_cache.as_deref().and_then(|path| {
            let fingerprint = EngineFingerprint::of(&engine.precompile_compatibility_hash());
            CodeCache::open(path, fingerprint)
                .inspect_err(|error| {
                    tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "compiled code is not kept: plugins are compiled at each start"
                    );
                })
                .ok()
        });
        let ticker = Ticker::start(engine.clone()).map_err(SandboxError::Ticker)?;
        let room = Arc::new(Semaphore::new(settings.instances_max as usize));
        let shared = Shared {
            guests_cpu_millis_max: settings.guests_cpu_millis_max.unwrap_or_else(usual_guests_cpu_millis),
            processor: Account::default(),
            compiling: Mutex::new(()),
            engine,
            linker,
            ticker,
            settings,
            room,
            code_cache,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes a plugin ready: wraps a core module, compiles (or takes compiled code from the cache), checks its imports and
    /// exports against the contract. Takes up to seconds of processor time: call it from a thread that may block.
    ///
    /// # Errors
    /// When the bytes are not a plugin for this host; the message says why and what to do.
    pub fn load(&self, wasm: &[u8]) -> Result<Arc<Loaded>, LoadError> {
        let digest = crate::loaded::digest(wasm);
        let format = Format::of(wasm)?;
        let (component, from_cache) = match self.shared.cached(&digest) {
            Some(component) => (component, true),
            None => (self.shared.compile(&digest, wasm)?, false),
        };
        Loaded::new(Arc::clone(&self.shared), digest, &component, format == Format::Module, from_cache).map(Arc::new)
    }

    /// Makes every running guest look at its kill switch now rather than at the next tick. From any thread.
    pub fn kill_epoch(&self) {
        self.shared.engine.increment_epoch();
    }

    /// How many instances are alive.
    #[must_use]
    pub fn instances(&self) -> usize {
        (self.shared.settings.instances_max as usize).saturating_sub(self.shared.room.available_permits())
    }
}

impl Shared {
    fn cached(&self, digest: &str) -> Option<Component> {
        let code = self.code_cache.as_ref()?.get(digest)?;
        // The cache returns only bytes that this program sealed when it put them there, for this plugin and this engine, from
        // a file and a directory nobody else can write.
        self.loaded(&code)
            .inspect_err(|error| {
                tracing::warn!(digest, error = format!("{error:#}"), "compiled code does not load: compiling anew");
            })
            .ok()
    }

    fn compile(&self, digest: &str, wasm: &[u8]) -> Result<Component, LoadError> {
        // The lock guards nothing but memory use, so a panic of another compilation does not matter.
        let _one_at_a_time = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        let code = match &self.settings.compiler {
            Some(compiler) => compiler.code_of(wasm)?,
            None => code_of(&self.engine, wasm)?,
        };
        // Made just now by this very program, here or in a child that handed it over through a pipe of its own.
        let component = self.loaded(&code).map_err(|error| uncompilable(&error))?;
        if let Some(cache) = &self.code_cache
            && let Err(error) = cache.put(digest, &code)
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(digest, error, "compiled code is not kept: compiled again at the next start");
        }
        Ok(component)
    }

    /// Machine code of our own, ready to run. Whoever calls this says where it has it from.
    fn loaded(&self, code: &[u8]) -> wasmtime::Result<Component> {
        #[expect(unsafe_code, reason = "loading our own compiled code")]
        // SAFETY: code comes from this program alone, by the code cache or from its compiler: see both callers.
        unsafe {
            Component::deserialize(&self.engine, code)
        }
    }
}

pub(crate) fn uncompilable(error: &wasmtime::Error) -> LoadError {
    LoadError::Compile { message: readable(&format!("{error:#}"), SENTENCE_CHARS_MAX) }
}

pub(crate) fn config(settings: &SandboxSettings) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(settings.stack_bytes_max)
        .async_stack_size(settings.stack_bytes_max + HOST_STACK_BYTES)
        .wasm_features(WasmFeatures::MEMORY64, false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(Some(FRAMES_MAX))
        // Only native debuggers and unwinders read these tables; traps walk frame pointers.
        .native_unwind_info(false);
    config
}
