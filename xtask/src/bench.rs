//! `cargo xtask bench`: measures, prints, and writes the figures into docs/benchmarks.md between its two marks. What it
//! could not measure it does not write.

mod examples;
mod figures;
mod machine;
mod peers;
mod sandbox;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;

use crate::cli::{BenchArgs, BenchCommand};
use crate::demo::{Api, Change, Story};
use crate::steps::Steps;
use crate::workspace::{Workspace, in_ci};
use crate::{plugins, process};

use figures::{Figure, Figures};

/// The page, and the marks between which its figures stand.
const PAGE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// What users run with.
const PROFILE: &str = "default";

/// A release build of all, on a small machine.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// How many plugins more for what one more costs.
const FURTHER_PLUGINS: u32 = 100;

/// `cargo xtask bench`, with or without a word more.
pub(crate) fn run(workspace: &Workspace, args: &BenchArgs) -> anyhow::Result<()> {
    match &args.command {
        None => alone(workspace, args),
        Some(BenchCommand::Peers(args)) => peers::run(workspace, args),
    }
}

fn alone(workspace: &Workspace, args: &BenchArgs) -> anyhow::Result<()> {
    let mut steps = Steps::new(in_ci());
    let mut figures = Figures::default();
    steps.step("wasm target", plugins::TARGET_ADVICE, || plugins::install_target(workspace))?;
    steps.step("plugins", plugins::BUILD_ADVICE, || plugins::build(workspace))?;
    steps.step("tenure, release", "see what the compiler says", || {
        process::run(workspace.cargo().args(["build", "--release", "--package", "tenure"]), BUILD_LIMIT)
    })?;
    let advice = "cargo bench -p tenure-sandbox runs it alone";
    figures.extend(steps.step("sandbox", advice, || sandbox::measure(workspace))?);
    let advice = "cargo run --release -p tenure-sandbox --features fixtures --example idle_instances runs it alone";
    figures.extend(steps.step("idle instances", advice, || examples::idle_instances(workspace))?);
    let tenure = workspace.tenure("release");
    let advice = "TENURE_BIN=<file> cargo run -p tenure-tests --example lock_requests runs it alone";
    figures.extend(steps.step("requests for the lock", advice, || examples::lock_requests(workspace, &tenure))?);
    let advice = "TENURE_BIN=<file> TENURE_PLUGINS=target/plugins cargo run -p tenure-tests --example renewal_lateness runs it alone";
    figures.extend(steps.step("lateness of renewals", advice, || examples::renewal_lateness(workspace, &tenure))?);
    let advice = "what the replicas said is in target/bench/tenure-dev.log";
    figures.extend(steps.step("handover and takeover", advice, || changes(workspace, &tenure, args.trials))?);
    figures.extend(steps.step("many objects", advice, || many_objects(workspace, &tenure, args.objects))?);
    figures.extend(steps.step("many plugins", advice, || many_plugins(workspace, &tenure))?);
    let table = figures.table(&machine::described());
    println!("\n{table}");
    if !args.print {
        steps.step("write", "docs/benchmarks.md needs both marks", || {
            write(&workspace.root().join(PAGE), [BEGIN, END], &table)
        })?;
    }
    steps.finish()
}

fn begin(workspace: &Workspace, tenure: &Path) -> anyhow::Result<Story> {
    Ok(Story::begin(tenure, &workspace.target().join("bench"), PROFILE)?.0)
}

fn changes(workspace: &Workspace, tenure: &Path, trials: u32) -> anyhow::Result<Vec<Figure>> {
    let mut story = begin(workspace, tenure)?;
    story.drop_in(workspace, tenure, "label-propagator")?;
    story.create_teams()?;
    let mut handovers = Vec::new();
    let mut takeovers = Vec::new();
    for trial in 1..=trials {
        let handover = story.end_leader(Signal::TERM)?;
        story.dev.back(&handover.from)?;
        let takeover = story.end_leader(Signal::KILL)?;
        story.dev.back(&takeover.from)?;
        println!("    trial {trial}: SIGTERM {:.0?}, SIGKILL {:.0?}", handover.reconciled, takeover.reconciled);
        handovers.push(handover);
        takeovers.push(takeover);
    }
    let leader = story.leader()?;
    let mut figures = Vec::new();
    let of = |changes: &[Change], pick: fn(&Change) -> Duration| changes.iter().map(pick).collect::<Vec<_>>();
    figures.push(Figure::spread("SIGTERM to successor holds the lease", of(&handovers, |it| it.held)));
    figures.push(Figure::spread("SIGTERM to successor's first write by a plugin", of(&handovers, |it| it.reconciled)));
    figures.push(Figure::spread("SIGKILL to successor holds the lease", of(&takeovers, |it| it.held)));
    figures.push(Figure::spread("SIGKILL to successor's first write by a plugin", of(&takeovers, |it| it.reconciled)));
    for replica in story.dev.replicas() {
        let role = if replica.name == leader.name { "leader" } else { "standby" };
        figures.push(Figure::kib(&format!("resident memory of a {role}, 1 plugin"), replica.resident_kib()?));
    }
    story.dev.end()?;
    Ok(figures)
}

fn many_objects(workspace: &Workspace, tenure: &Path, objects: u32) -> anyhow::Result<Vec<Figure>> {
    let mut story = begin(workspace, tenure)?;
    let crowd = story.create_many(objects)?;
    story.drop_in(workspace, tenure, "label-propagator")?;
    let (first, all) = story.converged(&crowd)?;
    story.dev.end()?;
    Ok(vec![
        Figure::once(&format!("{objects} ConfigMaps, from the first written to the last"), all.saturating_sub(first)),
        Figure::once(&format!("{objects} ConfigMaps, from the plugin dropped in to the last written"), all),
    ])
}

fn many_plugins(workspace: &Workspace, tenure: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut story = begin(workspace, tenure)?;
    let leader = story.leader()?;
    story.drop_in(workspace, tenure, "label-propagator")?;
    wait_until_running(&leader.console, 1)?;
    let before = leader.resident_kib()?;
    for number in 0..FURTHER_PLUGINS {
        story.drop_in_as(workspace, tenure, "label-propagator", &format!("copy-{number}"))?;
    }
    wait_until_running(&leader.console, 1 + FURTHER_PLUGINS)?;
    let more = leader.resident_kib()?.saturating_sub(before);
    story.dev.end()?;
    Ok(vec![Figure::kib("resident memory of the leader per further idle plugin", more / u64::from(FURTHER_PLUGINS))])
}

/// Asks the leader's console: that a plugin runs can be seen nowhere else while it has nothing to do.
fn wait_until_running(console: &str, count: u32) -> anyhow::Result<()> {
    const LIMIT: Duration = Duration::from_secs(120);
    let console = Api::at(console);
    let begun = Instant::now();
    loop {
        let status = console.get("/status")?;
        let plugins = status["plugins"].as_array().map_or(&[][..], Vec::as_slice);
        let running = plugins.iter().filter(|plugin| plugin["state"] == "running").count();
        if running == count as usize {
            return Ok(());
        }
        if begun.elapsed() > LIMIT {
            bail!("{running} of {count} plugins run after {}", process::seconds(LIMIT));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn write(page: &Path, marks: [&str; 2], table: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = with_figures(&text, marks, table)
        .with_context(|| format!("{} lacks {} or {}", page.display(), marks[0], marks[1]))?;
    std::fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn with_figures(text: &str, [begin, end]: [&str; 2], table: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{table}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_replace_what_stood_between_the_marks_and_nothing_else() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let written = with_figures(&page, [BEGIN, END], "| new |\n").unwrap();
        assert_eq!(written, format!("before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"));
        assert_eq!(with_figures(&written, [BEGIN, END], "| new |\n").unwrap(), written);
        assert_eq!(with_figures("no marks", [BEGIN, END], "| new |"), None);
    }

    #[test]
    fn the_page_has_its_marks() {
        let page = Workspace::find().unwrap().root().join(PAGE);
        let text = std::fs::read_to_string(page).unwrap();
        assert!([[BEGIN, END], peers::MARKS].into_iter().all(|marks| with_figures(&text, marks, "").is_some()));
    }
}
