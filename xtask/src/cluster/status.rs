//! `cargo xtask cluster status`: what runs of each cluster, by looking.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::control_plane::AUDIT_LOG;
use super::kubectl::Kubectl;
use super::machine::Machine;

const MEBIBYTE: u64 = 1024 * 1024;

/// Prints it.
pub(crate) fn status() -> anyhow::Result<()> {
    let clusters = Cluster::all()?;
    if clusters.is_empty() {
        println!("there is no cluster: `cargo xtask cluster up` starts one");
    }
    for cluster in clusters {
        print(&cluster)?;
    }
    Ok(())
}

fn print(cluster: &Cluster) -> anyhow::Result<()> {
    println!("{}", cluster.name);
    let record = cluster.record()?;
    let mut ready = BTreeMap::new();
    if let Some(record) = record.as_ref().filter(|_| cluster.kubeconfig().is_file()) {
        println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
        println!("  API {}, audit log {}", record.addresses.url(), cluster.control_plane().file(AUDIT_LOG).display());
        let kubectl = Kubectl { program: record.kubectl.clone(), kubeconfig: cluster.kubeconfig() };
        match kubectl.nodes() {
            Ok(nodes) => ready.extend(nodes),
            Err(error) => println!("  the API does not answer: {error:#}"),
        }
    } else {
        println!("  half made: `cargo xtask cluster down --name {}` removes it", cluster.name);
    }
    let mut total = 0;
    for place in cluster.places()? {
        let Some(machine) = place.machine()? else {
            println!("  {:14} does not run", place.name);
            continue;
        };
        let (programs, memory_bytes) = programs(&machine)?;
        total += memory_bytes;
        let ready = match ready.get(&place.name) {
            Some(true) => "Ready, ",
            Some(false) => "NotReady, ",
            None => "",
        };
        println!(
            "  {:14} {ready}{} MiB, enter with nsenter --all --target {}",
            place.name,
            memory_bytes / MEBIBYTE,
            machine.target()
        );
        println!("                 {}", programs.join(", "));
    }
    println!("  {:14} {} MiB", "together", total / MEBIBYTE);
    Ok(())
}

/// Each program once, with how often it runs and what memory that takes.
fn programs(machine: &Machine) -> anyhow::Result<(Vec<String>, u64)> {
    let mut programs: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for process in machine.processes()? {
        let (count, memory_bytes) = programs.entry(process.name()).or_default();
        *count += 1;
        *memory_bytes += process.memory_bytes();
    }
    let total = programs.values().map(|(_, memory_bytes)| memory_bytes).sum();
    let shown = programs.into_iter().map(|(name, (count, memory_bytes))| {
        let times = if count > 1 { format!(" x{count}") } else { String::new() };
        format!("{name}{times} {} MiB", memory_bytes / MEBIBYTE)
    });
    Ok((shown.collect(), total))
}
