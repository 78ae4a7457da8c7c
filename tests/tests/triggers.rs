//! What makes work for a plugin, beyond its own objects: mappings from changed objects to others, and the calendar.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use tenure_local_cluster::Intercept;
use tenure_tests::{Options, Plugin, World, get, until};

const OBJECTS: usize = 40;
/// Calls at once: the host's default, which the label-propagator's manifest leaves as it is.
const CONCURRENCY: usize = 4;

async fn label(world: &World, namespace: &str, team: &str) {
    let namespaces: Api<Namespace> = Api::all(world.client());
    let patch = Patch::Merge(json!({"metadata": {"labels": {"team": team}}}));
    namespaces.patch(namespace, &PatchParams::default(), &patch).await.expect("the namespace can be labelled");
}

/// How many objects in a namespace carry this label.
async fn labelled(world: &World, namespace: &str, team: &str) -> usize {
    let objects = world.api::<ConfigMap>(namespace).list(&Default::default()).await.expect("the API answers");
    objects
        .iter()
        .filter(|object| {
            object.metadata.labels.as_ref().is_some_and(|all| all.get("team").is_some_and(|value| value == team))
        })
        .count()
}

/// A namespace whose objects all carry its label, once the label-propagator has seen to it.
async fn propagated(world: &World) {
    world.drop_in(&Plugin::built("label-propagator")).await;
    world.namespace("shop", &[("team", "blue")]).await;
    for number in 0..OBJECTS {
        world.config_map("mine", "shop", &format!("object-{number}"), json!({"a": "1"})).await;
    }
    until("all objects to be blue", || async { labelled(world, "shop", "blue").await == OBJECTS }).await;
}

/// From now on only so many writes to objects in `shop` are served; the others hang. Returns the names of those that do.
fn hang_writes_after(world: &World, served: usize) -> Arc<Mutex<BTreeSet<String>>> {
    let hung = Arc::new(Mutex::new(BTreeSet::new()));
    let (noted, left) = (Arc::clone(&hung), Mutex::new(served));
    world.cluster().intercept(Arc::new(move |request| {
        if request.verb != "patch" || request.resource != "configmaps" || request.namespace.as_deref() != Some("shop") {
            return Intercept::Pass;
        }
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        if *left > 0 {
            *left -= 1;
            return Intercept::Pass;
        }
        noted.lock().unwrap_or_else(PoisonError::into_inner).extend(request.name.clone());
        Intercept::Hang
    }));
    hung
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_namespace_has_its_objects_written_side_by_side() {
    let world = World::with_replicas(1, Options::default()).await;
    propagated(&world).await;
    let hung = hang_writes_after(&world, 0);
    label(&world, "shop", "green").await;
    let console = world.replicas["replica-0"].console().await;
    until("as many calls as may be made at once, each with a write that nobody answers", || async {
        let metrics = get(&format!("{console}/metrics")).await.unwrap_or_default();
        let mut workers = metrics.lines().filter(|line| line.starts_with("controller_runtime_active_workers{"));
        let written = hung.lock().unwrap_or_else(PoisonError::into_inner).len();
        workers.any(|line| line.ends_with(&format!(" {CONCURRENCY}"))) && written >= CONCURRENCY
    })
    .await;
    world.cluster().stop_intercepting();
    until("all objects to be green", || async { labelled(&world, "shop", "green").await == OBJECTS }).await;
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_in_the_middle_of_a_fan_out_loses_nothing() {
    let mut world = World::with_replicas(2, Options::default()).await;
    propagated(&world).await;
    let leader = world.leader().await;
    let hung = hang_writes_after(&world, OBJECTS / 4);
    label(&world, "shop", "green").await;
    until("a part to be green and the rest to hang", || async {
        let hangs = !hung.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        hangs && labelled(&world, "shop", "green").await == OBJECTS / 4
    })
    .await;
    world.replica(&leader).kill();
    assert_eq!(labelled(&world, "shop", "green").await, OBJECTS / 4);
    world.cluster().stop_intercepting();
    world.leader_after(&leader).await;
    until("all objects to be green", || async { labelled(&world, "shop", "green").await == OBJECTS }).await;
    world.judge.assert_clean();
}

/// The probe of this name gathers parts for its one object, `whole-<name>`; a changed part enqueues that `by` what is said.
async fn gatherer(world: &World, name: &str, by: &str) {
    let enqueue = format!("enqueue = [{{ {by}, api-version = \"v1\", kind = \"ConfigMap\" }}]");
    let watch = format!(
        "\n[[watch]]\napi-version = \"v1\"\nkind = \"ConfigMap\"\nlabel-selector = \"probe-part\"\n{enqueue}\n"
    );
    world.drop_in(&world.probe(name, "gather", "1").with(&watch)).await;
    let labels = json!({"probe": name, "same": "x", "of": "part"});
    let metadata = json!({"name": format!("whole-{name}"), "namespace": "default", "labels": labels});
    world.apply_config_map(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await;
    world.annotated_with("default", &format!("whole-{name}"), "probe/gathered", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_object_enqueues_its_owner_and_those_that_labels_and_namespaces_tie_to_it() {
    let world = World::with_replicas(1, Options::default()).await;
    let gatherers = [
        ("controller", "by = \"controller\""),
        ("owner", "by = \"owner\""),
        ("namespace", "by = \"namespace\""),
        ("named", "by = \"named-by-label\", label = \"named\""),
        ("labelled", "by = \"labelled-with-name\", label = \"of\""),
        ("same", "by = \"same-label\", label = \"same\""),
    ];
    for (name, by) in gatherers {
        gatherer(&world, name, by).await;
    }
    let mut owners = Vec::new();
    for owner in ["controller", "owner"] {
        let name = format!("whole-{owner}");
        let uid = world.get_config_map("default", &name).await.expect("the whole is there").metadata.uid;
        owners.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "controller": owner == "controller",
        }));
    }
    let labels = json!({"probe-part": "", "named": "whole-named", "same": "x"});
    let metadata = json!({"name": "part", "namespace": "default", "labels": labels, "ownerReferences": owners});
    let mut part = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
    for value in 1..=3 {
        part["data"] = json!({"value": value.to_string()});
        world.apply_config_map(&part).await;
        for (name, _) in gatherers {
            let gathered = format!("part={value}");
            world.annotated_with("default", &format!("whole-{name}"), "probe/gathered", &gathered).await;
        }
    }
    world.api::<ConfigMap>("default").delete("part", &DeleteParams::default()).await.expect("deleted");
    for (name, _) in gatherers {
        world.annotated_with("default", &format!("whole-{name}"), "probe/gathered", "").await;
    }
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_by_namespace_of_what_is_in_none_is_refused() {
    let nodes = "api-groups = [\"\"]\nresources = [\"nodes\"]\nverbs = [\"list\", \"watch\"]\n";
    let config = format!("[[grant]]\nplugin = \"*/bad\"\n[[grant.permission]]\n{nodes}");
    let world = World::with_replicas(1, Options { config, ..Options::default() }).await;
    let watch = format!(
        "\n[[watch]]\napi-version = \"v1\"\nkind = \"Node\"\n\
        enqueue = [{{ by = \"namespace\", api-version = \"v1\", kind = \"ConfigMap\" }}]\n[[permission]]\n{nodes}"
    );
    world.drop_in(&Plugin::probe("bad", "stamp", "1").with(&watch)).await;
    let row = world.plugin_state("bad", "refused").await;
    let message = row["message"].as_str().unwrap_or_default();
    assert!(message.contains("v1 Node") && message.contains("in no namespace"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_that_passed_while_nobody_led_is_made_up_for_by_the_next_leader() {
    let mut world = World::with_replicas(2, Options::default()).await;
    world.config_map("nobody", "default", "scheduled", json!({})).await;
    // Due once a year, and made up for all year long: in this test it comes due while nobody looks.
    let schedule = "\n[[schedule]]\ncron = \"0 0 1 1 *\"\ntime-zone = \"Asia/Tokyo\"\ncatch-up = \"400days\"\n";
    world.drop_in(&Plugin::probe("probe", "stamp", "1").with(schedule)).await;
    let first = world.annotated("default", "scheduled", "probe/term").await;
    let due = world.annotated("default", "scheduled", "probe/due").await;
    assert!(due.ends_with("-12-31T15:00:00Z"), "{due}");
    let leader = world.leader().await;
    world.replica(&leader).kill();
    world.leader_after(&leader).await;
    until("the next leader to make up for it", || async {
        world.annotation("default", "scheduled", "probe/term").await.is_some_and(|term| term != first)
    })
    .await;
    assert_eq!(world.annotated("default", "scheduled", "probe/due").await, due, "the same instant for everybody");
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_expression_that_cannot_be_followed_is_refused() {
    let world = World::with_replicas(1, Options::default()).await;
    let schedule = "\n[[schedule]]\ncron = \"0 0 * * *\"\ntime-zone = \"Europe/Berlim\"\n";
    world.drop_in(&Plugin::probe("bad", "stamp", "1").with(schedule)).await;
    let row = world.plugin_state("bad", "refused").await;
    let message = row["message"].as_str().unwrap_or_default();
    assert!(message.contains("Europe/Berlim") && message.contains("[[schedule]]"), "{message}");
}
