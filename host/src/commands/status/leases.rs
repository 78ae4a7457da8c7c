//! `tenure status --leases`: the Leases of a namespace or of the whole cluster, whoever's they are. Reads them once; what it says
//! about clocks is what this machine's clock makes of others' timestamps, and lets nobody in or out of anything.

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde::Serialize;

use super::{age, on_one_line};
use crate::cli::{Output, StatusArgs};
use crate::commands::table::Table;
use crate::commands::{say, unless_nobody_reads};
use crate::run::kube_config;

/// Where kubelets renew theirs.
const NODE_NAMESPACE: &str = "kube-node-lease";
/// What an API server's own Lease is labelled with, since Kubernetes 1.26.
const API_SERVER_LABEL: &str = "apiserver.kubernetes.io/identity";
const CANDIDATE_LABEL: &str = "tenure.dev/candidate";
/// Timestamps further ahead of this machine's clock than this are said to be: less may be the way here.
const SKEW_S_MIN: i64 = 2;
/// A Lease that has been expired for this many of its durations is left over rather than about to be taken.
const STALE_DURATIONS_MIN: i64 = 10;

/// What a Lease is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Purpose {
    Election,
    /// A replica's own, under a lock policy.
    Candidate,
    ApiServer,
    Node,
}

/// One Lease, for people and programs.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    namespace: String,
    name: String,
    purpose: Purpose,
    state: &'static str,
    holder: Option<String>,
    /// How long ago `spec.renewTime` is; negative when it lies ahead of this machine's clock.
    renewed_seconds_ago: Option<i64>,
    /// `spec.leaseDurationSeconds`.
    duration_seconds: Option<i64>,
    /// The number in `tenure.dev/term`.
    term: Option<u64>,
    transitions: i64,
    remark: Option<String>,
}

/// Prints the Leases asked for.
pub(super) async fn leases(args: &StatusArgs) -> anyhow::Result<()> {
    let client = kube::Client::try_from(kube_config(&args.cluster).await?)?;
    let (api, place): (Api<Lease>, String) = if args.all_namespaces {
        (Api::all(client), "in all namespaces".to_owned())
    } else {
        (Api::namespaced(client, &args.namespace), format!("in namespace {}", args.namespace))
    };
    let found = api.list(&ListParams::default()).await.with_context(|| {
        format!(
            "cannot list leases {place}: it needs `list` on leases.coordination.k8s.io there; see `kubectl auth can-i`"
        )
    })?;
    let now = Timestamp::now();
    let mut rows: Vec<Row> = found.items.iter().map(|lease| row(lease, now)).collect();
    rows.sort_by(|a, b| (a.purpose, &a.namespace, &a.name).cmp(&(b.purpose, &b.namespace, &b.name)));
    unless_nobody_reads(match args.output {
        Output::Json => say!("{}", serde_json::to_string_pretty(&rows)?).map_err(Into::into),
        Output::Table if rows.is_empty() => say!("there are no leases {place}").map_err(Into::into),
        Output::Table => say!("{}", table(&rows).trim_end()).map_err(Into::into),
    })
}

fn row(lease: &Lease, now: Timestamp) -> Row {
    let spec = lease.spec.clone().unwrap_or_default();
    let annotation = |name: &str| lease.annotations().get(name);
    let term_of = |mark: &String| mark.split('/').next()?.parse().ok();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let renewed_seconds_ago = spec.renew_time.map(|renewed| now.duration_since(renewed.0).as_secs());
    let duration_seconds = spec.lease_duration_seconds.map(i64::from);
    let released = annotation("tenure.dev/released").is_some() || duration_seconds == Some(1);
    let late = renewed_seconds_ago.zip(duration_seconds).map(|(ago, duration)| (ago - duration, duration));
    let purpose = if lease.metadata.namespace.as_deref() == Some(NODE_NAMESPACE) {
        Purpose::Node
    } else if lease.labels().contains_key(API_SERVER_LABEL) {
        Purpose::ApiServer
    } else if lease.labels().contains_key(CANDIDATE_LABEL) {
        Purpose::Candidate
    } else {
        Purpose::Election
    };
    let state = match (&holder, late) {
        (None, _) if released => "releasing",
        (None, _) => "acquiring",
        (Some(_), Some((late, _))) if late > 0 => "expired",
        (Some(_), _) if purpose == Purpose::Election => "leader",
        (Some(_), _) => "alive",
    };
    let remark = match (renewed_seconds_ago, late) {
        (Some(ago), _) if ago <= -SKEW_S_MIN => {
            Some(format!("renewed {} ahead of this machine's clock", age(ahead(ago))))
        }
        (_, Some((late, duration))) if state == "expired" && late > STALE_DURATIONS_MIN * duration.max(1) => {
            Some(format!("stale: nobody has wanted it for {}", age(late.unsigned_abs())))
        }
        (None, _) if holder.is_some() => Some("held and never renewed".to_owned()),
        _ => None,
    };
    Row {
        namespace: lease.namespace().unwrap_or_default(),
        name: lease.name_any(),
        purpose,
        state,
        holder,
        renewed_seconds_ago,
        duration_seconds,
        term: annotation("tenure.dev/term").and_then(term_of),
        transitions: spec.lease_transitions.map(i64::from).unwrap_or_default(),
        remark,
    }
}

fn ahead(ago: i64) -> u64 {
    ago.unsigned_abs()
}

fn table(rows: &[Row]) -> String {
    let mut table =
        Table::new(&["LEASE", "FOR", "STATE", "HOLDER", "RENEWED", "DURATION", "TERM", "CHANGES", "REMARK"]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for row in rows {
        let renewed = row.renewed_seconds_ago.map(|ago| match ago {
            ..0 => format!("in {}", age(ahead(ago))),
            _ => format!("{} ago", age(ago.unsigned_abs())),
        });
        table.row([
            on_one_line(&format!("{}/{}", row.namespace, row.name)),
            match row.purpose {
                Purpose::Election => "election",
                Purpose::Candidate => "candidate",
                Purpose::ApiServer => "API server",
                Purpose::Node => "node",
            }
            .to_owned(),
            row.state.to_owned(),
            or_dash(row.holder.as_deref().map(on_one_line)),
            or_dash(renewed),
            or_dash(row.duration_seconds.map(|seconds| format!("{seconds}s"))),
            or_dash(row.term.map(|term| term.to_string())),
            row.transitions.to_string(),
            row.remark.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T00:10:00Z";

    fn lease(namespace: &str, name: &str, spec: &Value, more: &Value) -> Lease {
        let mut metadata = json!({"namespace": namespace, "name": name});
        for (key, value) in more.as_object().into_iter().flatten() {
            metadata[key] = value.clone();
        }
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a Lease")
    }

    fn held(holder: &str, renewed: &str, duration_s: i32) -> Value {
        json!({"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": duration_s, "leaseTransitions": 3})
    }

    #[test]
    fn each_lease_is_named_by_what_it_is_for_and_what_state_it_is_in() {
        let ours = json!({"annotations": {"tenure.dev/term": "7/a_1"}});
        let released = json!({"annotations": {"tenure.dev/term": "7/a_1", "tenure.dev/released": "7/a_1"}});
        let server = json!({"labels": {"apiserver.kubernetes.io/identity": "kube-apiserver"}});
        let candidate = json!({"labels": {"tenure.dev/candidate": "true"}});
        let leases = [
            lease("a", "fresh", &held("a_1", "2026-01-01T00:09:57.000000Z", 15), &ours),
            lease("a", "late", &held("b_1", "2026-01-01T00:09:40.000000Z", 15), &json!({})),
            lease("a", "forgotten", &held("c_1", "2025-12-30T00:10:00.000000Z", 15), &json!({})),
            lease("a", "skewed", &held("d_1", "2026-01-01T00:10:09.000000Z", 15), &json!({})),
            lease("a", "released", &held("", "2026-01-01T00:09:59.000000Z", 1), &released),
            lease("a", "emptied", &held("", "2026-01-01T00:09:59.000000Z", 15), &ours),
            lease("a", "odd", &json!({"holderIdentity": "e\u{1b}[2J"}), &json!({})),
            lease("a", "fresh-0a1b2c3d-a", &held("a", "2026-01-01T00:09:50.000000Z", 90), &candidate),
            lease("kube-node-lease", "node-1", &held("node-1", "2026-01-01T00:09:51.000000Z", 40), &json!({})),
            lease("kube-system", "apiserver-x", &held("apiserver-x_1", "2026-01-01T00:09:55.000000Z", 3600), &server),
        ];
        let now = NOW.parse().expect("a time");
        let rows: Vec<Row> = leases.iter().map(|lease| row(lease, now)).collect();
        expect![[r#"
            LEASE                     FOR          STATE       HOLDER          RENEWED   DURATION   TERM   CHANGES   REMARK
            a/fresh                   election     leader      a_1             3s ago    15s        7      3
            a/late                    election     expired     b_1             20s ago   15s        -      3
            a/forgotten               election     expired     c_1             2d ago    15s        -      3         stale: nobody has wanted it for 47h59m
            a/skewed                  election     leader      d_1             in 9s     15s        -      3         renewed 9s ahead of this machine's clock
            a/released                election     releasing   -               1s ago    1s         7      3
            a/emptied                 election     acquiring   -               1s ago    15s        7      3
            a/odd                     election     leader      e [2J           -         -          -      0         held and never renewed
            a/fresh-0a1b2c3d-a        candidate    alive       a               10s ago   90s        -      3
            kube-node-lease/node-1    node         alive       node-1          9s ago    40s        -      3
            kube-system/apiserver-x   API server   alive       apiserver-x_1   5s ago    3600s      -      3
        "#]].assert_eq(&table(&rows));
    }
}
