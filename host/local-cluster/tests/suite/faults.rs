//! Faults on purpose, and the audit of what happened nevertheless.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tenure_local_cluster::{ConnectionDropped, Intercept, LocalCluster, RequestInfo};
use tower::Service;

use crate::rig::{
    CONFIG_MAPS, LEASES, Served, config_map, delete, get, lease, merge, post, put, request, soon, version,
};

fn on_writes(cluster: &LocalCluster, fault: Intercept) {
    cluster.intercept(Arc::new(move |request: &RequestInfo| {
        if matches!(request.verb, "get" | "list" | "watch") { Intercept::Pass } else { fault.clone() }
    }));
}

#[tokio::test]
async fn refusals_on_purpose_change_nothing() {
    let cluster = LocalCluster::new();
    for (fault, code, reason) in [
        (Intercept::Forbid("not you".to_owned()), 403, "Forbidden"),
        (Intercept::Unavailable, 503, "ServiceUnavailable"),
        (Intercept::TooManyRequests(1), 429, "TooManyRequests"),
    ] {
        on_writes(&cluster, fault);
        let (answered, status) = post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await;
        assert_eq!((answered, status["reason"].as_str().unwrap()), (code, reason));
        assert_eq!(cluster.audit().last().unwrap().code, code);
    }
    assert_eq!(get(&cluster, &format!("{CONFIG_MAPS}/a")).await.0, 404);
    cluster.stop_intercepting();
    assert_eq!(post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await.0, 201);
}

#[tokio::test]
async fn a_lost_answer_has_taken_effect() {
    let mut cluster = LocalCluster::new();
    on_writes(&cluster, Intercept::LoseAnswer);
    let create = request(http::Method::POST, LEASES, "application/json", &lease("l", "x"));
    assert_eq!(cluster.call(create).await.err(), Some(ConnectionDropped));
    assert_eq!(get(&cluster, &format!("{LEASES}/l")).await.1["spec"]["holderIdentity"], "x");
    let last = cluster.audit().pop().unwrap();
    assert_eq!((last.version, last.code, last.verb), (Some(cluster.version()), 201, "create"));
}

#[tokio::test]
async fn over_http_a_lost_answer_is_a_broken_connection() {
    let served = Served::start(LocalCluster::new()).await;
    on_writes(&served.cluster, Intercept::LoseAnswer);
    let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> = kube::Api::default_namespaced(served.client());
    let body = serde_json::from_value(lease("l", "x")).unwrap();
    let error = leases.create(&kube::api::PostParams::default(), &body).await.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "{error}");
    assert_eq!(leases.get("l").await.unwrap().spec.unwrap().holder_identity.unwrap(), "x");
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn delays_pass_and_a_hanging_request_never_answers() {
    let cluster = LocalCluster::new();
    on_writes(&cluster, Intercept::Delay(Duration::from_secs(5)));
    let before = tokio::time::Instant::now();
    assert_eq!(post(&cluster, CONFIG_MAPS, &config_map("a", json!({}))).await.0, 201);
    assert_eq!(before.elapsed().as_secs(), 5);
    let (path, body) = (CONFIG_MAPS, config_map("late", json!({})));
    assert!(tokio::time::timeout(Duration::from_secs(2), post(&cluster, path, &body)).await.is_err());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(get(&cluster, &format!("{CONFIG_MAPS}/late")).await.0, 200, "nobody waited, and it arrived");
    on_writes(&cluster, Intercept::Hang);
    let (path, patch) = (format!("{CONFIG_MAPS}/a"), json!({"data": {"k": "v"}}));
    assert!(tokio::time::timeout(Duration::from_secs(3600), merge(&cluster, &path, &patch)).await.is_err());
    assert_eq!(get(&cluster, &format!("{CONFIG_MAPS}/a")).await.1.get("data"), None);
}

#[tokio::test]
async fn an_interceptor_sees_what_rbac_would_see() {
    let cluster = LocalCluster::new();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    cluster.intercept(Arc::new(move |request: &RequestInfo| {
        log.lock().unwrap().push(request.clone());
        Intercept::Pass
    }));
    merge(&cluster, "/api/v1/namespaces/default/pods/p/status", &json!({})).await;
    get(&cluster, "/apis/coordination.k8s.io/v1/leases?watch=false").await;
    get(&cluster, "/apis/apps/v1/deployments").await;
    get(&cluster, "/version").await;
    let seen = seen.lock().unwrap();
    let shown: Vec<String> = seen
        .iter()
        .map(|r| format!("{} {:?} {} {:?} {:?} {:?}", r.verb, r.group, r.resource, r.namespace, r.name, r.subresource))
        .collect();
    assert_eq!(
        shown,
        [
            "patch \"\" pods Some(\"default\") Some(\"p\") Some(\"status\")",
            "list \"coordination.k8s.io\" leases None None None",
            "list \"apps\" deployments None None None",
            "get \"\"  None None None",
        ]
    );
    assert_eq!(seen[0].user_agent, "suite/1.0");
}

#[tokio::test]
async fn the_audit_stands_in_the_order_of_versions() {
    let cluster = LocalCluster::new();
    let mut follower = cluster.subscribe();
    let (_, created) = post(&cluster, &format!("{LEASES}?fieldManager=elector"), &lease("l", "x")).await;
    put(&cluster, &format!("{LEASES}/l"), &created).await;
    post(&cluster, LEASES, &lease("l", "x")).await;
    delete(&cluster, &format!("{LEASES}/l"), &Value::Null).await;
    let mut entries = Vec::new();
    for _ in 0..4 {
        let entry = soon("an audit entry", follower.recv()).await.unwrap();
        entries.push((entry.verb, entry.code, entry.version, entry.field_manager));
    }
    let first = version(&created);
    assert_eq!(
        entries,
        [
            ("create", 201, Some(first), "elector".to_owned()),
            ("update", 200, None, "suite".to_owned()),
            ("create", 409, None, "suite".to_owned()),
            ("delete", 200, Some(first + 1), "suite".to_owned()),
        ]
    );
    let audit = cluster.audit();
    let versions: Vec<u64> = audit.iter().filter_map(|entry| entry.version).collect();
    assert!(versions.is_sorted_by(|a, b| a < b));
}

#[tokio::test]
async fn a_shutdown_ends_watches_and_hanging_requests() {
    let served = Served::start(LocalCluster::new()).await;
    let hanging = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&hanging);
    served.cluster.intercept(Arc::new(move |request: &RequestInfo| {
        if request.verb == "create" {
            count.fetch_add(1, Ordering::SeqCst);
            return Intercept::Hang;
        }
        Intercept::Pass
    }));
    let api: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::default_namespaced(served.client());
    let watching = api.clone();
    let watch = tokio::spawn(async move {
        use futures::StreamExt;
        let events = watching.watch(&kube::api::WatchParams::default(), "0").await.unwrap();
        events.collect::<Vec<_>>().await.len()
    });
    let create = tokio::spawn(async move {
        let body = serde_json::from_value(config_map("a", json!({}))).unwrap();
        api.create(&kube::api::PostParams::default(), &body).await.is_err()
    });
    soon("the hanging request", async {
        while hanging.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    served.stop().await;
    soon("the watch's end", watch).await.unwrap();
    assert!(soon("the hanging request's end", create).await.unwrap());
}
