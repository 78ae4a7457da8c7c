//! Pods: each machine's kubelet says in a Pod's status what became of the containers there, late, and the API server shows it
//! to whoever reads it. A Pod has the machine's name; a process that starts again is a new container in it.

use std::time::Duration;

use tenure_election::{ContainerSeen, OwnContainer, PodSeen, Settings, Termination};

use crate::process::{Candidate, Input};
use crate::world::{Event, World};

/// The one container whose end matters, in each Pod.
const CONTAINER: &str = "tenure";

/// How often a kubelet looks at its containers.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// A kubelet and the Pod on its machine.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// `metadata.uid` of the Pod.
    pub pod_uid: String,
    /// What it knows by now; what it writes next is this.
    known: ContainerSeen,
    /// How long what it writes is on its way.
    pub delay: Duration,
}

impl Kubelet {
    /// The one of a machine.
    #[must_use]
    pub fn new(machine: &str) -> Self {
        let known = ContainerSeen { name: CONTAINER.to_owned(), ..ContainerSeen::default() };
        Self { pod_uid: format!("pod-{machine}"), known, delay: Duration::from_millis(100) }
    }

    fn pod(&self) -> PodSeen {
        PodSeen { uid: self.pod_uid.clone(), containers: vec![self.known.clone()] }
    }

    /// A container has ended; of those before, one stays known.
    fn note_end(&mut self, id: String, at: Duration) {
        let last = self.known.terminated.iter().find(|end| end.id != id).cloned();
        let end = Termination { id, finished_at: Some(Duration::from_secs(at.as_secs())), reason: "Error".to_owned() };
        (self.known.running, self.known.ready) = (None, false);
        self.known.terminated = [end].into_iter().chain(last).collect();
    }
}

/// What a misleading status says of a container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misleading {
    /// Nobody could find it.
    Unknown,
    /// It has ended, at no time.
    Unfinished,
    /// A container before it has ended.
    Earlier,
    /// Its Pod is gone.
    Gone,
    /// Another Pod of that name has a container with this ID, and it has ended.
    OtherPod,
    /// Another container of its Pod has ended.
    Sidecar,
}

impl Misleading {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Unknown, Self::Unfinished, Self::Earlier, Self::Gone, Self::OtherPod, Self::Sidecar];
}

pub(crate) fn container_id(process: u64) -> String {
    format!("sim://{process}")
}

impl World {
    /// A process' settings, with the container it is about to be started in.
    pub(crate) fn contained(&self, node: usize, settings: Settings) -> Settings {
        let machine = &self.nodes[node];
        let container = settings.container.as_ref().map(|_| OwnContainer {
            pod: machine.name.clone(),
            pod_uid: machine.kubelet.pod_uid.clone(),
            container: CONTAINER.to_owned(),
            started: machine.clocks.read(self.now).wall,
        });
        Settings { container, ..settings }
    }

    /// The process of a machine has started. kubelet has seen by then that the one before it ended; that this one runs, it sees
    /// when it looks.
    pub(crate) fn note_started(&mut self, node: usize) {
        let machine = &self.nodes[node];
        if machine.ours().is_some_and(|ours| ours.settings.container.is_some()) {
            let (process, wall) = (machine.process, machine.clocks.read(self.now).wall);
            self.schedule(LOOKS_EVERY, Event::KubeletLooks { node, process, started: wall });
        }
    }

    /// The process of a machine ends. kubelet sees it when it looks.
    pub(crate) fn note_ended(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        if matches!(machine.candidate, Candidate::Down) {
            return;
        }
        let (process, wall) = (machine.process, machine.clocks.read(self.now).wall);
        let contained = machine.ours().is_some_and(|ours| ours.settings.container.is_some());
        self.judge.note_death(self.now, process);
        if contained {
            self.nodes[node].kubelet.note_end(container_id(process), wall);
            self.publish_pod_after(node, LOOKS_EVERY);
        }
    }

    fn publish_pod_after(&mut self, node: usize, after: Duration) {
        let after = after + self.nodes[node].kubelet.delay;
        self.schedule(after, Event::KubeletWrites { node });
    }

    /// kubelet sees that a container runs, and a second later that it is ready.
    pub(crate) fn kubelet_looks(&mut self, node: usize, process: u64, started: Duration) {
        let machine = &mut self.nodes[node];
        if machine.process != process || matches!(machine.candidate, Candidate::Down) {
            return;
        }
        let known = &mut machine.kubelet.known;
        if known.running.is_none() {
            known.running = Some((container_id(process), Duration::from_secs(started.as_secs())));
            self.schedule(LOOKS_EVERY, Event::KubeletLooks { node, process, started });
        } else {
            known.ready = true;
        }
        self.publish_pod_after(node, Duration::ZERO);
    }

    /// What kubelet knows at this moment reaches the API server.
    pub(crate) fn kubelet_writes(&mut self, node: usize) {
        let machine = &self.nodes[node];
        self.api.pods.insert(machine.name.clone(), machine.kubelet.pod());
    }

    /// Somebody, or a kubelet that does not know better, makes a Pod's status say something misleading.
    pub fn mislead(&mut self, node: usize, how: Misleading) {
        let machine = &self.nodes[node];
        let name = machine.name.clone();
        let mut pod = machine.kubelet.pod();
        let finished_at = Some(Duration::from_secs(machine.clocks.read(self.now).wall.as_secs()));
        let end = Termination { id: container_id(machine.process), finished_at, reason: "Error".to_owned() };
        let container = &mut pod.containers[0];
        (container.running, container.ready) = (None, false);
        match how {
            Misleading::Unknown => {
                container.terminated = vec![Termination { reason: "ContainerStatusUnknown".to_owned(), ..end }];
            }
            Misleading::Unfinished => container.terminated = vec![Termination { finished_at: None, ..end }],
            Misleading::Earlier => container.terminated = vec![Termination { id: "sim://earlier".to_owned(), ..end }],
            Misleading::Gone => {
                self.api.pods.remove(&name);
                return;
            }
            Misleading::OtherPod => {
                pod.uid += "-new";
                container.terminated = vec![end];
            }
            Misleading::Sidecar => {
                let terminated = vec![end];
                pod.containers.push(ContainerSeen { name: "proxy".to_owned(), terminated, ..ContainerSeen::default() });
            }
        }
        self.api.pods.insert(name, pod);
    }

    /// A process asks for a Pod.
    pub(crate) fn ask_for_pod(&mut self, node: usize, pod: String, timeout: Duration) {
        self.note(node, || format!("reads the Pod {pod}"));
        let process = self.nodes[node].process;
        if self.nodes[node].link.out_cut {
            let answer = Input::PodFailed(false, "timed out".to_owned());
            self.schedule(timeout, Event::PodTold { node, process, answer });
        } else {
            let after = self.latency();
            self.schedule(after, Event::PodAsked { node, process, pod });
        }
    }

    /// The API server answers.
    pub(crate) fn answer_pod(&mut self, node: usize, process: u64, pod: &str) {
        let answer = match self.nodes[node].link.refusal {
            Some(403) => Input::PodFailed(true, "forbidden by the test (403)".to_owned()),
            _ => Input::Pod(self.api.pods.get(pod).cloned()),
        };
        let after = self.latency();
        self.schedule(after, Event::PodTold { node, process, answer });
    }

    /// The answer comes, or is lost.
    pub(crate) fn tell_of_pod(&mut self, node: usize, process: u64, answer: Input) {
        if self.nodes[node].process != process {
            return;
        }
        let lost = self.nodes[node].link.back_cut;
        self.hand(node, if lost { Input::PodFailed(false, "timed out".to_owned()) } else { answer });
    }
}
