//! Building every plugin to WebAssembly, each into a folder the host can load and `tenure plugin pack` can pack.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use cargo_metadata::Package;

use crate::cli::PluginsArgs;
use crate::languages;
use crate::process;
use crate::steps::Steps;
use crate::workspace::{WASM_TARGET, Workspace, in_ci};

/// A first build compiles the plugins' crates with link-time optimisation on a small machine.
const BUILD_LIMIT: Duration = Duration::from_secs(15 * 60);

/// One download.
const TARGET_LIMIT: Duration = Duration::from_secs(5 * 60);

/// What to do when the target cannot be had.
pub(crate) const TARGET_ADVICE: &str = "rustup target add wasm32-unknown-unknown (without rustup: your distribution's package with the standard library for it)";

/// What to do when a plugin does not build.
pub(crate) const BUILD_ADVICE: &str = "mend the plugin; cargo xtask plugins builds them alone";

/// `cargo xtask plugins`.
pub(crate) fn run(workspace: &Workspace, args: &PluginsArgs) -> anyhow::Result<()> {
    let mut steps = Steps::new(in_ci());
    if args.languages {
        let folder = languages::build(workspace, &mut steps)?;
        if args.keep {
            steps.step("keep", languages::ADVICE, || languages::keep(workspace, &folder))?;
        }
        return steps.finish();
    }
    steps.step("wasm target", TARGET_ADVICE, || install_target(workspace))?;
    steps.step("plugins", BUILD_ADVICE, || build(workspace))?;
    steps.finish()
}

/// Makes sure that the standard library for [`WASM_TARGET`] is there.
pub(crate) fn install_target(workspace: &Workspace) -> anyhow::Result<()> {
    install(workspace, WASM_TARGET)
}

/// Makes sure that the standard library for a target is there.
pub(crate) fn install(workspace: &Workspace, target: &str) -> anyhow::Result<()> {
    let sysroot = process::output(
        Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace.root()),
        TARGET_LIMIT,
    )?;
    let installed = || Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib").is_dir();
    if installed() {
        println!("    {target} is installed");
        return Ok(());
    }
    process::run(Command::new("rustup").args(["target", "add", target]).current_dir(workspace.root()), TARGET_LIMIT)?;
    if !installed() {
        bail!("{target} is still not there");
    }
    Ok(())
}

/// Builds all of `plugins/` and puts each beside its manifest into `target/plugins/<name>/`.
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<()> {
    build_packages(workspace, &workspace.plugins())
}

/// The same, with those that only tests run.
pub(crate) fn build_for_tests(workspace: &Workspace) -> anyhow::Result<()> {
    let packages: Vec<&Package> = workspace.plugins().into_iter().chain(workspace.test_guests()).collect();
    build_packages(workspace, &packages)
}

fn build_packages(workspace: &Workspace, plugins: &[&Package]) -> anyhow::Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--profile", "plugin", "--target", WASM_TARGET]);
    for plugin in plugins {
        cargo.args(["--package", plugin.name.as_str()]);
    }
    process::run(&mut cargo, BUILD_LIMIT)?;
    for plugin in plugins {
        let built = workspace.target().join(WASM_TARGET).join("plugin").join(plugin.name.replace('-', "_") + ".wasm");
        let manifest = plugin.manifest_path.with_file_name("plugin.toml");
        let folder = workspace.plugins_folder().join(plugin.name.as_str());
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let bytes = copy(&built, &folder.join("plugin.wasm"))?;
        copy(manifest.as_std_path(), &folder.join("plugin.toml"))?;
        println!("    {}: {} KiB of Wasm in {}", plugin.name, bytes / 1024, folder.display());
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<u64> {
    std::fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
