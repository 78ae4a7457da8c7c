//! `cargo xtask image`: one static program and the roots of trust as an image, written to a file that any registry or node takes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cli::{ClusterTestArgs, ImageArgs};
use crate::cluster::{self, Programs};
use crate::plugins;
use crate::process;
use crate::steps::Steps;
use crate::workspace::{Workspace, in_ci};

/// A release build of all, on a small machine.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);

const PACK_LIMIT: Duration = Duration::from_secs(5 * 60);

const SHORT_LIMIT: Duration = Duration::from_secs(30);

/// What the image is called in archives; short names like `tenure:0.1.0` stand for this to every container engine.
pub(crate) const NAME: &str = concat!("docker.io/library/tenure:", env!("CARGO_PKG_VERSION"));

/// Where systems keep the authorities they trust, all in one file.
const ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// What to do when it does not build.
pub(crate) const ADVICE: &str =
    "see what cargo or buildah says; --tenure FILE takes a static program that was built already";

/// What builds an image from a Dockerfile.
#[derive(Debug, Clone, Copy)]
enum Builder {
    /// Needs no service and no container around what it runs.
    Buildah,
    Docker,
}

/// `cargo xtask image`.
pub(crate) fn run(workspace: &Workspace, args: &ImageArgs) -> anyhow::Result<()> {
    if let Some(missing) = missing(args.tenure.is_none()) {
        bail!(missing);
    }
    let mut steps = Steps::new(in_ci());
    let archive = steps.step("image", ADVICE, || make(workspace, args))?;
    steps.finish()?;
    println!("\n{}", archive.display());
    Ok(())
}

/// Why there can be no image here, if there cannot.
pub(crate) fn missing(build: bool) -> Option<String> {
    if Builder::find().is_none() {
        return Some("images are built by buildah or docker: apt-get install -y buildah".into());
    }
    if build && process::on_path("musl-gcc").is_none() && process::on_path(&format!("{}-gcc", musl_prefix())).is_none()
    {
        return Some("a static program is built with musl's C compiler: apt-get install -y musl-tools".into());
    }
    None
}

/// Builds the program, unless it was given, and the image. Answers with the archive.
pub(crate) fn make(workspace: &Workspace, args: &ImageArgs) -> anyhow::Result<PathBuf> {
    let tenure = match &args.tenure {
        Some(file) => file.clone(),
        None => build(workspace)?,
    };
    check_static(&tenure)?;
    let Some(builder) = Builder::find() else { bail!("neither buildah nor docker is there") };
    let work = workspace.target().join("image");
    let content = furnish(&work, &tenure)?;
    let archive = args.output.clone().unwrap_or_else(|| workspace.target().join("tenure-image.tar"));
    // It would be added to, not replaced.
    if archive.exists() {
        std::fs::remove_file(&archive).with_context(|| format!("cannot replace {}", archive.display()))?;
    }
    builder.pack(workspace, &work, &content, &args.name, &archive)?;
    println!(
        "    {}: {} in {}, program {}",
        args.name,
        mebibytes(&archive)?,
        archive.display(),
        mebibytes(&content.join("tenure"))?
    );
    Ok(archive)
}

/// Builds everything twice, at the same place, and holds one image against the other.
pub(crate) fn make_twice(workspace: &Workspace) -> anyhow::Result<()> {
    let mut digests = Vec::new();
    for name in ["first", "second"] {
        // What cargo has built for the image is built anew.
        let built = workspace.target().join(musl_target());
        if built.exists() {
            std::fs::remove_dir_all(&built).with_context(|| format!("cannot remove {}", built.display()))?;
        }
        let output = workspace.target().join(format!("tenure-image-{name}.tar"));
        let args = ImageArgs { tenure: None, name: NAME.to_owned(), output: Some(output) };
        digests.push(digest(&make(workspace, &args)?)?);
    }
    if digests[0] != digests[1] {
        bail!(
            "one image is {}, the other {}: `diff` of target/tenure-image-*.tar unpacked shows where",
            digests[0],
            digests[1]
        );
    }
    println!("    both are {}", digests[0]);
    Ok(())
}

/// Of the image in an archive, by which a registry knows it.
fn digest(archive: &Path) -> anyhow::Result<String> {
    let mut tar = Command::new("tar");
    let index = process::output(
        tar.arg("--extract").arg("--to-stdout").arg("--file").arg(archive).arg("index.json"),
        SHORT_LIMIT,
    )?;
    let index: Value = serde_json::from_str(&index).with_context(|| format!("{} has no index", archive.display()))?;
    let digest = index.pointer("/manifests/0/digest").and_then(Value::as_str);
    digest.map(str::to_owned).with_context(|| format!("{} lists no image", archive.display()))
}

fn build(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let target = musl_target();
    plugins::install(workspace, &target)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--locked", "--release", "--package", "tenure", "--target", &target]);
    process::run(&mut cargo, BUILD_LIMIT)?;
    Ok(workspace.target().join(target).join("release/tenure"))
}

/// The machine this runs on, without a C library of the system's.
fn musl_target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

fn musl_prefix() -> String {
    format!("{}-linux-musl", std::env::consts::ARCH)
}

/// What the Dockerfile's last stage copies, where its first stage would have put it.
fn furnish(work: &Path, tenure: &Path) -> anyhow::Result<PathBuf> {
    let content = work.join("content");
    let roots = ROOTS.iter().map(Path::new).find(|file| file.is_file());
    let Some(roots) = roots else {
        bail!("no file of trusted authorities is here ({}): apt-get install -y ca-certificates", ROOTS.join(", "))
    };
    for (from, to) in [(tenure, "tenure"), (roots, "etc/ssl/certs/ca-certificates.crt")] {
        let to = content.join(to);
        std::fs::create_dir_all(to.parent().unwrap_or(&content))
            .and_then(|()| std::fs::copy(from, &to))
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    Ok(content)
}

impl Builder {
    fn find() -> Option<Self> {
        if process::on_path("buildah").is_some() {
            return Some(Self::Buildah);
        }
        // The program alone is not enough: it asks a service.
        let answers = || process::output(Command::new("docker").arg("version"), SHORT_LIMIT).is_ok();
        (process::on_path("docker").is_some() && answers()).then_some(Self::Docker)
    }

    /// In place of the Dockerfile's first stage stands a folder with what it would have built; so nothing is fetched. All
    /// times are zero: the same program gives the same image.
    fn pack(
        self,
        workspace: &Workspace,
        work: &Path,
        content: &Path,
        name: &str,
        archive: &Path,
    ) -> anyhow::Result<()> {
        let file = workspace.root().join("deploy/Dockerfile");
        let first_stage = format!("build={}", content.display());
        match self {
            Self::Buildah => {
                // A store of its own, which is not there for anybody else.
                let store = work.join("store");
                let buildah = || {
                    let mut command = Command::new("buildah");
                    command.args(["--storage-driver", "vfs", "--root"]).arg(store.join("root"));
                    command.arg("--runroot").arg(store.join("run"));
                    command
                };
                let mut command = buildah();
                command.args(["build", "--isolation", "chroot", "--timestamp", "0", "--build-context", &first_stage]);
                process::output(command.args(["--tag", name, "--file"]).arg(&file).arg(content), PACK_LIMIT)?;
                let to = format!("oci-archive:{}:{name}", archive.display());
                process::output(buildah().args(["push", name, &to]), PACK_LIMIT)?;
                std::fs::remove_dir_all(&store).with_context(|| format!("cannot remove {}", store.display()))
            }
            Self::Docker => {
                let mut command = Command::new("docker");
                command.args(["build", "--build-arg", "SOURCE_DATE_EPOCH=0", "--build-context", &first_stage]);
                process::output(command.args(["--tag", name, "--file"]).arg(&file).arg(content), PACK_LIMIT)?;
                process::output(Command::new("docker").args(["save", "--output"]).arg(archive).arg(name), PACK_LIMIT)
                    .map(drop)
            }
        }
    }
}

/// In an image without anything else a program that asks for a loader does not start, and the message is about a missing file.
fn check_static(program: &Path) -> anyhow::Result<()> {
    let mut header = Vec::new();
    let file = File::open(program).with_context(|| format!("cannot read {}", program.display()))?;
    file.take(4096).read_to_end(&mut header).with_context(|| format!("cannot read {}", program.display()))?;
    match asks_for_loader(&header) {
        Some(false) => Ok(()),
        Some(true) => bail!(
            "{} is not static, and the image has no libraries: build it with --target {}",
            program.display(),
            musl_target()
        ),
        None => bail!("{} is no program for 64-bit Linux", program.display()),
    }
}

/// Whether an ELF file (64 bits, little-endian) has a segment of type `PT_INTERP`, told by its first page.
fn asks_for_loader(header: &[u8]) -> Option<bool> {
    const INTERPRETER: u32 = 3;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(header.get(at..at + 2)?.try_into().ok()?)));
    let table = usize::try_from(u64::from_le_bytes(header.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (half(54)?, half(56)?);
    for index in 0..count {
        let at = table.checked_add(index * size)?;
        let kind = u32::from_le_bytes(header.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == INTERPRETER {
            return Some(true);
        }
    }
    Some(false)
}

fn mebibytes(file: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    Ok(format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0)))
}

/// As steps of `cargo xtask long`: the image, and clusters of nodes that run it.
pub(crate) fn test(workspace: &Workspace, steps: &mut Steps, programs: &Programs) -> anyhow::Result<()> {
    const STEP: &str = "image";
    let mut args = ClusterTestArgs::default();
    match missing(true) {
        Some(missing) => steps.skip(STEP, missing),
        None => {
            let image = ImageArgs { tenure: None, name: NAME.to_owned(), output: None };
            args.image = Some(steps.step(STEP, ADVICE, || make(workspace, &image))?);
        }
    }
    cluster::test(workspace, steps, programs, &args)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One program header, of this type.
    fn elf(kind: u32) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes.extend(kind.to_le_bytes());
        bytes.resize(64 + 56, 0);
        bytes
    }

    #[test]
    fn a_program_that_asks_for_a_loader_is_not_static() {
        assert_eq!(asks_for_loader(&elf(3)), Some(true));
        assert_eq!(asks_for_loader(&elf(1)), Some(false));
        assert_eq!(asks_for_loader(b"#!/bin/sh\n"), None);
        assert_eq!(asks_for_loader(&elf(1)[..60]), None);
    }

    #[test]
    fn this_very_program_is_told_to_be_built_otherwise() {
        // Compiled for the system's C library, as tests are.
        if cfg!(target_env = "gnu") {
            let error = check_static(&std::env::current_exe().unwrap()).unwrap_err().to_string();
            assert!(error.contains("is not static"), "{error}");
        }
    }
}
