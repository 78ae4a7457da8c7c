//! Programs built from our Go modules, once, and kept in the user's cache folder.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::process;

/// A whole control plane takes four minutes on two cores once its modules are there.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Whether there is a Go to build with.
pub(crate) fn is_there() -> bool {
    process::on_path("go").is_some()
}

/// Builds `packages` of the module in `module` into `folder`: all of them or none.
pub(crate) fn build(module: &Path, packages: &[&str], link: &str, folder: &Path) -> anyhow::Result<()> {
    // Under another name first: a program that is in place is whole.
    let half = folder.with_extension(format!("half-{}", std::process::id()));
    std::fs::create_dir_all(&half).with_context(|| format!("cannot make {}", half.display()))?;
    let mut go = go(module);
    go.args(["build", "-trimpath", "-ldflags", link, "-o"]).arg(&half);
    go.args(packages.iter().map(|package| format!("./{package}")));
    let built = process::run(&mut go, BUILD_LIMIT).and_then(|()| move_into(&half, packages, folder));
    let _ = std::fs::remove_dir_all(&half);
    built
}

/// What gofmt, vet and a module's own tests have to say.
pub(crate) fn check(module: &Path) -> anyhow::Result<()> {
    let unformatted = process::output(go(module).args(["run", "cmd/gofmt", "-l", "."]), BUILD_LIMIT)?;
    if !unformatted.is_empty() {
        bail!("not as gofmt has it, in {}: {}", module.display(), unformatted.trim().replace('\n', ", "));
    }
    process::run(go(module).args(["vet", "./..."]), BUILD_LIMIT)?;
    process::run(go(module).args(["test", "./..."]), BUILD_LIMIT)
}

fn go(module: &Path) -> Command {
    let mut go = Command::new("go");
    // Where go is older than go.mod asks for, it fetches the right one as a module.
    go.current_dir(module).env("GOTOOLCHAIN", "auto").env("GOFLAGS", "-mod=readonly").env("CGO_ENABLED", "0");
    go
}

/// The same into the cache, under a name that says what was built: a module that changed is built anew, one that did not is
/// there already. Answers with the folder.
#[expect(clippy::print_stderr, reason = "stdout is for what the command was asked for")]
pub(crate) fn build_once(module: &Path, packages: &[&str], name: &str) -> anyhow::Result<PathBuf> {
    let folder = cache()?.join(format!("{name}-{:016x}", fingerprint(module)?));
    let is_there = |package: &&str| Path::new(package).file_name().is_some_and(|name| folder.join(name).is_file());
    if !packages.iter().all(is_there) {
        eprintln!("    building {} into {}, once", packages.join(", "), folder.display());
        build(module, packages, "-s -w", &folder)?;
    }
    Ok(folder)
}

/// Of everything in a module that go builds from. Tells versions on one machine apart, nothing more.
fn fingerprint(module: &Path) -> anyhow::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut folders = vec![module.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| ["go", "mod", "sum"].iter().any(|it| kind == *it)) {
                files.push(path);
            }
        }
    }
    files.sort();
    for file in files {
        file.strip_prefix(module).unwrap_or(&file).hash(&mut hasher);
        std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Programs that others release as a Go module.
#[derive(Debug)]
pub(crate) struct Released {
    /// What its folder in the cache is called.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// The part that the packages' paths begin with.
    pub(crate) module: &'static str,
    /// Below the module; the last part is the program's name.
    pub(crate) packages: &'static [&'static str],
    /// Build tags.
    pub(crate) tags: &'static str,
    pub(crate) link: &'static str,
}

/// Builds released programs into the cache, all of them or none, unless they are there. Answers with the folder.
#[expect(clippy::print_stderr, reason = "stdout is for what the command was asked for")]
pub(crate) fn install_once(released: &Released) -> anyhow::Result<PathBuf> {
    let Released { name, version, module, packages, tags, link } = released;
    let folder = cache()?.join(format!("{name}-{version}"));
    let is_there = |package: &&str| Path::new(package).file_name().is_some_and(|name| folder.join(name).is_file());
    if packages.iter().all(is_there) {
        return Ok(folder);
    }
    eprintln!("    building {name} {version} into {}, once", folder.display());
    let half = folder.with_extension(format!("half-{}", std::process::id()));
    std::fs::create_dir_all(&half).with_context(|| format!("cannot make {}", half.display()))?;
    let mut go = go(&half);
    go.args(["install", "-trimpath", "-tags", tags, "-ldflags", link]);
    go.args(packages.iter().map(|package| format!("{module}/{package}@{version}")));
    go.env("GOBIN", &half);
    let built = process::run(&mut go, BUILD_LIMIT).and_then(|()| move_into(&half, packages, &folder));
    let _ = std::fs::remove_dir_all(&half);
    built.map(|()| folder)
}

/// The folder of a released module's files, fetched once: for what is in it besides Go.
pub(crate) fn files_of(module: &str, version: &str) -> anyhow::Result<PathBuf> {
    let cache = cache()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let mut go = go(&cache);
    let said = process::output(go.args(["mod", "download", "-json", &format!("{module}@{version}")]), BUILD_LIMIT)?;
    let said: serde_json::Value = serde_json::from_str(&said).context("go does not answer with JSON")?;
    said["Dir"].as_str().map(PathBuf::from).with_context(|| format!("go does not say where {module} is: {said}"))
}

fn move_into(half: &Path, packages: &[&str], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for package in packages {
        let name = Path::new(package).file_name().context("a package has a name")?;
        let target = folder.join(name);
        std::fs::rename(half.join(name), &target)
            .with_context(|| format!("cannot put {} in place", target.display()))?;
    }
    Ok(())
}

/// Our folder in the user's cache: outside the tree, so that a clean checkout does not build everything again.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let folder = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".cache"),
        _ => bail!("neither XDG_CACHE_HOME nor HOME is set, so there is no place to keep what Go builds"),
    };
    Ok(folder.join("tenure"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_changed_is_another_one_and_other_files_do_not_matter() {
        let module = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| std::fs::write(module.path().join(name), text).unwrap();
        file("go.mod", "module a");
        file("main.go", "package main");
        let before = fingerprint(module.path()).unwrap();
        file("README.md", "read me");
        assert_eq!(fingerprint(module.path()).unwrap(), before);
        file("main.go", "package other");
        assert_ne!(fingerprint(module.path()).unwrap(), before);
    }
}
