//! Prints what a further idle instance costs in resident memory, up to 1, 100 and 1000 of them, each having answered one
//! call. The first also pays for the code it runs, ours included.
//!
//! `cargo run --release -p tenure-sandbox --features fixtures --example idle_instances [plugin.wasm]`
#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails has nothing else to do")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure_sandbox::{Host, Instance, InstanceLimits, KillSwitch, Sandbox, SandboxSettings, fixtures};

const INSTANCES: [usize; 3] = [1, 100, 1000];

/// Resident memory of this process in KiB, from `/proc/self/status`.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wasm = std::env::args_os().nth(1).map_or_else(fixtures::echo, |path| std::fs::read(path).unwrap());
    let sandbox = Sandbox::new(SandboxSettings::default()).unwrap();
    let plugin = sandbox.load(&wasm).unwrap();
    let host: Arc<dyn Host> = Arc::new(fixtures::CannedHost::new("{}"));
    let mut before = resident_kib();
    println!("{:>9}  {:>9}  {:>16}  {:>14}", "instances", "RSS MiB", "KiB per further", "start us each");
    let mut instances: Vec<Instance> = Vec::with_capacity(INSTANCES[2]);
    for wanted in INSTANCES {
        let (begun, had) = (Instant::now(), instances.len());
        while instances.len() < wanted {
            let started = plugin.instantiate(Arc::clone(&host), InstanceLimits::default(), KillSwitch::new()).await;
            instances.push(started.unwrap());
        }
        let started_us = begun.elapsed().as_micros() / (wanted - had) as u128;
        for instance in &mut instances[had..] {
            // What it answers does not matter, only that it ran and its pages are touched.
            drop(instance.reconcile(fixtures::request("{}"), Duration::from_secs(10)).await);
        }
        let resident = resident_kib();
        let each = (resident - before) as f64 / (wanted - had) as f64;
        println!("{wanted:>9}  {:>9.1}  {each:>16.1}  {started_us:>14}", resident as f64 / 1024.0);
        before = resident;
    }
}
