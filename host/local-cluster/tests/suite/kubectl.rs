//! kubectl itself against a served cluster: what a person types works.
//!
//! Uses `KUBECTL`, or `kubectl` on the path. Without either these tests say so and pass, except where `CI` is `true`.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use tenure_local_cluster::LocalCluster;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::rig::{Served, soon};

struct Kubectl {
    program: PathBuf,
    directory: tempfile::TempDir,
    served: Served,
}

fn find_program() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("KUBECTL") {
        return Some(given.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("kubectl")).find(|program| program.is_file())
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn skip_aloud() {
    eprintln!("SKIPPED: no kubectl; set KUBECTL or put it on PATH");
}

impl Kubectl {
    /// `None`, said aloud, where there is no kubectl.
    async fn start() -> Option<Self> {
        let Some(program) = find_program() else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have kubectl: set KUBECTL or PATH");
            skip_aloud();
            return None;
        };
        let served = Served::start(LocalCluster::new()).await;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config"), served.cluster.kubeconfig(served.address)).unwrap();
        Some(Self { program, directory, served })
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--cache-dir={}", self.directory.path().join("cache").display()))
            .args(arguments.split(' '))
            .env("KUBECONFIG", self.directory.path().join("config"))
            .kill_on_drop(true);
        command
    }

    /// Runs kubectl with `input` and returns its exit and what it said, standard output first.
    async fn try_with(&self, arguments: &str, input: &str) -> (bool, String) {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = soon(arguments, child.wait_with_output()).await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    async fn with(&self, arguments: &str, input: &str) -> String {
        let (success, said) = self.try_with(arguments, input).await;
        assert!(success, "kubectl {arguments}: {said}");
        said
    }

    async fn run(&self, arguments: &str) -> String {
        self.with(arguments, "").await
    }

    async fn stop(self) {
        self.served.stop().await;
    }
}

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: hello\ndata:\n  k: \"1\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn create_get_and_describe_show_an_object() {
    let Some(kubectl) = Kubectl::start().await else { return };
    assert_eq!(kubectl.with("create -f -", CONFIG_MAP).await, "configmap/hello created\n");
    let table = kubectl.run("get configmaps").await;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "DATA", "AGE"]);
    assert_eq!(lines[1][..2], ["hello", "1"]);
    let yaml = kubectl.run("get cm hello -o yaml").await;
    assert!(yaml.starts_with("apiVersion: v1\ndata:\n  k: \"1\"\nkind: ConfigMap\n"), "{yaml}");
    assert!(kubectl.run("describe cm hello").await.contains("k:\n----\n1\n"));
    assert!(kubectl.run("describe namespace default").await.contains("Status:       Active"));
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_create_commands_of_each_kind_work() {
    let Some(kubectl) = Kubectl::start().await else { return };
    for arguments in [
        "create namespace team",
        "create configmap c --from-literal=k=v -n team",
        "create secret generic s --from-literal=k=v -n team",
        "create serviceaccount a -n team",
        "run p --image=example.org/p:1 -n team",
    ] {
        assert!(kubectl.run(arguments).await.ends_with(" created\n"), "{arguments}");
    }
    assert_eq!(kubectl.run("get secret s -n team -o jsonpath={.data.k}").await, "dg==");
    assert_eq!(kubectl.run("get cm c -n team -o jsonpath={.data.k}").await, "v");
    for kind in ["secret/s", "serviceaccount/a", "pod/p", "namespace/team"] {
        assert!(kubectl.run(&format!("describe {kind} -n team")).await.contains("Name: "), "{kind}");
    }
    assert_eq!(kubectl.run("delete namespace team").await, "namespace \"team\" deleted\n");
    assert!(!kubectl.try_with("get namespace team", "").await.0);
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_creates_conflicts_and_forces() {
    let Some(kubectl) = Kubectl::start().await else { return };
    let applied = kubectl.with("apply --server-side --field-manager=one -f -", CONFIG_MAP).await;
    assert_eq!(applied, "configmap/hello serverside-applied\n");
    let other = CONFIG_MAP.replace("\"1\"", "\"2\"");
    let (success, said) = kubectl.try_with("apply --server-side --field-manager=two -f -", &other).await;
    assert!(!success && said.contains("Apply failed with 1 conflict: conflict with \"one\": .data.k"), "{said}");
    kubectl.with("apply --server-side --field-manager=two --force-conflicts -f -", &other).await;
    assert_eq!(kubectl.run("get cm hello -o jsonpath={.data.k}").await, "2");
    // Client-side apply patches.
    kubectl.with("apply -f -", &CONFIG_MAP.replace("\"1\"", "\"3\"")).await;
    assert_eq!(kubectl.run("get cm hello -o jsonpath={.data.k}").await, "3");
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_label_annotate_and_replace_change_it() {
    let Some(kubectl) = Kubectl::start().await else { return };
    kubectl.with("create -f -", CONFIG_MAP).await;
    kubectl.run("label cm hello a=b").await;
    kubectl.run("annotate cm hello c=d").await;
    kubectl.run("patch cm hello -p {\"data\":{\"l\":\"2\"}}").await;
    kubectl.run("patch cm hello --type=json -p [{\"op\":\"remove\",\"path\":\"/data/k\"}]").await;
    let shown = "get cm hello -o jsonpath={.metadata.labels.a}{.metadata.annotations.c}{.data}";
    assert_eq!(kubectl.run(shown).await, "bd{\"l\":\"2\"}");
    kubectl.run("label cm hello a-").await;
    kubectl.with("replace -f -", CONFIG_MAP).await;
    assert_eq!(kubectl.run(shown).await, "{\"k\":\"1\"}");
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_refused_without_extra_flags() {
    let Some(kubectl) = Kubectl::start().await else { return };
    let (success, said) = kubectl.try_with("create -f -", &format!("{CONFIG_MAP}dat: {{}}\n")).await;
    assert!(!success && said.contains("strict decoding error: unknown field \"dat\""), "{said}");
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_created_and_applied_without_extra_flags() {
    let Some(kubectl) = Kubectl::start().await else { return };
    let item =
        |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [item("one"), item("two")]}).to_string();
    for (arguments, done) in [
        ("create -f -", "created"),
        ("apply -f -", "configured"),
        ("apply -f -", "unchanged"),
        ("apply --server-side --force-conflicts -f -", "serverside-applied"),
        ("delete -f -", "deleted"),
        ("apply --server-side -f -", "serverside-applied"),
    ] {
        let said = kubectl.with(arguments, &list).await;
        for name in ["one", "two"] {
            assert!(said.contains(&format!("{name} {done}")) || said.contains(&format!("{name}\" {done}")), "{said}");
        }
    }
    // What kubectl does not check, the server does.
    let (success, said) = kubectl.try_with("create -f -", &list.replace("data", "dat")).await;
    assert!(!success && said.contains("unknown field \"dat\""), "{said}");
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_waits_for_finalizers() {
    let Some(kubectl) = Kubectl::start().await else { return };
    kubectl.with("create -f -", &CONFIG_MAP.replace("hello", "hello\n  finalizers: [x.dev/y]")).await;
    let mut delete = kubectl.command("delete cm hello").stdout(Stdio::piped()).spawn().unwrap();
    let cluster = kubectl.served.cluster.clone();
    soon("the deletion's start", async {
        while !cluster.audit().iter().any(|entry| entry.verb == "delete" && entry.version.is_some()) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(delete.try_wait().unwrap().is_none(), "kubectl went without waiting");
    kubectl.run("patch cm hello --type=merge -p {\"metadata\":{\"finalizers\":null}}").await;
    assert!(soon("the deletion's end", delete.wait()).await.unwrap().success());
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_with_watch_prints_each_change() {
    use tokio::io::AsyncBufReadExt;
    let Some(kubectl) = Kubectl::start().await else { return };
    let mut watch = kubectl.command("get cm -w --output-watch-events").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(watch.stdout.take().unwrap()).lines();
    kubectl.with("create -f -", CONFIG_MAP).await;
    kubectl.run("label cm hello a=b").await;
    kubectl.run("delete cm hello").await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event| event != "DELETED hello") {
        let line = soon("a line of the watch", lines.next_line()).await.unwrap().unwrap();
        seen.push(line.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    }
    assert_eq!(seen[0], "EVENT NAME");
    assert!(seen[1..].starts_with(&["ADDED hello".to_owned()]), "{seen:?}");
    watch.kill().await.unwrap();
    kubectl.stop().await;
}

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 2\n  selector:\n    \
    matchLabels:\n      app: web\n  template:\n    metadata:\n      labels:\n        app: web\n    spec:\n      containers:\n      \
    - name: c\n        image: example.org/c:1\n";

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_created_shown_scaled_and_applied() {
    let Some(kubectl) = Kubectl::start().await else { return };
    assert_eq!(kubectl.with("create -f -", DEPLOYMENT).await, "deployment.apps/web created\n");
    let table = kubectl.run("get deploy").await;
    let lines: Vec<Vec<&str>> = table.lines().map(words).collect();
    assert_eq!(lines[0], ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert_eq!(lines[1][..4], ["web", "0/2", "0", "0"]);
    assert_eq!(kubectl.run("scale deployment web --replicas=5").await, "deployment.apps/web scaled\n");
    assert_eq!(kubectl.run("get deploy web -o jsonpath={.spec.replicas}").await, "5");
    let changed = DEPLOYMENT.replace("example.org/c:1", "example.org/c:2");
    assert!(kubectl.with("apply -f -", &changed).await.contains("deployment.apps/web configured\n"));
    assert_eq!(kubectl.with("apply -f -", &changed).await, "deployment.apps/web unchanged\n");
    let image = kubectl.run("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}").await;
    assert_eq!(image, "example.org/c:2");
    assert!(kubectl.run("set image deployment/web c=example.org/c:3").await.ends_with("image updated\n"));
    assert_eq!(kubectl.run("delete deploy web").await, "deployment.apps \"web\" deleted from default namespace\n");
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_listed_and_explained() {
    let Some(kubectl) = Kubectl::start().await else { return };
    let listed = kubectl.run("api-resources").await;
    let line = |name: &str| listed.lines().map(words).find(|line| line[0] == name).unwrap();
    assert_eq!(line("deployments"), ["deployments", "deploy", "apps/v1", "true", "Deployment"]);
    assert_eq!(line("clusterroles"), ["clusterroles", "rbac.authorization.k8s.io/v1", "false", "ClusterRole"]);
    assert_eq!(line("horizontalpodautoscalers")[2], "autoscaling/v2");
    let explained = kubectl.run("explain deployment.spec.strategy").await;
    assert!(explained.contains("KIND:       Deployment") && explained.contains("rollingUpdate\t<"), "{explained}");
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_and_its_objects_are_applied_shown_scaled_and_explained() {
    let Some(kubectl) = Kubectl::start().await else { return };
    let definition = crate::crds::definition().to_string();
    let applied = "customresourcedefinition.apiextensions.k8s.io/widgets.example.org created\n";
    assert_eq!(kubectl.with("apply -f -", &definition).await, applied);
    let wait = "wait --for=condition=Established crd/widgets.example.org --timeout=10s";
    assert!(kubectl.run(wait).await.ends_with("condition met\n"));
    let widget = crate::crds::widget("w", json!({"size": 3})).to_string();
    assert_eq!(kubectl.with("apply -f -", &widget).await, "widget.example.org/w created\n");
    assert_eq!(kubectl.with("apply -f -", &widget).await, "widget.example.org/w unchanged\n");
    let table = kubectl.run("get wd").await;
    let lines: Vec<Vec<&str>> = table.lines().map(words).collect();
    assert_eq!((&lines[0][..], &lines[1][..]), (&["NAME", "SIZE"][..], &["w", "3"][..]));
    let wrong = crate::crds::widget("w", json!({"size": 3, "colour": "red"})).to_string();
    let (success, said) = kubectl.try_with("apply -f -", &wrong).await;
    assert!(!success && said.contains("unknown field \"spec.colour\""), "{said}");
    assert_eq!(kubectl.run("scale widget w --replicas=4").await, "widget.example.org/w scaled\n");
    let explained = kubectl.run("explain widget.spec.color").await;
    assert!(explained.contains("KIND:       Widget") && explained.contains("<string>"), "{explained}");
    assert!(kubectl.run("delete crd widgets.example.org").await.contains("widgets.example.org"));
    assert!(!kubectl.try_with("get wd", "").await.0);
    kubectl.stop().await;
}
