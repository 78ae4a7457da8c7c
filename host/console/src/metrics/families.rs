//! Every metric there is: its name, help, kind and buckets. The one place that registers.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::labels::{
    OfController, OfDepth, OfHostCall, OfLimit, OfLock, OfPlugin, OfQueue, OfResult, OfSettings, OfState, OfWrite,
};

pub(crate) type GaugeSeconds = Gauge<f64, AtomicU64>;
pub(crate) type CounterSeconds = Counter<f64, AtomicU64>;
pub(crate) type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// controller-runtime's buckets for `controller_runtime_reconcile_time_seconds`.
const RECONCILE_TIME_BUCKETS: [f64; 40] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5,
    1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0,
];

/// How late a renewal was sent, or how long a barrier took: from a millisecond to half a minute.
const DELAY_BUCKETS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

fn reconcile_time() -> Histogram {
    Histogram::new(RECONCILE_TIME_BUCKETS)
}

/// The workqueue's buckets in controller-runtime: from 10 ns, times ten, twelve of them.
fn queue_time() -> Histogram {
    Histogram::new(exponential_buckets(10e-9, 10.0, 12))
}

fn delay() -> Histogram {
    Histogram::new(DELAY_BUCKETS)
}

#[derive(Debug)]
pub(crate) struct Families {
    pub(crate) settings_state: Family<OfSettings, Gauge>,
    pub(crate) master_status: Family<OfLock, Gauge>,
    pub(crate) slow_path: Family<OfLock, Counter>,
    pub(crate) term: Family<OfLock, Gauge>,
    pub(crate) deaths_proved: Family<OfLock, Counter>,
    pub(crate) policy_failures: Family<OfLock, Counter>,
    pub(crate) renewal_lateness: Histograms<OfLock>,
    pub(crate) throttled_periods: Family<OfLock, Counter>,
    pub(crate) throttled_time: Family<OfLock, CounterSeconds>,
    pub(crate) barrier: Histograms<OfLock>,
    pub(crate) writes: Family<OfWrite, Counter>,
    pub(crate) reconciles: Family<OfResult, Counter>,
    pub(crate) reconcile_errors: Family<OfController, Counter>,
    pub(crate) reconcile_panics: Family<OfController, Counter>,
    pub(crate) reconcile_timeouts: Family<OfController, Counter>,
    pub(crate) reconcile_time: Histograms<OfController>,
    pub(crate) concurrency_max: Family<OfController, Gauge>,
    pub(crate) active_workers: Family<OfController, Gauge>,
    pub(crate) queue_depth: Family<OfDepth, Gauge>,
    pub(crate) queue_adds: Family<OfQueue, Counter>,
    pub(crate) queue_wait: Histograms<OfQueue>,
    pub(crate) queue_work: Histograms<OfQueue>,
    pub(crate) queue_unfinished: Family<OfQueue, GaugeSeconds>,
    pub(crate) queue_longest: Family<OfQueue, GaugeSeconds>,
    pub(crate) queue_retries: Family<OfQueue, Counter>,
    pub(crate) plugin_state: Family<OfState, Gauge>,
    pub(crate) plugin_memory: Family<OfPlugin, Gauge>,
    pub(crate) plugin_cpu: Family<OfPlugin, CounterSeconds>,
    pub(crate) plugin_refused: Family<OfLimit, Counter>,
    pub(crate) host_calls: Family<OfHostCall, Counter>,
}

impl Families {
    /// Registers them all on one registry.
    pub(crate) fn register(on: &mut Registry, program_version: &str) -> Self {
        on.register("tenure_build", "The program", Info::new([("version", program_version.to_owned())]));
        Self {
            settings_state: add(
                on,
                "tenure_settings_state",
                "1 for how the settings stand to their file, 0 for the other states",
            ),
            master_status: add(on, "leader_election_master_status", "1 while this replica holds the lease, else 0"),
            slow_path: add(
                on,
                "leader_election_slowpath",
                "Renewals that first had to read the lease, because it had changed or an answer was lost",
            ),
            term: add(on, "tenure_term", "The term this replica leads, its fencing token; 0 while it does not lead"),
            deaths_proved: add(
                on,
                "tenure_deaths_proved",
                "Holders whose container this replica saw ended before their lease was over",
            ),
            policy_failures: add(
                on,
                "tenure_lock_policy_failures",
                "Questions to the lock policy that brought no verdict, so that the default policy decided",
            ),
            renewal_lateness: add_histogram(
                on,
                "tenure_renewal_lateness_seconds",
                "How much later than due a renewal was sent: what the election thread had to wait for a processor",
                delay,
            ),
            throttled_periods: add(
                on,
                "tenure_cpu_throttled_periods",
                "Periods in which the kernel made this container wait, its processor time used up",
            ),
            throttled_time: add(
                on,
                "tenure_cpu_throttled_seconds",
                "How long it made the container's threads wait in them, summed over processors",
            ),
            barrier: add_histogram(
                on,
                "tenure_barrier_seconds",
                "Time from winning a term to caches known to hold all that was written before it",
                delay,
            ),
            writes: add(on, "tenure_writes", "Writes by plugins, by what became of them at the gate"),
            reconciles: add(on, "controller_runtime_reconcile", "Reconciliations per plugin, by how they ended"),
            reconcile_errors: add(on, "controller_runtime_reconcile_errors", "Reconciliations that failed"),
            reconcile_panics: add(on, "controller_runtime_reconcile_panics", "Reconciliations that trapped"),
            reconcile_timeouts: add(
                on,
                "controller_runtime_reconcile_timeouts",
                "Reconciliations stopped at their time limit",
            ),
            reconcile_time: add_histogram(
                on,
                "controller_runtime_reconcile_time_seconds",
                "Length of time per reconciliation",
                reconcile_time,
            ),
            concurrency_max: add(
                on,
                "controller_runtime_max_concurrent_reconciles",
                "Most reconciliations that may run at once",
            ),
            active_workers: add(on, "controller_runtime_active_workers", "Reconciliations that run now"),
            queue_depth: add(on, "workqueue_depth", "Keys that wait"),
            queue_adds: add(on, "workqueue_adds", "Keys added to the queue"),
            queue_wait: add_histogram(on, "workqueue_queue_duration_seconds", "How long a key waited", queue_time),
            queue_work: add_histogram(
                on,
                "workqueue_work_duration_seconds",
                "How long a key was worked on",
                queue_time,
            ),
            queue_unfinished: add(
                on,
                "workqueue_unfinished_work_seconds",
                "Seconds of work on calls that have not ended; one that only rises means a stuck call",
            ),
            queue_longest: add(
                on,
                "workqueue_longest_running_processor_seconds",
                "Seconds the longest call that runs now has run",
            ),
            queue_retries: add(on, "workqueue_retries", "Keys added again after a delay"),
            plugin_state: add(on, "tenure_plugin_state", "1 for the state a plugin is in, 0 for the others"),
            plugin_memory: add(on, "tenure_plugin_memory_bytes", "Linear memory of all instances of a plugin"),
            plugin_cpu: add(on, "tenure_plugin_cpu_seconds", "Processor time that a plugin has used"),
            plugin_refused: add(
                on,
                "tenure_plugin_limit_refused",
                "How often a limit refused a plugin something: memory, a request, a log line",
            ),
            host_calls: add(on, "tenure_host_calls", "Calls of plugins for the Kubernetes API, by how they ended"),
        }
    }
}

fn add<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    L: EncodeLabelSet + Clone + std::hash::Hash + Eq,
    M: Default,
    Family<L, M>: Metric,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn add_histogram<L>(registry: &mut Registry, name: &str, help: &str, buckets: fn() -> Histogram) -> Histograms<L>
where
    L: EncodeLabelSet + Clone + std::hash::Hash + Eq,
    Histograms<L>: Metric,
{
    let family = Family::new_with_constructor(buckets);
    registry.register(name, help, family.clone());
    family
}
