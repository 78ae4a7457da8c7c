//! The metrics of one replica. Names and buckets are those of controller-runtime (`pkg/internal/controller/metrics`,
//! `pkg/internal/metrics/workqueue.go`) and client-go (`leader_election_*`) where these have one, so that dashboards and
//! alerts made for them work; what is ours begins with `tenure_`.
//!
//! A controller, there, is a plugin here: the labels `controller` and `name` of a queue carry the plugin's key. Counters
//! are registered without `_total`: the encoder appends it.

mod families;
mod labels;

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::{PluginState, SettingsState};
use families::{CounterSeconds, Families, GaugeSeconds};
pub use labels::{CallResult, HostFunction, Limit, ReconcileResult, WriteFate};
use labels::{
    OfController, OfDepth, OfHostCall, OfLimit, OfLock, OfPlugin, OfQueue, OfResult, OfSettings, OfState, OfWrite,
};

/// All metrics of one replica. Handles for a lock or a plugin are made once and kept: using one takes no lock on the
/// whole.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
}

impl Metrics {
    /// OpenMetrics, which every Prometheus since 2.5 asks for. In it a counter's sample ends in `_total` and its
    /// description does not.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// No series yet but `tenure_build_info` and `tenure_settings_state`.
    #[must_use]
    pub fn new(program_version: &str) -> Self {
        let mut registry = Registry::default();
        let families = Families::register(&mut registry, program_version);
        let metrics = Self { registry, families };
        metrics.set_settings_state(SettingsState::Current);
        metrics
    }

    /// `tenure_settings_state`: 1 for `now`, 0 for every other.
    pub fn set_settings_state(&self, now: SettingsState) {
        for state in SettingsState::ALL {
            self.families.settings_state.get_or_create_owned(&OfSettings { state }).set(i64::from(state == now));
        }
    }

    /// The metrics of the lock `name` (the Lease's name, as client-go labels it). Its series exist from here on, at zero.
    #[must_use]
    pub fn lock(&self, name: &str) -> LockMetrics {
        let of_lock = OfLock { name: name.to_owned() };
        LockMetrics {
            master_status: self.families.master_status.get_or_create_owned(&of_lock),
            slow_path: self.families.slow_path.get_or_create_owned(&of_lock),
            term: self.families.term.get_or_create_owned(&of_lock),
            deaths_proved: self.families.deaths_proved.get_or_create_owned(&of_lock),
            policy_failures: self.families.policy_failures.get_or_create_owned(&of_lock),
            renewal_lateness: self.families.renewal_lateness.get_or_create_owned(&of_lock),
            throttled_periods: self.families.throttled_periods.get_or_create_owned(&of_lock),
            throttled_time: self.families.throttled_time.get_or_create_owned(&of_lock),
            barrier: self.families.barrier.get_or_create_owned(&of_lock),
            writes: WriteFate::ALL
                .map(|fate| self.families.writes.get_or_create_owned(&OfWrite { name: name.to_owned(), fate })),
        }
    }

    /// The metrics of the plugin `key` (its key as in finalizers and field managers). Its series exist from here on.
    #[must_use]
    pub fn plugin(&self, key: &str) -> PluginMetrics {
        let families = &self.families;
        let controller = OfController { controller: key.to_owned() };
        let queue = OfQueue { name: key.to_owned(), controller: key.to_owned() };
        let plugin = OfPlugin { plugin: key.to_owned() };
        PluginMetrics {
            reconciles: ReconcileResult::ALL.map(|result| {
                families.reconciles.get_or_create_owned(&OfResult { controller: key.to_owned(), result })
            }),
            reconcile_errors: families.reconcile_errors.get_or_create_owned(&controller),
            reconcile_panics: families.reconcile_panics.get_or_create_owned(&controller),
            reconcile_timeouts: families.reconcile_timeouts.get_or_create_owned(&controller),
            reconcile_time: families.reconcile_time.get_or_create_owned(&controller),
            concurrency_max: families.concurrency_max.get_or_create_owned(&controller),
            active_workers: families.active_workers.get_or_create_owned(&controller),
            queue_depth: families.queue_depth.get_or_create_owned(&of_depth(key)),
            queue_adds: families.queue_adds.get_or_create_owned(&queue),
            queue_wait: families.queue_wait.get_or_create_owned(&queue),
            queue_work: families.queue_work.get_or_create_owned(&queue),
            queue_unfinished: families.queue_unfinished.get_or_create_owned(&queue),
            queue_longest: families.queue_longest.get_or_create_owned(&queue),
            queue_retries: families.queue_retries.get_or_create_owned(&queue),
            states: PluginState::ALL
                .map(|state| families.plugin_state.get_or_create_owned(&OfState { plugin: key.to_owned(), state })),
            memory: families.plugin_memory.get_or_create_owned(&plugin),
            cpu: families.plugin_cpu.get_or_create_owned(&plugin),
            refused: Limit::ALL
                .map(|limit| families.plugin_refused.get_or_create_owned(&OfLimit { plugin: key.to_owned(), limit })),
            host_calls: HostFunction::ALL.map(|function| {
                CallResult::ALL.map(|result| {
                    families.host_calls.get_or_create_owned(&OfHostCall { plugin: key.to_owned(), function, result })
                })
            }),
        }
    }

    /// Ends all series of a removed plugin. Handles of it that are still about count into nothing.
    pub fn forget_plugin(&self, key: &str) {
        let families = &self.families;
        let controller = OfController { controller: key.to_owned() };
        let queue = OfQueue { name: key.to_owned(), controller: key.to_owned() };
        for result in ReconcileResult::ALL {
            families.reconciles.remove(&OfResult { controller: key.to_owned(), result });
        }
        families.reconcile_errors.remove(&controller);
        families.reconcile_panics.remove(&controller);
        families.reconcile_timeouts.remove(&controller);
        families.reconcile_time.remove(&controller);
        families.concurrency_max.remove(&controller);
        families.active_workers.remove(&controller);
        families.queue_depth.remove(&of_depth(key));
        families.queue_adds.remove(&queue);
        families.queue_wait.remove(&queue);
        families.queue_work.remove(&queue);
        families.queue_unfinished.remove(&queue);
        families.queue_longest.remove(&queue);
        families.queue_retries.remove(&queue);
        for state in PluginState::ALL {
            families.plugin_state.remove(&OfState { plugin: key.to_owned(), state });
        }
        families.plugin_memory.remove(&OfPlugin { plugin: key.to_owned() });
        families.plugin_cpu.remove(&OfPlugin { plugin: key.to_owned() });
        for limit in Limit::ALL {
            families.plugin_refused.remove(&OfLimit { plugin: key.to_owned(), limit });
        }
        for function in HostFunction::ALL {
            for result in CallResult::ALL {
                families.host_calls.remove(&OfHostCall { plugin: key.to_owned(), function, result });
            }
        }
    }

    /// The whole as text, in the form [`Self::CONTENT_TYPE`] names.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            // Writing to a String cannot fail; a metric that refuses to be written would be a defect worth seeing.
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

/// The metrics of one lock.
#[derive(Debug, Clone)]
pub struct LockMetrics {
    master_status: Gauge,
    slow_path: Counter,
    term: Gauge,
    deaths_proved: Counter,
    policy_failures: Counter,
    renewal_lateness: Histogram,
    throttled_periods: Counter,
    throttled_time: CounterSeconds,
    barrier: Histogram,
    writes: [Counter; WriteFate::ALL.len()],
}

impl LockMetrics {
    /// `leader_election_master_status` and `tenure_term`: the term this replica leads, or that it does not lead.
    pub fn set_term(&self, term: Option<u64>) {
        self.master_status.set(i64::from(term.is_some()));
        self.term.set(term.map_or(0, |term| i64::try_from(term).unwrap_or(i64::MAX)));
    }

    /// `leader_election_slowpath_total`, from a count kept elsewhere. Smaller than before: nothing happens.
    pub fn set_slow_path_total(&self, total: u64) {
        self.slow_path.inner().fetch_max(total, Ordering::Relaxed);
    }

    /// `tenure_deaths_proved_total`, from a count kept elsewhere. Smaller than before: nothing happens.
    pub fn set_deaths_proved_total(&self, total: u64) {
        self.deaths_proved.inner().fetch_max(total, Ordering::Relaxed);
    }

    /// `tenure_lock_policy_failures_total`: the lock policy gave no verdict.
    pub fn count_policy_failure(&self) {
        self.policy_failures.inc();
    }

    /// `tenure_renewal_lateness_seconds`: how much later than due a renewal was sent.
    pub fn observe_renewal_lateness(&self, late: Duration) {
        self.renewal_lateness.observe(late.as_secs_f64());
    }

    /// `tenure_cpu_throttled_periods_total` and `tenure_cpu_throttled_seconds_total`, from counts kept by the kernel. Smaller than before:
    /// nothing happens.
    pub fn set_throttled_total(&self, periods: u64, time: Duration) {
        self.throttled_periods.inner().fetch_max(periods, Ordering::Relaxed);
        // Of numbers that are not negative the larger has the larger bits.
        self.throttled_time.inner().fetch_max(time.as_secs_f64().to_bits(), Ordering::Relaxed);
    }

    /// `tenure_barrier_seconds`: how long the barrier at the start of a term took.
    pub fn observe_barrier(&self, took: Duration) {
        self.barrier.observe(took.as_secs_f64());
    }

    /// `tenure_writes_total{fate}`: `count` more writes had this fate.
    pub fn count_writes(&self, fate: WriteFate, count: u64) {
        self.writes[fate as usize].inc_by(count);
    }
}

/// The metrics of one plugin. Holds every series itself, rather than the families, so that a handle that outlives
/// [`Metrics::forget_plugin`] brings nothing back. The arrays are in the order of each enumeration's `ALL`, which is that of
/// its declaration.
#[derive(Debug, Clone)]
pub struct PluginMetrics {
    reconciles: [Counter; ReconcileResult::ALL.len()],
    reconcile_errors: Counter,
    reconcile_panics: Counter,
    reconcile_timeouts: Counter,
    reconcile_time: Histogram,
    concurrency_max: Gauge,
    active_workers: Gauge,
    queue_depth: Gauge,
    queue_adds: Counter,
    queue_wait: Histogram,
    queue_work: Histogram,
    queue_unfinished: GaugeSeconds,
    queue_longest: GaugeSeconds,
    queue_retries: Counter,
    states: [Gauge; PluginState::ALL.len()],
    memory: Gauge,
    cpu: CounterSeconds,
    refused: [Counter; Limit::ALL.len()],
    host_calls: [[Counter; CallResult::ALL.len()]; HostFunction::ALL.len()],
}

impl PluginMetrics {
    /// `count` more keys were added to the queue: `workqueue_adds_total`.
    pub fn count_added(&self, count: u64) {
        self.queue_adds.inc_by(count);
    }

    /// `count` more keys were added again after a delay: `workqueue_retries_total`.
    pub fn count_retried(&self, count: u64) {
        self.queue_retries.inc_by(count);
    }

    /// A key left the queue for a call, after waiting so long: `workqueue_queue_duration_seconds`.
    pub fn observe_waited(&self, waited: Duration) {
        self.queue_wait.observe(waited.as_secs_f64());
    }

    /// Keys that wait now: `workqueue_depth`.
    pub fn set_depth(&self, keys: usize) {
        self.queue_depth.set(whole(keys as u64));
    }

    /// Work on calls that have not ended, summed, and the longest of them: `workqueue_unfinished_work_seconds`,
    /// `workqueue_longest_running_processor_seconds`.
    pub fn set_running(&self, unfinished: Duration, longest: Duration) {
        self.queue_unfinished.set(unfinished.as_secs_f64());
        self.queue_longest.set(longest.as_secs_f64());
    }

    /// Calls that run now, and how many may: `controller_runtime_active_workers`,
    /// `controller_runtime_max_concurrent_reconciles`.
    pub fn set_workers(&self, active: usize, concurrency_max: usize) {
        self.active_workers.set(whole(active as u64));
        self.concurrency_max.set(whole(concurrency_max as u64));
    }

    /// A call ended: `controller_runtime_reconcile_total{result}`, `_errors_total`, `_time_seconds` and
    /// `workqueue_work_duration_seconds`.
    pub fn observe_reconcile(&self, result: ReconcileResult, took: Duration) {
        self.reconciles[result as usize].inc();
        if result == ReconcileResult::Error {
            self.reconcile_errors.inc();
        }
        self.reconcile_time.observe(took.as_secs_f64());
        self.queue_work.observe(took.as_secs_f64());
    }

    /// A call trapped (also counted as an error): `controller_runtime_reconcile_panics_total`.
    pub fn count_trapped(&self) {
        self.reconcile_panics.inc();
    }

    /// A call was stopped at its time limit (also counted as an error): `controller_runtime_reconcile_timeouts_total`.
    pub fn count_timed_out(&self) {
        self.reconcile_timeouts.inc();
    }

    /// `tenure_plugin_state`: 1 for `now`, 0 for every other.
    pub fn set_state(&self, now: PluginState) {
        for (state, gauge) in PluginState::ALL.into_iter().zip(&self.states) {
            gauge.set(i64::from(state == now));
        }
    }

    /// `tenure_plugin_memory_bytes`: linear memory of all its instances.
    pub fn set_memory_bytes(&self, bytes: u64) {
        self.memory.set(whole(bytes));
    }

    /// `tenure_plugin_cpu_seconds_total`: processor time that its instances have used since last counted.
    pub fn count_cpu(&self, used: Duration) {
        self.cpu.inc_by(used.as_secs_f64());
    }

    /// `tenure_plugin_limit_refused_total{limit}`: `count` more refusals.
    pub fn count_refused(&self, limit: Limit, count: u64) {
        self.refused[limit as usize].inc_by(count);
    }

    /// `tenure_host_calls_total{function,result}`.
    pub fn count_host_call(&self, function: HostFunction, result: CallResult) {
        self.host_calls[function as usize][result as usize].inc();
    }
}

fn of_depth(key: &str) -> OfDepth {
    OfDepth { name: key.to_owned(), controller: key.to_owned(), priority: String::new() }
}

/// Gauges are signed.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn lines_with(text: &str, needle: &str) -> String {
        text.lines().filter(|line| line.contains(needle)).fold(String::new(), |all, line| all + line + "\n")
    }

    /// Names with their kinds, without samples.
    fn descriptions(text: &str) -> String {
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).fold(String::new(), |all, line| all + line + "\n")
    }

    #[test]
    fn names_are_those_of_controller_runtime_and_client_go() {
        let metrics = Metrics::new("0.1.0");
        let _lock = metrics.lock("tenure");
        let _plugin = metrics.plugin("p-0");
        expect![[r#"
            tenure_build info
            tenure_settings_state gauge
            leader_election_master_status gauge
            leader_election_slowpath counter
            tenure_term gauge
            tenure_deaths_proved counter
            tenure_lock_policy_failures counter
            tenure_renewal_lateness_seconds histogram
            tenure_cpu_throttled_periods counter
            tenure_cpu_throttled_seconds counter
            tenure_barrier_seconds histogram
            tenure_writes counter
            controller_runtime_reconcile counter
            controller_runtime_reconcile_errors counter
            controller_runtime_reconcile_panics counter
            controller_runtime_reconcile_timeouts counter
            controller_runtime_reconcile_time_seconds histogram
            controller_runtime_max_concurrent_reconciles gauge
            controller_runtime_active_workers gauge
            workqueue_depth gauge
            workqueue_adds counter
            workqueue_queue_duration_seconds histogram
            workqueue_work_duration_seconds histogram
            workqueue_unfinished_work_seconds gauge
            workqueue_longest_running_processor_seconds gauge
            workqueue_retries counter
            tenure_plugin_state gauge
            tenure_plugin_memory_bytes gauge
            tenure_plugin_cpu_seconds counter
            tenure_plugin_limit_refused counter
            tenure_host_calls counter
        "#]]
        .assert_eq(&descriptions(&metrics.encode()));
    }

    #[test]
    fn a_counter_ends_in_total_once() {
        let metrics = Metrics::new("0.1.0");
        let plugin = metrics.plugin("p-0");
        plugin.observe_reconcile(ReconcileResult::RequeueAfter, Duration::from_millis(7));
        plugin.observe_reconcile(ReconcileResult::Error, Duration::from_millis(7));
        let text = metrics.encode();
        expect![[r#"
            controller_runtime_reconcile_errors_total{controller="p-0"} 1
        "#]]
        .assert_eq(&lines_with(&text, "reconcile_errors_total"));
        for (result, count) in [("success", 0), ("error", 1), ("requeue", 0), ("requeue_after", 1)] {
            let line =
                format!("controller_runtime_reconcile_total{{controller=\"p-0\",result=\"{result}\"}} {count}\n");
            assert!(text.contains(&line), "{line} is not in {text}");
        }
        assert!(!text.contains("total_total"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn counts_of_the_kernel_only_grow() {
        let metrics = Metrics::new("0.1.0");
        let lock = metrics.lock("tenure");
        lock.set_throttled_total(3, Duration::from_millis(1500));
        lock.set_throttled_total(2, Duration::from_millis(250));
        let text = metrics.encode();
        for line in [
            r#"tenure_cpu_throttled_periods_total{name="tenure"} 3"#,
            r#"tenure_cpu_throttled_seconds_total{name="tenure"} 1.5"#,
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn queue_series_carry_name_and_controller() {
        let metrics = Metrics::new("0.1.0");
        let plugin = metrics.plugin("p-0");
        plugin.count_added(1);
        plugin.count_retried(1);
        plugin.set_depth(3);
        plugin.set_running(Duration::from_millis(1500), Duration::from_millis(1250));
        let text = metrics.encode();
        for line in [
            r#"workqueue_depth{name="p-0",controller="p-0",priority=""} 3"#,
            r#"workqueue_adds_total{name="p-0",controller="p-0"} 1"#,
            r#"workqueue_retries_total{name="p-0",controller="p-0"} 1"#,
            r#"workqueue_unfinished_work_seconds{name="p-0",controller="p-0"} 1.5"#,
            r#"workqueue_longest_running_processor_seconds{name="p-0",controller="p-0"} 1.25"#,
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_histogram_has_the_buckets_of_controller_runtime() {
        let metrics = Metrics::new("0.1.0");
        let plugin = metrics.plugin("p-0");
        plugin.observe_reconcile(ReconcileResult::Success, Duration::from_millis(6));
        let text = metrics.encode();
        let buckets = lines_with(&text, "controller_runtime_reconcile_time_seconds_bucket");
        assert_eq!(buckets.lines().count(), 41, "40 and +Inf: {buckets}");
        assert!(buckets.contains("le=\"0.005\",controller=\"p-0\"} 0"), "{buckets}");
        assert!(buckets.contains("le=\"0.01\",controller=\"p-0\"} 1"), "{buckets}");
        assert_eq!(lines_with(&text, "workqueue_work_duration_seconds_bucket").lines().count(), 13, "12 and +Inf");
    }

    #[test]
    fn each_limit_is_a_series_under_its_key_in_the_settings() {
        let metrics = Metrics::new("0.1.0");
        let plugin = metrics.plugin("p-0");
        for (count, limit) in (0..).zip(Limit::ALL) {
            plugin.count_refused(limit, count);
        }
        expect![[r#"
            tenure_plugin_limit_refused_total{plugin="p-0",limit="cpu"} 6
            tenure_plugin_limit_refused_total{plugin="p-0",limit="guests-cpu"} 7
            tenure_plugin_limit_refused_total{plugin="p-0",limit="log-lines-per-second"} 5
            tenure_plugin_limit_refused_total{plugin="p-0",limit="memory"} 0
            tenure_plugin_limit_refused_total{plugin="p-0",limit="request-bytes"} 3
            tenure_plugin_limit_refused_total{plugin="p-0",limit="requests-per-second"} 2
            tenure_plugin_limit_refused_total{plugin="p-0",limit="response-bytes"} 4
            tenure_plugin_limit_refused_total{plugin="p-0",limit="table-elements"} 1
        "#]]
        .assert_eq(&sorted(&lines_with(&metrics.encode(), "tenure_plugin_limit_refused_total")));
    }

    /// The order of series is that of a hash.
    fn sorted(text: &str) -> String {
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        lines.into_iter().fold(String::new(), |all, line| all + line + "\n")
    }

    #[test]
    fn exactly_one_state_of_a_plugin_is_set() {
        let metrics = Metrics::new("0.1.0");
        let plugin = metrics.plugin("p-0");
        plugin.set_state(PluginState::Loading);
        plugin.set_state(PluginState::CircuitOpen);
        let text = metrics.encode();
        let set = lines_with(&text, "tenure_plugin_state{").lines().filter(|line| line.ends_with(" 1")).count();
        assert_eq!(set, 1, "{text}");
        assert!(text.contains("tenure_plugin_state{plugin=\"p-0\",state=\"circuit-open\"} 1"), "{text}");
    }

    #[test]
    fn a_forgotten_plugin_leaves_no_series_even_when_a_handle_is_still_used() {
        let metrics = Metrics::new("0.1.0");
        let kept = metrics.plugin("kept");
        let gone = metrics.plugin("gone");
        metrics.forget_plugin("gone");
        gone.observe_reconcile(ReconcileResult::Error, Duration::ZERO);
        gone.count_host_call(HostFunction::Apply, CallResult::Denied);
        gone.set_state(PluginState::Running);
        gone.count_refused(Limit::Memory, 1);
        kept.count_host_call(HostFunction::RecordEvent, CallResult::Ok);
        let text = metrics.encode();
        assert_eq!(lines_with(&text, "gone"), "");
        assert!(
            text.contains("tenure_host_calls_total{plugin=\"kept\",function=\"record-event\",result=\"ok\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn a_lock_counts_its_writes_and_its_slow_path_never_falls() {
        let metrics = Metrics::new("0.1.0");
        let lock = metrics.lock("tenure");
        lock.set_term(Some(17));
        lock.count_writes(WriteFate::Admitted, 3);
        lock.count_writes(WriteFate::RefusedLate, 1);
        lock.set_slow_path_total(5);
        lock.set_slow_path_total(4);
        lock.set_deaths_proved_total(2);
        lock.count_policy_failure();
        let text = metrics.encode();
        for line in [
            r#"leader_election_master_status{name="tenure"} 1"#,
            r#"leader_election_slowpath_total{name="tenure"} 5"#,
            r#"tenure_term{name="tenure"} 17"#,
            r#"tenure_deaths_proved_total{name="tenure"} 2"#,
            r#"tenure_lock_policy_failures_total{name="tenure"} 1"#,
            r#"tenure_writes_total{name="tenure",fate="admitted"} 3"#,
            r#"tenure_writes_total{name="tenure",fate="refused_late"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        lock.set_term(None);
        let text = metrics.encode();
        assert!(text.contains(r#"leader_election_master_status{name="tenure"} 0"#), "{text}");
        assert!(text.contains(r#"tenure_term{name="tenure"} 0"#), "{text}");
    }
}
