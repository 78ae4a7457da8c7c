//! What can go wrong, for people: each message says what, where and what to do.

use std::time::Duration;

use crate::contract;

/// The source of an error whose type is another crate's business.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// A sandbox could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// wasmtime refuses this machine or the settings.
    #[error("cannot set up the WebAssembly engine on this machine")]
    Engine(#[source] Source),
    /// The thread that advances the epoch could not be started.
    #[error("cannot start the thread that interrupts plugins: raise the limit on threads")]
    Ticker(#[source] std::io::Error),
}

/// A plugin's bytes were refused. Whatever ran before keeps running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Neither a module nor a component.
    #[error("not a WebAssembly module or component: starts with {starts_with}{hint}")]
    NotWasm {
        /// The first bytes, readable.
        starts_with: String,
        /// What it probably is, or nothing.
        hint: &'static str,
    },
    /// A core module that could not be made a component.
    #[error("cannot make a component of this core module: {message}")]
    Wrap {
        /// What is wrong with it and how to mend it.
        message: String,
    },
    /// Not valid, or beyond what the engine supports.
    #[error("cannot compile: {message}")]
    Compile {
        /// What the compiler said.
        message: String,
    },
    /// The process that compiles could not be started, or not be spoken with.
    #[error("cannot start the process that compiles, or understand it; it is tried again")]
    Compiler(#[source] std::io::Error),
    /// The process that compiles died of it.
    #[error(
        "compiling it broke off ({ended}): it takes more than the {memory_bytes} bytes of memory it may (limits.compile-memory{}); make it smaller",
        if *had_all { "" } else { ", and what this container has left" }
    )]
    CompilerBroke {
        /// How it ended.
        ended: String,
        /// What it had.
        memory_bytes: u64,
        /// Whether that was all it may ever have.
        had_all: bool,
    },
    /// Compiling took too long.
    #[error("compiling it did not end within {after:?} (limits.compile-timeout): it was stopped; make it smaller")]
    CompileTimeout {
        /// The limit.
        after: Duration,
    },
    /// The container has no memory left to compile in.
    #[error(
        "not compiled: this container has {left_bytes} bytes of memory left, which is too little to compile in; raise its memory limit, or lower limits.instances; it is tried again"
    )]
    NoRoom {
        /// What is left.
        left_bytes: u64,
    },
    /// It imports something that does not exist here.
    #[error("imports \"{import}\", which this host does not have: {available}")]
    UnknownImport {
        /// The import as the component names it.
        import: String,
        /// What there is.
        available: String,
    },
    /// It imports something that exists here, but with other types.
    #[error(
        "an import does not fit this host's contract tenure:plugin@{contract}: {message}; build it against the host's plugin-sdk/wit"
    )]
    WrongImport {
        /// The contract's version.
        contract: &'static str,
        /// Which one, and how it differs.
        message: String,
    },
    /// A lock policy that could do more than look.
    #[error("a lock policy (it exports `decide`) reads, logs and knows its settings; this one imports \"{import}\"")]
    PolicyActs {
        /// The import as the component names it.
        import: String,
    },
    /// It is a component of another world.
    #[error(
        "wrong world: a plugin exports `reconcile: func(request) -> result<outcome, error>` (world `reconciler` of tenure:plugin@{contract}), `run: func() -> result<_, error>` (world `task`) or `decide: func(observation) -> verdict` (world `lock-policy`), this one {found}"
    )]
    WrongWorld {
        /// The contract's version.
        contract: &'static str,
        /// What it exports instead.
        found: String,
    },
}

impl LoadError {
    /// Whether the same bytes may load later: it is not about them.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Compiler(_) | Self::NoRoom { .. } | Self::CompilerBroke { had_all: false, .. })
    }
}

/// An instance could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstantiateError {
    /// The host is full.
    #[error(
        "{instances_max} instances are alive, which is this host's limit: raise limits.instances or lower concurrency"
    )]
    TooMany {
        /// The limit.
        instances_max: u32,
    },
    /// It needs more memory from the start than it may have.
    #[error("needs {asked_bytes} bytes of memory to start, its limit is {limit_bytes}: raise limits.memory")]
    Memory {
        /// What it asked for.
        asked_bytes: u64,
        /// What it may have.
        limit_bytes: u64,
    },
    /// Its start functions took too long.
    #[error("did not start within {after:?}: an endless loop in its start function or a constructor?")]
    Timeout {
        /// The limit.
        after: Duration,
    },
    /// The term ended.
    #[error("killed while starting: the term ended")]
    Killed,
    /// It trapped, or another limit was met.
    #[error("cannot start: {message}")]
    Trap {
        /// What happened.
        message: String,
        /// Wasm frames, innermost first.
        backtrace: Vec<String>,
    },
}

/// A call did not bring an outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The plugin answered with an error; the instance stays usable. A result over the limit also comes as this, with reason
    /// `Limited`.
    #[error("the plugin answered {0}")]
    Guest(#[source] contract::Error),
    /// The plugin broke off.
    #[error("the plugin trapped: {message}{}", innermost(.backtrace))]
    Trap {
        /// What happened.
        message: String,
        /// Wasm frames, innermost first.
        backtrace: Vec<String>,
    },
    /// The call took longer than it may.
    #[error("the call did not end within {after:?} (reconcile-timeout): it was cut off")]
    Timeout {
        /// The limit.
        after: Duration,
    },
    /// The plugin broke off after it had been refused memory.
    #[error(
        "out of memory: the plugin asked for {asked_bytes} bytes, its limit is {limit_bytes}: raise limits.memory or have it keep less"
    )]
    Memory {
        /// What it asked for.
        asked_bytes: u64,
        /// What it may have.
        limit_bytes: u64,
    },
    /// The term ended.
    #[error("killed: the term ended")]
    Killed,
}

impl CallError {
    /// Whether the instance is of no further use and must be dropped.
    #[must_use]
    pub fn discards_instance(&self) -> bool {
        !matches!(self, Self::Guest(_))
    }
}

fn innermost(backtrace: &[String]) -> String {
    backtrace.first().map(|frame| format!(", in {frame}")).unwrap_or_default()
}
