//! `tenure compile`: what the host starts to compile a plugin, so that a Wasm made to be expensive costs a child process and
//! not the leader.

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
use tenure_sandbox::Compiler;
use tenure_settings::Limits;

use crate::cli::CompileArgs;

/// This very program, also when another has taken its place on disk.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// How far it stands back behind the election's thread and the guests.
const NICENESS: i32 = 10;

/// How the host compiles under these limits.
pub(crate) fn compiler(limits: &Limits) -> Compiler {
    Compiler {
        program: OWN_PROGRAM.into(),
        arguments: vec!["compile".into()],
        memory_bytes_max: limits.compile_memory_bytes_max,
        timeout: limits.compile_timeout,
    }
}

/// Limits itself, then compiles what comes in.
pub(crate) fn compile(args: &CompileArgs) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    nice(NICENESS)?;
    let limit = |bytes: u64| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    // It may well be ended for what it takes: no trace of that on disk.
    setrlimit(Resource::Core, limit(0))?;
    setrlimit(Resource::As, limit(mapped_bytes()?.saturating_add(args.memory_bytes)))?;
    tenure_sandbox::compile(std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(())
}

/// The address space this process has already: most of it is the program itself, which is shared with the host.
fn mapped_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let size =
        status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let kib: u64 = size.context("/proc/self/status says no VmSize")?;
    Ok(kib.saturating_mul(1024))
}
