//! README's way onto a cluster, word by word. What a person has and a test has not, stands beside it: an image registry, whose place
//! the nodes take, which have the image already; and hands for the editor.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tenure_tests::{program, until_some_within};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::cluster::{self, kubectl, run, succeeded, workspace};
use super::release::{LIMIT, PLUGINS};

/// Where the commands stand.
const SECTION: &str = "## On a cluster";

/// Does what README asks a person to do with the two files: says where the image is, and grants the plugin what the example says.
const EDITOR: &str = r#"#!/bin/sh
for file in "$@"; do
    case $file in
        *kustomization.yaml) sed -i 's|^    newTag:|    newName: registry.example.org/tenure\n&|' "$file" ;;
        *tenure.toml) sed -i '/^# \[\[grant\]\]/,$ s/^# //' "$file" ;;
        *) echo "README says nothing of $file" >&2; exit 1 ;;
    esac
done
"#;

/// Builds nothing, and minds that it is asked for what is on the nodes.
const DOCKER: &str = r#"#!/bin/sh
case "$*" in
    "build -f deploy/Dockerfile -t registry.example.org/tenure:0.1.0 .") test -f deploy/Dockerfile ;;
    "push registry.example.org/tenure:0.1.0") ;;
    *) echo "README asks docker for something else: $*" >&2; exit 1 ;;
esac
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster of nodes: cargo xtask cluster test"]
async fn what_readme_says_installs_it_and_a_plugin_works() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).expect("README is there");
    let commands = commands(&readme);
    for needed in ["kubectl apply -k deploy/kustomize/base", "kubectl apply -f -", "--watch", "--show-labels"] {
        assert!(commands.iter().any(|command| command.contains(needed)), "{needed} is not in {commands:?}");
    }
    let checkout = Checkout::new();
    for command in &commands {
        if command.contains("--watch") {
            checkout.watched(command, "tenure-").await;
        } else if command.contains("--show-labels") {
            checkout.shows(command, "team=blue").await;
        } else {
            succeeded(&mut checkout.shell(command));
        }
    }
    kubectl(&["delete", "configmap", "label-propagator", "--namespace", PLUGINS]);
    kubectl(&["delete", "namespace", "shop"]);
}

/// What is typed in the section, each line of `console` blocks that begins with the prompt.
fn commands(readme: &str) -> Vec<String> {
    let (_, section) = readme.split_once(SECTION).expect("README has the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    section.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// What a person would have checked out, and may edit.
struct Checkout(PathBuf);

impl Checkout {
    fn new() -> Self {
        let folder = cluster::folder().join("readme");
        drop(std::fs::remove_dir_all(&folder));
        let bin = folder.join("bin");
        for folder in [&bin, &folder.join("target")] {
            std::fs::create_dir_all(folder).expect("a folder can be made");
        }
        succeeded(Command::new("cp").arg("-r").arg(workspace().join("deploy")).arg(&folder));
        let plugins = PathBuf::from(std::env::var_os("TENURE_PLUGINS").expect("TENURE_PLUGINS is set"));
        let links = [(plugins, "target/plugins"), (program(), "bin/tenure"), (of_kubectl(), "bin/kubectl")];
        for (file, name) in links {
            std::os::unix::fs::symlink(file, folder.join(name)).expect("a link can be made");
        }
        for (name, script) in [("editor", EDITOR), ("docker", DOCKER)] {
            let file = bin.join(name);
            std::fs::write(&file, script).expect("written");
            succeeded(Command::new("chmod").arg("+x").arg(&file));
        }
        Self(folder)
    }

    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("sh");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.0.join("bin")).chain(std::env::split_paths(&path));
        shell.env("PATH", std::env::join_paths(folders).expect("a PATH")).env("EDITOR", "editor");
        shell.current_dir(&self.0).args(["-e", "-c", command]);
        shell
    }

    /// Runs a command that goes on for ever until it has shown a line with this.
    async fn watched(&self, command: &str, wanted: &str) {
        let mut watching = tokio::process::Command::from(self.shell(&format!("exec {command}")));
        let mut watching = watching.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("a shell");
        let mut lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
        let shown = async {
            while let Some(line) = lines.next_line().await.expect("text") {
                if line.contains(wanted) {
                    return;
                }
            }
            panic!("{command} ended without showing {wanted}");
        };
        let shown = tokio::time::timeout(LIMIT, shown).await;
        shown.unwrap_or_else(|_| panic!("{command} did not show {wanted} within {} s", LIMIT.as_secs()));
    }

    /// Repeats a command, as a person would, until it shows this.
    async fn shows(&self, command: &str, wanted: &str) {
        until_some_within(LIMIT, &format!("{command} to show {wanted}"), || async {
            let output = run(&mut self.shell(command));
            String::from_utf8_lossy(&output.stdout).contains(wanted).then_some(())
        })
        .await;
    }
}

fn of_kubectl() -> PathBuf {
    Path::new(&std::env::var_os("KUBECTL").expect("KUBECTL is set")).to_owned()
}
