//! The tier itself: what it stands on is there, is what it says, and goes away.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use rustix::process::Signal;
use serde_json::json;
use tenure_control_plane::Program;
use tenure_tests::{Options, RealApi, World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_s_writes_are_in_the_audit_log_under_its_pod_and_term() {
    let Some(api) = RealApi::shared().await else { return };
    let world = World::on(&api, Options::default()).await.staffed(2).await;
    world.drop_in(&world.probe("probe", "stamp", "1")).await;
    world.config_map("probe", &world.names.work, "target", json!({})).await;
    world.annotated(&world.names.work, "target", "probe/term").await;
    let (leader, term) = (world.leader().await, world.term().await.expect("a term"));
    until("the write in the audit log", || async { !world.judge.writes().is_empty() }).await;
    let account = format!("system:serviceaccount:{}:tenure", world.names.system);
    let event = api.audit().into_iter().find(|event| event.user == account && event.name == "target");
    let event = event.expect("the plugin's write");
    assert_eq!(event.pod.as_deref(), Some(leader.as_str()));
    assert!(event.user_agent.ends_with(&format!("term/{term}")), "{}", event.user_agent);
    assert!(event.version().is_some());
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn rbac_binds_who_is_no_administrator() {
    let Some(api) = RealApi::shared().await else { return };
    let kubeconfig = api.kubeconfig_of("nobody", None, None).expect("a certificate");
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("a config");
    let config_maps: Api<ConfigMap> = Api::default_namespaced(kube::Client::try_from(config).expect("a client"));
    match config_maps.create(&PostParams::default(), &ConfigMap::default()).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 403, "{status:?}"),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_copy_brings_the_old_state_back_and_nothing_stays_when_it_ends() {
    let Some(api) = RealApi::own(|builder| builder).await else { return };
    let named = |name: &str| {
        let object = json!({"metadata": {"name": name}});
        serde_json::from_value::<ConfigMap>(object).expect("a ConfigMap")
    };
    let config_maps: Api<ConfigMap> = Api::default_namespaced(api.client().await);
    config_maps.create(&PostParams::default(), &named("before")).await.expect("created");
    let copy = api.copy_etcd().await.expect("a copy");
    config_maps.create(&PostParams::default(), &named("after")).await.expect("created");
    api.restore_etcd(&copy).await.expect("restored");
    let config_maps: Api<ConfigMap> = Api::default_namespaced(api.client().await);
    assert!(config_maps.get_opt("before").await.expect("an answer").is_some());
    assert!(config_maps.get_opt("after").await.expect("an answer").is_none());

    let (folder, pids) = (api.folder().to_owned(), [Program::Etcd, Program::ApiServer].map(|program| api.pid(program)));
    api.pause(Program::Etcd);
    drop(api);
    for pid in pids.into_iter().flatten() {
        until("the program's end", || async { rustix::process::test_kill_process(pid).is_err() }).await;
    }
    assert!(!folder.exists(), "{} is left behind", folder.display());
}

/// What `kill -9` of a test leaves behind: this test starts itself again, and kills that.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_running_after_a_test_is_killed() {
    const CHILD: &str = "TENURE_TEST_HOLDS_AN_API";
    if std::env::var_os(CHILD).is_some() {
        let Some(api) = RealApi::own(|builder| builder).await else { return };
        let pids = [Program::Etcd, Program::ApiServer].map(|program| api.pid(program).expect("it runs").as_raw_pid());
        let noted = std::env::var("TENURE_TEST_NOTE").expect("a file to write to");
        let text = json!({"pids": pids, "folder": api.folder()}).to_string();
        std::fs::write(format!("{noted}.half"), text).expect("written");
        std::fs::rename(format!("{noted}.half"), &noted).expect("renamed");
        std::future::pending::<()>().await;
    }
    if RealApi::shared().await.is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let note = folder.path().join("note");
    let mut child = std::process::Command::new(std::env::current_exe().expect("this test's file"))
        .args(["--exact", "api_tier::nothing_is_left_running_after_a_test_is_killed"])
        .env(CHILD, "1")
        .env("TENURE_TEST_NOTE", &note)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the test can be started again");
    until("the other process's API", || async { note.exists() }).await;
    let note: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&note).expect("a note")).expect("a note is JSON");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::KILL).expect("it runs");
    child.wait().expect("it has ended");
    for pid in note["pids"].as_array().expect("pids") {
        let pid = pid.as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
        // A zombie that nobody has reaped yet has no command line.
        let command_line = format!("/proc/{pid}/cmdline");
        until("the orphan's end", || async { std::fs::read(&command_line).map_or(true, |line| line.is_empty()) }).await;
    }
    let left = std::path::PathBuf::from(note["folder"].as_str().expect("a folder"));
    until("the orphan's folder to go", || async { !left.exists() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_lists_our_lock_beside_the_api_server_s_own_lease() {
    let Some(api) = RealApi::shared().await else { return };
    let world = World::on(&api, Options::default()).await.staffed(1).await;
    let kubeconfig = api.kubeconfig();
    let row = |rows: &serde_json::Value, purpose: &str| {
        let mut rows = rows.as_array().expect("rows").iter();
        rows.find(|row| {
            row["purpose"] == purpose && (purpose != "election" || row["namespace"] == world.names.system.as_str())
        })
        .cloned()
    };
    let rows = tenure_tests::until_some("the API server's own lease", || async {
        let output = std::process::Command::new(tenure_tests::program())
            .args(["status", "--leases", "-A", "-o", "json", "--kubeconfig"])
            .arg(&kubeconfig)
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        row(&rows, "api-server").is_some().then_some(rows)
    })
    .await;
    let (ours, server) = (row(&rows, "election").expect("our lock"), row(&rows, "api-server").expect("its lease"));
    assert_eq!((ours["state"].as_str(), ours["name"].as_str()), (Some("leader"), Some("tenure")));
    assert_eq!(ours["term"].as_u64(), world.term().await);
    assert_eq!((server["state"].as_str(), server["namespace"].as_str()), (Some("alive"), Some("kube-system")));
}
