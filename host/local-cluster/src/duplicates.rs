//! Fields that a JSON text has twice, which a parsed value can no longer show.
//!
//! Reads the text once more, only to name them: `metadata.labels.a`. Decides nothing.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Paths of the fields `json` has more than once, each named once. Empty for what is not JSON.
pub(crate) fn find(json: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let walked = Walk { path: String::new(), found: &mut found }.deserialize(&mut deserializer);
    if walked.is_err() {
        found.clear();
    }
    found
}

/// A walk over one value that notes where a name comes again.
struct Walk<'a> {
    path: String,
    found: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            if names.insert(name) {
                map.next_value_seed(Walk { path, found: self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
                if !self.found.contains(&path) {
                    self.found.push(path);
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        while list.next_element_seed(Walk { path: format!("{}[{index}]", self.path), found: self.found })?.is_some() {
            index += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_that_comes_again_is_named_once_with_its_path() {
        let json = br#"{"a": {"b": 1, "b": 2, "b": 3}, "c": [{"d": null}, {"d": 1.5, "d": true}], "e": "x"}"#;
        assert_eq!(find(json), ["a.b", "c[1].d"]);
        assert!(find(b"{\"a\": 1, \"a\": ").is_empty());
    }
}
