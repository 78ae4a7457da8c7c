//! Budgets: each is met, answered as it should be, and never costs the host more than it may.

use std::sync::Arc;
use std::time::Duration;

use tenure_sandbox::{
    CallError, Error, Host, InstanceLimits, InstantiateError, KillSwitch, Level, Limit, Loaded, Sandbox,
    SandboxSettings, fixtures,
};

use crate::host::{LONG, TestHost, instance, instance_within, load, request};

const PAGE_BYTES: u64 = 64 << 10;

#[tokio::test]
async fn a_memory_bomb_is_told_apart_from_other_traps() {
    let host = TestHost::answering("");
    let limit_bytes = 40 * PAGE_BYTES;
    let limits = InstanceLimits { memory_bytes_max: limit_bytes, ..InstanceLimits::default() };
    let mut instance = instance_within(&fixtures::memory_bomb(), &host, limits).await;
    let answer = instance.reconcile(request(), LONG).await;
    // 1 page at the start, then 16 at a time: the third time is too much.
    assert_eq!(answer, Err(CallError::Memory { asked_bytes: 49 * PAGE_BYTES, limit_bytes }));
    assert_eq!(instance.memory_bytes(), 33 * PAGE_BYTES);
}

#[tokio::test]
async fn the_sandboxs_ceiling_holds_whatever_an_instance_is_given() {
    let settings = SandboxSettings { memory_bytes_max: 20 * PAGE_BYTES, ..SandboxSettings::default() };
    let plugin = Sandbox::new(settings).expect("a sandbox").load(&fixtures::memory_bomb()).expect("a plugin");
    let host = TestHost::answering("");
    let mut instance =
        plugin.instantiate(host, InstanceLimits::default(), KillSwitch::new()).await.expect("an instance");
    let answer = instance.reconcile(request(), LONG).await;
    assert!(
        matches!(answer, Err(CallError::Memory { limit_bytes, .. }) if limit_bytes == 20 * PAGE_BYTES),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_plugin_that_needs_more_than_its_limit_to_start_is_refused_with_the_numbers() {
    let host = TestHost::answering("");
    let limits = InstanceLimits { memory_bytes_max: 1000, ..InstanceLimits::default() };
    let refused = load(&fixtures::idle()).instantiate(host, limits, KillSwitch::new()).await.expect_err("refused");
    assert!(matches!(refused, InstantiateError::Memory { asked_bytes: PAGE_BYTES, limit_bytes: 1000 }), "{refused:?}");
}

#[tokio::test]
async fn a_plugin_that_loops_while_starting_is_cut_off() {
    let host = TestHost::answering("");
    let limits = InstanceLimits { instantiate_timeout: Duration::from_millis(50), ..InstanceLimits::default() };
    let started = load(&fixtures::spin_at_start()).instantiate(host, limits, KillSwitch::new()).await;
    assert!(matches!(started, Err(InstantiateError::Timeout { .. })), "{started:?}");
}

#[tokio::test]
async fn core_instances_of_a_component_are_limited() {
    let host = TestHost::answering("");
    let limits = InstanceLimits { core_instances_max: 0, ..InstanceLimits::default() };
    let started = load(&fixtures::idle()).instantiate(host, limits, KillSwitch::new()).await;
    assert!(matches!(started, Err(InstantiateError::Trap { .. })), "{started:?}");
}

#[tokio::test]
async fn a_table_does_not_grow_over_its_limit() {
    let plugin = fixtures::module(
        "(table $table 1 funcref)",
        "(if (i32.ne (table.grow $table (ref.null func) (i32.const 100)) (i32.const -1)) (then (unreachable)))
         (if (i32.eq (table.grow $table (ref.null func) (i32.const 5)) (i32.const -1)) (then (unreachable)))
         (i32.const 1024)",
    );
    let host = TestHost::answering("");
    let limits = InstanceLimits { table_elements_max: 10, ..InstanceLimits::default() };
    instance_within(&plugin, &host, limits).await.reconcile(request(), LONG).await.expect("the guest sees -1");
}

#[tokio::test]
async fn an_endless_recursion_is_a_trap() {
    let host = TestHost::answering("");
    let answer = instance(&fixtures::recursion(), &host).await.reconcile(request(), LONG).await;
    let Err(CallError::Trap { message, backtrace }) = answer else { panic!("{answer:?}") };
    assert_eq!(message, "call stack exhausted: an endless recursion?");
    assert_eq!(backtrace.len(), 32, "the innermost frames only");
}

#[tokio::test]
async fn instances_are_counted_and_their_room_comes_back() {
    let settings = SandboxSettings { instances_max: 2, ..SandboxSettings::default() };
    let sandbox = Sandbox::new(settings).expect("a sandbox");
    let plugin = sandbox.load(&fixtures::idle()).expect("a plugin");
    let host = TestHost::answering("");
    let start = || plugin.instantiate(Arc::clone(&host) as Arc<dyn Host>, InstanceLimits::default(), KillSwitch::new());
    let first = start().await.expect("room");
    let _second = start().await.expect("room");
    assert_eq!(sandbox.instances(), 2);
    assert!(matches!(start().await, Err(InstantiateError::TooMany { instances_max: 2 })));
    drop(first);
    assert_eq!(sandbox.instances(), 1);
    start().await.expect("room again");
}

#[tokio::test]
async fn a_host_call_that_carries_too_much_is_answered_limited_and_never_arrives() {
    let host = TestHost::answering("");
    let limits = InstanceLimits { request_bytes_max: 30, ..InstanceLimits::default() };
    let answer = instance_within(&fixtures::apply(), &host, limits).await.reconcile(request(), LONG).await;
    assert!(
        matches!(&answer, Err(CallError::Guest(Error { reason, message, .. }))
        if reason == "Limited" && message.starts_with("apply: the call carries 46 bytes, at most 30")),
        "{answer:?}"
    );
    assert_eq!(host.calls(), 0);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_answered_limited() {
    let host = TestHost::answering(&"x".repeat(5000));
    let limits = InstanceLimits { response_bytes_max: 4999, ..InstanceLimits::default() };
    let answer = instance_within(&fixtures::read(), &host, limits).await.reconcile(request(), LONG).await;
    assert!(
        matches!(&answer, Err(CallError::Guest(Error { reason, message, .. }))
        if reason == "Limited" && message.starts_with("get: the answer has 5000 bytes")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_result_that_is_too_large_is_refused_and_the_instance_stays() {
    // The guest's error repeats what the host said, which is more than a result may have.
    let said = Error::new("Conflict", "x".repeat(100));
    let host = TestHost::new(crate::host::Answer::Fail(said));
    let limits = InstanceLimits { response_bytes_max: 90, ..InstanceLimits::default() };
    let answer = instance_within(&fixtures::read(), &host, limits).await.reconcile(request(), LONG).await;
    let Err(CallError::Guest(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.reason, "Limited");
}

/// 10 000 references to one text of 64 KiB are 160 KB in the guest and would be 640 MB here.
#[tokio::test]
async fn a_guest_cannot_make_the_host_hold_the_same_text_many_times_over() {
    let plugin = fixtures::module(
        r#"(import "tenure:plugin/log@0.1.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))
        (global $at (mut i32) (i32.const 65536))"#,
        "(drop (memory.grow (i32.const 4)))
        (loop $more
            (i32.store offset=4 (global.get $at) (i32.const 0))
            (i32.store offset=12 (global.get $at) (i32.const 65536))
            (global.set $at (i32.add (global.get $at) (i32.const 16)))
            (br_if $more (i32.lt_u (global.get $at) (i32.const 225536))))
        (call $emit (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 65536) (i32.const 10000))
        (i32.const 1024)",
    );
    let host = TestHost::answering("");
    let answer = instance(&plugin, &host).await.reconcile(request(), LONG).await;
    assert!(matches!(answer, Err(CallError::Trap { .. })), "{answer:?}");
    assert_eq!(host.lines(), []);
}

/// Time stands still, so all lines fall into one second however slow the machine is.
#[tokio::test(start_paused = true)]
async fn a_flood_of_log_lines_is_cut_counted_and_reported() {
    let host = TestHost::answering("");
    let limits = InstanceLimits { log_lines_per_second: 50, ..InstanceLimits::default() };
    let mut instance = instance_within(&fixtures::log_flood(), &host, limits).await;
    instance.reconcile(request(), LONG).await.expect("an outcome");
    assert_eq!(host.lines().len(), 50);
    assert_eq!(instance.plugin().refused_total(Limit::LogLinesPerSecond), 9950);
    drop(instance);
    let (level, message, _) = host.lines().pop().expect("lines");
    assert_eq!((level, message.as_str()), (Level::Warn, "9950 log lines were dropped: more than 50 in a second"));
    assert_eq!(host.lines().len(), 51);
}

/// A plugin that breaks off, or works on several keys, has many instances; it has one budget.
#[tokio::test(start_paused = true)]
async fn all_instances_of_a_plugin_share_the_log_lines_of_a_second() {
    let host = TestHost::answering("");
    let plugin = load(&fixtures::log_flood());
    let limits = InstanceLimits { log_lines_per_second: 50, ..InstanceLimits::default() };
    for _ in 0..3 {
        let started = plugin.instantiate(Arc::clone(&host) as Arc<dyn Host>, limits.clone(), KillSwitch::new()).await;
        started.expect("an instance").reconcile(request(), LONG).await.expect("an outcome");
    }
    let (said, told): (Vec<_>, Vec<_>) =
        host.messages().into_iter().partition(|line| Some(line.as_str()) == request().body.as_deref());
    assert_eq!((said.len(), told.len()), (50, 3), "each instance that ends tells what was dropped");
    assert_eq!(plugin.refused_total(Limit::LogLinesPerSecond), 29_950);
}

#[tokio::test]
async fn what_each_limit_refused_is_counted_for_the_plugin() {
    let tables = fixtures::module(
        "(table $table 1 funcref)",
        "(drop (table.grow $table (ref.null func) (i32.const 100))) (i32.const 1024)",
    );
    let tight =
        InstanceLimits { memory_bytes_max: 20 * PAGE_BYTES, table_elements_max: 10, ..InstanceLimits::default() };
    let little = InstanceLimits { request_bytes_max: 30, ..InstanceLimits::default() };
    let short = InstanceLimits { response_bytes_max: 500, ..InstanceLimits::default() };
    for (limit, wasm, limits) in [
        (Limit::Memory, fixtures::memory_bomb(), tight.clone()),
        (Limit::TableElements, tables, tight),
        (Limit::RequestBytes, fixtures::apply(), little),
        (Limit::ResponseBytes, fixtures::apply(), short),
    ] {
        let host = TestHost::answering(&"x".repeat(501));
        let mut instance = instance_within(&wasm, &host, limits).await;
        // How each of them ends is told by other tests.
        drop(instance.reconcile(request(), LONG).await);
        let plugin = instance.plugin();
        let refused = Limit::ALL.into_iter().filter(|one| plugin.refused_total(*one) > 0).collect::<Vec<_>>();
        // The error that answers for a long one is short: it is not refused as well.
        assert_eq!((refused, plugin.refused_total(limit)), (vec![limit], 1));
    }
}

#[tokio::test]
async fn a_long_log_line_is_cut() {
    let host = TestHost::answering("");
    let limits = InstanceLimits { log_line_bytes_max: 7, ..InstanceLimits::default() };
    instance_within(&fixtures::echo(), &host, limits).await.reconcile(request(), LONG).await.expect("an outcome");
    assert_eq!(host.messages(), [r#"{"kind" ... (13 bytes cut)"#]);
}

#[tokio::test]
async fn a_guest_beyond_its_share_of_the_processor_waits_and_is_counted() {
    let little = InstanceLimits { cpu_millis_max: 20, ..InstanceLimits::default() };
    let host = TestHost::answering("");
    let mut spins = instance_within(&fixtures::spin(), &host, little).await;
    let plugin = Arc::clone(spins.plugin());
    let waited = async {
        while plugin.refused_total(Limit::Cpu) < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        ended = spins.reconcile(request(), LONG) => panic!("{ended:?} before it had to wait"),
        () = waited => {}
    }
    assert!(plugin.cpu_used() > Duration::ZERO);
    assert_eq!(plugin.refused_total(Limit::GuestsCpu), 0, "the others' share is not used up");
}

#[tokio::test]
async fn guests_beyond_their_share_together_wait_whoever_they_are() {
    let settings = SandboxSettings { guests_cpu_millis_max: Some(20), ..SandboxSettings::default() };
    let sandbox = Sandbox::new(settings).expect("a sandbox");
    let host = TestHost::answering("");
    let (spins, other) = (sandbox.load(&fixtures::spin()).unwrap(), sandbox.load(&fixtures::idle()).unwrap());
    let start = async |plugin: &Arc<Loaded>| {
        let host: Arc<dyn Host> = Arc::clone(&host) as _;
        plugin.instantiate(host, InstanceLimits::default(), KillSwitch::new()).await.expect("an instance")
    };
    let (mut spinning, mut idle) = (start(&spins).await, start(&other).await);
    let waited = async {
        while spins.refused_total(Limit::GuestsCpu) < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        idle.reconcile(request(), LONG).await.expect("it has its turn all the same");
    };
    tokio::select! {
        ended = spinning.reconcile(request(), LONG) => panic!("{ended:?} before it had to wait"),
        () = waited => {}
    }
    assert_eq!(spins.refused_total(Limit::Cpu), 0, "its own share is not used up");
}
