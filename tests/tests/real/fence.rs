//! The Lease fence as shipped: an API server that has it refuses what a replica writes that does not hold the lock, however it
//! writes, and what comes late from one that held it.

use http::{HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use rustix::process::Signal;
use serde_json::{Value, json};
use tenure_tests::{LEASE, Options, RealApi, World, until};

use super::rbac::{give_what_is_granted, grant_to_bot, modest};

const FENCE: &str = include_str!("../../../deploy/kustomize/components/fence/lease-fence.yaml");
const ANCHOR: &str = include_str!("../../../deploy/kustomize/components/fence/anchor.yaml");

/// Under which account the probe's writes go out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    Host,
    /// One of its own, by impersonation; the fence names it.
    Bot,
}

/// A world whose namespace of work is behind the fence, with replicas and a probe at work.
async fn fenced(api: &RealApi, under: Under, replicas: &[(&str, &[(&str, &str)])], behaviour: &str) -> World {
    // Profile default: a stall of this machine that ends a fast term is not what these are about.
    let mut world = World::on(api, Options { profile: "default", ..Options::default() }).await;
    let mut accounts = format!("{:?}", world.account());
    if under == Under::Bot {
        grant_to_bot(&world);
        give_what_is_granted(&world).await;
        accounts = format!("{accounts}, {:?}", bot(&world));
    }
    for text in [FENCE, ANCHOR] {
        for document in documents(&world, text, &accounts) {
            create(&world, &document).await;
        }
    }
    let label = Patch::Merge(json!({"metadata": {"labels": {"tenure.dev/fenced": "true"}}}));
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(world.client());
    namespaces.patch(&world.names.work, &PatchParams::default(), &label).await.expect("the namespace can be labelled");
    for (name, environment) in replicas {
        world.start_with(name, environment).await;
        world.leader().await;
    }
    let probe = world.probe("probe", behaviour, "1");
    world.drop_in(&if under == Under::Bot { modest(&world, probe) } else { probe }).await;
    world
}

/// What is shipped, for this world: another world's fence has another account and another Lease, and so another name.
fn documents(world: &World, text: &str, accounts: &str) -> Vec<Value> {
    let own = text
        .replace("name: host.tenure.dev", &format!("name: {LEASE}"))
        .replace("fence.tenure.dev", &format!("fence.{}.tenure.dev", world.names.system))
        .replace("lease-anchor.tenure.dev", &format!("lease-anchor.{}.tenure.dev", world.names.system))
        .replace("tenure-system", &world.names.system)
        .replace(&format!("username == {:?}", world.account()), &format!("username in [{accounts}]"));
    own.split("\n---\n").map(|document| serde_saphyr::from_str(document).expect("the fence is YAML")).collect()
}

/// The account of its own, as the API server calls it.
fn bot(world: &World) -> String {
    format!("system:serviceaccount:{}:bot", world.names.work)
}

async fn create(world: &World, object: &Value) {
    let new: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
    all_like(world, object).create(&PostParams::default(), &new).await.expect("the object can be created");
}

/// All objects of the kind of this one, which is in no namespace.
fn all_like(world: &World, object: &Value) -> Api<DynamicObject> {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').expect("a group and a version");
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
    Api::all_with(world.client(), &kind)
}

/// Whether the fence refused it; any other refusal is a failure of the test.
fn is_fenced<T: std::fmt::Debug>(what: &str, answer: kube::Result<T>) -> bool {
    match answer {
        Ok(_) => false,
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("does not hold the lease") => {
            true
        }
        Err(error) => panic!("{what}: {error:?}"),
    }
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).expect("a ConfigMap")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_hold_the_lock_cannot_write_in_any_way_and_who_does_can_in_all() {
    let Some(api) = RealApi::shared().await else { return };
    let world = fenced(&api, Under::Host, &[("replica-0", &[]), ("replica-1", &[])], "stamp").await;
    let work = world.names.work.clone();
    // What no plugin of this world may, so that only the fence decides below.
    let rule = json!({"apiGroups": [""], "resources": ["pods", "pods/status", "pods/eviction"], "verbs": ["*"]});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": format!("{work}-pods")}, "rules": [rule],
    });
    create(&world, &role).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": format!("{work}-pods")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{work}-pods")},
        "subjects": [{"kind": "ServiceAccount", "name": "tenure", "namespace": world.names.system}],
    });
    create(&world, &binding).await;

    world.api::<ConfigMap>(&work).create(&PostParams::default(), &config_map("there")).await.expect("created");
    let pod = json!({"metadata": {"name": "there"}, "spec": {"containers": [{"name": "main", "image": "none"}]}});
    let pod: Pod = serde_json::from_value(pod).expect("a Pod");
    let pod = world.api::<Pod>(&work).create(&PostParams::default(), &pod).await.expect("created");
    let holder = world.leader().await;
    let other = if holder == "replica-0" { "replica-1" } else { "replica-0" };

    let config_maps_of = async |name: &str| Api::<ConfigMap>::namespaced(world.client_of(name).await, &work);
    // The API server begins to enforce a new policy within some seconds.
    let probing = config_maps_of(other).await;
    until("the fence to stand", || async {
        is_fenced("a create", probing.create(&PostParams::default(), &config_map("one")).await)
            || probing.delete("one", &DeleteParams::default()).await.is_err()
    })
    .await;

    for (name, expected) in [(other, true), (holder.as_str(), false)] {
        let (config_maps, pods) =
            (config_maps_of(name).await, Api::<Pod>::namespaced(world.client_of(name).await, &work));
        let mut fenced = Vec::new();
        let created = config_maps.create(&PostParams::default(), &config_map("new")).await;
        fenced.push(("create", is_fenced("create", created)));
        let replaced = config_maps.replace("there", &PostParams::default(), &config_map("there")).await;
        fenced.push(("replace", is_fenced("replace", replaced)));
        let change = json!({"data": {"by": name}});
        let operation = json!([{"op": "add", "path": "/metadata/labels", "value": {"by": name}}]);
        let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"applied": name}});
        let patches: [(&str, Patch<Value>); 4] = [
            ("merge patch", Patch::Merge(change.clone())),
            ("strategic patch", Patch::Strategic(change)),
            ("JSON patch", Patch::Json(serde_json::from_value(operation).expect("a patch"))),
            ("apply", Patch::Apply(applied)),
        ];
        for (what, patch) in patches {
            let parameters = if what == "apply" { PatchParams::apply("fence").force() } else { PatchParams::default() };
            fenced.push((what, is_fenced(what, config_maps.patch("there", &parameters, &patch).await)));
        }
        let status = Patch::Merge(json!({"status": {"message": name}}));
        let patched = pods.patch_status("there", &PatchParams::default(), &status).await;
        fenced.push(("status", is_fenced("status", patched)));
        let deleted = config_maps.delete("there", &DeleteParams::default()).await.map(drop);
        fenced.push(("delete", is_fenced("delete", deleted)));
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        fenced.push(("dry run", is_fenced("dry run", config_maps.create(&dry, &config_map("dry")).await)));
        let wrong: Vec<_> = fenced.iter().filter(|(_, fenced)| *fenced != expected).collect();
        assert!(wrong.is_empty(), "{name} (holder: {holder}): {wrong:?}");
    }
    assert_eq!(pod.metadata.name.as_deref(), Some("there"));

    // Neither has an account of another world, nor a person, anything to do with it.
    world.api::<ConfigMap>(&work).create(&PostParams::default(), &config_map("by-a-person")).await.expect("created");
    // Without a Lease nobody writes, until somebody holds one again.
    world.delete_lease().await;
    let next = world.leader().await;
    let config_maps = config_maps_of(&next).await;
    until("the new holder to be let through", || async {
        !is_fenced(
            "a create",
            config_maps.create(&PostParams { dry_run: true, ..PostParams::default() }, &config_map("again")).await,
        )
    })
    .await;
    world.judge.assert_terms_rise();
}

/// What no check in this process can close, a pause between the last look at the clocks and `write(2)`, the fence does.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_stopped_after_the_last_look_is_refused_when_it_comes_out() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = fenced(&api, Under::Host, &[("stopped", &[("TENURE_STOP_AT", "after-last-look")])], "burst").await;
    world.config_map("probe", &world.names.work, "target", json!({})).await;
    world.replica("stopped").stopped().await;
    let term = world.term().await.expect("a term");
    // Not before: by then nobody else may have got to lead.
    world.start("successor").await;
    world.leader_after("stopped").await;
    until("the successor to write", || async { world.judge.writes().iter().any(|(of, ..)| *of > term) }).await;
    let config_maps = Api::<ConfigMap>::namespaced(world.client_of("stopped").await, &world.names.work);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    until("the fence to stand", || async {
        is_fenced("a create", config_maps.create(&dry, &config_map("probing")).await)
    })
    .await;
    world.replica("stopped").signal(Signal::CONT);
    world.replica("stopped").logged("stopped leading").await;
    let seen = world.judge.writes().len();
    until("the successor to go on", || async { world.judge.writes().len() > seen + 20 }).await;
    assert_eq!(world.judge.late_writes(), []);
    world.judge.assert_clean();
}

/// As the host writes for a plugin under an account of its own: from the Pod of this name, in the name of `bot`.
async fn bot_from(world: &World, pod: &str) -> Api<ConfigMap> {
    let kubeconfig = Kubeconfig::read_from(world.kubeconfig(pod, None).await).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.expect("a configuration");
    for (header, value) in [
        ("impersonate-user", bot(world)),
        ("impersonate-extra-authentication.kubernetes.io%2fpod-name", pod.to_owned()),
    ] {
        config.headers.push((HeaderName::from_static(header), HeaderValue::from_str(&value).expect("a value")));
    }
    Api::namespaced(Client::try_from(config).expect("a client"), &world.names.work)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_writes_in_the_name_of_an_account_is_held_to_the_hosts_pod() {
    let Some(api) = RealApi::shared().await else { return };
    let world = fenced(&api, Under::Bot, &[("replica-0", &[]), ("replica-1", &[])], "stamp").await;
    let work = world.names.work.clone();
    // Its rights are in force once the plugin has written under them.
    world.config_map("probe", &work, "before", json!({})).await;
    world.annotated(&work, "before", "probe/term").await;
    let holder = world.leader().await;
    let other = if holder == "replica-0" { "replica-1" } else { "replica-0" };
    let write = Patch::Merge(json!({"data": {"key": "value"}}));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let bot = bot_from(&world, other).await;
    until("the fence to stand", || async { is_fenced("a patch", bot.patch("before", &dry, &write).await) }).await;
    assert!(is_fenced("a patch", bot.patch("before", &PatchParams::default(), &write).await), "from {other}");
    let bot = bot_from(&world, &holder).await;
    assert!(!is_fenced("a patch", bot.patch("before", &PatchParams::default(), &write).await), "from {holder}");
    // The host itself sends what it takes to pass.
    world.config_map("probe", &work, "after", json!({})).await;
    world.annotated(&work, "after", "probe/term").await;
    assert_eq!(world.leader().await, holder);
}

/// While no policy names Leases the API server's watch of them may end for good (kubernetes/kubernetes#130887): a fence made again would
/// judge by the holder of then. The anchor is what stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_fence_taken_away_and_made_again_judges_by_the_holder_of_now() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = fenced(&api, Under::Host, &[("replica-0", &[]), ("replica-1", &[])], "stamp").await;
    let work = world.names.work.clone();
    let first = world.leader().await;
    let second = if first == "replica-0" { "replica-1" } else { "replica-0" };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let is_refused = async |config_maps: &Api<ConfigMap>| {
        is_fenced("a create", config_maps.create(&dry, &config_map("probing")).await)
    };
    let of_first = Api::<ConfigMap>::namespaced(world.client_of(&first).await, &work);
    let of_second = Api::<ConfigMap>::namespaced(world.client_of(second).await, &work);
    until("the fence to stand", || async { is_refused(&of_second).await }).await;
    assert!(!is_refused(&of_first).await, "it holds the lock");

    let documents = documents(&world, FENCE, &format!("{:?}", world.account()));
    for document in documents.iter().rev() {
        let name = document["metadata"]["name"].as_str().expect("a name");
        all_like(&world, document).delete(name, &DeleteParams::default()).await.expect("the fence can be taken away");
    }
    until("the fence to be gone", || async { !is_refused(&of_second).await }).await;
    world.replica(&first).kill();
    assert_eq!(world.leader_after(&first).await, second);
    for document in &documents {
        create(&world, document).await;
    }
    until("the fence to stand again", || async { is_refused(&of_first).await }).await;
    assert!(!is_refused(&of_second).await, "it holds the lock now");
}
