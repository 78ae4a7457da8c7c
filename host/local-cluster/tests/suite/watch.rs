//! Watches: order, resumption, selection, ends.

use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::rig::{CONFIG_MAPS, Events, config_map, delete, get, merge, post, soon, version};

async fn add(cluster: &LocalCluster, name: &str) -> Value {
    post(cluster, CONFIG_MAPS, &config_map(name, json!({}))).await.1
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_and_goes_on_with_what_happens() {
    let cluster = LocalCluster::new();
    add(&cluster, "a").await;
    let mut events = Events::open(&cluster, &format!("{CONFIG_MAPS}?watch=true")).await;
    assert_eq!(events.next_line().await, "ADDED a");
    add(&cluster, "b").await;
    let (_, patched) = merge(&cluster, &format!("{CONFIG_MAPS}/a"), &json!({"data": {"k": "v"}})).await;
    delete(&cluster, &format!("{CONFIG_MAPS}/a"), &Value::Null).await;
    assert_eq!(events.next_line().await, "ADDED b");
    let modified = events.next().await.unwrap();
    assert_eq!((&modified["type"], &modified["object"]), (&json!("MODIFIED"), &patched));
    let deleted = events.next().await.unwrap();
    assert_eq!((&deleted["type"], &deleted["object"]["data"]), (&json!("DELETED"), &json!({"k": "v"})));
    assert_eq!(version(&deleted["object"]), cluster.version());
}

#[tokio::test]
async fn a_watch_resumes_where_another_ended() {
    let cluster = LocalCluster::new();
    let seen = version(&add(&cluster, "a").await);
    add(&cluster, "b").await;
    delete(&cluster, &format!("{CONFIG_MAPS}/a"), &Value::Null).await;
    let mut events = Events::open(&cluster, &format!("{CONFIG_MAPS}?watch=1&resourceVersion={seen}")).await;
    assert_eq!(events.next_line().await, "ADDED b");
    assert_eq!(events.next_line().await, "DELETED a");
    add(&cluster, "c").await;
    assert_eq!(events.next_line().await, "ADDED c");
}

#[tokio::test]
async fn a_version_that_was_forgotten_is_410() {
    let cluster = LocalCluster::builder().watch_history(2).build().unwrap();
    for name in ["a", "b", "c", "d"] {
        add(&cluster, name).await;
    }
    let mut events = Events::open(&cluster, &format!("{CONFIG_MAPS}?watch=1&resourceVersion=1")).await;
    let error = events.next().await.unwrap();
    assert_eq!(error["type"], "ERROR");
    assert_eq!((&error["object"]["code"], &error["object"]["reason"]), (&json!(410), &json!("Expired")));
    assert!(error["object"]["message"].as_str().unwrap().starts_with("too old resource version: 1 ("));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_so_not_misled() {
    let cluster = LocalCluster::builder().watch_history(3).build().unwrap();
    add(&cluster, "a").await;
    let mut events = Events::open(&cluster, &format!("{CONFIG_MAPS}?watch=1")).await;
    assert_eq!(events.next_line().await, "ADDED a");
    for number in 0..10 {
        merge(&cluster, &format!("{CONFIG_MAPS}/a"), &json!({"data": {"k": number.to_string()}})).await;
    }
    assert_eq!(events.next().await.unwrap()["type"], "ERROR");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn entering_a_selection_is_added_and_leaving_it_deleted() {
    let cluster = LocalCluster::new();
    add(&cluster, "a").await;
    let mut events = Events::open(&cluster, &format!("{CONFIG_MAPS}?watch=1&labelSelector=on%3Dyes")).await;
    let path = format!("{CONFIG_MAPS}/a");
    merge(&cluster, &path, &json!({"metadata": {"labels": {"on": "yes"}}})).await;
    assert_eq!(events.next_line().await, "ADDED a");
    merge(&cluster, &path, &json!({"data": {"k": "v"}})).await;
    assert_eq!(events.next_line().await, "MODIFIED a");
    let (_, left) = merge(&cluster, &path, &json!({"metadata": {"labels": {"on": "no"}}})).await;
    let event = events.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    // The last state that was selected, under the version in which it left.
    assert_eq!(event["object"]["metadata"]["labels"], json!({"on": "yes"}));
    assert_eq!(version(&event["object"]), version(&left));
    delete(&cluster, &path, &Value::Null).await;
    add(&cluster, "b").await;
    merge(&cluster, &format!("{CONFIG_MAPS}/b"), &json!({"metadata": {"labels": {"on": "yes"}}})).await;
    assert_eq!(events.next_line().await, "ADDED b");
}

#[tokio::test]
async fn one_namespace_does_not_hear_of_another() {
    let cluster = LocalCluster::new();
    let mut events = Events::open(&cluster, "/api/v1/namespaces/kube-system/configmaps?watch=1").await;
    add(&cluster, "elsewhere").await;
    post(&cluster, "/api/v1/namespaces/kube-system/configmaps", &config_map("here", json!({}))).await;
    assert_eq!(events.next_line().await, "ADDED here");
}

#[tokio::test]
async fn initial_events_end_with_a_marked_bookmark() {
    let cluster = LocalCluster::new();
    add(&cluster, "a").await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = Events::open(&cluster, &format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(events.next_line().await, "ADDED a");
    let bookmark = events.next().await.unwrap();
    assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(bookmark["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    assert_eq!(version(&bookmark["object"]), cluster.version());
    let (code, status) = get(&cluster, &format!("{CONFIG_MAPS}?watch=1&sendInitialEvents=true")).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_has_bookmarks_and_ends_with_one_at_its_timeout() {
    let cluster = LocalCluster::new();
    let from = cluster.version();
    let query = format!("watch=1&allowWatchBookmarks=true&timeoutSeconds=90&resourceVersion={from}");
    let mut events = Events::open(&cluster, &format!("{CONFIG_MAPS}?{query}")).await;
    // Another kind moves the version; the bookmark says that this watch has seen everything up to it.
    post(&cluster, "/api/v1/namespaces", &crate::rig::namespace("n")).await;
    let mut seen = Vec::new();
    while let Some(event) = events.next_however_late().await {
        seen.push((event["type"].as_str().unwrap().to_owned(), version(&event["object"])));
    }
    assert_eq!(seen, vec![("BOOKMARK".to_owned(), cluster.version()); 2]);
}

#[tokio::test]
async fn many_watchers_see_the_same_order() {
    const WRITES: usize = 300;
    let cluster = LocalCluster::new();
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut events = Events::open(&cluster, &format!("{CONFIG_MAPS}?watch=1&resourceVersion=0")).await;
        watchers.spawn(async move {
            let mut versions = Vec::new();
            while versions.len() < WRITES {
                versions.push(version(&events.next().await.unwrap()["object"]));
            }
            versions
        });
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..3 {
        let cluster = cluster.clone();
        writers.spawn(async move {
            for number in 0..WRITES / 3 {
                add(&cluster, &format!("w{writer}-{number}")).await;
            }
        });
    }
    soon("the writes", writers.join_all()).await;
    let seen = soon("the watchers' end", watchers.join_all()).await;
    assert!(seen[0].is_sorted());
    assert!(seen.iter().all(|versions| *versions == seen[0]));
}
