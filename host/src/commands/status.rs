//! `tenure status`: the lock from its Lease, the plugins from the leader's console.

use anyhow::{Context as _, bail};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use serde::Serialize;
use tenure_console::{LockStatus, PluginStatus, Status};

use super::table::Table;
use crate::cli::{Output, StatusArgs};
use crate::run::{CONSOLE_ANNOTATION, kube_config};

/// A console that says nothing for this long is not there.
const CONSOLE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Everything there is to show.
#[derive(Debug, Serialize)]
struct Shown {
    locks: Vec<LockStatus>,
    plugins: Vec<PluginStatus>,
    /// Why there are no plugins to show, where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Prints the state of one lock and of the plugins behind it.
pub(crate) async fn status(args: StatusArgs) -> anyhow::Result<()> {
    let shown = match &args.console {
        Some(url) => {
            let status = ask(url).await?;
            Shown { locks: status.locks, plugins: status.plugins, note: None }
        }
        None => from_cluster(&args).await?,
    };
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&shown)?),
        Output::Table => print_tables(&shown),
    }
    Ok(())
}

async fn from_cluster(args: &StatusArgs) -> anyhow::Result<Shown> {
    let client = kube::Client::try_from(kube_config(&args.cluster).await?)?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &args.namespace);
    let lease = leases.get_opt(&args.lease).await.with_context(|| {
        format!(
            "cannot read lease {}/{}: it needs `get` on leases.coordination.k8s.io there",
            args.namespace, args.lease
        )
    })?;
    let Some(lease) = lease else {
        bail!(
            "there is no lease {}/{}; `kubectl get leases -A` lists them, --lease and --namespace choose one",
            args.namespace,
            args.lease
        );
    };
    let lock = from_lease(&lease, args);
    let (plugins, note) = match plugins_of_leader(&client, &lease, args).await {
        Ok(status) => (status.plugins, None),
        Err(error) => (Vec::new(), Some(format!("plugins unknown: {error:#}"))),
    };
    Ok(Shown { locks: vec![lock], plugins, note })
}

fn from_lease(lease: &Lease, args: &StatusArgs) -> LockStatus {
    let spec = lease.spec.clone().unwrap_or_default();
    let annotation = |name: &str| lease.metadata.annotations.as_ref().and_then(|all| all.get(name));
    let term = annotation("tenure.dev/term").and_then(|value| value.split('/').next()?.parse().ok());
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let now = jiff::Timestamp::now();
    let age = spec.acquire_time.map(|acquired| now.duration_since(acquired.0).as_secs());
    let renewed = spec.renew_time.map(|renewed| now.duration_since(renewed.0).as_secs());
    let duration = i64::from(spec.lease_duration_seconds.unwrap_or_default());
    let phase = match (&holder, renewed) {
        (None, _) => "released",
        (Some(_), Some(renewed)) if renewed > duration => "expired",
        (Some(_), _) => "held",
    };
    LockStatus {
        namespace: args.namespace.clone(),
        name: args.lease.clone(),
        phase: phase.to_owned(),
        age_seconds: holder.as_ref().and(age).and_then(|seconds| u64::try_from(seconds).ok()),
        holder,
        term,
        transitions: spec.lease_transitions.and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
        last_error: None,
    }
}

/// The leader's console: at the address it wrote into the Lease, else through the API server's proxy to its Pod.
async fn plugins_of_leader(client: &kube::Client, lease: &Lease, args: &StatusArgs) -> anyhow::Result<Status> {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    if holder.is_empty() {
        bail!("nobody holds the lease; --console URL asks one replica");
    }
    let console = lease.metadata.annotations.as_ref().and_then(|all| all.get(CONSOLE_ANNOTATION));
    let console = console
        .with_context(|| format!("the lease has no annotation {CONSOLE_ANNOTATION}; --console URL asks one replica"))?;
    if let Some(port) = console.strip_prefix("pod:") {
        let pod = holder.split('_').next().unwrap_or(holder);
        let path = format!("/api/v1/namespaces/{}/pods/{pod}:{port}/proxy/status", args.namespace);
        let request = http::Request::get(path).body(Vec::new())?;
        return client.request(request).await.with_context(|| format!("cannot reach the console of pod {pod}"));
    }
    ask(console).await
}

async fn ask(url: &str) -> anyhow::Result<Status> {
    let uri: http::Uri = format!("{}/status", url.trim_end_matches('/'))
        .parse()
        .with_context(|| format!("{url:?} is no URL; give one such as http://127.0.0.1:8080"))?;
    let client: HttpClient<_, http_body_util::Empty<bytes::Bytes>> =
        HttpClient::builder(TokioExecutor::new()).build_http();
    let answer = tokio::time::timeout(CONSOLE_TIMEOUT, async {
        let response = client.get(uri).await?;
        anyhow::Ok((response.status(), response.into_body().collect().await?.to_bytes()))
    });
    let (code, body) = answer
        .await
        .with_context(|| format!("the console at {url} did not answer within {} s", CONSOLE_TIMEOUT.as_secs()))?
        .with_context(|| format!("cannot reach the console at {url}"))?;
    if !code.is_success() {
        bail!("the console at {url} answered {code}");
    }
    serde_json::from_slice(&body).with_context(|| format!("{url} answers, but not as a Tenure console"))
}

fn print_tables(shown: &Shown) {
    let mut locks = Table::new(&["LOCK", "STATE", "HOLDER", "TERM", "AGE", "TRANSITIONS"]);
    for lock in &shown.locks {
        locks.row([
            format!("{}/{}", lock.namespace, lock.name),
            lock.phase.clone(),
            lock.holder.clone().unwrap_or_else(|| "-".into()),
            lock.term.map_or_else(|| "-".into(), |term| term.to_string()),
            lock.age_seconds.map_or_else(|| "-".into(), age),
            lock.transitions.to_string(),
        ]);
    }
    print!("{locks}");
    for error in shown.locks.iter().filter_map(|lock| lock.last_error.as_ref()) {
        println!("{error}");
    }
    println!();
    let mut plugins = Table::new(&["PLUGIN", "STATE", "DIGEST", "QUEUE", "RETRIES", "LAST RESULT"]);
    for plugin in &shown.plugins {
        let result = plugin.last_result.as_ref().map_or_else(
            || "-".to_owned(),
            |last| format!("{} {} {}", if last.ok { "ok" } else { "error" }, last.at, last.message),
        );
        plugins.row([
            plugin.identity.clone(),
            plugin.state.as_str().to_owned(),
            plugin.digest.as_deref().map_or_else(|| "-".into(), |digest| digest.chars().take(12).collect()),
            plugin.queue_depth.to_string(),
            plugin.retries.to_string(),
            result.trim_end().to_owned(),
        ]);
    }
    print!("{plugins}");
    for plugin in &shown.plugins {
        if let Some(message) = &plugin.message {
            println!("{}: {message}", plugin.identity);
        }
    }
    if let Some(note) = &shown.note {
        println!("{note}");
    }
}

/// As kubectl prints ages.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m{}s", seconds / 60, seconds % 60),
        7200..172_800 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}
