//! One API, one lock, and as many candidates as a test wants.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::Value;
use tenure_election::{Drain, FirstCreate, Identity, LiveTerm, Phase, Settings, Timing};
use tenure_lease::{Election, ElectionConfig, Leadership, Lock, start};
use tenure_local_cluster::{Intercept, LocalCluster, RequestInfo};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// Waits in tests end here; nothing that works comes near it.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const NAMESPACE: &str = "default";
pub(crate) const LOCK: &str = "tenure";

/// The shortest lease there is: where something must run out.
pub(crate) fn short() -> Timing {
    timing(3, 2, 1)
}

/// A renewal every second, and deadlines that a busy machine does not miss: where renewals must be seen.
pub(crate) fn brisk() -> Timing {
    timing(15, 10, 1)
}

/// Deadlines no test reaches: what happens within [`LIMIT`] did not wait for one, nor for a renewal.
pub(crate) fn long() -> Timing {
    timing(600, 400, 100)
}

fn timing(lease: u64, renew: u64, retry: u64) -> Timing {
    Timing::new(Duration::from_secs(lease), Duration::from_secs(renew), Duration::from_secs(retry), None)
        .expect("timing that works")
}

pub(crate) fn settings(timing: Timing) -> Settings {
    Settings {
        timing,
        shutdown_grace: Duration::from_secs(300),
        first_create: FirstCreate::Immediate,
        ..Settings::default()
    }
}

/// The API, served on loopback until the world is dropped.
pub(crate) struct World {
    pub(crate) cluster: LocalCluster,
    pub(crate) address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        Self::on(listener)
    }

    pub(crate) fn on(listener: TcpListener) -> Self {
        let cluster = LocalCluster::new();
        let address = listener.local_addr().expect("the listener's address");
        let (stop, stopped) = oneshot::channel::<()>();
        let served = cluster.clone();
        tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            served.serve(listener, shutdown).await
        });
        Self { cluster, address, _stop: stop }
    }

    pub(crate) fn config(&self, identity: &str, timing: Timing) -> ElectionConfig {
        config(self.address, identity, timing)
    }

    /// A candidate with generous settings.
    pub(crate) fn candidate(&self, identity: &str, timing: Timing) -> Candidate {
        Candidate::start(self.config(identity, timing))
    }

    fn client(&self) -> kube::Client {
        kube::Client::try_from(kube_config(self.address)).expect("a client")
    }

    pub(crate) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client(), NAMESPACE)
    }

    pub(crate) async fn lease(&self) -> Lease {
        self.leases().get(LOCK).await.expect("the lease")
    }

    /// A person's hand on the lease.
    pub(crate) async fn patch_lease(&self, patch: Value) {
        self.leases().patch(LOCK, &PatchParams::default(), &Patch::Merge(patch)).await.expect("the lease is patched");
    }

    pub(crate) async fn delete_lease(&self) {
        self.leases().delete(LOCK, &DeleteParams::default()).await.expect("the lease is deleted");
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        Api::namespaced(self.client(), NAMESPACE).list(&ListParams::default()).await.expect("the events").items
    }

    pub(crate) fn intercept(&self, decide: impl Fn(&RequestInfo) -> Intercept + Send + Sync + 'static) {
        self.cluster.intercept(Arc::new(decide));
    }

    pub(crate) fn stop_intercepting(&self) {
        self.intercept(|_| Intercept::Pass);
    }

    /// Does `fault` to the first `times` requests of `verb` on leases; how often it was done.
    pub(crate) fn fault(&self, verb: &'static str, times: usize, fault: Intercept) -> Arc<AtomicUsize> {
        let done = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&done);
        self.intercept(move |request| {
            if request.resource == "leases" && request.verb == verb && counted.load(Ordering::SeqCst) < times {
                counted.fetch_add(1, Ordering::SeqCst);
                return fault.clone();
            }
            Intercept::Pass
        });
        done
    }
}

pub(crate) fn kube_config(address: SocketAddr) -> kube::Config {
    kube::Config::new(format!("http://{address}").parse().expect("a URL"))
}

pub(crate) fn config(address: SocketAddr, identity: &str, timing: Timing) -> ElectionConfig {
    let lock = Lock::lease(NAMESPACE, LOCK);
    let identity = Identity::new(identity).expect("a name");
    let mut config = ElectionConfig::new(kube_config(address), lock, settings(timing), identity);
    config.abort = Arc::new(|| panic!("the abort was called in a test that does not expect it"));
    config
}

/// One candidate, and the last that was heard of it.
pub(crate) struct Candidate {
    pub(crate) election: Election,
    pub(crate) leadership: watch::Receiver<Leadership>,
}

impl Candidate {
    pub(crate) fn start(config: ElectionConfig) -> Self {
        let election = start(config).expect("the election starts");
        let leadership = election.watch();
        Self { election, leadership }
    }

    /// Waits until this candidate's leadership is as `wanted`.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl FnMut(&Leadership) -> bool) -> Leadership {
        let last = self.leadership.clone();
        match tokio::time::timeout(LIMIT, self.leadership.wait_for(wanted)).await {
            Ok(Ok(leadership)) => leadership.clone(),
            Ok(Err(_)) => panic!("the election ended before {what}: {:?}", last.borrow()),
            Err(_) => panic!("not {what} within {LIMIT:?}: {:?}", last.borrow()),
        }
    }

    pub(crate) async fn until_leading(&mut self) -> Arc<LiveTerm> {
        let leading = self.until("leading", |leadership| leadership.live.is_some()).await;
        leading.live.expect("just seen")
    }

    /// Waits until this candidate has seen who holds the lock.
    pub(crate) async fn until_holder_is(&mut self, holder: &str) {
        let seen = |leadership: &Leadership| {
            leadership.observed.as_ref().is_some_and(|observed| observed.seen.record.holder == holder)
        };
        self.until(&format!("aware that {holder:?} holds the lock"), seen).await;
    }

    /// SIGTERM with guests that stop as soon as they are told.
    pub(crate) async fn shut_down(&mut self, term: &LiveTerm) {
        self.election.begin_drain(Drain::Shutdown);
        self.until("draining", |leadership| leadership.phase == Phase::Draining).await;
        self.election.drained(term.term(), false);
        assert_eq!(within("the end of the election", self.election.ended()).await, Ok(()));
    }
}

/// The future's value, or a panic that says what did not come.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what} did not come within {LIMIT:?}"))
}

/// Asks again until the answer is `wanted`.
pub(crate) async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F, wanted: impl Fn(&T) -> bool) -> T
where
    T: Debug,
    F: Future<Output = T>,
{
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "not {what} within {LIMIT:?}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn holder(lease: &Lease) -> String {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
}

pub(crate) fn annotation(lease: &Lease, key: &str) -> Option<String> {
    lease.metadata.annotations.as_ref().and_then(|annotations| annotations.get(key).cloned())
}
