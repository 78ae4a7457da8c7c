//! A plugin that does what a whole-host test tells it to, good or bad.
//!
//! Every watched ConfigMap gets annotations that say who wrote last: `probe/term` and `probe/value`. What else happens is
//! the setting `behaviour`. A schedule stamps the ConfigMap `scheduled` in `default`, with `probe/due`.

use std::cell::Cell;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tenure_plugin::{
    Cause, Cluster, DeleteOptions, Error, GetOptions, Kind, ListOptions, ObjectRef, Outcome, Reconciler, Request,
    Result, WriteOptions, info,
};

/// The manifest's `[settings]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    behaviour: Behaviour,
    /// What to stamp objects with.
    #[serde(default)]
    value: String,
}

/// What to do with each object.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Behaviour {
    /// Stamp it, once.
    Stamp,
    /// Stamp it again and again, until a write is refused; never asks whether it is cancelled.
    Burst,
    /// Stamp it every 50 ms, in calls of 20 s, until cancelled.
    Beat,
    /// Stamp it, then wait for the cancellation, then stamp `probe/finished`.
    Linger,
    /// Stamp it, then spin until killed, deaf to everything.
    Deaf,
    /// Break off.
    Trap,
    /// Never return.
    Spin,
    /// Take memory until there is none.
    Eat,
    /// Return an error.
    Fail,
    /// Return an error of a mebibyte, over several lines.
    Cry,
    /// Ask the API server and log, without end and without a pause.
    Flood,
    /// Write where nothing is granted, and what is not the plugin's to say; stamp the answers' reasons.
    Trespass,
    /// Break off while the ConfigMap `ledger` beside it has the `answer` `trap`, else stamp it.
    Moody,
    /// Stamp it; when it ends, count that on the ConfigMap `ledger` beside it, unless that one's `answer` is `fail` or `later`.
    Clean,
    /// Write in each way there is to what lies beside it, once a term; stamp the answers' reasons.
    EachWay,
    /// Stamp it with `probe/gathered`: what the ConfigMaps labelled `probe-part` beside it hold.
    Gather,
}

/// The plugin.
#[derive(Debug)]
pub struct Probe {
    settings: Settings,
    /// How often it has written as [`Behaviour::Beat`]: no two writes are alike.
    beats: Cell<u64>,
}

impl Reconciler for Probe {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self { settings, beats: Cell::new(0) })
    }

    fn reconcile(&mut self, request: Request, cluster: &Cluster) -> Result<Outcome> {
        if request.cause == Cause::Scheduled {
            let target = ObjectRef::config_map("default", "scheduled");
            self.stamp(cluster, &target, json!({"probe/due": request.due()}))?;
            return Ok(Outcome::done());
        }
        let object = &request.object;
        info!(object = object; "reconcile");
        match self.settings.behaviour {
            Behaviour::Stamp => self.stamp(cluster, object, json!({})),
            Behaviour::Burst => self.burst(cluster, object),
            Behaviour::Beat => return self.beat(cluster, object),
            Behaviour::Linger => self.linger(cluster, object),
            Behaviour::Deaf => {
                self.stamp(cluster, object, json!({}))?;
                spin()
            }
            Behaviour::Trap => panic!("told to"),
            Behaviour::Spin => spin(),
            Behaviour::Eat => eat(),
            Behaviour::Fail => Err(Error::guest("told to")),
            Behaviour::Cry => Err(Error::guest(format!("told to\n{{\"forged\":1}}\u{1b}[2J{}", "x".repeat(1 << 20)))),
            Behaviour::Flood => flood(cluster, object),
            Behaviour::Trespass => self.trespass(cluster, object),
            Behaviour::Moody => self.moody(cluster, object),
            Behaviour::Clean => return self.clean(cluster, &request),
            Behaviour::EachWay => self.each_way(cluster, object),
            Behaviour::Gather => self.gather(cluster, object),
        }?;
        Ok(Outcome::done())
    }
}

impl Probe {
    fn stamp(&self, cluster: &Cluster, object: &ObjectRef, more: Value) -> Result<()> {
        let mut annotations = json!({"probe/term": cluster.term().to_string(), "probe/value": self.settings.value});
        if let (Some(annotations), Value::Object(more)) = (annotations.as_object_mut(), more) {
            annotations.extend(more);
        }
        cluster.merge_patch::<Value>(object, &json!({"metadata": {"annotations": annotations}})).map(drop)
    }

    fn burst(&self, cluster: &Cluster, object: &ObjectRef) -> Result<()> {
        for number in 0_u64.. {
            match self.stamp(cluster, object, json!({"probe/number": number.to_string()})) {
                Err(error) if error.is_limited() => drop(cluster.wait(Duration::from_millis(20))),
                result => result?,
            }
        }
        Ok(())
    }

    fn beat(&self, cluster: &Cluster, object: &ObjectRef) -> Result<Outcome> {
        const EVERY: Duration = Duration::from_millis(50);
        const BEATS_PER_CALL: u32 = 400; // 20 s, shorter than the limit for one call
        for _ in 0..BEATS_PER_CALL {
            let number = self.beats.get();
            self.beats.set(number + 1);
            self.stamp(cluster, object, json!({"probe/number": number.to_string()}))?;
            if cluster.wait(EVERY) {
                return Ok(Outcome::done());
            }
        }
        Ok(Outcome::requeue_after(Duration::from_millis(1)))
    }

    fn linger(&self, cluster: &Cluster, object: &ObjectRef) -> Result<()> {
        self.stamp(cluster, object, json!({}))?;
        while !cluster.wait(Duration::from_secs(1)) {}
        self.stamp(cluster, object, json!({"probe/finished": cluster.term().to_string()}))
    }

    fn trespass(&self, cluster: &Cluster, object: &ObjectRef) -> Result<()> {
        let mut reasons = Vec::new();
        for target in [
            ObjectRef::config_map("tenure-plugins", "probe"),
            ObjectRef::config_map("tenure-system", "anything"),
            ObjectRef::namespace("default"),
            ObjectRef::config_map("default", "../../tenure-system/configmaps/tenure"),
        ] {
            let body = json!({"metadata": {"annotations": {"probe/was": "here"}}});
            reasons.push(reason(cluster.merge_patch::<Value>(&target, &body)));
        }
        let label = json!({"metadata": {"labels": {"tenure.dev/plugin": "true"}}});
        let spoofed = json!({"metadata": {"managedFields": [{"manager": "kubectl", "operation": "Update"}]}});
        for body in
            [label, spoofed, json!({"apiVersion": "v1", "kind": "Secret"}), json!({"metadata": {"namespace": "other"}})]
        {
            reasons.push(reason(cluster.merge_patch::<Value>(object, &body)));
        }
        for path in ["x/metadata/annotations/y", "/metadata/managedFields/0/manager"] {
            reasons
                .push(reason(cluster.json_patch::<Value>(object, &json!([{"op": "add", "path": path, "value": "z"}]))));
        }
        self.stamp(cluster, object, json!({"probe/reasons": reasons.join(",")}))
    }

    fn moody(&self, cluster: &Cluster, object: &ObjectRef) -> Result<()> {
        let ledger = ObjectRef::config_map(object.namespace.clone().unwrap_or_default(), "ledger");
        let now: Value = cluster.get_with(&ledger, &GetOptions::live())?;
        assert_ne!(now["data"]["answer"], "trap", "told to");
        self.stamp(cluster, object, json!({}))
    }

    fn clean(&self, cluster: &Cluster, request: &Request) -> Result<Outcome> {
        let object = &request.object;
        if request.cause != Cause::Deleted {
            self.stamp(cluster, object, json!({}))?;
            return Ok(Outcome::done());
        }
        let ledger = ObjectRef::config_map(object.namespace.clone().unwrap_or_default(), "ledger");
        let now: Value = cluster.get_with(&ledger, &GetOptions::live())?;
        let note = |key: String, value: String| {
            let annotations = json!({key: value, "probe/term": cluster.term().to_string()});
            cluster.merge_patch::<Value>(&ledger, &json!({"metadata": {"annotations": annotations}})).map(drop)
        };
        let answer = now["data"]["answer"].as_str().unwrap_or_default();
        if !answer.is_empty() {
            note(format!("probe/{answer}-{}", object.name), cluster.term().to_string())?;
        }
        match answer {
            "fail" => return Err(Error::guest("told to")),
            "later" => return Ok(Outcome::requeue_after(Duration::from_millis(50))),
            _ => {}
        }
        let key = format!("probe/cleaned-{}", object.name);
        let before = now["metadata"]["annotations"][&key].as_str().and_then(|count| count.parse::<u32>().ok());
        note(key, (before.unwrap_or_default() + 1).to_string())?;
        Ok(Outcome::done())
    }

    fn each_way(&self, cluster: &Cluster, object: &ObjectRef) -> Result<()> {
        let term = cluster.term().to_string();
        let trigger: Value = cluster.get_with(object, &GetOptions::live())?;
        if trigger["metadata"]["annotations"]["probe/term"] == term.as_str() {
            return Ok(());
        }
        let namespace = object.namespace.clone().unwrap_or_default();
        let beside = |name: &str| ObjectRef::config_map(namespace.clone(), name);
        let data = json!({"data": {"term": term}});
        let operations = json!([{"op": "add", "path": "/data", "value": {"term": term}}]);
        let mut reasons = Vec::new();
        let mut note = |what: &str, answer: Result<Value>| reasons.push(format!("{what}={}", reason(answer)));

        let mut replaced: Value = cluster.get_with(&beside("replaced"), &GetOptions::live())?;
        replaced["data"] = data["data"].clone();
        note("replace", cluster.replace(&beside("replaced"), &replaced));
        note("merge", cluster.merge_patch(&beside("merged"), &data));
        note("json", cluster.json_patch(&beside("patched"), &operations));
        note("json-bare", cluster.json_patch(&beside("bare"), &operations));
        let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data["data"]});
        note("apply", cluster.apply(&beside("applied"), &applied));
        note("create", cluster.create(&beside(&format!("made-in-{term}")), &data));
        let doomed = beside(&format!("doomed-in-{term}"));
        note("doomed", cluster.create(&doomed, &data));
        note("delete", cluster.delete(&doomed, &DeleteOptions::default()).map(|()| Value::Null));

        let deployment = Kind::new("apps/v1", "Deployment").named(namespace.clone(), "deployed");
        let waits = json!([{"op": "add", "path": "/spec/minReadySeconds", "value": cluster.term() % 100}]);
        note("json-unseen", cluster.json_patch(&deployment, &waits));
        let mut status: Value = cluster.get_with(&deployment, &GetOptions::live())?;
        status["status"]["observedGeneration"] = 1.into();
        status["status"]["replicas"] = (cluster.term() % 1000).into();
        note("status", cluster.replace_with(&deployment, &status, &WriteOptions::status()));
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "deployed", "namespace": namespace}, "spec": {"replicas": cluster.term() % 1000},
        });
        let of_scale = WriteOptions { subresource: Some("scale".to_owned()), ..WriteOptions::default() };
        note("scale", cluster.replace_with(&deployment, &scale, &of_scale));

        let patch_with = |options: &WriteOptions| {
            cluster.patch_with(
                &deployment,
                tenure_plugin::PatchType::Merge,
                &json!({"status": {"replicas": 1}}),
                options,
            )
        };
        note("status-by-patch", patch_with(&WriteOptions::status()));
        note("generated", cluster.create(&beside("made-up-"), &data));
        let token = json!({"metadata": {"annotations": {"fence.tenure.dev/another": "1"}}});
        note("another", cluster.merge_patch(&beside("merged"), &token));
        let all = json!([{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]);
        note("all-annotations", cluster.json_patch(&beside("patched"), &all));
        self.stamp(cluster, object, json!({"probe/reasons": reasons.join(",")}))
    }

    fn gather(&self, cluster: &Cluster, object: &ObjectRef) -> Result<()> {
        let options = ListOptions::in_namespace(object.namespace.clone().unwrap_or_default()).labelled("probe-part");
        let mut gathered = Vec::new();
        for part in cluster.list::<Value>(&Kind::config_map(), options) {
            let part = part?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            gathered.push(format!("{}={}", text(&part["metadata"]["name"]), text(&part["data"]["value"])));
        }
        self.stamp(cluster, object, json!({"probe/gathered": gathered.join(",")}))
    }
}

fn reason(answer: Result<Value>) -> String {
    answer.err().map_or_else(|| "Allowed".to_owned(), |error| error.reason().as_str().to_owned())
}

fn flood(cluster: &Cluster, object: &ObjectRef) -> ! {
    let line = "x".repeat(1 << 10);
    loop {
        info!("{line}");
        drop(cluster.get_with::<Value>(object, &GetOptions::live()));
    }
}

fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

fn eat() -> ! {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

tenure_plugin::reconciler!(Probe);
