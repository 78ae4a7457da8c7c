//! Reads one Pod's status for the elector, and turns it into the elector's words. Decides nothing: what a status proves is the
//! elector's to say.

use std::time::Duration;

use http::Method;
use http::StatusCode;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tenure_election::{ContainerSeen, PodSeen, Termination};

use crate::api::{CallFailure, LockApi, chain, said};

impl LockApi {
    /// A consistent read of a Pod. `None` only when the API server itself says that there is none of this name.
    pub(crate) async fn read_pod(
        &self,
        namespace: &str,
        name: &str,
        timeout: Duration,
    ) -> Result<Option<PodSeen>, CallFailure> {
        let failure = |code: Option<u16>, what: String| CallFailure {
            code,
            message: format!("cannot get pod {namespace}/{name}: {what}"),
        };
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let answered = self.exchange(Method::GET, &path, None, timeout).await;
        let (status, body) = answered.map_err(|what| failure(None, what))?;
        match status {
            StatusCode::OK => match serde_json::from_slice::<Pod>(&body) {
                Ok(pod) => Ok(Some(pod_seen(pod))),
                Err(error) => Err(failure(None, chain(&error))),
            },
            StatusCode::NOT_FOUND if is_absence(&body, name) => Ok(None),
            StatusCode::FORBIDDEN => Err(CallFailure {
                code: Some(403),
                message: format!(
                    "forbidden to get pods {name:?} in namespace {namespace:?}: bind this account to a Role in {namespace:?} \
                     with apiGroups [\"\"], resources [\"pods\"], verbs [\"get\"], or leave election.container out; the API \
                     server says: {}",
                    said(&body)
                ),
            }),
            status => Err(failure(Some(status.as_u16()), format!("{status}: {}", said(&body)))),
        }
    }
}

/// Whether a 404 is about this Pod, and not a proxy's.
fn is_absence(body: &[u8], name: &str) -> bool {
    serde_json::from_slice::<kube::core::Status>(body).is_ok_and(|status| {
        status.reason == "NotFound"
            && status.details.is_some_and(|details| details.kind == "pods" && details.name == name)
    })
}

fn pod_seen(pod: Pod) -> PodSeen {
    let containers = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
    PodSeen {
        uid: pod.metadata.uid.unwrap_or_default(),
        containers: containers.into_iter().map(container_seen).collect(),
    }
}

fn container_seen(status: ContainerStatus) -> ContainerSeen {
    let ContainerStatus { name, container_id, ready, state, last_state, .. } = status;
    let started_at = state.as_ref().and_then(|state| state.running.as_ref()).map(|running| running.started_at.as_ref());
    let running = container_id.zip(started_at.flatten()).map(|(id, at)| (id, since_1970(at)));
    let terminated = [state, last_state].into_iter().flatten().filter_map(termination).collect();
    ContainerSeen { name, running, ready, terminated }
}

fn termination(state: ContainerState) -> Option<Termination> {
    let ended = state.terminated?;
    Some(Termination {
        id: ended.container_id.unwrap_or_default(),
        finished_at: ended.finished_at.as_ref().map(since_1970),
        reason: ended.reason.unwrap_or_default(),
    })
}

/// Before 1970 reads as 1970.
fn since_1970(time: &Time) -> Duration {
    Duration::from_secs(time.0.as_second().try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn status_is_read_as_the_election_needs_it() {
        let ended = |id: &str, at: &str, reason: &str| {
            json!({"terminated": {
                "containerID": id, "exitCode": 137, "startedAt": at, "finishedAt": at, "reason": reason,
            }})
        };
        let pod = json!({
            "metadata": {"name": "a", "uid": "uid-a"},
            "spec": {"containers": []},
            "status": {"phase": "Running", "containerStatuses": [
                {
                    "name": "tenure", "image": "", "imageID": "", "restartCount": 1, "ready": true,
                    "containerID": "containerd://2", "state": {"running": {"startedAt": "1970-01-01T00:01:40Z"}},
                    "lastState": ended("containerd://1", "1970-01-01T00:01:30Z", "Error"),
                },
                {
                    "name": "proxy", "image": "", "imageID": "", "restartCount": 0, "ready": false,
                    "containerID": "containerd://3", "state": ended("containerd://3", "1970-01-01T00:00:00Z", "Unknown"),
                },
            ]},
        });
        let seen = pod_seen(serde_json::from_value(pod).unwrap());
        let end = |id: &str, at: u64, reason: &str| Termination {
            id: String::from(id),
            finished_at: Some(Duration::from_secs(at)),
            reason: String::from(reason),
        };
        let tenure = ContainerSeen {
            name: String::from("tenure"),
            running: Some((String::from("containerd://2"), Duration::from_secs(100))),
            ready: true,
            terminated: vec![end("containerd://1", 90, "Error")],
        };
        let proxy = ContainerSeen {
            name: String::from("proxy"),
            terminated: vec![end("containerd://3", 0, "Unknown")],
            ..ContainerSeen::default()
        };
        assert_eq!(seen, PodSeen { uid: String::from("uid-a"), containers: vec![tenure, proxy] });
    }

    #[test]
    fn pod_without_a_status_says_nothing() {
        let pod = json!({"metadata": {"name": "a", "uid": "uid-a"}, "spec": {"containers": []}});
        let seen = pod_seen(serde_json::from_value(pod).unwrap());
        assert_eq!(seen, PodSeen { uid: String::from("uid-a"), containers: vec![] });
    }

    #[test]
    fn only_the_api_servers_word_on_this_pod_is_absence() {
        let about = |kind: &str, name: &str| {
            json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "x",
                "details": {"name": name, "kind": kind}})
            .to_string()
        };
        assert!(is_absence(about("pods", "a").as_bytes(), "a"));
        assert!(!is_absence(about("pods", "b").as_bytes(), "a"));
        assert!(!is_absence(about("namespaces", "a").as_bytes(), "a"));
        assert!(!is_absence(b"404 page not found", "a"));
    }
}
