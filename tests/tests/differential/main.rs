//! The in-memory API held against kube-apiserver: the same requests to both, and equal answers.
//!
//! No expected output anywhere: the real server is the oracle. Scenarios are the text files beside this one, a test each. A step whose
//! answers may differ says where and why (`differs at message, details.causes: reason`); one that says so and does not differ fails too,
//! and so does one that differs elsewhere. A map with two entries that are
//! wrong is told of in an order that changes from request to request: one at a time.
//! The programs of the real server are those `KUBEBUILDER_ASSETS` names; kubectl is `KUBECTL`, or the one on the path.
//! `DIFFERENTIAL=words` plays only scenarios with these words in their title.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without ends it")]

mod answer;
mod compared;
mod plain;
mod scenario;
mod server;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use similar::TextDiff;
use tenure_local_cluster::LocalCluster;
use tenure_tests::RealApi;
use tokio::sync::OnceCell;

use crate::answer::Answer;
use crate::plain::Names;
use crate::scenario::Scenario;
use crate::server::Server;

/// Scenarios of one file played at once: enough that one waiting for time to pass holds up nobody.
const SCENARIOS_AT_ONCE: usize = 6;

/// Where the scenarios are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential")
}

macro_rules! files {
    ($($name:ident)*) => {
        const FILES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                compare(stringify!($name)).await;
            }
        )*
    };
}

files! { apply bodies crds custom deletion discovery garbage kinds kubectl lists objects patches registry scale watches workloads }

/// Files about what controllers make of objects.
const NEED_CONTROLLERS: &[&str] = &["garbage"];

#[test]
fn every_file_of_scenarios_is_played() {
    let mut found: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".txt")?.to_owned()))
        .collect();
    found.sort();
    let mut named = FILES.to_vec();
    named.sort_unstable();
    assert_eq!(found, named);
}

/// A file of scenarios on both servers.
async fn compare(file: &str) {
    let Some(real) = real_server(file).await else { return };
    let directory = tempfile::tempdir().unwrap();
    let cluster = LocalCluster::builder().garbage_collector(NEED_CONTROLLERS.contains(&file)).build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = directory.path().join("local");
    std::fs::write(&kubeconfig, cluster.kubeconfig(listener.local_addr().unwrap())).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move { cluster.serve(listener, async { drop(stopped.await) }).await });
    let local = Server::of_kubeconfig(&kubeconfig).await;

    let name = format!("{file}.txt");
    let text = std::fs::read_to_string(folder().join(&name)).unwrap();
    let only = std::env::var("DIFFERENTIAL").unwrap_or_default();
    let scenarios = scenario::parse(&name, &text).into_iter().filter(|scenario| scenario.title.contains(&only));
    // A namespace of another run may still be there on a server that outlives its tests.
    let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() % 10_000_000;
    let (mut reports, mut steps) = (Vec::new(), 0);
    {
        let mut played = futures::stream::iter(scenarios.map(|scenario| {
            let (local, real) = (&local, &real);
            async move {
                let namespace = format!("{file}-{}-{run}", scenario.line);
                let (ours, theirs) = tokio::join!(local.play(&scenario, &namespace), real.play(&scenario, &namespace));
                let ours = plain(&scenario, &namespace, &local.address, &ours);
                let theirs = plain(&scenario, &namespace, &real.address, &theirs);
                (scenario, ours, theirs)
            }
        }))
        .buffered(SCENARIOS_AT_ONCE);
        while let Some((scenario, ours, theirs)) = played.next().await {
            steps += scenario.steps.len();
            reports.extend(judge(&name, &scenario, &ours, &theirs));
        }
    }
    let _ended = stop.send(());
    serving.await.unwrap().unwrap();
    let count = reports.len();
    assert!(reports.is_empty(), "\n{}\n{name}: {count} of {steps} answers differ\n", reports.concat());
}

fn plain(scenario: &Scenario, namespace: &str, address: &str, answers: &[Answer]) -> Vec<String> {
    let mut names = Names::new(namespace, address);
    scenario.steps.iter().zip(answers).map(|(step, answer)| names.plain(&step.label, answer)).collect()
}

/// What is wrong with the answers to a scenario, a text each.
fn judge(file: &str, scenario: &Scenario, ours: &[String], theirs: &[String]) -> Vec<String> {
    let mut reports = Vec::new();
    for ((step, ours), theirs) in scenario.steps.iter().zip(ours).zip(theirs) {
        let (ours, theirs) = &compared::parts(step.compared, ours, theirs);
        let mut report = format!("── {file}:{} {}\n   {}: {}\n", scenario.line, scenario.title, step.label, step.text);
        let places = compared::places(ours, theirs);
        match (&step.differs, places.is_empty()) {
            (None, true) => continue,
            (Some(known), false) if places.iter().all(|place| known.covers(place)) => continue,
            (Some(known), true) => {
                writeln!(report, "   no longer differs; take the line out that says: {}", known.reason).unwrap();
            }
            (_, false) => {
                let diff = TextDiff::from_lines(theirs.as_str(), ours.as_str());
                let mut diff = diff.unified_diff();
                let places = places.into_iter().collect::<Vec<_>>().join(", ");
                writeln!(
                    report,
                    "   differs at {places}\n{}",
                    diff.context_radius(3).header("kube-apiserver", "local-cluster")
                )
                .unwrap();
            }
        }
        reports.push(report);
    }
    reports
}

/// One a process, shared by all files; and one with kube-controller-manager for those that need it.
static ALONE: OnceCell<Option<RealApi>> = OnceCell::const_new();
static WITH_CONTROLLERS: OnceCell<Option<RealApi>> = OnceCell::const_new();

/// Admission that changes Pods is another matter than the API, and not what the in-memory one is for.
const WITHOUT_ADMISSION: &str = "--disable-admission-plugins=ServiceAccount,DefaultTolerationSeconds,Priority";

/// kube-apiserver, or nothing where there is none, said aloud.
async fn real_server(file: &str) -> Option<Server> {
    let real = if NEED_CONTROLLERS.contains(&file) {
        WITH_CONTROLLERS
            .get_or_init(|| RealApi::own(|builder| builder.flag(WITHOUT_ADMISSION).controller_manager()))
            .await
    } else {
        ALONE.get_or_init(|| RealApi::own(|builder| builder.flag(WITHOUT_ADMISSION))).await
    };
    Some(Server::of_kubeconfig(&real.as_ref()?.kubeconfig()).await)
}
