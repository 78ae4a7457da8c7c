//! One process of `tenure run`.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::until_some;

/// A running replica; killed when dropped.
pub struct Replica {
    /// Its POD_NAME, the first part of its identity.
    pub name: String,
    child: Child,
    log: PathBuf,
    /// Where in it this process began: one before it may have had the same name.
    log_from: usize,
}

impl Replica {
    /// Starts one with the configuration in `folder`. Its log goes to a file there.
    pub fn start(name: &str, folder: &Path, kubeconfig: &Path, environment: &[(String, String)]) -> Self {
        Self::start_under(&[], name, folder, kubeconfig, environment)
    }

    /// Starts one by a program that becomes it, such as `nsenter`: that one's name and arguments come before its own.
    pub fn start_under(
        launcher: &[String],
        name: &str,
        folder: &Path,
        kubeconfig: &Path,
        environment: &[(String, String)],
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let log_from = std::fs::read(&log).map_or(0, |before| before.len());
        let mut words = launcher.iter().map(OsString::from).chain([program().into_os_string()]);
        let child = Command::new(words.next().expect("the program's own name, at least"))
            .args(words)
            .args(["run", "--console-listen", "127.0.0.1:0", "--end-with-parent", "--config"])
            .arg(folder.join("tenure.toml"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .env("POD_NAME", name)
            .env("TENURE_LOG_FORMAT", "json")
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(&log).expect("the log can be opened"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program().display()));
        Self { name: name.to_owned(), child, log, log_from }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is there");
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process can be waited for");
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        until_some(&format!("the end of {name}"), || {
            let ended = self.child.try_wait().expect("the process can be waited for");
            async move { ended }
        })
        .await
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the process can be waited for").is_none()
    }

    /// Waits until it is stopped (by SIGSTOP, from whomever).
    pub async fn stopped(&self) {
        stopped(&self.name, self.pid()).await;
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("VmRSS is a number")
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the process runs").count()
    }

    /// The lines of the log so far, those of processes of this name before it too; one that is not JSON appears as a string.
    pub fn log(&self) -> Vec<Value> {
        lines(&self.log_text())
    }

    /// The log as text, for messages.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What this process of the name has logged.
    fn own_log(&self) -> String {
        self.log_text().split_off(self.log_from)
    }

    /// Waits for a log line of this process that contains `text`.
    pub async fn logged(&self, text: &str) -> String {
        until_some(&format!("{} to log {text:?}", self.name), || {
            let log = self.own_log();
            // The last line may be in the middle of being written.
            let (whole, _) = log.rsplit_once('\n').unwrap_or_default();
            let line = whole.lines().find(|line| line.contains(text)).map(str::to_owned);
            async move { line }
        })
        .await
    }

    /// Where its console listens, as `http://address`.
    pub async fn console(&self) -> String {
        until_some(&format!("the console of {}", self.name), || {
            let log = lines(&self.own_log());
            let found = log.iter().find_map(|line| Some(line.pointer("/fields/console")?.as_str()?.to_owned()));
            async move { found }
        })
        .await
    }
}

impl Drop for Replica {
    #[expect(clippy::print_stderr, reason = "what a failed test's replicas said belongs beside the failure")]
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            // A stopped process dies of SIGKILL too.
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.name, self.log_text());
        }
    }
}

/// The lines of a log; one that is not JSON as a string.
fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()))).collect()
}

/// Waits until a process is stopped, each of its threads: the signal reaches them one after another.
pub async fn stopped(name: &str, pid: Pid) {
    let threads = PathBuf::from(format!("/proc/{}/task", pid.as_raw_pid()));
    let is_stopped = |thread: PathBuf| {
        // The state is the first word after the program's name, which stands in parentheses.
        let line = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
        line.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    };
    until_some(&format!("{name} to be stopped"), || {
        let mut all =
            std::fs::read_dir(&threads).into_iter().flatten().flatten().map(|thread| thread.path()).peekable();
        let stopped = all.peek().is_some() && all.all(is_stopped);
        async move { stopped.then_some(()) }
    })
    .await;
}

/// The binary under test, built by `cargo xtask test` with its failpoints.
pub fn program() -> PathBuf {
    std::env::var_os("TENURE_BIN").map(PathBuf::from).unwrap_or_else(|| {
        panic!("TENURE_BIN does not name the binary under test; `cargo xtask test` builds it and sets it")
    })
}
