//! `tenure drill` as a person runs it: on processes of its own, and on Pods that stand in the API only.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tenure_local_cluster::Intercept;
use tenure_tests::{Options, RealApi, World, program, until, until_some};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// A drill that has ended.
struct Ended {
    success: bool,
    report: Option<Value>,
    stderr: String,
}

impl Ended {
    fn report(&self) -> &Value {
        self.report.as_ref().unwrap_or_else(|| panic!("no report; it said: {}", self.stderr))
    }

    /// The one error line of a drill that must fail, with every one of `words` in it or below.
    fn assert_error(&self, words: &[&str]) {
        assert!(!self.success, "it succeeded: {}", self.stderr);
        assert_eq!(self.stderr.lines().filter(|line| line.starts_with("error:")).count(), 1, "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing in {}", self.stderr);
        }
    }
}

/// A command line of `tenure drill` on this world's Lease, with the world's account.
async fn drill(world: &World, lease: &str, mode: &str) -> Command {
    let mut command = Command::new(program());
    command
        .args(["drill", "-o", "json", "--lease", lease, "--mode", mode, "--kubeconfig"])
        .arg(world.kubeconfig("drill", None).await)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// With three candidates, each a `tenure run` of this world.
async fn with_candidates(world: &World, command: &mut Command) {
    command.args(["--processes", "3", "--"]).arg(program()).args([
        "run",
        "--console-listen",
        "127.0.0.1:0",
        "--config",
    ]);
    command.arg(world.folder().join("tenure.toml")).arg("--kubeconfig").arg(world.kubeconfig("drill", None).await);
}

async fn ended(mut command: Command) -> Ended {
    let output = tokio::time::timeout(Duration::from_secs(300), command.output()).await;
    let output = output.expect("it ends within 300 s").expect("the program runs");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    Ended { success: output.status.success(), report: serde_json::from_slice(&output.stdout).ok(), stderr }
}

fn phase<'a>(report: &'a Value, name: &str) -> &'a Value {
    let phases = report["phases"].as_array().expect("phases");
    phases.iter().find(|phase| phase["phase"] == name).unwrap_or_else(|| panic!("no phase {name} in {report}"))
}

/// Two trials in this mode on processes, all measured, with nothing in them that should not be.
async fn drilled(world: &World, mode: &str) -> Value {
    let mut command = drill(world, &format!("{}/tenure", world.names.system), mode).await;
    command.args(["--trials", "2"]);
    with_candidates(world, &mut command).await;
    let ended = ended(command).await;
    let report = ended.report().clone();
    assert!(ended.success, "{}\n{report:#}", ended.stderr);
    assert_eq!(report["sights"], json!([]));
    assert_eq!((&report["trials_wanted"], &report["trials_measured"]), (&json!(2), &json!(2)));
    for name in ["takeover", "term"] {
        let phase = phase(&report, name);
        assert_eq!(phase["trials"], 2, "{phase}");
        let figures: Vec<f64> =
            ["min_ms", "p50_ms", "p99_ms", "max_ms"].map(|it| phase[it].as_f64().expect("ms")).into();
        assert!(figures.is_sorted(), "{phase}");
    }
    for trial in report["trials"].as_array().expect("trials") {
        assert_eq!((&trial["holder_kind"], &trial["successor_kind"]), (&json!("tenure"), &json!("tenure")), "{trial}");
        assert_ne!(trial["holder"], trial["successor"], "{trial}");
        // The acquiring write carries the term.
        assert_eq!(trial["term_ms"], trial["takeover_ms"], "{trial}");
    }
    report
}

/// No trial of this report saw a release, and each takeover came after the lease had run out, by the record's own times.
fn assert_taken_over_at_expiry(report: &Value) {
    assert_eq!(phase(report, "release")["trials"], 0);
    for trial in report["trials"].as_array().expect("trials") {
        let past_ms = trial["past_expiry_by_record_ms"].as_f64().expect("a distance");
        assert!(past_ms >= 0.0, "taken over before expiry: {trial}");
        // By what the drill saw, in which deliveries may be late: what the last renewal left of the lease, and what came on top.
        if trial["renewals_after_action"] == 0 {
            let of = |name: &str| trial[name].as_f64().unwrap_or_else(|| panic!("{name} is no number: {trial}"));
            let left_ms = of("lease_duration_ms") - of("since_renewal_ms");
            assert!((of("takeover_ms") - left_ms - of("past_expiry_ms")).abs() < 1.0, "{trial}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_of_processes_is_measured_to_release_and_takeover() {
    let world = World::new(Options::default()).await;
    let report = drilled(&world, "handover").await;
    for name in ["release", "release_to_takeover"] {
        assert_eq!(phase(&report, name)["trials"], 2);
    }
    assert_eq!(phase(&report, "past_expiry")["trials"], 0, "a released lease has no expiry to wait for");
    world.judge.assert_terms_rise();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_processes_is_measured_to_the_takeover_at_expiry() {
    let world = World::new(Options::default()).await;
    assert_taken_over_at_expiry(&drilled(&world, "crash").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_processes_tells_what_the_resumed_one_did() {
    let world = World::new(Options::default()).await;
    let report = drilled(&world, "pause").await;
    assert_taken_over_at_expiry(&report);
    for trial in report["trials"].as_array().expect("trials") {
        let resume = &trial["resume"];
        assert!(resume["resumed_ms"].as_f64() > trial["takeover_ms"].as_f64(), "{trial}");
        assert_eq!(resume["renewed_over_successor"], false, "{trial}");
        assert_eq!(resume["released_successors_lease"], false, "{trial}");
        assert_eq!(resume["successor_still_holds"], true, "{trial}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_measured_on_a_real_api_server() {
    let Some(api) = RealApi::shared().await else { return };
    let world = World::on(&api, Options::default()).await;
    assert_taken_over_at_expiry(&drilled(&world, "crash").await);
}

/// A drill under way, and its children.
struct UnderWay {
    child: Child,
    said: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    pids: BTreeMap<String, Pid>,
}

impl UnderWay {
    /// Starts a drill on processes that are paused, and waits until one is.
    async fn paused(world: &World) -> Self {
        let mut command = drill(world, &format!("{}/tenure", world.names.system), "pause").await;
        with_candidates(world, &mut command).await;
        let mut child = command.spawn().expect("the program runs");
        let said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut under_way = Self { child, said, pids: BTreeMap::new() };
        let line = under_way.said("SIGSTOP to ").await;
        let pid = under_way.pids[line.trim_start_matches("SIGSTOP to ")];
        until("the holder to be stopped", || async move { state_of(pid) == Some('T') }).await;
        under_way
    }

    /// Reads on until a line begins so.
    async fn said(&mut self, beginning: &str) -> String {
        let reading = async {
            while let Some(line) = self.said.next_line().await.expect("UTF-8") {
                if let Some((name, pid)) = line.split_once(": started, pid ") {
                    let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a pid");
                    self.pids.insert(name.to_owned(), pid);
                }
                if line.starts_with(beginning) {
                    return line;
                }
            }
            panic!("it ended without {beginning:?}")
        };
        tokio::time::timeout(tenure_tests::LIMIT, reading)
            .await
            .unwrap_or_else(|_| panic!("it did not say {beginning:?}"))
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).expect("it runs");
        kill_process(pid, signal).expect("it runs");
    }

    async fn assert_children_end(&self) {
        for (name, pid) in &self.pids {
            // One that has ended but was not waited for yet is not running either.
            let is_gone = || async { test_kill_process(*pid).is_err() || state_of(*pid) == Some('Z') };
            until(&format!("{name} to end with the drill"), is_gone).await;
        }
    }
}

/// The state in which the kernel has a process; `T` is stopped.
fn state_of(pid: Pid) -> Option<char> {
    let line = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    line.rsplit(')').next()?.trim_start().chars().next()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_nothing_stopped_and_nothing_running_and_prints_what_there_is() {
    let world = World::new(Options::default()).await;
    let mut drill = UnderWay::paused(&world).await;
    drill.signal(Signal::INT);
    let mut stdout = String::new();
    let mut pipe = drill.child.stdout.take().expect("a pipe");
    let reading = tokio::time::timeout(tenure_tests::LIMIT, pipe.read_to_string(&mut stdout)).await;
    reading.expect("it ends").expect("UTF-8");
    assert!(!drill.child.wait().await.expect("it ends").success());
    drill.assert_children_end().await;
    let report: Value = serde_json::from_str(&stdout).expect("a report");
    assert_eq!(report["trials_measured"], 0, "{report}");
    assert_eq!(phase(&report, "takeover")["trials"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_drill_takes_its_candidates_along_also_a_stopped_one() {
    let world = World::new(Options::default()).await;
    let mut drill = UnderWay::paused(&world).await;
    drill.signal(Signal::KILL);
    drill.child.wait().await.expect("it ends");
    drill.assert_children_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_cannot_work_is_said_with_its_last_words() {
    let world = World::new(Options::default()).await;
    let mut command = drill(&world, "tenure-system/tenure", "crash").await;
    command.args(["--processes", "2", "--", "sh", "-c", "echo my name is {identity}, and I cannot; exit 3"]);
    ended(command).await.assert_error(&["3 times right after its start", "exit status: 3", "my name is drill-"]);
}

/// Who holds and renews a Lease by hand, as long as the Pod named so is there; then `successor` does.
struct ByHand(JoinHandle<()>);

impl ByHand {
    async fn start(world: &World, lease: &str, pod: &str, successor: &'static str) -> Self {
        let leases: Api<Lease> = world.leases();
        let (pods, pod, lease): (Api<Pod>, _, _) = (world.api(&world.names.system), pod.to_owned(), lease.to_owned());
        let object = json!({"metadata": {"name": lease}, "spec": {"holderIdentity": format!("{pod}_1"),
            "leaseDurationSeconds": 2, "leaseTransitions": 0, "renewTime": "2026-01-01T00:00:00.000000Z"}});
        let object: Lease = serde_json::from_value(object).expect("a Lease");
        leases.create(&PostParams::default(), &object).await.expect("created");
        Self(tokio::spawn(async move {
            for number in 1_u32.. {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let mut lease = leases.get(&lease).await.expect("the API answers");
                let spec = lease.spec.as_mut().expect("a spec");
                if pods.get_opt(&pod).await.expect("the API answers").is_none()
                    && spec.holder_identity.as_deref() != Some(successor)
                {
                    // As client-go's would: not before the lease has run out.
                    tokio::time::sleep(Duration::from_millis(2100)).await;
                    spec.holder_identity = Some(successor.to_owned());
                    spec.lease_transitions = Some(1);
                }
                let renewed = json!(format!("2026-01-01T00:{:02}:{:02}.000000Z", number / 60 % 60, number % 60));
                spec.renew_time = serde_json::from_value(renewed).expect("a time");
                let name = lease.metadata.name.clone().expect("a name");
                leases.replace(&name, &PostParams::default(), &lease).await.expect("renewed");
            }
        }))
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn create_pod(world: &World, name: &str, labels: Value) {
    let pod =
        json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let pod: Pod = serde_json::from_value(pod).expect("a Pod");
    world.api::<Pod>(&world.names.system).create(&PostParams::default(), &pod).await.expect("created");
}

async fn pods_of(world: &World) -> Vec<String> {
    let pods = world.api::<Pod>(&world.names.system).list(&Default::default()).await.expect("the API answers");
    pods.into_iter().filter_map(|pod| pod.metadata.name).collect()
}

/// A world with a Lease `by-hand` held by Pod `web-0`, and two more Pods.
async fn world_of_pods() -> (World, ByHand) {
    let world = World::new(Options::default()).await;
    for name in ["web-0", "web-1", "web-00"] {
        create_pod(&world, name, json!({"app": "web"})).await;
    }
    let by_hand = ByHand::start(&world, "by-hand", "web-0", "web-1_1").await;
    (world, by_hand)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_on_a_cluster_deletes_the_holders_pod_and_no_other() {
    let (world, _by_hand) = world_of_pods().await;
    let mut command = drill(&world, "tenure-system/by-hand", "crash").await;
    command.args(["--trials", "1", "--yes", "--selector", "app=web"]);
    let ended = ended(command).await;
    let report = ended.report();
    assert!(ended.success, "{}\n{report:#}", ended.stderr);
    let trial = &report["trials"][0];
    assert_eq!((&trial["holder"], &trial["successor"]), (&json!("web-0_1"), &json!("web-1_1")));
    assert_eq!((&trial["successor_kind"], &trial["term_ms"]), (&json!("other"), &Value::Null));
    assert_eq!(pods_of(&world).await, ["web-00", "web-1"]);
    let is_deletion = |verb: &str| verb == "delete" || verb == "deletecollection";
    let audit = world.cluster().audit();
    let deletions: Vec<_> = audit.iter().filter(|entry| is_deletion(entry.verb)).map(|entry| &entry.name).collect();
    assert_eq!(deletions, [&Some("web-0".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_and_without_yes_nothing_is_deleted_and_the_plan_is_said() {
    let (world, _by_hand) = world_of_pods().await;
    let mut command = drill(&world, "tenure-system/by-hand", "crash").await;
    command.args(["--trials", "1"]);
    let plan = ["tenure-system/web-0", "grace 0", "SIGTERM", "web-0_1", "No controller", "--yes"];
    ended(command).await.assert_error(&plan);
    assert_eq!(pods_of(&world).await, ["web-0", "web-00", "web-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_nothing_replaces_is_not_deleted_for_several_trials() {
    let (world, _by_hand) = world_of_pods().await;
    let mut command = drill(&world, "tenure-system/by-hand", "handover").await;
    command.args(["--trials", "2", "--yes"]);
    ended(command).await.assert_error(&["no controller", "web-0", "--trials 1"]);
    assert_eq!(pods_of(&world).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_without_a_pod_is_said_with_what_was_looked_for() {
    let world = World::new(Options::default()).await;
    create_pod(&world, "web-00", json!({})).await;
    let _by_hand = ByHand::start(&world, "by-hand", "web-0", "web-0_1").await;
    let mut command = drill(&world, "tenure-system/by-hand", "crash").await;
    command.arg("--yes");
    ended(command).await.assert_error(&["web-0_1", "tenure-system", "--pods-namespace", "--selector"]);
    assert_eq!(pods_of(&world).await, ["web-00"]);
}

/// The Pod in the namespace that a drill has made for its access to a node, once it is there.
async fn node_access_pod(world: &World) -> Pod {
    until_some("the drill's own Pod", || async {
        let pods = Api::<Pod>::all(world.client()).list(&Default::default()).await.expect("the API answers");
        let is_drills = |pod: &Pod| pod.metadata.namespace.as_ref().is_some_and(|it| it.starts_with("tenure-drill-"));
        pods.into_iter().find(is_drills)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn access_to_a_node_is_one_privileged_pod_there_which_goes_with_its_namespace() {
    let world = World::new(Options::default()).await;
    let status = json!({"name": "a", "image": "a", "imageID": "a", "ready": true, "restartCount": 0,
        "containerID": format!("containerd://{}", "ab".repeat(32))});
    let pod = json!({"metadata": {"name": "web-0"}, "spec": {"nodeName": "n1", "containers": [{"name": "a", "image": "a"}]},
        "status": {"phase": "Running", "containerStatuses": [status]}});
    let pod: Pod = serde_json::from_value(pod).expect("a Pod");
    let pods: Api<Pod> = world.api(&world.names.system);
    pods.create(&PostParams::default(), &pod).await.expect("created");
    let patch = Patch::Merge(json!({"status": pod.status}));
    pods.patch_status("web-0", &PatchParams::default(), &patch).await.expect("the Pod's status can be set");
    let _by_hand = ByHand::start(&world, "by-hand", "web-0", "web-1_1").await;

    let mut command = drill(&world, "tenure-system/by-hand", "crash").await;
    command.args(["--trials", "1", "--yes", "--node-access", "--node-image", "shell:1"]);
    let ending = tokio::spawn(ended(command));
    let own = node_access_pod(&world).await;
    let (namespace, name) = (own.metadata.namespace.expect("a namespace"), own.metadata.name.expect("a name"));
    let spec = own.spec.expect("a spec");
    assert_eq!((spec.node_name.as_deref(), spec.host_pid), (Some("n1"), Some(true)));
    assert_eq!(spec.containers[0].image.as_deref(), Some("shell:1"));
    let own_pods: Api<Pod> = world.api(&namespace);
    let patch = Patch::Merge(json!({"status": {"phase": "Failed", "reason": "NoShell"}}));
    own_pods.patch_status(&name, &PatchParams::default(), &patch).await.expect("the Pod's status can be set");

    ending.await.expect("it ends").assert_error(&["ended at once", "NoShell", "--node-image"]);
    let namespaces: Api<Namespace> = Api::all(world.client());
    until("the drill's namespace to go", || async {
        namespaces.get_opt(&namespace).await.expect("the API answers").is_none()
    })
    .await;
    assert_eq!(pods_of(&world).await, ["web-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_not_there_not_held_or_not_renewed_is_said() {
    let world = World::new(Options::default()).await;
    let unknown = drill(&world, "tenure-system/nothing", "crash").await;
    ended(unknown).await.assert_error(&["no lease tenure-system/nothing", "kubectl get leases -A"]);
    for (name, holder, words) in [
        ("free", "", ["nobody holds lease tenure-system/free", "kubectl get pods"]),
        ("stale", "web-0", ["web-0", "did not renew"]),
    ] {
        let spec =
            json!({"holderIdentity": holder, "leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z"});
        let lease: Lease = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a Lease");
        world.leases().create(&PostParams::default(), &lease).await.expect("created");
        ended(drill(&world, &format!("tenure-system/{name}"), "crash").await).await.assert_error(&words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_rule_is_named_with_verb_resource_and_namespace() {
    let (world, _by_hand) = world_of_pods().await;
    for (verb, resource) in [("list", "leases"), ("watch", "leases"), ("list", "pods"), ("delete", "pods")] {
        world.cluster().intercept(Arc::new(move |request| {
            if request.verb == verb && request.resource == resource {
                Intercept::Forbid("no RBAC policy matched".to_owned())
            } else {
                Intercept::Pass
            }
        }));
        let mut command = drill(&world, "tenure-system/by-hand", "crash").await;
        command.args(["--trials", "1", "--yes"]);
        let wanted = format!("forbidden to {verb} {resource} in namespace \"tenure-system\"");
        ended(command).await.assert_error(&[&wanted, "Role", &format!("verbs [\"{verb}\"]")]);
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_anything_is() {
    let refusal = |arguments: &'static [&'static str]| async move {
        let mut command = Command::new(program());
        command.arg("drill").args(arguments).stdin(Stdio::null());
        ended(command).await
    };
    let pause = refusal(&["--lease", "a/b", "--mode", "pause"]).await;
    pause.assert_error(&["no Pod can be paused", "--node-access", "--processes"]);
    let node = refusal(&["--lease", "a/b", "--mode", "handover", "--node-access"]).await;
    node.assert_error(&["handover", "--node-access"]);
    refusal(&["--lease", "b", "--mode", "crash"]).await.assert_error(&["namespace/name", "kubectl get leases -A"]);
    let nowhere = refusal(&["--lease", "a/b", "--mode", "crash", "--kubeconfig", "/nowhere/kubeconfig"]).await;
    nowhere.assert_error(&["/nowhere/kubeconfig"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_somebody_elses_is_not_drilled_with_processes() {
    let world = World::new(Options::default()).await;
    let _by_hand = ByHand::start(&world, "by-hand", "web-0", "web-0_1").await;
    let mut command = drill(&world, "tenure-system/by-hand", "crash").await;
    with_candidates(&world, &mut command).await;
    ended(command).await.assert_error(&["web-0_1", "none of this drill's processes"]);
    let lease = world.leases().get("by-hand").await.expect("the API answers");
    assert_eq!(lease.spec.and_then(|spec| spec.holder_identity).as_deref(), Some("web-0_1"));
}
