//! `tenure run`: builds the rooms, joins them, owns every task, and orders the shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use kube::runtime::events::{Recorder, Reporter as EventSource};
use tenure_capability::Protected;
use tenure_cluster::Cluster;
use tenure_console::{LockMetrics, Metrics};
use tenure_election::{Annotations, Drain};
use tenure_lease::{
    AloneConfig, Candidacy, CandidacyConfig, Election, ElectionConfig, Leadership, Lock, LockKind, OnLoss, PodRef,
};
use tenure_sandbox::{Sandbox, SandboxSettings};
use tenure_settings::{LockObject, Settings};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::catalog::{Catalog, Grants, Loader, Reporter, Wanted};
use crate::cli::ClusterArgs;
use crate::commands;
use crate::policy::PolicyAsker;
use crate::reload::{Announcer, Follower, SettingsFile};
use crate::signals::EndSignals;
use crate::supervise::{House, Supervisor, Writers};
use crate::view::ReplicaView;

/// Where the holder's console listens: `http://host:port`, or `pod:<namespace>/<pod>:<port>` for a Pod that the API server's
/// proxy reaches.
pub(crate) const CONSOLE_ANNOTATION: &str = "tenure.dev/console";

/// How long the log's thread has for the line that says why this process aborts.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(50);

/// How long the console may take to end.
const WIND_UP_LIMIT: Duration = Duration::from_secs(2);

/// How to reach the cluster: the kubeconfig given, else as every Kubernetes client looks for it.
pub(crate) async fn kube_config(args: &ClusterArgs) -> anyhow::Result<kube::Config> {
    let options = kube::config::KubeConfigOptions { context: args.context.clone(), ..Default::default() };
    match &args.kubeconfig {
        Some(path) => {
            let kubeconfig = kube::config::Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .with_context(|| format!("cannot use the kubeconfig {}", path.display()))
        }
        None if args.context.is_some() => kube::Config::from_kubeconfig(&options)
            .await
            .context("cannot use the kubeconfig (KUBECONFIG, or ~/.kube/config)"),
        None => kube::Config::infer()
            .await
            .context("found no cluster: no kubeconfig (--kubeconfig, KUBECONFIG, ~/.kube/config), and this is no Pod"),
    }
}

/// Where this replica is.
struct Place {
    lock: Lock,
    /// What has to be held with it.
    also: Vec<Lock>,
    /// The namespace this process' Pod is in, if it is in one.
    own_namespace: Option<String>,
    console: SocketAddr,
    hostname: String,
}

impl Place {
    fn new(settings: &Settings, kube: &kube::Config, console: SocketAddr) -> anyhow::Result<Self> {
        let given = std::env::var("POD_NAMESPACE").ok().filter(|namespace| !namespace.is_empty());
        let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let own_namespace = given.or_else(|| in_cluster.then(|| kube.default_namespace.clone()));
        let (lock, also) = locks(settings, &settings.election.namespace_or(Some(&kube.default_namespace)));
        let place = Self {
            lock,
            also,
            own_namespace,
            console,
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        for namespace in place.host_namespaces() {
            settings.check_host_namespace(&namespace)?;
        }
        Ok(place)
    }

    fn locks(&self) -> impl Iterator<Item = &Lock> {
        std::iter::once(&self.lock).chain(&self.also)
    }

    /// What no plugin may reach into: where the host lives, and where its lock does.
    fn host_namespaces(&self) -> Vec<String> {
        let mut namespaces = vec![self.lock.namespace.clone()];
        namespaces.extend(self.own_namespace.clone());
        namespaces.dedup();
        namespaces
    }

    /// How others reach this replica's console, as [`CONSOLE_ANNOTATION`] says it.
    fn reachable_console(&self, settings: &Settings) -> String {
        let port = self.console.port();
        match (&settings.election.pod_name, &self.own_namespace) {
            _ if !self.console.ip().is_unspecified() => format!("http://{}", self.console),
            (Some(pod), Some(namespace)) => format!("pod:{namespace}/{pod}:{port}"),
            _ => format!("http://{}:{port}", self.hostname),
        }
    }
}

/// What the settings call a kind of lock, as the election does.
pub(crate) const fn lock_kind(object: LockObject) -> LockKind {
    match object {
        LockObject::Lease => LockKind::Lease,
        LockObject::ConfigMap => LockKind::ConfigMap,
        LockObject::Endpoints => LockKind::Endpoints,
    }
}

/// The lock that people are shown, and what has to be held with it.
fn locks(settings: &Settings, namespace: &str) -> (Lock, Vec<Lock>) {
    let election = &settings.election;
    let lock = |object: LockObject, name: &str| Lock {
        kind: lock_kind(object),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let kinds = election.resource_lock;
    let beside = kinds.beside().map(|object| lock(object, &election.id));
    let others = election.also_hold.iter().map(|name| lock(kinds.shown(), name));
    (lock(kinds.shown(), &election.id), beside.into_iter().chain(others).collect())
}

/// Runs the host until it is asked to end, or until something ends that must not.
///
/// `file` is where `settings` come from, and `text` is what it said.
pub(crate) async fn run(
    settings: Settings,
    (file, text): (SettingsFile, String),
    cluster: &ClusterArgs,
) -> anyhow::Result<()> {
    let started = tenure_lease::process_clock().now().wall;
    // First: whoever is asked to end while it starts may hold the lock by then.
    let mut signals = EndSignals::listen();
    let kube = kube_config(cluster).await?;
    let listen = settings.console.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen} for the console; console.listen in the configuration says where")
    })?;
    let place = Place::new(&settings, &kube, listener.local_addr()?)?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let house = build_house(&settings, &kube, &place, &metrics)?;
    // Last, so that a replica that cannot be built does not hold the lock while it finds out.
    let mut election = start_election(&settings, &kube, &place, &house, started)?;
    tracing::info!(console = %format!("http://{}", place.console), "console listens");
    let ending = CancellationToken::new();
    let (grants, granted) = watch::channel(Grants::from(settings.grants.clone()));
    let (note, settings_note) = watch::channel(None);
    let announcer = Announcer {
        note,
        metrics: Arc::clone(&metrics),
        leadership: election.watch(),
        client: kube::Client::try_from(kube.clone())?,
        lock: place.lock.clone(),
        told: None,
    };
    let told = Told { granted, settings_note };
    let mut tasks = start_tasks(&settings, kube, &place, &house, &election, (listener, metrics, told), &ending)?;
    let host_namespaces = place.host_namespaces();
    let follower = Follower { file, settings, text, host_namespaces, grants, announcer };
    tasks.spawn(async move { follower.run().await.map(|()| "the follower of the settings") });

    let ended = tokio::select! {
        () = signals.next() => {
            tracing::info!("asked to end: draining");
            election.begin_drain(Drain::Shutdown);
            tokio::select! {
                ended = election.ended() => ended.map_err(anyhow::Error::from),
                failed = first_failure(&mut tasks) => Err(failed),
                () = signals.next() => Err(anyhow::anyhow!("asked a second time: ended without draining")),
            }
        }
        ended = election.ended() => match ended {
            Ok(()) => Err(anyhow::anyhow!("the election ended though nobody asked for it")),
            Err(failure) => Err(failure.into()),
        },
        failed = first_failure(&mut tasks) => Err(failed),
    };
    ending.cancel();
    let wind_up = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(WIND_UP_LIMIT, wind_up).await.is_err() {
        tracing::debug!("some tasks did not end by themselves");
    }
    ended
}

/// The rooms that live as long as the process.
fn build_house(
    settings: &Settings,
    kube: &kube::Config,
    place: &Place,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Arc<House>> {
    let clock = tenure_lease::process_clock();
    let lock_metrics = metrics.lock(&place.lock.name);
    let sandbox = Sandbox::new(SandboxSettings {
        code_cache: settings.plugins.code_cache.clone(),
        compiler: Some(commands::compile::compiler(&settings.limits)),
        instances_max: settings.limits.instances_max,
        memory_bytes_max: settings.limits.memory_bytes_max,
        guests_cpu_millis_max: settings.limits.guests_cpu_millis_max,
        ..SandboxSettings::default()
    })?;
    Ok(Arc::new(House {
        cluster: Cluster::new(kube.clone(), Arc::clone(&clock))?,
        sandbox: Arc::new(sandbox),
        clock,
        board: Arc::new(Board::new(Arc::clone(metrics))),
        writers: Arc::new(Writers::new(lock_metrics.clone())),
        lock_metrics,
        write_timeout: settings.election.write_timeout,
        shutdown_grace: settings.election.shutdown_grace,
        margin: settings.election.timing.margin(),
        own_writes_wait_max: settings.cache.read_your_writes_wait_max,
    }))
}

/// What the follower of the settings' file says.
struct Told {
    granted: watch::Receiver<Grants>,
    settings_note: watch::Receiver<Option<String>>,
}

/// Everything that runs beside the election.
fn start_tasks(
    settings: &Settings,
    kube: kube::Config,
    place: &Place,
    house: &Arc<House>,
    election: &Election,
    (listener, metrics, told): (TcpListener, Arc<Metrics>, Told),
    ending: &CancellationToken,
) -> anyhow::Result<JoinSet<anyhow::Result<&'static str>>> {
    let mut tasks: JoinSet<anyhow::Result<&'static str>> = JoinSet::new();
    let leadership = election.watch();
    let sources_synced = Arc::new(AtomicBool::new(false));
    let pod = settings.election.pod_name.as_ref().zip(place.own_namespace.as_ref());
    let view = Arc::new(ReplicaView {
        lock: place.lock.clone(),
        elects: settings.election.enabled,
        pod: pod.map(|(pod, namespace)| format!("{namespace}/{pod}")),
        started: jiff::Timestamp::now(),
        leadership: leadership.clone(),
        board: Arc::clone(&house.board),
        sources_synced: Arc::clone(&sources_synced),
        lock_metrics: house.lock_metrics.clone(),
        writers: Arc::clone(&house.writers),
        settings: told.settings_note,
    });
    let ending = ending.clone();
    tasks.spawn(async move {
        tenure_console::serve(listener, view, metrics, ending.cancelled_owned()).await?;
        Ok("the console")
    });
    let source = EventSource { controller: "tenure".into(), instance: settings.election.pod_name.clone() };
    let recorder = Recorder::new(kube::Client::try_from(kube.clone())?, source);
    let (reporter, reporter_task) = Reporter::new(leadership.clone(), recorder);
    tasks.spawn(async move { reporter_task.run().await.map(|()| "the reporter") });
    let loader = Loader {
        sandbox: Arc::clone(&house.sandbox),
        cluster: Arc::clone(&house.cluster),
        grants: told.granted,
        limits: settings.limits.clone(),
        pod: settings.election.pod_name.clone(),
        protected: Protected {
            host_namespaces: place.host_namespaces(),
            locks: place.locks().map(|lock| (lock.namespace.clone(), lock.name.clone())).collect(),
            plugin_namespaces: settings.plugins.namespaces.clone(),
        },
        warm: settings.cache.warm,
    };
    let synced = Arc::clone(&sources_synced);
    let (catalog, wanted) = Catalog::new(settings, loader, Arc::clone(&house.board), reporter, sources_synced);
    tasks.spawn(async move { catalog.run().await.map(|()| "the catalog") });
    tasks.spawn(count_renewals(leadership.clone(), house.lock_metrics.clone()));
    if let (true, Some(policy)) = (settings.election.enabled, settings.election.policy.clone()) {
        start_policy(policy, settings, kube, place, house, election, (wanted.clone(), synced), &mut tasks);
    }
    let supervisor = Supervisor { house: Arc::clone(house), election: election.handle(), leadership, wanted };
    let everywhere = supervisor.clone();
    tasks.spawn(async move { everywhere.run_everywhere().await.map(|()| "the supervisor of what runs everywhere") });
    tasks.spawn(async move { supervisor.run().await.map(|()| "the supervisor") });
    Ok(tasks)
}

/// The lock policy, and the candidate Leases by which replicas know of each other.
#[expect(clippy::too_many_arguments, reason = "wiring")]
fn start_policy(
    identity: String,
    settings: &Settings,
    kube: kube::Config,
    place: &Place,
    house: &Arc<House>,
    election: &Election,
    (wanted, synced): (watch::Receiver<Wanted>, Arc<AtomicBool>),
    tasks: &mut JoinSet<anyhow::Result<&'static str>>,
) {
    let (timing, leadership) = (settings.election.timing, election.watch());
    let (own, own_seen) = watch::channel(Candidacy {
        lock: place.lock.to_string(),
        name: settings.election.pod_name.clone().unwrap_or_else(|| place.hostname.clone()),
        zone: settings.election.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        load: 0,
        verdict: "campaign".to_owned(),
    });
    let (peers, peers_seen) = watch::channel(Vec::new());
    let in_locks_namespace = place.own_namespace.as_ref() == Some(&place.lock.namespace);
    let pod = settings.election.pod_name.clone().zip(settings.election.pod_uid.clone()).filter(|_| in_locks_namespace);
    let config = CandidacyConfig {
        kube,
        lock: place.lock.clone(),
        owner: pod.map(|(name, uid)| PodRef { name, uid }),
        clock: Arc::clone(&house.clock),
    };
    let handle = election.handle();
    tasks.spawn(async move {
        tenure_lease::follow_candidates(config, handle, own_seen, peers).await?;
        Ok("the candidate Leases")
    });
    let asker = PolicyAsker {
        identity,
        lock: place.lock.to_string(),
        labels: settings.election.labels.clone(),
        wait_max: timing.policy_wait_max(),
        ask_every: timing.retry(),
        house: Arc::clone(house),
        election: election.handle(),
        leadership,
        wanted,
        synced,
        own,
        peers: peers_seen,
    };
    tasks.spawn(async move { asker.run().await.map(|()| "the lock policy") });
}

/// Each renewal's lateness, as the election publishes it.
async fn count_renewals(
    mut leadership: watch::Receiver<Leadership>,
    metrics: LockMetrics,
) -> anyhow::Result<&'static str> {
    let mut last = Duration::ZERO;
    while leadership.changed().await.is_ok() {
        let (leads, late) = {
            let now = leadership.borrow_and_update();
            (now.is_leader(), now.last_renewal_lateness)
        };
        if leads && late != last {
            metrics.observe_renewal_lateness(late);
            last = late;
        }
    }
    Ok("the count of renewals")
}

/// Waits until a task fails. Those that follow the election end well when it does, and its end is what counts then.
async fn first_failure(tasks: &mut JoinSet<anyhow::Result<&'static str>>) -> anyhow::Error {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(who)) => tracing::debug!("{who} has ended"),
            Ok(Err(error)) => return error,
            Err(error) => return anyhow::Error::from(error).context("a task of the host failed"),
        }
    }
    std::future::pending().await
}

fn start_election(
    settings: &Settings,
    kube: &kube::Config,
    place: &Place,
    house: &Arc<House>,
    started: Duration,
) -> anyhow::Result<Election> {
    let uid: String = format!("{:08x}", rand::random::<u32>());
    let identity = settings.election.identity_for(&place.hostname, &uid)?;
    let writers = Arc::clone(&house.writers);
    let sever = Arc::new(move |term| writers.sever(term));
    if !settings.election.enabled {
        return Ok(tenure_lease::alone(AloneConfig {
            identity,
            clock: Arc::clone(&house.clock),
            shutdown_grace: settings.election.shutdown_grace,
            write_timeout: settings.election.write_timeout,
            sever,
        }));
    }
    let annotations = Annotations::from([(CONSOLE_ANNOTATION.to_owned(), place.reachable_console(settings))]);
    let elector = settings.election.elector(annotations, started);
    let mut config = ElectionConfig::new(kube.clone(), place.lock.clone(), elector, identity);
    config.also.clone_from(&place.also);
    config.clock = Arc::clone(&house.clock);
    config.on_loss = match settings.election.on_loss {
        tenure_settings::OnLoss::Campaign => OnLoss::Campaign,
        tenure_settings::OnLoss::Exit => OnLoss::Exit,
    };
    if let Some(namespace) = &place.own_namespace {
        config.pods_namespace.clone_from(namespace);
    }
    config.sever = sever;
    config.abort = Arc::new(|| {
        // The gate is closed; what is still owed is the reason, which another thread writes.
        std::thread::sleep(LAST_WORDS_LIMIT);
        std::process::abort();
    });
    Ok(tenure_lease::start(config)?)
}
