//! `cargo xtask test`: everything that must pass, the cheap first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::bail;

use crate::cli::{ClusterTestArgs, DemoArgs, TestArgs};
use crate::cluster::{self, Programs};
use crate::process;
use crate::steps::Steps;
use crate::workspace::{PURE_ROOMS, TEST_FEATURES, WASM_TARGET, Workspace, in_ci};
use crate::{check, demo, deploy, go, plugins, simulate};

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
    let programs = kubernetes(workspace, &mut steps)?;
    if go::is_there() {
        steps.step("go modules", "see what go says", || {
            ["tests/client-go", "tests/node", "bench"]
                .into_iter()
                .try_for_each(|module| go::check(&workspace.root().join(module)))
        })?;
    }
    steps.step("build", "see what the compiler says", || build(workspace))?;
    steps.step("settings", "tenure check --config <file> says what is wrong", || settings(workspace))?;
    if let Some(kubectl) = &programs.kubectl {
        let advice = "kubectl kustomize deploy/kustomize/base";
        steps.step("deploy", advice, || deploy::kustomize(workspace, kubectl))?;
        if let Some(helm) = &programs.helm {
            let advice = "change deploy/kustomize and deploy/helm/tenure together; helm template tenure deploy/helm/tenure -n tenure-system";
            steps.step("chart", advice, || deploy::chart::check(workspace, kubectl, helm))?;
        }
    }
    let advice = "promtool says which alert, or which expression of dashboard.json, counted from 0";
    match process::on_path("promtool") {
        Some(promtool) => steps.step("alerts", advice, || deploy::monitoring(workspace, &promtool))?,
        None => {
            steps.skip("alerts", "there is no promtool: apt-get install prometheus, or https://prometheus.io/download")
        }
    }
    steps.step("simulated elections", simulate::ADVICE, || simulate::for_test(workspace))?;
    steps.step("tests", TEST_ADVICE, || tests(workspace, &programs))?;
    if args.fast {
        println!("\n    --fast left out: clippy, doc, pure rooms for wasm32, nodes, deployment, demo");
    } else {
        cluster::test(workspace, &mut steps, &programs, &ClusterTestArgs::default())?;
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

fn tests(workspace: &Workspace, programs: &Programs) -> anyhow::Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast", "--features", TEST_FEATURES]);
    set_stage(workspace, &mut cargo, programs);
    process::run(&mut cargo, TESTS_LIMIT)
}

/// What whole-host tests need to know.
pub(crate) fn set_stage(workspace: &Workspace, cargo: &mut Command, programs: &Programs) {
    cargo.env("TENURE_BIN", workspace.tenure("debug")).env("TENURE_PLUGINS", workspace.plugins_folder());
    for (name, file) in [
        ("KUBECTL", &programs.kubectl),
        ("HELM", &programs.helm),
        ("KUBEBUILDER_ASSETS", &programs.assets),
        ("TENURE_CLIENT_GO", &programs.client_go),
        ("TENURE_MONITORING", &programs.monitoring),
    ] {
        match file {
            Some(file) => cargo.env(name, file),
            None => cargo.env_remove(name),
        };
    }
}

/// A real Kubernetes to test on; what is not there is skipped, loudly and last.
pub(crate) fn kubernetes(workspace: &Workspace, steps: &mut Steps) -> anyhow::Result<Programs> {
    let advice = "see what go says; KUBEBUILDER_ASSETS=<folder>, KUBECTL=<file> and HELM=<file> name programs that are there already";
    let programs = steps.step("kubernetes", advice, || cluster::provide(workspace))?;
    if programs.assets.is_none() {
        steps.skip("tests on a real API server", cluster::MISSING);
    }
    if programs.client_go.is_none() {
        steps.skip(
            "tests with a candidate of client-go",
            "it is built by Go, which is not there: https://go.dev/dl, or TENURE_CLIENT_GO=<file>",
        );
    }
    if programs.monitoring.is_none() {
        steps.skip(
            "tests with the Prometheus operator's kinds",
            "they are fetched by Go, which is not there: https://go.dev/dl",
        );
    }
    if programs.kubectl.is_none() {
        steps.skip(
            "tests with kubectl",
            "there is no kubectl: https://kubernetes.io/docs/tasks/tools, or KUBECTL=<file>",
        );
    }
    if programs.helm.is_none() {
        steps.skip("tests with Helm", "it is built by Go, which is not there: https://go.dev/dl, or HELM=<file>");
    }
    Ok(programs)
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
