//! One process of client-go's leader election, unchanged, with a workload that writes to a ConfigMap while it leads. Where the
//! program may be lacking, and what then.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::world::LEASE;
use crate::{World, until_some};

/// The ConfigMap that every candidate of client-go writes to.
const WORKLOAD: &str = "client-go";

/// A running candidate; killed when dropped.
pub struct ClientGo {
    /// Its identity in the Lease.
    pub name: String,
    child: Child,
    said: PathBuf,
    /// Where in it this process began: one before it may have had the same name.
    said_from: usize,
    log: PathBuf,
}

impl ClientGo {
    /// Flags for the timing of the profile `default`.
    pub const DEFAULT_TIMING: [&str; 3] = ["--lease-duration=15s", "--renew-deadline=10s", "--retry-period=2s"];

    /// Whether there is a program to start: a loud word where there is none, which only a person's machine may do.
    #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
    pub fn is_there() -> bool {
        let missing = "TENURE_CLIENT_GO does not name a candidate of client-go; tests/client-go has its source";
        match std::env::var_os("TENURE_CLIENT_GO") {
            Some(_) => true,
            None if std::env::var_os("CI").is_some_and(|ci| ci == "true") => panic!("{missing}"),
            None => {
                eprintln!("SKIPPED: {missing}");
                false
            }
        }
    }

    /// Starts one that campaigns for the world's lock with the timing of the profile `fast`, under an account like that of the
    /// replicas. With `at`, through a proxy at that address. `flags` come after the others.
    pub async fn start(world: &World, name: &str, at: Option<SocketAddr>, flags: &[&str]) -> Self {
        let kubeconfig = world.kubeconfig(name, at).await;
        let program = std::env::var_os("TENURE_CLIENT_GO").map(PathBuf::from).expect("it is there");
        let (said, log) = (world.folder().join(format!("{name}.said")), world.folder().join(format!("{name}.log")));
        let said_from = std::fs::read(&said).map_or(0, |before| before.len());
        let file = |path: &PathBuf| File::options().create(true).append(true).open(path).expect("it can be opened");
        let child = Command::new(&program)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--identity", name, "--lease", &format!("{}/{LEASE}", world.names.system)])
            .args(["--lease-duration=5s", "--renew-deadline=3s", "--retry-period=1s"])
            .args(["--write-configmap", &format!("{}/{WORKLOAD}", world.names.work), "--write-every=20ms"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(file(&said))
            .stderr(file(&log))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self { name: name.to_owned(), child, said, said_from, log }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
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

    /// Waits until it says this, for the `count`th time: `acquired`, `lost`, `first-write`, `new-leader` or `ended`.
    pub async fn said(&self, event: &str, count: usize) {
        until_some(&format!("{} to say {event:?}", self.name), || {
            let text = std::fs::read_to_string(&self.said).unwrap_or_default();
            let lines = text[self.said_from..].lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let found = lines.filter(|line| line["event"] == event).count();
            async move { (found >= count).then_some(()) }
        })
        .await;
    }
}

impl Drop for ClientGo {
    #[expect(clippy::print_stderr, reason = "what a failed test's candidates said belongs beside the failure")]
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            let read = |path| std::fs::read_to_string(path).unwrap_or_default();
            eprintln!("--- {} of client-go ---\n{}{}", self.name, read(&self.said), read(&self.log));
        }
    }
}
