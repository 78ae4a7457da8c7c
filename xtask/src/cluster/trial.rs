//! The test of clusters with nodes, from outside: what `cluster up` gives can be used as a cluster, a node whose cable is
//! pulled is missed and comes back, and `down` leaves nothing behind, also of an `up` that was killed half way.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::addresses::Addresses;
use super::cluster::Cluster;
use super::kubectl::{Kubectl, condition, text};
use super::node_programs::PAUSE_IMAGE;
use super::processes::{self, Process};
use super::{cgroups, status, trial_image};
use crate::process::{self, Running, interrupted, seconds};

const NODES: u8 = 2;

/// One `up` or `down`, all programs built.
const COMMAND_LIMIT: Duration = Duration::from_secs(900);

/// From the start of `up` until a node's first program runs.
const HALF_LIMIT: Duration = Duration::from_secs(60);

/// Pods whose image is there already, on a busy machine.
const PODS_LIMIT: Duration = Duration::from_secs(120);

/// Silent for 12 s a node is missed; a cable that is back is noticed when the next packet is sent.
const NODE_LIMIT: Duration = Duration::from_secs(120);

const LOOK: Duration = Duration::from_millis(20);

/// Runs it, with clusters of its own, and on one of them the image.
pub(crate) fn run(image: Option<&Path>) -> anyhow::Result<()> {
    let (one, other) = (Cluster::named("trial")?, Cluster::named("trial-other")?);
    let result = play(&one, &other, image);
    if result.is_err() {
        // What it looked like; the error says what was wrong.
        let _ = status::status();
    }
    // Whatever happened: two clusters are not left running.
    let removed = down(&one).and_then(|()| down(&other));
    result.and(removed)
}

fn play(one: &Cluster, other: &Cluster, image: Option<&Path>) -> anyhow::Result<()> {
    down(one)?;
    down(other)?;
    kill_half_way(one)?;
    tell("an `up` killed half way is removed whole by `down`");

    let begun = Instant::now();
    let kubeconfig = up(one, NODES, image)?;
    tell(&format!("{NODES} nodes are there after {}", seconds(begun.elapsed())));
    ensure!(kubeconfig == one.kubeconfig(), "`up` printed {} as its last line", kubeconfig.display());
    let (record, _) = one.running()?;
    let kubectl = Kubectl { program: record.kubectl, kubeconfig };
    let again = up(one, NODES, None).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(again.contains("is there already"), "a second `up` over a living cluster said: {again}");

    up(other, 1, None)?;
    let (record_of_other, _) = other.running()?;
    ensure!(record_of_other.addresses != record.addresses, "two clusters have one network");
    let two = traces(one, record.addresses)?;
    remove_wholly(other, record_of_other.addresses)?;
    ensure!(two.processes.iter().all(Process::lives), "the end of one cluster ended something of the other");
    tell("a second cluster was there beside it, and is gone without it");

    pods(&kubectl)?;
    if image.is_some() {
        trial_image::run(&kubectl)?;
        tell("the image runs in Pods: it resolves names, and trusts the cluster's authority and no other");
    }
    cable(one, &kubectl)?;
    remove_wholly(one, record.addresses)?;
    tell("`down` left nothing");
    down(one)
}

/// SIGKILL to `up` when nodes have begun to start.
fn kill_half_way(cluster: &Cluster) -> anyhow::Result<()> {
    let mut command = command(cluster, "up");
    command.args(["--nodes", &NODES.to_string()]).stdout(Stdio::null());
    let mut running = Running::start(&mut command)?;
    let begun = Instant::now();
    let half = || -> anyhow::Result<bool> {
        let Some(node) = cluster.node(1).machine()? else { return Ok(false) };
        Ok(node.processes()?.iter().any(|it| it.name() == "containerd"))
    };
    while !half()? {
        if begun.elapsed() > HALF_LIMIT || interrupted() || running.try_wait()?.is_some() {
            bail!("waited {} for containerd on node-1 while `up` runs", seconds(begun.elapsed()));
        }
        std::thread::sleep(LOOK);
    }
    kill_process(Pid::from_child(running.child()), Signal::KILL).context("cannot kill `up`")?;
    running.wait(COMMAND_LIMIT)?;
    ensure!(!cluster.kubeconfig().exists(), "`up` was killed too late: its cluster was whole");
    let record = cluster.record()?.context("`up` wrote no record before it started a node")?;
    remove_wholly(cluster, record.addresses)
}

/// A Pod on each node, reached by name from another one, by way of a Service.
fn pods(kubectl: &Kubectl) -> anyhow::Result<()> {
    let file = kubectl.kubeconfig.with_file_name("pods.json");
    std::fs::write(&file, pods_and_service().to_string())
        .with_context(|| format!("cannot write {}", file.display()))?;
    kubectl.ask(&["apply", "--filename", &file.display().to_string()])?;
    let mut pods = Vec::new();
    let took = kubectl.until("a Pod to be ready on each node", PODS_LIMIT, |kubectl| {
        let list = kubectl.get(&["pods", "--selector=app=answer"])?;
        let all = list["items"].as_array().cloned().unwrap_or_default();
        let ready = all.iter().filter(|pod| condition(pod, "Ready"));
        pods = ready.map(|pod| (text(pod, "/metadata/name"), text(pod, "/spec/nodeName"))).collect();
        Ok(pods.len() == usize::from(NODES))
    })?;
    let nodes: std::collections::BTreeSet<&String> = pods.iter().map(|(_, node)| node).collect();
    ensure!(nodes.len() == usize::from(NODES), "Pods are on the same node: {pods:?}");
    tell(&format!("a Pod is ready on each node after {}", seconds(took)));

    let (asking, _) = &pods[0];
    let said = kubectl.ask(&["logs", asking])?;
    ensure!(said == "waiting\n", "kubectl logs shows {said:?}");
    for (answering, _) in &pods {
        // A Service leads to any of its Pods: asked often enough, to each.
        kubectl.until(
            &format!("{asking} to reach {answering} by the name of their Service"),
            PODS_LIMIT,
            |kubectl| {
                let answer = kubectl.ask(&["exec", asking, "--", "/pause", "dial", "answer.default.svc:80"])?;
                Ok(answer.contains(&format!("{answering} answers")))
            },
        )?;
    }
    kubectl.ask(&["exec", asking, "--", "/pause", "dial", "kubernetes.default.svc:443"])?;
    tell("Pods reach each other and the API server by the names of Services; logs and exec work");
    Ok(())
}

fn pods_and_service() -> Value {
    let labels = json!({"app": "answer"});
    let container = json!({
        "name": "answer", "image": PAUSE_IMAGE, "imagePullPolicy": "Never", "args": ["listen", ":8080"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    });
    let set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "answer"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "answer"},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [set, service]})
}

fn cable(cluster: &Cluster, kubectl: &Kubectl) -> anyhow::Result<()> {
    let node = cluster.node(NODES).name;
    let is = |ready: bool| {
        let node = node.clone();
        move |kubectl: &Kubectl| Ok(kubectl.nodes()?.iter().all(|(name, it)| *it == (ready || *name != node)))
    };
    done(command(cluster, "cut").arg(&node))?;
    let missed = kubectl.until(&format!("{node}, cut off, and no other to be not ready"), NODE_LIMIT, is(false))?;
    done(command(cluster, "heal").arg(&node))?;
    let back = kubectl.until(&format!("{node}, healed, to be ready"), NODE_LIMIT, is(true))?;
    tell(&format!("a node cut off is missed after {}, healed it is ready after {}", seconds(missed), seconds(back)));
    Ok(())
}

/// What the kernel has of a cluster.
#[derive(Debug)]
struct Traces {
    processes: Vec<Process>,
    cgroups: Vec<PathBuf>,
    /// Lines of /proc/self/mountinfo, of `ip link` and of `ip route` that belong to it.
    lines: Vec<String>,
}

fn traces(cluster: &Cluster, addresses: Addresses) -> anyhow::Result<Traces> {
    let all = processes::all()?;
    let folder = cluster.folder.join("");
    // By their own doing or by that of their parents, of whom one runs something in the folder.
    let named = |it: &&Process| {
        it.executable.starts_with(&folder) || it.arguments.iter().any(|word| word.contains(&*folder.to_string_lossy()))
    };
    let roots: Vec<&Process> = all.iter().filter(named).collect();
    let processes = processes::families(&roots, &all).into_iter().cloned().collect();
    let cgroups = cgroups::of_cluster(&cluster.name)?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let ip = |what| process::output(Command::new("ip").args(["-oneline", what, "show"]), COMMAND_LIMIT);
    let text = [mounts, ip("link")?, ip("route")?].concat();
    let (folder, link) = (folder.display().to_string(), addresses.host_link());
    let ours = text.lines().filter(|line| line.contains(&folder) || line.contains(&link));
    Ok(Traces { processes, cgroups, lines: ours.map(str::to_owned).collect() })
}

/// Ends it, and looks for each kind of thing that was there before.
fn remove_wholly(cluster: &Cluster, addresses: Addresses) -> anyhow::Result<()> {
    let before = traces(cluster, addresses)?;
    ensure!(!before.processes.is_empty(), "no process of the cluster was found while it ran");
    ensure!(!before.cgroups.is_empty(), "no cgroup of the cluster was found while it ran");
    ensure!(!before.lines.is_empty(), "no link of the cluster was found while it ran");
    down(cluster)?;
    let alive: Vec<&Process> = before.processes.iter().filter(|it| it.lives()).collect();
    ensure!(alive.is_empty(), "`down` left processes: {alive:?}");
    let after = traces(cluster, addresses)?;
    ensure!(
        after.processes.is_empty() && after.cgroups.is_empty() && after.lines.is_empty() && !cluster.exists(),
        "`down` left {after:?} or {}",
        cluster.folder.display()
    );
    Ok(())
}

fn up(cluster: &Cluster, nodes: u8, image: Option<&Path>) -> anyhow::Result<PathBuf> {
    let mut command = command(cluster, "up");
    command.args(["--nodes", &nodes.to_string()]);
    if let Some(image) = image {
        command.arg("--image").arg(image);
    }
    let printed = process::output(&mut command, COMMAND_LIMIT)?;
    Ok(printed.lines().next_back().unwrap_or_default().into())
}

fn down(cluster: &Cluster) -> anyhow::Result<()> {
    done(&mut command(cluster, "down"))
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    process::output(command, COMMAND_LIMIT).map(drop)
}

/// This program, as a person would start it from another shell.
fn command(cluster: &Cluster, what: &str) -> Command {
    let mut command = Command::new(process::OWN_PROGRAM.as_path());
    command.args(["cluster", what, "--name", &cluster.name]);
    command
}

fn tell(what: &str) {
    println!("    {what}");
}
