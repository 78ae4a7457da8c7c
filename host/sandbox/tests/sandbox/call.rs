//! Calls: what comes back, how they end, and that other plugins do not notice.

use std::sync::Arc;
use std::time::Duration;

use tenure_sandbox::{CallError, Error, Host, InstanceLimits, InstantiateError, KillSwitch, Level, Outcome, fixtures};

use crate::host::{Answer, LONG, TestHost, instance, load, request, sandbox};

#[tokio::test]
async fn a_plugin_that_imports_nothing_answers() {
    let host = TestHost::answering("");
    let mut instance = instance(&fixtures::idle(), &host).await;
    assert_eq!(instance.reconcile(request(), LONG).await, Ok(Outcome::default()));
    assert_eq!(instance.reconcile(request(), LONG).await, Ok(Outcome::default()), "and once more");
    assert_eq!(instance.memory_bytes(), 64 << 10);
}

#[tokio::test]
async fn a_log_line_arrives_with_its_level() {
    let host = TestHost::answering("");
    let mut instance = instance(&fixtures::echo(), &host).await;
    instance.reconcile(request(), LONG).await.expect("an outcome");
    assert_eq!(host.lines(), [(Level::Info, request().body.unwrap(), Vec::new())]);
}

#[tokio::test]
async fn a_host_call_brings_its_answer_into_the_guest() {
    let host = TestHost::answering(r#"{"the":"object"}"#);
    let mut instance = instance(&fixtures::read(), &host).await;
    instance.reconcile(request(), LONG).await.expect("an outcome");
    assert_eq!(host.messages(), [r#"{"the":"object"}"#]);
}

#[tokio::test]
async fn a_hosts_error_reaches_the_guest_and_the_guests_error_us_and_the_instance_stays() {
    let error = Error {
        reason: "Conflict".into(),
        message: "it changed meanwhile".into(),
        status: Some(r#"{"code":409}"#.into()),
        retry_after_ms: Some(1500),
    };
    for plugin in [fixtures::read(), fixtures::apply(), fixtures::apply_forever()] {
        let host = TestHost::new(Answer::Fail(error.clone()));
        let mut instance = instance(&plugin, &host).await;
        for call in 1..=2 {
            let answer = instance.reconcile(request(), LONG).await;
            assert_eq!(answer, Err(CallError::Guest(error.clone())));
            assert!(!answer.unwrap_err().discards_instance());
            assert_eq!(host.calls(), call);
        }
    }
}

#[tokio::test]
async fn a_trap_names_the_function_and_spends_only_that_instance() {
    let host = TestHost::answering("");
    let plugin = load(&fixtures::trap());
    let start = || plugin.instantiate(Arc::clone(&host) as Arc<dyn Host>, InstanceLimits::default(), KillSwitch::new());
    let mut first = start().await.expect("an instance");
    let trap = first.reconcile(request(), LONG).await.expect_err("a trap");
    assert!(trap.discards_instance());
    let CallError::Trap { message, backtrace } = &trap else { panic!("{trap:?}") };
    assert!(message.contains("`unreachable`"), "{message}");
    assert!(backtrace[0].ends_with(" - plugin!break_off"), "{backtrace:?}");
    assert!(backtrace[1].contains(" - plugin!"), "{backtrace:?}");
    assert!(trap.to_string().ends_with(" - plugin!break_off"), "{trap}");

    let again = first.reconcile(request(), LONG).await.expect_err("spent").to_string();
    assert!(again.contains("takes no more calls: it trapped"), "{again}");

    let mut second = start().await.expect("an instance");
    assert!(matches!(second.reconcile(request(), LONG).await, Err(CallError::Trap { .. })), "it starts afresh");
}

#[tokio::test]
async fn an_endless_loop_ends_when_its_time_is_up() {
    let host = TestHost::answering("");
    let mut instance = instance(&fixtures::spin(), &host).await;
    let after = Duration::from_millis(50);
    assert_eq!(instance.reconcile(request(), after).await, Err(CallError::Timeout { after }));
    let again = instance.reconcile(request(), LONG).await.expect_err("spent").to_string();
    assert!(again.contains("a call took too long"), "{again}");
}

/// One thread, so nothing runs unless the spinning guest lets it.
#[tokio::test(flavor = "current_thread")]
async fn others_on_the_same_thread_go_on_while_a_guest_spins_and_the_kill_ends_it() {
    let sandbox = sandbox();
    let host = TestHost::answering("");
    let kill = KillSwitch::new();
    let spinning = sandbox.load(&fixtures::spin()).expect("a plugin");
    let mut spinning = spinning
        .instantiate(Arc::clone(&host) as Arc<dyn Host>, InstanceLimits::default(), kill.clone())
        .await
        .expect("an instance");
    let spinning = tokio::spawn(async move { spinning.reconcile(request(), LONG).await });
    tokio::task::yield_now().await;

    let echo = sandbox.load(&fixtures::echo()).expect("a plugin");
    let mut echo = echo
        .instantiate(Arc::clone(&host) as Arc<dyn Host>, InstanceLimits::default(), KillSwitch::new())
        .await
        .expect("an instance");
    for _ in 0..10 {
        echo.reconcile(request(), LONG).await.expect("an outcome");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!spinning.is_finished());

    kill.kill();
    sandbox.kill_epoch();
    assert_eq!(spinning.await.expect("no panic"), Err(CallError::Killed));
    echo.reconcile(request(), LONG).await.expect("the switch of one plugin is not that of another");
}

#[tokio::test]
async fn the_kill_ends_a_pending_host_call_and_drops_it() {
    let host = TestHost::new(Answer::Hang);
    for plugin in [fixtures::read(), fixtures::wait()] {
        let kill = KillSwitch::new();
        let mut instance = load(&plugin)
            .instantiate(Arc::clone(&host) as Arc<dyn Host>, InstanceLimits::default(), kill.clone())
            .await
            .expect("an instance");
        let call = tokio::spawn(async move { instance.reconcile(request(), LONG).await });
        host.arrived.notified().await;
        kill.kill();
        assert_eq!(call.await.expect("no panic"), Err(CallError::Killed));
        host.dropped.notified().await;
    }
}

#[tokio::test]
async fn a_pending_host_call_ends_when_the_calls_time_is_up() {
    let host = TestHost::new(Answer::Hang);
    let mut instance = instance(&fixtures::read(), &host).await;
    let after = Duration::from_millis(20);
    assert_eq!(instance.reconcile(request(), after).await, Err(CallError::Timeout { after }));
    host.dropped.notified().await;
}

#[tokio::test]
async fn after_the_kill_nothing_starts() {
    let host = TestHost::answering("");
    let kill = KillSwitch::new();
    let plugin = load(&fixtures::echo());
    let start = || plugin.instantiate(Arc::clone(&host) as Arc<dyn Host>, InstanceLimits::default(), kill.clone());
    let mut instance = start().await.expect("an instance");
    kill.kill();
    assert_eq!(instance.reconcile(request(), LONG).await, Err(CallError::Killed));
    assert!(matches!(start().await, Err(InstantiateError::Killed)));
    assert_eq!(host.lines(), []);
}

#[tokio::test]
async fn a_call_dropped_halfway_spends_the_instance() {
    let host = TestHost::new(Answer::Hang);
    let mut instance = instance(&fixtures::read(), &host).await;
    tokio::select! {
        answer = instance.reconcile(request(), LONG) => panic!("{answer:?}"),
        () = host.arrived.notified() => {}
    }
    let again = instance.reconcile(request(), LONG).await.expect_err("spent").to_string();
    assert!(again.contains("cut off from outside"), "{again}");
}

#[tokio::test]
async fn a_panic_in_the_host_becomes_an_error_the_guest_sees() {
    let host = TestHost::new(Answer::Panic);
    let mut instance = instance(&fixtures::read(), &host).await;
    let answer = instance.reconcile(request(), LONG).await;
    assert!(matches!(&answer, Err(CallError::Guest(error)) if error.reason == "InternalError"), "{answer:?}");
}
