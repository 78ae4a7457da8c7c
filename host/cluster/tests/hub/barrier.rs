//! The barrier at the start of a term.

use std::time::Duration;

use serde_json::json;
use tenure_cluster::{BarrierOutcome, BarrierReport, WatchKey};
use tokio::task::JoinHandle;

use super::fake::{Api, Watch, cluster, config_maps, object};

const LIMIT: Duration = Duration::from_secs(30);

/// A cache at version 10 that holds `a` and `b`, and a barrier whose list the test answers.
async fn warm(limit: Duration) -> (tenure_cluster::Subscription, Api, Watch, JoinHandle<BarrierReport>) {
    let (cluster, mut api) = cluster();
    let subscription = cluster.hub().subscribe(config_maps());
    let watch = api.sync(10, &[object("a", 7), object("b", 8)]).await;
    subscription.synced().await;
    let barrier = tokio::spawn(async move { cluster.barrier(&[config_maps()], limit).await });
    (subscription, api, watch, barrier)
}

async fn list(api: &mut Api, version: u64, objects: &[(&str, u64)]) {
    let call = api.next().await;
    assert_eq!(call.url, "/api/v1/configmaps?limit=10000", "no resourceVersion: as fresh as etcd");
    assert_eq!(call.accept, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let items: Vec<_> = objects.iter().map(|(name, version)| object(name, *version)).collect();
    call.list(version, &items);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_up_to_date_lets_the_term_start_at_once() {
    let (_subscription, mut api, _watch, barrier) = warm(LIMIT).await;
    list(&mut api, 99, &[("a", 7), ("b", 8)]).await;
    let report = barrier.await.unwrap();
    assert!(report.is_ready());
    assert_eq!((report.behind_at_start(), report.watches[0].listed, report.waited), (0, 2, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_warm_cache_that_lacks_the_predecessors_last_writes_is_waited_for() {
    let (_subscription, mut api, watch, barrier) = warm(LIMIT).await;
    list(&mut api, 13, &[("a", 11), ("b", 8), ("c", 12)]).await;
    watch.send("MODIFIED", &object("a", 11));
    // Nothing came for a second: the barrier asks for a new connection, so it did not let the term start.
    let watch = api.watch(11).await;
    assert!(!barrier.is_finished());
    watch.send("ADDED", &object("c", 12));
    let report = barrier.await.unwrap();
    assert!(report.is_ready());
    assert_eq!(report.behind_at_start(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_predecessor_deleted_must_be_dropped() {
    let (_subscription, mut api, _watch, barrier) = warm(LIMIT).await;
    list(&mut api, 12, &[("a", 7)]).await;
    let watch = api.watch(10).await;
    assert!(!barrier.is_finished());
    watch.send("DELETED", &object("b", 12));
    let report = barrier.await.unwrap();
    assert_eq!((report.is_ready(), report.behind_at_start()), (true, 1));
}

#[tokio::test(start_paused = true)]
async fn an_object_deleted_after_the_list_is_not_waited_for() {
    let (_subscription, mut api, watch, barrier) = warm(LIMIT).await;
    let call = api.next().await;
    watch.send("DELETED", &object("b", 14));
    call.list(12, &[object("a", 7), object("b", 8)]);
    assert!(barrier.await.unwrap().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_stays_behind_is_reported() {
    let (_subscription, mut api, _watch, barrier) = warm(Duration::from_millis(500)).await;
    list(&mut api, 13, &[("a", 11), ("b", 8), ("c", 12)]).await;
    let report = barrier.await.unwrap();
    assert!(!report.is_ready());
    assert!(matches!(report.watches[0].outcome, BarrierOutcome::Behind { objects: 2 }), "{report:?}");
    assert_eq!(report.waited, Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_restarts_is_asked_again_and_a_refusal_is_final() {
    let (_subscription, mut api, _watch, barrier) = warm(LIMIT).await;
    api.next().await.refuse(503, "ServiceUnavailable");
    api.next().await.answer(200, &json!({"metadata": {"resourceVersion": "10", "continue": "x"}, "items": []}));
    api.next().await.refuse(410, "Expired");
    list(&mut api, 10, &[("a", 7), ("b", 8)]).await;
    assert!(barrier.await.unwrap().is_ready());

    let (_subscription, mut api, _watch, barrier) = warm(LIMIT).await;
    api.next().await.refuse(403, "Forbidden");
    let report = barrier.await.unwrap();
    assert!(matches!(&report.watches[0].outcome, BarrierOutcome::Failed(error) if error.code() == Some(403)));
}

#[tokio::test(start_paused = true)]
async fn a_watch_nobody_subscribed_to_is_never_ready() {
    let (cluster, _api) = cluster();
    let key = WatchKey { namespace: Some("other".into()), ..config_maps() };
    let report = cluster.barrier(&[key], LIMIT).await;
    assert!(matches!(report.watches[0].outcome, BarrierOutcome::NotWatched));
    assert!(!report.is_ready());
}
