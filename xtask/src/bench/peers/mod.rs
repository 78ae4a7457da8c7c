//! `cargo xtask bench peers`: ours beside client-go's leaderelection and a controller-runtime manager, doing the same work on the
//! same API server in the same run; writes its own section of docs/benchmarks.md.

mod audit;
mod candidate;
mod fleet;
mod network;
mod results;
mod server;
mod trials;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::machine;
use crate::cli::{PeersArgs, PeersPart};
use crate::steps::Steps;
use crate::workspace::{TEST_FEATURES, Workspace, in_ci};
use crate::{cluster, go, plugins, process};

use audit::Audit;
use candidate::Contender;
use fleet::Places;
use results::{Measured, Results, Samples};
use server::Server;
use trials::Bench;

/// The marks between which the section stands.
pub(super) const MARKS: [&str; 2] = ["<!-- peers: begin -->", "<!-- peers: end -->"];

/// A release build of ours, on a small machine.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The most candidates of one contender that any part has.
const CANDIDATES_MAX: usize = 3;

/// The program that runs the API server.
const SERVER: &str = "peers_server";

/// `cargo xtask bench peers`.
pub(crate) fn run(workspace: &Workspace, args: &PeersArgs) -> anyhow::Result<()> {
    let mut steps = Steps::new(in_ci());
    let folder = workspace.target().join("bench/peers");
    let kept = folder.join("results.json");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if !args.render {
        let (places, kubectl) = prepare(workspace, &mut steps, &folder, args.tenure.as_deref())?;
        for part in args.parts() {
            if part == PeersPart::Cut
                && let Some(why) = network::missing()
            {
                steps.skip(name(part), why);
                continue;
            }
            let advice = "what the candidates said is in target/bench/peers; --only <part> runs a part alone";
            steps.step(name(part), advice, || {
                let before = load()?;
                let (samples, on) = measure(workspace, part, args.trials, &places, &kubectl)?;
                let mut results = Results::load(&kept)?;
                results.replace(name(part), Measured { on, load: [before, load()?], samples });
                results.store(&kept)
            })?;
        }
    }
    let table = Results::load(&kept)?.table();
    println!("\n{table}");
    if !args.print {
        let page = workspace.root().join(super::PAGE);
        steps.step("write", "docs/benchmarks.md needs both marks", || super::write(&page, MARKS, &table))?;
    }
    steps.finish()
}

/// Builds everything, or finds it built.
fn prepare(
    workspace: &Workspace,
    steps: &mut Steps,
    folder: &Path,
    tenure: Option<&Path>,
) -> anyhow::Result<(Places, PathBuf)> {
    steps.step("wasm target", plugins::TARGET_ADVICE, || plugins::install_target(workspace))?;
    steps.step("plugins", plugins::BUILD_ADVICE, || plugins::build_for_tests(workspace))?;
    if tenure.is_none() {
        steps.step("tenure, release", "see what the compiler says", || {
            process::run(workspace.cargo().args(["build", "--release", "--package", "tenure"]), BUILD_LIMIT)
        })?;
    }
    let peers = steps.step("peers", "they are Go programs: https://go.dev/dl", || {
        let packages = [Contender::ClientGo.name(), Contender::ControllerRuntime.name()];
        go::build_once(&workspace.root().join("bench"), &packages, "peers")
    })?;
    let programs = steps.step("kubernetes", cluster::MISSING, || cluster::provide(workspace))?;
    steps.step("API server", "see what the compiler says", || {
        // Of the whole workspace, as the tests are built: alone, cargo would compile what it stands on anew.
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--workspace", "--example", SERVER, "--features", TEST_FEATURES]);
        process::run(&mut cargo, BUILD_LIMIT)
    })?;
    let assets = programs.assets.context(cluster::MISSING)?;
    let kubectl = programs.kubectl.context("kubectl is neither beside the API server nor on PATH")?;
    let places = Places {
        tenure: tenure.map_or_else(|| workspace.tenure("release"), Path::to_owned),
        peers,
        plugins: workspace.plugins_folder(),
        folder: folder.to_owned(),
        assets,
    };
    Ok((places, kubectl))
}

/// One part, on an API server of its own, so that none inherits another's load.
fn measure(
    workspace: &Workspace,
    part: PeersPart,
    trials: u32,
    places: &Places,
    kubectl: &Path,
) -> anyhow::Result<(Samples, String)> {
    let users = Contender::ALL.into_iter().flat_map(|who| (0..CANDIDATES_MAX).map(move |slot| fleet::user(who, slot)));
    let program = workspace.target().join("debug/examples").join(SERVER);
    let mut command = Command::new(program);
    command.env("KUBEBUILDER_ASSETS", &places.assets).arg(&places.folder);
    let server = Server::start(command, kubectl, users)?;
    let audit = Audit::open(&server.ready.audit)?;
    let on = machine::described_with(&[
        &format!("kube-apiserver {}", server.ready.version),
        &format!("tenure {}", env!("CARGO_PKG_VERSION")),
        &module_version(workspace, "k8s.io/client-go")?,
        &module_version(workspace, "sigs.k8s.io/controller-runtime")?,
    ]);
    let mut bench = Bench { server, audit, places: places.clone(), trials };
    let samples = match part {
        PeersPart::Handover => bench.handover(),
        PeersPart::Crash => bench.crash(),
        PeersPart::Many => bench.many(),
        PeersPart::Pause => bench.pause(),
        PeersPart::Cut => bench.cut(),
        PeersPart::Quiet => bench.quiet(),
    }?;
    Ok((samples, on))
}

fn name(part: PeersPart) -> &'static str {
    match part {
        PeersPart::Handover => "handover",
        PeersPart::Crash => "crash",
        PeersPart::Many => "many",
        PeersPart::Pause => "pause",
        PeersPart::Cut => "cut",
        PeersPart::Quiet => "quiet",
    }
}

/// As bench/go.mod requires it, such as `client-go v0.37.2`.
fn module_version(workspace: &Workspace, module: &str) -> anyhow::Result<String> {
    let file = workspace.root().join("bench/go.mod");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut lines = text.lines().map(str::trim);
    let version = lines.find_map(|line| line.strip_prefix(module)?.strip_prefix(' '));
    let version = version.with_context(|| format!("{} does not require {module}", file.display()))?;
    Ok(format!("{} {version}", module.rsplit('/').next().unwrap_or(module)))
}

/// How many wanted the processor in the last minute.
fn load() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("cannot read the load average")?;
    text.split(' ').next().unwrap_or_default().parse().context("the load average is no number")
}
