//! `tenure dev` as a child: what it announces on stdout, and which process is which replica.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::api::Api;
use crate::process::{self, Running};

/// From the start of the process to its API, and to each replica. A first start compiles nothing.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Replicas drain for up to 10 s, and `tenure dev` waits up to 20 s for each.
const END_LIMIT: Duration = Duration::from_secs(30);

const LOOK: Duration = Duration::from_millis(100);

/// The lines of `tenure dev --json` that matter here; what a replica logs is only kept.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event {
    Ready {
        kubeconfig: PathBuf,
        api: String,
    },
    Replica {
        name: String,
        pid: i32,
        console: String,
    },
    Ended {
        name: String,
        pid: i32,
        how: String,
    },
    #[serde(other)]
    Other,
}

/// A process of a replica.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    /// `replica-0`, the first part of its identity.
    pub(crate) name: String,
    /// Its process.
    pub(crate) pid: Pid,
    /// Where its console listens.
    pub(crate) console: String,
}

/// A running `tenure dev`.
pub(crate) struct Dev {
    running: Running,
    events: Receiver<Event>,
    replicas: BTreeMap<String, Replica>,
    /// Its API.
    pub(crate) api: Api,
    /// For kubectl.
    pub(crate) kubeconfig: PathBuf,
    /// All it printed.
    pub(crate) log: PathBuf,
}

impl Dev {
    /// Starts it and waits until its API and all replicas are there.
    pub(crate) fn start(tenure: &Path, replicas: u8, profile: &str, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let log = folder.join("tenure-dev.log");
        let mut file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(tenure);
        command.args(["dev", "--json", "--port", "0", "--profile", profile, "--replicas", &replicas.to_string()]);
        let mut running = Running::start(command.stdout(Stdio::piped()).stderr(file.try_clone()?))?;
        let stdout = running.child().stdout.take().context("the child's stdout is a pipe")?;
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The log is for people to read afterwards; the demo does not stand or fall with it.
                let _ = writeln!(file, "{line}");
                if let Ok(event) = serde_json::from_str::<Event>(&line)
                    && sender.send(event).is_err()
                {
                    return;
                }
            }
        });
        let nowhere = Api::at("");
        let mut dev =
            Self { running, events, replicas: BTreeMap::new(), api: nowhere, kubeconfig: PathBuf::new(), log };
        dev.wait("its API answers", |dev| !dev.kubeconfig.as_os_str().is_empty())?;
        dev.wait("all replicas run", |dev| dev.replicas.len() == usize::from(replicas))?;
        Ok(dev)
    }

    /// The replica an identity in the Lease belongs to.
    pub(crate) fn replica_of(&mut self, identity: &str) -> anyhow::Result<Replica> {
        self.take_events();
        let name = identity.split('_').next().unwrap_or_default();
        self.replicas.get(name).cloned().with_context(|| format!("the holder {identity} is no replica of ours"))
    }

    /// All replicas as of now.
    pub(crate) fn replicas(&mut self) -> Vec<Replica> {
        self.take_events();
        self.replicas.values().cloned().collect()
    }

    /// Waits until a replica has a process again that is not `before`.
    pub(crate) fn back(&mut self, before: &Replica) -> anyhow::Result<Replica> {
        let name = before.name.clone();
        self.wait(&format!("{name} is back"), |dev| dev.replicas.get(&name).is_some_and(|it| it.pid != before.pid))?;
        self.replicas.get(&name).cloned().with_context(|| format!("{name} is gone again"))
    }

    /// Waits for its end after Ctrl-C, or interrupts it.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        let pids: Vec<Pid> = self.replicas.values().map(|replica| replica.pid).collect();
        let log = self.log;
        let status = self.running.interrupt(END_LIMIT).with_context(|| format!("tenure dev; see {}", log.display()))?;
        if !status.success() {
            bail!("tenure dev ended badly ({status}); see {}", log.display());
        }
        if let Some(left) = pids.into_iter().find(|pid| process::exists(*pid)) {
            bail!("tenure dev ended and left process {} behind", left.as_raw_nonzero());
        }
        Ok(())
    }

    /// Waits for Ctrl-C.
    pub(crate) fn stay(&mut self) -> anyhow::Result<()> {
        while !process::interrupted() {
            if let Some(status) = self.running.try_wait()? {
                bail!("tenure dev ended by itself ({status}); see {}", self.log.display());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !done(self) {
            match self.events.recv_timeout(LOOK) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("tenure dev ended before {what}; what it said is in {}", self.log.display())
                }
            }
            if process::interrupted() {
                bail!("interrupted");
            }
            if begun.elapsed() > START_LIMIT {
                let limit = process::seconds(START_LIMIT);
                bail!("not within {limit}: {what}; what it said is in {}", self.log.display());
            }
        }
        Ok(())
    }

    fn take_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Ready { kubeconfig, api } => {
                self.kubeconfig = kubeconfig;
                self.api = Api::at(&api);
            }
            Event::Replica { name, pid, console } => {
                if let Some(pid) = Pid::from_raw(pid) {
                    self.replicas.insert(name.clone(), Replica { name, pid, console });
                }
            }
            Event::Ended { name, pid, how } => {
                println!("             (process {pid} of {name} ended: {how})");
                if self.replicas.get(&name).is_some_and(|replica| replica.pid.as_raw_nonzero().get() == pid) {
                    self.replicas.remove(&name);
                }
            }
            Event::Other => {}
        }
    }
}

impl Replica {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Resident memory in KiB, as the kernel counts it.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .with_context(|| format!("no VmRSS in {path}"))?;
        line.trim().trim_end_matches(" kB").trim().parse().with_context(|| format!("{path} says VmRSS: {line}"))
    }
}
