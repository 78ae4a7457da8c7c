//! A holder that is proved dead before its lease is over, by what its kubelet would say of its container; and all that is no
//! proof. There is no kubelet here: the test writes the Pods' status.
//!
//! Pods and the lock share one etcd: whether a takeover followed the proof is told by their versions.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rustix::process::Signal;
use serde_json::{Value, json};
use tenure_tests::{Options, RealApi, World, until};

use super::LEASE;
use super::evidence::{assert_nobody_came_early, lock_writes};

const NAMES: [&str; 3] = ["replica-0", "replica-1", "replica-2"];

/// A lease that nobody waits out in a test.
const LONG_SECONDS: i64 = 120;
const LONG: [(&str, &str); 3] = [
    ("TENURE_ELECTION_LEASE_DURATION", "120s"),
    ("TENURE_ELECTION_RENEW_DEADLINE", "80s"),
    ("TENURE_ELECTION_RETRY_PERIOD", "1s"),
];

/// As shipped; its namespace becomes the world's.
const RIGHTS: &str = include_str!("../../../../deploy/kustomize/components/proof-of-death/role.yaml");

/// Three replicas that know their Pods, with or without the right to read them.
async fn replicas(api: &RealApi, timing: &[(&str, &str)], may_read: bool) -> World {
    let mut world = World::on(api, Options::told_by_the_gate()).await;
    if may_read {
        give_rights(&world).await;
    }
    for name in NAMES {
        // Makes the Pod.
        world.kubeconfig(name, None).await;
        let uid = pod(&world, name).await.metadata.uid.expect("a Pod has a uid");
        let mut environment = timing.to_vec();
        environment.extend([
            ("POD_UID", uid.as_str()),
            ("TENURE_ELECTION_CONTAINER", "tenure"),
            ("TENURE_ELECTION_WRITE_TIMEOUT", "500ms"),
        ]);
        world.start_with(name, &environment).await;
    }
    world.leader().await;
    world
}

async fn give_rights(world: &World) {
    let (role, binding) = RIGHTS.split_once("\n---\n").expect("a Role and its binding");
    let system = &world.names.system;
    let role: Role = serde_saphyr::from_str(&role.replace("tenure-system", system)).expect("a Role");
    let binding: RoleBinding =
        serde_saphyr::from_str(&binding.replace("tenure-system", system)).expect("a RoleBinding");
    world.api::<Role>(system).create(&PostParams::default(), &role).await.expect("created");
    world.api::<RoleBinding>(system).create(&PostParams::default(), &binding).await.expect("created");
    let account = world.account();
    until("the right to read Pods", || world.may(&account, "get", "", "pods", system)).await;
}

async fn pod(world: &World, name: &str) -> Pod {
    world.api::<Pod>(&world.names.system).get(name).await.expect("the Pod is there")
}

/// How often a replica has read a Pod from an instant on, as the audit log has it.
fn reads(api: &RealApi, world: &World, reader: &str, pod: &str, since: Timestamp) -> usize {
    let events = api.audit().into_iter().filter(|event| {
        event.verb == "get"
            && event.resource == "pods"
            && event.namespace == world.names.system
            && event.name == pod
            && event.pod.as_deref() == Some(reader)
            && event.received_at.parse::<Timestamp>().is_ok_and(|at| at >= since)
    });
    events.count()
}

fn container_id(name: &str) -> String {
    format!("containerd://{name}")
}

/// A time as kubelet writes it: whole seconds.
fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A container that has ended just now.
fn ended(id: &str) -> Value {
    let now = seconds(Timestamp::now());
    json!({"exitCode": 137, "reason": "Error", "startedAt": now, "finishedAt": now, "containerID": id})
}

/// One entry of `containerStatuses`.
fn container(name: &str, id: &str, ready: bool, state: &Value, last: &Value) -> Value {
    json!({
        "name": name, "image": "tenure", "imageID": "", "restartCount": 0, "ready": ready,
        "containerID": id, "state": state, "lastState": last,
    })
}

/// Writes a Pod's status; its version, and when that was done.
async fn set_status(world: &World, name: &str, status: Value) -> (u64, Timestamp) {
    let patch = Patch::Merge(json!({"status": status}));
    let pods = world.api::<Pod>(&world.names.system);
    let pod = pods.patch_status(name, &PatchParams::default(), &patch).await.expect("the status can be written");
    let version = pod.metadata.resource_version.expect("a version").parse().expect("a number");
    (version, Timestamp::now())
}

/// Shows both standbys their containers as running, and hands the lock to one of them: the lock then says what it runs in. Waits
/// until the other has had renewals to see. Who leads, and who stands by.
async fn leader_in_a_known_container(api: &RealApi, world: &mut World) -> (String, String) {
    let first = world.leader().await;
    for name in NAMES.into_iter().filter(|name| *name != first) {
        let seen: &World = world;
        until(&format!("{name} to read its own Pod"), || async {
            reads(api, seen, name, name, Timestamp::UNIX_EPOCH) > 0
        })
        .await;
        let id = container_id(name);
        let running = json!({"running": {"startedAt": seconds(Timestamp::now())}});
        let status = json!({"containerStatuses": [container("tenure", &id, true, &running, &json!({}))]});
        set_status(world, name, status).await;
        world.replica(name).logged("a death here can be proved").await;
    }
    world.replica(&first).signal(Signal::TERM);
    assert!(world.replica(&first).ended().await.success());
    let leader = world.leader_after(&first).await;
    let standby = NAMES.into_iter().find(|name| *name != first && *name != leader).expect("a third").to_owned();
    let judge = &world.judge;
    until("three renewals", || async {
        judge.history().iter().filter(|state| state.holder.starts_with(&leader)).count() > 3
    })
    .await;
    (leader, standby)
}

/// What a Pod's status says of the container whose end would be proof: all of it true, or nearly, of one that may live.
fn no_proofs(name: &str) -> Vec<(&'static str, Value)> {
    let id = container_id(name);
    let none = json!({});
    let with = |field: &str, value: Value| {
        let mut end = ended(&id);
        end[field] = value;
        json!({ "terminated": end })
    };
    let only = |state: &Value| json!({"containerStatuses": [container("tenure", &id, false, state, &none)]});
    let long_ago = json!("2020-01-01T00:00:00Z");
    let sidecar = json!({"terminated": ended(&id)});
    vec![
        (
            "evicted",
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
        ),
        ("nobody knows", only(&with("reason", json!("ContainerStatusUnknown")))),
        ("ended at no time", only(&with("finishedAt", Value::Null))),
        ("ended before it renewed", only(&with("finishedAt", long_ago))),
        ("an earlier start", only(&with("containerID", json!("containerd://earlier")))),
        ("waiting", only(&json!({"waiting": {"reason": "CrashLoopBackOff"}}))),
        ("a sidecar", json!({"containerStatuses": [container("proxy", &id, false, &sidecar, &none)]})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_proof_of_death_lets_a_standby_in_before_the_lease_is_over() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = replicas(&api, &LONG, true).await;
    let (leader, standby) = leader_in_a_known_container(&api, &mut world).await;
    let term = world.term().await.expect("a term");
    world.replica(&leader).kill();
    for (what, status) in no_proofs(&leader) {
        let (_, since) = set_status(&world, &leader, status).await;
        until(&format!("{standby} to look: {what}"), || async { reads(&api, &world, &standby, &leader, since) > 0 })
            .await;
    }
    // Its Pod is to go, and stays for a finalizer.
    let pods = world.api::<Pod>(&world.names.system);
    let held = Patch::Merge(json!({"metadata": {"finalizers": ["tenure.dev/test"]}}));
    pods.patch(&leader, &PatchParams::default(), &held).await.expect("the Pod can be held");
    pods.delete(&leader, &DeleteParams::default()).await.expect("the Pod can be deleted");
    let since = Timestamp::now();
    until("a look at a Pod that is to go", || async { reads(&api, &world, &standby, &leader, since) > 0 }).await;

    // Started again meanwhile: the proof is in lastState.
    let running = json!({"running": {"startedAt": seconds(Timestamp::now())}});
    let last = json!({"terminated": ended(&container_id(&leader))});
    let status = json!({"containerStatuses": [container("tenure", "containerd://next", true, &running, &last)]});
    let (proof, _) = set_status(&world, &leader, status).await;
    world.leader_of_a_term_above(term).await;
    world.replica(&standby).logged("the holder is proved dead").await;

    let history = world.judged().await.history();
    let taken = history.iter().position(|state| state.term > Some(term)).expect("a later term");
    let (last, taken) = (&history[taken - 1], &history[taken]);
    assert!(last.holder.starts_with(&leader) && taken.holder.starts_with(&standby), "{taken:?} after {last:?}");
    assert!(taken.version.number > proof, "{taken:?} came before the proof, at version {proof}");
    let between = taken.renewed_at.zip(last.renewed_at).map(|(taken, last)| taken.as_second() - last.as_second());
    assert!(between.is_some_and(|between| between < LONG_SECONDS), "{taken:?} waited for {last:?} to run out");
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pod_of_that_name_proves_nothing() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = replicas(&api, &[], true).await;
    let (leader, standby) = leader_in_a_known_container(&api, &mut world).await;
    world.replica(&leader).kill();
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    world.api::<Pod>(&world.names.system).delete(&leader, &now).await.expect("the Pod can be deleted");
    // Makes another.
    world.kubeconfig(&leader, None).await;
    let id = container_id(&leader);
    let state = json!({"terminated": ended(&id)});
    let status = json!({"containerStatuses": [container("tenure", &id, false, &state, &json!({}))]});
    set_status(&world, &leader, status).await;
    assert_eq!(world.leader_after(&leader).await, standby);
    world.judged().await;
    assert!(reads(&api, &world, &standby, &leader, Timestamp::UNIX_EPOCH) > 0, "{standby} looked");
    assert_nobody_came_early(&world, LEASE);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_read_pods_the_log_says_so_and_the_lease_runs_out() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = replicas(&api, &[], false).await;
    let leader = world.leader().await;
    for name in NAMES.into_iter().filter(|name| *name != leader) {
        let said = world.replica(name).logged("no death can be proved").await;
        for word in [world.names.system.as_str(), "Role in", "pods", "get"] {
            assert!(said.contains(word), "{word} is missing in {said}");
        }
    }
    let term = world.term().await.expect("a term");
    let lease = world.lease().await.expect("the lease");
    assert!(!lease.metadata.annotations.unwrap_or_default().contains_key("tenure.dev/container"));
    world.replica(&leader).kill();
    world.leader_of_a_term_above(term).await;
    world.judged().await;
    assert_nobody_came_early(&world, LEASE);
    assert!(lock_writes(&world).iter().all(|write| write.is_ours()));
}
