//! What was typed, nothing more.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cluster::NODES_MAX;
use crate::image;

/// The project's own commands. What they need and do not find they install by ordinary means, or say what to do.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything that must pass; CI runs this and nothing else.
    Test(TestArgs),
    /// What needs no test to run: arrows between rooms, tidiness, fmt, clippy, doc, deny.
    Check(CheckArgs),
    /// Build every plugin to WebAssembly, into target/plugins, one folder each.
    Plugins(PluginsArgs),
    /// Three replicas on a cluster in memory: plugins dropped in, the leader killed, the next one ended in order.
    Demo(DemoArgs),
    /// Measure, and write the figures into docs/benchmarks.md.
    Bench(BenchArgs),
    /// What takes too long for every commit.
    Long(LongArgs),
    /// The image: one static program and CA roots, as an OCI archive. Needs buildah or docker.
    Image(ImageArgs),
    /// Elections under faults, from seeds; the last line says how long, which faults, how many terms and violations.
    Simulate(SimulateArgs),
    /// Look for inputs that break what reads them. Needs a nightly compiler; installs cargo-fuzz where it is missing.
    Fuzz(FuzzArgs),
    /// A real Kubernetes to test on.
    #[command(subcommand)]
    Cluster(ClusterCommand),
}

/// `cargo xtask plugins`.
#[derive(Debug, Args)]
pub(crate) struct PluginsArgs {
    /// Instead, the contract's guest in each language there are tools for, into target/languages.
    #[arg(long)]
    pub(crate) languages: bool,
    /// Keep them as those of the contract's version, in tests/guests/kept: once for each version, when it is released.
    #[arg(long, requires = "languages")]
    pub(crate) keep: bool,
}

/// `cargo xtask image`.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// A static `tenure` built already, instead of building it.
    #[arg(long, value_name = "FILE")]
    pub(crate) tenure: Option<PathBuf>,
    /// What the image is called.
    #[arg(long, default_value = image::NAME, value_name = "NAME")]
    pub(crate) name: String,
    /// Where the archive goes; without it, target/tenure-image.tar.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `cargo xtask cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Build etcd, kube-apiserver, kube-controller-manager and kubectl from their released sources into the user's cache folder,
    /// unless they are there, and print it: export KUBEBUILDER_ASSETS=$(cargo xtask cluster build).
    Build(ClusterBuildArgs),
    /// Start a cluster of real nodes on this machine and print its kubeconfig file: export KUBECONFIG=$(cargo xtask cluster up).
    /// Needs root on Linux, and runc.
    Up(ClusterUpArgs),
    /// End a cluster and remove everything of it, also a half of one.
    Down(ClusterName),
    /// Say what runs, and how much memory it takes.
    Status,
    /// Import images (OCI archives) on every node.
    Import(ClusterImportArgs),
    /// Pull a node's cable: nobody reaches it, and it reaches nobody.
    Cut(ClusterNodeArgs),
    /// Plug a node's cable in again.
    Heal(ClusterNodeArgs),
    /// Kill a program of a machine, and start it again as it was.
    Restart(ClusterRestartArgs),
    /// Try all this out, on clusters of its own, and on one of them the Deployment: the steps "nodes" and "deployment" of
    /// `cargo xtask test`.
    Test(ClusterTestArgs),
}

/// `cargo xtask cluster build`.
#[derive(Debug, Args)]
pub(crate) struct ClusterBuildArgs {
    /// Also what a cluster with nodes needs: kube-scheduler, kubelet, kube-proxy, containerd, CNI plugins, CoreDNS.
    #[arg(long)]
    pub(crate) nodes: bool,
}

/// Which cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterName {
    /// Which cluster, where there are several.
    #[arg(long, default_value = "default", value_parser = cluster_name)]
    pub(crate) name: String,
}

/// `cargo xtask cluster up`.
#[derive(Debug, Args)]
pub(crate) struct ClusterUpArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterName,
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    pub(crate) nodes: u8,
    /// An OCI archive to import on every node; may be given several times.
    #[arg(long = "image", value_name = "FILE")]
    pub(crate) images: Vec<PathBuf>,
}

/// `cargo xtask cluster import`.
#[derive(Debug, Args)]
pub(crate) struct ClusterImportArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterName,
    /// OCI archives.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) images: Vec<PathBuf>,
}

/// `cargo xtask cluster cut` and `heal`.
#[derive(Debug, Args)]
pub(crate) struct ClusterNodeArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterName,
    /// As in `kubectl get nodes`.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
}

/// `cargo xtask cluster restart`.
#[derive(Debug, Args)]
pub(crate) struct ClusterRestartArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterName,
    /// `control-plane`, or a node.
    #[arg(value_name = "MACHINE")]
    pub(crate) machine: String,
    /// One that needs nothing on PATH: kube-apiserver, kubelet, ...
    #[arg(value_name = "PROGRAM")]
    pub(crate) program: String,
}

/// `cargo xtask cluster test`.
#[derive(Debug, Default, Args)]
pub(crate) struct ClusterTestArgs {
    /// Only the tests of the Deployment.
    #[arg(long)]
    pub(crate) deployment: bool,
    /// Only the Deployment beside client-go's election in the same shape, each fault so many times: for figures.
    #[arg(long, value_name = "ROUNDS")]
    pub(crate) beside_client_go: Option<u32>,
    /// On the cluster of this kubeconfig instead, whose nodes have the image or can pull it: what needs neither cables nor the nodes'
    /// files. Installs into tenure-system, tenure-plugins and work, and drains nodes: not for a cluster that others use.
    #[arg(long, value_name = "FILE", requires = "image_name", conflicts_with_all = ["keep", "image", "beside_client_go"])]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The image to run there.
    #[arg(long, value_name = "NAME:TAG", requires = "kubeconfig")]
    pub(crate) image_name: Option<String>,
    /// Leave the Deployment's cluster running.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The archive that `cargo xtask image` wrote, to try it in Pods too.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
}

/// It becomes part of names of cgroups and of paths of sockets, which must be short.
fn cluster_name(name: &str) -> Result<String, String> {
    let fits = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    let whole = name.starts_with(|it: char| it.is_ascii_lowercase()) && name.len() <= 20 && name.chars().all(fits);
    whole
        .then(|| name.to_owned())
        .ok_or_else(|| "a name is up to 20 lowercase letters, digits and hyphens, and begins with a letter".to_owned())
}

/// `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Only arrows, tidiness, fmt and the workspace's tests; for while you work.
    #[arg(long)]
    pub(crate) fast: bool,
}

/// `cargo xtask check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Install cargo-deny where it is missing (it compiles for minutes) instead of leaving its step out.
    #[arg(long)]
    pub(crate) deny: bool,
}

/// `cargo xtask demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave it running afterwards and say what to try.
    #[arg(long)]
    pub(crate) stay: bool,
    /// A `tenure` built already, instead of building it.
    #[arg(long, value_name = "FILE")]
    pub(crate) tenure: Option<PathBuf>,
}

/// `cargo xtask bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    /// Something else than Tenure alone.
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    /// How many handovers and takeovers to measure.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) trials: u32,
    /// How many ConfigMaps to converge.
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub(crate) objects: u32,
    /// Leave docs/benchmarks.md as it is.
    #[arg(long)]
    pub(crate) print: bool,
}

/// `cargo xtask bench ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Ours beside client-go and controller-runtime, on one real API server.
    Peers(PeersArgs),
}

/// `cargo xtask bench peers`.
#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    /// How many crashes to measure; twice as many handovers, half as many of what takes long.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) trials: u32,
    /// Measure only these; what was measured of the others earlier stays.
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    pub(crate) only: Vec<PeersPart>,
    /// Measure nothing: write what was measured earlier.
    #[arg(long, conflicts_with = "only")]
    pub(crate) render: bool,
    /// A `tenure` built already, instead of building it.
    #[arg(long, value_name = "FILE")]
    pub(crate) tenure: Option<PathBuf>,
    /// Leave docs/benchmarks.md as it is.
    #[arg(long)]
    pub(crate) print: bool,
}

impl PeersArgs {
    /// What to measure, in an order in which nothing disturbs what comes after.
    pub(crate) fn parts(&self) -> Vec<PeersPart> {
        if self.only.is_empty() { PeersPart::value_variants().to_vec() } else { self.only.clone() }
    }
}

/// What `bench peers` measures, each on an API server of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeersPart {
    /// SIGTERM to the leader; elected to first write.
    Handover,
    /// SIGKILL to the leader.
    Crash,
    /// 2000 ConfigMaps.
    Many,
    /// SIGSTOP to the leader for 25 s.
    Pause,
    /// The leader's network cut off for 17-20 s. Needs root.
    Cut,
    /// Requests, memory and processor time of three candidates that are left alone.
    Quiet,
}

/// `cargo xtask simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// The first seed; without it, a fresh one.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// At least so many hours are simulated; without it, one seed.
    #[arg(long, value_name = "H")]
    pub(crate) hours: Option<f64>,
    /// Fresh seeds until told to end (Ctrl-C), or until --hours are over.
    #[arg(long, conflicts_with = "seed")]
    pub(crate) swarm: bool,
    /// Show everything that each seed does.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Instead: locks held together, moved from one to the other by rollouts.
    #[arg(long)]
    pub(crate) moving: bool,
    /// Instead: take each rule out of a copy of the election, and say which test notices; only rule PART, or those with PART in
    /// their sentence.
    #[arg(long, value_name = "PART", num_args = 0..=1, default_missing_value = "")]
    #[arg(conflicts_with_all = ["seed", "hours", "swarm", "trace", "moving"])]
    pub(crate) mutations: Option<String>,
}

/// `cargo xtask fuzz`.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Only this target: one of fuzz/targets.
    #[arg(value_name = "TARGET")]
    pub(crate) target: Option<String>,
    /// How long each target is fuzzed.
    #[arg(long, default_value_t = 60, value_name = "N")]
    pub(crate) seconds: u32,
}

/// `cargo xtask long`.
#[derive(Debug, Args)]
pub(crate) struct LongArgs {
    /// How often each whole-host test is repeated.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) rounds: u32,
}
