//! Bytes that somebody dropped in as a plugin: whatever they are, loading them ends in a plugin or a refusal.

use std::sync::LazyLock;

use tenure_sandbox::{Sandbox, SandboxSettings};

/// Loads the input.
///
/// # Panics
/// When loading panics, or refuses without a word.
pub fn wasm(input: &[u8]) {
    static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| Sandbox::new(SandboxSettings::default()).expect("a sandbox"));
    match SANDBOX.load(input) {
        Ok(loaded) => assert_eq!(loaded.digest().len(), 64),
        Err(refusal) => {
            let told = refusal.to_string();
            assert!(!told.is_empty() && !told.chars().any(|letter| letter.is_control() && letter != '\n'), "{told:?}");
        }
    }
}
