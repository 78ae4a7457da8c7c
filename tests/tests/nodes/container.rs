//! A container as its node has it: processes in a cgroup, which are killed, frozen, and looked at.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use rustix::process::{Pid, Signal, kill_process};

/// The container of a Pod with one.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    /// Its Pod.
    pub(crate) pod: String,
    /// Where that is.
    pub(crate) namespace: String,
    /// What it runs on.
    pub(crate) node: String,
    /// By which cgroups are named.
    id: String,
}

/// A frozen container; thawed when this is dropped.
#[must_use = "it is thawed when this is dropped"]
pub(crate) struct Frozen(Vec<(PathBuf, &'static str)>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for (file, thawed) in &self.0 {
            // One that was killed meanwhile has no cgroup any more.
            drop(std::fs::write(file, thawed));
        }
    }
}

impl Container {
    /// That of a Pod which runs.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
        status.state.as_ref()?.running.as_ref()?;
        let id = status.container_id.as_deref()?.split_once("://")?.1.to_owned();
        let node = pod.spec.as_ref()?.node_name.clone()?;
        Some(Self { pod: pod.name_any(), namespace: pod.namespace()?, node, id })
    }

    /// Its processes, by their numbers here.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let numbers = std::fs::read_dir("/proc").expect("/proc is there").flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter_map(Pid::from_raw).filter(|pid| cgroups(*pid).contains(&self.id)).collect()
    }

    /// SIGKILL to all of them.
    pub(crate) fn kill(&self) {
        let processes = self.processes();
        assert!(!processes.is_empty(), "{self:?} has no processes");
        for pid in processes {
            kill_process(pid, Signal::KILL).expect("the process is there");
        }
    }

    /// Freezes it as a container runtime does.
    pub(crate) fn freeze(&self) -> Frozen {
        let (first, second) = (self.cgroup("freezer"), self.cgroup(""));
        let (file, frozen, thawed) = match (first, second) {
            (Some(folder), _) => (folder.join("freezer.state"), "FROZEN", "THAWED"),
            (None, Some(folder)) => (folder.join("cgroup.freeze"), "1", "0"),
            (None, None) => panic!("{self:?} has no cgroup that freezes"),
        };
        std::fs::write(&file, frozen).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Frozen(vec![(file, thawed)])
    }

    /// How often the kernel has made it wait for its quota of processor time.
    pub(crate) fn times_throttled(&self) -> u64 {
        let folder = self.cgroup("cpu").or_else(|| self.cgroup("")).expect("a cgroup with processor time");
        let text = std::fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    }

    /// Its folder in the hierarchy of a controller (version 1), or in the one hierarchy there is (version 2, no name).
    fn cgroup(&self, controller: &str) -> Option<PathBuf> {
        let pid = *self.processes().first()?;
        let lines = cgroups(pid);
        let path = lines.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            controllers.split(',').any(|it| it == controller).then(|| path.to_owned())
        })?;
        let mounts = std::fs::read_to_string("/proc/mounts").expect("/proc/mounts is there");
        let mount = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, folder, kind, options, ..] = fields[..] else { return None };
            let fits = match controller {
                "" => kind == "cgroup2",
                _ => kind == "cgroup" && options.split(',').any(|it| it == controller),
            };
            fits.then(|| PathBuf::from(folder))
        })?;
        Some(mount.join(path.trim_start_matches('/')))
    }
}

fn cgroups(pid: Pid) -> String {
    // A process that is gone is in none.
    std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).unwrap_or_default()
}
