//! Which keys of a Namespace are carried on.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Keys, and beginnings of keys that end in `*`.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Keys(Vec<String>);

impl Keys {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// What of a Namespace's labels or annotations is to be on its objects.
    pub(crate) fn select<'a>(&self, present: &'a BTreeMap<String, String>) -> BTreeMap<&'a str, &'a str> {
        present
            .iter()
            .filter(|(key, _)| self.selects(key) && !stays_on_its_object(key))
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect()
    }

    fn selects(&self, key: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => key.starts_with(beginning),
            None => key == pattern,
        })
    }
}

/// Keys that describe the very object they are on, and Tenure's own, which would make an object a plugin or a copy.
fn stays_on_its_object(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    matches!(key, "kubernetes.io/metadata.name" | "kubectl.kubernetes.io/last-applied-configuration")
        || domain == "tenure.dev"
        || domain.ends_with(".tenure.dev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_the_rest_of_a_key_and_some_keys_never_travel() {
        let keys = Keys(vec!["team".to_owned(), "example.com/*".to_owned(), "*".to_owned()]);
        let present: BTreeMap<String, String> =
            ["team", "example.com/cost", "kubernetes.io/metadata.name", "tenure.dev/plugin", "copies.tenure.dev/of"]
                .into_iter()
                .map(|key| (key.to_owned(), "1".to_owned()))
                .collect();
        assert_eq!(keys.select(&present).into_keys().collect::<Vec<_>>(), ["example.com/cost", "team"]);
    }

    #[test]
    fn a_key_without_a_star_is_no_beginning() {
        let present = BTreeMap::from([("teams".to_owned(), "1".to_owned())]);
        assert!(Keys(vec!["team".to_owned()]).select(&present).is_empty());
    }
}
