//! One candidate: a process of ours, of client-go or of controller-runtime, and what it uses of the machine.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::audit::now_us;
use crate::process::Running;

/// The longest order to end takes: guests have 10 s, writes 5 s, the release 5 s.
const END_LIMIT: Duration = Duration::from_secs(30);

/// In which /proc counts processor time; the same on all architectures that Linux still runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// `tenure run`.
    Tenure,
    /// `bench/client-go`.
    ClientGo,
    /// `bench/controller-runtime`.
    ControllerRuntime,
}

impl Contender {
    /// In the order they have their turns.
    pub(crate) const ALL: [Self; 3] = [Self::Tenure, Self::ClientGo, Self::ControllerRuntime];

    /// In names of users, namespaces and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tenure => "tenure",
            Self::ClientGo => "client-go",
            Self::ControllerRuntime => "controller-runtime",
        }
    }
}

/// What candidates do while they lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The label-propagator's.
    Labels,
    /// A write every 50 ms to one ConfigMap.
    Beat,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Beat => "beat",
        }
    }
}

/// What a candidate is started with.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) contender: Contender,
    /// The program.
    pub(crate) program: PathBuf,
    /// Ours only: where its configuration is.
    pub(crate) config: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) lock_namespace: String,
    pub(crate) lock: String,
    pub(crate) namespace: String,
    pub(crate) identity: String,
    pub(crate) work: Work,
    pub(crate) warm: bool,
    /// The network namespace it lives in, if not this one.
    pub(crate) network: Option<String>,
    pub(crate) log: PathBuf,
}

impl Start {
    fn command(&self) -> Command {
        let mut command = match &self.network {
            None => Command::new(&self.program),
            Some(network) => {
                // Not `ip netns exec`, which mounts things anew; and the process keeps its id.
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{network}")).arg("--").arg(&self.program);
                command
            }
        };
        if self.contender == Contender::Tenure {
            command.arg("run").arg("--config").arg(&self.config).args(["--console-listen", "127.0.0.1:0"]);
            command.args(["--leader-elect-id", &self.lock, "--leader-elect-namespace", &self.lock_namespace]);
            command.args(["--leader-elect-identity", &self.identity]).env("TENURE_LOG_FORMAT", "json");
        } else {
            command.args(["--lease", &self.lock, "--lease-namespace", &self.lock_namespace]);
            command.args(["--identity", &self.identity, "--namespace", &self.namespace, "--work", self.work.name()]);
            command.arg(format!("--warm={}", self.warm));
        }
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }
}

/// A running one; killed when dropped.
pub(crate) struct Candidate {
    running: Running,
    begun: Instant,
    /// When it was started, as the audit log counts.
    pub(crate) begun_us: i64,
}

impl Candidate {
    /// Starts one. What it says goes to its log.
    pub(crate) fn start(start: &Start) -> anyhow::Result<Self> {
        let log = File::options().create(true).append(true).open(&start.log);
        let log = log.with_context(|| format!("cannot open {}", start.log.display()))?;
        let mut command = start.command();
        command.stdout(Stdio::from(log.try_clone().context("cannot share a log")?)).stderr(Stdio::from(log));
        let begun_us = now_us();
        Ok(Self { running: Running::start(&mut command)?, begun: Instant::now(), begun_us })
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Whether it still is.
    pub(crate) fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.running.try_wait()?.is_none())
    }

    /// Sends a signal.
    pub(crate) fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_child(self.running.child());
        kill_process(pid, signal).context("cannot send a signal to a candidate")
    }

    /// Waits until a process that was asked to end has.
    pub(crate) fn ended(mut self) -> anyhow::Result<()> {
        self.running.wait(END_LIMIT).map(drop)
    }

    /// Resident memory.
    pub(crate) fn resident_kib(&mut self) -> anyhow::Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in a status")?;
        line.split_whitespace().next().context("VmRSS is empty")?.parse().context("VmRSS is no number")
    }

    /// Processor time since its start, user and system.
    pub(crate) fn processor(&mut self) -> anyhow::Result<Duration> {
        let stat = self.proc("stat")?;
        // The program's name stands in parentheses and may hold anything; what follows is counted from field 3.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let [user, system] = [11, 12].map(|index| fields.get(index).and_then(|it| it.parse::<u64>().ok()));
        let (Some(user), Some(system)) = (user, system) else { bail!("no processor times in {stat:?}") };
        Ok(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
    }

    fn proc(&mut self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.running.child().id());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}
