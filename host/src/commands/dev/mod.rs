//! `tenure dev`: a Kubernetes API on loopback and N real replicas of `tenure run` on it. Owns the children and the API;
//! decides nothing about leadership, it only shows it.

mod api;
mod replica;
mod screen;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::api::RunningApi;
use self::replica::Replica;
use self::screen::Screen;
use super::unless_nobody_reads;
use crate::cli::DevArgs;
use crate::reload::SettingsFile;
use crate::signals::EndSignals;

/// What the replicas run with unless `--config` says otherwise.
const DEVELOPMENT_CONFIG: &str = include_str!("development.toml");

/// What a replica that ends in order may take beyond its Pod's grace period, on a busy machine.
const END_SLACK: Duration = Duration::from_secs(2);

/// Runs until Ctrl-C or SIGTERM, until nobody reads what it says, or until a replica cannot be started. A second signal kills
/// the replicas.
pub(crate) async fn dev(args: DevArgs) -> anyhow::Result<()> {
    unless_nobody_reads(play(args).await)
}

async fn play(args: DevArgs) -> anyhow::Result<()> {
    let mut signals = EndSignals::listen();
    let (screen, mut unshown) = Screen::new(args.json);
    let screen = Arc::new(screen);
    let folder = Folder::open(args.data.as_deref())?;

    let mut api = RunningApi::start(&args, folder.path()).await?;
    let kubeconfig = api.kubeconfig(folder.path());
    create_namespaces(&api.client().await?).await?;
    let config = folder.write_config(&args)?;
    let (settings, _, _) = SettingsFile::alone(&config).read()?;
    screen.ready(api.description(), &api.url(), &kubeconfig);

    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let mut replicas = JoinSet::new();
    for number in 0..args.replicas {
        let replica = Replica {
            name: format!("replica-{number}"),
            config: config.clone(),
            kubeconfig: kubeconfig.clone(),
            screen: screen.clone(),
            end_limit: settings.election.termination_grace_min() + END_SLACK,
            stop: stop.clone(),
            kill: kill.clone(),
        };
        replicas.spawn(replica.run());
    }

    let result = tokio::select! {
        () = signals.next() => { screen.note("stopping; once more kills the replicas"); Ok(()) }
        Some(error) = unshown.recv() => Err(error.into()),
        Some(ended) = replicas.join_next() => ended.context("a replica's keeper panicked").and_then(|result| result),
        error = api.failed() => Err(error),
    };
    stop.cancel();
    loop {
        tokio::select! {
            ended = replicas.join_next() => if ended.is_none() { break },
            () = signals.next() => kill.cancel(),
        }
    }
    api.end().await;
    result
}

/// Where kubeconfig and configuration lie: the data directory, or one that goes with the command.
enum Folder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn open(data: Option<&Path>) -> anyhow::Result<Self> {
        match data {
            Some(path) => {
                std::fs::create_dir_all(path).with_context(|| format!("cannot create --data {}", path.display()))?;
                Ok(Self::Kept(path.to_owned()))
            }
            None => Ok(Self::Temporary(tempfile::Builder::new().prefix("tenure-dev-").tempdir()?)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }

    /// The configuration given, or the development one with this run's profile, plugin directory and code cache.
    fn write_config(&self, args: &DevArgs) -> anyhow::Result<PathBuf> {
        if let Some(given) = &args.config {
            return given.canonicalize().with_context(|| format!("cannot read --config {}", given.display()));
        }
        let mut config: toml::Table = DEVELOPMENT_CONFIG.parse().context("the built-in development configuration")?;
        config.insert("profile".into(), tenure_settings::Profile::from(args.profile).as_str().into());
        let plugins = config.entry("plugins").or_insert_with(|| toml::Table::new().into());
        if let Some(plugins) = plugins.as_table_mut() {
            plugins.insert("code-cache".into(), self.path().join("code").display().to_string().into());
            if let Some(directory) = &args.plugins {
                let directory = directory
                    .canonicalize()
                    .with_context(|| format!("cannot read --plugins {}", directory.display()))?;
                plugins.insert("directory".into(), directory.display().to_string().into());
            }
        }
        let path = self.path().join("tenure.toml");
        std::fs::write(&path, config.to_string())?;
        Ok(path)
    }
}

async fn create_namespaces(client: &kube::Client) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for name in ["tenure-system", "tenure-plugins"] {
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        match namespaces.create(&PostParams::default(), &namespace).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create namespace {name}")),
        }
    }
    Ok(())
}
