//! Tasks: told from the other worlds, run to their end however long that takes, killed where they do not end.

use std::sync::Arc;
use std::time::Duration;

use tenure_sandbox::{CallError, Host, InstanceLimits, KillSwitch, LoadError, World, fixtures};

use crate::host::{Answer, LONG, TestHost, instance, load, request, sandbox};

const WAIT: &str = r#"(import "tenure:plugin/leadership@0.1.0" "wait" (func $wait (param i32) (result i32)))"#;

#[tokio::test]
async fn a_task_runs_to_a_good_end() {
    let task = fixtures::task("", "(i32.const 1024)");
    assert_eq!(load(&task).world(), World::Task);
    assert_eq!(load(&task).world().name(), "task");
    assert_eq!(instance(&task, &TestHost::answering("")).await.run().await, Ok(()));
}

#[tokio::test]
async fn a_tasks_error_is_its_own_and_a_trap_breaks_it_off() {
    let host = TestHost::answering("");
    // An error of three empty strings: reason, message, and no more.
    let fails = fixtures::task("", "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.const 1024)");
    let error = instance(&fails, &host).await.run().await.expect_err("an error");
    assert!(matches!(&error, CallError::Guest(error) if error.reason.is_empty()), "{error:?}");
    let traps = fixtures::task("", "unreachable");
    assert!(matches!(instance(&traps, &host).await.run().await, Err(CallError::Trap { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_run_may_last_far_longer_than_any_call() {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    let host = TestHost::new(Answer::Hang);
    let waits = fixtures::task(WAIT, "(drop (call $wait (i32.const 1000))) (i32.const 1024)");
    let mut task = instance(&waits, &host).await;
    tokio::select! {
        ran = task.run() => panic!("{ran:?}, and the host never answered"),
        () = tokio::time::sleep(WEEK) => assert_eq!(host.calls(), 1),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_run_that_never_ends_is_killed() {
    let kill = KillSwitch::new();
    let host: Arc<dyn Host> = TestHost::answering("");
    let sandbox = sandbox();
    let spins = sandbox.load(&fixtures::task("", "(loop $for_ever (br $for_ever)) (i32.const 1024)")).expect("a task");
    let mut task = spins.instantiate(host, InstanceLimits::default(), kill.clone()).await.expect("it starts");
    let running = tokio::spawn(async move { task.run().await });
    tokio::task::yield_now().await;
    kill.kill();
    sandbox.kill_epoch();
    assert_eq!(running.await.expect("no panic"), Err(CallError::Killed));
}

#[tokio::test]
async fn a_call_of_another_world_is_an_error() {
    let host = TestHost::answering("");
    let mut task = instance(&fixtures::task("", "(i32.const 1024)"), &host).await;
    assert!(matches!(task.reconcile(request(), LONG).await, Err(CallError::Trap { .. })));
    let mut reconciler = instance(&fixtures::idle(), &host).await;
    assert!(matches!(reconciler.run().await, Err(CallError::Trap { .. })));
}

#[test]
fn a_run_of_other_types_is_refused_by_name() {
    let answers_nothing = wat::parse_str(
        r#"(component
            (core module $module (func (export "run")))
            (core instance $instance (instantiate $module))
            (func (export "run") (canon lift (core func $instance "run"))))"#,
    );
    let refused = sandbox().load(&answers_nothing.expect("valid text")).expect_err("another type");
    assert!(matches!(refused, LoadError::WrongWorld { .. }), "{refused}");
    let told = refused.to_string();
    assert!(told.contains("exports it with other types") && told.contains("world `task`"), "{told}");
}
