//! The Helm chart on a real API server: what it makes is taken, a changed setting has a way back, and a release that goes leaves
//! what is not its own to delete.

use std::path::PathBuf;

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::Api;
use tenure_tests::{RealApi, until};
use tokio::process::Command;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/helm/tenure");
const RELEASE: &str = "chart";
const NAMESPACE: &str = "chart-system";
const PLUGINS: &str = "chart-plugins";
/// The fence and its anchor.
const POLICIES: [&str; 2] = ["lease-fence.chart.tenure.dev", "lease-anchor.chart.tenure.dev"];

/// Helm with the rights of an administrator, and without anybody's settings.
struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: tempfile::TempDir,
}

impl Helm {
    /// A loud word where there is no program, which only a person's machine may do.
    #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
    fn on(api: &RealApi) -> Option<Self> {
        let Some(program) = std::env::var_os("HELM").map(PathBuf::from) else {
            let missing = "HELM does not name a helm; `cargo xtask test` builds one";
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
            eprintln!("SKIPPED: {missing}");
            return None;
        };
        let home = tempfile::tempdir().expect("a temporary folder");
        Some(Self { program, kubeconfig: api.kubeconfig(), home })
    }

    async fn run(&self, command: &[&str], values: &[&str]) {
        let mut helm = Command::new(&self.program);
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(name, self.home.path());
        }
        helm.args(command).args(["--namespace", NAMESPACE]).arg("--kubeconfig").arg(&self.kubeconfig);
        for value in values {
            helm.args(["--set", value]);
        }
        let output = helm.output().await.expect("helm can be started");
        assert!(output.status.success(), "helm {}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr));
    }
}

/// The ConfigMap that the Pods of now take their settings from.
async fn settings_of(deployments: &Api<Deployment>) -> String {
    let deployment = deployments.get(RELEASE).await.expect("the Deployment is there");
    let pods = deployment.spec.and_then(|spec| spec.template.spec).expect("it has a template");
    let mut volumes = pods.volumes.into_iter().flatten().filter_map(|volume| volume.config_map);
    volumes.next().expect("it mounts a ConfigMap").name
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_has_a_way_back_and_leaves_what_is_not_its_own_to_delete() {
    let Some(api) = RealApi::shared().await else { return };
    let Some(helm) = Helm::on(&api) else { return };
    let client = api.client().await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client);
    let are_there = async || {
        let [fence, anchor] = POLICIES.map(|name| policies.get_opt(name));
        [fence.await, anchor.await].map(|policy| policy.expect("policies can be read").is_some())
    };
    let settings =
        |level: &str| format!("settings=[plugins]\nnamespaces = [\"{PLUGINS}\"]\n[log]\nlevel = \"{level}\"\n");

    let (info, debug) = (settings("info"), settings("debug"));
    let values = ["fence.enabled=true", "flowSchema.enabled=true", "networkPolicy.enabled=true", &info];
    helm.run(&["install", RELEASE, CHART, "--create-namespace"], &values).await;
    let first = settings_of(&deployments).await;
    assert_eq!(are_there().await, [true, true]);

    // Replicas of before may need their settings at any time, and after a rollback for good.
    helm.run(&["upgrade", RELEASE, CHART, "--reuse-values"], &[&debug]).await;
    let second = settings_of(&deployments).await;
    assert_ne!(second, first);
    config_maps.get(&first).await.expect("the settings of before are still there");
    helm.run(&["rollback", RELEASE, "1"], &[]).await;
    assert_eq!(settings_of(&deployments).await, first);

    // The anchor keeps the watch alive that the next fence judges by.
    helm.run(&["upgrade", RELEASE, CHART, "--reuse-values"], &["fence.enabled=false"]).await;
    assert_eq!(are_there().await, [false, true]);
    helm.run(&["upgrade", RELEASE, CHART, "--reuse-values"], &["fence.enabled=true"]).await;
    assert_eq!(are_there().await, [true, true]);

    helm.run(&["uninstall", RELEASE], &[]).await;
    until("the Deployment to be gone", || async { deployments.get_opt(RELEASE).await.is_ok_and(|it| it.is_none()) })
        .await;
    assert_eq!(are_there().await, [false, true]);
    let plugins = namespaces.get(PLUGINS).await.expect("the plugins' namespace is still there");
    assert_eq!(plugins.metadata.deletion_timestamp, None);
    helm.run(&["install", RELEASE, CHART], &values).await;
    assert_eq!(settings_of(&deployments).await, first);
    helm.run(&["uninstall", RELEASE], &[]).await;
}
