//! The program as it was just built for tests, in an image: its libraries beside it, because it is not static. The image that is
//! shipped (`cargo xtask image`) takes a release build, which is too long for every commit.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::node_programs::NodePrograms;
use crate::process;

const LIMIT: Duration = Duration::from_secs(2 * 60);

/// What a person would name the image: as `cargo xtask image` does, as README does, and a next version of it.
const NAMES: [&str; 3] = [crate::image::NAME, "registry.example.org/tenure:0.1.0", "docker.io/library/tenure:next"];

/// The image with a shell for `tenure drill --node-access`.
const TOOLS_NAME: &str = "tenure.dev/tools:1";

/// The image with client-go's leader election, which is measured beside ours.
const CANDIDATE_NAME: &str = "tenure.dev/client-go-candidate:1";

/// What the drill's script needs.
const TOOLS: [&str; 4] = ["grep", "cat", "sleep", "rm"];

/// Writes the archives into `folder`.
pub(crate) fn make(
    programs: &NodePrograms,
    tenure: &Path,
    candidate: &Path,
    folder: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Half of it is for debuggers.
    let stripped = folder.join("tenure");
    process::output(Command::new("strip").arg("-o").arg(&stripped).arg(tenure), LIMIT)?;
    let [image, tools, other] = ["tenure.tar", "tools.tar", "candidate.tar"].map(|name| folder.join(name));
    archive(programs, &stripped, &NAMES.join(","), &image, &libraries(tenure)?)?;

    let mut beside = Vec::new();
    let shell = found("sh")?;
    beside.extend(libraries(&shell)?);
    for tool in TOOLS {
        let tool = found(tool)?;
        beside.extend(libraries(&tool)?);
        beside.push(tool);
    }
    beside.sort();
    beside.dedup();
    // `sh` is found by its path in what is copied, not as the image's own program.
    archive(programs, &shell, TOOLS_NAME, &tools, &[beside, vec![shell.clone()]].concat())?;
    archive(programs, candidate, CANDIDATE_NAME, &other, &[])?;
    Ok(vec![image, tools, other])
}

fn found(program: &str) -> anyhow::Result<PathBuf> {
    process::on_path(program).with_context(|| format!("there is no {program} on PATH"))
}

fn archive(
    programs: &NodePrograms,
    program: &Path,
    names: &str,
    file: &Path,
    beside: &[PathBuf],
) -> anyhow::Result<()> {
    let mut archive = Command::new(programs.ours.join("archive"));
    process::output(archive.arg(program).arg(names).arg(file).args(beside), LIMIT).map(drop)
}

/// The files that the loader would take for a program, itself among them.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let said = process::output(Command::new("ldd").arg(program), LIMIT)?;
    Ok(in_words_of_ldd(&said))
}

fn in_words_of_ldd(said: &str) -> Vec<PathBuf> {
    let paths = said.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_with_the_loader_and_without_what_is_no_file() {
        let said = "\tlinux-vdso.so.1 (0x7f01)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f02)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f03)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(in_words_of_ldd(said), expected);
    }
}
