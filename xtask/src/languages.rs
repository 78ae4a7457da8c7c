//! `cargo xtask plugins --languages`: the contract's guest in every language, each by the tools that people of that language
//! would use, from their public registries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::plugins;
use crate::process;
use crate::steps::Steps;
use crate::workspace::Workspace;

/// The whole runtime of a language is linked, on a small machine.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The contract's version: what is kept of it lies in a folder of that name.
const CONTRACT_VERSION: &str = "0.1.0";
/// What is kept is in the repository for ever: runtimes past this stay outside.
const KEPT_BYTES_MAX: usize = 640 << 10;
/// The best that is decompressed as fast as any.
const ZSTD_LEVEL: i32 = 19;

const WORLD: &str = "reconciler";
const RUST_TARGET: &str = "wasm32-wasip2";

/// What to do when a guest does not build.
pub(crate) const ADVICE: &str = "see what the language's tool says; docs/languages.md has the commands";

/// A program, under any of these names, and how to get it.
struct Tool {
    names: &'static [&'static str],
    install: &'static str,
}

const WIT_BINDGEN: Tool = Tool {
    names: &["wit-bindgen"],
    install: "cargo install wit-bindgen-cli@0.63.0 --no-default-features --features c,go",
};
const ZIG: Tool = Tool { names: &["zig", "python-zig"], install: "pip install ziglang" };
const GO: Tool = Tool { names: &["go"], install: "https://go.dev/dl" };
const COMPONENTIZE_QJS: Tool =
    Tool { names: &["componentize-qjs"], install: "npm install --global componentize-qjs@0.4.5" };
const COMPONENTIZE_PY: Tool = Tool { names: &["componentize-py"], install: "pip install componentize-py==0.25.1" };

/// A language there is a guest in.
struct Language {
    name: &'static str,
    tools: &'static [Tool],
    build: fn(&Site<'_>) -> anyhow::Result<()>,
}

const LANGUAGES: [Language; 5] = [
    Language { name: "rust", tools: &[], build: rust },
    Language { name: "c", tools: &[WIT_BINDGEN, ZIG], build: c },
    Language { name: "go", tools: &[WIT_BINDGEN, GO], build: go },
    Language { name: "javascript", tools: &[COMPONENTIZE_QJS], build: javascript },
    Language { name: "python", tools: &[COMPONENTIZE_PY], build: python },
];

/// Where one guest is built.
struct Site<'a> {
    workspace: &'a Workspace,
    sources: PathBuf,
    /// Empty at first, and the build's own.
    work: PathBuf,
    wasm: PathBuf,
}

/// Builds what there are tools for, a step each; the rest is skipped, with the command that gets the tool. Answers with the
/// folder that has one folder a language.
pub(crate) fn build(workspace: &Workspace, steps: &mut Steps) -> anyhow::Result<PathBuf> {
    let folder = workspace.target().join("languages");
    clear(&folder)?;
    for language in &LANGUAGES {
        if let Some(tool) = language.tools.iter().find(|tool| tool.find().is_none()) {
            steps.skip(language.name, format!("there is no {}: {}", tool.names[0], tool.install));
            continue;
        }
        steps.step(language.name, ADVICE, || {
            let work = workspace.target().join("languages-build").join(language.name);
            clear(&work)?;
            let built = folder.join(language.name);
            clear(&built)?;
            let sources = workspace.root().join("tests/guests/languages").join(language.name);
            let site = Site { workspace, sources, work, wasm: built.join("plugin.wasm") };
            (language.build)(&site)?;
            let bytes = std::fs::metadata(&site.wasm).with_context(|| site.wasm.display().to_string())?.len();
            println!("    {}: {} KiB of Wasm in {}", language.name, bytes / 1024, site.wasm.display());
            Ok(())
        })?;
    }
    Ok(folder)
}

/// Keeps what was built as the guests of this version of the contract: from then on every test run has them.
pub(crate) fn keep(workspace: &Workspace, folder: &Path) -> anyhow::Result<()> {
    let kept = workspace.root().join("tests/guests/kept").join(CONTRACT_VERSION);
    clear(&kept)?;
    for language in &LANGUAGES {
        let wasm = folder.join(language.name).join("plugin.wasm");
        if !wasm.is_file() {
            continue;
        }
        let wasm = std::fs::read(&wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
        let packed = zstd::encode_all(wasm.as_slice(), ZSTD_LEVEL)?;
        if packed.len() > KEPT_BYTES_MAX {
            println!("    {}: {} KiB compressed are too much to keep", language.name, packed.len() / 1024);
            continue;
        }
        let file = kept.join(format!("{}.wasm.zst", language.name));
        std::fs::write(&file, &packed).with_context(|| format!("cannot write {}", file.display()))?;
        println!("    {}: {} KiB compressed in {}", language.name, packed.len() / 1024, file.display());
    }
    Ok(())
}

fn rust(site: &Site<'_>) -> anyhow::Result<()> {
    plugins::install(site.workspace, RUST_TARGET)?;
    let mut cargo = site.workspace.cargo();
    cargo.args(["build", "--profile", "plugin", "--target", RUST_TARGET, "--package", "contract-rust"]);
    // What is kept says nothing of the machine it was built on.
    if let Some(home) = std::env::home_dir() {
        cargo.env("RUSTFLAGS", format!("--remap-path-prefix={}=home", home.display()));
    }
    process::run(&mut cargo, BUILD_LIMIT)?;
    let built = site.workspace.target().join(RUST_TARGET).join("plugin/contract_rust.wasm");
    copy(&built, &site.wasm)
}

fn c(site: &Site<'_>) -> anyhow::Result<()> {
    site.run(WIT_BINDGEN.command()?.args(["c", "--world", WORLD, "--out-dir"]).arg(&site.work).arg(site.contract()))?;
    let mut zig = ZIG.command()?;
    zig.args(["cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-Wall", "-Wextra", "-Werror"]);
    zig.arg("-I").arg(&site.work).arg(site.sources.join("guest.c"));
    zig.args(["reconciler.c", "reconciler_component_type.o"].map(|file| site.work.join(file)));
    site.run(zig.arg("-o").arg(&site.wasm))
}

fn go(site: &Site<'_>) -> anyhow::Result<()> {
    site.run(WIT_BINDGEN.command()?.args(["go", "--world", WORLD, "--out-dir"]).arg(&site.work).arg(site.contract()))?;
    // Where the generator looks for what the world exports.
    let exports = site.work.join("export_wit_world");
    clear(&exports)?;
    copy(&site.sources.join("guest.go"), &exports.join("guest.go"))?;
    // Where go is older than the generator's runtime asks for, it fetches the right one as a module.
    site.run(GO.command()?.env("GOTOOLCHAIN", "auto").args(["mod", "tidy"]))?;
    let mut go = GO.command()?;
    go.env("GOTOOLCHAIN", "auto").env("GOOS", "wasip1").env("GOARCH", "wasm");
    // The generator's runtime allocates before Go's own is up.
    go.args(["build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w -checklinkname=0", "-o"]);
    site.run(go.arg(&site.wasm))
}

fn javascript(site: &Site<'_>) -> anyhow::Result<()> {
    let mut componentize = COMPONENTIZE_QJS.command()?;
    componentize.args(["--sync", "--world", WORLD, "--wit"]).arg(site.contract());
    site.run(componentize.arg("--js").arg(site.sources.join("guest.js")).arg("--output").arg(&site.wasm))
}

fn python(site: &Site<'_>) -> anyhow::Result<()> {
    // It leaves what it compiled beside the source.
    copy(&site.sources.join("guest.py"), &site.work.join("guest.py"))?;
    let mut componentize = COMPONENTIZE_PY.command()?;
    componentize.args(["--world", WORLD, "--wit-path"]).arg(site.contract()).arg("componentize");
    site.run(componentize.args(["guest", "--output"]).arg(&site.wasm))
}

impl Site<'_> {
    fn contract(&self) -> PathBuf {
        self.workspace.root().join("plugin-sdk/wit/tenure.wit")
    }

    fn run(&self, command: &mut Command) -> anyhow::Result<()> {
        process::run(command.current_dir(&self.work), BUILD_LIMIT)
    }
}

impl Tool {
    fn find(&self) -> Option<PathBuf> {
        self.names.iter().find_map(|name| process::on_path(name))
    }

    fn command(&self) -> anyhow::Result<Command> {
        let Some(program) = self.find() else { bail!("there is no {}: {}", self.names[0], self.install) };
        Ok(Command::new(program))
    }
}

fn clear(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
