//! `cargo xtask test`: everything that must pass, the cheap first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::bail;

use crate::cli::{DemoArgs, TestArgs};
use crate::kubectl::{self, Kubectl};
use crate::process;
use crate::steps::Steps;
use crate::workspace::{PURE_ROOMS, TEST_FEATURES, WASM_TARGET, Workspace, in_ci};
use crate::{check, demo, plugins};

/// The first time, everything the workspace stands on is compiled for it, wasmtime among it.
const COMPILE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// All tests of the workspace, whole-host ones included.
const TESTS_LIMIT: Duration = Duration::from_secs(30 * 60);

const SHORT_LIMIT: Duration = Duration::from_secs(2 * 60);

const TEST_ADVICE: &str =
    "the test's name is the claim that does not hold; cargo test -p <package> <name> runs it alone";

/// `cargo xtask test`.
pub(crate) fn run(workspace: &Workspace, args: &TestArgs) -> anyhow::Result<()> {
    let mut steps = Steps::new(in_ci());
    check::cheap(workspace, &mut steps)?;
    steps.step("wasm target", plugins::TARGET_ADVICE, || plugins::install_target(workspace))?;
    steps.step("pure rooms", TEST_ADVICE, || pure_rooms(workspace))?;
    if !args.fast {
        let advice = "a pure room uses something that a machine without an operating system does not have";
        steps.step("pure rooms for wasm32", advice, || pure_rooms_for_wasm(workspace))?;
        check::clippy(workspace, &mut steps)?;
        check::doc(workspace, &mut steps)?;
    }
    steps.step("plugins", plugins::BUILD_ADVICE, || plugins::build_for_tests(workspace))?;
    let kubectl =
        steps.step("kubectl", "see what go says; KUBECTL=<file> names one by hand", || kubectl::provide(workspace))?;
    let kubectl = match kubectl {
        Kubectl::At(file) => Some(file),
        Kubectl::Missing(why) => {
            steps.skip("tests with kubectl", why);
            None
        }
    };
    steps.step("build", "see what the compiler says", || build(workspace))?;
    steps.step("settings", "tenure check --config <file> says what is wrong", || settings(workspace))?;
    if let Some(kubectl) = &kubectl {
        let advice = "kubectl kustomize deploy/kustomize/base";
        steps.step("deploy", advice, || kustomize(workspace, kubectl))?;
    }
    steps.step("tests", TEST_ADVICE, || tests(workspace, kubectl.as_deref()))?;
    if args.fast {
        println!("\n    --fast left out: clippy, doc, pure rooms for wasm32, demo");
    } else {
        let advice = "cargo xtask demo runs it alone; what the replicas said is in target/demo/tenure-dev.log";
        let args = DemoArgs { stay: false, tenure: Some(workspace.tenure("debug")) };
        steps.step("demo", advice, || demo::play(workspace, &args))?;
    }
    steps.finish()
}

fn of_pure_rooms(cargo: &mut Command) -> &mut Command {
    for room in PURE_ROOMS {
        cargo.args(["--package", room]);
    }
    cargo
}

fn pure_rooms(workspace: &Workspace) -> anyhow::Result<()> {
    process::run(of_pure_rooms(workspace.cargo().arg("test")), COMPILE_LIMIT)
}

fn pure_rooms_for_wasm(workspace: &Workspace) -> anyhow::Result<()> {
    process::run(of_pure_rooms(workspace.cargo().args(["build", "--target", WASM_TARGET])), COMPILE_LIMIT)
}

/// The program and all tests in one go: built apart, cargo would compile what both stand on twice, because tests ask for
/// more features of it.
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--workspace", "--lib", "--bins", "--tests", "--features", TEST_FEATURES]);
    process::run(&mut cargo, COMPILE_LIMIT)
}

fn tests(workspace: &Workspace, kubectl: Option<&Path>) -> anyhow::Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace", "--features", TEST_FEATURES]);
    set_stage(workspace, &mut cargo, kubectl);
    process::run(&mut cargo, TESTS_LIMIT)
}

/// What whole-host tests need to know.
pub(crate) fn set_stage(workspace: &Workspace, cargo: &mut Command, kubectl: Option<&Path>) {
    cargo.env("TENURE_BIN", workspace.tenure("debug")).env("TENURE_PLUGINS", workspace.plugins_folder());
    match kubectl {
        Some(kubectl) => cargo.env("KUBECTL", kubectl),
        None => cargo.env_remove("KUBECTL"),
    };
}

/// Every configuration we ship is one the program takes.
fn settings(workspace: &Workspace) -> anyhow::Result<()> {
    let mut files = toml_files(&workspace.root().join("config"))?;
    files.extend(toml_files(&workspace.root().join("deploy/kustomize/base"))?);
    if files.is_empty() {
        bail!("there is no configuration in config/ and deploy/kustomize/base/");
    }
    for file in files {
        let mut tenure = Command::new(workspace.tenure("debug"));
        process::run(tenure.args(["check", "--config"]).arg(file), SHORT_LIMIT)?;
    }
    Ok(())
}

fn toml_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_some_and(|kind| kind == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn kustomize(workspace: &Workspace, kubectl: &Path) -> anyhow::Result<()> {
    let base = workspace.root().join("deploy/kustomize/base");
    let made = process::output(Command::new(kubectl).arg("kustomize").arg(base), SHORT_LIMIT)?;
    for kind in ["Deployment", "Role", "RoleBinding", "ServiceAccount", "PodDisruptionBudget", "ConfigMap", "Namespace"]
    {
        if !made.lines().any(|line| line == format!("kind: {kind}")) {
            bail!("kubectl kustomize deploy/kustomize/base makes no {kind}");
        }
    }
    Ok(())
}
