//! The objects of the demo: two namespaces of two teams, ConfigMaps in them, and one that both ask for a copy of.

use serde_json::{Value, json};

use super::api::Objects;

/// Every ConfigMap.
pub(crate) const CONFIG_MAPS: &str = "/api/v1/configmaps";

/// Where plugins are dropped.
pub(crate) const PLUGIN_CONFIG_MAPS: &str = "/api/v1/namespaces/tenure-plugins/configmaps";

/// The namespaces the teams work in.
pub(crate) const NAMESPACES: [&str; 2] = ["shop", "billing"];

/// The ConfigMap in each of them that gets its namespace's labels.
pub(crate) const CONFIG: &str = "settings";

/// The label that the label-propagator copies.
pub(crate) const LABEL: &str = "team";

/// The namespace of the ConfigMap that is copied.
pub(crate) const SOURCE_NAMESPACE: &str = "platform";

/// The ConfigMap that is copied.
pub(crate) const SOURCE: &str = "ca-bundle";

/// A namespace with many ConfigMaps.
pub(crate) const CROWD: &str = "crowd";

/// A namespace that belongs to `team`, and asks for a copy of the source.
pub(crate) fn namespace(name: &str, team: &str) -> Value {
    let wanted = format!("{SOURCE_NAMESPACE}/{SOURCE}");
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": name, "labels": {LABEL: team}, "annotations": {"configmap-replicator.tenure.dev/copy": wanted},
        },
    })
}

/// The namespace of the many.
pub(crate) fn crowd(team: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CROWD, "labels": {LABEL: team}}})
}

/// A namespace that nothing is done in.
pub(crate) fn plain_namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A ConfigMap without labels.
pub(crate) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"greeting": "hello"}})
}

/// The path of a namespace's ConfigMaps.
pub(crate) fn config_maps_in(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// The path of a namespace.
pub(crate) fn path_of(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}")
}

/// What gives a namespace to another team.
pub(crate) fn now_of(team: &str) -> Value {
    json!({"metadata": {"labels": {LABEL: team}}})
}

/// The ConfigMap in `namespace` once it bears its namespace's team.
pub(crate) fn labelled<'a>(config_maps: &Objects<'a>, namespace: &str, team: &str) -> Option<&'a Value> {
    config_maps.get(namespace, CONFIG).filter(|it| bears(it, team))
}

/// Whether an object bears a team's label.
pub(crate) fn bears(object: &Value, team: &str) -> bool {
    object["metadata"]["labels"][LABEL] == team
}

/// Whether an object is one of the many.
pub(crate) fn is_in_crowd(object: &Value) -> bool {
    object["metadata"]["namespace"] == CROWD
}

/// The ConfigMap that is copied, with what allows it.
pub(crate) fn source() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": SOURCE, "labels": {"configmap-replicator.tenure.dev/source": "true"}},
        "data": {"ca.crt": "not a real certificate"},
    })
}

/// Whether `namespace` holds a copy of the source.
pub(crate) fn is_copy(config_maps: &Objects<'_>, namespace: &str) -> bool {
    config_maps.get(namespace, SOURCE).is_some_and(|copy| copy["data"] == source()["data"])
}
