//! Columns of the groups beside core, apps and batch: access, admission, storage, networking and the rest.

use serde_json::Value;

use super::{Cells, NONE, UNSET, abbreviated, join, selector};
use crate::metadata;
use crate::table::human_duration;

impl Cells<'_> {
    pub(super) fn binding(&self, column: &str) -> Option<Value> {
        let subjects = |kind: &str| {
            let of_kind = self.list("/subjects").iter().filter(|subject| subject["kind"] == kind);
            let names = of_kind.map(|subject| {
                let text = |field: &str| subject[field].as_str().unwrap_or_default();
                if kind == "ServiceAccount" {
                    format!("{}/{}", text("namespace"), text("name"))
                } else {
                    text("name").to_owned()
                }
            });
            names.collect::<Vec<_>>().join(", ")
        };
        Some(match column {
            "Role" => format!(
                "{}/{}",
                self.text("/roleRef/kind").unwrap_or_default(),
                self.text("/roleRef/name").unwrap_or_default()
            )
            .into(),
            "Users" => subjects("User").into(),
            "Groups" => subjects("Group").into(),
            "ServiceAccounts" => subjects("ServiceAccount").into(),
            _ => return None,
        })
    }

    pub(super) fn admission(&self, column: &str) -> Option<Value> {
        Some(match column {
            "Webhooks" => self.count("/webhooks").into(),
            "Validations" => self.count("/spec/validations").into(),
            "Mutations" => self.count("/spec/mutations").into(),
            "ParamKind" => match (self.text("/spec/paramKind/apiVersion"), self.text("/spec/paramKind/kind")) {
                (Some(api_version), Some(kind)) => format!("{api_version}/{kind}").into(),
                _ => UNSET.into(),
            },
            "PolicyName" => self.text_or("/spec/policyName", ""),
            "ParamRef" => match (self.text("/spec/paramRef/namespace"), self.text("/spec/paramRef/name")) {
                (Some(namespace), Some(name)) => format!("{namespace}/{name}").into(),
                (None, Some(name)) => format!("*/{name}").into(),
                _ => UNSET.into(),
            },
            _ => return None,
        })
    }

    pub(super) fn infrastructure(&self, plural: &str, column: &str) -> Option<Value> {
        Some(match (plural, column) {
            ("storageclasses", "Provisioner") => self.text_or("/provisioner", ""),
            ("storageclasses", "ReclaimPolicy") => self.text_or("/reclaimPolicy", "Delete"),
            ("storageclasses", "VolumeBindingMode") => self.text_or("/volumeBindingMode", "Immediate"),
            ("storageclasses", "AllowVolumeExpansion") => self.flag("/allowVolumeExpansion"),
            ("csidrivers", "AttachRequired") => self.flag("/spec/attachRequired"),
            ("csidrivers", "PodInfoOnMount") => self.flag("/spec/podInfoOnMount"),
            ("csidrivers", "StorageCapacity") => self.flag("/spec/storageCapacity"),
            ("csidrivers", "TokenRequests") => match self.names("/spec/tokenRequests", "audience") {
                Value::String(audiences) if audiences != NONE => audiences.into(),
                _ => UNSET.into(),
            },
            ("csidrivers", "RequiresRepublish") => self.flag("/spec/requiresRepublish"),
            ("csidrivers", "Modes") => join(self.list("/spec/volumeLifecycleModes").iter().filter_map(Value::as_str)),
            ("csinodes", "Drivers") => self.count("/spec/drivers").into(),
            ("volumeattachments", "Attacher") => self.text_or("/spec/attacher", ""),
            ("volumeattachments", "PV") => self.text_or("/spec/source/persistentVolumeName", ""),
            ("volumeattachments", "Node") => self.text_or("/spec/nodeName", ""),
            ("volumeattachments", "Attached") => self.flag("/status/attached"),
            ("volumeattributesclasses", "DriverName") => self.text_or("/driverName", ""),
            ("resourceclaims", "State") => match () {
                () if metadata::of(self.0).is_deleting() => "deleted,allocated",
                () if self.count("/status/reservedFor") > 0 => "allocated,reserved",
                () if self.at("/status/allocation").is_some() => "allocated",
                () => "pending",
            }
            .into(),
            ("resourceslices", "Node") => self.text_or("/spec/nodeName", UNSET),
            ("resourceslices", "Driver") => self.text_or("/spec/driver", ""),
            ("resourceslices", "Pool") => self.text_or("/spec/pool/name", ""),
            ("flowschemas", "PriorityLevel") => self.text_or("/spec/priorityLevelConfiguration/name", ""),
            ("flowschemas", "MatchingPrecedence") => self.number("/spec/matchingPrecedence").to_string().into(),
            ("flowschemas", "DistinguisherMethod") => self.text_or("/spec/distinguisherMethod/type", NONE),
            ("flowschemas", "MissingPL") => {
                let dangling = self.list("/status/conditions").iter().find(|one| one["type"] == "Dangling");
                dangling.and_then(|one| one["status"].as_str()).unwrap_or("?").into()
            }
            ("prioritylevelconfigurations", "Type") => self.text_or("/spec/type", ""),
            ("prioritylevelconfigurations", "NominalConcurrencyShares") => {
                self.shown("/spec/limited/nominalConcurrencyShares", NONE)
            }
            ("prioritylevelconfigurations", "Queues") => self.shown("/spec/limited/limitResponse/queuing/queues", NONE),
            ("prioritylevelconfigurations", "HandSize") => {
                self.shown("/spec/limited/limitResponse/queuing/handSize", NONE)
            }
            ("prioritylevelconfigurations", "QueueLengthLimit") => {
                self.shown("/spec/limited/limitResponse/queuing/queueLengthLimit", NONE)
            }
            _ => return None,
        })
    }

    pub(super) fn other(&self, plural: &str, column: &str) -> Option<Value> {
        Some(match (plural, column) {
            ("leases", "Holder") => self.text_or("/spec/holderIdentity", ""),
            ("runtimeclasses", "Handler") => self.text_or("/handler", ""),
            ("priorityclasses", "Value") => self.number("/value").into(),
            ("priorityclasses", "Global-Default") => self.flag("/globalDefault"),
            ("priorityclasses", "PreemptionPolicy") => self.text_or("/preemptionPolicy", ""),
            ("ingresses", _) => return self.ingress(column),
            ("ingressclasses", "Controller") => self.text_or("/spec/controller", ""),
            ("ingressclasses", "Parameters") => {
                match (self.text("/spec/parameters/kind"), self.text("/spec/parameters/name")) {
                    (Some(kind), Some(name)) => {
                        let group =
                            self.text("/spec/parameters/apiGroup").map_or(String::new(), |group| format!(".{group}"));
                        format!("{kind}{group}/{name}").into()
                    }
                    _ => NONE.into(),
                }
            }
            ("networkpolicies", "Pod-Selector") => selector(self.at("/spec/podSelector")),
            ("ipaddresses", "ParentRef") => {
                let part = |field: &str| self.text(&format!("/spec/parentRef/{field}"));
                let parts = [part("resource"), part("group"), part("namespace"), part("name")];
                parts.into_iter().flatten().collect::<Vec<_>>().join("/").into()
            }
            ("servicecidrs", "CIDRs") => join(self.list("/spec/cidrs").iter().filter_map(Value::as_str)),
            ("poddisruptionbudgets", "Min Available") => self.shown("/spec/minAvailable", "N/A"),
            ("poddisruptionbudgets", "Max Unavailable") => self.shown("/spec/maxUnavailable", "N/A"),
            ("poddisruptionbudgets", "Allowed Disruptions") => self.number("/status/disruptionsAllowed").into(),
            ("horizontalpodautoscalers", _) => return self.autoscaler(column),
            ("apiservices", "Service") => match (self.text("/spec/service/namespace"), self.text("/spec/service/name"))
            {
                (Some(namespace), Some(name)) => format!("{namespace}/{name}").into(),
                _ => "Local".into(),
            },
            ("apiservices", "Available") => {
                let available = self.list("/status/conditions").iter().find(|one| one["type"] == "Available");
                available.and_then(|one| one["status"].as_str()).unwrap_or("Unknown").into()
            }
            ("certificatesigningrequests", "SignerName") => self.text_or("/spec/signerName", NONE),
            ("certificatesigningrequests", "Requestor") => self.text_or("/spec/username", ""),
            ("certificatesigningrequests", "RequestedDuration") => match self.number("/spec/expirationSeconds") {
                0 => NONE.into(),
                seconds => human_duration(seconds).into(),
            },
            ("certificatesigningrequests", "Condition") => self.certificate(),
            ("endpointslices", "AddressType") => self.text_or("/addressType", ""),
            ("endpointslices", "Ports") => {
                let ports = self.list("/ports").iter().map(|port| match port.get("port") {
                    Some(number) if !number.is_null() => number.to_string(),
                    _ => "*".to_owned(),
                });
                abbreviated(ports.collect(), UNSET)
            }
            ("endpointslices", "Endpoints") => {
                let all = self.list("/endpoints").iter().flat_map(|one| Cells(one).list("/addresses"));
                abbreviated(all.filter_map(Value::as_str).map(str::to_owned).collect(), UNSET)
            }
            _ => return None,
        })
    }

    pub(super) fn ingress(&self, column: &str) -> Option<Value> {
        Some(match column {
            "Class" => self.text_or("/spec/ingressClassName", NONE),
            "Hosts" => {
                let hosts = self.list("/spec/rules").iter().filter_map(|rule| rule.get("host")?.as_str());
                let hosts: Vec<&str> = hosts.filter(|host| !host.is_empty()).collect();
                const SHOWN_MAX: usize = 3;
                match hosts.len() {
                    0 => "*".into(),
                    count if count > SHOWN_MAX => {
                        format!("{} + {} more...", hosts[..SHOWN_MAX].join(","), count - SHOWN_MAX).into()
                    }
                    _ => hosts.join(",").into(),
                }
            }
            "Address" => {
                let ingress = self.list("/status/loadBalancer/ingress").iter();
                let addresses = ingress.filter_map(|one| one.get("ip").or(one.get("hostname"))?.as_str());
                addresses.collect::<Vec<_>>().join(",").into()
            }
            "Ports" => if self.count("/spec/tls") > 0 { "80, 443" } else { "80" }.into(),
            _ => return None,
        })
    }

    pub(super) fn certificate(&self) -> Value {
        let has = |kind: &str| self.list("/status/conditions").iter().any(|one| one["type"] == kind);
        let mut said = vec![match () {
            () if has("Denied") => "Denied",
            () if has("Approved") => "Approved",
            () => "Pending",
        }];
        if has("Failed") {
            said.push("Failed");
        }
        if self.text("/status/certificate").is_some() {
            said.push("Issued");
        }
        said.join(",").into()
    }
}
