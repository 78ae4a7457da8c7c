//! Kubernetes objects as kustomize and Helm print them, compared without regard to their order and to what only Helm says.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Map, Value};

/// What Helm says of whose an object is and whether it is deleted; kustomize has no releases.
const OF_HELM: [&str; 4] = [INSTANCE, "app.kubernetes.io/managed-by", "helm.sh/chart", "helm.sh/resource-policy"];

const INSTANCE: &str = "app.kubernetes.io/instance";
const NAME: &str = "app.kubernetes.io/name";

/// Stands for the settings' ConfigMap, whose name ends in a hash; each tool has a hash of its own.
const SETTINGS: &str = "(settings)";

/// Objects by kind, namespace and name.
#[derive(Debug)]
pub(crate) struct Objects(BTreeMap<String, Value>);

impl Objects {
    /// From YAML documents.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("objects that are no YAML")?;
        let mut documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
        let is_settings = |it: &&Value| it["kind"] == "ConfigMap" && it["data"].get("tenure.toml").is_some();
        let settings = documents.iter().find(is_settings).map(|it| it["metadata"]["name"].clone());
        for document in &mut documents {
            normalise(document, settings.as_ref());
        }
        Ok(Self(documents.into_iter().map(|document| (key(&document), document)).collect()))
    }

    /// The one at `key`: `Deployment tenure-system/tenure`, `Namespace tenure-system`.
    pub(crate) fn get(&self, key: &str) -> anyhow::Result<&Value> {
        self.0.get(key).with_context(|| format!("there is no {key} among {:?}", self.0.keys()))
    }

    /// Without the one at `key`.
    pub(crate) fn without(mut self, key: &str) -> anyhow::Result<Self> {
        self.get(key)?;
        self.0.remove(key);
        Ok(self)
    }

    /// Each place at which `other` is not the same, a line each; none, and they are.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for key in self.0.keys().chain(other.0.keys().filter(|key| !self.0.contains_key(*key))) {
            compare(key, self.0.get(key), other.0.get(key), &mut found);
        }
        found
    }
}

/// Labels that name the program and not the release, as YAML documents have them: a selector of such would be another release's as well.
pub(crate) fn of_any_release(text: &str) -> anyhow::Result<Vec<String>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("objects that are no YAML")?;
    Ok(documents.iter().filter(|document| names_no_release(document)).map(key).collect())
}

fn names_no_release(value: &Value) -> bool {
    match value {
        Value::Object(map) => {
            (map.contains_key(NAME) && !map.contains_key(INSTANCE)) || map.values().any(names_no_release)
        }
        Value::Array(items) => items.iter().any(names_no_release),
        _ => false,
    }
}

fn key(object: &Value) -> String {
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let (kind, metadata) = (text(&object["kind"]), &object["metadata"]);
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{}", text(&metadata["name"])),
        None => format!("{kind} {}", text(&metadata["name"])),
    }
}

fn normalise(value: &mut Value, settings: Option<&Value>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                normalise(value, settings);
                if ["labels", "annotations"].contains(&name.as_str()) && value.as_object().is_some_and(Map::is_empty) {
                    *value = Value::Null;
                }
            }
            map.retain(|name, value| !OF_HELM.contains(&name.as_str()) && !value.is_null());
        }
        Value::Array(items) => items.iter_mut().for_each(|item| normalise(item, settings)),
        Value::String(_) if Some(&*value) == settings => *value = SETTINGS.into(),
        _ => {}
    }
}

fn compare(at: &str, one: Option<&Value>, other: Option<&Value>, found: &mut Vec<String>) {
    let inner = |step: &dyn std::fmt::Display| format!("{at}/{step}");
    match (one, other) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            for name in one.keys().chain(other.keys().filter(|name| !one.contains_key(*name))) {
                compare(&inner(name), one.get(name), other.get(name), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for index in 0..one.len().max(other.len()) {
                compare(&inner(&index), one.get(index), other.get(index), found);
            }
        }
        _ if one != other => {
            let shown = |value: Option<&Value>| match value {
                // Enough of a long text to see which it is.
                Some(value) => value.to_string().chars().take(200).collect::<String>(),
                None => "nothing".to_owned(),
            };
            found.push(format!("{at}: {} and {}", shown(one), shown(other)));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "\
kind: ConfigMap
metadata: {name: tenure-abc, namespace: a}
data: {tenure.toml: x}
---
kind: Deployment
metadata: {name: tenure, namespace: a, labels: {app.kubernetes.io/name: tenure}}
spec: {replicas: 3, settings: tenure-abc}
";

    #[test]
    fn order_helms_labels_and_the_hash_of_the_settings_do_not_matter() {
        let other = "\
---
kind: Deployment
metadata:
  annotations: {helm.sh/resource-policy: keep}
  labels: {app.kubernetes.io/name: tenure, app.kubernetes.io/instance: tenure, helm.sh/chart: tenure-1}
  namespace: a
  name: tenure
spec: {settings: tenure-xyz, replicas: 3}
---
kind: ConfigMap
metadata: {name: tenure-xyz, namespace: a}
data: {tenure.toml: x}
";
        let none: [String; 0] = [];
        assert_eq!(Objects::parse(ONE).unwrap().differences(&Objects::parse(other).unwrap()), none);
        assert_eq!(of_any_release(ONE).unwrap(), ["Deployment a/tenure"]);
        assert_eq!(of_any_release(other).unwrap(), none);
    }

    #[test]
    fn whatever_else_differs_is_named_with_its_place() {
        for (change, to, difference) in [
            ("replicas: 3", "replicas: 2", "Deployment a/tenure/spec/replicas: 3 and 2"),
            ("toml: x", "toml: z", r#"ConfigMap a/(settings)/data/tenure.toml: "x" and "z""#),
            (
                "settings: tenure-abc",
                "settings: other",
                r#"Deployment a/tenure/spec/settings: "(settings)" and "other""#,
            ),
            ("replicas: 3, ", "", "Deployment a/tenure/spec/replicas: 3 and nothing"),
        ] {
            let other = Objects::parse(&ONE.replace(change, to)).unwrap();
            assert_eq!(Objects::parse(ONE).unwrap().differences(&other), [difference]);
        }
        let fewer = Objects::parse(ONE).unwrap().without("Deployment a/tenure").unwrap();
        let missing = Objects::parse(ONE).unwrap().differences(&fewer);
        assert!(missing[0].starts_with("Deployment a/tenure: {") && missing[0].ends_with("and nothing"), "{missing:?}");
    }
}
