//! A program that works only while it leads: start two in a cluster, and end the one that counts.
//!
//! ```console
//! $ cargo run -p tenure-lease --example leader -- candidate-1
//! ```
#![expect(clippy::print_stderr, reason = "a program that tells people what it does")]

use std::sync::Arc;

use tenure_election::{Clock, Drain, Identity, LiveTerm, Settings};
use tenure_lease::{ElectionConfig, Lock, start};

/// Follows an election until `stop` and all that `work` began is over. `work` is given the term it may act in.
pub(crate) async fn follow<W: Future<Output = ()> + Send + 'static>(
    config: ElectionConfig,
    stop: impl Future<Output = ()>,
    work: impl Fn(Arc<LiveTerm>) -> W,
    on_new_leader: impl Fn(&str),
) -> Result<(), Box<dyn std::error::Error>> {
    let mut election = start(config)?;
    let (mut leadership, mut stop) = (election.watch(), std::pin::pin!(stop));
    let (mut working, mut leader, mut stopping) = (None, String::new(), false);
    loop {
        let now = leadership.borrow_and_update().clone();
        let holder = now.observed.map(|observed| observed.seen.record.holder).unwrap_or_default();
        if holder != leader {
            on_new_leader(&holder);
            leader = holder;
        }
        if let Some(term) = now.unconfirmed {
            // On stopped: nothing of the term may be left when this is said; only then the lock is let go.
            if let Some(work) = working.take() {
                tokio::task::JoinHandle::abort(&work);
                let _ = work.await;
            }
            election.drained(term, false);
        } else if let (Some(live), None) = (now.live, &working) {
            working = Some(tokio::spawn(work(live))); // on started
        }
        tokio::select! {
            ended = election.ended() => return Ok(ended?),
            () = &mut stop, if !stopping => {
                stopping = true;
                election.begin_drain(Drain::Shutdown);
            }
            changed = leadership.changed() => if changed.is_err() { return Ok(election.ended().await?) },
        }
    }
}

/// A write gate: begins no request without authority, and drops the one that would outlive it.
pub(crate) async fn gated<T>(live: &LiveTerm, clock: &dyn Clock, request: impl Future<Output = T>) -> Option<T> {
    let now = clock.now();
    let left = live.hard_until().boot.saturating_sub(now.boot);
    if live.admits(now) { tokio::time::timeout(left, request).await.ok() } else { None }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| String::from("candidate"));
    let lock = Lock::lease("default", "example.tenure.dev");
    let identity = Identity::new(format!("{name}_{:08x}", rand::random::<u32>()))?;
    let config = ElectionConfig::new(kube::Config::infer().await?, lock, Settings::default(), identity);
    let clock = Arc::clone(&config.clock);
    let work = move |live: Arc<LiveTerm>| {
        let clock = Arc::clone(&clock);
        async move {
            while gated(&live, &*clock, async { eprintln!("working in term {}", live.term()) }).await.is_some() {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    };
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    follow(config, stop, work, |leader| eprintln!("leader: {leader:?}")).await
}
