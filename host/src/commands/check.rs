//! `tenure check`: is this configuration one that `tenure run` would start with? Needs no cluster.

use super::{misspelt_variables, say, unless_nobody_reads};
use crate::cli::CheckArgs;
use crate::reload::SettingsFile;

/// Reads the configuration as `tenure run` does and says what follows from it.
pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<()> {
    unless_nobody_reads(report(args))
}

fn report(args: &CheckArgs) -> anyhow::Result<()> {
    let (settings, warnings, _) = SettingsFile::alone(&args.config).read()?;
    let election = &settings.election;
    let timing = &election.timing;
    say!("{} is valid.", args.config.display())?;
    say!(
        "lock {}{}: lease {} s, renew {} s, retry {} s, grace {:.1} s, margin {:.2} s",
        election.id,
        election.namespace.as_ref().map(|namespace| format!(" in {namespace}")).unwrap_or_default(),
        timing.lease().as_secs(),
        timing.renew().as_secs(),
        timing.retry().as_secs(),
        timing.grace().as_secs_f64(),
        timing.margin().as_secs_f64(),
    )?;
    for warning in warnings.into_iter().chain(misspelt_variables()) {
        say!("warning: {warning}")?;
    }
    say!("plugins from {}", sources(&settings))?;
    for grant in &settings.grants {
        let by = match (&grant.digest, &grant.key) {
            (Some(_), _) => "",
            (None, Some(_)) => ", to any Wasm of that name that its key signed",
            (None, None) => ", to any Wasm of that name",
        };
        say!("grant to {}: {} rules{by}", grant.plugin, grant.rules.len())?;
    }
    if settings.grants.is_empty() {
        say!("no grants: no plugin may do anything; see [[grant]] in config/tenure.toml")?;
    }
    Ok(())
}

fn sources(settings: &tenure_settings::Settings) -> String {
    let mut sources: Vec<String> =
        settings.plugins.namespaces.iter().map(|namespace| format!("ConfigMaps in {namespace}")).collect();
    sources.extend(settings.plugins.directory.iter().map(|directory| directory.display().to_string()));
    if sources.is_empty() { "nowhere".to_owned() } else { sources.join(", ") }
}
