//! What stands in one column for one object, by the names of kind and column.

mod others;
mod workloads;

use serde_json::{Map, Value};

use super::age;
use crate::metadata;
use crate::resource::{Column, Resource};

const NONE: &str = "<none>";
const UNSET: &str = "<unset>";

/// The cell of a column; `<unknown>` where this crate does not know what stands there.
pub(super) fn cell(resource: &Resource, Column(column, kind, ..): &Column, value: &Value) -> Value {
    if let Some(custom) = resource.custom() {
        return custom.cell(column, kind, value);
    }
    match column.as_str() {
        "Name" => return metadata::of(value).name().into(),
        "Age" => return age(metadata::of(value).get("creationTimestamp")).into(),
        "Created At" => return metadata::of(value).text("creationTimestamp").into(),
        _ => {}
    }
    let view = Cells(value);
    let found = match resource.group {
        "" => view.core(resource.plural, column),
        "apps" | "batch" => view.workload(resource.plural, column),
        "rbac.authorization.k8s.io" => view.binding(column),
        "admissionregistration.k8s.io" => view.admission(column),
        "storage.k8s.io" | "resource.k8s.io" | "flowcontrol.apiserver.k8s.io" => {
            view.infrastructure(resource.plural, column)
        }
        _ => view.other(resource.plural, column),
    };
    found.unwrap_or_else(|| "<unknown>".into())
}

struct Cells<'a>(&'a Value);

impl<'a> Cells<'a> {
    fn at(&self, pointer: &str) -> Option<&'a Value> {
        self.0.pointer(pointer).filter(|value| !value.is_null())
    }

    fn text(&self, pointer: &str) -> Option<&'a str> {
        self.at(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).and_then(Value::as_i64).unwrap_or(0)
    }

    fn list(&self, pointer: &str) -> &'a [Value] {
        self.at(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn count(&self, pointer: &str) -> usize {
        match self.at(pointer) {
            Some(Value::Object(map)) => map.len(),
            Some(Value::Array(list)) => list.len(),
            _ => 0,
        }
    }

    fn text_or(&self, pointer: &str, absent: &str) -> Value {
        self.text(pointer).unwrap_or(absent).into()
    }

    /// `name`s of a list, joined.
    fn names(&self, pointer: &str, field: &str) -> Value {
        join(self.list(pointer).iter().filter_map(|item| item.get(field)?.as_str()))
    }

    fn flag(&self, pointer: &str) -> Value {
        (self.at(pointer) == Some(&Value::Bool(true))).into()
    }

    fn shown(&self, pointer: &str, absent: &str) -> Value {
        match self.at(pointer) {
            Some(Value::String(text)) => text.as_str().into(),
            Some(other) => other.to_string().into(),
            None => absent.into(),
        }
    }

    fn core(&self, plural: &str, column: &str) -> Option<Value> {
        Some(match (plural, column) {
            ("configmaps", "Data") => (self.count("/data") + self.count("/binaryData")).into(),
            ("secrets", "Type") => self.text_or("/type", ""),
            ("secrets", "Data") => self.count("/data").into(),
            ("namespaces", "Status") => self.text_or("/status/phase", ""),
            ("services", _) => return self.service(column),
            ("endpoints", "Endpoints") => self.endpoints(),
            ("nodes", _) => return self.node(column),
            ("persistentvolumes" | "persistentvolumeclaims", _) => return self.volume(plural, column),
            ("podtemplates", "Containers") => self.names("/template/spec/containers", "name"),
            ("podtemplates", "Images") => self.names("/template/spec/containers", "image"),
            ("podtemplates", "Pod Labels") => labels(self.at("/template/metadata/labels")),
            ("replicationcontrollers", "Selector") => labels(self.at("/spec/selector")),
            ("replicationcontrollers", _) => return self.workload("replicasets", column),
            ("resourcequotas", "Request" | "Limit") => self.quota(column == "Limit"),
            _ => return None,
        })
    }

    fn service(&self, column: &str) -> Option<Value> {
        let kind = self.text("/spec/type").unwrap_or("ClusterIP");
        Some(match column {
            "Type" => kind.into(),
            "Cluster-IP" => self.text_or("/spec/clusterIP", NONE),
            "External-IP" => {
                let given: Vec<&str> = self.list("/spec/externalIPs").iter().filter_map(Value::as_str).collect();
                let ingress = self.list("/status/loadBalancer/ingress").iter();
                let ingress = ingress.filter_map(|one| one.get("ip").or(one.get("hostname"))?.as_str());
                match kind {
                    "ExternalName" => self.text_or("/spec/externalName", ""),
                    "LoadBalancer" => {
                        let all: Vec<&str> = ingress.chain(given).collect();
                        if all.is_empty() { "<pending>".into() } else { all.join(",").into() }
                    }
                    _ => join(given.into_iter()),
                }
            }
            "Port(s)" => {
                let ports = self.list("/spec/ports").iter().map(|port| {
                    let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
                    match port.get("nodePort").and_then(Value::as_i64).filter(|port| *port > 0) {
                        Some(node_port) => format!("{}:{node_port}/{protocol}", port["port"]),
                        None => format!("{}/{protocol}", port["port"]),
                    }
                });
                join(ports)
            }
            "Selector" => labels(self.at("/spec/selector")),
            _ => return None,
        })
    }

    fn endpoints(&self) -> Value {
        const SHOWN_MAX: usize = 3;
        let mut all = Vec::new();
        for subset in self.list("/subsets") {
            let subset = Cells(subset);
            let addresses = subset.list("/addresses").iter().filter_map(|address| address.get("ip")?.as_str());
            let ports = subset.list("/ports");
            for address in addresses {
                if ports.is_empty() {
                    all.push(address.to_owned());
                }
                all.extend(ports.iter().map(|port| format!("{address}:{}", port["port"])));
            }
        }
        let more = all.len().saturating_sub(SHOWN_MAX);
        all.truncate(SHOWN_MAX);
        match (all.is_empty(), more) {
            (true, _) => NONE.into(),
            (false, 0) => all.join(",").into(),
            (false, more) => format!("{} + {more} more...", all.join(",")).into(),
        }
    }

    fn node(&self, column: &str) -> Option<Value> {
        let address = |kind: &str| {
            let found = self.list("/status/addresses").iter().find(|address| address["type"] == kind);
            found.and_then(|address| address["address"].as_str()).unwrap_or(NONE)
        };
        Some(match column {
            "Status" => {
                let ready = self.list("/status/conditions").iter().find(|condition| condition["type"] == "Ready");
                let mut status = match ready {
                    Some(condition) if condition["status"] == "True" => "Ready",
                    Some(_) => "NotReady",
                    None => "Unknown",
                }
                .to_owned();
                if self.at("/spec/unschedulable") == Some(&Value::Bool(true)) {
                    status.push_str(",SchedulingDisabled");
                }
                status.into()
            }
            "Roles" => {
                let labels = self.at("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
                join(labels.filter_map(|(name, _)| name.strip_prefix("node-role.kubernetes.io/")))
            }
            "Version" => self.text_or("/status/nodeInfo/kubeletVersion", ""),
            "Internal-IP" => address("InternalIP").into(),
            "External-IP" => address("ExternalIP").into(),
            "OS-Image" => self.text_or("/status/nodeInfo/osImage", "<unknown>"),
            "Kernel-Version" => self.text_or("/status/nodeInfo/kernelVersion", "<unknown>"),
            "Container-Runtime" => self.text_or("/status/nodeInfo/containerRuntimeVersion", "<unknown>"),
            _ => return None,
        })
    }

    fn volume(&self, plural: &str, column: &str) -> Option<Value> {
        let claim = plural == "persistentvolumeclaims";
        let bound = !claim || self.text("/spec/volumeName").is_some();
        let modes = |pointer: &str| {
            let short = self.list(pointer).iter().filter_map(Value::as_str).map(|mode| match mode {
                "ReadWriteOnce" => "RWO",
                "ReadOnlyMany" => "ROX",
                "ReadWriteMany" => "RWX",
                "ReadWriteOncePod" => "RWOP",
                other => other,
            });
            short.collect::<Vec<_>>().join(",")
        };
        let status = |phase: &str| {
            if metadata::of(self.0).is_deleting() { "Terminating".to_owned() } else { phase.to_owned() }
        };
        Some(match column {
            "Status" => status(self.text("/status/phase").unwrap_or_default()).into(),
            "Volume" => self.text_or("/spec/volumeName", ""),
            "Capacity" if claim && !bound => "".into(),
            "Capacity" => self.text_or(if claim { "/status/capacity/storage" } else { "/spec/capacity/storage" }, ""),
            "Access Modes" if claim && !bound => "".into(),
            "Access Modes" => modes(if claim { "/status/accessModes" } else { "/spec/accessModes" }).into(),
            "StorageClass" => self.text_or("/spec/storageClassName", ""),
            "VolumeAttributesClass" => self.text_or("/spec/volumeAttributesClassName", UNSET),
            "Reclaim Policy" => self.text_or("/spec/persistentVolumeReclaimPolicy", ""),
            "Claim" => match (self.text("/spec/claimRef/namespace"), self.text("/spec/claimRef/name")) {
                (Some(namespace), Some(name)) => format!("{namespace}/{name}").into(),
                _ => "".into(),
            },
            "Reason" => self.text_or("/status/reason", ""),
            "VolumeMode" => self.text_or("/spec/volumeMode", UNSET),
            _ => return None,
        })
    }

    fn quota(&self, limits: bool) -> Value {
        let hard = self.at("/status/hard").and_then(Value::as_object).into_iter().flatten();
        let used = |name: &str| self.at("/status/used").and_then(|used| used.get(name)?.as_str()).unwrap_or("0");
        let entries = hard
            .filter(|(name, _)| name.starts_with("limits.") == limits)
            .map(|(name, hard)| format!("{name}: {}/{}", used(name), hard.as_str().unwrap_or_default()));
        entries.collect::<Vec<_>>().join(", ").into()
    }
}

fn join<T: AsRef<str>>(parts: impl Iterator<Item = T>) -> Value {
    let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
    if parts.is_empty() { NONE.into() } else { parts.join(",").into() }
}

fn abbreviated(mut parts: Vec<String>, absent: &str) -> Value {
    const SHOWN_MAX: usize = 3;
    let more = parts.len().saturating_sub(SHOWN_MAX);
    parts.truncate(SHOWN_MAX);
    match (parts.is_empty(), more) {
        (true, _) => absent.into(),
        (false, 0) => parts.join(",").into(),
        (false, more) => format!("{} + {more} more...", parts.join(",")).into(),
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// `a=1,b=2`.
fn labels(labels: Option<&Value>) -> Value {
    let labels = labels.and_then(Value::as_object).into_iter().flat_map(Map::iter);
    join(labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())))
}

/// A label selector as one line: `a=1,b in (1,2),!c`.
fn selector(selector: Option<&Value>) -> Value {
    let Some(selector) = selector else { return NONE.into() };
    let exact = selector.get("matchLabels").and_then(Value::as_object).into_iter().flat_map(Map::iter);
    let mut parts: Vec<String> =
        exact.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let text = |field: &str| expression[field].as_str().unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let values = values.filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        parts.push(match text("operator") {
            "In" => format!("{} in ({values})", text("key")),
            "NotIn" => format!("{} notin ({values})", text("key")),
            "Exists" => text("key").to_owned(),
            _ => format!("!{}", text("key")),
        });
    }
    join(parts.into_iter())
}
