//! Access to a node: the privileged Pod, the script in it, and the container it is pointed at. Pure.

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// The one container of the Pod.
pub(super) const CONTAINER: &str = "node-access";
/// The Pod ends by itself after so long, whatever became of the drill.
pub(super) const LIFE_SECONDS: u32 = 3600;
/// Which container of a Pod is meant where nobody says.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// What the Pod's container does: it waits. Should it be ended while processes are stopped, it lets them go on.
const WAIT: &str = "trap 'kill -CONT $(cat /stopped 2>/dev/null) 2>/dev/null; exit 0' TERM; sleep \"$0\" & wait";

/// What the drill runs in it, told words on stdin: STOP, CONT, KILL. `$1` is the container's id, which stands in the cgroup of
/// each of its processes. When stdin ends, because the drill did, what is stopped goes on. A number is looked at again right
/// before its signal: it may have become another process'.
pub(super) const SCRIPT: &str = r#"
id=$1
pids=
look() {
  pids=
  for file in /proc/[0-9]*/cgroup; do
    if grep -q "$id" "$file" 2>/dev/null; then
      pid=${file#/proc/}
      pids="$pids ${pid%/cgroup}"
    fi
  done
}
signal() {
  for pid in $pids; do
    if grep -q "$id" "/proc/$pid/cgroup" 2>/dev/null; then kill "-$1" "$pid" 2>/dev/null; fi
  done
}
go_on() {
  signal CONT
  rm -f /stopped
}
trap go_on EXIT
trap 'exit 1' HUP INT TERM PIPE
look
echo "found$pids"
while read -r word; do
  case $word in
    STOP) echo "$pids" > /stopped; signal STOP; look; echo "$pids" > /stopped; signal STOP ;;
    KILL) signal KILL; look; signal KILL ;;
    CONT) go_on ;;
  esac
  echo "done $word"
done
"#;

/// The namespace made for one drill. Only privileged Pods that are let in can see a node's processes.
pub(super) fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/managed-by": "tenure-drill",
            "pod-security.kubernetes.io/enforce": "privileged",
        }},
    })
}

/// The privileged Pod on `node`. It is put there past the scheduler, tolerates what the node may be tainted with, and has no
/// credentials.
pub(super) fn pod(namespace: &str, name: &str, node: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "tenure-drill"},
        },
        "spec": {
            "nodeName": node,
            "hostPID": true,
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 2,
            "activeDeadlineSeconds": LIFE_SECONDS,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": CONTAINER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", WAIT, LIFE_SECONDS.to_string()],
                "securityContext": {"privileged": true, "runAsUser": 0},
            }],
        },
    })
}

/// The id of the candidate's running container, as it stands in cgroups: without its runtime's name.
pub(super) fn container_id(pod: &Pod, wanted: Option<&str>) -> anyhow::Result<String> {
    let name = pod.name_any();
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let by_default = pod.annotations().get(DEFAULT_CONTAINER).map(String::as_str);
    let status = match (wanted.or(by_default), statuses) {
        (Some(wanted), _) => statuses.iter().find(|status| status.name == wanted).with_context(|| {
            format!("pod {name} has no container {wanted:?}; it has {}", names(statuses.iter().map(|it| &it.name)))
        })?,
        (None, [status]) => status,
        (None, []) => bail!("pod {name} does not say what containers it runs"),
        (None, several) => {
            bail!(
                "pod {name} has several containers ({}): --container says which",
                names(several.iter().map(|it| &it.name))
            )
        }
    };
    let id = status.container_id.as_deref().unwrap_or_default();
    let bare = id.split_once("://").map_or("", |(_, bare)| bare);
    // It is searched for in files of other processes: nothing shorter or stranger may match.
    if bare.len() < 32 || !bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("container {} of pod {name} has the id {id:?}, not <runtime>://<hexadecimal>", status.name);
    }
    Ok(bare.to_owned())
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, Command, Stdio};

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn running(containers: &[(&str, &str)], annotations: &Value) -> Pod {
        let statuses: Vec<Value> = containers
            .iter()
            .map(|(name, id)| json!({"name": name, "containerID": id, "image": "", "imageID": "", "ready": true, "restartCount": 0}))
            .collect();
        let pod =
            json!({"metadata": {"name": "a", "annotations": annotations}, "status": {"containerStatuses": statuses}});
        serde_json::from_value(pod).expect("a Pod")
    }

    #[test]
    fn a_container_id_is_read_whatever_the_runtime() {
        for runtime in ["containerd", "cri-o", "docker"] {
            let pod = running(&[("app", &format!("{runtime}://{ID}"))], &json!({}));
            assert_eq!(container_id(&pod, None).expect("an id"), ID);
        }
    }

    #[test]
    fn of_several_containers_one_has_to_be_named() {
        let (app, side) = (format!("containerd://{ID}"), format!("containerd://{}", "f".repeat(64)));
        let containers = [("side", side.as_str()), ("app", app.as_str())];
        let pod = running(&containers, &json!({}));
        let error = container_id(&pod, None).expect_err("two containers").to_string();
        assert!(error.contains("side, app") && error.contains("--container"), "{error}");
        assert_eq!(container_id(&pod, Some("app")).expect("an id"), ID);
        assert!(container_id(&pod, Some("web")).expect_err("no such").to_string().contains("side, app"));
        let pod = running(&containers, &json!({DEFAULT_CONTAINER: "app"}));
        assert_eq!(container_id(&pod, None).expect("an id"), ID);
    }

    #[test]
    fn an_id_that_could_match_anything_is_refused() {
        for id in ["", "containerd://", "containerd://ab", ID, "containerd://.*..............................."] {
            assert!(container_id(&running(&[("app", id)], &json!({})), None).is_err(), "{id}");
        }
    }

    #[test]
    fn the_pod_is_pinned_privileged_without_credentials_and_ends_by_itself() {
        let pod: Pod = serde_json::from_value(pod("drill-1", "on-n1", "n1", "busybox")).expect("a Pod");
        let spec = pod.spec.expect("a spec");
        assert_eq!(spec.node_name.as_deref(), Some("n1"));
        assert_eq!((spec.host_pid, spec.automount_service_account_token), (Some(true), Some(false)));
        assert_eq!(spec.active_deadline_seconds, Some(i64::from(LIFE_SECONDS)));
        let [container] = &spec.containers[..] else { panic!("one container") };
        assert_eq!(container.security_context.as_ref().and_then(|context| context.privileged), Some(true));
    }

    /// The script with a `/proc` of the test's own, in which one process is of the container and one is not.
    struct Dialogue {
        script: Child,
        lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
        own: Child,
        others: Child,
        folder: tempfile::TempDir,
    }

    impl Dialogue {
        fn start() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let sleeper = |cgroup: &str| {
                let child = Command::new("sleep").arg("600").spawn().expect("a process");
                let place = folder.path().join("proc").join(child.id().to_string());
                std::fs::create_dir_all(&place).expect("a folder");
                std::fs::write(place.join("cgroup"), format!("0::/kubepods/{cgroup}\n")).expect("a file");
                child
            };
            let (own, others) = (sleeper(&format!("cri-containerd-{ID}.scope")), sleeper(&"f".repeat(64)));
            let own_root = folder.path().display().to_string();
            let script = SCRIPT
                .replace("/proc", &format!("{own_root}/proc"))
                .replace("/stopped", &format!("{own_root}/stopped"));
            let mut script = Command::new("sh")
                .args(["-c", &script, CONTAINER, ID])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a shell");
            let lines = BufReader::new(script.stdout.take().expect("a pipe")).lines();
            let mut dialogue = Self { script, lines, own, others, folder };
            assert_eq!(dialogue.line(), format!("found {}", dialogue.own.id()));
            dialogue
        }

        fn line(&mut self) -> String {
            self.lines.next().expect("a line").expect("text")
        }

        fn say(&mut self, word: &str) {
            writeln!(self.script.stdin.as_mut().expect("a pipe"), "{word}").expect("it listens");
            assert_eq!(self.line(), format!("done {word}"));
        }

        /// Waits until the kernel has the container's process in this state; the other one must sleep on.
        fn assert_becomes(&self, state: char) {
            let state_of = |child: &Child| {
                let line = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
                line.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next())
            };
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
            while state_of(&self.own) != Some(state) {
                assert!(
                    std::time::Instant::now() < deadline,
                    "waited 30 s for state {state}, not {:?}",
                    state_of(&self.own)
                );
                std::thread::yield_now();
            }
            assert_eq!(state_of(&self.others), Some('S'));
        }
    }

    impl Drop for Dialogue {
        fn drop(&mut self) {
            for child in [&mut self.script, &mut self.own, &mut self.others] {
                drop(child.kill());
                drop(child.wait());
            }
        }
    }

    #[test]
    fn the_script_stops_and_kills_the_containers_processes_and_no_others() {
        let mut dialogue = Dialogue::start();
        dialogue.say("STOP");
        dialogue.assert_becomes('T');
        assert!(dialogue.folder.path().join("stopped").exists(), "who ends the Pod has to know what is stopped");
        dialogue.say("CONT");
        dialogue.assert_becomes('S');
        assert!(!dialogue.folder.path().join("stopped").exists());
        dialogue.say("KILL");
        dialogue.assert_becomes('Z');
    }

    #[test]
    fn what_the_script_has_stopped_goes_on_when_its_stdin_ends() {
        let mut dialogue = Dialogue::start();
        dialogue.say("STOP");
        dialogue.assert_becomes('T');
        drop(dialogue.script.stdin.take());
        dialogue.assert_becomes('S');
        assert!(dialogue.script.wait().expect("it ends").success());
    }
}
