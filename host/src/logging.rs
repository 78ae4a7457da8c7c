//! Where log lines go: stderr, as text for people or JSON for programs.

use std::io::IsTerminal as _;

use tenure_settings::{LogFormat, LogSettings};
use tracing_subscriber::EnvFilter;

/// Starts logging as the settings say; RUST_LOG, where set, says what is logged instead.
pub(crate) fn start(settings: &LogSettings) {
    let ours = format!(
        "warn,tenure={level},tenure_lease={level},tenure_cluster={level},tenure_sandbox={level},tenure_plugin_source={level},tenure_console={level},plugin={level}",
        level = settings.level.as_str()
    );
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(ours));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}
