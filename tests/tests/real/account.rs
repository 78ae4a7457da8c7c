//! A plugin under an account of its own: the API server's RBAC for that account decides what it writes, and what it is shown of the
//! cache, which the host fills under its own account.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tenure_tests::{RealApi, World, until};

use super::rbac::{VERBS, give_what_is_granted, grant_to_bot, modest, without_rights};

/// A world that grants the probe to work as `bot`.
async fn with_bot(api: &RealApi) -> World {
    let world = without_rights(api).await;
    let bot = ServiceAccount {
        metadata: ObjectMeta { name: Some("bot".to_owned()), ..ObjectMeta::default() },
        ..ServiceAccount::default()
    };
    world.api::<ServiceAccount>(&world.names.work).create(&PostParams::default(), &bot).await.expect("created");
    grant_to_bot(&world);
    world
}

/// Leaves these verbs on ConfigMaps to the account, and waits until that is in force.
async fn leave(world: &World, verbs: &[&str]) {
    let work = &world.names.work;
    let name = format!("{}-grants-{work}-bot", world.names.system);
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]);
    let roles = world.api::<Role>(work);
    roles.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"rules": rules}))).await.expect("patched");
    let bot = format!("system:serviceaccount:{work}:bot");
    until("the account's rights to be in force", || async {
        let mut all = true;
        for verb in VERBS {
            all &= world.may(&bot, verb, "", "configmaps", work).await == verbs.contains(&verb);
        }
        all
    })
    .await;
}

async fn row_says(world: &World, field: &str, words: &[&str]) {
    until(&format!("{words:?} in the leader's status"), || async {
        let status: Value = world.status_of_leader().await.unwrap_or_default();
        let said = status["plugins"][0].pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        words.iter().all(|word| said.contains(word))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_rights_decide_what_is_written_and_what_is_shown_of_the_cache() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = with_bot(&api).await;
    give_what_is_granted(&world).await;
    let work = world.names.work.clone();
    world.start("replica-0").await;
    let part = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "1"},
        "metadata": {"name": "part", "namespace": work, "labels": {"probe-part": "true"}}});
    world.apply_config_map(&part).await;
    // It reads the cache before it writes.
    world.drop_in(&modest(&world, world.probe("probe", "gather", "1"))).await;
    world.config_map("probe", &work, "one", json!({})).await;
    world.annotated_with(&work, "one", "probe/gathered", "part=1").await;
    let term = world.term().await;

    // The host itself may not patch either: it is the account that could.
    assert!(!world.may(&world.account(), "patch", "", "configmaps", &work).await);
    leave(&world, &["list", "watch"]).await;
    world.config_map("probe", &work, "two", json!({})).await;
    row_says(&world, "/last_result/message", &[&format!("system:serviceaccount:{work}:bot"), "cannot patch"]).await;
    leave(&world, &VERBS).await;
    world.annotated(&work, "two", "probe/gathered").await;

    // Taken away while it works: the host goes on watching, and the plugin is shown nothing.
    leave(&world, &["patch"]).await;
    row_says(&world, "/message", &["may not list configmaps", ":bot"]).await;
    world.config_map("probe", &work, "three", json!({})).await;
    world.replica("replica-0").logged("may no longer see").await;
    assert_eq!(world.annotation(&work, "three", "probe/gathered").await, None);
    leave(&world, &VERBS).await;
    world.annotated(&work, "three", "probe/gathered").await;
    assert_eq!(world.term().await, term);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_lacks_to_work_in_its_name_is_told_until_it_is_given() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = with_bot(&api).await;
    let work = world.names.work.clone();
    world.start("replica-0").await;
    world.drop_in(&modest(&world, world.probe("probe", "stamp", "1"))).await;
    let row = world.plugin_state("probe", "refused").await;
    let message = row["message"].as_str().expect("a reason");
    for word in [
        "impersonate serviceaccounts \"bot\"",
        &work,
        "create subjectaccessreviews",
        "userextras/authentication.kubernetes.io/pod-name",
        "tenure plugin rbac --config",
    ] {
        assert!(message.contains(word), "{word} is missing in {message}");
    }
    give_what_is_granted(&world).await;
    world.config_map("probe", &work, "target", json!({})).await;
    world.annotated(&work, "target", "probe/term").await;
}
