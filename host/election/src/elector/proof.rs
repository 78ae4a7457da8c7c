//! Proof of death (rule 3d): whose container to look at, when, and what follows from what is seen. What a Pod's status proves
//! is in `pod`; how long a proved end is waited for is in `news`.

use std::time::Duration;

use super::Elector;
use super::messages::{Action, Report, Seen};
use super::news::{State, Way};
use super::tenancy::Role;
use super::terms::Mark;
use crate::pod::{ContainerMark, pod_of};
use crate::{ContainerSeen, Instant, PodSeen, Record};

/// The longest pause between two looks at a Pod that does not show this start, or that may not be read.
const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);

/// What this candidate has seen of the process that holds the lock, in its term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// Its record, and nothing more: it may be years old, or restored, or written by hand.
    Unseen,
    /// It has renewed, the last time after so long.
    Renewed {
        /// Between its last two writes, as they were seen.
        after: Duration,
    },
    /// The record changed as this process would not have changed it. Only expiry leads in.
    Broken,
}

impl Trace {
    /// After `last` came `next`, by the same holder in the same term: the same process, if it says so in all that it writes,
    /// and if nothing has proved that process dead.
    pub(crate) fn after(last: &State, now: Instant, next: &Seen) -> Self {
        let (before, after) = (&last.seen.record, &next.record);
        let goes_on = attempt_of(before)
            .zip(attempt_of(after))
            .is_some_and(|((nonce, number), (next_nonce, next_number))| nonce == next_nonce && number < next_number);
        if last.trace == Self::Broken || last.dead_from.is_some() || !goes_on || !same_container(before, after) {
            return Self::Broken;
        }
        Self::Renewed { after: now.boot.saturating_sub(last.first_seen.boot) }
    }
}

/// Whether two records name the same container.
pub(crate) fn same_container(a: &Record, b: &Record) -> bool {
    a.annotations.get(Record::CONTAINER) == b.annotations.get(Record::CONTAINER)
}

fn attempt_of(record: &Record) -> Option<(&str, u64)> {
    let (nonce, number) = record.annotations.get(Record::ATTEMPT)?.split_once('/')?;
    Some((nonce, number.parse().ok()?))
}

/// Looks at Pods: at our own until it shows our container, at a holder's while its renewals stay away. Readings are the boot
/// clock's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looks {
    under_way: Option<Whose>,
    /// The ID of the container this process runs in, once known.
    own: Option<String>,
    /// What its Pod said of it when first read.
    own_first: Option<ContainerSeen>,
    own_pause: Duration,
    own_not_before: Duration,
    holder_not_before: Duration,
    /// The uid of a Pod that is no more.
    gone: Option<String>,
}

/// Whose Pod is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    Own,
    Holder(ContainerMark),
}

/// Whom a proof of death would count for.
#[derive(Debug)]
struct Suspect {
    mark: ContainerMark,
    /// The name of its Pod.
    pod: String,
    /// How long before its last renewal the one before it was.
    renewed_after: Duration,
}

impl Elector {
    /// A Pod that was asked for; without one, the API server says that there is none of this name.
    #[expect(clippy::needless_pass_by_value, reason = "facts are handed over, not lent")]
    pub fn handle_pod(&mut self, now: Instant, seen: Option<PodSeen>) {
        self.look(now);
        self.warnings.forget("pod");
        match self.looks.under_way.take() {
            Some(Whose::Own) => self.take_own_pod(now, seen.as_ref()),
            Some(Whose::Holder(mark)) => self.take_holders_pod(now, mark, seen.as_ref()),
            None => {}
        }
    }

    /// The Pod that was asked for could not be read; `forbidden`: this account may not (403).
    #[expect(clippy::needless_pass_by_value, reason = "facts are handed over, not lent")]
    pub fn handle_pod_failed(&mut self, now: Instant, forbidden: bool, message: String) {
        self.look(now);
        let Some(whose) = self.looks.under_way.take() else { return };
        if forbidden {
            let told = format!("no death can be proved: {message}; a holder that died is waited for");
            self.warn(now, "pod", told);
            self.looks.own_pause = PAUSE_MAX;
            self.looks.holder_not_before = now.boot.saturating_add(PAUSE_MAX);
        }
        match whose {
            Whose::Own => self.pause_own(now),
            Whose::Holder(_) => self.pause_holder(now),
        }
    }

    fn take_own_pod(&mut self, now: Instant, seen: Option<&PodSeen>) {
        self.pause_own(now);
        let Some(own) = &self.settings.container else { return };
        let Some(shown) = seen.and_then(|seen| own.find_in(seen)) else { return };
        let first = self.looks.own_first.get_or_insert_with(|| shown.clone());
        // What is written in one term says the same of it throughout.
        if matches!(self.role, Role::Standby) && self.writes.in_flight().is_none() {
            self.looks.own = own.id_of(first, &shown).map(str::to_owned);
        }
        if let Some(container) = self.looks.own.clone() {
            self.report(Report::ContainerKnown { container });
        }
    }

    fn take_holders_pod(&mut self, now: Instant, mark: ContainerMark, seen: Option<&PodSeen>) {
        self.pause_holder(now);
        if self.suspect().is_none_or(|suspect| suspect.mark != mark) {
            return; // it renewed meanwhile, or the lock is another's
        }
        let Some(record) = self.news.state().map(|state| state.seen.record.clone()) else { return };
        match seen {
            Some(pod) if mark.is_proved_ended_by(pod, record.renew_time.unwrap_or(Duration::MAX)) => {
                self.news.note_dead(now.boot.saturating_add(mark.write_timeout));
                let Record { holder, .. } = record;
                self.report(Report::ProvedDead { holder, container: mark.id, wait: mark.write_timeout });
            }
            Some(pod) if pod.uid == mark.pod_uid => {}
            Some(_) | None => self.looks.gone = Some(mark.pod_uid),
        }
    }

    fn pause_own(&mut self, now: Instant) {
        let pause = (self.looks.own_pause * 2).clamp(self.settings.timing.retry(), PAUSE_MAX);
        self.looks.own_pause = pause;
        self.looks.own_not_before = now.boot.saturating_add(pause);
    }

    fn pause_holder(&mut self, now: Instant) {
        let at = now.boot.saturating_add(self.settings.timing.retry());
        self.looks.holder_not_before = self.looks.holder_not_before.max(at);
    }

    /// The next look at a Pod, when it is time.
    pub(super) fn poll_look(&mut self, now: Instant) -> Option<Action> {
        let timeout = self.settings.timing.attempt_timeout();
        let (pod, whose) = if self.own_look_at().is_some_and(|at| now.boot >= at) {
            (self.settings.container.as_ref()?.pod.clone(), Whose::Own)
        } else if self.holder_look_at().is_some_and(|at| now.boot >= at) {
            let Suspect { mark, pod, .. } = self.suspect()?;
            (pod, Whose::Holder(mark))
        } else {
            return None;
        };
        self.looks.under_way = Some(whose);
        Some(Action::ReadPod { pod, timeout })
    }

    /// The boot reading of the next look.
    pub(super) fn next_look_at(&self) -> Option<Duration> {
        self.own_look_at().into_iter().chain(self.holder_look_at()).min()
    }

    fn may_look(&self) -> bool {
        matches!(self.role, Role::Standby)
            && self.shutdown_by.is_none()
            && self.looks.under_way.is_none()
            && self.settings.container.is_some()
    }

    fn own_look_at(&self) -> Option<Duration> {
        (self.may_look() && self.looks.own.is_none()).then_some(self.looks.own_not_before)
    }

    /// While a holder renews nobody looks: only once a renewal is late by half of the time between two, and until it has
    /// expired.
    fn holder_look_at(&self) -> Option<Duration> {
        let suspect = self.suspect().filter(|_| self.may_look())?;
        let pace = suspect.renewed_after.max(self.settings.timing.retry());
        let late = self.news.state()?.first_seen.boot.saturating_add(pace + pace / 2);
        let at = late.max(self.looks.holder_not_before);
        (at < self.news.free_at()?).then_some(at)
    }

    /// The holder whose own record names its container, in the newest term there is, and who renewed it before our eyes.
    fn suspect(&self) -> Option<Suspect> {
        let state = self.news.state()?;
        let Trace::Renewed { after: renewed_after } = state.trace else { return None };
        let record = &state.seen.record;
        let mark = Mark::of(record).filter(|mark| !record.holder.is_empty() && mark.identity == record.holder)?;
        let container = ContainerMark::of(record).filter(|container| container.term == mark.term)?;
        let newest = self.floors.seen().is_none_or(|seen| mark.term >= seen);
        let waited_for = state.way == Way::Expiry && state.dead_from.is_none();
        let there = self.looks.gone.as_ref() != Some(&container.pod_uid);
        let pod = pod_of(&record.holder)?.to_owned();
        (newest && waited_for && there).then_some(Suspect { mark: container, pod, renewed_after })
    }

    /// Says in a record of ours which container holds it, or that none is known.
    pub(super) fn name_container(&self, record: &mut Record) {
        record.annotations.remove(Record::CONTAINER);
        let (Some(own), Some(id), Some(mark)) = (&self.settings.container, &self.looks.own, Mark::of(record)) else {
            return;
        };
        let mark = ContainerMark {
            term: mark.term,
            pod_uid: own.pod_uid.clone(),
            container: own.container.clone(),
            id: id.clone(),
            write_timeout: self.settings.write_timeout,
        };
        record.annotations.insert(Record::CONTAINER.to_owned(), mark.text());
    }
}
