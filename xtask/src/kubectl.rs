//! A kubectl for the tests: the one on PATH, or one built once from our own small Go module and kept by version.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::process;
use crate::workspace::Workspace;

/// The version that tests/control-plane/go.mod requires, as Kubernetes counts.
const VERSION: &str = "v1.36.3";

/// About two minutes on two cores once the modules are there.
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Where kubectl comes from.
pub(crate) enum Kubectl {
    /// This file.
    At(PathBuf),
    /// Nowhere, because of this; the text says what to do.
    Missing(String),
}

/// Looks for one, and builds one where there is none.
pub(crate) fn provide(workspace: &Workspace) -> anyhow::Result<Kubectl> {
    if let Some(given) = std::env::var_os("KUBECTL").map(PathBuf::from) {
        if !given.is_file() {
            bail!("KUBECTL names {}, which is no file", given.display());
        }
        return Ok(Kubectl::At(given));
    }
    if let Some(found) = process::on_path("kubectl") {
        println!("    {}", found.display());
        return Ok(Kubectl::At(found));
    }
    let built = cache()?.join(format!("kubectl-{VERSION}"));
    if built.is_file() {
        println!("    {}, built earlier", built.display());
        return Ok(Kubectl::At(built));
    }
    if process::on_path("go").is_none() {
        return Ok(Kubectl::Missing(
            "neither kubectl nor Go is on PATH, so nothing was tested with kubectl: install either \
             (https://kubernetes.io/docs/tasks/tools or https://go.dev/dl)"
                .into(),
        ));
    }
    println!("    building kubectl {VERSION} into {}, once", built.display());
    build(workspace, &built)?;
    Ok(Kubectl::At(built))
}

fn build(workspace: &Workspace, built: &std::path::Path) -> anyhow::Result<()> {
    let folder = built.parent().context("the cache is a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Under another name first: one that is there is whole.
    let half = folder.join(format!("kubectl-{VERSION}.{}", std::process::id()));
    let variable = |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
    let flags =
        ["-s -w".into(), variable("gitVersion", VERSION), variable("gitMajor", "1"), variable("gitMinor", "36")]
            .join(" ");
    let mut go = Command::new("go");
    go.current_dir(workspace.root().join("tests/control-plane")).args(["build", "-trimpath", "-ldflags", &flags, "-o"]);
    // Where go is older than go.mod asks for, it fetches the right one as a module.
    go.arg(&half).arg("./kubectl").env("GOTOOLCHAIN", "auto").env("GOFLAGS", "-mod=readonly").env("CGO_ENABLED", "0");
    process::run(&mut go, BUILD_LIMIT)?;
    std::fs::rename(&half, built).with_context(|| format!("cannot put {} in place", built.display()))
}

/// Outside the tree, so that a clean checkout does not build it again.
fn cache() -> anyhow::Result<PathBuf> {
    let folder = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".cache"),
        _ => bail!("neither XDG_CACHE_HOME nor HOME is set, so there is no place to keep kubectl"),
    };
    Ok(folder.join("tenure"))
}
