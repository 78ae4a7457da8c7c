//! Tasks: one run a term, ended as everything is.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use rustix::process::Signal;
use serde_json::json;

use super::at_work;
use crate::{Plugin, World, until};

/// A run that began, by the ConfigMap it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// In which term.
    pub term: u64,
    /// Whether it said that it was told to end.
    pub finished: bool,
    /// When it began, in the server's own order.
    version: u64,
}

/// The errand, told what to do.
pub fn errand(world: &World, behaviour: &str, value: &str) -> Plugin {
    let errand = Plugin::built("errand");
    let manifest = errand
        .manifest
        .replace("behaviour = \"end\"", &format!("behaviour = \"{behaviour}\""))
        .replace("value = \"1\"", &format!("value = \"{value}\""))
        .replace("namespace = \"default\"", &format!("namespace = \"{}\"", world.names.work));
    Plugin { manifest, ..errand }
}

/// With replicas that give a run no more than a second to end.
pub async fn hasty(mut world: World) -> World {
    for name in ["replica-0", "replica-1"] {
        world.start_with(name, &[("TENURE_ELECTION_SHUTDOWN_GRACE", "1s")]).await;
    }
    world.leader().await;
    world
}

/// The runs that began under a value, in their order.
pub async fn runs(world: &World, value: &str) -> Vec<Run> {
    let selected = ListParams::default().labels(&format!("errand={value}"));
    let made = world.api::<ConfigMap>(&world.names.work).list(&selected).await.expect("the API answers");
    let mut runs: Vec<Run> = made
        .into_iter()
        .map(|made| {
            let metadata = made.metadata;
            let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key));
            Run {
                term: annotation("probe/term").and_then(|term| term.parse().ok()).expect("a run says its term"),
                finished: annotation("errand/finished").is_some(),
                version: metadata.resource_version.and_then(|version| version.parse().ok()).expect("a version"),
            }
        })
        .collect();
    runs.sort_by_key(|run| run.version);
    runs
}

/// Waits until so many runs have begun under a value, and returns them.
pub async fn begun(world: &World, value: &str, count: usize) -> Vec<Run> {
    until(&format!("{count} runs to have begun"), || async { runs(world, value).await.len() >= count }).await;
    runs(world, value).await
}

fn terms(runs: &[Run]) -> Vec<u64> {
    runs.iter().map(|run| run.term).collect()
}

/// Well ended, it is not run again before the next term, which runs it once.
pub async fn a_task_runs_once_a_term(world: World) -> World {
    let mut world = at_work(world, "stamp").await;
    world.drop_in(&errand(&world, "end", "1")).await;
    world.plugin_state("errand", "completed").await;
    let (old, first) = (world.leader().await, world.term().await.expect("a term"));
    // All that this replica had to do is done, and more.
    world.config_map("probe", &world.names.work, "later", json!({})).await;
    world.annotated(&world.names.work, "later", "probe/term").await;
    assert_eq!(terms(&runs(&world, "1").await), [first]);
    world.replica(&old).signal(Signal::TERM);
    world.leader_of_a_term_above(first).await;
    world.plugin_state("errand", "completed").await;
    let second = world.term().await.expect("a term");
    assert_eq!(terms(&runs(&world, "1").await), [first, second]);
    assert!(world.replica(&old).ended().await.success());
    world.judged().await.assert_clean();
    world
}

/// A handover in the middle of a run: the run ends as it means to, then the successor begins its own.
pub async fn a_handover_ends_a_run_and_begins_the_next(world: World) -> World {
    let mut world = world;
    world.drop_in(&errand(&world, "linger", "1")).await;
    begun(&world, "1", 1).await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).signal(Signal::TERM);
    assert!(world.replica(&old).ended().await.success());
    let both = begun(&world, "1", 2).await;
    assert!(both[0].term == term && both[0].finished, "the first was told, and said so: {both:?}");
    assert!(both[1].term > term, "{both:?}");
    let judge = world.judged().await;
    assert_eq!(judge.late_writes(), []);
    judge.assert_clean();
    world
}

/// A leader that dies takes its run along; the successor begins anew.
pub async fn a_killed_leaders_run_begins_anew(world: World) -> World {
    let mut world = world;
    world.drop_in(&errand(&world, "linger", "1")).await;
    begun(&world, "1", 1).await;
    let (old, term) = (world.leader().await, world.term().await.expect("a term"));
    world.replica(&old).kill();
    let both = begun(&world, "1", 2).await;
    assert!(!both[0].finished && both[1].term > term, "{both:?}");
    world.judged().await.assert_clean();
    world
}

/// A task that hears nothing is killed, and the lock let go all the same.
pub async fn a_deaf_task_is_killed_and_the_lock_released(world: World) -> World {
    let mut world = world;
    world.drop_in(&errand(&world, "deaf", "1")).await;
    begun(&world, "1", 1).await;
    let old = world.leader().await;
    world.replica(&old).signal(Signal::TERM);
    world.leader_after(&old).await;
    assert!(world.replica(&old).ended().await.success());
    begun(&world, "1", 2).await;
    let judge = world.judged().await;
    assert!(judge.history().iter().any(|state| state.holder.is_empty()), "released after the kill");
    judge.assert_clean();
    world
}

/// A run that fails is begun again, in the same term, until one ends well.
pub async fn a_failed_run_is_begun_again(world: World) -> World {
    world.drop_in(&errand(&world, "third-time", "1")).await;
    let row = world.plugin_state("errand", "completed").await;
    let all = runs(&world, "1").await;
    assert_eq!(terms(&all), [all[0].term; 3]);
    until("both retries to be counted", || async {
        world.plugin_state("errand", "completed").await["retries"] == json!(2)
    })
    .await;
    assert!(row["message"].as_str().is_some_and(|message| message.contains("for this term")), "{row}");
    world.judged().await.assert_clean();
    world
}

/// Suspended, a run is told to end; let go on, the task is run again. The term goes on.
pub async fn a_suspended_task_ends_its_run(world: World) -> World {
    world.drop_in(&errand(&world, "linger", "1")).await;
    let first = begun(&world, "1", 1).await;
    world.annotate(&world.names.plugins, "errand", "tenure.dev/suspend", "true").await;
    until("the run to have ended", || async { runs(&world, "1").await[0].finished }).await;
    world.plugin_state("errand", "suspended").await;
    assert_eq!(runs(&world, "1").await.len(), 1);
    world.annotate(&world.names.plugins, "errand", "tenure.dev/suspend", "false").await;
    let both = begun(&world, "1", 2).await;
    assert_eq!(terms(&both), [first[0].term; 2]);
    world.judged().await.assert_clean();
    world
}

/// Replaced, the old version's run is told to end, or killed where it does not hear, before the new one's begins. `first` is
/// what the old version does.
pub async fn a_replaced_task_ends_before_the_new_one_begins(world: World, first: &str) -> World {
    world.drop_in(&errand(&world, first, "1")).await;
    let before = begun(&world, "1", 1).await;
    world.drop_in(&errand(&world, "linger", "2")).await;
    let after = begun(&world, "2", 1).await;
    let before_now = runs(&world, "1").await;
    assert_eq!((before_now.len(), after[0].term), (1, before[0].term), "{before_now:?}, then {after:?}");
    assert_eq!(before_now[0].finished, first == "linger", "{before_now:?}");
    assert!(before_now[0].version < after[0].version, "{before_now:?}, then {after:?}");
    world.judged().await.assert_clean();
    world
}
