//! Cluster addresses and node ports of Services, handed out when one is created and kept while it lives.
//!
//! Taken at random among those no stored Service has; nothing listens there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Writer;
use crate::resource::Collection;

/// The range of cluster addresses: 10.96.0.0/16, without the first and the last block.
const ADDRESS_PREFIX: &str = "10.96";
/// Node ports (kube-apiserver `--service-node-port-range`).
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;
/// Draws before a request goes without: with a free one among sixteen this fails once in a lifetime.
const ATTEMPTS_MAX: u32 = 1024;

impl Writer<'_> {
    /// Gives a new Service what it did not ask for itself.
    pub(super) fn allocate(&self, service: &mut Value) {
        if self.resource.collection != Collection::Services {
            return;
        }
        let stored: Vec<Value> =
            self.store.list(Collection::Services, None).1.iter().map(|object| object.value()).collect();
        let spec = &mut service["spec"];
        let kind = spec["type"].as_str().unwrap_or_default().to_owned();
        if kind != "ExternalName" {
            if spec.get("clusterIP").and_then(Value::as_str).is_none_or(str::is_empty) {
                let taken: BTreeSet<&str> =
                    stored.iter().filter_map(|one| one.pointer("/spec/clusterIP")?.as_str()).collect();
                if let Some(address) = draw(address, |address| !taken.contains(address.as_str())) {
                    spec["clusterIP"] = address.into();
                }
            }
            if let Some(address) = spec.get("clusterIP").cloned() {
                spec["clusterIPs"] = json!([address]);
            }
        }
        if kind == "NodePort" || kind == "LoadBalancer" {
            allocate_ports(spec, &stored);
        }
    }
}

fn allocate_ports(spec: &mut Value, stored: &[Value]) {
    let ports = |service: &Value| {
        let ports = service.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
        ports.into_iter().filter_map(|port| port.get("nodePort").and_then(Value::as_u64))
    };
    let mut taken: BTreeSet<u64> = stored.iter().flat_map(ports).collect();
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port.get("nodePort").and_then(Value::as_u64).unwrap_or(0) > 0 {
            continue;
        }
        let drawn = draw(|| u64::from(rand::random_range(NODE_PORTS)), |number| !taken.contains(number));
        if let Some(number) = drawn {
            taken.insert(number);
            port["nodePort"] = number.into();
        }
    }
}

fn address() -> String {
    format!("{ADDRESS_PREFIX}.{}.{}", rand::random_range(1..255_u8), rand::random_range(1..255_u8))
}

fn draw<T>(mut one: impl FnMut() -> T, is_free: impl Fn(&T) -> bool) -> Option<T> {
    (0..ATTEMPTS_MAX).map(|_| one()).find(is_free)
}

/// A replacement that does not mention its addresses keeps them.
pub(super) fn keep_addresses(old: &Value, next: &mut Value) {
    if next["spec"]["type"] == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs"] {
        let given = next["spec"].get(field).is_some_and(|value| *value != "" && *value != json!([]));
        if let Some(value) = old["spec"].get(field).filter(|_| !given) {
            next["spec"][field] = value.clone();
        }
    }
    let ports = old.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
    let node_ports = matches!(next["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    for port in
        next.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten().filter(|_| node_ports)
    {
        let same = |one: &&Value| one["port"] == port["port"] && one["protocol"] == port["protocol"];
        if port.get("nodePort").is_none()
            && let Some(number) = ports.iter().find(same).and_then(|one| one.get("nodePort"))
        {
            port["nodePort"] = number.clone();
        }
    }
}
