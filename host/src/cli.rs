//! What was typed, nothing more. Decides nothing and reads nothing.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tenure_settings::{Profile, ResourceLock};

/// A Kubernetes host for WebAssembly plugins that run only while it holds leadership.
#[derive(Debug, Parser)]
#[command(name = "tenure", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Campaign for the lock and run plugins while leading.
    Run(Box<RunArgs>),
    /// Start a Kubernetes API on this machine and several replicas of `tenure run` on it, and show what they do.
    Dev(DevArgs),
    /// Check a configuration without a cluster.
    Check(CheckArgs),
    /// Show locks and plugins of a running Tenure.
    Status(StatusArgs),
    /// Take leadership away from whoever holds a Lease, again and again, and measure what follows: ours or client-go's.
    Drill(Box<DrillArgs>),
    /// What `tenure drill` starts a candidate through.
    #[command(hide = true)]
    DrillCandidate(DrillCandidateArgs),
    /// What the host compiles plugins with: Wasm on standard input, machine code on standard output.
    #[command(hide = true)]
    Compile(CompileArgs),
    /// Work with plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Work with the object fence.
    #[command(subcommand)]
    Fence(FenceCommand),
}

/// How to reach the cluster.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig to use; without it, KUBECONFIG, then ~/.kube/config, then the Pod's service account.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// `tenure run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Configuration (TOML); see config/tenure.toml for every key.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) election: ElectionArgs,
    /// Where probes, metrics and status are served, over the configuration.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) console_listen: Option<SocketAddr>,
    /// End when the process that started this one ends; `tenure dev` sets it.
    #[arg(long, hide = true)]
    pub(crate) end_with_parent: bool,
}

/// The election's knobs under the names the field uses.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Leader election (over the configuration)")]
pub(crate) struct ElectionArgs {
    /// Whether to elect a leader at all; false for a single replica.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, alias = "enable-leader-election")]
    pub(crate) leader_elect: Option<bool>,
    /// Name of the lock.
    #[arg(long, value_name = "NAME", alias = "leader-election-id")]
    pub(crate) leader_elect_id: Option<String>,
    /// Namespace of the lock.
    #[arg(long, value_name = "NAMESPACE", alias = "leader-election-namespace")]
    pub(crate) leader_elect_namespace: Option<String>,
    /// What kind of object the lock is: leases, configmaps, endpoints, or, while moving to a Lease, configmapsleases or
    /// endpointsleases.
    #[arg(long, value_name = "KIND", alias = "leader-election-resource-lock")]
    pub(crate) leader_elect_resource_lock: Option<String>,
    /// Identity of this candidate.
    #[arg(long, value_name = "NAME", alias = "leader-election-identity")]
    pub(crate) leader_elect_identity: Option<String>,
    /// How long others wait for a silent holder.
    #[arg(long, value_name = "DURATION", alias = "leader-election-lease-duration")]
    pub(crate) leader_elect_lease_duration: Option<String>,
    /// How long the holder tries to renew before it stops.
    #[arg(long, value_name = "DURATION", alias = "leader-election-renew-deadline")]
    pub(crate) leader_elect_renew_deadline: Option<String>,
    /// How long between renewals.
    #[arg(long, value_name = "DURATION", alias = "leader-election-retry-period")]
    pub(crate) leader_elect_retry_period: Option<String>,
    /// Whether to release the lock when ending in order.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, alias = "leader-election-release-on-cancel")]
    pub(crate) leader_elect_release_on_cancel: Option<bool>,
}

/// `tenure compile`.
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// How much memory it may take, beside what it has when it starts.
    pub(crate) memory_bytes: u64,
}

/// `tenure dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// How many replicas to run.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) replicas: u8,
    /// The Kubernetes API they run on.
    #[arg(long, value_enum, default_value_t = DevApi::Memory, value_name = "API")]
    pub(crate) api: DevApi,
    /// A directory of plugins to run besides those in ConfigMaps.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub(crate) plugins: Option<PathBuf>,
    /// Port of the Kubernetes API on loopback; 0 takes a free one.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) port: u16,
    /// Where the cluster's objects are kept; without it they end with the command.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The election's timing.
    #[arg(long, value_enum, default_value_t = DevProfile::Default, value_name = "PROFILE", conflicts_with = "config")]
    pub(crate) profile: DevProfile,
    /// Configuration for the replicas instead of the built-in one, which grants ConfigMaps, Secrets, Pods, ServiceAccounts,
    /// Events and Namespaces to every plugin.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print events as lines of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `tenure dev` runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DevApi {
    /// An API in memory: there at once, for a first look.
    Memory,
    /// etcd and kube-apiserver, from the folder that KUBEBUILDER_ASSETS names.
    Real,
}

/// Profiles that make sense for several replicas on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DevProfile {
    /// 15/10/2 s, as client-go.
    Default,
    /// 5/3/1 s.
    Fast,
    /// 60/40/10 s.
    Lazy,
}

impl From<DevProfile> for Profile {
    fn from(profile: DevProfile) -> Self {
        match profile {
            DevProfile::Default => Self::Default,
            DevProfile::Fast => Self::Fast,
            DevProfile::Lazy => Self::Lazy,
        }
    }
}

/// `tenure check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Configuration (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// `tenure status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Name of the lock.
    #[arg(long, default_value = "host.tenure.dev", value_name = "NAME")]
    pub(crate) lease: String,
    /// Namespace of the lock.
    #[arg(long, short, default_value = "tenure-system", value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// What kind of object the lock is, as election.resource-lock has it.
    #[arg(long, default_value = "leases", value_name = "KIND", conflicts_with_all = ["console", "leases"])]
    pub(crate) resource_lock: ResourceLock,
    /// List the Leases of the namespace instead: whose they are, and how old against their duration.
    #[arg(long, conflicts_with_all = ["console", "lease"])]
    pub(crate) leases: bool,
    /// With --leases, those of all namespaces.
    #[arg(long, short = 'A', requires = "leases", conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// Ask this replica's console instead of the leader's, as in http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    pub(crate) console: Option<String>,
    /// How to print.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// `tenure drill`.
#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// The Lease to drill.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) lease: LeaseName,
    /// What is done to the holder.
    #[arg(long, value_enum)]
    pub(crate) mode: DrillMode,
    /// How often.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) trials: u32,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How to print the result; what happens meanwhile goes to stderr.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// The retry period to assume of candidates that are not Tenure's; no Lease says it.
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) retry_period: Duration,
    #[command(flatten)]
    pub(crate) pods: DrillPodArgs,
    /// Start this many candidates of COMMAND here and drill them, instead of Pods.
    #[arg(long, value_name = "N", requires = "command", value_parser = clap::value_parser!(u8).range(2..=20),
          help_heading = "Processes of this machine")]
    pub(crate) processes: Option<u8>,
    /// Where the candidates' output is kept; without it, it goes when the drill ends.
    #[arg(long, value_name = "DIR", requires = "processes", help_heading = "Processes of this machine")]
    pub(crate) logs: Option<PathBuf>,
    /// The candidates' program and its arguments. `{identity}` becomes drill-0, drill-1, ..., which POD_NAME says too.
    #[arg(last = true, value_name = "COMMAND", requires = "processes", help_heading = "Processes of this machine")]
    pub(crate) command: Vec<OsString>,
}

/// Which Pods a drill may touch, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Pods of a cluster")]
pub(crate) struct DrillPodArgs {
    /// Delete Pods without asking first.
    #[arg(long, conflicts_with = "processes")]
    pub(crate) yes: bool,
    /// Where the candidates' Pods are; the Lease's namespace unless given.
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "processes")]
    pub(crate) pods_namespace: Option<String>,
    /// Labels of the candidates' Pods, as kubectl writes them.
    #[arg(long, short = 'l', value_name = "SELECTOR", conflicts_with = "processes")]
    pub(crate) selector: Option<String>,
    /// Signal the holder's processes on its node, by a privileged Pod in a namespace made for the drill.
    #[arg(long, conflicts_with = "processes")]
    pub(crate) node_access: bool,
    /// Image of that Pod: anything with a shell, grep and sleep.
    #[arg(long, value_name = "IMAGE", default_value = DEFAULT_NODE_IMAGE, requires = "node_access")]
    pub(crate) node_image: String,
    /// The candidate's container, where its Pod has several.
    #[arg(long, value_name = "NAME", requires = "node_access")]
    pub(crate) container: Option<String>,
}

/// What the Pod of `--node-access` runs unless told otherwise.
const DEFAULT_NODE_IMAGE: &str = "docker.io/library/busybox:1.37";

/// What a drill does to the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DrillMode {
    /// Ask it to end: SIGTERM, or its Pod deleted with the Pod's own grace.
    Handover,
    /// End it: SIGKILL, or its Pod deleted with grace 0.
    Crash,
    /// Stop it for longer than the lease, then let it go on: SIGSTOP, SIGCONT.
    Pause,
}

/// A Lease by its full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl std::str::FromStr for LeaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The words become part of a path.
        let is_name = |word: &str| {
            let is_allowed =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
            word.starts_with(|first: char| first.is_ascii_alphanumeric()) && word.bytes().all(is_allowed)
        };
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => {
                Err("give namespace/name, as in kube-system/kube-scheduler; `kubectl get leases -A` lists them".into())
            }
        }
    }
}

impl std::fmt::Display for LeaseName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// `tenure drill-candidate`.
#[derive(Debug, Args)]
pub(crate) struct DrillCandidateArgs {
    /// The drill's process: when it is gone already, there is nothing to start.
    #[arg(long)]
    pub(crate) parent: u32,
    /// What to become.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// `tenure fence ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum FenceCommand {
    /// Take a plugin's fencing token off an object whose token is above every term to come, or stands in nobody's way any more.
    Reset(FenceResetArgs),
}

/// `tenure fence reset`.
#[derive(Debug, Args)]
pub(crate) struct FenceResetArgs {
    /// The object's kind with its API version: v1/ConfigMap, apps/v1/Deployment.
    #[arg(value_name = "KIND")]
    pub(crate) kind: String,
    /// The object's name.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The object's namespace; the kubeconfig's unless given.
    #[arg(long, short, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Whose token: namespace and name of the plugin's ConfigMap, or directory/ and the stem of its file.
    #[arg(long, value_name = "IDENTITY")]
    pub(crate) plugin: String,
    /// Do it without asking first.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// `tenure plugin ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Turn a manifest and a Wasm file into ConfigMaps for `kubectl apply -f -`.
    Pack(PackArgs),
    /// Load a plugin as the host would and say what it imports and requests.
    Check(PluginCheckArgs),
    /// Remove a plugin, and with it its finalizers from the objects that carry them.
    Remove(RemoveArgs),
    /// Print the smallest Roles that serve what a configuration grants, or what manifests request, for `kubectl apply -f -`.
    Rbac(RbacArgs),
}

/// `tenure plugin pack`.
#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// The manifest (plugin.toml).
    #[arg(value_name = "MANIFEST")]
    pub(crate) manifest: PathBuf,
    /// The component or core module.
    #[arg(value_name = "WASM")]
    pub(crate) wasm: PathBuf,
    /// A signature of the Wasm by minisign, for grants with a `key`.
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// Name of the ConfigMap; the manifest's `name` unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Namespace of the ConfigMap.
    #[arg(long, short, default_value = "tenure-plugins", value_name = "NAMESPACE")]
    pub(crate) namespace: String,
}

/// `tenure plugin check`.
#[derive(Debug, Args)]
pub(crate) struct PluginCheckArgs {
    /// The manifest (plugin.toml).
    #[arg(value_name = "MANIFEST")]
    pub(crate) manifest: PathBuf,
    /// The component or core module.
    #[arg(value_name = "WASM")]
    pub(crate) wasm: PathBuf,
}

/// `tenure plugin remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The plugin: namespace and name of its ConfigMap (tenure-plugins/label-propagator), or directory/ and the stem of its file.
    #[arg(value_name = "IDENTITY")]
    pub(crate) identity: String,
    /// Take its finalizers off without calling it: what it would have cleaned up stays.
    #[arg(long)]
    pub(crate) strip: bool,
    /// Do it without asking first.
    #[arg(long)]
    pub(crate) yes: bool,
    /// How long the plugin may take to let go of what it holds.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration, conflicts_with = "strip")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// `tenure plugin rbac`.
#[derive(Debug, Args)]
pub(crate) struct RbacArgs {
    /// Configuration (TOML): all that it grants.
    #[arg(long, value_name = "FILE", required_unless_present = "manifests", conflicts_with = "manifests")]
    pub(crate) config: Option<PathBuf>,
    /// Manifests (plugin.toml): what these plugins request.
    #[arg(value_name = "MANIFEST")]
    pub(crate) manifests: Vec<PathBuf>,
    /// Name of the Roles and their bindings.
    #[arg(long, default_value = "tenure-grants", value_name = "NAME")]
    pub(crate) name: String,
    /// The host's ServiceAccount.
    #[arg(long, default_value = "tenure", value_name = "NAME")]
    pub(crate) account: String,
    /// The host's namespace.
    #[arg(long, short, default_value = "tenure-system", value_name = "NAMESPACE")]
    pub(crate) namespace: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_lease_is_given_with_its_namespace() {
        let parsed: LeaseName = "kube-system/kube-scheduler".parse().expect("a lease");
        assert_eq!((parsed.namespace.as_str(), parsed.name.as_str()), ("kube-system", "kube-scheduler"));
        for wrong in ["tenure", "/a", "a/", "a/b/c", "a/../b", "A/b", ""] {
            assert!(wrong.parse::<LeaseName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_drill_is_of_pods_or_of_processes() {
        let parse = |more: &[&str]| {
            Cli::try_parse_from(["tenure", "drill", "--lease", "a/b", "--mode", "crash"].iter().chain(more))
        };
        assert!(parse(&["--yes", "--selector", "app=x"]).is_ok());
        assert!(parse(&["--processes", "3", "--", "program", "--flag"]).is_ok());
        for wrong in [
            &["--processes", "3"][..],
            &["--processes", "1", "--", "program"],
            &["--", "program"],
            &["--node-image", "x"],
            &["--yes", "--processes", "3", "--", "program"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_configuration_of_ones_own_goes_with_no_other_settings() {
        let parse = |more: &[&str]| Cli::try_parse_from(["tenure", "dev"].iter().chain(more));
        assert!(parse(&["--config", "x"]).is_ok(), "a default conflicts with nothing");
        for other in [["--profile", "default"], ["--plugins", "y"]] {
            let error = parse(&[&["--config", "x"][..], &other].concat()).expect_err("a conflict");
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{error}");
        }
        assert_eq!(parse(&["--profile", "fats"]).expect_err("no profile").kind(), ErrorKind::InvalidValue);
    }
}
