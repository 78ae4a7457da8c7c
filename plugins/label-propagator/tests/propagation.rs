//! The plugin against a cluster in memory: what it copies, what it leaves alone, what it takes back.

#![expect(clippy::needless_pass_by_value, reason = "reads best with json!({..}) in place")]

use label_propagator::LabelPropagator;
use serde_json::{Value, json};
use tenure_plugin::{
    Error, Kind, ObjectRef, Reason, Reconciler,
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

#[test]
fn a_namespaces_labels_reach_its_objects_and_a_second_call_writes_nothing() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web", "example.com/cost": "7", "other": "x" })));
    fake.edit(&source, |namespace| namespace["metadata"]["annotations"] = json!({ "contact": "web@example.com" }));
    let prices = fake.put(config_map("prices", json!({ "app": "till" })));
    let banner = fake.put(config_map("banner", Value::Null));

    let _ = fake.reconcile(&mut plugin, &source).expect("propagated");
    assert_eq!(labels(&fake, &prices), json!({ "app": "till", "team": "web", "example.com/cost": "7" }));
    assert_eq!(labels(&fake, &banner), json!({ "team": "web", "example.com/cost": "7" }));
    assert_eq!(fake.object(&prices).expect("there")["metadata"]["annotations"]["contact"], "web@example.com");
    assert_eq!(fake.take_writes().len(), 2);

    for object in [&source, &prices, &banner] {
        let _ = fake.reconcile(&mut plugin, object).expect("nothing to do");
    }
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
    let _ = fake.reconcile(&mut plugin, &source).expect("propagated");

    fake.edit(&source, |namespace| namespace["metadata"]["labels"] = json!({ "team": "web" }));
    let _ = fake.reconcile(&mut plugin, &source).expect("taken back");
    assert_eq!(labels(&fake, &prices), json!({ "app": "till", "example.com/theirs": "1", "team": "web" }));

    fake.edit(&source, |namespace| namespace["metadata"]["labels"] = json!({}));
    let _ = fake.reconcile(&mut plugin, &source).expect("taken back");
    let metadata = &fake.object(&prices).expect("there")["metadata"];
    assert_eq!(metadata["labels"], json!({ "app": "till", "example.com/theirs": "1" }));
    assert_eq!(metadata.get("annotations"), None, "nothing of the plugin is left");

    let _ = fake.take_writes();
    let _ = fake.reconcile(&mut plugin, &source).expect("nothing to do");
    assert_eq!(fake.take_writes(), []);
}

#[test]
fn a_changed_value_is_carried_on() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web" })));
    let prices = fake.put(config_map("prices", Value::Null));
    let _ = fake.reconcile(&mut plugin, &source).expect("propagated");
    fake.edit(&source, |namespace| namespace["metadata"]["labels"]["team"] = "shop".into());
    let _ = fake.reconcile(&mut plugin, &source).expect("propagated");
    assert_eq!(labels(&fake, &prices), json!({ "team": "shop" }));
}

#[test]
fn a_value_somebody_else_set_stays_unless_told_to_overwrite() {
    let fake = FakeCluster::new();
    let source = fake.put(namespace(json!({ "team": "web", "example.com/cost": "7" })));
    let prices = fake.put(config_map("prices", json!({ "team": "till" })));
    let mut leaving = copying_team();
    let _ = fake.reconcile(&mut leaving, &source).expect("propagated");
    assert_eq!(labels(&fake, &prices), json!({ "team": "till", "example.com/cost": "7" }));
    let _ = fake.take_writes();
    let _ = fake.reconcile(&mut leaving, &source).expect("nothing to do");
    assert_eq!(fake.take_writes(), [], "a foreign value is no reason to write again and again");

    let _ = fake.reconcile(&mut overwriting_team(), &source).expect("propagated");
    assert_eq!(labels(&fake, &prices)["team"], "web");
}

#[test]
fn a_copied_key_that_somebody_took_over_is_given_up_and_the_rest_is_kept() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web", "example.com/cost": "7" })));
    let prices = fake.put(config_map("prices", Value::Null));
    let _ = fake.reconcile(&mut plugin, &source).expect("propagated");
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
    let _ = fake.reconcile(&mut plugin, &source).expect("nothing to do");

    fake.put(config_map("banner", Value::Null));
    fake.edit(&source, |namespace| namespace["metadata"]["finalizers"] = json!(["kubernetes"]));
    fake.delete(&source);
    let _ = fake.reconcile(&mut plugin, &source).expect("nothing to do");
    assert_eq!(fake.take_writes(), []);
}

#[test]
fn work_stops_at_the_first_object_after_leadership_ends() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web" })));
    for name in ["a", "b", "c"] {
        fake.put(config_map(name, Value::Null));
    }
    fake.cancel_after_writes(1);
    let stopped = fake.reconcile(&mut plugin, &source).expect_err("cut short");
    assert!(stopped.is_cancelled());
    assert_eq!(fake.take_writes().len(), 1);
}

#[test]
fn a_denied_object_does_not_hold_up_the_others() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web" })));
    fake.put(config_map("a", Value::Null));
    let open = fake.put(config_map("b", Value::Null));
    fake.interrupt(|verb, object| match (verb, object.name.as_str()) {
        (Verb::Apply, "a") => Err(Error::new(Reason::Denied, "not granted")),
        _ => Ok(()),
    });
    let _ = fake.reconcile(&mut plugin, &source).expect("the other one is done");
    assert_eq!(labels(&fake, &open), json!({ "team": "web" }));
}

#[test]
fn a_namespace_that_may_not_be_listed_is_left_alone() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web" })));
    fake.interrupt(|verb, _| match verb {
        Verb::List => Err(Error::new(Reason::Denied, "not granted")),
        _ => Ok(()),
    });
    let _ = fake.reconcile(&mut plugin, &source).expect("nothing to do");
    assert_eq!(fake.take_writes(), []);
}

#[test]
fn plugins_own_config_maps_are_never_tried() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web" })));
    fake.put(config_map("plugin", json!({ "tenure.dev/plugin": "true" })));
    let _ = fake.reconcile(&mut plugin, &source).expect("nothing to do");
    assert_eq!(fake.take_writes(), []);
}

#[test]
fn a_big_namespace_is_worked_off_in_batches_that_end() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web" })));
    for number in 0..120 {
        fake.put(config_map(&format!("map-{number:03}"), Value::Null));
    }
    let mut calls = 1;
    while fake.reconcile(&mut plugin, &source).expect("a batch").requeue().is_some() {
        calls += 1;
    }
    assert_eq!(calls, 3);
    assert!(fake.objects(&Kind::config_map()).iter().all(|object| object["metadata"]["labels"]["team"] == "web"));
}

#[test]
fn a_used_up_budget_is_waited_for_and_is_no_failure() {
    let (fake, mut plugin) = (FakeCluster::new(), copying_team());
    let source = fake.put(namespace(json!({ "team": "web" })));
    fake.put(config_map("a", Value::Null));
    let pause = std::time::Duration::from_millis(300);
    fake.interrupt(move |verb, _| match verb {
        Verb::Apply => Err(Error::new(Reason::Limited, "requests per second").with_retry_after(pause)),
        _ => Ok(()),
    });
    assert_eq!(fake.reconcile(&mut plugin, &source).expect("later").requeue(), Some(pause));
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
