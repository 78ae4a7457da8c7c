//! `tenure status`: the lock from its Lease, the plugins from the leader's console.

mod leases;

use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use kube::api::{Api, ApiResource, DynamicObject};
use serde::Serialize;
use tenure_console::{GrantedBy, LockStatus, PluginStatus, Role, Status};
use tenure_election::Record;
use tenure_lease::{LockKind, read_record};

use super::table::Table;
use super::{say, unless_nobody_reads};
use crate::cli::{Output, StatusArgs};
use crate::run::{CONSOLE_ANNOTATION, kube_config, lock_kind};

/// A console that says nothing for this long is not there.
const CONSOLE_TIMEOUT: Duration = Duration::from_secs(5);

/// What client-go calls the holder of locks that name different ones.
const UNKNOWN_LEADER: &str = "leaderelection.k8s.io/unknown";

/// Said where there is no lock to show.
const ALONE: &str = "the election is off: this replica works alone, without a lock";

/// Everything there is to show.
#[derive(Debug, Serialize)]
struct Shown {
    locks: Vec<LockStatus>,
    plugins: Vec<PluginStatus>,
    /// How the settings of the replica that was asked stand to their file, where that needs saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<String>,
    /// Why there is no lock, or there are no plugins, where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Prints the state of one lock and of the plugins behind it, or of all Leases.
pub(crate) async fn status(args: StatusArgs) -> anyhow::Result<()> {
    if args.leases {
        return leases::leases(&args).await;
    }
    let shown = match &args.console {
        Some(url) => {
            let Status { replica, locks, plugins, .. } = ask(url).await?;
            match replica.role {
                Role::Single => {
                    Shown { locks: Vec::new(), plugins, settings: replica.settings, note: Some(ALONE.to_owned()) }
                }
                _ => Shown { locks, plugins, settings: replica.settings, note: None },
            }
        }
        None => from_cluster(&args).await?,
    };
    unless_nobody_reads(match args.output {
        Output::Json => say!("{}", serde_json::to_string_pretty(&shown)?).map_err(Into::into),
        Output::Table => print_tables(&shown),
    })
}

async fn from_cluster(args: &StatusArgs) -> anyhow::Result<Shown> {
    let client = kube::Client::try_from(kube_config(&args.cluster).await?)?;
    let kinds = std::iter::once(args.resource_lock.shown()).chain(args.resource_lock.beside()).map(lock_kind);
    let (mut locks, mut records) = (Vec::new(), Vec::new());
    for kind in kinds {
        let record = read_lock(&client, kind, args).await?;
        locks.push(lock_status(kind, &record, args));
        records.push(record);
    }
    let apart = records.iter().any(|record| record.holder != records[0].holder);
    if apart {
        for lock in &mut locks {
            lock.holder = Some(UNKNOWN_LEADER.to_owned());
        }
    }
    let plugins = if apart {
        Err(anyhow::anyhow!("the locks name different holders; --console URL asks one replica"))
    } else {
        plugins_of_leader(&client, &records[0]).await
    };
    Ok(match plugins {
        Ok(Status { replica, plugins, .. }) => Shown { locks, plugins, settings: replica.settings, note: None },
        Err(error) => {
            let note = Some(format!("plugins unknown: {error:#}"));
            Shown { locks, plugins: Vec::new(), settings: None, note }
        }
    })
}

async fn read_lock(client: &kube::Client, kind: LockKind, args: &StatusArgs) -> anyhow::Result<Record> {
    let StatusArgs { namespace, lease: name, .. } = args;
    let (group, version) = kind.api_version().split_once('/').unwrap_or(("", kind.api_version()));
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: kind.api_version().to_owned(),
        kind: kind.kind().to_owned(),
        plural: kind.resource().to_owned(),
    };
    let locks: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let whole = if group.is_empty() { resource.plural.clone() } else { format!("{}.{group}", resource.plural) };
    let found = locks
        .get_opt(name)
        .await
        .with_context(|| format!("cannot read {} {namespace}/{name}: it needs `get` on {whole} there", kind.noun()))?;
    let Some(object) = found else {
        bail!(
            "there is no {} {namespace}/{name}; `kubectl get {} -A` lists them, --lease, --namespace and --resource-lock \
             choose one; a host whose election is off has none: ask its console with --console URL",
            kind.noun(),
            resource.plural
        );
    };
    read_record(kind, serde_json::to_value(object)?).with_context(|| format!("{} {namespace}/{name}", kind.noun()))
}

fn lock_status(kind: LockKind, record: &Record, args: &StatusArgs) -> LockStatus {
    let term = record.annotations.get(Record::TERM).and_then(|value| value.split('/').next()?.parse().ok());
    let holder = Some(record.holder.clone()).filter(|holder| !holder.is_empty());
    let now = jiff::Timestamp::now().as_second();
    let ago = |at: Duration| now.saturating_sub(i64::try_from(at.as_secs()).unwrap_or(i64::MAX));
    let renewed = record.renew_time.map(ago);
    let phase = match (&holder, renewed) {
        (None, _) => "released",
        (Some(_), Some(renewed)) if renewed > i64::from(record.lease_duration_seconds) => "expired",
        (Some(_), _) => "held",
    };
    let age = record.acquire_time.map(ago).and_then(|seconds| u64::try_from(seconds).ok());
    LockStatus {
        namespace: args.namespace.clone(),
        name: match kind {
            LockKind::Lease => args.lease.clone(),
            LockKind::ConfigMap | LockKind::Endpoints => format!("{} ({})", args.lease, kind.resource()),
        },
        phase: phase.to_owned(),
        age_seconds: holder.as_ref().and(age),
        holder,
        term,
        transitions: record.transitions,
        last_error: None,
    }
}

/// The leader's console: at the address it wrote into the Lease, else through the API server's proxy to its Pod.
async fn plugins_of_leader(client: &kube::Client, record: &Record) -> anyhow::Result<Status> {
    if record.holder.is_empty() {
        bail!("nobody holds the lease; --console URL asks one replica");
    }
    let console = record.annotations.get(CONSOLE_ANNOTATION);
    let console = console
        .with_context(|| format!("the lease has no annotation {CONSOLE_ANNOTATION}; --console URL asks one replica"))?;
    match Console::parse(console)? {
        Console::Url(url) => ask(url).await,
        Console::Pod { namespace, pod, port } => {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/status");
            let request = http::Request::get(path).body(Vec::new())?;
            tokio::time::timeout(CONSOLE_TIMEOUT, client.request(request))
                .await
                .with_context(|| {
                    format!(
                        "the console of pod {namespace}/{pod} did not answer within {} s",
                        CONSOLE_TIMEOUT.as_secs()
                    )
                })?
                .with_context(|| format!("cannot reach the console of pod {namespace}/{pod} through the API server"))
        }
    }
}

/// Where a holder's console is, as its lease has it.
#[derive(Debug, PartialEq, Eq)]
enum Console<'a> {
    /// Reached directly.
    Url(&'a str),
    /// Reached through the API server.
    Pod { namespace: &'a str, pod: &'a str, port: u16 },
}

impl<'a> Console<'a> {
    /// `pod:<namespace>/<pod>:<port>`, else a URL.
    fn parse(text: &'a str) -> anyhow::Result<Self> {
        let Some(place) = text.strip_prefix("pod:") else { return Ok(Self::Url(text)) };
        // The words become part of a path: nothing but names may stand there.
        let is_name = |word: &str| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            word.starts_with(|first: char| first.is_ascii_alphanumeric()) && word.bytes().all(is_allowed)
        };
        let parsed = place.split_once('/').and_then(|(namespace, rest)| {
            let (pod, port) = rest.split_once(':')?;
            Some(Self::Pod { namespace, pod, port: port.parse().ok()? }).filter(|_| is_name(namespace) && is_name(pod))
        });
        parsed.with_context(|| {
            format!("the lease's annotation {CONSOLE_ANNOTATION} is {text:?}, not pod:<namespace>/<pod>:<port> or a URL; --console URL asks one replica")
        })
    }
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

fn print_tables(shown: &Shown) -> anyhow::Result<()> {
    if !shown.locks.is_empty() {
        print_locks(&shown.locks)?;
        say!("")?;
    }
    let mut plugins =
        Table::new(&["PLUGIN", "STATE", "DIGEST", "GRANTED BY", "QUEUE", "RETRIES", "CPU", "LAST RESULT"]);
    for plugin in &shown.plugins {
        let result = plugin.last_result.as_ref().map_or_else(
            || "-".to_owned(),
            |last| format!("{} {} {}", if last.ok { "ok" } else { "error" }, last.at, last.message),
        );
        plugins.row([
            on_one_line(&plugin.identity),
            plugin.state.as_str().to_owned(),
            plugin.digest.as_deref().map_or_else(|| "-".into(), |digest| digest.chars().take(12).collect()),
            plugin.granted_by.map_or("-", GrantedBy::as_str).to_owned(),
            plugin.queue_depth.to_string(),
            plugin.retries.to_string(),
            format!("{:.1}s", plugin.cpu_ms as f64 / 1000.0),
            on_one_line(&result).trim_end().to_owned(),
        ]);
    }
    say!("{}", plugins.to_string().trim_end())?;
    for plugin in &shown.plugins {
        if let Some(message) = &plugin.message {
            say!("{}: {}", on_one_line(&plugin.identity), as_paragraph(message))?;
        }
        if !plugin.refused.is_empty() {
            let refused = plugin.refused.iter().map(|(limit, count)| format!("{} {count} times", on_one_line(limit)));
            let refused = refused.collect::<Vec<_>>().join(", ");
            say!("{}: refused by its limits: {refused}", on_one_line(&plugin.identity))?;
        }
    }
    if let Some(settings) = &shown.settings {
        say!("settings: {}", as_paragraph(settings))?;
    }
    if let Some(note) = &shown.note {
        say!("{}", as_paragraph(note))?;
    }
    Ok(())
}

fn print_locks(shown: &[LockStatus]) -> anyhow::Result<()> {
    let mut locks = Table::new(&["LOCK", "STATE", "HOLDER", "TERM", "AGE", "TRANSITIONS"]);
    for lock in shown {
        locks.row([
            on_one_line(&format!("{}/{}", lock.namespace, lock.name)),
            on_one_line(&lock.phase),
            lock.holder.as_deref().map_or_else(|| "-".into(), on_one_line),
            lock.term.map_or_else(|| "-".into(), |term| term.to_string()),
            lock.age_seconds.map_or_else(|| "-".into(), age),
            lock.transitions.to_string(),
        ]);
    }
    say!("{}", locks.to_string().trim_end())?;
    for error in shown.iter().filter_map(|lock| lock.last_error.as_deref()) {
        say!("{}", as_paragraph(error))?;
    }
    Ok(())
}

/// What others wrote, for one cell: a plugin must not move the cursor of whoever looks at its status.
fn on_one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// What others wrote, over several lines: those after the first are indented, so that none can pass for a row of ours.
fn as_paragraph(text: &str) -> String {
    text.lines().map(on_one_line).collect::<Vec<_>>().join("\n  ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_a_pod_or_a_url_and_never_a_path_of_somebody_elses() {
        let pod = Console::parse("pod:tenure-system/tenure-0:8080").expect("a pod");
        assert_eq!(pod, Console::Pod { namespace: "tenure-system", pod: "tenure-0", port: 8080 });
        let url = "http://127.0.0.1:8080";
        assert_eq!(Console::parse(url).expect("a URL"), Console::Url(url));
        for wrong in ["pod:8080", "pod:a/b", "pod:a/b:http", "pod:a/../x:1", "pod:a/b/c:1", "pod:/b:1", "pod:a/b?c:1"] {
            assert!(Console::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_plugins_words_cannot_move_the_cursor_or_pass_for_a_row() {
        assert_eq!(on_one_line("a\x1b[2Jb\nc\u{9b}d"), "a [2Jb c d");
        assert_eq!(as_paragraph("missing:\n[[grant]]\r\nx\x07"), "missing:\n  [[grant]]\n  x ");
    }
}
