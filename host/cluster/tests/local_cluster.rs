//! The whole room against the Kubernetes API in memory, over HTTP: a write of one term is what the cache of the next waits for.
#![expect(clippy::unwrap_used, reason = "in a test a surprise should panic where it happens")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tenure_cluster::{
    Change, Cluster, FieldSelector, GetQuery, ListQuery, PatchKind, ResourceKey, Selector, TermWriter, WatchKey, Write,
    WriteError, WriterSettings,
};
use tenure_election::{Authority, Clock, Instant, LiveTerm, Term};
use tenure_local_cluster::LocalCluster;
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(30);

struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant { boot: Duration::from_secs(100), wall: Duration::from_secs(1_700_000_000) }
    }
}

async fn start() -> Arc<Cluster> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = kube::Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
    tokio::spawn(async move { LocalCluster::new().serve(listener, std::future::pending()).await });
    Cluster::new(config, Arc::new(Still)).unwrap()
}

fn open(cluster: &Cluster, term: u64) -> (Arc<TermWriter>, Arc<LiveTerm>) {
    let until = Still.now().after(Duration::from_secs(60));
    let authority = Authority { term: Term::new(term).unwrap(), soft_until: until, hard_until: until };
    let live = Arc::new(LiveTerm::new(&authority));
    let settings = WriterSettings { write_timeout: LIMIT, margin: Duration::from_secs(2), connections_max: 2 };
    (TermWriter::open(cluster, Arc::clone(&live), settings).unwrap(), live)
}

fn config_map(name: &str) -> bytes::Bytes {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": name}}, "data": {"k": "v"}})
        .to_string()
        .into()
}

async fn config_maps(cluster: &Cluster) -> ResourceKey {
    let resource = cluster.resolve("v1", "ConfigMap").await.unwrap();
    assert!(resource.serves("watch") && resource.key.namespaced);
    resource.key
}

#[tokio::test]
async fn what_a_term_wrote_is_in_the_cache_before_the_next_term_begins() {
    let cluster = start().await;
    let key = config_maps(&cluster).await;
    let watch = WatchKey { resource: key.clone(), namespace: Some("default".into()) };
    let subscription = cluster.hub().subscribe(watch.clone());
    let (writer, live) = open(&cluster, 1);
    for name in ["a", "b", "gone"] {
        let create = Write::create(key.clone(), Some("default"), config_map(name)).with_field_manager("tenure-test");
        assert_eq!(writer.write(create).await.unwrap().code, 201);
    }
    let patch = Write::patch(key.clone(), Some("default"), "a", PatchKind::Merge, r#"{"data":{"k":"w"}}"#.into());
    let patched = writer.write(patch).await.unwrap().version.unwrap();
    writer.write(Write::delete(key.clone(), Some("default"), "gone", "{}".into())).await.unwrap();
    live.shut_admission();
    assert!(!writer.settle(LIMIT).await.unanswered);

    let report = cluster.barrier(std::slice::from_ref(&watch), LIMIT).await;
    assert!(report.is_ready(), "{report:?}");
    let cached = cluster.hub().get(&watch, Some("default"), "a").unwrap();
    assert_eq!(cached.version, patched);
    assert!(cached.json().contains(r#""k":"w""#));
    let selected = cluster.hub().list(&watch, None, &Selector::parse("app!=b").unwrap(), &FieldSelector::default());
    assert_eq!(selected.iter().filter(|object| object.labels.get("app").is_some()).count(), 1);
    assert!(cluster.hub().get(&watch, Some("default"), "gone").is_none());
    drop(subscription);
    assert_eq!(cluster.hub().watches(), 0);
}

#[tokio::test]
async fn a_write_can_be_waited_for_in_the_cache_and_its_deletion_comes_with_the_last_state() {
    let cluster = start().await;
    let key = config_maps(&cluster).await;
    let watch = WatchKey::everywhere(key.clone());
    let mut subscription = cluster.hub().subscribe(watch.clone());
    assert_eq!(subscription.next().await, Some(Change::Resynced));
    let (writer, _live) = open(&cluster, 1);
    let created = writer.write(Write::create(key.clone(), Some("default"), config_map("a"))).await.unwrap();
    assert!(cluster.hub().wait_seen(&watch, created.version.unwrap(), LIMIT).await);
    assert!(cluster.hub().get(&watch, Some("default"), "a").is_some());
    writer.write(Write::delete(key, Some("default"), "a", bytes::Bytes::new())).await.unwrap();
    loop {
        match subscription.next().await.unwrap() {
            Change::Deleted(object) => break assert!(object.json().contains(r#""k":"v""#)),
            Change::Applied(_) | Change::Resynced => {}
            Change::Failing { code, message } => panic!("{code} {message}"),
        }
    }
}

#[tokio::test]
async fn a_conflict_and_a_missing_object_come_back_as_the_server_said_them() {
    let cluster = start().await;
    let key = config_maps(&cluster).await;
    let (writer, _live) = open(&cluster, 1);
    let create = || Write::create(key.clone(), Some("default"), config_map("a"));
    assert!(writer.write(create().with_dry_run()).await.is_ok());
    writer.write(create()).await.unwrap();
    let Err(WriteError::Status(status)) = writer.write(create()).await else { panic!("created twice") };
    assert_eq!((status.code, status.reason.as_str()), (409, "AlreadyExists"));
    let missing = cluster.get_live(&key, Some("default"), "none", &GetQuery::default()).await.unwrap_err();
    assert_eq!(missing.code(), Some(404));
    let query =
        ListQuery { namespace: Some("default".into()), limit: Some(1), metadata_only: true, ..ListQuery::default() };
    let page = cluster.list_live(&key, &query).await.unwrap();
    assert!(page.items[0].json().contains("PartialObjectMetadata") && !page.items[0].json().contains(r#""data""#));
}
