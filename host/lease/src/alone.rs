//! Leading without a lock: for a single replica, and for development. One term from start to shutdown; the drain is that of
//! an election, so that whoever drives plugins need not know the difference.

use std::sync::Arc;
use std::time::Duration;

use tenure_election::{Authority, Clock, Drain, Identity, Instant, LiveTerm, Phase, Term};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout_at;

use crate::driver::Command;
use crate::{Election, Leadership, RenewalHealth};

/// What leading alone needs.
#[derive(Clone)]
pub struct AloneConfig {
    /// What to be called in status and logs.
    pub identity: Identity,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// How long guests have after a shutdown begins.
    pub shutdown_grace: Duration,
    /// How long admitted writes may take to be answered after that.
    pub write_timeout: Duration,
    /// Called when the term ends, before it is told.
    pub sever: Arc<dyn Fn(Term) + Send + Sync>,
}

/// Leads at once, without a lock, until a shutdown's drain. Nothing keeps a second process from doing the same. Must be
/// called in a tokio runtime.
#[must_use]
pub fn alone(config: AloneConfig) -> Election {
    let health = Arc::new(RenewalHealth::new(Arc::clone(&config.clock), Duration::MAX));
    let before = Leadership::before_anything(&config.identity, health);
    let (publisher, leadership) = watch::channel(before);
    let (commands, commanded) = mpsc::unbounded_channel();
    let (end, ending) = oneshot::channel();
    tokio::spawn(async move {
        lead(&config, &publisher, commanded).await;
        // Nobody listening means nobody wants to know.
        let _ = end.send(Ok(()));
    });
    Election::new(commands, leadership, ending)
}

async fn lead(
    config: &AloneConfig,
    publisher: &watch::Sender<Leadership>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let now = config.clock.now();
    let term = u64::try_from(now.wall.as_millis()).ok().and_then(Term::new).unwrap_or(Term::MAX);
    let never = Instant { boot: Instant::NEVER, wall: Instant::NEVER };
    let live = Arc::new(LiveTerm::new(&Authority { term, soft_until: never, hard_until: never }));
    publisher.send_modify(|leadership| {
        leadership.phase = Phase::Leading;
        leadership.live = Some(Arc::clone(&live));
    });
    tracing::info!(%term, "leading without a lock: nothing keeps a second process from doing the same");
    while let Some(command) = commands.recv().await {
        if matches!(command, Command::BeginDrain(Drain::Shutdown)) {
            break;
        }
    }
    live.cancel();
    publisher.send_modify(|leadership| {
        leadership.phase = Phase::Draining;
        leadership.unconfirmed = Some(term);
    });
    let kill_at = tokio::time::Instant::now() + config.shutdown_grace;
    let mut confirmed = timeout_at(kill_at, drained(&mut commands)).await.is_ok();
    if !confirmed {
        live.shut_admission();
        publisher.send_modify(|leadership| leadership.kill = true);
        // Late or not, the end comes.
        confirmed = timeout_at(kill_at + config.write_timeout, drained(&mut commands)).await.is_ok();
    }
    live.close();
    (config.sever)(term);
    publisher.send_modify(|leadership| {
        leadership.phase = Phase::Finished;
        leadership.live = None;
        leadership.kill = true;
        if confirmed {
            leadership.unconfirmed = None;
        }
    });
}

async fn drained(commands: &mut mpsc::UnboundedReceiver<Command>) {
    while let Some(command) = commands.recv().await {
        if matches!(command, Command::Drained { .. }) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tenure_election::Standing;

    use super::*;
    use crate::BootClock;

    fn config(severed: &Arc<AtomicBool>) -> AloneConfig {
        let severed = Arc::clone(severed);
        AloneConfig {
            identity: Identity::new("me").unwrap(),
            clock: Arc::new(BootClock),
            shutdown_grace: Duration::from_secs(10),
            write_timeout: Duration::from_secs(5),
            sever: Arc::new(move |_| severed.store(true, Ordering::SeqCst)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn leads_at_once_and_ends_when_drained() {
        let severed = Arc::new(AtomicBool::new(false));
        let mut election = alone(config(&severed));
        let mut leadership = election.watch();
        let live = leadership.wait_for(|now| now.live.is_some()).await.unwrap().live.clone().unwrap();
        assert_eq!(live.standing(BootClock.now()), Standing::Firm);
        election.begin_drain(Drain::Shutdown);
        leadership.wait_for(|now| now.phase == Phase::Draining).await.unwrap();
        assert_eq!(live.standing(BootClock.now()), Standing::Soft);
        assert!(!severed.load(Ordering::SeqCst));
        assert_eq!(leadership.borrow().unconfirmed, Some(live.term()));
        election.drained(live.term(), false);
        election.ended().await.unwrap();
        assert_eq!(leadership.borrow().unconfirmed, None);
        assert!(live.is_closed() && severed.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn kills_guests_that_do_not_end_in_their_grace() {
        let severed = Arc::new(AtomicBool::new(false));
        let mut election = alone(config(&severed));
        let mut leadership = election.watch();
        leadership.wait_for(|now| now.live.is_some()).await.unwrap();
        election.begin_drain(Drain::Shutdown);
        leadership.wait_for(|now| now.kill).await.unwrap();
        election.ended().await.unwrap();
    }
}
