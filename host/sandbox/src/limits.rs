//! How much of everything a plugin may use. Numbers only: who enforces them stands at each field.

use std::path::PathBuf;
use std::time::Duration;

use crate::compiler::Compiler;

/// What one sandbox (one engine, one process) offers.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Where compiled code is kept between starts. A directory of our own is made inside it; `None` keeps nothing.
    pub code_cache: Option<PathBuf>,
    /// What compiles; `None` compiles in this process, without a limit.
    pub compiler: Option<Compiler>,
    /// How many instances may be alive at once. Enforced when instantiating.
    pub instances_max: u32,
    /// Ceiling for [`InstanceLimits::memory_bytes_max`], in bytes: an instance that is given more gets this much.
    pub memory_bytes_max: u64,
    /// Processor time of all guests together, in thousandths of one processor; `None` is three quarters of those that this
    /// process may use. Whoever computes beyond waits.
    pub guests_cpu_millis_max: Option<u32>,
    /// Wasm call stack of one call, in bytes. Past it the call ends as a trap.
    pub stack_bytes_max: usize,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            code_cache: None,
            compiler: None,
            instances_max: 1000,
            memory_bytes_max: 256 << 20,
            guests_cpu_millis_max: None,
            // What a Rust or Go guest needs for deep JSON, with room; the host's own share of the fiber comes on top.
            stack_bytes_max: 512 << 10,
        }
    }
}

/// What one instance may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceLimits {
    /// Linear memory in bytes, all memories of the instance together. Enforced at `memory.grow`, which then answers -1.
    pub memory_bytes_max: u64,
    /// Table elements, all tables together. Enforced at `table.grow`, which then answers -1.
    pub table_elements_max: u32,
    /// Core instances inside the component (a plain guest has about four). Enforced when instantiating.
    pub core_instances_max: u32,
    /// Wall time of instantiation, start functions included.
    pub instantiate_timeout: Duration,
    /// Processor time, all instances of the plugin together, in thousandths of one processor. Whoever computes beyond waits,
    /// which takes from the time of its call.
    pub cpu_millis_max: u32,
    /// Bytes one host call may bring from the guest; more is answered `Limited`.
    pub request_bytes_max: u64,
    /// Bytes one host call may answer, and a call's own result may have; more is answered `Limited`.
    pub response_bytes_max: u64,
    /// Log lines a second, standard output and standard error included, all instances of the plugin together. The rest is
    /// dropped and counted.
    pub log_lines_per_second: u32,
    /// Bytes of one log line with its fields. The rest is cut, and the line says so.
    pub log_line_bytes_max: usize,
}

impl Default for InstanceLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            table_elements_max: 20_000,
            core_instances_max: 32,
            instantiate_timeout: Duration::from_secs(5),
            cpu_millis_max: 1000,
            // The API server takes objects of 1.5 MiB, which is etcd's limit.
            request_bytes_max: 2 << 20,
            // A page of 500 objects of 16 KiB.
            response_bytes_max: 8 << 20,
            log_lines_per_second: 100,
            log_line_bytes_max: 8 << 10,
        }
    }
}
