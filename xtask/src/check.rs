//! `cargo xtask check`, and the steps it shares with `cargo xtask test`.

use std::time::Duration;

use crate::cli::CheckArgs;
use crate::process;
use crate::steps::Steps;
use crate::workspace::{TEST_FEATURES, Workspace, in_ci};
use crate::{arrows, tidy};

/// The first time, everything the workspace stands on is compiled for it.
const COMPILE_LIMIT: Duration = Duration::from_secs(40 * 60);

/// Reads files.
const SHORT_LIMIT: Duration = Duration::from_secs(2 * 60);

/// cargo-deny from source, on a small machine.
const INSTALL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// `cargo xtask check`.
pub(crate) fn run(workspace: &Workspace, args: &CheckArgs) -> anyhow::Result<()> {
    let mut steps = Steps::new(in_ci());
    cheap(workspace, &mut steps)?;
    clippy(workspace, &mut steps)?;
    doc(workspace, &mut steps)?;
    if args.deny || process::on_path("cargo-deny").is_some() {
        deny(workspace, &mut steps)?;
    } else {
        println!("\n    deny: left out, cargo-deny is not installed; cargo xtask check --deny installs it (minutes)");
    }
    steps.finish()
}

/// What takes no compiler.
pub(crate) fn cheap(workspace: &Workspace, steps: &mut Steps) -> anyhow::Result<()> {
    let advice = "turn the arrow back, or change the architecture on purpose: the tables in xtask/src/arrows.rs and docs/architecture.md";
    steps.step("arrows", advice, || arrows::check(workspace.metadata()))?;
    steps.step("tidy", "see CONTRIBUTING.md", || tidy::check(workspace.root()))?;
    steps.step("fmt", "cargo fmt --all", || {
        process::run(workspace.cargo().args(["fmt", "--all", "--check"]), SHORT_LIMIT)
    })
}

/// Warnings fail in CI only, so that half-done work can be run.
pub(crate) fn clippy(workspace: &Workspace, steps: &mut Steps) -> anyhow::Result<()> {
    steps.step("clippy", "follow the lint, or #[expect(..., reason = \"..\")] where it is wrong", || {
        let mut cargo = workspace.cargo();
        cargo.args(["clippy", "--workspace", "--all-targets", "--features", TEST_FEATURES]);
        if in_ci() {
            cargo.args(["--", "-D", "warnings"]);
        }
        process::run(&mut cargo, COMPILE_LIMIT)
    })
}

/// Links in documentation that lead nowhere are warnings.
pub(crate) fn doc(workspace: &Workspace, steps: &mut Steps) -> anyhow::Result<()> {
    steps.step("doc", "mend the documentation comment", || {
        let mut cargo = workspace.cargo();
        cargo.args(["doc", "--workspace", "--no-deps", "--features", TEST_FEATURES]);
        if in_ci() {
            cargo.env("RUSTDOCFLAGS", "-D warnings");
        }
        process::run(&mut cargo, COMPILE_LIMIT)
    })
}

/// Licences, sources, advisories and doubled crates, by deny.toml.
pub(crate) fn deny(workspace: &Workspace, steps: &mut Steps) -> anyhow::Result<()> {
    if process::on_path("cargo-deny").is_none() {
        steps.step("install cargo-deny", "cargo install --locked cargo-deny", || {
            process::run(workspace.cargo().args(["install", "--locked", "cargo-deny"]), INSTALL_LIMIT)
        })?;
    }
    steps.step("deny", "cargo deny check says which crate; deny.toml holds the rules", || {
        process::run(workspace.cargo().args(["deny", "--all-features", "check"]), COMPILE_LIMIT)
    })
}
