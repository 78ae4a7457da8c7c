//! `cargo xtask cluster`: the programs of a real Kubernetes, and clusters of real nodes on this machine, without containers around
//! the nodes and without an image registry.
//!
//! A node is a process with a network, mounts and process numbers of its own (`machine.rs`), on which containerd, kubelet and
//! kube-proxy run as on any node. Absent: cloud, storage, a way from Pods to the internet.

mod addresses;
mod cgroups;
#[expect(clippy::module_inception, reason = "the cluster itself, among what it consists of")]
mod cluster;
mod control_plane;
mod deployment;
mod dev_image;
mod down;
mod keys;
mod kubectl;
mod machine;
mod network;
mod node;
mod node_programs;
mod processes;
mod programs;
mod status;
mod trial;
mod trial_image;
mod up;

use anyhow::{Context, bail};

use crate::cli::{ClusterCommand, ClusterNodeArgs, ClusterRestartArgs, ClusterTestArgs};
use crate::go;
use crate::steps::Steps;
use crate::workspace::{Workspace, in_ci};
use crate::{plugins, test as whole_test};

use cluster::Cluster;

pub(crate) use addresses::NODES_MAX;
pub(crate) use programs::{MISSING, Programs, provide};

/// `cargo xtask cluster`.
pub(crate) fn run(workspace: &Workspace, command: &ClusterCommand) -> anyhow::Result<()> {
    match command {
        ClusterCommand::Build(args) => {
            if args.nodes {
                node_programs::provide(workspace)?;
            }
            // The last line alone on stdout, for `export KUBEBUILDER_ASSETS=$(cargo xtask cluster build)`.
            println!("{}", programs::built(workspace)?.display());
        }
        ClusterCommand::Up(args) => {
            needs_machine()?;
            let programs = node_programs::provide(workspace)?;
            // Alone on stdout, for `export KUBECONFIG=$(cargo xtask cluster up)`.
            println!("{}", up::up(&programs, args)?.display());
        }
        ClusterCommand::Down(args) => {
            needs_machine()?;
            down::down(&Cluster::named(&args.name)?)?;
        }
        ClusterCommand::Status => {
            needs_machine()?;
            status::status()?;
        }
        ClusterCommand::Import(args) => {
            needs_machine()?;
            up::import(&Cluster::named(&args.cluster.name)?, &args.images)?;
        }
        ClusterCommand::Test(args) => {
            let mut steps = Steps::new(in_ci());
            steps.step("plugins", plugins::BUILD_ADVICE, || plugins::build_for_tests(workspace))?;
            let programs = whole_test::kubernetes(workspace, &mut steps)?;
            steps.step("build", "see what the compiler says", || whole_test::build(workspace))?;
            match &args.kubeconfig {
                Some(kubeconfig) => {
                    let advice =
                        "kubectl get events --all-namespaces on that cluster; the image has to be on its nodes";
                    let image = args.image_name.as_deref();
                    steps.step("deployment", advice, || {
                        deployment::run_elsewhere(workspace, &programs, kubeconfig, image)
                    })?;
                }
                None => test(workspace, &mut steps, &programs, args)?,
            }
            steps.finish()?;
        }
        ClusterCommand::Cut(args) => set_cable(args, false)?,
        ClusterCommand::Heal(args) => set_cable(args, true)?,
        ClusterCommand::Restart(args) => restart(args)?,
    }
    Ok(())
}

fn set_cable(args: &ClusterNodeArgs, plugged: bool) -> anyhow::Result<()> {
    needs_machine()?;
    let cluster = Cluster::named(&args.cluster.name)?;
    let (record, control_plane) = cluster.running()?;
    if !(1..=record.nodes).any(|index| cluster.node(index).name == args.node) {
        bail!("cluster {:?} has no node {:?}: it has node-1 to node-{}", cluster.name, args.node, record.nodes);
    }
    network::set_cable(&control_plane, &args.node, plugged)
}

fn restart(args: &ClusterRestartArgs) -> anyhow::Result<()> {
    needs_machine()?;
    let cluster = Cluster::named(&args.cluster.name)?;
    cluster.running()?;
    let machines = cluster.machines()?;
    let machine = machines.iter().find(|it| it.place().name == args.machine).with_context(|| {
        let names: Vec<&str> = machines.iter().map(|it| it.place().name.as_str()).collect();
        format!("cluster {:?} has no machine {:?}: it has {}", cluster.name, args.machine, names.join(", "))
    })?;
    machine.restart(&args.program)
}

/// Tries clusters with nodes out, where this machine can have any, and on them the Deployment and the image.
pub(crate) fn test(
    workspace: &Workspace,
    steps: &mut Steps,
    programs: &Programs,
    args: &ClusterTestArgs,
) -> anyhow::Result<()> {
    const NAME: &str = "nodes";
    if let Some(missing) = node_programs::missing_on_machine() {
        steps.skip(NAME, missing);
        return Ok(());
    }
    if !go::is_there() {
        steps.skip(NAME, "its programs are built by Go, which is not there: https://go.dev/dl");
        return Ok(());
    }
    let advice = "cargo xtask cluster up, and see what its programs say in the folder that `status` names";
    let nodes = steps.step("programs of nodes", "see what go says", || node_programs::provide(workspace))?;
    let image = args.image.as_deref();
    if !args.deployment && args.beside_client_go.is_none() {
        steps.step(NAME, advice, || trial::run(image))?;
    }
    let advice = "cargo xtask cluster test --deployment --keep leaves the cluster as the test left it";
    steps.step("deployment", advice, || deployment::run(workspace, programs, &nodes, args))
}

fn needs_machine() -> anyhow::Result<()> {
    match node_programs::missing_on_machine() {
        Some(missing) => bail!(missing),
        None => Ok(()),
    }
}

/// Tells the person, beside what the command was asked for.
#[expect(clippy::print_stderr, reason = "stdout is for what the command was asked for")]
fn say(what: &str) {
    eprintln!("    {what}");
}
