//! The API of a cluster, asked through kubectl: what this command knows of it, anybody can see.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::process::{self, interrupted, seconds};

/// One question. Longer than kubectl's own limit for a request, so that its error is the one that is seen.
const ASK_LIMIT: Duration = Duration::from_secs(40);

const LOOK: Duration = Duration::from_millis(200);

/// kubectl, as administrator of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

impl Kubectl {
    /// What it prints.
    pub(crate) fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        // Nothing of the person who runs this.
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", "/nonexistent").arg("--request-timeout=30s");
        process::output(command.args(arguments), ASK_LIMIT)
    }

    /// An object or a list.
    pub(crate) fn get(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = vec!["get", "--output=json"];
        all.extend(arguments);
        serde_json::from_str(&self.ask(&all)?).context("kubectl printed something else than JSON")
    }

    /// Names of the nodes, each with whether it is ready.
    pub(crate) fn nodes(&self) -> anyhow::Result<Vec<(String, bool)>> {
        let list = self.get(&["nodes"])?;
        let nodes = list["items"].as_array().into_iter().flatten();
        Ok(nodes.map(|node| (text(node, "/metadata/name"), condition(node, "Ready"))).collect())
    }

    /// Asks until the answer is the one, at most so long; errors count as another answer. Says how long it took.
    pub(crate) fn until(
        &self,
        what: &str,
        limit: Duration,
        mut answer: impl FnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        loop {
            let answered = answer(self);
            if let Ok(true) = answered {
                return Ok(begun.elapsed());
            }
            if interrupted() {
                bail!("interrupted");
            }
            if begun.elapsed() > limit {
                let waited = format!("waited {} for {what}", seconds(limit));
                return match answered {
                    Ok(_) => bail!(waited),
                    Err(error) => Err(error.context(waited)),
                };
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// A condition of an object's status.
pub(crate) fn condition(object: &Value, kind: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|it| it["type"] == kind && it["status"] == "True")
}

/// A text in an object, empty where there is none.
pub(crate) fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
