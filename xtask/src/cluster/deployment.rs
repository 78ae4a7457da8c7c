//! The test of the Deployment: a cluster of three nodes with the program's image, and on it the tests in `tests/tests/nodes`, one
//! after the other.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::cluster::Cluster;
use super::node_programs::NodePrograms;
use super::{Programs, dev_image, down, say, status, up};
use crate::cli::{ClusterName, ClusterTestArgs, ClusterUpArgs};
use crate::process;
use crate::test::set_stage;
use crate::workspace::{TEST_FEATURES, Workspace};

/// What the tests are written for.
const NODES: u8 = 3;

/// All of them on a small machine that does other things too.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// The one that installs what the others go on from.
const FIRST: &str = "readme::";

/// The one that measures.
const BESIDE: &str = "beside_client_go::";

/// Starts a cluster, runs the tests on it, and ends it, also when one fails; unless it is to be kept.
pub(crate) fn run(
    workspace: &Workspace,
    programs: &Programs,
    nodes: &NodePrograms,
    args: &ClusterTestArgs,
) -> anyhow::Result<()> {
    let cluster = Cluster::named("deployment")?;
    down::down(&cluster)?;
    let candidate = programs.client_go.as_deref().context("there is no candidate of client-go, which Go builds")?;
    let mut images = dev_image::make(nodes, &workspace.tenure("debug"), candidate, &workspace.target().join("nodes"))?;
    // Under the same name, and imported later: this one is run.
    images.extend(args.image.clone());
    let name = ClusterName { name: cluster.name.clone() };
    let kubeconfig = up::up(nodes, &ClusterUpArgs { cluster: name, nodes: NODES, images })?;
    let result = tests(workspace, programs, &cluster, &kubeconfig, args.beside_client_go);
    if args.keep {
        say(&format!("the cluster is kept: export KUBECONFIG={}", kubeconfig.display()));
        return result;
    }
    if result.is_err() {
        // What it looked like; the error says what was wrong.
        let _ = status::status();
    }
    result.and(down::down(&cluster))
}

/// What is done through the API alone.
const ANYWHERE: [&str; 2] = ["anywhere::", "drill::"];

/// Runs what needs nothing but an API, on a cluster that is somebody else's.
pub(crate) fn run_elsewhere(
    workspace: &Workspace,
    programs: &Programs,
    kubeconfig: &Path,
    image: Option<&str>,
) -> anyhow::Result<()> {
    let mut cargo = tests_of_nodes(workspace, programs, kubeconfig, &ANYWHERE);
    cargo.envs(image.map(|image| ("TENURE_IMAGE", image)));
    process::run(&mut cargo, LIMIT)
}

fn tests_of_nodes(workspace: &Workspace, programs: &Programs, kubeconfig: &Path, choice: &[&str]) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace", "--features", TEST_FEATURES, "--test", "nodes", "--", "--ignored"]);
    cargo.args(["--test-threads", "1", "--nocapture"]).args(choice);
    set_stage(workspace, &mut cargo, programs);
    cargo.env("KUBECONFIG", kubeconfig);
    cargo
}

fn tests(
    workspace: &Workspace,
    programs: &Programs,
    cluster: &Cluster,
    kubeconfig: &Path,
    beside: Option<u32>,
) -> anyhow::Result<()> {
    let others = if beside.is_some() { &[BESIDE][..] } else { &["--skip", FIRST] };
    for choice in [&[FIRST][..], others] {
        let mut cargo = tests_of_nodes(workspace, programs, kubeconfig, choice);
        cargo.env("TENURE_CLUSTER", &cluster.name);
        cargo.env("TENURE_XTASK", process::OWN_PROGRAM.as_path());
        if let Some(rounds) = beside {
            cargo.env("TENURE_ROUNDS", rounds.to_string());
        }
        process::run(&mut cargo, LIMIT)?;
    }
    Ok(())
}
