//! The plugin against a cluster in memory: copies made, followed, repaired, removed; and everybody else's left alone.

use configmap_replicator::ConfigMapReplicator;
use serde_json::{Value, json};
use tenure_plugin::{
    Cause, Error, ObjectRef, Reason, Reconciler,
    testing::{FakeCluster, Verb, logged},
};

const FINALIZER: &str = "configmap-replicator.tenure.dev/cleanup";

struct World {
    fake: FakeCluster,
    plugin: ConfigMapReplicator,
    source: ObjectRef,
    web: ObjectRef,
    copy: ObjectRef,
}

impl World {
    /// A source `shared/ca`, a namespace `web` that asks for it, and one that does not.
    fn new() -> Self {
        let fake = FakeCluster::new();
        let source = fake.put(source(&json!({ "ca.crt": "one" })));
        let web = fake.put(namespace("web", "shared/ca"));
        fake.put(namespace("other", ""));
        fake.put(namespace("shared", "shared/ca"));
        let plugin = ConfigMapReplicator::new(serde_json::from_str("{}").expect("settings")).expect("sound settings");
        Self { fake, plugin, source, web, copy: ObjectRef::config_map("web", "ca") }
    }

    fn copied() -> Self {
        let mut world = Self::new();
        world.reconcile_source();
        let _ = world.fake.take_writes();
        world
    }

    fn reconcile(&mut self, object: &ObjectRef) {
        let outcome = self.fake.reconcile(&mut self.plugin, object).expect("reconciled");
        assert_eq!(outcome.requeue(), None, "{object} is settled");
    }

    fn reconcile_source(&mut self) {
        self.reconcile(&self.source.clone());
    }

    fn data(&self) -> Option<Value> {
        self.fake.object(&self.copy).map(|copy| copy["data"].clone())
    }

    /// Whatever the plugin is called for, it finds nothing to write.
    fn assert_at_rest(&mut self) {
        let _ = self.fake.take_writes();
        for object in [self.source.clone(), self.web.clone(), self.copy.clone()] {
            self.reconcile(&object);
        }
        assert_eq!(self.fake.take_writes(), []);
    }
}

fn source(data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {
            "namespace": "shared", "name": "ca", "finalizers": ["example.com/first"],
            "labels": { "configmap-replicator.tenure.dev/source": "true", "app": "ca" },
        },
    })
}

fn namespace(name: &str, wanted: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "annotations": { "configmap-replicator.tenure.dev/copy": wanted } },
    })
}

#[test]
fn a_namespace_that_asks_gets_a_copy_and_a_second_call_writes_nothing() {
    let mut world = World::new();
    world.reconcile_source();
    let verbs: Vec<Verb> = world.fake.take_writes().iter().map(|write| write.verb).collect();
    assert_eq!(verbs, [Verb::Patch, Verb::Create], "the finalizer comes before the first copy");
    assert_eq!(world.data(), Some(json!({ "ca.crt": "one" })));
    let held = world.fake.object(&world.source).expect("there")["metadata"]["finalizers"].clone();
    assert_eq!(held, json!(["example.com/first", FINALIZER]));
    assert_eq!(world.fake.object(&ObjectRef::config_map("other", "ca")), None);
    world.assert_at_rest();
}

#[test]
fn a_namespace_that_begins_to_ask_needs_no_change_of_the_source() {
    let mut world = World::new();
    world.reconcile(&world.web.clone());
    assert_eq!(world.data(), Some(json!({ "ca.crt": "one" })));
    world.assert_at_rest();
}

#[test]
fn a_change_of_the_source_reaches_its_copies_down_to_removed_keys() {
    let mut world = World::copied();
    world.fake.edit(&world.source, |source| source["data"] = json!({ "ca.pem": "two" }));
    world.fake.edit(&world.source, |source| source["binaryData"] = json!({ "raw": "AAA=" }));
    world.reconcile_source();
    let copy = world.fake.object(&world.copy).expect("there");
    assert_eq!((&copy["data"], &copy["binaryData"]), (&json!({ "ca.pem": "two" }), &json!({ "raw": "AAA=" })));
    world.assert_at_rest();
}

#[test]
fn drift_is_repaired_and_foreign_labels_stay() {
    let mut world = World::copied();
    world.fake.edit(&world.copy, |copy| {
        copy["data"] = json!({ "ca.crt": "tampered", "more": "x" });
        copy["metadata"]["labels"] = json!({ "team": "web" });
    });
    world.reconcile(&world.web.clone());
    assert_eq!(world.data(), Some(json!({ "ca.crt": "one" })));
    assert_eq!(world.fake.object(&world.copy).expect("there")["metadata"]["labels"]["team"], "web");
    world.assert_at_rest();
}

#[test]
fn a_deleted_copy_is_made_again() {
    let mut world = World::copied();
    let last_seen = world.fake.request(Cause::Deleted, &world.copy);
    world.fake.delete(&world.copy);
    let _ = world.plugin.reconcile(last_seen, &world.fake.cluster()).expect("made again");
    assert_eq!(world.data(), Some(json!({ "ca.crt": "one" })));
}

#[test]
fn a_namespace_that_no_longer_asks_loses_its_copy() {
    let mut world = World::copied();
    world.fake.edit(&world.web, |web| web["metadata"]["annotations"] = json!({}));
    world.reconcile(&world.web.clone());
    assert_eq!(world.data(), None);
    world.assert_at_rest();
}

#[test]
fn a_deleted_source_goes_after_its_copies() {
    let mut world = World::copied();
    world.fake.edit(&world.source, |source| source["metadata"]["finalizers"] = json!([FINALIZER]));
    world.fake.delete(&world.source);
    assert!(world.fake.object(&world.source).is_some(), "held by the finalizer");
    world.reconcile_source();
    assert_eq!(world.data(), None);
    assert_eq!(world.fake.object(&world.source), None);
    let verbs: Vec<Verb> = world.fake.take_writes().iter().map(|write| write.verb).collect();
    assert_eq!(verbs, [Verb::Delete, Verb::Patch]);
    world.assert_at_rest();
}

#[test]
fn a_source_that_loses_its_label_is_let_go() {
    let mut world = World::copied();
    world.fake.edit(&world.source, |source| source["metadata"]["labels"] = json!({ "app": "ca" }));
    let gone_from_the_watch = world.fake.request(Cause::Deleted, &world.source);
    let _ = world.plugin.reconcile(gone_from_the_watch, &world.fake.cluster()).expect("let go");
    assert_eq!(world.data(), None);
    let finalizers = world.fake.object(&world.source).expect("there")["metadata"]["finalizers"].clone();
    assert_eq!(finalizers, json!(["example.com/first"]));
    world.assert_at_rest();
}

#[test]
fn a_source_without_its_finalizer_that_vanished_leaves_no_copies() {
    let mut world = World::copied();
    world.fake.edit(&world.source, |source| source["metadata"]["finalizers"] = json!([]));
    world.fake.delete(&world.source);
    world.reconcile_source();
    assert_eq!(world.data(), None);
}

#[test]
fn nothing_is_removed_on_the_word_of_an_old_cache() {
    let mut world = World::copied();
    world.fake.edit(&world.source, |source| source["metadata"]["labels"] = json!({}));
    world.fake.edit(&world.web, |web| web["metadata"]["annotations"] = json!({}));
    world.fake.freeze_cache(); // neither a source nor asked for, so that its copy looks unwanted
    world.fake.edit(&world.source, |source| {
        source["metadata"]["labels"] = json!({ "configmap-replicator.tenure.dev/source": "true" });
    });
    world.fake.edit(&world.web, |web| {
        web["metadata"]["annotations"] = json!({ "configmap-replicator.tenure.dev/copy": "shared/ca" });
    });
    for object in [world.source.clone(), world.web.clone(), world.copy.clone()] {
        world.reconcile(&object);
    }
    assert_eq!(world.fake.take_writes(), []);
}

#[test]
fn a_config_map_that_is_no_copy_is_never_touched() {
    let mut world = World::new();
    let theirs = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": "web", "name": "ca" }, "data": { "own": "1" },
    });
    world.fake.put(theirs);
    world.reconcile_source();
    world.reconcile(&world.web.clone());
    assert_eq!(world.data(), Some(json!({ "own": "1" })));
    assert!(logged().iter().any(|line| line.message.contains("is no copy of it")));
    world.fake.edit(&world.web, |web| web["metadata"]["annotations"] = json!({}));
    world.reconcile(&world.web.clone());
    assert_eq!(world.data(), Some(json!({ "own": "1" })));
}

#[test]
fn the_source_decides_which_namespaces_may_have_it() {
    let mut world = World::copied();
    let allowed = "configmap-replicator.tenure.dev/allowed-namespaces";
    world.fake.edit(&world.source, |source| source["metadata"]["annotations"] = json!({ allowed: "team-*" }));
    world.reconcile_source();
    assert_eq!(world.data(), None);
    world.fake.edit(&world.source, |source| source["metadata"]["annotations"] = json!({ allowed: "team-*, web" }));
    world.reconcile_source();
    assert!(world.data().is_some());
}

#[test]
fn sources_outside_the_settings_are_not_copied() {
    let mut world = World::new();
    let settings = serde_json::from_str(r#"{"source-namespaces":["public-*"]}"#).expect("settings");
    world.plugin = ConfigMapReplicator::new(settings).expect("sound settings");
    world.reconcile_source();
    world.reconcile(&world.web.clone());
    assert_eq!(world.fake.take_writes(), []);
}

#[test]
fn a_conflict_is_no_failure_and_the_next_call_settles_it() {
    let mut world = World::copied();
    world.fake.edit(&world.source, |source| source["data"]["ca.crt"] = "two".into());
    let (fake, copy) = (world.fake.clone(), world.copy.clone());
    world.fake.interrupt(move |verb, _| {
        if verb == Verb::Patch {
            fake.edit(&copy, |copy| copy["metadata"]["annotations"]["touched"] = "yes".into());
        }
        Ok(())
    });
    let outcome = world.fake.reconcile(&mut world.plugin, &world.source).expect("later");
    assert!(outcome.requeue().is_some());
    assert_eq!(world.fake.take_writes()[0].refused, Some(Reason::Conflict));
    world.fake.interrupt(|_, _| Ok(()));
    world.reconcile_source();
    assert_eq!(world.data(), Some(json!({ "ca.crt": "two" })));
}

#[test]
fn a_copy_made_by_another_instance_meanwhile_is_no_failure() {
    let mut world = World::new();
    let (fake, copy) = (world.fake.clone(), world.copy.clone());
    world.fake.interrupt(move |verb, _| {
        if verb == Verb::Create && fake.object(&copy).is_none() {
            fake.put(
                json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": "web", "name": "ca" } }),
            );
        }
        Ok(())
    });
    assert!(world.fake.reconcile(&mut world.plugin, &world.source).expect("later").requeue().is_some());
}

#[test]
fn a_copy_that_vanished_before_its_removal_does_not_hold_up_the_source() {
    let mut world = World::copied();
    world.fake.edit(&world.source, |source| source["metadata"]["finalizers"] = json!([FINALIZER]));
    world.fake.delete(&world.source);
    let (fake, copy) = (world.fake.clone(), world.copy.clone());
    world.fake.interrupt(move |verb, _| {
        if verb == Verb::Delete {
            fake.delete(&copy);
        }
        Ok(())
    });
    world.reconcile_source();
    assert_eq!(world.fake.object(&world.source), None);
}

#[test]
fn a_terminating_namespace_gets_nothing_even_if_the_cache_is_late() {
    let mut world = World::new();
    world.fake.interrupt(|verb, object| match (verb, object.namespace.as_deref()) {
        (Verb::Create, Some("web")) => Err(Error::new(Reason::Forbidden, "the namespace is being terminated")
            .with_status(r#"{"details":{"causes":[{"reason":"NamespaceTerminating"}]}}"#)),
        _ => Ok(()),
    });
    world.reconcile_source();
}

#[test]
fn without_its_finalizer_nothing_is_copied() {
    let mut world = World::new();
    world.fake.interrupt(|verb, _| match verb {
        Verb::Patch => Err(Error::new(Reason::Denied, "not granted")),
        _ => Ok(()),
    });
    world.reconcile_source();
    world.reconcile(&world.web.clone());
    assert_eq!(world.data(), None);
}

#[test]
fn a_denied_namespace_does_not_hold_up_the_others() {
    let mut world = World::new();
    world.fake.put(namespace("alpha", "shared/ca"));
    world.fake.interrupt(|verb, object| match (verb, object.namespace.as_deref()) {
        (Verb::Create, Some("alpha")) => Err(Error::new(Reason::Denied, "not granted")),
        _ => Ok(()),
    });
    world.reconcile_source();
    assert!(world.data().is_some());
}

#[test]
fn a_namespace_that_may_not_be_listed_is_left_alone() {
    let mut world = World::new();
    let other = world.fake.put(namespace("other", ""));
    world.fake.interrupt(|verb, _| match verb {
        Verb::List => Err(Error::new(Reason::Denied, "not granted")),
        _ => Ok(()),
    });
    let _ = world.fake.reconcile(&mut world.plugin, &other).expect("nothing to do");
}

#[test]
fn a_source_is_not_released_while_a_copy_may_not_be_removed() {
    let mut world = World::copied();
    world.fake.edit(&world.source, |source| source["metadata"]["finalizers"] = json!([FINALIZER]));
    world.fake.delete(&world.source);
    world.fake.interrupt(|verb, _| match verb {
        Verb::Delete => Err(Error::new(Reason::Denied, "not granted")),
        _ => Ok(()),
    });
    let failed = world.fake.reconcile(&mut world.plugin, &world.source).expect_err("a copy is left");
    assert!(failed.is_denied());
    assert!(world.fake.object(&world.source).is_some());
}

#[test]
fn work_stops_when_leadership_ends_and_a_successor_finishes_it() {
    let mut world = World::new();
    world.fake.cancel_after_writes(1);
    let stopped = world.fake.reconcile(&mut world.plugin, &world.source).expect_err("cut short");
    assert!(stopped.is_cancelled());
    assert_eq!(world.fake.take_writes().len(), 1);
    world.fake.cancel_after_writes(usize::MAX);
    world.reconcile_source();
    assert!(world.data().is_some());
}
