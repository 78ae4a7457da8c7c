//! The programs of a real Kubernetes control plane: those that `KUBEBUILDER_ASSETS` names, or our own build of the released
//! sources, kept by version. And what tests talk to it with: kubectl, Helm, client-go.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::go::{self, Released};
use crate::process;
use crate::workspace::Workspace;

/// The version that tests/control-plane/go.mod requires, as Kubernetes counts.
const VERSION: &str = "v1.36.3";

const PROGRAMS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"];

/// What a cluster with nodes runs besides.
const NODE_PROGRAMS: [&str; 3] = ["kube-scheduler", "kubelet", "kube-proxy"];

/// What tests need of them; kube-controller-manager is not among what the field's own tools download.
const NEEDED: [&str; 2] = ["etcd", "kube-apiserver"];

const HELM: Released = Released {
    name: "helm",
    version: "v4.3.1",
    module: "helm.sh/helm/v4",
    packages: &["cmd/helm"],
    tags: "",
    link: "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1",
};

/// What there is to test with.
#[derive(Debug, Default, Clone)]
pub(crate) struct Programs {
    /// The folder of etcd and kube-apiserver.
    pub(crate) assets: Option<PathBuf>,
    /// kubectl.
    pub(crate) kubectl: Option<PathBuf>,
    /// Helm.
    pub(crate) helm: Option<PathBuf>,
    /// The candidate of client-go that competes with ours.
    pub(crate) client_go: Option<PathBuf>,
    /// The folder of the Prometheus operator's CustomResourceDefinitions.
    pub(crate) monitoring: Option<PathBuf>,
}

/// Builds the programs of the control plane unless they are there, and answers with their folder.
pub(crate) fn built(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let folder = built_folder()?;
    build(workspace, &PROGRAMS, &folder)?;
    Ok(folder)
}

/// The same, with what a scheduler and nodes are besides.
pub(crate) fn built_with_nodes(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let folder = built(workspace)?;
    build(workspace, &NODE_PROGRAMS, &folder)?;
    Ok(folder)
}

/// Looks for the programs, and builds them where they are not and Go is.
pub(crate) fn provide(workspace: &Workspace) -> anyhow::Result<Programs> {
    let assets = match std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()) {
        Some(folder) => Some(given(PathBuf::from(folder))?),
        None => {
            let folder = built_folder()?;
            if is_whole(&PROGRAMS, &folder) || go::is_there() { Some(built(workspace)?) } else { None }
        }
    };
    let (kubectl, helm, client_go) = (kubectl(assets.as_deref())?, helm()?, client_go(workspace)?);
    let monitoring = monitoring()?;
    for file in [&assets, &kubectl, &helm, &client_go, &monitoring].into_iter().flatten() {
        println!("    {}", file.display());
    }
    Ok(Programs { assets, kubectl, helm, client_go, monitoring })
}

/// What to do where there is nothing.
pub(crate) const MISSING: &str = "neither KUBEBUILDER_ASSETS nor Go is there, so nothing was tested on a real API server: install Go \
     (https://go.dev/dl) and run the same command again, or set KUBEBUILDER_ASSETS=$(setup-envtest use -p path)";

fn given(folder: PathBuf) -> anyhow::Result<PathBuf> {
    for program in NEEDED {
        if !folder.join(program).is_file() {
            bail!("KUBEBUILDER_ASSETS names {}, which has no {program}", folder.display());
        }
    }
    Ok(folder)
}

/// The program that a variable of the environment names.
fn named(variable: &str) -> anyhow::Result<Option<PathBuf>> {
    let Some(file) = std::env::var_os(variable).map(PathBuf::from) else { return Ok(None) };
    if !file.is_file() {
        bail!("{variable} names {}, which is no file", file.display());
    }
    Ok(Some(file))
}

fn monitoring() -> anyhow::Result<Option<PathBuf>> {
    const OPERATOR: (&str, &str) = ("github.com/prometheus-operator/prometheus-operator", "v0.85.0");
    if !go::is_there() {
        return Ok(None);
    }
    let (module, version) = OPERATOR;
    Ok(Some(go::files_of(module, version)?.join("example/prometheus-operator-crd")))
}

fn client_go(workspace: &Workspace) -> anyhow::Result<Option<PathBuf>> {
    // Its name is how client-go names itself to the API server, and how tests know its requests.
    const CANDIDATE: &str = "client-go-candidate";
    if let Some(named) = named("TENURE_CLIENT_GO")? {
        return Ok(Some(named));
    }
    if !go::is_there() {
        return Ok(None);
    }
    let folder = go::build_once(&workspace.root().join("tests/client-go"), &[CANDIDATE], CANDIDATE)?;
    Ok(Some(folder.join(CANDIDATE)))
}

fn kubectl(assets: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(named) = named("KUBECTL")? {
        return Ok(Some(named));
    }
    let beside = assets.map(|folder| folder.join("kubectl")).filter(|file| file.is_file());
    Ok(beside.or_else(|| process::on_path("kubectl")))
}

fn helm() -> anyhow::Result<Option<PathBuf>> {
    if let Some(named) = named("HELM")? {
        return Ok(Some(named));
    }
    // Not the one on PATH: what a chart may use, and what is said of wrong values, differs from one to the next.
    if !go::is_there() {
        return Ok(None);
    }
    Ok(Some(go::install_once(&HELM)?.join("helm")))
}

#[expect(clippy::print_stderr, reason = "stdout is for what the command was asked for")]
fn build(workspace: &Workspace, programs: &[&str], folder: &Path) -> anyhow::Result<()> {
    if is_whole(programs, folder) {
        return Ok(());
    }
    if !go::is_there() {
        bail!("there is no go on PATH: install it (https://go.dev/dl) and run the same command again");
    }
    eprintln!("    building {} {VERSION} into {}, once", programs.join(", "), folder.display());
    let variable = |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
    // Without these, clients see version v0.0.0.
    let link = ["-s -w".into(), variable("gitVersion", VERSION), variable("gitMajor", "1"), variable("gitMinor", "36")];
    go::build(&workspace.root().join("tests/control-plane"), programs, &link.join(" "), folder)
}

fn is_whole(programs: &[&str], folder: &Path) -> bool {
    programs.iter().all(|program| folder.join(program).is_file())
}

fn built_folder() -> anyhow::Result<PathBuf> {
    Ok(go::cache()?.join(format!("kubernetes-{VERSION}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_named_by_hand_must_have_what_tests_need() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("etcd"), "").unwrap();
        let error = given(folder.path().to_owned()).unwrap_err().to_string();
        assert!(error.ends_with("has no kube-apiserver"), "{error}");
    }
}
