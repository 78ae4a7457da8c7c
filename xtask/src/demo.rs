//! `cargo xtask demo`: three replicas, two plugins dropped in, the leader killed, the next ended in order. Each line it
//! prints was observed through the Kubernetes API; what is not observed in time fails it.

mod api;
mod dev;
mod lock;
mod scene;
mod story;

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cli::DemoArgs;
use crate::plugins;
use crate::process;
use crate::steps::Steps;
use crate::workspace::{Workspace, in_ci};

pub(crate) use api::Api;
pub(crate) use story::{Change, Story};

/// A lease of 5 s, so that nobody waits long for a takeover.
const PROFILE: &str = "fast";

const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// `cargo xtask demo`.
pub(crate) fn run(workspace: &Workspace, args: &DemoArgs) -> anyhow::Result<()> {
    let mut steps = Steps::new(in_ci());
    steps.step("wasm target", plugins::TARGET_ADVICE, || plugins::install_target(workspace))?;
    steps.step("plugins", plugins::BUILD_ADVICE, || plugins::build(workspace))?;
    if args.tenure.is_none() {
        steps.step("tenure", "see what the compiler says", || {
            process::run(workspace.cargo().args(["build", "--package", "tenure"]), BUILD_LIMIT)
        })?;
    }
    steps.step("demo", "what the replicas said is in target/demo/tenure-dev.log", || play(workspace, args))?;
    steps.finish()
}

/// Plays it, with plugins and program built.
pub(crate) fn play(workspace: &Workspace, args: &DemoArgs) -> anyhow::Result<()> {
    let tenure = args.tenure.clone().unwrap_or_else(|| workspace.tenure("debug"));
    let mut timeline = Timeline::new();
    let (mut story, leader) = Story::begin(&tenure, &workspace.target().join("demo"), PROFILE)?;
    timeline.tell("three replicas run on a cluster in memory");
    timeline.tell(&format!("{} leads, term {}", leader.identity, leader.term));
    for plugin in workspace.plugins() {
        let names = story.drop_in(workspace, &tenure, &plugin.name)?;
        timeline.tell(&format!("{} dropped in: ConfigMap {} in tenure-plugins", plugin.name, names.join(", ")));
    }

    let took = story.create_teams()?;
    timeline.tell_took("namespaces shop and billing made; their ConfigMaps bear their labels", took);
    let took = story.create_source()?;
    timeline.tell_took("platform/ca-bundle made; both namespaces hold a copy", took);
    let took = story.edit()?;
    timeline.tell_took("a namespace's label changed; its ConfigMap follows", took);

    let killed = end_leader(&mut story, &mut timeline, "SIGKILL", Signal::KILL)?;
    let back = story.dev.back(&killed.from)?;
    timeline.tell(&format!("{} is back and stands by", back.name));
    let ended = end_leader(&mut story, &mut timeline, "SIGTERM", Signal::TERM)?;
    if ended.released.is_none() {
        anyhow::bail!("{} was asked to end and did not release the lease", ended.from.name);
    }

    let took = story.delete_source()?;
    timeline.tell_took("platform/ca-bundle deleted; it and its copies are gone", took);
    timeline.print();
    if args.stay {
        stay(&mut story)?;
    }
    story.dev.end()
}

fn end_leader(story: &mut Story, timeline: &mut Timeline, name: &str, signal: Signal) -> anyhow::Result<Change> {
    timeline.tell(&format!("{name} to {}, which leads", story.leader()?.name));
    let change = story.end_leader(signal)?;
    if let Some(released) = change.released {
        timeline.tell_took(&format!("{} released the lease", change.from.name), released);
    }
    timeline.tell_took(&format!("{} leads, term {}", change.to.identity, change.to.term), change.held);
    timeline.tell_took("a plugin there has written", change.reconciled);
    Ok(change)
}

fn stay(story: &mut Story) -> anyhow::Result<()> {
    println!("\nIt stays; Ctrl-C ends it. In another terminal:\n");
    println!("  export KUBECONFIG={}", story.dev.kubeconfig.display());
    println!("  kubectl get lease -A -w");
    println!("  kubectl get configmap -A --show-labels");
    println!("  kubectl label namespace shop team=green --overwrite");
    println!("  kubectl get configmap settings -n shop -o yaml");
    println!("  kubectl annotate configmap label-propagator -n tenure-plugins tenure.dev/suspend=true");
    for replica in story.dev.replicas() {
        println!("  curl {}/status    # {}, pid {}", replica.console, replica.name, replica.pid.as_raw_nonzero());
    }
    story.dev.stay()
}

/// What was observed, and when.
struct Timeline {
    begun: Instant,
    lines: Vec<String>,
}

impl Timeline {
    fn new() -> Self {
        Self { begun: Instant::now(), lines: Vec::new() }
    }

    fn tell(&mut self, what: &str) {
        self.add(what, None);
    }

    fn tell_took(&mut self, what: &str, took: Duration) {
        self.add(what, Some(took));
    }

    fn add(&mut self, what: &str, took: Option<Duration>) {
        let took = took.map_or_else(String::new, |took| format!("{:.0} ms", took.as_secs_f64() * 1000.0));
        let line = format!("{:7.2} s  {took:>8}  {what}", self.begun.elapsed().as_secs_f64());
        println!("    {line}");
        self.lines.push(line);
    }

    fn print(&self) {
        println!(
            "\n    observed through the Kubernetes API (since the start; time it took, since the edit or signal)\n"
        );
        for line in &self.lines {
            println!("    {line}");
        }
    }
}
