//! A data directory: what survives the end of a cluster, and what it refuses.

use std::io::Write;

use serde_json::{Value, json};
use tenure_local_cluster::{LocalCluster, OpenError};

use crate::rig::{CONFIG_MAPS, Events, config_map, delete, get, merge, namespace, post, version};

fn open(directory: &tempfile::TempDir) -> LocalCluster {
    LocalCluster::builder().data(directory.path()).build().unwrap()
}

#[tokio::test]
async fn objects_and_the_version_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(&directory);
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({"k": "1"}))).await;
    post(&cluster, CONFIG_MAPS, &config_map("b", json!({}))).await;
    let (_, kept) = merge(&cluster, &format!("{CONFIG_MAPS}/a"), &json!({"data": {"k": "2"}})).await;
    delete(&cluster, &format!("{CONFIG_MAPS}/b"), &Value::Null).await;
    let before = cluster.version();
    drop(cluster);
    let cluster = open(&directory);
    assert_eq!(cluster.version(), before);
    assert_eq!(get(&cluster, &format!("{CONFIG_MAPS}/a")).await, (200, kept));
    assert_eq!(get(&cluster, &format!("{CONFIG_MAPS}/b")).await.0, 404);
    let (_, next) = post(&cluster, CONFIG_MAPS, &config_map("c", json!({}))).await;
    assert_eq!(version(&next), before + 1);
}

#[tokio::test]
async fn a_watch_from_before_the_restart_is_told_to_start_over() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(&directory);
    let (_, first) = post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    post(&cluster, CONFIG_MAPS, &config_map("b", json!({}))).await;
    drop(cluster);
    let cluster = open(&directory);
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&first));
    let mut events = Events::open(&cluster, &path).await;
    assert_eq!(events.next().await.unwrap()["object"]["code"], 410);
}

#[tokio::test]
async fn the_line_a_process_died_in_is_dropped_and_a_damaged_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(&directory);
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    drop(cluster);
    let path = directory.path().join("objects.jsonl");
    let sound = std::fs::read(&path).unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"version\":9,\"coll").unwrap();
    let cluster = open(&directory);
    assert_eq!(get(&cluster, &format!("{CONFIG_MAPS}/a")).await.0, 200);
    post(&cluster, CONFIG_MAPS, &config_map("b", json!({}))).await;
    drop(cluster);
    assert_eq!(get(&open(&directory), &format!("{CONFIG_MAPS}/b")).await.0, 200);
    std::fs::write(&path, [b"not json\n".as_slice(), &sound].concat()).unwrap();
    let error = LocalCluster::builder().data(directory.path()).build().unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { line: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_directory_has_one_cluster_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(&directory);
    let error = LocalCluster::builder().data(directory.path()).build().unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(first);
    open(&directory);
}

#[tokio::test]
async fn a_deletion_cut_short_is_finished_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(&directory);
    post(&cluster, "/api/v1/namespaces", &namespace("team")).await;
    post(&cluster, "/api/v1/namespaces/team/configmaps", &config_map("a", json!({}))).await;
    delete(&cluster, "/api/v1/namespaces/team", &Value::Null).await;
    drop(cluster);
    let cluster = open(&directory);
    assert_eq!(get(&cluster, "/api/v1/namespaces/team").await.0, 404);
    assert_eq!(get(&cluster, "/api/v1/namespaces/team/configmaps/a").await.0, 404);
}

#[tokio::test]
async fn the_file_is_rewritten_when_it_is_mostly_history() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(&directory);
    post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
    let path = format!("{CONFIG_MAPS}/a");
    // Twenty versions of 900 KB: past the 16 MiB below which nothing is rewritten.
    for round in 0..20 {
        let text = format!("{round}").repeat(900_000 / format!("{round}").len());
        assert_eq!(merge(&cluster, &path, &json!({"data": {"k": text}})).await.0, 200);
    }
    let bytes = std::fs::metadata(directory.path().join("objects.jsonl")).unwrap().len();
    assert!(bytes < 8 << 20, "{bytes} bytes for one object of 900 KB");
    let (_, kept) = get(&cluster, &path).await;
    drop(cluster);
    assert_eq!(get(&open(&directory), &path).await.1, kept);
}
