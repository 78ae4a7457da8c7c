//! Processes as /proc shows them: which are ours, told by the program they run and by whom they descend from, never by a number
//! somebody wrote down.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A living process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// Its number here.
    pub(crate) pid: Pid,
    /// The file it runs; still its name where that file is gone.
    pub(crate) executable: PathBuf,
    /// What it was started with, its own name first.
    pub(crate) arguments: Vec<String>,
    /// Who started it, or whom it was left to.
    parent: i32,
    /// When it began, in ticks since the machine did: with the number it is nobody else's.
    begun_ticks: u64,
}

/// Every process that lives now. One that ends meanwhile may be among them or not.
pub(crate) fn all() -> std::io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Gone, a thread of the kernel, or a zombie: nothing of ours.
        processes.extend(Pid::from_raw(number).and_then(look_at));
    }
    Ok(processes)
}

fn look_at(pid: Pid) -> Option<Process> {
    let folder = folder(pid);
    let executable = std::fs::read_link(folder.join("exe")).ok()?;
    let executable = match executable.to_str()?.strip_suffix(" (deleted)") {
        Some(before) => PathBuf::from(before),
        None => executable,
    };
    let line = std::fs::read(folder.join("cmdline")).ok()?;
    let arguments = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything; the third is after the last one of them.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let (parent, begun_ticks) = (fields.nth(1)?.parse().ok()?, fields.nth(17)?.parse().ok()?);
    Some(Process { pid, executable, arguments: arguments.collect(), parent, begun_ticks })
}

/// Of `all`, those that descend from any of `roots`, and the roots.
pub(crate) fn families<'a>(roots: &[&Process], all: &'a [Process]) -> Vec<&'a Process> {
    let mut numbers: BTreeSet<i32> = roots.iter().map(|it| it.pid.as_raw_nonzero().get()).collect();
    loop {
        let before = numbers.len();
        let children = all.iter().filter(|it| numbers.contains(&it.parent)).map(|it| it.pid.as_raw_nonzero().get());
        let children: Vec<i32> = children.collect();
        numbers.extend(children);
        if numbers.len() == before {
            return all.iter().filter(|it| numbers.contains(&it.pid.as_raw_nonzero().get())).collect();
        }
    }
}

fn folder(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}

impl Process {
    /// Whether it is the first process of its PID namespace.
    pub(crate) fn is_first(&self) -> bool {
        let status = std::fs::read_to_string(folder(self.pid).join("status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        // One number in each namespace it is seen from, its own last.
        numbers.is_some_and(|numbers| {
            let mut numbers = numbers.split_whitespace();
            numbers.clone().count() > 1 && numbers.next_back() == Some("1")
        })
    }

    /// Whether it still lives.
    pub(crate) fn lives(&self) -> bool {
        look_at(self.pid).is_some_and(|now| now.begun_ticks == self.begun_ticks)
    }

    /// Whether there is nothing left of it: one that is still ending holds its ports until its parent has heard of the end.
    pub(crate) fn is_gone(&self) -> bool {
        !folder(self.pid).exists()
    }

    /// The name of the program.
    pub(crate) fn name(&self) -> String {
        self.executable.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Memory that is its own, in bytes, its share of what it shares included.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let rollup = std::fs::read_to_string(folder(self.pid).join("smaps_rollup")).unwrap_or_default();
        let kilobytes =
            rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.strip_suffix("kB")?.trim().parse().ok());
        kilobytes.unwrap_or(0_u64) * 1024
    }

    /// Kills it, if it is still the process that was looked at.
    pub(crate) fn kill(&self) {
        let Ok(handle) = pidfd_open(self.pid, PidfdFlags::empty()) else { return };
        // Its number may be another's by now; from here on the handle stands for one process.
        if look_at(self.pid).is_some_and(|now| now.begun_ticks == self.begun_ticks) {
            // It may have ended by itself in between.
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_told_by_its_program_and_killed_once() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("sleeper");
        std::fs::copy(crate::process::on_path("sleep").unwrap(), &program).unwrap();
        let mut child = Command::new(&program).arg("3600").spawn().unwrap();
        std::fs::remove_file(&program).unwrap();
        let found: Vec<Process> = all().unwrap().into_iter().filter(|it| it.executable == program).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].pid, Pid::from_child(&child));
        assert_eq!(found[0].arguments[1], "3600");
        assert!(!found[0].is_first() && found[0].lives());
        let me = look_at(rustix::process::getpid()).unwrap();
        assert!(families(&[&me], &all().unwrap()).iter().any(|it| it.pid == found[0].pid));
        found[0].kill();
        assert!(!child.wait().unwrap().success());
        assert!(!found[0].lives());
        assert!(all().unwrap().iter().all(|it| it.executable != program));
    }
}
