//! `cargo xtask cluster up`: machines, cables, programs, in this order; then waits until the cluster can be used.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::cluster::{Cluster, Record};
use super::control_plane::ControlPlane;
use super::keys::{Keys, NAME_SERVER};
use super::kubectl::Kubectl;
use super::machine::Machine;
use super::node::{self, Node};
use super::node_programs::NodePrograms;
use super::{down, network, say};
use crate::cli::ClusterUpArgs;
use crate::process::seconds;

/// The API is there after three seconds on an idle machine, nodes six later. On one with ten times as much to do as it can, minutes.
const READY_LIMIT: Duration = Duration::from_secs(600);

/// Another `up` or `down` takes seconds.
const LOCK_LIMIT: Duration = Duration::from_secs(300);

const LOOK: Duration = Duration::from_millis(100);

/// The right to start or end clusters, held by one process of this machine at a time. The kernel takes it back from one that is
/// killed.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held, not read")] File);

impl Turn {
    /// Waits for it.
    pub(crate) fn wait() -> anyhow::Result<Self> {
        let folder = Cluster::all_folder()?;
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = File::open(&folder).with_context(|| format!("cannot open {}", folder.display()))?;
        let begun = Instant::now();
        while let Err(error) = file.try_lock() {
            if let std::fs::TryLockError::Error(error) = error {
                return Err(error).with_context(|| format!("cannot lock {}", folder.display()));
            }
            if begun.elapsed() > LOCK_LIMIT || crate::process::interrupted() {
                bail!("another `cargo xtask cluster` has been at work for {}", seconds(begun.elapsed()));
            }
            std::thread::sleep(LOOK);
        }
        Ok(Self(file))
    }
}

/// Starts a cluster and answers with its kubeconfig.
pub(crate) fn up(programs: &NodePrograms, args: &ClusterUpArgs) -> anyhow::Result<PathBuf> {
    let cluster = Cluster::named(&args.cluster.name)?;
    let _turn = Turn::wait()?;
    if !cluster.machines()?.is_empty() && cluster.kubeconfig().is_file() {
        bail!(
            "cluster {:?} is there already: export KUBECONFIG={}; `cargo xtask cluster down --name {}` ends it",
            cluster.name,
            cluster.kubeconfig().display(),
            cluster.name
        );
    }
    if cluster.exists() {
        say("what an earlier one left is removed first");
        down::remove(&cluster)?;
    }
    for image in &args.images {
        if !image.is_file() {
            bail!("--image {} is no file", image.display());
        }
    }
    let begun = Instant::now();
    start(&cluster, programs, args).with_context(|| {
        format!(
            "the cluster did not start; what its programs said is in {}; `cargo xtask cluster down --name {}` removes it",
            cluster.folder.join("machines/*/log").display(),
            cluster.name
        )
    })?;
    let nodes = if args.nodes == 1 { "one node is" } else { &format!("{} nodes are", args.nodes) };
    say(&format!("{nodes} ready after {}", seconds(begun.elapsed())));
    Ok(cluster.kubeconfig())
}

fn start(cluster: &Cluster, programs: &NodePrograms, args: &ClusterUpArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let images = copy_images(cluster, &args.images)?;
    let pause = programs.ours.join("pause");
    let control_plane = cluster.control_plane().start(&pause)?;
    let addresses = network::claim(&control_plane)?;
    let kubectl = programs.kubernetes.join("kubectl");
    let ctr = programs.containerd.join("ctr");
    cluster.write(&Record { addresses, nodes: args.nodes, kubectl: kubectl.clone(), ctr })?;
    network::connect_host(addresses, &control_plane, args.nodes)?;

    let names: Vec<String> = (1..=args.nodes).map(|index| cluster.node(index).name).collect();
    let keys = Keys::make(&programs.ours.join("certificates"), cluster.keys(), addresses, &names)?;
    let api = ControlPlane { machine: &control_plane, programs, keys: &keys, addresses };
    api.start_api()?;
    let kubectl = Kubectl { program: kubectl, kubeconfig: keys.kubeconfig("admin").into() };
    std::thread::scope(|scope| {
        let mut nodes = Vec::new();
        for index in 1..=args.nodes {
            let machine = cluster.node(index).start(&pause)?;
            let node = Node { cluster: &cluster.name, machine, index, programs, keys: &keys, addresses };
            let (control_plane, images) = (&control_plane, &images);
            nodes.push(scope.spawn(move || node.start(control_plane, args.nodes, images)));
        }
        wait_for_api(&kubectl, &control_plane)?;
        say(&format!("the API is ready after {}", seconds(begun.elapsed())));
        api.start_rest()?;
        let view = format!("--user={NAME_SERVER}");
        kubectl.ask(&["create", "clusterrolebinding", "tenure:name-server", "--clusterrole=view", &view])?;
        for node in nodes {
            node.join().map_err(|_| anyhow::anyhow!("the start of a node panicked"))??;
        }
        anyhow::Ok(())
    })?;
    wait_for_nodes(&kubectl, args.nodes)?;
    // Last: whoever sees this file can use the cluster.
    std::fs::copy(&kubectl.kubeconfig, cluster.kubeconfig())
        .with_context(|| format!("cannot write {}", cluster.kubeconfig().display()))
        .map(drop)
}

fn wait_for_api(kubectl: &Kubectl, control_plane: &Machine) -> anyhow::Result<()> {
    let answer = kubectl.until("the API server", READY_LIMIT, |kubectl| {
        let running = control_plane.processes()?;
        for program in ["etcd", "kube-apiserver"] {
            if !running.iter().any(|it| it.name() == program) {
                return Ok(false);
            }
        }
        Ok(kubectl.ask(&["get", "--raw=/readyz"])? == "ok")
    });
    answer.map(drop).map_err(|error| {
        let place = control_plane.place();
        let words = ["etcd", "kube-apiserver"].map(|it| format!("{it} said last:\n{}", place.last_words(it)));
        error.context(words.join("\n"))
    })
}

fn wait_for_nodes(kubectl: &Kubectl, nodes: u8) -> anyhow::Result<()> {
    kubectl.until("all nodes to be ready", READY_LIMIT, |kubectl| {
        let there = kubectl.nodes()?;
        Ok(there.len() == usize::from(nodes) && there.iter().all(|(_, ready)| *ready))
    })?;
    // Without it no Pod can be made.
    kubectl.until("the service account `default`", READY_LIMIT, |kubectl| {
        kubectl.get(&["serviceaccount", "default", "--namespace=default"]).map(|_| true)
    })?;
    Ok(())
}

/// Into the cluster's folder, where its nodes see them.
fn copy_images(cluster: &Cluster, images: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let folder = cluster.folder.join("images");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let copy = |(number, image): (usize, &PathBuf)| {
        let target = folder.join(format!("{number}.tar"));
        std::fs::copy(image, &target).with_context(|| format!("cannot copy {}", image.display()))?;
        Ok(target)
    };
    images.iter().enumerate().map(copy).collect()
}

/// Imports images on every node of a cluster that runs.
pub(crate) fn import(cluster: &Cluster, images: &[PathBuf]) -> anyhow::Result<()> {
    let (record, _) = cluster.running()?;
    for image in copy_images(cluster, images)? {
        for index in 1..=record.nodes {
            let Some(machine) = cluster.node(index).machine()? else { continue };
            node::import(&machine, Path::new(&record.ctr), &image)?;
        }
    }
    Ok(())
}
