//! The Helm chart: the same objects as kustomize makes, objects that follow the settings, and wrong values refused with the reason.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure};
use serde_json::json;

use super::objects::{self, Objects};
use super::{COMPONENTS, SHORT_LIMIT, overlay};
use crate::process;
use crate::workspace::Workspace;

/// Helm's own: a chart cannot make the namespace it is installed into.
const OWN_NAMESPACE: &str = "Namespace tenure-system";

/// Wrong values, and what is said of each.
const REFUSED: [(&str, &str); 18] = [
    ("replica=3", "additional properties 'replica' not allowed"),
    ("replicas=0", "at '/replicas': minimum: got 0, want 1"),
    ("replicas=three", "at '/replicas': got string, want integer"),
    ("image.repository=", "at '/image/repository': '' does not match"),
    ("image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of"),
    ("settings=null", "missing property 'settings'"),
    ("fence=true", "at '/fence': got boolean, want object"),
    ("monitoring.enabled=yes", "at '/monitoring/enabled': got string, want boolean"),
    ("resources.limits.memory=null", "at '/resources/limits': missing property 'memory'"),
    ("resources.requests.memory=much", "at '/resources/requests/memory': 'much' does not match"),
    ("resources.limits.cpu=1", "resources.limits.cpu: leave it out: it throttles the election thread"),
    (
        "terminationGracePeriodSeconds=19",
        "19 is too short for the settings: shutdown-grace 10 s + write-timeout 5 s + 5 s are 20",
    ),
    ("settings=[election]\nshutdown-grace = \"1m500ms\"", "25 is too short for the settings: shutdown-grace 61 s"),
    (
        "settings=[election]\nwrite-timeout = \"long\"",
        "settings: election.write-timeout = \"long\": write it with the units",
    ),
    ("settings=[election", "settings is no TOML"),
    ("settings=profile = \"single\"", "this chart is for replicas that elect a leader"),
    ("settings=[console]\nlisten = \"127.0.0.1:8080\"", "the kubelet's probes have to reach it"),
    ("settings=[plugins]\nnamespaces = [\"tenure-system\"]", "plugins.namespaces has the release's own namespace"),
];

/// Everything about the chart that takes no cluster.
pub(crate) fn check(workspace: &Workspace, kubectl: &Path, helm: &Path) -> anyhow::Result<()> {
    let chart = Chart { helm, folder: workspace.root().join("deploy/helm/tenure"), home: tempfile::tempdir()? };
    process::run(chart.helm("lint").arg("--strict").arg(&chart.folder), SHORT_LIMIT)?;

    let base = |components: &[&str]| Objects::parse(&overlay(workspace, kubectl, components)?);
    is_same("the chart", &base(&[])?.without(OWN_NAMESPACE)?, &chart.objects(&[])?)?;
    is_same("the chart with namespaces.release", &base(&[])?, &chart.objects(&["namespaces.release=true"])?)?;
    for (component, value) in COMPONENTS {
        let made = chart.objects(&[&format!("{value}=true")])?;
        is_same(&format!("the chart with {value}"), &base(&[component])?.without(OWN_NAMESPACE)?, &made)?;
    }
    println!("    the same objects as kustomize makes, also with each of {} components", COMPONENTS.len());

    follows_release_and_settings(&chart)?;
    for (value, reason) in REFUSED {
        let said = chart.refused(value)?;
        ensure!(said.contains(reason), "of the value {value} helm says, without {reason:?}:\n{said}");
    }
    println!("    {} wrong values are refused with the reason", REFUSED.len());
    Ok(())
}

/// Another release, whose settings name other namespaces, another lock and another port: every object goes along.
fn follows_release_and_settings(chart: &Chart<'_>) -> anyhow::Result<()> {
    let settings = "settings=[election]\nid = \"billing.example.org\"\nshutdown-grace = \"1500ms\"\n[plugins]\nnamespaces = [\"blue\"\\, \
                    \"green\"]\ncode-cache = \"/cache\"\n[console]\nlisten = \"[::]:9090\"\n";
    let all = COMPONENTS.map(|(_, value)| format!("{value}=true"));
    let mut values: Vec<&str> = all.iter().map(String::as_str).collect();
    // 1.5 s + 5 s + 5 s, and each rounded up.
    values.extend(["terminationGracePeriodSeconds=12", settings]);
    let text = chart.template("billing", "finance", &values)?;
    let selecting = objects::of_any_release(&text)?;
    ensure!(selecting.is_empty(), "these select the Pods of any release: {selecting:?}");
    if let Some(line) = text.lines().find(|line| line.contains("tenure-system") || line.contains("tenure-plugins")) {
        bail!("a release of another name in another namespace says: {line}");
    }

    let objects = Objects::parse(&text)?;
    let lock = json!({"namespace": "finance", "name": "billing.example.org", "parameterNotFoundAction": "Deny"});
    for (key, place, expected) in [
        ("Namespace blue", "/metadata/name", json!("blue")),
        ("Role green/billing-plugins", "/rules/0/resources/0", json!("configmaps")),
        ("RoleBinding blue/billing-plugins", "/subjects/0/namespace", json!("finance")),
        ("Deployment finance/billing", "/spec/template/spec/containers/0/ports/0/containerPort", json!(9090)),
        ("Deployment finance/billing", "/spec/template/spec/containers/0/volumeMounts/1/mountPath", json!("/cache")),
        ("FlowSchema billing-leases", "/spec/rules/0/subjects/0/serviceAccount/name", json!("billing")),
        ("ValidatingAdmissionPolicyBinding lease-fence.billing.tenure.dev", "/spec/paramRef", lock),
        (
            "ValidatingAdmissionPolicyBinding object-fence.billing.tenure.dev",
            "/spec/policyName",
            json!("object-fence.billing.tenure.dev"),
        ),
        (
            "ValidatingAdmissionPolicyBinding lease-anchor.billing.tenure.dev",
            "/spec/paramRef/namespace",
            json!("finance"),
        ),
    ] {
        let found = objects.get(key)?.pointer(place);
        ensure!(found == Some(&expected), "{key}{place} is {found:?} and not {expected}");
    }
    Ok(())
}

fn is_same(what: &str, kustomize: &Objects, chart: &Objects) -> anyhow::Result<()> {
    let differences = kustomize.differences(chart);
    ensure!(differences.is_empty(), "kustomize and {what} differ:\n    {}", differences.join("\n    "));
    Ok(())
}

/// The chart, and a helm without anybody's settings and plugins.
struct Chart<'a> {
    helm: &'a Path,
    folder: PathBuf,
    home: tempfile::TempDir,
}

impl Chart<'_> {
    fn helm(&self, command: &str) -> Command {
        let mut helm = Command::new(self.helm);
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(name, self.home.path());
        }
        helm.env_remove("KUBECONFIG").arg(command);
        helm
    }

    fn rendering(&self, release: &str, namespace: &str, values: &[&str]) -> Command {
        let mut helm = self.helm("template");
        helm.arg(release).arg(&self.folder).args(["--namespace", namespace]);
        for value in values {
            helm.args(["--set", value]);
        }
        helm
    }

    fn template(&self, release: &str, namespace: &str, values: &[&str]) -> anyhow::Result<String> {
        process::output(&mut self.rendering(release, namespace, values), SHORT_LIMIT)
    }

    /// Under the names that kustomize gives.
    fn objects(&self, values: &[&str]) -> anyhow::Result<Objects> {
        Objects::parse(&self.template("tenure", "tenure-system", values)?)
    }

    fn refused(&self, value: &str) -> anyhow::Result<String> {
        let outcome = process::outcome(&mut self.rendering("tenure", "tenure-system", &[value]), SHORT_LIMIT)?;
        ensure!(!outcome.status.success(), "the wrong value {value} is taken");
        Ok(String::from_utf8_lossy(&outcome.stderr).into_owned())
    }
}
