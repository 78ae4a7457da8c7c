//! Wrong input to the program itself: one error that says what, where and how to mend it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use tenure_local_cluster::Intercept;
use tenure_tests::{Options, World, program, until};

fn tenure(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).env_remove("KUBECONFIG").output().expect("the program runs")
}

/// The one error line of a command that must fail.
fn error_of(arguments: &[&str]) -> String {
    let output = tenure(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "one error, not {errors:?} in {stderr}");
    stderr
}

fn check(config: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tenure.toml");
    std::fs::write(&path, config).expect("written");
    error_of(&["check", "--config", path.to_str().expect("UTF-8")])
}

fn contains_all(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in {message:?}");
    }
}

#[test]
fn a_missing_configuration_is_named() {
    contains_all(&error_of(&["run", "--config", "/nowhere/tenure.toml"]), &["/nowhere/tenure.toml", "--config"]);
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_known_one() {
    contains_all(
        &check("[election]\nlease-durration = \"15s\"\n"),
        &["lease-durration", "lease-duration", "tenure.toml", "2"],
    );
}

#[test]
fn timing_in_the_wrong_order_is_refused_with_its_numbers() {
    let message = check("[election]\nlease-duration = \"10s\"\nrenew-deadline = \"10s\"\n");
    contains_all(&message, &["10", "lease-duration", "renew-deadline"]);
}

#[test]
fn a_lock_name_that_cannot_be_one_is_refused() {
    contains_all(&check("[election]\nid = \"Not_A_Name\"\n"), &["Not_A_Name"]);
}

#[test]
fn an_unreadable_kubeconfig_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = write(folder.path(), "tenure.toml", "profile = \"development\"\n");
    let kubeconfig = write(folder.path(), "kubeconfig", "this is: [no kubeconfig");
    contains_all(&error_of(&["run", "--config", &config, "--kubeconfig", &kubeconfig]), &[&kubeconfig]);
    contains_all(
        &error_of(&["run", "--config", &config, "--kubeconfig", "/nowhere/kubeconfig"]),
        &["/nowhere/kubeconfig"],
    );
}

/// What `tenure plugin rbac` says of a configuration or a manifest, on stdout and stderr.
fn rbac(arguments: &[&str], text: &str) -> (bool, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "given.toml", text);
    let output = tenure(&[&["plugin", "rbac"], arguments, &[path.as_str()]].concat());
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8").replace(&path, "given.toml");
    (output.status.success(), said(output.stdout), said(output.stderr))
}

#[test]
fn roles_for_nothing_or_for_a_wrong_file_are_one_error() {
    contains_all(&error_of(&["plugin", "rbac"]), &["--config", "MANIFEST"]);
    let wrong: [(&[&str], &str, &str); 4] = [
        (&["--config"], "", "a [[grant.permission]]"),
        (&["--config"], "[[grant]]\nplugin = \"a\"\n", "no pattern for a plugin"),
        (&[], "name = \"a\"\n", "a [[permission]] in a manifest"),
        (&["--name", "a: b"], "", "--name \"a: b\""),
    ];
    for (arguments, text, said) in wrong {
        let (worked, _, stderr) = rbac(arguments, text);
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error:")).collect();
        assert!(!worked && errors.len() == 1 && stderr.contains(said), "{said:?} is missing in {stderr}");
    }
}

#[test]
fn a_role_that_reaches_further_than_the_grant_says_so() {
    let rule = "verbs = [\"get\"]\nnamespaces = [\"team-*\", \"tenure-system\"]\n";
    let grant = format!(
        "[[grant]]\nplugin = \"tenure-plugins/a\"\n[[grant.permission]]\napi-groups = [\"\"]\nresources = [\"*\"]\n{rule}"
    );
    let (worked, stdout, stderr) = rbac(&["--config"], &grant);
    assert!(worked, "{stderr}");
    contains_all(&stdout, &["kind: ClusterRole\n", "# *: cluster-wide", "team-*", "name: tenure-grants"]);
    assert!(!stdout.contains("namespace: \"tenure-system\""), "{stdout}");
    contains_all(&stderr, &["RBAC has no patterns", "Secrets"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_api_is_said_once_and_waited_for() {
    let mut world = World::new(Options::default()).await;
    // Nobody listens there.
    world.start_at("lost", Some("127.0.0.1:1".parse().expect("an address")), &[]).await;
    world.replica("lost").logged("127.0.0.1:1").await;
    assert!(world.replica("lost").is_running(), "it keeps trying");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_lease_names_the_role_that_mends_it() {
    let mut world = World::new(Options::default()).await;
    world.cluster().intercept(Arc::new(|request| {
        let lease = request.resource == "leases" && request.user_agent.starts_with("tenure");
        if lease { Intercept::Forbid("no such right".into()) } else { Intercept::Pass }
    }));
    world.start("poor").await;
    let line = world.replica("poor").logged("Role").await;
    contains_all(&line, &["leases", "tenure-system", "get"]);
    assert!(world.replica("poor").is_running(), "it waits for the Role");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let world = World::new(Options::default()).await;
    let config = world.folder().join("tenure.toml").display().to_string();
    let kubeconfig = world.kubeconfig("one", None).await.display().to_string();
    let taken = world.address().to_string();
    let arguments = ["run", "--config", &config, "--kubeconfig", &kubeconfig, "--console-listen", &taken];
    let message = tokio::task::block_in_place(|| error_of(&arguments));
    contains_all(&message, &[&taken, "console"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_watching_is_forbidden_the_lock_is_polled() {
    let mut world = World::new(Options::default()).await;
    world.cluster().intercept(Arc::new(|request| {
        let watch = request.resource == "leases" && request.verb == "watch" && request.user_agent.starts_with("tenure");
        if watch { Intercept::Forbid("no watch".into()) } else { Intercept::Pass }
    }));
    world.start("one").await;
    world.start("two").await;
    let leader = world.leader().await;
    world.replica(&leader).signal(rustix::process::Signal::TERM);
    world.leader_after(&leader).await;
    until("a warning about polling", || async {
        world.replicas.values().any(|replica| replica.log_text().contains("instead"))
    })
    .await;
    world.judge.assert_clean();
}

#[test]
fn a_reader_that_has_enough_ends_a_command_in_silence() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = write(folder.path(), "tenure.toml", "profile = \"default\"\n");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = Command::new(program())
        .args(["check", "--config", &config])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let output = child.wait_with_output().expect("the program ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_misspelt_variable_is_answered_with_the_nearest_known_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = write(folder.path(), "tenure.toml", "profile = \"default\"\n");
    let output = Command::new(program())
        .args(["check", "--config", &config])
        .env("TENURE_LOG_LEVLE", "debug")
        .env("TENURE_STOP_AT", "before-send")
        .output()
        .expect("the program runs");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    contains_all(&stdout, &["TENURE_LOG_LEVLE", "TENURE_LOG_LEVEL"]);
    assert!(!stdout.contains("TENURE_STOP_AT"), "{stdout}");
}

#[test]
fn a_file_that_is_no_wasm_and_a_name_that_is_none_are_said_by_plugin_pack() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = |name: &str| format!("name = \"{name}\"\n[[watch]]\napi-version = \"v1\"\nkind = \"ConfigMap\"\n");
    let wasm = write(folder.path(), "plugin.wasm", "hello");
    let good = write(folder.path(), "good.toml", &manifest("good"));
    contains_all(&error_of(&["plugin", "pack", &good, &wasm]), &[&wasm, "no Wasm"]);
    let bad = write(folder.path(), "bad.toml", &manifest("Not A Name"));
    contains_all(&error_of(&["plugin", "pack", &bad, &wasm]), &[&bad, "Not A Name", "--name"]);
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}
