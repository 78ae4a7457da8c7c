//! What a cluster with nodes stands on besides Kubernetes: containerd and CNI plugins as their authors release them, CoreDNS,
//! three small programs of ours, and what has to be on the machine already.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;

use super::programs;
use crate::go::{self, Released};
use crate::process;
use crate::workspace::Workspace;

/// What every Pod's sandbox runs, and what tests run in Pods.
pub(crate) const PAUSE_IMAGE: &str = "tenure.dev/pause:1";

const PACK_LIMIT: Duration = Duration::from_secs(60);

const CONTAINERD: Released = Released {
    name: "containerd",
    version: "v2.3.7",
    module: "github.com/containerd/containerd/v2/cmd",
    packages: &["containerd", "containerd-shim-runc-v2", "ctr"],
    // Snapshotters that nobody needs here, two of which want libraries in C.
    tags: "no_btrfs no_devmapper no_zfs",
    link: "-s -w -X github.com/containerd/containerd/v2/version.Version=v2.3.7",
};

const CNI: Released = Released {
    name: "cni-plugins",
    version: "v1.9.1",
    module: "github.com/containernetworking/plugins/plugins",
    packages: &["main/ptp", "main/loopback", "ipam/host-local"],
    tags: "",
    link: "-s -w",
};

/// What is called and comes with the system: the program, and Debian's package of it.
const OF_SYSTEM: [(&str, &str); 10] = [
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
    ("unshare", "util-linux"),
    ("sh", "dash"),
    // To put a program into an image with what it stands on.
    ("ldd", "libc-bin"),
    ("strip", "binutils"),
];

/// Folders of programs, and the image that is on each node from the beginning.
#[derive(Debug)]
pub(crate) struct NodePrograms {
    pub(crate) kubernetes: PathBuf,
    pub(crate) containerd: PathBuf,
    pub(crate) cni: PathBuf,
    /// The name server's file.
    pub(crate) coredns: PathBuf,
    /// Ours: `pause`, `certificates`, `archive`.
    pub(crate) ours: PathBuf,
    pub(crate) runc: PathBuf,
    pub(crate) pause_image: PathBuf,
}

/// Why this machine cannot have nodes, if it cannot, and what to do.
pub(crate) fn missing_on_machine() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("nodes need root, for namespaces, mounts and cgroups: run the same command as root".into());
    }
    let missing: Vec<&str> =
        OF_SYSTEM.iter().filter(|(name, _)| process::on_path(name).is_none()).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        return Some(format!("nodes need programs that are not on PATH: apt-get install -y {}", missing.join(" ")));
    }
    None
}

/// Builds what is not there.
pub(crate) fn provide(workspace: &Workspace) -> anyhow::Result<NodePrograms> {
    if !go::is_there() {
        bail!("there is no go on PATH: install it (https://go.dev/dl) and run the same command again");
    }
    let kubernetes = programs::built_with_nodes(workspace)?;
    let packages = ["pause", "certificates", "archive"];
    let ours = go::build_once(&workspace.root().join("tests/node"), &packages, "node")?;
    let pause_image = ours.join("pause.tar");
    if !pause_image.is_file() {
        let mut archive = Command::new(ours.join("archive"));
        process::output(archive.arg(ours.join("pause")).arg(PAUSE_IMAGE).arg(&pause_image), PACK_LIMIT)?;
    }
    let Some(runc) = process::on_path("runc") else { bail!("there is no runc on PATH: apt-get install -y runc") };
    Ok(NodePrograms {
        kubernetes,
        containerd: go::install_once(&CONTAINERD)?,
        cni: go::install_once(&CNI)?,
        coredns: go::build_once(&workspace.root().join("tests/name-server"), &["coredns"], "coredns")?.join("coredns"),
        ours,
        runc,
        pause_image,
    })
}
