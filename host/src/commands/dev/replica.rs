//! One replica of `tenure dev`: a child process that is started again when it ends, as a kubelet would.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio_util::sync::CancellationToken;

use super::screen::Screen;

/// How long a replica that ended stays away.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// How long the last lines of a replica that has ended may take to be read.
const LAST_LINES_LIMIT: Duration = Duration::from_secs(1);
/// A replica that ends this many times in a row within [`RESTART_DELAY`] of its start cannot work.
const FAILED_STARTS_MAX: u32 = 3;

/// What a replica is started with.
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) config: PathBuf,
    pub(super) kubeconfig: PathBuf,
    pub(super) screen: Arc<Screen>,
    /// How long it may take to end in order.
    pub(super) end_limit: Duration,
    /// To end in order.
    pub(super) stop: CancellationToken,
    /// To end at once.
    pub(super) kill: CancellationToken,
}

impl Replica {
    /// Keeps the replica running until told to stop.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut failed_starts = 0;
        while !self.stop.is_cancelled() {
            let started = tokio::time::Instant::now();
            let status = self.run_once().await?;
            if self.stop.is_cancelled() {
                break;
            }
            failed_starts = if started.elapsed() < RESTART_DELAY && !status.success() { failed_starts + 1 } else { 0 };
            if failed_starts == FAILED_STARTS_MAX {
                anyhow::bail!(
                    "{} ended {failed_starts} times right after its start ({status}); its lines above say why",
                    self.name
                );
            }
            tokio::select! {
                () = tokio::time::sleep(RESTART_DELAY) => {}
                () = self.stop.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn run_once(&self) -> anyhow::Result<ExitStatus> {
        let mut child = self.spawn()?;
        let pid = child.id().context("the replica ended before it could be watched")?;
        let stderr = child.stderr.take().context("the replica has no stderr")?;
        let ended = {
            let lines = self.show(stderr, pid);
            tokio::pin!(lines);
            let waiting = self.wait(&mut child, pid);
            tokio::pin!(waiting);
            tokio::select! {
                ended = &mut waiting => {
                    // What it said last is why it ended. A process it left behind may keep the pipe open: hence the limit.
                    let _ = tokio::time::timeout(LAST_LINES_LIMIT, &mut lines).await;
                    ended?
                }
                // The pipe ends with the process; what is left is its status.
                () = &mut lines => waiting.await?,
            }
        };
        self.screen.ended(&self.name, pid, &ended.to_string());
        Ok(ended)
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("cannot find the program that runs")?;
        Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(&self.config)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--console-listen", "127.0.0.1:0", "--end-with-parent"])
            .env("POD_NAME", &self.name)
            .env("TENURE_LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C reaches this process, which then ends the replicas in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))
    }

    async fn wait(&self, child: &mut Child, pid: u32) -> anyhow::Result<ExitStatus> {
        tokio::select! {
            ended = child.wait() => return Ok(ended?),
            () = self.stop.cancelled() => {}
        }
        if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself just now.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        tokio::select! {
            ended = child.wait() => return Ok(ended?),
            () = self.kill.cancelled() => {}
            () = tokio::time::sleep(self.end_limit) => {
                let limit_s = self.end_limit.as_secs();
                self.screen.note(&format!("{} did not end within {limit_s} s of SIGTERM; killing it", self.name));
            }
        }
        child.kill().await?;
        Ok(child.wait().await?)
    }

    async fn show(&self, stderr: ChildStderr, pid: u32) {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(value) = serde_json::from_str::<Value>(&line) else {
                self.screen.raw(&self.name, &line);
                continue;
            };
            let console = value.pointer("/fields/console").and_then(Value::as_str);
            if let Some(console) = console {
                self.screen.replica(&self.name, pid, console);
            } else {
                self.screen.log(&self.name, &value);
            }
        }
    }
}
