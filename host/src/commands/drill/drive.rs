//! The drill itself: steady state, action, measurement, replacement, again. Joins the pure parts with the watch, the clock and
//! the candidates; decides nothing that they decide.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::candidates::Candidates;
use super::chronicle::{Chronicle, Sight, SightKind, Tenancy};
use super::narrate;
use super::report::Report;
use super::trial::{Stage, Trial};
use super::watch::{Delivery, LeaseWatch};
use crate::cli::{DrillMode, LeaseName};
use crate::commands::agree;

/// How long a takeover may take beyond three lease durations: a Pod's grace, a busy machine.
const TAKEOVER_SLACK: Duration = Duration::from_secs(60);
/// How long candidates may take to bring up a holder beyond two lease durations.
const HOLDER_SLACK: Duration = Duration::from_secs(10);
/// As long for candidates that are started for the drill, which may have to create the Lease.
const START_SLACK: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) lease: LeaseName,
    pub(super) mode: DrillMode,
    pub(super) trials: u32,
    pub(super) retry_period: Duration,
    /// Do not ask.
    pub(super) yes: bool,
    /// The candidates are started by the drill: without them there may be no Lease yet.
    pub(super) starts_candidates: bool,
}

/// A drill under way.
pub(super) struct Drill<'a> {
    order: Order,
    watch: LeaseWatch,
    candidates: &'a mut dyn Candidates,
    chronicle: Chronicle,
    /// Zero on the clock of the pure parts.
    began: Instant,
    /// The trial that is on or was last, and when its action was.
    action: Option<(u32, Duration)>,
    is_agreed: bool,
}

impl<'a> Drill<'a> {
    pub(super) fn new(order: Order, watch: LeaseWatch, candidates: &'a mut dyn Candidates) -> Self {
        let chronicle = Chronicle::default();
        Self { is_agreed: order.yes, order, watch, candidates, chronicle, began: Instant::now(), action: None }
    }

    /// Runs all trials, adding each to `report` as it ends.
    pub(super) async fn run(&mut self, report: &mut Report) -> anyhow::Result<()> {
        self.candidates.start().await?;
        for number in 1..=self.order.trials {
            let Tenancy { holder, duration, .. } = self.prepare(report).await?;
            narrate(format_args!(
                "trial {number} of {}: {holder} holds the lease, {} s",
                self.order.trials,
                duration.as_secs()
            ));
            let mut trial = self.act(number).await?;
            let measured = self.measure(&mut trial, report).await;
            if let Err(error) = measured {
                trial.fail(format!("{error:#}"));
                self.conclude(&trial, report, 0);
                return Err(error);
            }
            let is_last = number == self.order.trials;
            let notes = self.candidates.replace(is_last).await?;
            tell(report, notes.into_iter().map(|note| format!("after trial {number}: {note}")));
        }
        Ok(())
    }

    /// Waits for a steady state in which the holder is known, agreed on and at hand, and for a moment between two renewals
    /// that is as likely as any other: a failure does not wait for a renewal.
    async fn prepare(&mut self, report: &mut Report) -> anyhow::Result<Tenancy> {
        loop {
            let holder = self.steady(report).await?.holder;
            self.candidates.find(&holder).await?;
            if !self.is_agreed
                && let Some(plan) = self.candidates.plan()
            {
                agree(&plan).await?;
                self.is_agreed = true;
            }
            self.candidates.arm().await?;
            self.take_in_what_waits(report)?;
            let Some(tenancy) = self.chronicle.tenancy().filter(|tenancy| tenancy.holder == holder).cloned() else {
                continue;
            };
            let interval = tenancy.renewal_interval().unwrap_or_default().min(tenancy.duration);
            let wait_until = self.now() + interval.mul_f64(rand::random_range(0.0..1.0));
            while let Some(delivery) = self.next_until(wait_until).await {
                self.take_in(delivery, report)?;
            }
            let is_unchanged = |present: &&Tenancy| present.holder == holder && self.now() < present.expires_at();
            if let Some(present) = self.chronicle.tenancy().filter(is_unchanged) {
                return Ok(present.clone());
            }
        }
    }

    /// Waits until somebody holds the Lease and has renewed it, with all candidates up.
    async fn steady(&mut self, report: &mut Report) -> anyhow::Result<Tenancy> {
        let mut mark = self.now();
        loop {
            let is_steady = |tenancy: &&Tenancy| {
                let is_renewing = tenancy.renewals_since(mark) > 0 && tenancy.renewal_interval().is_some();
                is_renewing && tenancy.duration > Duration::ZERO
            };
            if let Some(tenancy) = self.chronicle.tenancy().filter(is_steady) {
                return Ok(tenancy.clone());
            }
            let duration = self.chronicle.last().map(|last| last.duration).unwrap_or_default();
            let slack = if self.order.starts_candidates { START_SLACK } else { HOLDER_SLACK };
            let limit = mark + 2 * duration + slack;
            tokio::select! {
                delivery = self.watch.next() => self.take_in(delivery, report)?,
                minded = self.candidates.mind() => {
                    tell(report, [minded?]);
                    mark = self.began.elapsed();
                }
                () = sleep_until(self.began + limit) => bail!(self.why_unsteady(limit - mark)),
            }
            if self.chronicle.last().is_none() && !self.order.starts_candidates {
                let lease = &self.order.lease;
                bail!(
                    "there is no lease {lease}; `kubectl get leases -A` lists them, --lease namespace/name chooses one"
                );
            }
        }
    }

    fn why_unsteady(&self, waited: Duration) -> String {
        let (lease, waited_s, hint) = (&self.order.lease, waited.as_secs(), self.candidates.hint());
        match (self.chronicle.last(), self.chronicle.tenancy()) {
            (None, _) => format!("no lease {lease} came up within {waited_s} s: {hint}"),
            (Some(_), None) => format!("nobody holds lease {lease}, and nobody took it within {waited_s} s: {hint}"),
            (Some(last), Some(_)) if last.duration.is_zero() => {
                format!("lease {lease} has no leaseDurationSeconds: that is no leader election's")
            }
            (Some(last), Some(tenancy)) => format!(
                "{:?} holds lease {lease}, but did not renew it within {waited_s} s (leaseDurationSeconds {}): {hint}",
                tenancy.holder,
                last.duration.as_secs()
            ),
        }
    }

    async fn act(&mut self, number: u32) -> anyhow::Result<Trial> {
        let holder = self.chronicle.tenancy().cloned().context("nobody holds the lease any more")?;
        match self.order.mode {
            DrillMode::Crash => self.chronicle.kill(&holder.holder),
            DrillMode::Handover | DrillMode::Pause => self.chronicle.tell(&holder.holder),
        }
        let at = self.candidates.act().await?.duration_since(self.began);
        self.action = Some((number, at));
        let give_up_at = at + 3 * holder.duration + TAKEOVER_SLACK;
        Ok(Trial::begin(number, self.order.mode, holder, self.order.retry_period, at, give_up_at))
    }

    /// Feeds the trial until it is over, and adds it to the report.
    async fn measure(&mut self, trial: &mut Trial, report: &mut Report) -> anyhow::Result<()> {
        let mut sights_before_resume = 0;
        loop {
            match trial.stage() {
                Stage::Over => break,
                Stage::ToResume => {
                    narrate(format_args!("resuming {}", trial.holder()));
                    self.gather_sights(report);
                    sights_before_resume = report.sights.len();
                    self.candidates.resume().await?;
                    trial.resume(self.now());
                }
                Stage::Watching => match self.next_until(trial.deadline()).await {
                    Some(delivery) => {
                        let (at, news) = delivery?;
                        let at = at.saturating_duration_since(self.began);
                        let step = self.chronicle.observe(at, news);
                        trial.observe(at, &step, &self.chronicle);
                    }
                    None => trial.handle_timeout(self.now()),
                },
            }
        }
        self.conclude(trial, report, sights_before_resume);
        Ok(())
    }

    fn conclude(&mut self, trial: &Trial, report: &mut Report, sights_before_resume: usize) {
        self.gather_sights(report);
        let after = report.sights.get(sights_before_resume..).unwrap_or_default();
        let saw = |kind| after.iter().any(|it| it.kind == kind && it.by.as_deref() == Some(trial.holder()));
        let interfered = (saw(SightKind::InterleavedRenewals), saw(SightKind::ReleaseOverSuccessor));
        let outcome = trial.outcome(self.now(), &self.chronicle, interfered);
        match (&outcome.successor, outcome.takeover_ms, &outcome.failure) {
            (Some(successor), Some(ms), None) => narrate(format_args!("{successor} took over after {ms:.1} ms")),
            (.., failure) => narrate(format_args!("not measured: {}", failure.as_deref().unwrap_or("no takeover"))),
        }
        report.add(outcome);
    }

    /// What should not be goes into the report, and on the screen at once.
    fn gather_sights(&mut self, report: &mut Report) {
        let sights = self.chronicle.take_sights();
        for Sight { message, .. } in &sights {
            narrate(format_args!("should not be: {message}"));
        }
        report.add_sights(sights, self.action);
    }

    fn take_in(&mut self, delivery: Delivery, report: &mut Report) -> anyhow::Result<()> {
        let (at, news) = delivery?;
        self.chronicle.observe(at.saturating_duration_since(self.began), news);
        self.gather_sights(report);
        Ok(())
    }

    fn take_in_what_waits(&mut self, report: &mut Report) -> anyhow::Result<()> {
        while let Some(delivery) = self.watch.waiting() {
            self.take_in(delivery, report)?;
        }
        Ok(())
    }

    /// The next delivery; `None` when it has not come by `until`.
    async fn next_until(&mut self, until: Duration) -> Option<Delivery> {
        tokio::select! {
            biased;
            delivery = self.watch.next() => Some(delivery),
            () = sleep_until(self.began + until) => None,
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

fn tell(report: &mut Report, notes: impl IntoIterator<Item = String>) {
    for note in notes {
        narrate(format_args!("{note}"));
        report.notes.push(note);
    }
}
