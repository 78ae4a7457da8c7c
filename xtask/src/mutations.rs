//! Each rule of the election taken out of a copy, and which test notices: scenarios and unit tests of the copy, or a fixed set
//! of the simulator's seeds. A mutation is a text to find exactly once and what to put there; one that no longer applies fails.

mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::process;
use crate::workspace::Workspace;
use table::{MUTATIONS, Mutation};

/// What is copied: the election, and what its tests stand on.
const PACKAGES: [&str; 2] = ["host/election", "tests/simulator"];

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Some mutants go round in circles; that is noticed, too.
const RUN_LIMIT: Duration = Duration::from_secs(10 * 60);

/// The simulator's seeds for one mutant.
const SIMULATED: [&str; 4] = ["--seed", "1", "--hours", "40"];

/// Names of tests that are shown in a row of the table.
const NAMES_MAX: usize = 2;

/// Takes out each rule in turn, or those of this number or with this in their sentence, and prints a table.
///
/// # Errors
/// When a mutation does not apply or build, or when nothing notices it.
pub(crate) fn run(workspace: &Workspace, part: &str) -> anyhow::Result<()> {
    let chosen = MUTATIONS.iter().filter(|it| part.is_empty() || it.rule == part || it.what.contains(part));
    let chosen = chosen.collect::<Vec<_>>();
    let copy = Copy::make(workspace)?;
    let (mut noticed, simulator) = copy.judge()?;
    noticed.extend(simulator);
    if !noticed.is_empty() {
        bail!("the election as it is fails already: {}", noticed.join(", "));
    }
    let mut unnoticed = Vec::new();
    println!("| rule | taken out | noticed by |\n|---|---|---|");
    for mutation in &chosen {
        let (noticed, simulator) = copy.with(mutation)?;
        let mut by = noticed.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>();
        if noticed.len() > NAMES_MAX {
            by.push(format!("{} more", noticed.len() - NAMES_MAX));
        }
        by.extend(simulator.map(|what| format!("simulator: {what}")));
        if by.is_empty() {
            unnoticed.push(mutation.what);
            by.push("NOTHING".to_owned());
        }
        println!("| {} | {} | {} |", mutation.rule, mutation.what, by.join(", "));
    }
    println!("{} of {} mutations noticed", chosen.len() - unnoticed.len(), chosen.len());
    if !unnoticed.is_empty() {
        bail!("nothing notices: {}", unnoticed.join("; "));
    }
    Ok(())
}

/// What a mutant's tests said: names of those that failed, and what the simulator found.
type Noticed = (Vec<String>, Option<String>);

/// A workspace of its own with the two packages.
struct Copy {
    root: PathBuf,
    cargo: PathBuf,
}

impl Copy {
    fn make(workspace: &Workspace) -> anyhow::Result<Self> {
        let root = workspace.target().join("mutations");
        for package in PACKAGES {
            let folder = root.join(package);
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            }
            copy_folder(&workspace.root().join(package), &folder)?;
        }
        let manifest = fs::read_to_string(workspace.root().join("Cargo.toml")).context("cannot read Cargo.toml")?;
        fs::write(root.join("Cargo.toml"), with_members(&manifest)?).context("cannot write the copy's Cargo.toml")?;
        fs::copy(workspace.root().join("Cargo.lock"), root.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
        Ok(Self { root, cargo: workspace.cargo().get_program().into() })
    }

    /// Judges the copy with one mutation, and takes it back.
    fn with(&self, mutation: &Mutation) -> anyhow::Result<Noticed> {
        let file = self.root.join("host/election/src").join(mutation.file);
        let original = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        fs::write(&file, mutated(&original, mutation)?).context("cannot write the mutant")?;
        let noticed = self.judge().with_context(|| mutation.what.to_owned());
        fs::write(&file, original).context("cannot take the mutation back")?;
        noticed
    }

    fn judge(&self) -> anyhow::Result<Noticed> {
        let mut build = self.cargo();
        build.args(["build", "--quiet", "--package", "tenure-simulator", "--bin", "simulate"]);
        let built = process::outcome(&mut build, BUILD_LIMIT)?;
        if !built.status.success() {
            bail!("does not build: {}", String::from_utf8_lossy(&built.stderr));
        }
        let mut tests = self.cargo();
        tests.args(["test", "--quiet", "--package", "tenure-election", "--lib", "--test", "*", "--no-fail-fast"]);
        let failed = match process::outcome(&mut tests, RUN_LIMIT) {
            Ok(outcome) => failed_tests(&String::from_utf8_lossy(&outcome.stdout)),
            Err(_) if !process::interrupted() => vec!["a test that does not end".to_owned()],
            Err(error) => return Err(error),
        };
        let simulator = self.root.join("target/debug/simulate");
        let found = match process::outcome(Command::new(simulator).args(SIMULATED), RUN_LIMIT) {
            Ok(outcome) if outcome.status.success() => None,
            Ok(outcome) => {
                Some(finding(&String::from_utf8_lossy(&outcome.stdout), &String::from_utf8_lossy(&outcome.stderr)))
            }
            Err(_) if !process::interrupted() => Some("does not end".to_owned()),
            Err(error) => return Err(error),
        };
        Ok((failed, found))
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new(&self.cargo);
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", self.root.join("target"));
        cargo
    }
}

fn mutated(original: &str, mutation: &Mutation) -> anyhow::Result<String> {
    let found = original.matches(mutation.from).count();
    if found != 1 {
        bail!(
            "\"{}\" no longer applies: its text is {found} times in {}; see xtask/src/mutations/table.rs",
            mutation.what,
            mutation.file
        );
    }
    Ok(original.replacen(mutation.from, mutation.to, 1))
}

/// The workspace's manifest with these members alone.
fn with_members(manifest: &str) -> anyhow::Result<String> {
    let from = manifest.find("members = [").context("Cargo.toml names no members")?;
    let to = manifest.find("[workspace.package]").context("Cargo.toml has no [workspace.package]")?;
    let members = PACKAGES.map(|package| format!("\"{package}\"")).join(", ");
    Ok(format!("{}members = [{members}]\n\n{}", &manifest[..from], &manifest[to..]))
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// The names under libtest's `failures:`, once each.
fn failed_tests(printed: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut listed = false;
    for line in printed.lines() {
        match line.strip_prefix("    ") {
            _ if line == "failures:" => listed = true,
            Some(name) if listed && !name.is_empty() && !name.contains(' ') => names.push(name.to_owned()),
            _ if line.starts_with("test result:") => listed = false,
            _ => {}
        }
    }
    names.sort();
    names.dedup();
    names
}

/// The first violation, or panic, without its seed's names and numbers.
fn finding(stdout: &str, stderr: &str) -> String {
    let violation = stdout.lines().find(|line| line.starts_with("seed="));
    let panic =
        stderr.lines().find(|line| !line.is_empty() && !line.starts_with("thread") && !line.starts_with("note"));
    let text = violation.or(panic).unwrap_or("fails").replace('|', "/");
    text.split(';').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_applies_to_the_sources_as_they_are() {
        let workspace = Workspace::find().unwrap();
        for mutation in MUTATIONS {
            let file = workspace.root().join("host/election/src").join(mutation.file);
            let mutant = mutated(&fs::read_to_string(file).unwrap(), mutation).unwrap();
            assert!(mutant.contains(mutation.to), "{}", mutation.what);
        }
    }

    #[test]
    fn failed_tests_are_named_once() {
        let printed = "failures:\n\n---- a stdout ----\n    left: 1\n\nfailures:\n    a\n    tests::b\n\ntest result: FAILED. 2 failed\n";
        assert_eq!(failed_tests(printed), ["a", "tests::b"]);
    }
}
