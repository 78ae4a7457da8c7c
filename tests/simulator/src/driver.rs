//! What the host does around an elector, as its room `lease` and its gate do it: the clocks first, then the news; actions until
//! there are none; a gate that looks at the clocks itself; guests that are confirmed gone, or the process aborts.

use std::time::Duration;

use tenure_election::{Action, Authority, Drain, Instant, LiveTerm, Outcome, Standing, Term, Token, Write};

use crate::client_go::{Ask, Told};
use crate::judge::{Begun, Open};
use crate::machine::Watching;
use crate::process::{Candidate, Guests, Input, Recipe};
use crate::world::{Event, PluginWrite, Request, World};

/// While a write without an answer may still be on the network (RFC 9293's maximum segment lifetime).
const UNANSWERED_FOR: Duration = Duration::from_secs(120);

/// A closed term's guests are confirmed gone within this, or half the margin.
const CONFIRMED_WITHIN_MAX: Duration = Duration::from_millis(500);

/// How soon a process that ended starts again.
const RESTART_AFTER: Duration = Duration::from_secs(3);

impl World {
    /// Hands one input to the process of a machine; the clocks are looked at first, and what follows from them is done.
    pub fn hand(&mut self, node: usize, input: Input) {
        if self.nodes[node].paused {
            self.nodes[node].inbox.push_back(input);
            return;
        }
        self.drive(node);
        let now = self.nodes[node].clocks.read(self.now);
        let led = self.nodes[node].leads();
        let verdict = matches!(input, Input::Verdict(_));
        if let Some(ours) = self.nodes[node].ours_mut() {
            ours.hand(now, input);
        }
        if verdict && led && !self.nodes[node].leads() {
            self.judge_yield(node, now);
        }
        self.drive(node);
    }

    /// Hands one answer to a process like client-go's.
    pub(crate) fn tell(&mut self, node: usize, told: Told) {
        let now = self.nodes[node].clocks.read(self.now);
        let machine = &mut self.nodes[node];
        if machine.paused {
            machine.told.push_back(told);
            return;
        }
        let Candidate::ClientGo(client_go) = &mut machine.candidate else { return };
        let before = client_go.is_working();
        let next = client_go.handle(now, told);
        let after = client_go.is_working();
        if let Some((ask, wait)) = next {
            self.note_ask(node, &ask);
            self.send(node, Request::ClientGo(ask), wait, None);
        }
        self.note_work(node, before, after);
        self.drive(node);
    }

    /// The process of a machine goes on: its gate's writes that were about to leave look at the clocks, then its thread does.
    pub fn resume(&mut self, node: usize) {
        if !self.nodes[node].paused {
            return;
        }
        self.nodes[node].paused = false;
        self.drive(node);
        while let Some(input) = self.nodes[node].inbox.pop_front() {
            self.hand(node, input);
        }
        while let Some(told) = self.nodes[node].told.pop_front() {
            self.tell(node, told);
        }
    }

    /// What is to run on a machine starts anew.
    pub fn restart(&mut self, node: usize) {
        let seed = self.chance.number();
        let identity = self.nodes[node].identity.clone();
        match self.nodes[node].recipe.clone() {
            Recipe::Ours(settings) => self.start(node, &identity, settings, seed),
            Recipe::ClientGo(knobs) => self.start_client_go(node, &identity, knobs, seed),
            Recipe::Nothing => {}
        }
    }

    /// Tells the process of a machine that it may not watch.
    pub fn forbid_watch(&mut self, node: usize) {
        let now = self.nodes[node].clocks.read(self.now);
        if let Some(ours) = self.nodes[node].ours_mut() {
            ours.elector.handle_watch_unavailable(now, "forbidden by the test (403)".to_owned());
        }
        self.drive(node);
    }

    /// Asks the process of a machine to let go.
    pub fn begin_drain(&mut self, node: usize, why: Drain) {
        let now = self.nodes[node].clocks.read(self.now);
        self.nodes[node].ends |= why == Drain::Shutdown;
        match &mut self.nodes[node].candidate {
            Candidate::Ours(ours) => ours.elector.begin_drain(now, why),
            Candidate::ClientGo(client_go) if why == Drain::Shutdown => {
                if client_go.cancel(now) {
                    self.nodes[node].request = None;
                }
            }
            Candidate::ClientGo(_) | Candidate::Down => {}
        }
        self.drive(node);
    }

    /// Does what the process says, until it says nothing.
    ///
    /// # Panics
    /// When it never comes to rest.
    pub fn drive(&mut self, node: usize) {
        for _ in 0..1000 {
            let machine = &mut self.nodes[node];
            if machine.paused {
                return;
            }
            let now = machine.clocks.read(self.now);
            match &mut machine.candidate {
                Candidate::Ours(ours) => match ours.elector.poll_action(now) {
                    Some(action) => self.perform(node, now, action),
                    None => return,
                },
                Candidate::ClientGo(client_go) => {
                    let before = client_go.is_working();
                    let next = if machine.request.is_none() { client_go.poll(now) } else { None };
                    let (after, stopped) = (client_go.is_working(), client_go.is_stopped());
                    self.note_work(node, before, after);
                    if let Some((ask, wait)) = next {
                        self.note_ask(node, &ask);
                        self.send(node, Request::ClientGo(ask), wait, None);
                    } else if stopped {
                        self.crash(node, RESTART_AFTER);
                    }
                    return;
                }
                Candidate::Down => return,
            }
        }
        panic!("{} never comes to rest", self.nodes[node].name);
    }

    fn note_work(&mut self, node: usize, before: bool, after: bool) {
        if before != after {
            self.note(node, || (if after { "works (client-go)" } else { "works no longer (client-go)" }).to_owned());
        }
    }

    fn perform(&mut self, node: usize, now: Instant, action: Action) {
        match action {
            Action::Read { timeout } => {
                let failed = Input::ReadFailed("timed out".to_owned());
                self.send(node, Request::Read { sent_at: now }, timeout, Some(failed));
            }
            Action::Write(write) => {
                self.note_write(node, &write);
                let Write { attempt, kind, record, timeout } = write;
                let unknown = Outcome::Unknown { message: "timed out".to_owned() };
                let failed = Input::Wrote(attempt.clone(), unknown, 0);
                self.send(node, Request::Write { sent_at: now, attempt, kind, record }, timeout, Some(failed));
            }
            Action::ReadPod { pod, timeout } => self.ask_for_pod(node, pod, timeout),
            Action::Begin(authority) => self.begin(node, &authority),
            Action::Extend(authority) => {
                if self.nodes[node].verbose {
                    let left = authority.hard_until.boot - now.boot;
                    self.note(node, || format!("extends term {}, {left:?} left", authority.term));
                }
                self.live(node).expect("a running term").extend(&authority);
                self.judge_grounds(node, &authority);
                self.look_on();
            }
            Action::Cancel { term, drain, kill_at } => {
                let left = kill_at.boot - now.boot;
                self.note(node, || format!("cancels term {term} ({drain:?}), {left:?} to the kill"));
                self.live(node).expect("a running term").cancel();
                self.end_guests(node, term);
            }
            Action::Kill { term } => {
                self.note(node, || format!("kills guests of term {term}"));
                self.live(node).expect("a running term").shut_admission();
            }
            Action::Close { term } => self.close(node, term),
            Action::Report(report) => self.note_report(node, now, &report),
        }
    }

    fn begin(&mut self, node: usize, authority: &Authority) {
        let term = authority.term;
        self.note(node, || format!("begins term {term}"));
        let at = self.now;
        let machine = &mut self.nodes[node];
        let (process, name) = (machine.process, machine.name.clone());
        let Some(ours) = machine.ours_mut() else { return };
        ours.live = Some(LiveTerm::new(authority));
        ours.confirmed = false;
        let mut begun = Begun::new(at, (process, &name), term.get(), ours.settings.timing.lease(), ours.known.clone());
        let sent_wall = authority.soft_until.wall.saturating_sub(ours.settings.timing.renew());
        begun.wall_milliseconds = u64::try_from(sent_wall.as_millis()).unwrap_or(u64::MAX);
        begun.started_at = ours.started_at;
        // What stands in the lock by now is its own mark; what it knew is what it saw before.
        begun.known.terms.remove(&term.get());
        self.judge.take_begin(begun);
        self.judge_grounds(node, authority);
        self.look_on();
    }

    fn judge_grounds(&mut self, node: usize, authority: &Authority) {
        let Some(ours) = self.nodes[node].ours() else { return };
        let timing = ours.settings.timing;
        let sent_boot = authority.soft_until.boot.saturating_sub(timing.renew());
        let stored =
            ours.grounds.contains(&sent_boot) && authority.hard_until == authority.soft_until.after(timing.grace());
        let name = self.nodes[node].name.clone();
        self.judge.judge_grounds(&name, authority.term.get(), stored);
    }

    fn close(&mut self, node: usize, term: Term) {
        self.note(node, || format!("closes term {term}"));
        self.live(node).expect("a running term").close();
        let Some(ours) = self.nodes[node].ours() else { return };
        let (confirmed, process) = (ours.confirmed, self.nodes[node].process);
        let within = CONFIRMED_WITHIN_MAX.min(ours.settings.timing.margin() / 2);
        if !confirmed {
            self.end_guests(node, term);
            if self.network.aborts {
                self.schedule(within, Event::Abort { node, process, term });
            }
        }
    }

    fn end_guests(&mut self, node: usize, term: Term) {
        if let Guests::End(after) = self.nodes[node].guests {
            let process = self.nodes[node].process;
            self.schedule(after, Event::Drained { node, process, term });
        }
    }

    /// Guests that stay although they were told to end, end now.
    pub fn end_guests_now(&mut self, node: usize) {
        let waiting = self.nodes[node].ours().filter(|ours| !ours.confirmed).and_then(|ours| ours.live.as_ref());
        if let Some(term) = waiting.filter(|live| live.is_cancelled()).map(LiveTerm::term) {
            self.end_guests(node, term);
        }
    }

    /// Guests of a term are gone. Admitted writes are waited for while the gate is open; after that they are given up.
    pub(crate) fn confirm(&mut self, node: usize, process: u64, term: Term) {
        let now = self.now;
        let machine = &mut self.nodes[node];
        if machine.process != process {
            return;
        }
        let Some(ours) = machine.ours_mut() else { return };
        let Some(live) = ours.live.as_ref().filter(|live| live.term() == term) else { return };
        if ours.confirmed {
            return;
        }
        if ours.admitted > 0 && !live.is_closed() {
            self.schedule(Duration::from_millis(20), Event::Drained { node, process, term });
            return;
        }
        if ours.admitted > 0 {
            ours.unanswered_until = now + UNANSWERED_FOR;
            ours.admitted = 0;
        }
        ours.confirmed = true;
        let unanswered = now < ours.unanswered_until;
        self.hand(node, Input::Drained(unanswered));
    }

    pub(crate) fn abort_unconfirmed(&mut self, node: usize, process: u64, term: Term) {
        let machine = &self.nodes[node];
        let of_term = |live: &LiveTerm| live.term() == term;
        let waits = machine.ours().is_some_and(|ours| !ours.confirmed && ours.live.as_ref().is_some_and(of_term));
        if machine.process != process || !waits {
            return;
        }
        if machine.paused {
            self.schedule(Duration::from_millis(500), Event::Abort { node, process, term });
            return;
        }
        *self.faults.entry("aborts").or_default() += 1;
        self.crash(node, RESTART_AFTER);
    }

    /// A plugin writes from time to time while its host leads.
    pub(crate) fn work(&mut self, node: usize, process: u64) {
        if self.nodes[node].process != process {
            return;
        }
        let (pause, to_look) = (self.chance.milliseconds(100, 4000), self.chance.milliseconds(0, 30));
        let now = self.now;
        let machine = &mut self.nodes[node];
        let clocks = machine.clocks.read(now);
        let paused = machine.paused;
        let Some(ours) = machine.ours_mut() else { return };
        if !paused && let Some(term) = ours.live.as_ref().filter(|live| live.admits(clocks)).map(LiveTerm::term) {
            ours.admitted += 1;
            let write = PluginWrite { by: Open { process, term: term.get() }, admitted_at: now };
            self.schedule(to_look, Event::Look { node, write });
        }
        self.schedule(pause, Event::Work { node, process });
    }

    /// The last look at the clocks before `write(2)`; what fails it never leaves.
    pub(crate) fn look_last(&mut self, node: usize, write: PluginWrite) {
        let machine = &self.nodes[node];
        if machine.process != write.by.process || machine.ours().is_none() {
            return;
        }
        if machine.paused {
            self.schedule(Duration::from_millis(10), Event::Look { node, write });
            return;
        }
        let clocks = machine.clocks.read(self.now);
        let open = machine
            .ours()
            .and_then(|ours| ours.live.as_ref())
            .is_some_and(|live| live.term().get() == write.by.term && live.standing(clocks) != Standing::Closed);
        if !open {
            self.settle(node, write, None);
            return;
        }
        let name = machine.name.clone();
        self.judge.judge_look(self.now, &name, write.by);
        let cut = (self.nodes[node].link.out_cut, self.nodes[node].link.back_cut);
        let after = if self.chance.one_in(20) { self.chance.milliseconds(0, 20_000) } else { self.latency() };
        let lost = cut.0 && self.chance.one_in(2);
        if !lost {
            let answered = cut == (false, false) && after < Duration::from_secs(5);
            self.schedule(after, Event::Land { node, write, answered });
        }
    }

    /// A plugin's write reaches the API server, where the fence on its object compares tokens.
    pub(crate) fn land(&mut self, node: usize, write: PluginWrite, answered: bool) {
        let outcome = self.api.write_fenced(write.by.term);
        self.judge.take_plugin_write(write.by, write.admitted_at, outcome.is_ok());
        if answered {
            let after = self.latency();
            self.schedule(after, Event::Settled { node, write, refused_for: outcome.err() });
        }
    }

    pub(crate) fn settle(&mut self, node: usize, write: PluginWrite, refused_for: Option<u64>) {
        let machine = &mut self.nodes[node];
        if machine.process != write.by.process {
            return;
        }
        let Some(ours) = machine.ours_mut() else { return };
        if !ours.confirmed && ours.live.as_ref().is_some_and(|live| live.term().get() == write.by.term) {
            ours.admitted = ours.admitted.saturating_sub(1);
        }
        if let Some(term) = refused_for.and_then(Term::new) {
            self.hand(node, Input::Token(Token::RefusedFor(term)));
        }
    }

    /// The watch of a machine does otherwise from now on.
    pub fn set_watching(&mut self, node: usize, watching: Watching) {
        self.nodes[node].link.watching = watching;
        match watching {
            Watching::Works => self.send_current(node),
            Watching::Forbidden => self.forbid_watch(node),
            Watching::Silent => {}
        }
    }

    /// What it asks for, as a line.
    fn note_ask(&mut self, node: usize, ask: &Ask) {
        if let Ask::Write { record, .. } = ask
            && record.holder.is_empty()
        {
            self.note(node, || "lets go (client-go)".to_owned());
        }
    }
}
