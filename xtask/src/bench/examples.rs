//! Figures that examples print: they need the inside of a room, or an API server that counts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::figures::Figure;
use crate::workspace::{TEST_FEATURES, Workspace};
use crate::{plugins, process};

const LIMIT: Duration = Duration::from_secs(60 * 60);

/// What three replicas ask of the API server for their lock.
pub(crate) fn lock_requests(workspace: &Workspace, tenure: &Path) -> anyhow::Result<Vec<Figure>> {
    let printed = process::output(example(workspace, "lock_requests")?.env("TENURE_BIN", tenure), LIMIT)?;
    let mut lines = printed.lines();
    let all = lines.next().and_then(|line| line.split_whitespace().next()).context("the example printed nothing")?;
    let verbs = lines.collect::<Vec<_>>().join(", ");
    Ok(vec![Figure::said("requests for the lock per minute, 3 replicas, 15/10/2", format!("{all} ({verbs})"))])
}

/// How late renewals are sent, without guests and with some that spin on every worker thread.
pub(crate) fn renewal_lateness(workspace: &Workspace, tenure: &Path) -> anyhow::Result<Vec<Figure>> {
    plugins::build_for_tests(workspace)?;
    let mut example = example(workspace, "renewal_lateness")?;
    example.env("TENURE_BIN", tenure).env("TENURE_PLUGINS", workspace.plugins_folder());
    let printed = process::output(&mut example, LIMIT)?;
    let figure = |line: &str| {
        let (which, value) = line.split_once(": ").context("the example printed another line")?;
        Ok(Figure::said(&format!("a renewal sent late, 5/3/1, {which}"), value.to_owned()))
    };
    printed.lines().map(figure).collect()
}

/// An example of the whole-host tests. Built with the whole workspace, as the tests are: alone, cargo would compile what it stands on
/// anew.
fn example(workspace: &Workspace, name: &str) -> anyhow::Result<Command> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--workspace", "--example", name, "--features", TEST_FEATURES]);
    process::run(&mut cargo, LIMIT)?;
    Ok(Command::new(workspace.target().join("debug/examples").join(name)))
}

/// Memory of the sandbox alone with idle instances of the label-propagator in it.
pub(crate) fn idle_instances(workspace: &Workspace) -> anyhow::Result<Vec<Figure>> {
    let plugin = workspace.plugins_folder().join("label-propagator/plugin.wasm");
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--release", "--package", "tenure-sandbox", "--features", "fixtures"]);
    cargo.args(["--example", "idle_instances", "--"]).arg(plugin);
    rows(&process::output(&mut cargo, LIMIT)?)
}

fn rows(printed: &str) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for line in printed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [instances, resident_mib, each_kib, _] = words[..]
            && instances.parse::<u32>().is_ok()
        {
            let what = format!("sandbox with {instances} idle instances of the label-propagator");
            figures.push(Figure::said(&what, format!("{resident_mib} MiB; {each_kib} KiB for each further one")));
        }
    }
    anyhow::ensure!(!figures.is_empty(), "the example printed no row");
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_table_are_figures_and_its_head_is_none() {
        let printed = "instances    RSS MiB   KiB per further   start us each\n      100       12.5              44.0              23\n";
        let figures = format!("{:?}", rows(printed).unwrap());
        assert!(figures.contains("100 idle") && figures.contains("44.0 KiB"), "{figures}");
        assert!(rows("nothing").is_err());
    }
}
