//! The test of the Deployment: a cluster of three nodes with the program's image, and on it the tests in `tests/tests/nodes`, one
//! after the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cluster::Cluster;
use super::node_programs::NodePrograms;
use super::{Programs, dev_image, down, say, status, up};
use crate::cli::{ClusterName, ClusterUpArgs};
use crate::process;
use crate::test::set_stage;
use crate::workspace::{TEST_FEATURES, Workspace};

/// What the tests are written for.
const NODES: u8 = 3;

/// All of them on a small machine that does other things too.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// The one that installs what the others go on from.
const FIRST: &str = "readme::";

/// Starts a cluster, runs the tests on it, and ends it, also when one fails; unless it is to be kept.
pub(crate) fn run(
    workspace: &Workspace,
    programs: &Programs,
    nodes: &NodePrograms,
    image: Option<&Path>,
    keep: bool,
) -> anyhow::Result<()> {
    let cluster = Cluster::named("deployment")?;
    down::down(&cluster)?;
    let mut images = dev_image::make(nodes, &workspace.tenure("debug"), &workspace.target().join("nodes"))?;
    // Under the same name, and imported later: this one is run.
    images.extend(image.map(Path::to_owned));
    let name = ClusterName { name: cluster.name.clone() };
    let kubeconfig = up::up(nodes, &ClusterUpArgs { cluster: name, nodes: NODES, images })?;
    let result = tests(workspace, programs, &cluster, &kubeconfig);
    if keep {
        say(&format!("the cluster is kept: export KUBECONFIG={}", kubeconfig.display()));
        return result;
    }
    if result.is_err() {
        // What it looked like; the error says what was wrong.
        let _ = status::status();
    }
    result.and(down::down(&cluster))
}

fn tests(workspace: &Workspace, programs: &Programs, cluster: &Cluster, kubeconfig: &PathBuf) -> anyhow::Result<()> {
    for choice in [&[FIRST][..], &["--skip", FIRST]] {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--workspace", "--features", TEST_FEATURES, "--test", "nodes", "--", "--ignored"]);
        cargo.args(["--test-threads", "1", "--nocapture"]).args(choice);
        set_stage(workspace, &mut cargo, programs);
        cargo.env("KUBECONFIG", kubeconfig).env("TENURE_CLUSTER", &cluster.name);
        cargo.env("TENURE_XTASK", process::OWN_PROGRAM.as_path());
        process::run(&mut cargo, LIMIT)?;
    }
    Ok(())
}
