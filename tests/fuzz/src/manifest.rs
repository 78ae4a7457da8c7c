//! `plugin.toml`: what reads is within its bounds, and its schedules and rules can be worked with.

use std::time::Duration;

use tenure_capability::{Capability, Protected, missing};
use tenure_reconcile::Schedule;
use tenure_settings::{MANIFEST_BYTES_MAX, Manifest, Recurrence};

/// Reads the input as a plugin's manifest.
///
/// # Panics
/// When a manifest was read that breaks what the host relies on.
pub fn manifest(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let manifest = match Manifest::parse(text, "plugin.toml") {
        Ok(manifest) => manifest,
        Err(refusal) => return assert!(!refusal.to_string().is_empty()),
    };
    assert!(text.len() as u64 <= MANIFEST_BYTES_MAX);
    assert!(!manifest.name.chars().any(char::is_control), "{:?}", manifest.name);
    assert!(manifest.settings.is_object());
    for chunk in &manifest.chunks {
        assert!(chunk.sha256.len() == 64 && chunk.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{chunk:?}");
    }
    manifest.schedules.iter().for_each(check_schedule);
    assert!(missing(&manifest.permissions, &manifest.permissions).is_empty(), "what is granted as asked is missing");
    Capability::new(manifest.permissions, Protected::default()).expect("a manifest's rules are valid");
}

fn check_schedule(recurrence: &Recurrence) {
    let schedule = match recurrence {
        Recurrence::Every(period) => Schedule::every(*period, "a/b#0"),
        Recurrence::Cron { expression, time_zone, catch_up } => Schedule::cron(expression, time_zone, *catch_up),
    };
    let Ok(schedule) = schedule else { return };
    for now in [0, 1_800_000_000, 4_000_000_000].map(Duration::from_secs) {
        let next = schedule.next(now);
        assert!(next > now, "the next instant after {now:?} is {next:?}: it would come due again at once");
        assert!(schedule.last(now).is_none_or(|last| last <= now));
        assert!(schedule.missed(now).is_none_or(|missed| missed <= now));
    }
}
