//! A Pod's status as far as the election reads it, and what it proves: which container a process runs in, and that a container
//! has ended (docs/election.md, "Proof of death"). Never sees kube.

use std::time::Duration;

use crate::{Record, Term};

/// Reasons that kubelet and containerd give for a container that they could not find: they made its end up.
const MADE_UP: [&str; 2] = ["ContainerStatusUnknown", "Unknown"];

/// A container is not shown as started later than this after its process read the clock: the runtime notes the time when its
/// start call returns.
const START_SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// The container this process runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnContainer {
    /// `metadata.name` of its Pod.
    pub pod: String,
    /// `metadata.uid` of its Pod, told by kubelet (a `fieldRef`), never read from the Pod of that name.
    pub pod_uid: String,
    /// Its name in the Pod.
    pub container: String,
    /// What the wall clock read when this process started.
    pub started: Duration,
}

/// A Pod as the API server showed it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodSeen {
    /// `metadata.uid`.
    pub uid: String,
    /// `status.containerStatuses`.
    pub containers: Vec<ContainerSeen>,
}

/// One container of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerSeen {
    /// `name`.
    pub name: String,
    /// `containerID` and `state.running.startedAt` since 1970, while it runs.
    pub running: Option<(String, Duration)>,
    /// `ready`.
    pub ready: bool,
    /// `state.terminated` and `lastState.terminated`, as far as there are any.
    pub terminated: Vec<Termination>,
}

/// One end of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Termination {
    /// `containerID`.
    pub id: String,
    /// `finishedAt` since 1970; kubelet writes 1970 itself where the runtime named no time.
    pub finished_at: Option<Duration>,
    /// `reason`.
    pub reason: String,
}

impl OwnContainer {
    /// What this process' own Pod says of its container; `None` where it is another Pod of that name.
    pub(crate) fn find_in(&self, pod: &PodSeen) -> Option<ContainerSeen> {
        let container = pod.containers.iter().find(|container| container.name == self.container);
        (pod.uid == self.pod_uid).then(|| container.cloned().unwrap_or_default())
    }

    /// The ID of this process' container, once its Pod's status shows this start and not an earlier one. Two things must say
    /// so, and neither is believed alone:
    ///
    /// - The status has changed since this process first read it. kubelet starts a container again only after it has seen the
    ///   last one ended, so what it writes from then on is about this start.
    /// - The container was started with this process. kubelet looks once a second: what it has shown as running before was
    ///   started in an earlier second, by the clock of the same machine.
    pub(crate) fn id_of<'a>(&self, first: &ContainerSeen, now: &'a ContainerSeen) -> Option<&'a str> {
        let shown = |seen: &ContainerSeen| (seen.running.as_ref().map(|(id, _)| id.clone()), seen.ready);
        let (id, started_at) = now.running.as_ref()?;
        let (from, by) = (self.started.as_secs(), self.started.saturating_add(START_SHOWN_WITHIN).as_secs());
        let started_with_us = (from..=by).contains(&started_at.as_secs());
        let is_ours = shown(first) != shown(now) && started_with_us && !id.is_empty() && !now.has_ended(id);
        is_ours.then_some(id)
    }
}

impl ContainerSeen {
    fn has_ended(&self, id: &str) -> bool {
        self.terminated.iter().any(|end| end.id == id)
    }
}

/// What `tenure.dev/container` says: `<term>/<pod uid>/<container>/<containerID>/<write-timeout ms>`. The term ties it to its
/// holder: a candidate that does not know this annotation keeps its predecessor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerMark {
    pub(crate) term: Term,
    pub(crate) pod_uid: String,
    pub(crate) container: String,
    /// With its runtime before it, so with slashes: `containerd://..`.
    pub(crate) id: String,
    /// The holder's own: how long a write it has sent may still be carried out.
    pub(crate) write_timeout: Duration,
}

impl ContainerMark {
    /// Reads a mark; `None` where it is not in that form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (front, milliseconds) = text.rsplit_once('/')?;
        let mut parts = front.splitn(4, '/');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        Some(Self {
            term: Term::new(part()?.parse().ok()?)?,
            pod_uid: part()?.to_owned(),
            container: part()?.to_owned(),
            id: part()?.to_owned(),
            write_timeout: Duration::from_millis(milliseconds.parse().ok()?),
        })
    }

    /// What stands in a record, if it is readable.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        Self::parse(record.annotations.get(Record::CONTAINER)?)
    }

    /// As it is written.
    pub(crate) fn text(&self) -> String {
        let Self { term, pod_uid, container, id, write_timeout } = self;
        format!("{term}/{pod_uid}/{container}/{id}/{}", write_timeout.as_millis())
    }

    /// Whether `pod` proves that this very container has ended: not that its Pod is to go, was evicted or has failed, nor that
    /// nobody knows. Nobody renews after its end, so one before `renewed` is another's.
    pub(crate) fn is_proved_ended_by(&self, pod: &PodSeen, renewed: Duration) -> bool {
        let finished =
            |end: &Termination| end.finished_at.is_some_and(|at| !at.is_zero() && at.as_secs() >= renewed.as_secs());
        let is_end = |end: &Termination| end.id == self.id && finished(end) && !MADE_UP.contains(&end.reason.as_str());
        let runs = |container: &ContainerSeen| container.running.as_ref().is_some_and(|(id, _)| *id == self.id);
        pod.uid == self.pod_uid
            && pod
                .containers
                .iter()
                .any(|seen| seen.name == self.container && !runs(seen) && seen.terminated.iter().any(is_end))
    }
}

/// The name of the Pod that a holder runs in: what stands before the first `_` of its identity, which no Pod's name has in it.
/// `None` where that is no name; a Pod that is another's proves nothing, as its uid is another.
pub(crate) fn pod_of(holder: &str) -> Option<&str> {
    let name = holder.split('_').next()?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(is_plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the holder, five seconds before its end.
    const RENEWED: Duration = Duration::from_secs(100);

    const MARK: &str = "7/uid-a/tenure/containerd://1f2e/5000";

    fn mark() -> ContainerMark {
        ContainerMark::parse(MARK).expect("readable")
    }

    fn ended() -> Termination {
        Termination {
            id: "containerd://1f2e".to_owned(),
            finished_at: Some(Duration::from_secs(105)),
            reason: "Error".to_owned(),
        }
    }

    fn pod(terminated: Vec<Termination>) -> PodSeen {
        let seen = ContainerSeen { name: "tenure".to_owned(), terminated, ..ContainerSeen::default() };
        PodSeen { uid: "uid-a".to_owned(), containers: vec![seen] }
    }

    fn proves(pod: &PodSeen) -> bool {
        mark().is_proved_ended_by(pod, RENEWED)
    }

    #[test]
    fn a_mark_reads_back_and_anything_else_is_unreadable() {
        let mark = mark();
        assert_eq!((mark.term.get(), mark.pod_uid.as_str(), mark.container.as_str()), (7, "uid-a", "tenure"));
        assert_eq!((mark.id.as_str(), mark.write_timeout), ("containerd://1f2e", Duration::from_secs(5)));
        assert_eq!(mark.text(), MARK);
        for text in ["", "7", "7/u/c/5000", "7//c/x/5", "0/u/c/x/5", "u/c/containerd://x/5", "7/u/c/x/", "7/u/c/x/-5"] {
            assert_eq!(ContainerMark::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_named_containers_own_end_is_proof() {
        assert!(proves(&pod(vec![ended()])));
        let later = Termination { id: "containerd://2".to_owned(), ..ended() };
        assert!(proves(&pod(vec![later.clone(), ended()])), "in lastState, after a restart");
        assert!(!proves(&pod(vec![later])), "another start of it");
        assert!(!proves(&pod(vec![])), "nothing has ended");
    }

    #[test]
    fn an_end_that_kubelet_made_up_is_no_proof() {
        for reason in MADE_UP {
            let unknown = Termination { reason: reason.to_owned(), ..ended() };
            assert!(!proves(&pod(vec![unknown])), "{reason}");
        }
        for finished_at in [None, Some(Duration::ZERO)] {
            assert!(!proves(&pod(vec![Termination { finished_at, ..ended() }])), "{finished_at:?}");
        }
    }

    #[test]
    fn another_pod_or_container_is_no_proof() {
        let ends = pod(vec![ended()]);
        assert!(!proves(&PodSeen { uid: "uid-b".to_owned(), ..ends.clone() }));
        let mut sidecar = ends;
        sidecar.containers[0].name = "proxy".to_owned();
        assert!(!proves(&sidecar));
    }

    #[test]
    fn a_container_that_runs_has_not_ended_whatever_else_is_said_of_it() {
        let mut pod = pod(vec![ended()]);
        pod.containers[0].running = Some(("containerd://1f2e".to_owned(), Duration::ZERO));
        assert!(!proves(&pod));
    }

    #[test]
    fn an_end_before_the_last_renewal_is_anothers() {
        assert!(!mark().is_proved_ended_by(&pod(vec![ended()]), Duration::from_secs(106)));
        assert!(
            mark().is_proved_ended_by(&pod(vec![ended()]), Duration::from_millis(105_900)),
            "the API has whole seconds"
        );
    }

    fn own() -> OwnContainer {
        let started = Duration::from_millis(100_900);
        OwnContainer { pod: "a".to_owned(), pod_uid: "uid-a".to_owned(), container: "tenure".to_owned(), started }
    }

    fn running(started_at: u64) -> ContainerSeen {
        let running = Some(("containerd://1f2e".to_owned(), Duration::from_secs(started_at)));
        ContainerSeen { name: "tenure".to_owned(), running, ready: true, terminated: vec![] }
    }

    #[test]
    fn only_a_container_started_with_this_process_is_its_own() {
        let (own, first) = (own(), ContainerSeen::default());
        assert_eq!(own.id_of(&first, &running(100)), Some("containerd://1f2e"), "the API has whole seconds");
        assert_eq!(own.id_of(&first, &running(160)), Some("containerd://1f2e"));
        assert_eq!(own.id_of(&first, &running(99)), None, "an earlier start, not yet replaced in the status");
        assert_eq!(own.id_of(&first, &running(161)), None, "no start of this process");
        let over = ContainerSeen { terminated: vec![ended()], ..running(100) };
        assert_eq!(own.id_of(&first, &over), None, "it is said to have ended");
        assert_eq!(own.id_of(&first, &ContainerSeen { running: None, ..over }), None, "nothing runs");
    }

    #[test]
    fn what_was_shown_before_this_process_looked_may_be_an_earlier_start() {
        let (own, shown) = (own(), running(100));
        assert_eq!(own.id_of(&shown, &shown), None);
        assert_eq!(own.id_of(&ContainerSeen { ready: false, ..shown.clone() }, &shown), Some("containerd://1f2e"));
        let earlier = Some(("containerd://0".to_owned(), Duration::from_secs(50)));
        assert_eq!(own.id_of(&ContainerSeen { running: earlier, ..shown.clone() }, &shown), Some("containerd://1f2e"));
    }

    #[test]
    fn another_pod_of_that_name_is_not_its_own() {
        let pod = PodSeen { uid: "uid-a".to_owned(), containers: vec![running(100)] };
        assert_eq!(own().find_in(&pod), Some(running(100)));
        assert_eq!(own().find_in(&PodSeen { uid: "uid-b".to_owned(), ..pod }), None);
    }

    #[test]
    fn the_pod_is_what_stands_before_the_underscore() {
        assert_eq!(pod_of("tenure-0_1f2e3d4c"), Some("tenure-0"));
        assert_eq!(pod_of("tenure.example"), Some("tenure.example"));
        for holder in ["", "_x", "../secrets", ".", "a?b", "A_1", "a%2e_1"] {
            assert_eq!(pod_of(holder), None, "{holder}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_mark_never_panics(text in "[0-9a-z/:]{0,40}") {
            if let Some(mark) = ContainerMark::parse(&text) {
                prop_assert_eq!(ContainerMark::parse(&mark.text()), Some(mark));
            }
        }
    }
}
