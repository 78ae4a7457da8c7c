//! `tenure run`: the host itself.

use super::misspelt_variables;
use crate::cli::RunArgs;
use crate::reload::SettingsFile;
use crate::run;

/// Runs until SIGTERM or SIGINT, or until something that must not end has ended.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    if args.end_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    }
    let flags = tenure_settings::Flags {
        leader_elect: args.election.leader_elect,
        leader_elect_id: args.election.leader_elect_id,
        leader_elect_namespace: args.election.leader_elect_namespace,
        leader_elect_resource_lock: args.election.leader_elect_resource_lock,
        leader_elect_identity: args.election.leader_elect_identity,
        leader_elect_lease_duration: args.election.leader_elect_lease_duration,
        leader_elect_renew_deadline: args.election.leader_elect_renew_deadline,
        leader_elect_retry_period: args.election.leader_elect_retry_period,
        leader_elect_release_on_cancel: args.election.leader_elect_release_on_cancel,
    };
    let file = SettingsFile { path: args.config, flags, console_listen: args.console_listen };
    let (settings, warnings, text) = file.read()?;
    let _log = crate::logging::start(&settings.log);
    for warning in warnings.into_iter().chain(misspelt_variables()) {
        tracing::warn!("{warning}");
    }
    run::run(settings, (file, text), &args.cluster).await
}
