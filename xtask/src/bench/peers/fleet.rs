//! The candidates of one contender for one lock: started, aged, ended, started again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::audit::{Audit, Lock, Takeover, now_us};
use super::candidate::{Candidate, Contender, Start, Work};
use super::network::Network;
use super::server::{LOCKS, Server};
use crate::process;

/// A standby of this age has filled its caches and compiled its plugin, if it is to.
const AGE: Duration = Duration::from_secs(4);

/// From nothing to a leader, 15 s of which ours waits where there is no Lease.
const LEADER_LIMIT: Duration = Duration::from_secs(90);

const LOOK: Duration = Duration::from_millis(100);

/// What one part of the measurement needs of its candidates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// In names.
    pub(crate) part: &'static str,
    pub(crate) work: Work,
    pub(crate) warm: bool,
    pub(crate) candidates: usize,
}

/// Where programs and files are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) tenure: PathBuf,
    /// The folder of etcd and kube-apiserver.
    pub(crate) assets: PathBuf,
    /// The folder of both peers.
    pub(crate) peers: PathBuf,
    /// Built plugins, one folder each.
    pub(crate) plugins: PathBuf,
    /// Ours to write in.
    pub(crate) folder: PathBuf,
}

/// One candidate's place: a user, and who fills it.
struct Slot {
    user: String,
    kubeconfig: PathBuf,
    network: Option<Network>,
    candidate: Option<Candidate>,
    starts: u32,
}

/// All candidates of one contender.
pub(crate) struct Fleet {
    pub(crate) contender: Contender,
    /// Where its work is.
    pub(crate) namespace: String,
    plan: Plan,
    slots: Vec<Slot>,
    places: Places,
}

/// The user of a candidate, in its certificate.
pub(crate) fn user(contender: Contender, slot: usize) -> String {
    format!("{}-{slot}", contender.name())
}

impl Fleet {
    /// Makes the namespace and a place for each candidate. Starts nobody yet.
    pub(crate) fn make(
        contender: Contender,
        plan: Plan,
        places: &Places,
        server: &Server,
        networks: Vec<Network>,
    ) -> anyhow::Result<Self> {
        let namespace = format!("peers-{}-{}", plan.part, contender.name());
        server.namespace(&namespace)?;
        let mut networks = networks.into_iter();
        let mut slots = Vec::new();
        for number in 0..plan.candidates {
            let user = user(contender, number);
            let direct = server.ready.users.get(&user).with_context(|| format!("no kubeconfig for {user}"))?;
            let network = networks.next();
            let kubeconfig = match &network {
                Some(network) => network.kubeconfig(direct, &server.ready.address)?,
                None => direct.clone(),
            };
            slots.push(Slot { user, kubeconfig, network, candidate: None, starts: 0 });
        }
        let fleet = Self { contender, namespace, plan, slots, places: places.clone() };
        if contender == Contender::Tenure {
            fleet.write_configuration()?;
        }
        Ok(fleet)
    }

    /// Its Lease.
    pub(crate) fn lock(&self) -> Lock<'_> {
        Lock { namespace: LOCKS, name: &self.namespace }
    }

    /// Starts whoever is not running.
    pub(crate) fn fill(&mut self) -> anyhow::Result<()> {
        for number in 0..self.slots.len() {
            let slot = &mut self.slots[number];
            let is_running = match &mut slot.candidate {
                Some(candidate) => candidate.is_running()?,
                None => false,
            };
            if !is_running {
                slot.starts += 1;
                let start = self.start_of(number);
                self.slots[number].candidate = Some(Candidate::start(&start)?);
            }
        }
        Ok(())
    }

    fn start_of(&self, number: usize) -> Start {
        let slot = &self.slots[number];
        let program = match self.contender {
            Contender::Tenure => self.places.tenure.clone(),
            other => self.places.peers.join(other.name()),
        };
        Start {
            contender: self.contender,
            program,
            config: self.folder().join("tenure.toml"),
            kubeconfig: slot.kubeconfig.clone(),
            lock_namespace: LOCKS.to_owned(),
            lock: self.namespace.clone(),
            namespace: self.namespace.clone(),
            identity: format!("{}-{}", slot.user, slot.starts),
            work: self.plan.work,
            warm: self.plan.warm,
            network: slot.network.as_ref().map(|network| network.name().to_owned()),
            log: self.places.folder.join(format!("{}-{number}.log", self.namespace)),
        }
    }

    /// Who leads, once everybody runs, has asked for the lock, and is old enough.
    pub(crate) fn settled(&mut self, audit: &mut Audit) -> anyhow::Result<Takeover> {
        let begun = Instant::now();
        loop {
            self.fill()?;
            let leader = self.leader(audit)?;
            while self.slots.iter().any(|slot| slot.candidate.as_ref().is_some_and(|it| it.age() < AGE)) {
                std::thread::sleep(LOOK);
            }
            audit.read()?;
            if audit.takeovers(&self.lock()).pop().as_ref() == Some(&leader)
                && self.candidate(&leader.user)?.is_running()?
            {
                return Ok(leader);
            }
            if begun.elapsed() > LEADER_LIMIT {
                bail!("{} has no leader that stays, after {}", self.contender.name(), process::seconds(LEADER_LIMIT));
            }
        }
    }

    fn leader(&self, audit: &mut Audit) -> anyhow::Result<Takeover> {
        let what = format!("all candidates of {} asked for their lock and one of them has it", self.contender.name());
        audit.until(&what, LEADER_LIMIT, |audit| {
            let has_looked =
                |slot: &Slot| slot.candidate.as_ref().is_some_and(|it| audit.has_looked(&slot.user, it.begun_us));
            let leader = audit.takeovers(&self.lock()).pop()?;
            let since_us = self.slot(&leader.user)?.candidate.as_ref()?.begun_us;
            (self.slots.iter().all(has_looked) && leader.at_us > since_us).then_some(leader)
        })
    }

    /// Sends a signal to a candidate; the moment just before.
    pub(crate) fn signal(&mut self, user: &str, signal: Signal) -> anyhow::Result<i64> {
        let moment = now_us();
        self.candidate(user)?.signal(signal)?;
        Ok(moment)
    }

    /// Waits for the end of a candidate that was told to end.
    pub(crate) fn ended(&mut self, user: &str) -> anyhow::Result<()> {
        let slot = self.slots.iter_mut().find(|slot| slot.user == user);
        let candidate = slot.and_then(|slot| slot.candidate.take());
        candidate.with_context(|| format!("{user} is not running"))?.ended()
    }

    /// The network a candidate lives in.
    pub(crate) fn network(&self, user: &str) -> anyhow::Result<&Network> {
        self.slot(user).and_then(|slot| slot.network.as_ref()).with_context(|| format!("{user} has no network"))
    }

    /// A running candidate.
    pub(crate) fn candidate(&mut self, user: &str) -> anyhow::Result<&mut Candidate> {
        let slot = self.slots.iter_mut().find(|slot| slot.user == user);
        slot.and_then(|slot| slot.candidate.as_mut()).with_context(|| format!("{user} is not running"))
    }

    /// All who do not lead.
    pub(crate) fn standbys(&self, leader: &str) -> Vec<String> {
        self.slots.iter().map(|slot| slot.user.clone()).filter(|user| user != leader).collect()
    }

    fn slot(&self, user: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.user == user)
    }

    fn folder(&self) -> PathBuf {
        self.places.folder.join(&self.namespace)
    }

    /// Ours: what it may use, and the plugin with this namespace's ConfigMaps alone in its manifest, as the peers watch them:
    /// otherwise it would do the peers' work too.
    fn write_configuration(&self) -> anyhow::Result<()> {
        let plugin = match self.plan.work {
            Work::Labels => "label-propagator",
            Work::Beat => "probe",
        };
        let folder = self.folder();
        let plugins = folder.join("plugins");
        let into = plugins.join(plugin);
        std::fs::create_dir_all(&into).with_context(|| format!("cannot make {}", into.display()))?;
        let from = self.places.plugins.join(plugin);
        copy(&from.join("plugin.wasm"), &into.join("plugin.wasm"))?;
        let manifest = std::fs::read_to_string(from.join("plugin.toml"))
            .with_context(|| format!("cannot read the manifest in {}", from.display()))?;
        let kind = "kind = \"ConfigMap\"\n";
        let (watch, rest) = manifest.split_once(kind).context("the plugin does not watch ConfigMaps")?;
        let manifest = format!("{watch}{kind}namespace = \"{}\"\n{rest}", self.namespace)
            .replace("namespaces = [\"*\"]", &format!("namespaces = [\"{}\"]", self.namespace))
            .replace("behaviour = \"stamp\"", "behaviour = \"beat\"");
        write(&into.join("plugin.toml"), &manifest)?;
        let warm = self.plan.warm;
        let text = |path: &Path| Value::from(path.display().to_string());
        write(
            &folder.join("tenure.toml"),
            &format!(
                "[plugins]\nnamespaces = []\ndirectory = {}\ncode-cache = {}\n\n\
                 [limits]\nconcurrency = 10\nrequests-per-second = 5000\n\n[cache]\nwarm = {warm}\n\n\
                 [[grant]]\nplugin = \"directory/*\"\n\
                 [[grant.permission]]\napi-groups = [\"\"]\nresources = [\"namespaces\"]\nverbs = [\"get\", \"list\", \"watch\"]\n\
                 [[grant.permission]]\napi-groups = [\"\"]\nresources = [\"configmaps\"]\n\
                 verbs = [\"get\", \"list\", \"watch\", \"create\", \"patch\"]\nnamespaces = [\"{}\"]\n",
                text(&plugins),
                text(&self.places.folder.join("code-cache")),
                self.namespace,
            ),
        )
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
