//! Lists: pages of one snapshot, versions, forms.

use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::rig::{CONFIG_MAPS, config_map, delete, get, get_as, merge, post, version};

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

async fn with_config_maps(cluster: &LocalCluster, names: &[&str]) {
    for name in names {
        post(cluster, CONFIG_MAPS, &config_map(name, json!({"k": "1"}))).await;
    }
}

#[tokio::test]
async fn items_are_ordered_and_carry_no_kind() {
    let cluster = LocalCluster::new();
    with_config_maps(&cluster, &["b", "a"]).await;
    let (code, list) = get(&cluster, "/api/v1/configmaps").await;
    assert_eq!((code, &list["kind"]), (200, &json!("ConfigMapList")));
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!(list["items"][0].get("kind"), None);
    assert_eq!(version(&list), cluster.version());
    assert_eq!(names(&get(&cluster, "/api/v1/namespaces/nowhere/configmaps").await.1), Vec::<&str>::new());
}

#[tokio::test]
async fn all_pages_show_the_state_of_the_first() {
    let cluster = LocalCluster::new();
    with_config_maps(&cluster, &["a", "b", "c", "d"]).await;
    let (_, first) = get(&cluster, &format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(2)));
    delete(&cluster, &format!("{CONFIG_MAPS}/c"), &Value::Null).await;
    merge(&cluster, &format!("{CONFIG_MAPS}/d"), &json!({"data": {"k": "2"}})).await;
    with_config_maps(&cluster, &["e"]).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) = get(&cluster, &format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["items"][1]["data"]["k"], "1");
    assert_eq!(version(&second), version(&first));
    assert_eq!(second["metadata"].get("continue"), None);
}

#[tokio::test]
async fn a_page_of_a_forgotten_snapshot_is_refused_with_a_token_that_goes_on() {
    let cluster = LocalCluster::builder().watch_history(2).build().unwrap();
    with_config_maps(&cluster, &["a", "b", "c"]).await;
    let (_, first) = get(&cluster, &format!("{CONFIG_MAPS}?limit=1")).await;
    with_config_maps(&cluster, &["d", "e", "f"]).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (code, status) = get(&cluster, &format!("{CONFIG_MAPS}?continue={token}")).await;
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
    let token = status["metadata"]["continue"].as_str().unwrap();
    let (_, rest) = get(&cluster, &format!("{CONFIG_MAPS}?continue={token}")).await;
    assert_eq!(names(&rest), ["b", "c", "d", "e", "f"]);
}

#[tokio::test]
async fn an_exact_version_shows_the_past_and_a_future_one_is_refused() {
    let cluster = LocalCluster::new();
    with_config_maps(&cluster, &["a"]).await;
    let past = cluster.version();
    with_config_maps(&cluster, &["b"]).await;
    let path = format!("{CONFIG_MAPS}?resourceVersionMatch=Exact&resourceVersion={past}");
    assert_eq!(names(&get(&cluster, &path).await.1), ["a"]);
    let path = format!("{CONFIG_MAPS}?resourceVersionMatch=NotOlderThan&resourceVersion={past}");
    assert_eq!(names(&get(&cluster, &path).await.1), ["a", "b"]);
    let future = cluster.version() + 1;
    let (code, status) = get(&cluster, &format!("{CONFIG_MAPS}?resourceVersion={future}")).await;
    assert_eq!((code, &status["reason"]), (504, &json!("Timeout")));
    assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(get(&cluster, &format!("{CONFIG_MAPS}?resourceVersion=x")).await.0, 400);
    for nonsense in ["resourceVersionMatch=Exact", "resourceVersionMatch=Exact&resourceVersion=0"] {
        assert_eq!(get(&cluster, &format!("{CONFIG_MAPS}?{nonsense}")).await.0, 422, "{nonsense}");
    }
}

#[tokio::test]
async fn metadata_alone_and_tables_are_forms_of_the_same_list() {
    let cluster = LocalCluster::new();
    with_config_maps(&cluster, &["a"]).await;
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let (_, list) = get_as(&cluster, CONFIG_MAPS, accept).await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!((names(&list), list["items"][0].get("data")), (vec!["a"], None));
    let (_, table) = get_as(&cluster, CONFIG_MAPS, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "Data", "Age"]);
    assert_eq!(table["rows"][0]["cells"][1], 1);
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "a");
    assert_eq!(get_as(&cluster, CONFIG_MAPS, "application/vnd.kubernetes.protobuf").await.0, 406);
}
