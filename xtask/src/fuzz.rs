//! `cargo xtask fuzz`: cargo-fuzz on the targets in `fuzz/targets/`. What they do with an input is in tests/fuzz, which replays the
//! corpus in every test run; this looks for inputs that are not in it yet.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::cli::FuzzArgs;
use crate::process;
use crate::steps::Steps;
use crate::workspace::{Workspace, in_ci};

/// What to do with what it finds.
pub(crate) const ADVICE: &str =
    "mend what it found, and put the input that cargo-fuzz names into fuzz/corpus/<target>/";

/// Targets of rooms that stand on much, each behind a feature of its name.
const HEAVY: [&str; 3] = ["lease", "path", "wasm"];
/// cargo-fuzz from source, on a small machine.
const INSTALL_LIMIT: Duration = Duration::from_secs(30 * 60);
/// The first build of a heavy target compiles all that it stands on, instrumented.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);
/// An input that takes longer is a finding.
const INPUT_SECONDS_MAX: u32 = 20;

/// `cargo xtask fuzz`.
pub(crate) fn run(workspace: &Workspace, args: &FuzzArgs) -> anyhow::Result<()> {
    let mut steps = Steps::new(in_ci());
    all(workspace, &mut steps, args)?;
    steps.finish()
}

/// Every target, or the one asked for.
pub(crate) fn all(workspace: &Workspace, steps: &mut Steps, args: &FuzzArgs) -> anyhow::Result<()> {
    if !has_nightly() {
        steps.skip("fuzzing", "no nightly compiler: rustup toolchain install nightly --profile minimal");
        return Ok(());
    }
    if process::on_path("cargo-fuzz").is_none() {
        steps.step("install cargo-fuzz", "cargo install --locked cargo-fuzz", || {
            process::run(workspace.cargo().args(["install", "--locked", "cargo-fuzz"]), INSTALL_LIMIT)
        })?;
    }
    let targets = targets(workspace)?;
    let chosen = |target: &String| args.target.as_ref().is_none_or(|only| only == target);
    if !targets.iter().any(chosen) {
        bail!("no such target; there are {}", targets.join(", "));
    }
    steps.step("fuzzing", ADVICE, || {
        targets.iter().filter(|target| chosen(target)).try_for_each(|target| one(workspace, target, args.seconds))
    })
}

fn has_nightly() -> bool {
    let mut rustc = Command::new("rustc");
    process::output(rustc.args(["+nightly", "--version"]), Duration::from_secs(60)).is_ok()
}

fn targets(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let folder = workspace.root().join("fuzz/targets");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut targets: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    targets.sort();
    Ok(targets)
}

/// New inputs go beside the corpus that is kept, where git does not look.
fn one(workspace: &Workspace, target: &str, seconds: u32) -> anyhow::Result<()> {
    let (work, corpus) = (folder(workspace, "work", target), folder(workspace, "corpus", target));
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace.root()).args(["+nightly", "fuzz", "run", "--no-default-features"]);
    if HEAVY.contains(&target) {
        cargo.args(["--features", target]);
    }
    cargo.arg(target).args([work, corpus]).arg("--");
    cargo.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    process::run(&mut cargo, BUILD_LIMIT + Duration::from_secs(seconds.into()))
}

fn folder(workspace: &Workspace, kind: &str, target: &str) -> PathBuf {
    workspace.root().join("fuzz").join(kind).join(target)
}
