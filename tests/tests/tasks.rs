//! Tasks (world `task`) through the whole host, on the API in memory.

use std::process::Command;

use tenure_tests::scenes::task;
use tenure_tests::{Options, Plugin, World, until};

async fn two_replicas() -> World {
    World::with_replicas(2, Options::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_once_a_term() {
    task::a_task_runs_once_a_term(two_replicas().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_in_the_middle_of_a_run_ends_it_and_the_successor_begins_the_next() {
    task::a_handover_ends_a_run_and_begins_the_next(two_replicas().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leaders_run_begins_anew() {
    task::a_killed_leaders_run_begins_anew(two_replicas().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ignores_the_cancellation_is_killed_and_the_lock_released() {
    task::a_deaf_task_is_killed_and_the_lock_released(two_replicas().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_begun_again_until_one_ends_well() {
    task::a_failed_run_is_begun_again(two_replicas().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_task_ends_its_run_and_begins_another_when_it_may() {
    task::a_suspended_task_ends_its_run(two_replicas().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_task_is_told_to_end() {
    task::a_replaced_task_ends_before_the_new_one_begins(two_replicas().await, "linger").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_task_that_does_not_hear_is_killed_while_the_term_goes_on() {
    let world = task::hasty(World::new(Options::default()).await).await;
    task::a_replaced_task_ends_before_the_new_one_begins(world, "deaf").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_breaks_off_again_and_again_opens_the_circuit() {
    let world = World::with_replicas(1, Options::default()).await;
    world.drop_in(&task::errand(&world, "trap", "1")).await;
    let row = world.plugin_state("errand", "circuit-open").await;
    assert!(row["message"].as_str().is_some_and(|message| message.contains("broke off")), "{row}");
    assert!(task::runs(&world, "1").await.len() >= 5, "each run began and broke off");
    assert!(world.get_status("/healthz").await);
    world.judge.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_only_reads_runs_on_every_replica() {
    let mut world = two_replicas().await;
    world.drop_in(&Plugin::built("sentry")).await;
    for name in ["replica-0", "replica-1"] {
        world.replica(name).logged("on guard in term 0").await;
        world.only_plugin_is(name, "running").await;
    }
    world.remove_plugin("sentry").await;
    for name in ["replica-0", "replica-1"] {
        world.replica(name).logged("told to end").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_makes_work_for_a_task_is_refused() {
    let world = World::with_replicas(1, Options::default()).await;
    for (table, named) in [
        ("[[schedule]]\nevery = \"1h\"\n", "[[schedule]]"),
        ("[[watch]]\napi-version = \"v1\"\nkind = \"Namespace\"\n", "[[watch]]"),
        ("[limits]\nconcurrency = 2\n", "limits.concurrency"),
        ("[limits]\nreconcile-timeout = \"1s\"\n", "limits.reconcile-timeout"),
    ] {
        world.drop_in(&task::errand(&world, "end", "1").with(table)).await;
        until(&format!("the refusal of {named}"), || async {
            let row = world.plugin_state("errand", "refused").await;
            row["message"].as_str().is_some_and(|told| told.contains(named) && told.contains("it is a task"))
        })
        .await;
    }
    assert_eq!(task::runs(&world, "1").await, []);
}

#[test]
fn plugin_check_says_that_it_is_a_task() {
    let folder = std::env::var("TENURE_PLUGINS").expect("the folder of built plugins");
    let of = |file: &str| format!("{folder}/errand/{file}");
    let tenure = std::env::var("TENURE_BIN").expect("the program");
    let checked = Command::new(tenure)
        .args(["plugin", "check", &of("plugin.toml"), &of("plugin.wasm")])
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.contains("is a task (world task)"), "{checked:?}");
}
