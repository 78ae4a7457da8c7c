//! What is deployed, in both forms: kustomize and the Helm chart. Whether they make the same objects, whether Prometheus can read the
//! alerts and the dashboard, and whether docs/deploy.md says what there is.

pub(crate) mod chart;
mod objects;
#[cfg(test)]
mod page;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::process;
use crate::workspace::Workspace;

const SHORT_LIMIT: Duration = Duration::from_secs(2 * 60);

/// Each component, and the value that switches it on in the chart.
const COMPONENTS: [(&str, &str); 6] = [
    ("fence", "fence.enabled"),
    ("flow-schema", "flowSchema.enabled"),
    ("monitoring", "monitoring.enabled"),
    ("network-policy", "networkPolicy.enabled"),
    ("object-fence", "objectFence.enabled"),
    ("proof-of-death", "proofOfDeath.enabled"),
];

/// The base with every component has an object of each kind that it is to have.
pub(crate) fn kustomize(workspace: &Workspace, kubectl: &Path) -> anyhow::Result<()> {
    let made = overlay(workspace, kubectl, &COMPONENTS.map(|(component, _)| component))?;
    let kinds =
        ["Deployment", "Role", "RoleBinding", "ServiceAccount", "PodDisruptionBudget", "ConfigMap", "Namespace"];
    let components = [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "FlowSchema",
        "PodMonitor",
        "PrometheusRule",
        "NetworkPolicy",
    ];
    for kind in kinds.into_iter().chain(components) {
        if !made.lines().any(|line| line == format!("kind: {kind}")) {
            bail!("kubectl kustomize of the base and its components makes no {kind}");
        }
    }
    Ok(())
}

/// The base with these components, as an overlay of a user's has it.
fn overlay(workspace: &Workspace, kubectl: &Path, components: &[&str]) -> anyhow::Result<String> {
    let deploy = workspace.root().join("deploy/kustomize");
    let overlay = tempfile::Builder::new().prefix("overlay-").tempdir_in(&deploy)?;
    let components: Vec<String> = components.iter().map(|component| format!("../components/{component}")).collect();
    // JSON is YAML.
    let kustomization = json!({"resources": ["../base"], "components": components});
    std::fs::write(overlay.path().join("kustomization.yaml"), kustomization.to_string())?;
    process::output(Command::new(kubectl).arg("kustomize").arg(overlay.path()), SHORT_LIMIT)
}

/// The alerts, on series in which each must and must not go off, and the expressions of the dashboard.
pub(crate) fn monitoring(workspace: &Workspace, promtool: &Path) -> anyhow::Result<()> {
    let folder = workspace.root().join("deploy/kustomize/components/monitoring");
    let rule = std::fs::read_to_string(folder.join("alerts.yaml"))?;
    let (_, spec) = rule.split_once("\nspec:\n").context("alerts.yaml has no spec")?;
    // promtool wants what stands in the object, without the object.
    let rules: String = spec.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
    let stage = tempfile::tempdir()?;
    std::fs::write(stage.path().join("rules.yaml"), rules)?;
    std::fs::copy(folder.join("alerts-test.yaml"), stage.path().join("alerts-test.yaml"))?;
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("dashboard.json"))?)?;
    std::fs::write(stage.path().join("dashboard.yaml"), recorded(&dashboard)?.to_string())?;
    let promtool = |arguments: &[&str]| {
        let mut promtool = Command::new(promtool);
        process::run(promtool.current_dir(stage.path()).args(arguments), SHORT_LIMIT)
    };
    promtool(&["test", "rules", "alerts-test.yaml"])?;
    promtool(&["check", "rules", "dashboard.yaml"])
}

/// A dashboard's expressions as rules, because these are what promtool reads. What Grafana puts in for `$__rate_interval` is a duration.
fn recorded(dashboard: &Value) -> anyhow::Result<Value> {
    let panels = dashboard["panels"].as_array().context("dashboard.json has no panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.map(|target| target["expr"].as_str().context("a target of dashboard.json has no expr"));
    let rules = expressions.enumerate().map(|(number, expression)| {
        let expression = expression?.replace("$__rate_interval", "5m");
        anyhow::Ok(json!({"record": format!("dashboard:{number}"), "expr": expression}))
    });
    let rules = rules.collect::<anyhow::Result<Vec<Value>>>()?;
    if rules.is_empty() {
        bail!("dashboard.json has no expressions");
    }
    Ok(json!({"groups": [{"name": "dashboard", "rules": rules}]}))
}
