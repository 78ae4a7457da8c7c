//! What the figures were measured on.

use std::process::Command;
use std::time::Duration;

use crate::process;

const LIMIT: Duration = Duration::from_secs(20);

/// Processor, memory, kernel, compiler and date in one sentence; what cannot be learned is left out.
pub(crate) fn described() -> String {
    described_with(&[])
}

/// The same, and what else matters.
pub(crate) fn described_with(more: &[&str]) -> String {
    let cores = std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let mut parts = vec![format!("{cores} cores")];
    parts.extend(field("/proc/cpuinfo", "model name"));
    parts.extend(field("/proc/meminfo", "MemTotal").and_then(|it| gib(&it)));
    parts.extend(std::fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|it| format!("Linux {}", it.trim())));
    parts.extend(process::output(Command::new("rustc").arg("--version"), LIMIT).ok().map(|it| it.trim().to_owned()));
    parts.push("release build".to_owned());
    parts.extend(more.iter().map(|part| (*part).to_owned()));
    parts.push(jiff::Timestamp::now().strftime("%Y-%m-%d").to_string());
    format!("Measured on: {}.", parts.join(", "))
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn gib(kilobytes: &str) -> Option<String> {
    let kilobytes: u64 = kilobytes.trim_end_matches(" kB").parse().ok()?;
    Some(format!("{} GiB", kilobytes.div_ceil(1 << 20)))
}
