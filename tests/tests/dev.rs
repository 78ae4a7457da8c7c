//! `tenure dev` as a person runs it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tenure_tests::{Plugin, RealApi, get, program, until, until_some};

struct Dev {
    child: Child,
    api: String,
    kubeconfig: String,
    pids: Vec<Pid>,
}

impl Dev {
    /// Starts it and reads its events until all replicas have told their console.
    fn start(arguments: &[&str], replicas: usize) -> Self {
        let mut child = Command::new(program())
            .args(["dev", "--json", "--profile", "fast"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (mut api, mut kubeconfig, mut pids) = (String::new(), String::new(), Vec::new());
        while pids.len() < replicas {
            let line = lines.next().expect("events until all replicas run").expect("a line");
            let event: Value = serde_json::from_str(&line).expect("a line of JSON");
            match event["event"].as_str() {
                Some("ready") => {
                    api = event["api"].as_str().expect("an address").to_owned();
                    kubeconfig = event["kubeconfig"].as_str().expect("a path").to_owned();
                }
                Some("replica") => {
                    let pid = event["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
                    pids.push(pid.and_then(Pid::from_raw).expect("a pid"));
                }
                _ => {}
            }
        }
        // Read on, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, api, kubeconfig, pids }
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        for pid in &self.pids {
            assert!(test_kill_process(*pid).is_err(), "a replica outlived it");
        }
        assert!(!Path::new(&self.kubeconfig).exists(), "its folder stayed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_starts_replicas_runs_a_directory_of_plugins_and_ends_it_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let probe = Plugin::probe("probe", "stamp", "1");
    std::fs::write(folder.path().join("probe.toml"), &probe.manifest).expect("written");
    std::fs::write(folder.path().join("probe.wasm"), &probe.wasm).expect("written");
    let plugins = folder.path().to_str().expect("UTF-8").to_owned();
    let dev = tokio::task::block_in_place(|| Dev::start(&["--replicas", "2", "--plugins", &plugins], 2));
    let lease = format!("{}/apis/coordination.k8s.io/v1/namespaces/tenure-system/leases/host.tenure.dev", dev.api);
    let console = until_some("a leader's console in the Lease", || async {
        let lease: Value = serde_json::from_str(&get(&lease).await?).ok()?;
        lease["metadata"]["annotations"]["tenure.dev/console"].as_str().map(str::to_owned)
    })
    .await;
    until("the plugin of the directory to run", || async {
        get(&format!("{console}/status"))
            .await
            .is_some_and(|status| status.contains("directory/probe") && status.contains("running"))
    })
    .await;
    tokio::task::block_in_place(|| dev.stop());
}

#[test]
fn objects_survive_a_restart_with_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let first = Dev::start(&["--replicas", "1", "--data", data], 1);
    let url = |dev: &Dev| format!("{}/api/v1/namespaces/tenure-plugins", dev.api);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let uid = |dev: &Dev| {
        let namespace = runtime.block_on(get(&url(dev))).expect("the namespace");
        serde_json::from_str::<Value>(&namespace).expect("JSON")["metadata"]["uid"].clone()
    };
    let before = uid(&first);
    end(first);
    let second = Dev::start(&["--replicas", "1", "--data", data], 1);
    assert_eq!(uid(&second), before);
    end(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_api_server_objects_survive_a_restart_and_a_leader_works() {
    if RealApi::assets().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let arguments = ["--replicas", "2", "--api", "real", "--data", data.to_str().expect("UTF-8")];
    let mut versions = Vec::new();
    for _ in 0..2 {
        let dev = tokio::task::block_in_place(|| Dev::start(&arguments, 2));
        assert!(dev.api.starts_with("https://127.0.0.1:"), "{}", dev.api);
        let kubeconfig = kube::config::Kubeconfig::read_from(&dev.kubeconfig).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("a config");
        let client = kube::Client::try_from(config).expect("a client");
        versions.push(client.apiserver_version().await.expect("a version").git_version);
        let leases: Api<Lease> = Api::namespaced(client, "tenure-system");
        let term = until_some("a leader", || async {
            let lease = leases.get_opt("host.tenure.dev").await.expect("the API answers")?;
            let held = lease.spec?.holder_identity.is_some_and(|holder| !holder.is_empty());
            held.then_some(lease.metadata.annotations?.get("tenure.dev/term").cloned()?)
        })
        .await;
        versions.push(term.split('/').next().expect("a term").to_owned());
        tokio::task::block_in_place(|| end(dev));
    }
    assert!(versions[0].starts_with('v') && versions[0] == versions[2], "{versions:?}");
    assert!(
        versions[1].parse::<u64>().ok() < versions[3].parse().ok(),
        "the second term is above the first: {versions:?}"
    );
}

#[test]
fn a_real_api_server_that_is_not_there_is_said_with_what_mends_it() {
    let run = |assets: Option<&Path>| {
        let mut dev = Command::new(program());
        dev.args(["dev", "--api", "real"]).stdin(Stdio::null()).env_remove("KUBEBUILDER_ASSETS");
        if let Some(assets) = assets {
            dev.env("KUBEBUILDER_ASSETS", assets);
        }
        let output = dev.output().expect("the program runs");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let unset = run(None);
    for word in ["KUBEBUILDER_ASSETS", "setup-envtest", "cargo xtask cluster build"] {
        assert!(unset.contains(word), "{word:?} is missing in {unset:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("etcd"), "").expect("written");
    let incomplete = run(Some(folder.path()));
    assert!(incomplete.contains("which has no kube-apiserver"), "{incomplete:?}");
}

/// As a kept folder allows it: the kubeconfig stays.
fn end(mut dev: Dev) {
    kill_process(Pid::from_child(&dev.child), Signal::TERM).expect("it runs");
    assert!(dev.child.wait().expect("it ends").success());
}
