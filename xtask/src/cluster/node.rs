//! The programs of a node and their settings: containerd with runc and CNI, kubelet, kube-proxy.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use super::addresses::Addresses;
use super::control_plane::flags;
use super::keys::Keys;
use super::machine::Machine;
use super::node_programs::{NodePrograms, PAUSE_IMAGE};
use super::{cgroups, network};
use crate::process::{self, interrupted, seconds};

/// From the start of containerd until it answers.
const RUNTIME_LIMIT: Duration = Duration::from_secs(60);

const IMPORT_LIMIT: Duration = Duration::from_secs(5 * 60);

const LOOK: Duration = Duration::from_millis(50);

/// A kubelet renews its sign of life four times in this time.
const LEASE_SECONDS: u32 = 16;

/// Settings of the kernel, which all machines share, that a kubelet changes where they are not what it wants. It is shown these
/// files instead, and leaves the real ones alone.
const KERNEL_SETTINGS: [(&str, &str); 6] = [
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/panic_on_oom", "0"),
    ("/proc/sys/kernel/panic", "10"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
    ("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
    ("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
];

/// One node of a cluster.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) machine: Machine,
    pub(crate) index: u8,
    pub(crate) programs: &'a NodePrograms,
    pub(crate) keys: &'a Keys,
    pub(crate) addresses: Addresses,
}

impl Node<'_> {
    /// Its files, its cable, its container runtime with the images, and then what makes a node of it.
    pub(crate) fn start(&self, control_plane: &Machine, nodes: u8, images: &[PathBuf]) -> anyhow::Result<()> {
        self.furnish()?;
        network::connect_node(self.addresses, control_plane, &self.machine, self.index, nodes)?;
        cgroups::make(self.cluster, self.name())?;
        self.start_runtime()?;
        for image in std::iter::once(&self.programs.pause_image).chain(images) {
            import(&self.machine, &self.programs.containerd.join("ctr"), image)?;
        }
        self.start_kubelet()?;
        self.start_proxy()
    }

    fn name(&self) -> &str {
        &self.machine.place().name
    }

    fn file(&self, name: &str) -> PathBuf {
        self.machine.place().file(name)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let file = self.file(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// Folders of its own where programs have theirs and cannot be told otherwise.
    fn furnish(&self) -> anyhow::Result<()> {
        let var = self.file("var");
        for folder in ["lib", "log", "tmp"] {
            std::fs::create_dir_all(var.join(folder)).with_context(|| format!("cannot make {}", var.display()))?;
        }
        std::os::unix::fs::symlink("/run", var.join("run"))
            .with_context(|| format!("cannot make a link in {}", var.display()))?;
        self.machine.run("mount", ["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])?;
        self.machine.bind(&var, "/var")?;
        for (setting, value) in KERNEL_SETTINGS {
            if Path::new(setting).exists() {
                let name = setting.replace('/', "-");
                let file = self.write(name.trim_start_matches('-'), &format!("{value}\n"))?;
                self.machine.bind(&file, setting)?;
            }
        }
        // Pods' packets pass through; each network namespace has a setting of its own.
        self.machine.run("sh", ["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).map(drop)
    }

    fn start_runtime(&self) -> anyhow::Result<()> {
        let cni = self.file("cni");
        std::fs::create_dir_all(&cni).with_context(|| format!("cannot make {}", cni.display()))?;
        self.write("cni/10-pods.conflist", &self.pod_network())?;
        let config = self.write("containerd.toml", &self.runtime_settings(&cni))?;
        let arguments = ["--config".to_owned(), config.display().to_string()];
        let folder = &self.programs.containerd;
        // It looks for its shim on PATH.
        self.machine.spawn(&folder.join("containerd"), &arguments, Some(folder))?;
        let ctr = folder.join("ctr");
        let begun = Instant::now();
        loop {
            let mut command = self.machine.command(&ctr);
            let Err(error) = process::output(command.args(["--connect-timeout", "1s", "version"]), RUNTIME_LIMIT)
            else {
                return Ok(());
            };
            if begun.elapsed() > RUNTIME_LIMIT || interrupted() {
                let words = self.machine.place().last_words("containerd");
                let limit = seconds(RUNTIME_LIMIT);
                return Err(
                    error.context(format!("{}: no containerd after {limit}; it said last:\n{words}", self.name()))
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Each Pod on a cable of its own and not on a bridge: so that what one Pod sends to another of the same node by way of a
    /// Service passes through the node's packet filter both ways, also where the kernel does not filter what it bridges.
    fn pod_network(&self) -> String {
        let pods = json!({
            "type": "ptp",
            "ipMasq": false,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": self.addresses.pods(self.index)}]],
                     "routes": [{"dst": "0.0.0.0/0"}]},
        });
        json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [pods]}).to_string()
    }

    fn runtime_settings(&self, cni: &Path) -> String {
        format!(
            r#"version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = {PAUSE_IMAGE:?}
[plugins.'io.containerd.cri.v1.runtime']
# Without CAP_SYS_RESOURCE nobody can ask for more protection than he has himself, and the container would not start.
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [{programs:?}]
conf_dir = {cni:?}
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = "runc"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = {runc:?}
SystemdCgroup = false
"#,
            programs = self.programs.cni.display().to_string(),
            cni = cni.display().to_string(),
            runc = self.programs.runc.display().to_string(),
        )
    }

    fn start_kubelet(&self) -> anyhow::Result<()> {
        let settings = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false}, "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.keys.authority()},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": self.keys.certificate(&format!("{}-server", self.name())),
            "tlsPrivateKeyFile": self.keys.key(&format!("{}-server", self.name())),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs", "cgroupRoot": cgroups::path(self.cluster, self.name()),
            "failCgroupV1": false, "failSwapOn": false,
            "clusterDomain": "cluster.local", "clusterDNS": [self.addresses.control_plane().to_string()],
            "resolvConf": "",
            "nodeLeaseDurationSeconds": LEASE_SECONDS, "nodeStatusUpdateFrequency": "4s",
            // The disk is not the node's own, and how full it is says nothing about the node.
            "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
        });
        let settings = self.write("kubelet.json", &settings.to_string())?;
        let arguments = flags(&[
            ("config", &settings.display().to_string()),
            ("kubeconfig", &self.keys.kubeconfig(self.name())),
            ("hostname-override", self.name()),
            ("node-ip", &self.addresses.node(self.index).to_string()),
        ]);
        self.machine.spawn(&self.programs.kubernetes.join("kubelet"), &arguments, None)
    }

    fn start_proxy(&self) -> anyhow::Result<()> {
        let arguments = flags(&[
            ("kubeconfig", &self.keys.kubeconfig("kube-proxy")),
            ("hostname-override", self.name()),
            ("proxy-mode", "nftables"),
            ("cluster-cidr", &self.addresses.all_pods()),
            // How many connections are tracked is a setting of the whole host.
            ("conntrack-max-per-core", "0"),
        ]);
        self.machine.spawn(&self.programs.kubernetes.join("kube-proxy"), &arguments, None)
    }
}

/// Imports an OCI archive for Pods to run. The file must be one that nodes see.
pub(crate) fn import(node: &Machine, ctr: &Path, image: &Path) -> anyhow::Result<()> {
    if !image.is_file() {
        bail!("{} is no file", image.display());
    }
    let mut command = node.command(ctr);
    command.args(["--namespace", "k8s.io", "images", "import"]).arg(image);
    process::output(&mut command, IMPORT_LIMIT).with_context(|| node.place().name.clone()).map(drop)
}
