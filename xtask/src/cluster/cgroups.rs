//! The cgroups of a cluster: made for the nodes before their kubelets start, removed after everything in them has ended. With
//! cgroups of version 1 that is a folder in each hierarchy, with version 2 one folder.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// What a kubelet wants to be able to limit, and does not start without where the machine has it.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// A killed process leaves its cgroup a moment after it is gone from /proc.
const EMPTY_LIMIT: Duration = Duration::from_secs(20);

const LOOK: Duration = Duration::from_millis(20);

/// Where cgroups are on this machine.
#[derive(Debug)]
struct Hierarchies {
    /// One for each mount of version 1.
    first: Vec<PathBuf>,
    /// Of version 2. Beside hierarchies of version 1 it has no controllers, and only the removal looks there.
    second: Option<PathBuf>,
}

impl Hierarchies {
    fn find() -> anyhow::Result<Self> {
        let mounts = std::fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
        Ok(Self::in_mounts(&mounts))
    }

    fn in_mounts(mounts: &str) -> Self {
        let mut found = Self { first: Vec::new(), second: None };
        for line in mounts.lines() {
            let mut words = line.split(' ');
            match (words.nth(1), words.next()) {
                (Some(folder), Some("cgroup")) => found.first.push(folder.into()),
                (Some(folder), Some("cgroup2")) => found.second = Some(folder.into()),
                _ => {}
            }
        }
        found
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.first.iter().chain(&self.second)
    }
}

/// The path of a machine's cgroup, as a kubelet is told.
pub(crate) fn path(cluster: &str, machine: &str) -> String {
    format!("/{}/{machine}", top(cluster))
}

fn top(cluster: &str) -> String {
    format!("tenure-{cluster}")
}

/// Makes the cgroup of a machine, with all controllers in reach.
pub(crate) fn make(cluster: &str, machine: &str) -> anyhow::Result<()> {
    let hierarchies = Hierarchies::find()?;
    let steps = [top(cluster), machine.to_owned()];
    for hierarchy in &hierarchies.first {
        let mut folder = hierarchy.clone();
        for step in &steps {
            let above = folder.clone();
            folder.push(step);
            make_folder(&folder)?;
            // A new one has neither processors nor memory nodes, and nothing can run in it.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if folder.join(file).exists() {
                    std::fs::read(above.join(file))
                        .and_then(|value| std::fs::write(folder.join(file), value))
                        .with_context(|| format!("cannot set {} in {}", file, folder.display()))?;
                }
            }
        }
    }
    match (&hierarchies.second, hierarchies.first.is_empty()) {
        (Some(hierarchy), true) => make_second(hierarchy, &steps),
        (None, true) => bail!("/proc/mounts shows no cgroups: mount them, nodes cannot be had without"),
        (_, false) => Ok(()),
    }
}

fn make_second(hierarchy: &Path, steps: &[String]) -> anyhow::Result<()> {
    let mut folder = hierarchy.to_owned();
    for step in steps {
        let there = std::fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
        for controller in there.split_whitespace().filter(|it| CONTROLLERS.contains(it)) {
            std::fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"))
                .with_context(|| format!("cannot hand the controller {controller} down from {}", folder.display()))?;
        }
        folder.push(step);
        make_folder(&folder)?;
    }
    Ok(())
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make the cgroup {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The folders that are there for a cluster.
pub(crate) fn of_cluster(cluster: &str) -> anyhow::Result<Vec<PathBuf>> {
    let hierarchies = Hierarchies::find()?;
    Ok(hierarchies.all().map(|hierarchy| hierarchy.join(top(cluster))).filter(|folder| folder.is_dir()).collect())
}

/// Removes them with all below, and says how many there were.
pub(crate) fn remove(cluster: &str) -> anyhow::Result<usize> {
    let begun = Instant::now();
    let mut removed = 0;
    for folder in of_cluster(cluster)? {
        loop {
            match remove_below(&folder, &mut removed) {
                Ok(()) => break,
                Err(error) if error.kind() != io::ErrorKind::ResourceBusy || begun.elapsed() > EMPTY_LIMIT => {
                    return Err(error).with_context(|| format!("cannot remove the cgroup {}", folder.display()));
                }
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }
    Ok(removed)
}

/// The deepest first. The files in them are the kernel's and go with them.
fn remove_below(folder: &Path, removed: &mut usize) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path(), removed)?;
        }
    }
    std::fs::remove_dir(folder)?;
    *removed += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_told_apart() {
        let found = Hierarchies::in_mounts(
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
             cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
             cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
        );
        assert_eq!(found.first, [Path::new("/sys/fs/cgroup/memory")]);
        assert_eq!(found.second.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(found.all().count(), 2);
    }
}
