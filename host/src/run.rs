//! `tenure run`: builds the rooms, joins them, owns every task, and orders the shutdown.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use kube::runtime::events::{Recorder, Reporter as EventSource};
use tenure_capability::Protected;
use tenure_cluster::Cluster;
use tenure_console::{LockMetrics, Metrics};
use tenure_election::{Annotations, Clock, Drain};
use tenure_lease::{AloneConfig, BootClock, Election, ElectionConfig, Leadership, Lock, OnLoss};
use tenure_sandbox::{Sandbox, SandboxSettings};
use tenure_settings::{Flags, Settings, Warning};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::catalog::{Catalog, Loader, Reporter};
use crate::cli::ClusterArgs;
use crate::signals;
use crate::supervise::{House, Supervisor, Writers};
use crate::view::ReplicaView;

/// Where the holder's console listens: an address, or `pod:<port>` for a Pod that the API server's proxy reaches.
pub(crate) const CONSOLE_ANNOTATION: &str = "tenure.dev/console";

/// How long the console may take to end.
const WIND_UP_LIMIT: Duration = Duration::from_secs(2);

/// Reads a configuration, with this process' environment over the file and flags over both.
pub(crate) fn read_settings(path: &Path, flags: &Flags) -> anyhow::Result<(Settings, Vec<Warning>)> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read the configuration {shown}; --config names it, config/tenure.toml is one with every key")
    })?;
    let environment = |name: &str| std::env::var(name).ok();
    Ok(Settings::parse(&text, &shown.to_string(), &environment, flags)?)
}

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

/// Runs the host until it is asked to end, or until something ends that must not.
pub(crate) async fn run(settings: Settings, cluster: &ClusterArgs) -> anyhow::Result<()> {
    let kube = kube_config(cluster).await?;
    let lock = Lock {
        namespace: settings.election.namespace_or(Some(&kube.default_namespace)),
        name: settings.election.id.clone(),
    };
    settings.check_host_namespace(&lock.namespace)?;
    let listener = TcpListener::bind(settings.console.listen).await.with_context(|| {
        format!(
            "cannot listen on {} for the console; console.listen in the configuration says where",
            settings.console.listen
        )
    })?;
    let console = listener.local_addr()?;

    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let lock_metrics = metrics.lock(&lock.name);
    let writers = Arc::new(Writers::new(lock_metrics.clone()));
    let mut election = start_election(&settings, &kube, &lock, console, &writers, &clock)?;
    let leadership = election.watch();
    let handle = election.handle();

    let board = Arc::new(Board::new(Arc::clone(&metrics)));
    let cluster = Cluster::new(kube.clone(), Arc::clone(&clock))?;
    let sandbox = Arc::new(Sandbox::new(SandboxSettings {
        code_cache: settings.plugins.code_cache.clone(),
        instances_max: settings.limits.instances_max,
        memory_bytes_max: settings.limits.memory_bytes_max,
        ..SandboxSettings::default()
    })?);
    let house = Arc::new(House {
        cluster: Arc::clone(&cluster),
        sandbox: Arc::clone(&sandbox),
        clock,
        board: Arc::clone(&board),
        lock_metrics: lock_metrics.clone(),
        writers: Arc::clone(&writers),
        write_timeout: settings.election.write_timeout,
        margin: settings.election.timing.margin(),
        own_writes_wait_max: settings.cache.read_your_writes_wait_max,
    });

    let mut tasks: JoinSet<anyhow::Result<&'static str>> = JoinSet::new();
    let ending = CancellationToken::new();
    let sources_synced = Arc::new(AtomicBool::new(false));
    let view = Arc::new(ReplicaView {
        lock: lock.clone(),
        pod: settings.election.pod_name.as_ref().map(|pod| format!("{}/{pod}", lock.namespace)),
        started: jiff::Timestamp::now(),
        leadership: leadership.clone(),
        board: Arc::clone(&board),
        sources_synced: Arc::clone(&sources_synced),
        lock_metrics: lock_metrics.clone(),
        writers,
    });
    {
        let ending = ending.clone();
        tasks.spawn(async move {
            tenure_console::serve(listener, view, metrics, ending.cancelled_owned()).await?;
            Ok("the console")
        });
    }
    tracing::info!(console = %format!("http://{console}"), "console listens");

    let recorder = Recorder::new(
        kube::Client::try_from(kube)?,
        EventSource { controller: "tenure".into(), instance: settings.election.pod_name.clone() },
    );
    let (reporter, reporter_task) = Reporter::new(leadership.clone(), recorder);
    tasks.spawn(async move { reporter_task.run().await.map(|()| "the reporter") });
    let loader = Loader {
        sandbox,
        cluster,
        grants: settings.grants.clone(),
        limits: settings.limits.clone(),
        protected: Protected {
            host_namespace: lock.namespace.clone(),
            locks: vec![(lock.namespace.clone(), lock.name.clone())],
            plugin_namespaces: settings.plugins.namespaces.clone(),
        },
        warm: settings.cache.warm,
        compiling: Semaphore::new(1),
    };
    let (catalog, wanted) = Catalog::new(&settings, loader, board, reporter, sources_synced);
    tasks.spawn(async move { catalog.run().await.map(|()| "the catalog") });
    tasks.spawn(count_renewals(leadership.clone(), lock_metrics));
    let supervisor = Supervisor { house, election: handle.clone(), leadership, wanted };
    tasks.spawn(async move { supervisor.run().await.map(|()| "the supervisor") });

    let ended = tokio::select! {
        () = signals::end_asked_for() => {
            tracing::info!("asked to end: draining");
            handle.begin_drain(Drain::Shutdown);
            tokio::select! {
                ended = election.ended() => ended.map_err(anyhow::Error::from),
                failed = first_failure(&mut tasks) => Err(failed),
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
    lock: &Lock,
    console: std::net::SocketAddr,
    writers: &Arc<Writers>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Election> {
    let uid: String = format!("{:08x}", rand::random::<u32>());
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let identity = settings.election.identity_for(&hostname, &uid)?;
    let reachable = if console.ip().is_unspecified() && settings.election.pod_name.is_some() {
        format!("pod:{}", console.port())
    } else {
        format!("http://{console}")
    };
    let annotations = Annotations::from([(CONSOLE_ANNOTATION.to_owned(), reachable)]);
    let writers = Arc::clone(writers);
    let sever = Arc::new(move |term| writers.sever(term));
    if !settings.election.enabled {
        return Ok(tenure_lease::alone(AloneConfig {
            identity,
            clock: Arc::clone(clock),
            shutdown_grace: settings.election.shutdown_grace,
            write_timeout: settings.election.write_timeout,
            sever,
        }));
    }
    let mut config = ElectionConfig::new(kube.clone(), lock.clone(), settings.election.elector(annotations), identity);
    config.clock = Arc::clone(clock);
    config.on_loss = match settings.election.on_loss {
        tenure_settings::OnLoss::Campaign => OnLoss::Campaign,
        tenure_settings::OnLoss::Exit => OnLoss::Exit,
    };
    config.sever = sever;
    Ok(tenure_lease::start(config)?)
}
