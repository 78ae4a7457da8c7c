//! Columns of what runs Pods: Deployments and their like, Jobs, and what scales them.

use serde_json::Value;

use super::{Cells, NONE, UNSET, capitalised, join, labels, selector};
use crate::metadata;
use crate::table::{age, human_duration};

impl Cells<'_> {
    pub(super) fn workload(&self, plural: &str, column: &str) -> Option<Value> {
        let template =
            if plural == "cronjobs" { "/spec/jobTemplate/spec/template/spec" } else { "/spec/template/spec" };
        Some(match (plural, column) {
            (_, "Containers") => self.names(&format!("{template}/containers"), "name"),
            (_, "Images") => self.names(&format!("{template}/containers"), "image"),
            ("cronjobs", "Selector") => selector(self.at("/spec/jobTemplate/spec/selector")),
            (_, "Selector") => selector(self.at("/spec/selector")),
            ("deployments" | "statefulsets", "Ready") => {
                format!("{}/{}", self.number("/status/readyReplicas"), self.number("/spec/replicas")).into()
            }
            ("deployments", "Up-to-date") => self.number("/status/updatedReplicas").into(),
            ("deployments", "Available") => self.number("/status/availableReplicas").into(),
            ("replicasets", "Desired") => self.number("/spec/replicas").into(),
            ("replicasets", "Current") => self.number("/status/replicas").into(),
            ("replicasets", "Ready") => self.number("/status/readyReplicas").into(),
            ("daemonsets", "Desired") => self.number("/status/desiredNumberScheduled").into(),
            ("daemonsets", "Current") => self.number("/status/currentNumberScheduled").into(),
            ("daemonsets", "Ready") => self.number("/status/numberReady").into(),
            ("daemonsets", "Up-to-date") => self.number("/status/updatedNumberScheduled").into(),
            ("daemonsets", "Available") => self.number("/status/numberAvailable").into(),
            ("daemonsets", "Node Selector") => labels(self.at(&format!("{template}/nodeSelector"))),
            ("controllerrevisions", "Controller") => {
                let owner = self.list("/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true);
                owner.map_or(NONE.into(), |owner| {
                    let text = |field: &str| owner[field].as_str().unwrap_or_default();
                    let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
                    let kind = crate::resource::qualified(&text("kind").to_lowercase(), group);
                    format!("{kind}/{}", text("name")).into()
                })
            }
            ("controllerrevisions", "Revision") => self.number("/revision").to_string().into(),
            ("jobs", _) => return self.job(column),
            ("cronjobs", "Schedule") => self.text_or("/spec/schedule", ""),
            ("cronjobs", "Timezone") => self.text_or("/spec/timeZone", NONE),
            ("cronjobs", "Suspend") => self.shown("/spec/suspend", UNSET).as_str().map(capitalised)?.into(),
            ("cronjobs", "Active") => self.count("/status/active").into(),
            ("cronjobs", "Last Schedule") => match self.at("/status/lastScheduleTime") {
                None => NONE.into(),
                time => age(time).into(),
            },
            _ => return None,
        })
    }

    pub(super) fn job(&self, column: &str) -> Option<Value> {
        let condition = |kind: &str| {
            self.list("/status/conditions").iter().any(|one| one["type"] == kind && one["status"] == "True")
        };
        Some(match column {
            "Status" => match () {
                () if condition("Complete") => "Complete",
                () if condition("Failed") => "Failed",
                () if metadata::of(self.0).is_deleting() => "Terminating",
                () if condition("Suspended") => "Suspended",
                () if condition("FailureTarget") => "FailureTarget",
                () if condition("SuccessCriteriaMet") => "SuccessCriteriaMet",
                () => "Running",
            }
            .into(),
            "Completions" => match self.at("/spec/completions").and_then(Value::as_i64) {
                Some(wanted) => format!("{}/{wanted}", self.number("/status/succeeded")).into(),
                None if self.number("/spec/parallelism") > 1 => {
                    format!("{}/1 of {}", self.number("/status/succeeded"), self.number("/spec/parallelism")).into()
                }
                None => format!("{}/1", self.number("/status/succeeded")).into(),
            },
            "Duration" => {
                let time = |pointer: &str| self.text(pointer)?.parse::<jiff::Timestamp>().ok();
                match (time("/status/startTime"), time("/status/completionTime")) {
                    (None, _) => "".into(),
                    (Some(start), end) => {
                        let end = end.unwrap_or_else(jiff::Timestamp::now);
                        human_duration(end.as_second() - start.as_second()).into()
                    }
                }
            }
            _ => return None,
        })
    }

    pub(super) fn autoscaler(&self, column: &str) -> Option<Value> {
        Some(match column {
            "Reference" => format!(
                "{}/{}",
                self.text("/spec/scaleTargetRef/kind").unwrap_or_default(),
                self.text("/spec/scaleTargetRef/name").unwrap_or_default()
            )
            .into(),
            "Targets" => {
                let targets =
                    self.list("/spec/metrics").iter().enumerate().map(|(index, metric)| self.target(index, metric));
                join(targets)
            }
            "MinPods" => self.shown("/spec/minReplicas", UNSET),
            "MaxPods" => self.number("/spec/maxReplicas").to_string().into(),
            "Replicas" => self.number("/status/currentReplicas").to_string().into(),
            _ => return None,
        })
    }

    /// `cpu: 12%/80%`: what is measured, and what is wanted.
    pub(super) fn target(&self, index: usize, metric: &Value) -> String {
        let kind = metric["type"].as_str().unwrap_or_default();
        let field = match kind {
            "Resource" => "resource",
            "ContainerResource" => "containerResource",
            "Pods" => "pods",
            "Object" => "object",
            _ => "external",
        };
        let current =
            self.list("/status/currentMetrics").get(index).and_then(|current| current.get(field)?.get("current"));
        let wanted = &metric[field]["target"];
        let part =
            |of: Option<&Value>, name: &str| of.and_then(|of| of.get(name)).filter(|part| !part.is_null()).cloned();
        let written = |value: Option<Value>, suffix: &str| match value {
            None => "<unknown>".to_owned(),
            Some(Value::String(text)) => format!("{text}{suffix}"),
            Some(other) => format!("{other}{suffix}"),
        };
        let (name, suffix) = match () {
            () if wanted.get("averageUtilization").is_some() => ("averageUtilization", "%"),
            () if wanted.get("averageValue").is_some() => ("averageValue", ""),
            () => ("value", ""),
        };
        let shown = format!("{}/{}", written(part(current, name), suffix), written(part(Some(wanted), name), suffix));
        match metric[field]["name"].as_str() {
            Some(resource) if field == "resource" || field == "containerResource" => format!("{resource}: {shown}"),
            _ => shown,
        }
    }
}
