//! The object cache, the barrier and discovery against an API server the tests play. Time is tokio's, paused.

mod barrier;
mod discovery;
mod fake;

use std::time::Duration;

use fake::{cluster, config_maps, next, object};
use serde_json::json;
use tenure_cluster::{FieldSelector, Selector, WatchState};
use tokio::task::yield_now;

#[tokio::test(start_paused = true)]
async fn the_cache_follows_the_server() {
    let (cluster, mut api) = cluster();
    let mut subscription = cluster.hub().subscribe(config_maps());
    let watch = api.sync(10, &[object("a", 7)]).await;
    assert_eq!(next(&mut subscription).await, "resynced");
    let cached = cluster.hub().get(&config_maps(), Some("ns"), "a").unwrap();
    assert!(!cached.json().contains("managedFields") && cached.json().contains("ConfigMap"));
    watch.send("ADDED", &object("b", 11));
    watch.send("MODIFIED", &object("a", 12));
    watch.send("DELETED", &object("b", 13));
    for expected in ["applied b 11", "applied a 12", "deleted b 13"] {
        assert_eq!(next(&mut subscription).await, expected);
    }
    assert_eq!(cluster.hub().seen_version(&config_maps()), 13);
    assert!(cluster.hub().wait_seen(&config_maps(), 13, Duration::ZERO).await);
    assert!(!cluster.hub().wait_seen(&config_maps(), 14, Duration::from_secs(5)).await);
    watch.bookmark(20);
    assert!(cluster.hub().wait_seen(&config_maps(), 14, Duration::from_secs(5)).await);
    drop(watch);
    api.watch(20).await;
}

#[tokio::test(start_paused = true)]
async fn two_subscribers_share_one_watch_and_the_last_ends_it() {
    let (cluster, mut api) = cluster();
    let mut one = cluster.hub().subscribe(config_maps());
    let mut two = cluster.hub().subscribe(config_maps());
    let watch = api.sync(10, &[object("a", 7)]).await;
    watch.send("MODIFIED", &object("a", 11));
    for subscription in [&mut one, &mut two] {
        assert_eq!(next(subscription).await, "resynced");
        assert_eq!(next(subscription).await, "applied a 11");
    }
    let mut late = cluster.hub().subscribe(config_maps());
    assert_eq!(next(&mut late).await, "resynced", "a late subscriber is told that the cache is filled");
    assert!(api.is_quiet(), "one watch serves all");
    drop((one, late));
    assert_eq!((cluster.hub().watches(), watch.is_over()), (1, false));
    drop(two);
    assert_eq!(cluster.hub().watches(), 0);
    while !watch.is_over() {
        yield_now().await;
    }
    assert!(cluster.hub().get(&config_maps(), Some("ns"), "a").is_none(), "nobody's objects are not kept");
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_in_pages_and_the_watch_starts_at_its_version() {
    let (cluster, mut api) = cluster();
    let mut subscription = cluster.hub().subscribe(config_maps());
    let first = api.next().await;
    assert_eq!(first.url, "/api/v1/configmaps?limit=500");
    first.answer(200, &json!({"metadata": {"resourceVersion": "10", "continue": "c/1"}, "items": [object("a", 7)]}));
    let second = api.next().await;
    assert_eq!(second.url, "/api/v1/configmaps?limit=500&continue=c%2F1");
    second.list(10, &[object("b", 8)]);
    let _watch = api.watch(10).await;
    assert_eq!(next(&mut subscription).await, "resynced");
    let by_label = Selector::parse("app in (b)").unwrap();
    let found = cluster.hub().list(&config_maps(), None, &by_label, &FieldSelector::default());
    assert_eq!(found.iter().map(|object| &*object.name).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_version_the_server_forgot_is_listed_again_and_deletions_are_told() {
    let (cluster, mut api) = cluster();
    let mut subscription = cluster.hub().subscribe(config_maps());
    let watch = api.sync(10, &[object("a", 7), object("b", 8)]).await;
    assert_eq!(next(&mut subscription).await, "resynced");
    watch.send("ERROR", &json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}));
    let watch = api.sync(30, &[object("b", 25)]).await;
    assert_eq!(next(&mut subscription).await, "deleted a 7", "with its last known state");
    assert_eq!(next(&mut subscription).await, "resynced");
    drop(watch);
    api.next().await.list(30, &[object("b", 25)]);
    assert_eq!(next(&mut subscription).await, "resynced");
    // The same told by the answer to the watch itself.
    let call = api.next().await;
    call.refuse(410, "Gone");
    api.sync(40, &[]).await;
    assert_eq!(next(&mut subscription).await, "deleted b 25");
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_watch_says_so_and_is_tried_again_soon_then_slowly() {
    let (cluster, mut api) = cluster();
    let mut subscription = cluster.hub().subscribe(config_maps());
    api.next().await.refuse(403, "Forbidden");
    assert_eq!(next(&mut subscription).await, "failing 403");
    assert!(matches!(cluster.hub().state(&config_maps()), WatchState::Failing { code: 403, .. }));
    let refused_at = tokio::time::Instant::now();
    let second = api.next().await;
    assert!(
        refused_at.elapsed() < Duration::from_secs(1),
        "a server that has just started knows no Roles for a moment"
    );
    second.refuse(403, "Forbidden");
    for _ in 0..5 {
        api.next().await.refuse(403, "Forbidden");
    }
    let refused_at = tokio::time::Instant::now();
    api.sync(10, &[]).await;
    assert!(refused_at.elapsed() >= Duration::from_secs(10), "not hammered");
    assert_eq!(next(&mut subscription).await, "resynced");
    assert_eq!(subscription.state(), WatchState::Synced);
}

#[tokio::test(start_paused = true)]
async fn one_lost_connection_is_not_told_but_an_outage_is() {
    let (cluster, mut api) = cluster();
    let mut subscription = cluster.hub().subscribe(config_maps());
    let watch = api.sync(10, &[object("a", 7)]).await;
    assert_eq!(next(&mut subscription).await, "resynced");
    drop(watch);
    let watch = api.sync(10, &[object("a", 7)]).await;
    assert_eq!(next(&mut subscription).await, "resynced");
    watch.send("MODIFIED", &object("a", 11));
    assert_eq!(next(&mut subscription).await, "applied a 11");
    drop(watch);
    for _ in 0..3 {
        api.next().await.refuse(503, "ServiceUnavailable");
    }
    assert_eq!(next(&mut subscription).await, "failing 503");
    assert!(cluster.hub().get(&config_maps(), Some("ns"), "a").is_some(), "what was seen is kept");
    api.sync(12, &[object("a", 11)]).await;
    assert_eq!(next(&mut subscription).await, "resynced");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_open_on_our_side_only_is_noticed() {
    let (cluster, mut api) = cluster();
    let _subscription = cluster.hub().subscribe(config_maps());
    let silent = api.sync(10, &[]).await;
    silent.bookmark(15);
    let _watch = api.sync(20, &[]).await;
    assert!(silent.is_over());
}

/// A watch from a version that a restored server has yet to reach says nothing, and from one that it has reached again it never tells
/// what differs before.
#[tokio::test(start_paused = true)]
async fn after_a_failure_all_is_listed_again_for_the_server_may_have_been_restored() {
    let (cluster, mut api) = cluster();
    let mut subscription = cluster.hub().subscribe(config_maps());
    let watch = api.sync(90, &[object("a", 7), object("lost", 80)]).await;
    assert_eq!(next(&mut subscription).await, "resynced");
    drop(watch);
    api.next().await.refuse(403, "Forbidden");
    assert_eq!(next(&mut subscription).await, "failing 403");
    let _watch = api.sync(40, &[object("a", 7)]).await;
    assert_eq!(next(&mut subscription).await, "deleted lost 80");
    assert_eq!(next(&mut subscription).await, "resynced");
    assert_eq!(cluster.hub().seen_version(&config_maps()), 40);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_fell_behind_is_told_to_list_again() {
    let (cluster, mut api) = cluster();
    let mut subscription = cluster.hub().subscribe(config_maps());
    let watch = api.sync(10, &[]).await;
    assert_eq!(next(&mut subscription).await, "resynced");
    for version in 11..=3000 {
        watch.send("MODIFIED", &object("a", version));
    }
    assert!(cluster.hub().wait_seen(&config_maps(), 3000, Duration::from_secs(5)).await);
    assert_eq!(next(&mut subscription).await, "resynced");
}
