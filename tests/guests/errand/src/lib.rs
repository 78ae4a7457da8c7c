//! A task that does what a whole-host test tells it to, good or bad.
//!
//! Each run begins by creating a ConfigMap of its own, labelled `errand` with the setting `value`, with `probe/term` on it. What
//! else happens is the setting `behaviour`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tenure_plugin::{Cluster, Error, Kind, ListOptions, ObjectRef, PartialObject, Result, Task};

/// The manifest's `[settings]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    behaviour: Behaviour,
    /// What to label its ConfigMaps with.
    value: String,
    /// Where they are made.
    namespace: String,
}

/// What to do in a run.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Behaviour {
    /// End well.
    End,
    /// Wait for the cancellation, then put `errand/finished` on its ConfigMap.
    Linger,
    /// Spin until killed, deaf to everything.
    Deaf,
    /// Fail, unless this is the third run that began in this term.
    ThirdTime,
    /// Break off.
    Trap,
}

/// The task.
#[derive(Debug)]
pub struct Errand {
    settings: Settings,
}

impl Task for Errand {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self { settings })
    }

    fn run(self, cluster: &Cluster) -> Result<()> {
        let own = self.begin(cluster)?;
        match self.settings.behaviour {
            Behaviour::End => Ok(()),
            Behaviour::Linger => {
                while !cluster.wait(Duration::from_secs(1)) {}
                let finished = json!({"metadata": {"annotations": {"errand/finished": "yes"}}});
                cluster.merge_patch::<Value>(&own, &finished).map(drop)
            }
            Behaviour::Deaf => spin(),
            Behaviour::ThirdTime if self.runs(cluster)? == 3 => Ok(()),
            Behaviour::ThirdTime => Err(Error::guest("told to")),
            Behaviour::Trap => panic!("told to"),
        }
    }
}

impl Errand {
    fn begin(&self, cluster: &Cluster) -> Result<ObjectRef> {
        let wanted = ObjectRef::config_map(&self.settings.namespace, "errand-");
        let metadata = json!({
            "labels": {"errand": self.settings.value},
            "annotations": {"probe/term": cluster.term().to_string()},
        });
        let made: PartialObject = cluster.create(&wanted, &json!({"metadata": metadata}))?;
        Ok(ObjectRef::config_map(&self.settings.namespace, made.metadata.name))
    }

    /// How many runs have begun in this term.
    fn runs(&self, cluster: &Cluster) -> Result<usize> {
        let options =
            ListOptions::in_namespace(&self.settings.namespace).labelled(format!("errand={}", self.settings.value));
        let mut runs = 0;
        for made in cluster.list::<PartialObject>(&Kind::config_map(), options) {
            let of_this_term = made?.metadata.annotations.get("probe/term") == Some(&cluster.term().to_string());
            runs += usize::from(of_this_term);
        }
        Ok(runs)
    }
}

fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

tenure_plugin::task!(Errand);
