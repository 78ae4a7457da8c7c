//! The plugin against a cluster in memory: what it copies, what it leaves alone, what it takes back.

#![expect(clippy::needless_pass_by_value, reason = "reads best with json!({..}) in place")]

use label_propagator::LabelPropagator;
use serde_json::{Value, json};
use tenure_plugin::{
    Error, Kind, ObjectRef, Reason, Reconciler, Result,
    testing::{FakeCluster, Verb},
};

fn plugin(settings: Value) -> LabelPropagator {
    LabelPropagator::new(serde_json::from_value(settings).expect("settings")).expect("settings that make sense")
}

fn copying_team() -> LabelPropagator {
    plugin(json!({
        "labels": ["team", "example.com/*"], "annotations": ["contact"],
        "kinds": [{ "api-version": "v1", "kind": "ConfigMap" }],
    }))
}

fn overwriting_team() -> LabelPropagator {
    plugin(json!({
        "labels": ["team"], "on-conflict": "overwrite", "kinds": [{ "api-version": "v1", "kind": "ConfigMap" }],
    }))
}

fn namespace(labels: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop", "labels": labels } })
}

fn config_map(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": { "key": "value" },
        "metadata": { "name": name, "namespace": "shop", "labels": labels },
    })
}

fn labels(fake: &FakeCluster, object: &ObjectRef) -> Value {
    fake.object(object).expect("the object is there")["metadata"]["labels"].clone()
}

/// Calls the plugin for each ConfigMap in the namespace, as the host does when the Namespace changes; ends at the first error.
fn namespace_changed(fake: &FakeCluster, plugin: &mut LabelPropagator) -> Result<()> {
    fake.objects(&Kind::config_map()).iter().try_for_each(|object| {
        let name = object["metadata"]["name"].as_str().expect("a name");
        fake.reconcile(plugin, &ObjectRef::config_map("shop", name)).map(drop)
    })
}

#[test]
fn a_namespaces_labels_reach_its_objects_and_a_second_call_writes_nothing() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web", "example.com/cost": "7", "other": "x" })));
    fake.edit(&source, |namespace| namespace["metadata"]["annotations"] = json!({ "contact": "web@example.com" }));
    let prices = fake.put(config_map("prices", json!({ "app": "till" })));
    let banner = fake.put(config_map("banner", Value::Null));

    namespace_changed(&fake, &mut plugin).expect("propagated");
    assert_eq!(labels(&fake, &prices), json!({ "app": "till", "team": "web", "example.com/cost": "7" }));
    assert_eq!(labels(&fake, &banner), json!({ "team": "web", "example.com/cost": "7" }));
    assert_eq!(fake.object(&prices).expect("there")["metadata"]["annotations"]["contact"], "web@example.com");
    assert_eq!(fake.take_writes().len(), 2);

    namespace_changed(&fake, &mut plugin).expect("nothing to do");
    assert_eq!(fake.take_writes(), []);
}

#[test]
fn a_new_object_gets_its_namespaces_labels_without_a_change_of_the_namespace() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    fake.put(namespace(json!({ "team": "web" })));
    let prices = fake.put(config_map("prices", Value::Null));
    let _ = fake.reconcile(&mut plugin, &prices).expect("propagated");
    assert_eq!(labels(&fake, &prices), json!({ "team": "web" }));
}

#[test]
fn a_key_that_goes_from_the_namespace_goes_from_the_objects_and_no_other_does() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web", "example.com/cost": "7" })));
    let prices = fake.put(config_map("prices", json!({ "app": "till", "example.com/theirs": "1" })));
    namespace_changed(&fake, &mut plugin).expect("propagated");

    fake.edit(&source, |namespace| namespace["metadata"]["labels"] = json!({ "team": "web" }));
    namespace_changed(&fake, &mut plugin).expect("taken back");
    assert_eq!(labels(&fake, &prices), json!({ "app": "till", "example.com/theirs": "1", "team": "web" }));

    fake.edit(&source, |namespace| namespace["metadata"]["labels"] = json!({}));
    namespace_changed(&fake, &mut plugin).expect("taken back");
    let metadata = &fake.object(&prices).expect("there")["metadata"];
    assert_eq!(metadata["labels"], json!({ "app": "till", "example.com/theirs": "1" }));
    assert_eq!(metadata.get("annotations"), None, "nothing of the plugin is left");

    let _ = fake.take_writes();
    namespace_changed(&fake, &mut plugin).expect("nothing to do");
    assert_eq!(fake.take_writes(), []);
}

#[test]
fn a_changed_value_is_carried_on() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web" })));
    let prices = fake.put(config_map("prices", Value::Null));
    namespace_changed(&fake, &mut plugin).expect("propagated");
    fake.edit(&source, |namespace| namespace["metadata"]["labels"]["team"] = "shop".into());
    namespace_changed(&fake, &mut plugin).expect("propagated");
    assert_eq!(labels(&fake, &prices), json!({ "team": "shop" }));
}

#[test]
fn a_value_somebody_else_set_stays_unless_told_to_overwrite() {
    let fake = FakeCluster::new();
    fake.put(namespace(json!({ "team": "web", "example.com/cost": "7" })));
    let prices = fake.put(config_map("prices", json!({ "team": "till" })));
    let mut leaving = copying_team();
    namespace_changed(&fake, &mut leaving).expect("propagated");
    assert_eq!(labels(&fake, &prices), json!({ "team": "till", "example.com/cost": "7" }));
    let _ = fake.take_writes();
    namespace_changed(&fake, &mut leaving).expect("nothing to do");
    assert_eq!(fake.take_writes(), [], "a foreign value is no reason to write again and again");

    namespace_changed(&fake, &mut overwriting_team()).expect("propagated");
    assert_eq!(labels(&fake, &prices)["team"], "web");
}

#[test]
fn a_copied_key_that_somebody_took_over_is_given_up_and_the_rest_is_kept() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    fake.put(namespace(json!({ "team": "web", "example.com/cost": "7" })));
    let prices = fake.put(config_map("prices", Value::Null));
    namespace_changed(&fake, &mut plugin).expect("propagated");
    fake.edit(&prices, |object| object["metadata"]["labels"]["team"] = "till".into());

    let _ = fake.reconcile(&mut plugin, &prices).expect("the conflict is settled");
    assert_eq!(labels(&fake, &prices), json!({ "team": "till", "example.com/cost": "7" }));
    let _ = fake.take_writes();
    let _ = fake.reconcile(&mut plugin, &prices).expect("nothing to do");
    assert_eq!(fake.take_writes(), []);
}

#[test]
fn an_object_deleted_meanwhile_is_not_brought_back() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    fake.put(namespace(json!({ "team": "web" })));
    let prices = fake.put(config_map("prices", Value::Null));
    let (world, gone) = (fake.clone(), prices.clone());
    fake.interrupt(move |verb, _| {
        if verb == Verb::Apply {
            world.delete(&gone);
        }
        Ok(())
    });
    let _ = fake.reconcile(&mut plugin, &prices).expect("nothing left to do");
    assert_eq!(fake.object(&prices), None);
    assert_eq!(fake.take_writes()[0].refused, Some(Reason::Conflict));
}

#[test]
fn what_is_being_deleted_is_left_alone() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web" })));
    let mut held = config_map("prices", Value::Null);
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    let prices = fake.put(held);
    fake.delete(&prices);
    let _ = fake.reconcile(&mut plugin, &prices).expect("nothing to do");
    namespace_changed(&fake, &mut plugin).expect("nothing to do");

    fake.put(config_map("banner", Value::Null));
    fake.edit(&source, |namespace| namespace["metadata"]["finalizers"] = json!(["kubernetes"]));
    fake.delete(&source);
    namespace_changed(&fake, &mut plugin).expect("nothing to do");
    assert_eq!(fake.take_writes(), []);
}

#[test]
fn work_stops_at_the_first_object_after_leadership_ends() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    fake.put(namespace(json!({ "team": "web" })));
    for name in ["a", "b", "c"] {
        fake.put(config_map(name, Value::Null));
    }
    fake.cancel_after_writes(1);
    let stopped = namespace_changed(&fake, &mut plugin).expect_err("cut short");
    assert!(stopped.is_cancelled());
    assert_eq!(fake.take_writes().len(), 1);
}

#[test]
fn a_denied_object_does_not_hold_up_the_others() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    fake.put(namespace(json!({ "team": "web" })));
    fake.put(config_map("a", Value::Null));
    let open = fake.put(config_map("b", Value::Null));
    fake.interrupt(|verb, object| match (verb, object.name.as_str()) {
        (Verb::Apply, "a") => Err(Error::new(Reason::Denied, "not granted")),
        _ => Ok(()),
    });
    namespace_changed(&fake, &mut plugin).expect("the other one is done");
    assert_eq!(labels(&fake, &open), json!({ "team": "web" }));
}

#[test]
fn plugins_own_config_maps_are_never_tried() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    fake.put(namespace(json!({ "team": "web" })));
    fake.put(config_map("plugin", json!({ "tenure.dev/plugin": "true" })));
    namespace_changed(&fake, &mut plugin).expect("nothing to do");
    assert_eq!(fake.take_writes(), []);
}

#[test]
fn a_manifest_that_has_it_called_for_a_namespace_is_told_what_it_lacks() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web" })));
    let refused = fake.reconcile(&mut plugin, &source).expect_err("not what it is called for");
    assert!(refused.message().contains("enqueue"), "{refused}");
}

#[test]
fn a_used_up_budget_is_waited_for_and_is_no_failure() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    fake.put(namespace(json!({ "team": "web" })));
    let object = fake.put(config_map("a", Value::Null));
    let pause = std::time::Duration::from_millis(300);
    fake.interrupt(move |verb, _| match verb {
        Verb::Apply => Err(Error::new(Reason::Limited, "requests per second").with_retry_after(pause)),
        _ => Ok(()),
    });
    assert_eq!(fake.reconcile(&mut plugin, &object).expect("later").requeue(), Some(pause));
}

#[test]
fn settings_that_make_no_sense_are_refused_with_the_reason() {
    for (settings, reason) in [
        (json!({ "kinds": [{ "api-version": "v1", "kind": "ConfigMap" }] }), "both empty"),
        (json!({ "labels": ["a"], "kinds": [] }), "settings.kinds is empty"),
        (json!({ "labels": ["a"], "kinds": [{ "api-version": "v1", "kind": "Namespace" }] }), "lists Namespace"),
        (
            json!({ "labels": ["a*b"], "kinds": [{ "api-version": "v1", "kind": "ConfigMap" }] }),
            "may only stand at the end",
        ),
    ] {
        let refused = LabelPropagator::new(serde_json::from_value(settings).expect("settings")).err().expect("refused");
        assert!(refused.message().contains(reason), "{refused}");
    }
}
