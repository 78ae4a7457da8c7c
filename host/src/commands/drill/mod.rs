//! `tenure drill`: takes leadership away from whoever holds a Lease, and measures what follows. Works on any candidate that
//! keeps its election in a Lease as client-go does.
//!
//! What is seen becomes figures in pure parts: `lease` (one state), `chronicle` (who held it, what should not be), `trial` (one
//! action and what came), `allowance`, `report`. `drive` feeds them from `watch`, and acts through `candidates`.

mod allowance;
mod candidates;
mod chronicle;
mod drive;
mod lease;
mod node;
mod node_access;
mod pods;
mod processes;
mod rbac;
mod render;
mod report;
#[cfg(test)]
mod transcripts;
mod trial;
mod watch;

use std::io::Write as _;

use anyhow::{anyhow, bail};

use self::candidates::Candidates;
use self::drive::{Drill, Order};
use self::node_access::NodeAccess;
use self::pods::{Place, Pods};
use self::processes::{Processes, Recipe};
use self::report::Report;
use self::watch::LeaseWatch;
use super::{say, unless_nobody_reads};
use crate::cli::{DrillArgs, DrillMode, Output};
use crate::run::kube_config;
use crate::signals::EndSignals;

pub(crate) use self::processes::become_candidate;

/// Runs the trials, prints what they came to, and fails where one was not measured or something was seen that should not be.
pub(crate) async fn drill(args: DrillArgs) -> anyhow::Result<()> {
    if args.processes.is_none() && args.mode == DrillMode::Pause && !args.pods.node_access {
        bail!(
            "no Pod can be paused through the API: --node-access signals it on its node, --processes drills processes here"
        );
    }
    if args.pods.node_access && args.mode == DrillMode::Handover {
        bail!("a handover is a deletion with grace, which needs no access to the node: leave --node-access out");
    }
    let mut signals = EndSignals::listen();
    let client = kube::Client::try_from(kube_config(&args.cluster).await?)?;
    let mut candidates = candidates(&args, &client)?;
    let mut report = Report::new(&args.lease, args.mode, args.trials, args.retry_period);
    report.action = candidates.action();

    let order = Order {
        lease: args.lease.clone(),
        mode: args.mode,
        trials: args.trials,
        retry_period: args.retry_period,
        yes: args.pods.yes,
        starts_candidates: args.processes.is_some(),
    };
    let watch = LeaseWatch::start(client, args.lease.clone());
    let mut is_interrupted = false;
    let result = {
        let mut drill = Drill::new(order, watch, candidates.as_mut());
        tokio::select! {
            result = drill.run(&mut report) => result,
            () = signals.next() => {
                is_interrupted = true;
                Err(anyhow!("interrupted: the report is of what was measured until then"))
            }
        }
    };
    tokio::select! {
        () = candidates.leave() => {}
        () = signals.next() => candidates.leave().await,
    }
    if is_interrupted || !report.trials.is_empty() {
        unless_nobody_reads(print(&report, args.output))?;
    }
    result?;
    if !report.is_clean() {
        let (measured, wanted, sights) = (report.trials_measured, report.trials_wanted, report.sights.len());
        bail!("{measured} of {wanted} trials measured, {sights} things seen that should not be: the report says which");
    }
    Ok(())
}

fn candidates(args: &DrillArgs, client: &kube::Client) -> anyhow::Result<Box<dyn Candidates>> {
    if let Some(count) = args.processes {
        let recipe = Recipe {
            count,
            command: args.command.clone(),
            logs: args.logs.clone(),
            kubeconfig: args.cluster.kubeconfig.clone(),
            mode: args.mode,
        };
        return Ok(Box::new(Processes::new(recipe)?));
    }
    let place = Place {
        lease: args.lease.clone(),
        namespace: args.pods.pods_namespace.clone().unwrap_or_else(|| args.lease.namespace.clone()),
        selector: args.pods.selector.clone(),
    };
    let pods = Pods::new(client.clone(), place, args.mode, args.trials);
    if args.pods.node_access {
        let (image, container) = (args.pods.node_image.clone(), args.pods.container.clone());
        return Ok(Box::new(NodeAccess::new(client.clone(), pods, image, container, args.mode)));
    }
    Ok(Box::new(pods))
}

fn print(report: &Report, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => say!("{}", serde_json::to_string_pretty(report)?)?,
        Output::Table => say!("{}", render::render(report))?,
    }
    Ok(())
}

/// Says on stderr what happens; stdout is for the report. Where nobody reads it, the drill goes on.
fn narrate(words: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{words}");
}
