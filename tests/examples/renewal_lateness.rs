//! How late a leader sends its renewals, without guests and with guests that spin on every worker thread, one after the other in one
//! process. From the renew times in the Lease, which are the elector's own: each is due one retry-period after the one before.
//! Prints a line for each. `TENURE_BIN` names the program, `TENURE_PLUGINS` the plugins, the argument how many renewals.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::time::Duration;

use serde_json::json;
use tenure_tests::{Options, Plugin, World, get, until};

/// Guests that spin: more than any machine this runs on has worker threads.
const GUESTS: usize = 8;
/// The profile's retry-period.
const RETRY_PERIOD: Duration = Duration::from_secs(1);
/// No guest is cut off, and none waits for a share of the processor.
const LIMITS: &str = "[limits]\nconcurrency = 8\nreconcile-timeout = \"1h\"\ncpu = \"64\"\nguests-cpu = \"64\"\n";

#[tokio::main]
async fn main() {
    let renewals = std::env::args().nth(1).map_or(300, |count| count.parse().expect("how many renewals"));
    let world = World::with_replicas(1, Options { profile: "fast", config: LIMITS.to_owned() }).await;
    println!("without guests: {}", lateness(&world, renewals).await);
    world.drop_in(&Plugin::probe("spins", "spin", "1")).await;
    for number in 0..GUESTS {
        world.config_map("spins", "default", &format!("spins-{number}"), json!({})).await;
    }
    let console = world.replicas["replica-0"].console().await;
    until("every guest to spin", || async {
        let metrics = get(&format!("{console}/metrics")).await.unwrap_or_default();
        let busy = metrics.lines().filter(|line| line.starts_with("controller_runtime_active_workers{"));
        busy.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>() == GUESTS
    })
    .await;
    println!("with {GUESTS} spinning guests: {}", lateness(&world, renewals).await);
    assert_eq!(world.judged().await.terms().len(), 1, "the lease was never lost");
}

/// So many renewals from now on: how late they were sent.
async fn lateness(world: &World, renewals: usize) -> String {
    let before = world.judge.history().len();
    for renewal in 1..=renewals {
        until("a renewal", || async { world.judge.history().len() > before + renewal }).await;
    }
    let history = world.judge.history().split_off(before);
    let sent: Vec<_> = history.iter().filter_map(|state| state.renewed_at).collect();
    let mut late: Vec<f64> = sent
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_secs_f64() - RETRY_PERIOD.as_secs_f64())
        .map(|seconds| seconds * 1e3)
        .collect();
    late.sort_by(f64::total_cmp);
    let at = |share: f64| late[((late.len() - 1) as f64 * share).round() as usize];
    format!("{:.2} / {:.2} / {:.2} ms (p50 / p99 / max of {})", at(0.5), at(0.99), at(1.0), late.len())
}
