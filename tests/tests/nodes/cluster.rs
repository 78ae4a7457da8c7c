//! The cluster as its test is given it: kubectl, the command that moves its cables, its files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tenure_control_plane::AuditLog;

/// How many nodes the tests are written for.
pub(crate) const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// The machine of the API server.
pub(crate) const CONTROL_PLANE: &str = "control-plane";

/// A cable that is pulled; plugged in again when this is dropped.
#[must_use = "it is healed when this is dropped"]
pub(crate) struct Cut(&'static str);

impl Drop for Cut {
    fn drop(&mut self) {
        xtask(&["heal", self.0]);
    }
}

/// Whether this is the cluster of `cargo xtask cluster`, on this machine: its cables, its nodes' files and processes, and its audit
/// log are at hand.
pub(crate) fn is_ours() -> bool {
    std::env::var_os("TENURE_CLUSTER").is_some()
}

/// Pulls a node's cable.
pub(crate) fn cut(node: &str) -> Cut {
    let node = NODES.into_iter().find(|known| *known == node).expect("a node of this cluster");
    xtask(&["cut", node]);
    Cut(node)
}

/// Nothing is in the way of any node: all cables are plugged in, and Pods may go everywhere.
pub(crate) fn mend_all() {
    if is_ours() {
        for node in NODES {
            xtask(&["heal", node]);
        }
    }
    for node in kubectl(&["get", "nodes", "--output=name"]).lines() {
        kubectl(&["uncordon", node]);
    }
}

/// Kills a program of a machine, and starts it again.
pub(crate) fn restart(machine: &str, program: &str) {
    xtask(&["restart", machine, program]);
}

/// `cargo xtask cluster` about this cluster.
fn xtask(words: &[&str]) {
    let mut command = Command::new(given("TENURE_XTASK"));
    command.arg("cluster").args(words).args(["--name", &given("TENURE_CLUSTER")]);
    succeeded(&mut command);
}

/// What kubectl prints.
pub(crate) fn kubectl(words: &[&str]) -> String {
    succeeded(Command::new(given("KUBECTL")).args(words))
}

/// kubectl, with an object or a list to read.
pub(crate) fn apply(objects: &serde_json::Value) {
    let file = folder().join("applied.json");
    std::fs::write(&file, objects.to_string()).expect("written");
    kubectl(&["apply", "--filename", &file.display().to_string()]);
}

/// Runs a program to its end, beside the runtime.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = tokio::task::block_in_place(|| command.stdin(Stdio::null()).output());
    output.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"))
}

/// What a program prints, when all is well.
pub(crate) fn succeeded(command: &mut Command) -> String {
    let output = run(command);
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}: {said}{complained}", output.status);
    said.into_owned()
}

/// The audit log from the first look of this process on: what was judged before is judged.
pub(crate) fn audit() -> AuditLog {
    static AUDIT: OnceLock<AuditLog> = OnceLock::new();
    AUDIT.get_or_init(|| AuditLog::at_end(&audit_file())).clone()
}

/// The audit log's file, from the cluster's first request on.
pub(crate) fn audit_file() -> PathBuf {
    machine(CONTROL_PLANE).join("audit.log")
}

/// The files of a machine.
pub(crate) fn machine(name: &str) -> PathBuf {
    let kubeconfig = PathBuf::from(given("KUBECONFIG"));
    kubeconfig.parent().expect("the kubeconfig is in the cluster's folder").join("machines").join(name)
}

/// Where tests write what they apply; beside the workspace's other built things.
pub(crate) fn folder() -> PathBuf {
    let folder = workspace().join("target/nodes");
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// The top folder.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests are in a folder of the workspace")
}

fn given(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: `cargo xtask cluster test` starts a cluster and sets it"))
}
