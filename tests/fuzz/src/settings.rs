//! `tenure.toml`: what reads can be worked with.

use tenure_capability::{Capability, Protected};
use tenure_settings::{Flags, Settings};

/// Reads the input as the host's settings.
///
/// # Panics
/// When settings were read that break what the host relies on.
pub fn settings(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (settings, warnings) = match Settings::parse(text, "tenure.toml", &|_| None, &Flags::default()) {
        Ok(read) => read,
        Err(refusal) => return assert!(!refusal.to_string().is_empty()),
    };
    assert!(warnings.iter().all(|warning| !warning.to_string().is_empty()));
    let timing = settings.election.timing;
    assert!(timing.renew() + timing.grace() < timing.lease(), "authority outlasts the lease: {timing:?}");
    assert!(!timing.margin().is_zero(), "{timing:?}");
    for grant in settings.grants {
        Capability::new(grant.rules, Protected::default()).expect("a grant's rules are valid");
    }
}
