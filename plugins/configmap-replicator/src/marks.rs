//! The labels and annotations by which sources, copies and wishes are known. They are the plugin's whole memory.

use std::fmt;

use tenure_plugin::{Metadata, ObjectRef};

use crate::settings::matches;

/// Label on a source, with the value `true`.
pub(crate) const SOURCE: &str = "configmap-replicator.tenure.dev/source";
/// Annotation on a source: namespaces that may have a copy, by name or with a `*` at the end. Absent: all that ask.
pub(crate) const ALLOWED_NAMESPACES: &str = "configmap-replicator.tenure.dev/allowed-namespaces";
/// Annotation on a Namespace: the sources it wants, as `namespace/name`, with commas in between.
pub(crate) const WANTED: &str = "configmap-replicator.tenure.dev/copy";
/// Label on a copy, for selectors: which source, as a hash, since a name may be longer than a label's value.
pub(crate) const COPY_OF: &str = "configmap-replicator.tenure.dev/copy-of";
/// Annotation on a copy: which source, as `namespace/name`. This one decides.
pub(crate) const COPIED_FROM: &str = "configmap-replicator.tenure.dev/copied-from";
/// On a source from before its first copy until it is none any more and its last copy is gone.
pub(crate) const FINALIZER: &str = "configmap-replicator.tenure.dev/cleanup";
/// The host's own ConfigMaps, which no plugin may touch: never a source.
const PLUGIN_LABELS: [&str; 2] = ["tenure.dev/plugin", "tenure.dev/plugin-chunk"];

/// A source by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl SourceName {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { namespace: metadata.namespace.clone().unwrap_or_default(), name: metadata.name.clone() }
    }

    /// `namespace/name`, and nothing that could be two things.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.trim().split_once('/')?;
        let is_sound = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
        };
        (is_sound(namespace) && is_sound(name)).then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    pub(crate) fn reference(&self) -> ObjectRef {
        ObjectRef::config_map(&self.namespace, &self.name)
    }

    /// The value of [`COPY_OF`]: FNV-1a, 64 bits. Two names with one hash cost a look more, since [`COPIED_FROM`] decides.
    pub(crate) fn hash(&self) -> String {
        let hash = self
            .to_string()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("{hash:016x}")
    }

    pub(crate) fn selector(&self) -> String {
        format!("{COPY_OF}={}", self.hash())
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Whether the plugin made this. A source never counts as one, whatever else it carries.
pub(crate) fn is_copy(metadata: &Metadata) -> bool {
    metadata.labels.contains_key(COPY_OF) && copied_from(metadata).is_some()
}

pub(crate) fn copied_from(metadata: &Metadata) -> Option<SourceName> {
    metadata.annotations.get(COPIED_FROM).and_then(|text| SourceName::parse(text))
}

/// A copy is never a source as well: chains and circles end here.
pub(crate) fn is_source(metadata: &Metadata) -> bool {
    metadata.labels.get(SOURCE).is_some_and(|value| value == "true")
        && copied_from(metadata).is_none()
        && !PLUGIN_LABELS.iter().any(|label| metadata.labels.contains_key(*label))
}

/// Whether the source lets this namespace have a copy.
pub(crate) fn allows(source: &Metadata, namespace: &str) -> bool {
    match source.annotations.get(ALLOWED_NAMESPACES) {
        Some(patterns) => patterns.split(',').any(|pattern| matches(pattern.trim(), namespace)),
        None => true,
    }
}

/// What a Namespace wants, without repetitions; what cannot be read is left out.
pub(crate) fn wanted(namespace: &Metadata) -> Vec<SourceName> {
    let text = namespace.annotations.get(WANTED).map_or("", String::as_str);
    let mut wanted: Vec<SourceName> = text.split(',').filter_map(SourceName::parse).collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_can_be_nothing_else_are_read() {
        let name = SourceName { namespace: "shared".to_owned(), name: "ca.crt".to_owned() };
        assert_eq!(SourceName::parse(" shared/ca.crt "), Some(name));
        for wrong in ["", "shared", "shared/", "/ca", "a/b/c", "Shared/ca", "a/b\nc"] {
            assert_eq!(SourceName::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn wishes_are_read_once_each() {
        let mut namespace = Metadata::default();
        namespace.annotations.insert(WANTED.to_owned(), "b/two, a/one,,b/two,nonsense".to_owned());
        assert_eq!(wanted(&namespace).iter().map(ToString::to_string).collect::<Vec<_>>(), ["a/one", "b/two"]);
    }

    #[test]
    fn the_hash_fits_into_a_label_and_never_changes() {
        let name = SourceName { namespace: "n".repeat(63), name: "m".repeat(253) };
        assert_eq!(name.hash().len(), 16);
        // Copies in clusters carry it.
        assert_eq!(SourceName { namespace: "shared".to_owned(), name: "ca".to_owned() }.hash(), "2d47c06ea777dba5");
    }
}
