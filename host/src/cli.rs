//! What was typed, nothing more. Decides nothing and reads nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tenure_settings::Profile;

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
    /// Start a cluster in memory and several replicas of `tenure run` on it, and show what they do.
    Dev(DevArgs),
    /// Check a configuration without a cluster.
    Check(CheckArgs),
    /// Show locks and plugins of a running Tenure.
    Status(StatusArgs),
    /// Work with plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
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
    /// Name of the Lease.
    #[arg(long, value_name = "NAME", alias = "leader-election-id")]
    pub(crate) leader_elect_id: Option<String>,
    /// Namespace of the Lease.
    #[arg(long, value_name = "NAMESPACE", alias = "leader-election-namespace")]
    pub(crate) leader_elect_namespace: Option<String>,
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

/// `tenure dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// How many replicas to run.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) replicas: u8,
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
    /// Name of the Lease.
    #[arg(long, default_value = "host.tenure.dev", value_name = "NAME")]
    pub(crate) lease: String,
    /// Namespace of the Lease.
    #[arg(long, short, default_value = "tenure-system", value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// Ask this replica's console instead of the leader's, as in http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    pub(crate) console: Option<String>,
    /// How to print.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// `tenure plugin ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Turn a manifest and a Wasm file into ConfigMaps for `kubectl apply -f -`.
    Pack(PackArgs),
    /// Load a plugin as the host would and say what it imports and requests.
    Check(PluginCheckArgs),
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
