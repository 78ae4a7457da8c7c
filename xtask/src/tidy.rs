//! Rules about files that no compiler keeps.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Past this a file is several files. The aim is 400.
const RUST_LINES_MAX: usize = 600;

/// Folders that are built, fetched or git's own.
const FOLDERS_SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// Kinds of files that people write here.
const KINDS: [&str; 13] = ["rs", "toml", "md", "wit", "go", "mod", "yaml", "yml", "sh", "json", "c", "js", "py"];

/// Files without a kind that people write here.
const NAMES: [&str; 2] = ["Dockerfile", "run"];

/// Words that mean unfinished, in Rust; written in halves, so that this file may hold them.
const UNFINISHED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("db", "g!("),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
];

/// Folders of somebody's machine.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

/// Checks every file below `root`.
///
/// # Errors
/// Names every file, line and rule.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let files = files(root)?;
    let mut complaints = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        complaints.extend(complaints_about(&name, &text));
    }
    if complaints.is_empty() {
        println!("    {} files are tidy", files.len());
        return Ok(());
    }
    bail!("{}", complaints.join("\n    "))
}

fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if kind.is_dir() && !FOLDERS_SKIPPED.iter().any(|skipped| *skipped == name) {
                open.push(entry.path());
            } else if kind.is_file() && is_written_here(&entry.path()) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_written_here(file: &Path) -> bool {
    let of = |names: &[&str], it: Option<&std::ffi::OsStr>| it.is_some_and(|it| names.iter().any(|name| *name == it));
    of(&KINDS, file.extension()) || of(&NAMES, file.file_name())
}

fn complaints_about(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if name.ends_with(".rs") {
        let lines = text.lines().count();
        if lines > RUST_LINES_MAX {
            complaints.push(format!("{name}: {lines} lines; split it into modules (at most {RUST_LINES_MAX})"));
        }
        let first = text.lines().find(|line| !line.is_empty() && !line.starts_with("#!["));
        if !first.is_some_and(|line| line.starts_with("//!")) {
            complaints.push(format!("{name}: does not begin with a `//!` header that says what it owns"));
        }
    }
    for (number, line) in text.lines().enumerate() {
        let at = |what: &str| format!("{name}:{}: {what}", number + 1);
        if name.ends_with(".rs") {
            complaints.extend(UNFINISHED.iter().filter(|word| line.contains(*word)).map(|word| at(word)));
            let attribute = line.trim_start();
            let allows = attribute.starts_with("#[allow(") || attribute.starts_with("#![allow(");
            if allows && !attribute.contains("reason =") {
                complaints
                    .push(at("`allow` without a reason: use #[expect(lint, reason = \"..\")] where it can be kept"));
            }
        }
        complaints.extend(
            MACHINE_PATHS
                .iter()
                .filter(|path| holds_path(line, path))
                .map(|path| at(&format!("a path of a machine: {path}"))),
        );
    }
    complaints
}

/// Whether `path` stands there as the beginning of a path, not in the middle of one or of an address.
fn holds_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|it| it.is_alphanumeric() || matches!(it, '/' | '.' | '-' | '_' | '}' | ')' | '*' | '>'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn this_project_is_tidy() {
        check(Workspace::find().unwrap().root()).unwrap();
    }

    #[test]
    fn each_rule_catches_what_it_is_for() {
        let long = "//! Long.\n".repeat(RUST_LINES_MAX + 1);
        let path = format!("//! See {}someone/notes.\n", MACHINE_PATHS[1]);
        let unfinished = format!("//! A.\nfn a() {{ {}x) }}\n", UNFINISHED[3]);
        for (name, text, complaint) in [
            ("a.rs", long.as_str(), "a.rs: 601 lines; split it into modules (at most 600)"),
            ("a.rs", "fn a() {}\n", "a.rs: does not begin with a `//!` header that says what it owns"),
            ("a.rs", path.as_str(), concat!("a.rs:1: a path of a machine: /ho", "me/")),
            ("a.rs", unfinished.as_str(), concat!("a.rs:2: db", "g!(")),
        ] {
            assert_eq!(complaints_about(name, text), [complaint]);
        }
        let allowed = complaints_about("a.rs", "//! A.\n#[allow(dead_code)]\nfn a() {}\n");
        assert!(allowed[0].starts_with("a.rs:2: `allow`"), "{allowed:?}");
    }

    #[test]
    fn a_folder_in_an_address_is_no_path_of_a_machine() {
        let address = format!("https://example.org{}page", MACHINE_PATHS[3]);
        assert!(complaints_about("a.md", &address).is_empty());
    }
}
