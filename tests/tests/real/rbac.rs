//! What `tenure plugin rbac` prints, on an API server that enforces it: enough for a plugin to work, and not a verb too much.

use std::process::Command;

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tenure_tests::{Options, Plugin, RealApi, World, program, until};

/// What the probe needs to stamp ConfigMaps.
pub(super) const VERBS: [&str; 3] = ["list", "watch", "patch"];

/// A world whose host may do no more for plugins than what is created in it.
pub(super) async fn without_rights(api: &RealApi) -> World {
    let world = World::on(api, Options { profile: "default", ..Options::default() }).await;
    let roles: Api<ClusterRole> = Api::all(world.client());
    roles.delete(&world.names.system, &DeleteParams::default()).await.expect("the role can be deleted");
    until("the right to change ConfigMaps to be gone", || async {
        !world.may(&world.account(), "patch", "", "configmaps", &world.names.work).await
    })
    .await;
    world
}

/// A probe, requesting what it needs where it works.
pub(super) fn modest(world: &World, probe: Plugin) -> Plugin {
    let manifest = probe
        .manifest
        .replace(r#"["get", "list", "watch", "create", "patch"]"#, &format!("{VERBS:?}"))
        .replace(r#"namespaces = ["*"]"#, &format!("namespaces = [{:?}]", world.names.work));
    assert_ne!(manifest, probe.manifest);
    Plugin { manifest, ..probe }
}

/// The documents that the command prints about a file.
pub(super) fn printed(world: &World, about: &[&str]) -> Vec<Value> {
    let output = Command::new(program())
        .args(["plugin", "rbac", "--namespace", &world.names.system])
        .args(about)
        .current_dir(world.folder())
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let documents = text.split("---\n").skip(1).map(|document| serde_saphyr::from_str(document).expect("YAML"));
    documents.collect()
}

pub(super) async fn create(world: &World, object: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&object["apiVersion"]);
    let (group, version) = version.split_once('/').expect("a group and a version");
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &text(&object["kind"])));
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(world.client(), namespace, &kind),
        None => Api::all_with(world.client(), &kind),
    };
    let object = serde_json::from_value(object.clone()).expect("an object");
    api.create(&PostParams::default(), &object).await.expect("the object can be created");
}

/// A grant to the probe to stamp where it works, under the account `bot` there, in the place of all that the world grants.
pub(super) fn grant_to_bot(world: &World) {
    let file = world.folder().join("tenure.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let (settings, _) = text.split_once("[[grant]]").expect("a grant");
    let work = &world.names.work;
    let rule =
        format!("api-groups = [\"\"]\nresources = [\"configmaps\"]\nverbs = {VERBS:?}\nnamespaces = [{work:?}]\n");
    let grant =
        format!("[[grant]]\nplugin = \"*/probe\"\nservice-account = \"{work}/bot\"\n[[grant.permission]]\n{rule}");
    std::fs::write(file, format!("{settings}{grant}")).expect("written");
}

/// Creates what the command prints about the world's configuration.
pub(super) async fn give_what_is_granted(world: &World) {
    let name = format!("{}-grants", world.names.system);
    for document in printed(world, &["--config", "tenure.toml", "--name", &name]) {
        create(world, &document).await;
    }
}

/// Creates what was printed, but for one verb, and waits until it is in force.
async fn give(world: &World, mut documents: Vec<Value>, lacking: Option<&str>) {
    for document in &mut documents {
        for rule in document["rules"].as_array_mut().into_iter().flatten() {
            rule["verbs"].as_array_mut().expect("verbs").retain(|verb| verb.as_str() != lacking);
        }
        create(world, document).await;
    }
    until("what is printed to be in force", || async {
        let mut all = true;
        for verb in VERBS.into_iter().filter(|verb| Some(*verb) != lacking) {
            all &= world.may(&world.account(), verb, "", "configmaps", &world.names.work).await;
        }
        all
    })
    .await;
}

/// With these rights, or all but one of them.
async fn works_with(api: &RealApi, lacking: Option<&str>) {
    let mut world = without_rights(api).await;
    let probe = modest(&world, world.probe("probe", "stamp", "1"));
    std::fs::write(world.folder().join("plugin.toml"), &probe.manifest).expect("written");
    let documents = printed(&world, &["plugin.toml"]);
    let kinds: Vec<_> = documents.iter().filter_map(|document| document["kind"].as_str()).collect();
    assert_eq!(kinds, ["Role", "RoleBinding"]);
    give(&world, documents, lacking).await;
    world.start("replica-0").await;
    world.drop_in(&probe).await;
    world.config_map("probe", &world.names.work, "target", json!({})).await;
    match lacking {
        None => drop(world.annotated(&world.names.work, "target", "probe/term").await),
        Some(verb) => {
            world.replica("replica-0").logged(&format!("cannot {verb} resource")).await;
            // Without a watch, lists still bring what was there before; later changes come when it is listed again.
            let stamped = world.annotation(&world.names.work, "target", "probe/term").await;
            assert!(verb == "watch" || stamped.is_none(), "it works without {verb}: {stamped:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_works_with_the_printed_role_and_with_no_verb_less() {
    let Some(api) = RealApi::shared().await else { return };
    works_with(&api, None).await;
    for verb in VERBS {
        works_with(&api, Some(verb)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_is_served_by_a_cluster_role() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = without_rights(&api).await;
    let name = format!("{}-grants", world.names.system);
    // What every world grants: ConfigMaps anywhere.
    let documents = printed(&world, &["--config", "tenure.toml", "--name", &name]);
    let kinds: Vec<_> = documents.iter().filter_map(|document| document["kind"].as_str()).collect();
    assert_eq!(kinds, ["ClusterRole", "ClusterRoleBinding"]);
    give(&world, documents, None).await;
    world.start("replica-0").await;
    world.drop_in(&world.probe("probe", "stamp", "1")).await;
    world.config_map("probe", &world.names.work, "target", json!({})).await;
    world.annotated(&world.names.work, "target", "probe/term").await;
}
