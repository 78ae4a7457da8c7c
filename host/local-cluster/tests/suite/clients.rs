//! kube-rs against the cluster, over HTTP and straight through the tower service.

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Secret, ServiceAccount};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::discovery::Discovery;
use kube::{Client, ResourceExt};
use serde_json::json;
use tenure_local_cluster::LocalCluster;

use crate::rig::{Served, config_map, lease, pod, soon};

fn config_map_typed(name: &str) -> ConfigMap {
    serde_json::from_value(config_map(name, json!({"k": "1"}))).unwrap()
}

#[tokio::test]
async fn the_service_itself_is_a_client() {
    let client = Client::new(LocalCluster::new(), "default");
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let created = api.create(&PostParams::default(), &config_map_typed("a")).await.unwrap();
    assert_eq!(api.get("a").await.unwrap(), created);
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn typed_objects_go_through_their_whole_life() {
    let served = Served::start(LocalCluster::new()).await;
    let api: Api<ConfigMap> = Api::default_namespaced(served.client());
    let mut object = api.create(&PostParams::default(), &config_map_typed("a")).await.unwrap();
    object.data.as_mut().unwrap().insert("l".to_owned(), "2".to_owned());
    let replaced = api.replace("a", &PostParams::default(), &object).await.unwrap();
    object.data.as_mut().unwrap().insert("m".to_owned(), "3".to_owned());
    let conflict = api.replace("a", &PostParams::default(), &object).await.unwrap_err();
    assert!(matches!(conflict, kube::Error::Api(status) if status.code == 409));
    let patch = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!((patched.labels().len(), patched.uid()), (1, replaced.uid()));
    let applied =
        Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"n": "1"}}));
    let applied = api.patch("a", &PatchParams::apply("tests"), &applied).await.unwrap();
    assert_eq!(applied.data.unwrap().len(), 3);
    let deleted = api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(deleted.right().is_some_and(|status| status.is_success()));
    assert!(api.get_opt("a").await.unwrap().is_none());
    served.stop().await;
}

#[tokio::test]
async fn each_kind_round_trips_through_its_type() {
    let client = Client::new(LocalCluster::new(), "default");
    async fn round_trip<K>(client: &Client, body: serde_json::Value)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + serde::de::DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug
            + PartialEq,
    {
        let api: Api<K> = Api::default_namespaced(client.clone());
        let body: K = serde_json::from_value(body).unwrap();
        let created = api.create(&PostParams::default(), &body).await.unwrap();
        assert_eq!(api.get(&created.name_any()).await.unwrap(), created);
        assert_eq!(api.list(&ListParams::default()).await.unwrap().items, [created]);
    }
    let metadata = json!({"name": "a"});
    round_trip::<Secret>(&client, json!({"metadata": metadata, "data": {"k": "aGk="}})).await;
    round_trip::<ServiceAccount>(&client, json!({"metadata": metadata})).await;
    round_trip::<Lease>(&client, lease("a", "x")).await;
    round_trip::<Pod>(&client, pod("a")).await;
    let involved = json!({"kind": "Lease", "name": "a", "namespace": "default"});
    round_trip::<Event>(&client, json!({"metadata": metadata, "involvedObject": involved, "message": "m"})).await;
    let namespaces: Api<Namespace> = Api::all(client);
    assert_eq!(namespaces.get("default").await.unwrap().status.unwrap().phase.unwrap(), "Active");
}

#[tokio::test]
async fn a_dynamic_watch_follows_every_change() {
    let served = Served::start(LocalCluster::new()).await;
    let resource = ApiResource::erase::<ConfigMap>(&());
    let api: Api<DynamicObject> = Api::default_namespaced_with(served.client(), &resource);
    let writer: Api<ConfigMap> = Api::default_namespaced(served.client());
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    writer.create(&PostParams::default(), &config_map_typed("a")).await.unwrap();
    writer.delete("a", &DeleteParams::default()).await.unwrap();
    for expected in ["added", "deleted"] {
        let event = soon("an event", events.next()).await.unwrap().unwrap();
        let kind = match event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => "other",
        };
        assert_eq!(kind, expected);
    }
    served.stop().await;
}

#[tokio::test]
async fn a_watcher_lists_then_follows_in_each_of_its_ways() {
    use kube::runtime::watcher::{self, Event};
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
        watcher::Config::default().page_size(1),
    ] {
        let served = Served::start(LocalCluster::builder().watch_history(4).build().unwrap()).await;
        let api: Api<ConfigMap> = Api::default_namespaced(served.client());
        for name in ["a", "b"] {
            api.create(&PostParams::default(), &config_map_typed(name)).await.unwrap();
        }
        let mut events = kube::runtime::watcher(api.clone(), config).boxed();
        let mut seen = Vec::new();
        loop {
            match soon("an event", events.next()).await.unwrap() {
                Ok(Event::InitApply(object) | Event::Apply(object)) => seen.push(object.name_any()),
                Ok(Event::InitDone) if seen == ["a", "b"] => {
                    api.create(&PostParams::default(), &config_map_typed("c")).await.unwrap();
                }
                Ok(Event::Delete(object)) => seen.push(format!("-{}", object.name_any())),
                Ok(_) | Err(_) => {}
            }
            match seen.last().map(String::as_str) {
                Some("c") => drop(api.delete("c", &DeleteParams::default()).await.unwrap()),
                Some("-c") => break,
                _ => {}
            }
        }
        assert_eq!(seen, ["a", "b", "c", "-c"]);
        served.stop().await;
    }
}

#[tokio::test]
async fn pages_and_metadata_come_as_kube_asks_for_them() {
    let client = Client::new(LocalCluster::new(), "default");
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    for number in 0..5 {
        api.create(&PostParams::default(), &config_map_typed(&format!("c{number}"))).await.unwrap();
    }
    let page = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(page.metadata.remaining_item_count, Some(3));
    let token = page.metadata.continue_.unwrap();
    let rest = api.list(&ListParams::default().continue_token(&token)).await.unwrap();
    assert_eq!(rest.items.len(), 3);
    assert_eq!(api.list_metadata(&ListParams::default()).await.unwrap().items.len(), 5);
    assert_eq!(api.get_metadata("c0").await.unwrap().name_any(), "c0");
}

#[tokio::test]
async fn discovery_finds_kinds_their_scope_and_their_verbs() {
    let client = Client::new(LocalCluster::new(), "default");
    for discovery in [
        Discovery::new(client.clone()).run().await.unwrap(),
        Discovery::new(client.clone()).run_aggregated().await.unwrap(),
    ] {
        let kind = kube::core::GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease");
        let (resource, capabilities) = discovery.resolve_gvk(&kind).unwrap();
        assert_eq!(resource.plural, "leases");
        assert!(capabilities.supports_operation(kube::discovery::verbs::WATCH));
        let kind = kube::core::GroupVersionKind::gvk("", "v1", "Namespace");
        assert_eq!(discovery.resolve_gvk(&kind).unwrap().1.scope, kube::discovery::Scope::Cluster);
    }
}
