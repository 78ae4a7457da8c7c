//! Counts what three replicas ask of the API server for their lock, at the default profile: reads, writes and watches.
//! Prints requests per minute, by verb. `TENURE_BIN` names the program.
#![expect(clippy::print_stdout, reason = "it prints what it counted")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenure_local_cluster::Intercept;
use tenure_tests::{Options, World};

/// How long to let the candidates come to rest, and how long to count.
const SETTLE: Duration = Duration::from_secs(10);
const COUNT: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() {
    let world = World::with_replicas(3, Options { profile: "default", ..Options::default() }).await;
    tokio::time::sleep(SETTLE).await;
    let counts: Arc<Mutex<BTreeMap<&'static str, u64>>> = Arc::default();
    let seen = Arc::clone(&counts);
    world.cluster().intercept(Arc::new(move |request| {
        if request.resource == "leases" {
            *seen.lock().unwrap_or_else(PoisonError::into_inner).entry(request.verb).or_default() += 1;
        }
        Intercept::Pass
    }));
    tokio::time::sleep(COUNT).await;
    world.cluster().stop_intercepting();
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let per_minute = |count: u64| count as f64 * 60.0 / COUNT.as_secs_f64();
    println!("{:.1} requests per minute", per_minute(counts.values().sum()));
    for (verb, count) in counts {
        println!("{:.1} {verb}", per_minute(count));
    }
}
