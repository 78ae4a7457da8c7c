//! What people see with kubectl and `tenure status`, and what they are told when they may not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PostParams;
use rustix::process::Signal;
use serde_json::{Value, json};
use tenure_tests::scenes::at_work;
use tenure_tests::{LEASE, RealApi, World, program, until};

use super::evidence::assert_clean;
use super::three_replicas;

/// Runs a program to its end, beside the runtime.
fn run(program: &Path, arguments: &[&str]) -> Output {
    tokio::task::block_in_place(|| Command::new(program).args(arguments).output().expect("the program runs"))
}

/// What a program says on its standard output, when all is well.
fn said(program: &Path, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What a program complains of, when something is wrong.
fn complaint(program: &Path, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// A kubeconfig file for a user who is no administrator.
fn kubeconfig_of(api: &RealApi, world: &World, user: &str) -> String {
    let file = world.folder().join(format!("{user}.kubeconfig"));
    let kubeconfig = api.kubeconfig_of(user, None, None).expect("a certificate");
    std::fs::write(&file, kubeconfig).expect("written");
    file.display().to_string()
}

/// Lets a user do this in the world's system namespace.
async fn allow(world: &World, user: &str, rule: Value) {
    let role: Role = serde_json::from_value(json!({"metadata": {"name": user}, "rules": [rule]})).expect("a Role");
    let roles = world.api::<Role>(&world.names.system);
    roles.create(&PostParams::default(), &role).await.expect("the Role can be created");
    let binding = json!({
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    let binding: RoleBinding = serde_json::from_value(binding).expect("a RoleBinding");
    let bindings = world.api::<RoleBinding>(&world.names.system);
    bindings.create(&PostParams::default(), &binding).await.expect("the RoleBinding can be created");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_the_holder_and_the_events_in_the_fields_words() {
    let Some(api) = RealApi::shared().await else { return };
    let Some(world) = three_replicas().await else { return };
    let Some(kubectl) = std::env::var_os("KUBECTL").map(PathBuf::from) else { return no_kubectl() };
    let mut world = at_work(world, "stamp").await;
    let administrator = api.kubeconfig().display().to_string();
    let of_world = ["--kubeconfig", &administrator, "--namespace", &world.names.system.clone()].map(str::to_owned);
    let kubectl = |arguments: &[&str]| {
        let of_world = of_world.iter().map(String::as_str);
        said(&kubectl, &of_world.chain(arguments.iter().copied()).collect::<Vec<_>>())
    };
    let holder = world.lease().await.and_then(|lease| lease.spec?.holder_identity).expect("a holder");
    let table = kubectl(&["get", "lease", LEASE]);
    assert!(table.lines().nth(1).is_some_and(|row| row.contains(LEASE) && row.contains(&holder)), "{table}");

    let old = world.leader().await;
    world.replica(&old).signal(Signal::TERM);
    assert!(world.replica(&old).ended().await.success());
    world.leader_after(&old).await;
    let successor = world.lease().await.and_then(|lease| lease.spec?.holder_identity).expect("a holder");
    let expected =
        [format!("{holder} became leader"), format!("{holder} stopped leading"), format!("{successor} became leader")];
    until("the Events of the handover", || async {
        let told = world.lock_events().await;
        expected.iter().all(|message| told.contains(&("Normal".to_owned(), message.clone())))
    })
    .await;
    let selector = format!("involvedObject.kind=Lease,involvedObject.name={LEASE},reason=LeaderElection");
    let events = kubectl(&["get", "events", "--field-selector", &selector]);
    let described = kubectl(&["describe", "lease", LEASE]);
    for message in &expected {
        assert!(events.contains(message), "{message} is missing in\n{events}");
        assert!(described.contains(message), "{message} is missing in\n{described}");
    }
    assert_clean(&world).await;
}

#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn no_kubectl() {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "KUBECTL names no kubectl");
    eprintln!("SKIPPED: KUBECTL names no kubectl");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_names_the_right_that_is_missing_and_shows_what_may_be_seen() {
    let Some(api) = RealApi::shared().await else { return };
    let Some(world) = three_replicas().await else { return };
    let world = at_work(world, "stamp").await;
    let (system, person) = (world.names.system.clone(), kubeconfig_of(&api, &world, "person"));
    let of_lease = |lease| ["status", "--kubeconfig", &person, "--namespace", &system, "--lease", lease];
    let told = complaint(&program(), &of_lease(LEASE));
    for word in ["leases.coordination.k8s.io", "`get`", &system, "person"] {
        assert!(told.contains(word), "{word} is missing in {told}");
    }

    allow(&world, "person", json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get"]}))
        .await;
    until("the right to be in force", || world.may("person", "get", "coordination.k8s.io", "leases", &system)).await;
    let leader = world.leader().await;
    let shown = said(&program(), &of_lease(LEASE));
    for word in [&format!("{system}/{LEASE}"), "held", &leader, &format!("{}/probe", world.names.plugins), "running"] {
        assert!(shown.contains(word), "{word} is missing in\n{shown}");
    }

    // Where the console is behind the API server, that needs a right of its own: the lock is shown, and what is missing is named.
    let console = format!("pod:{system}/{leader}:8080");
    let other = json!({
        "metadata": {"name": "other", "annotations": {"tenure.dev/console": console}},
        "spec": {"holderIdentity": leader, "leaseDurationSeconds": 5},
    });
    let other = serde_json::from_value(other).expect("a Lease");
    world.leases().create(&PostParams::default(), &other).await.expect("it can be created");
    let shown = said(&program(), &of_lease("other"));
    for word in ["held", "plugins unknown", "pods/proxy", "get", &system] {
        assert!(shown.contains(word), "{word} is missing in\n{shown}");
    }
}
