//! WASI: output becomes log lines, the rest is inert and said to be.

use tenure_sandbox::{CallError, InstanceLimits, KillSwitch, Level, fixtures};

use crate::host::{LONG, TestHost, instance, instance_within, load, request};

const WIT: &str = "
    package test:guest;
    package wasi:io@0.2.0 {
        interface error { resource error; }
        interface poll { resource pollable { block: func(); } }
        interface streams {
            use error.{error};
            variant stream-error { last-operation-failed(error), closed }
            resource output-stream {
                blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
            }
        }
    }
    package wasi:cli@0.2.0 {
        interface environment {
            get-environment: func() -> list<tuple<string, string>>;
            get-arguments: func() -> list<string>;
        }
        interface exit { exit: func(status: result); }
        interface stderr {
            use wasi:io/streams@0.2.0.{output-stream};
            get-stderr: func() -> output-stream;
        }
    }
    package wasi:clocks@0.2.0 {
        interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            now: func() -> u64;
            subscribe-duration: func(when: u64) -> pollable;
        }
    }
    package wasi:random@0.2.0 {
        interface random { get-random-bytes: func(len: u64) -> list<u8>; }
    }
";

fn guest(imports: &[&str], items: &str, reconcile: &str) -> Vec<u8> {
    let imports: String = imports.iter().map(|import| format!("import {import};")).collect();
    let wit = format!("{WIT} world guest {{ include tenure:plugin/reconciler@0.1.0; {imports} }}");
    fixtures::with_world(fixtures::module(items, reconcile), &wit)
}

/// Writes the request's body to standard error.
fn writer() -> Vec<u8> {
    guest(
        &["wasi:cli/stderr@0.2.0", "wasi:io/streams@0.2.0"],
        r#"(import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
            (func $write (param i32 i32 i32 i32)))
        (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
        (global $stream (mut i32) (i32.const 0))"#,
        "(global.set $stream (call $stderr))
        (call $write (global.get $stream) (local.get $body) (local.get $body_bytes) (i32.const 2048))
        (call $drop (global.get $stream))
        (i32.const 1024)",
    )
}

#[tokio::test]
async fn standard_error_becomes_log_lines() {
    let host = TestHost::answering("");
    let plugin = load(&writer());
    assert_eq!(plugin.imports().wasi, ["wasi:io/error@0.2.0", "wasi:io/streams@0.2.0", "wasi:cli/stderr@0.2.0"]);
    assert_eq!(plugin.imports().inert, [""; 0]);
    let mut instance = instance(&writer(), &host).await;
    let mut request = request();
    request.body = Some("first\r\n\nsecond and".into());
    instance.reconcile(request.clone(), LONG).await.expect("an outcome");
    assert_eq!(host.messages(), ["first", "second and"], "an unfinished line ends with its call");
    assert_eq!(host.lines()[0].0, Level::Warn);
    assert_eq!(host.lines()[0].2, [("stream".to_owned(), "stderr".to_owned())]);
}

#[tokio::test]
async fn a_line_without_end_does_not_pile_up() {
    let host = TestHost::answering("");
    let limits = InstanceLimits { log_line_bytes_max: 10, ..InstanceLimits::default() };
    let mut instance = instance_within(&writer(), &host, limits).await;
    let mut request = request();
    request.body = Some("x".repeat(4096));
    instance.reconcile(request, LONG).await.expect("an outcome");
    assert_eq!(host.messages(), ["xxxxxxxxxx ... (4086 bytes cut)"]);
}

#[tokio::test]
async fn the_environment_is_there_and_empty_and_reported_as_inert() {
    let wasm = guest(
        &["wasi:cli/environment@0.2.0"],
        r#"(import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
        (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))"#,
        "(call $environment (i32.const 2048))
        (if (i32.load (i32.const 2052)) (then (unreachable)))
        (call $arguments (i32.const 2048))
        (if (i32.load (i32.const 2052)) (then (unreachable)))
        (i32.const 1024)",
    );
    assert_eq!(load(&wasm).imports().inert, ["wasi:cli/environment@0.2.0"]);
    let host = TestHost::answering("");
    instance(&wasm, &host).await.reconcile(request(), LONG).await.expect("nothing in it");
}

#[tokio::test]
async fn clocks_and_random_work() {
    let wasm = guest(
        &["wasi:clocks/monotonic-clock@0.2.0", "wasi:random/random@0.2.0"],
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
        (import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))"#,
        "(drop (call $now))
        (call $random (i64.const 16) (i32.const 2048))
        (if (i32.ne (i32.load (i32.const 2052)) (i32.const 16)) (then (unreachable)))
        (i32.const 1024)",
    );
    let host = TestHost::answering("");
    instance(&wasm, &host).await.reconcile(request(), LONG).await.expect("an outcome");
}

/// It never asks whether it is cancelled, and its sleep is none of the host port's.
#[tokio::test]
async fn a_guest_that_sleeps_through_its_cancellation_in_wasi_ends_at_the_kill() {
    let wasm = guest(
        &["wasi:io/poll@0.2.0", "wasi:clocks/monotonic-clock@0.2.0"],
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (import "tenure:plugin/log@0.1.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))"#,
        "(call $emit (i32.const 2) (local.get $body) (local.get $body_bytes) (i32.const 0) (i32.const 0))
        (call $block (call $after (i64.const 3600000000000)))
        (i32.const 1024)",
    );
    let host = TestHost::answering("");
    let kill = KillSwitch::new();
    let mut instance =
        load(&wasm).instantiate(host.clone(), InstanceLimits::default(), kill.clone()).await.expect("an instance");
    let call = tokio::spawn(async move { instance.reconcile(request(), LONG).await });
    while host.lines().is_empty() {
        tokio::task::yield_now().await;
    }
    kill.kill();
    assert_eq!(call.await.expect("no panic"), Err(CallError::Killed));
}

#[tokio::test]
async fn exit_ends_the_call_not_the_host() {
    let wasm = guest(
        &["wasi:cli/exit@0.2.0"],
        r#"(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#,
        "(call $exit (i32.const 1)) (i32.const 1024)",
    );
    let host = TestHost::answering("");
    let answer = instance(&wasm, &host).await.reconcile(request(), LONG).await;
    assert!(
        matches!(&answer, Err(CallError::Trap { message, .. }) if message.starts_with("it called exit(1)")),
        "{answer:?}"
    );
}

/// A core module for WASI 0.1, as wasi-libc, Go's `wasip1` and Rust's `wasm32-wasip1` make them: it says nowhere which world
/// it is for.
const PREVIEW1: &str = r#"
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_shutdown" (func $shutdown (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (func $demand (param $is i32) (param $wanted i32)
        (if (i32.ne (local.get $is) (local.get $wanted)) (then (unreachable))))"#;

fn preview1(reconcile: &str) -> Vec<u8> {
    fixtures::module(PREVIEW1, &format!("{reconcile} (i32.const 1024)"))
}

#[tokio::test]
async fn a_module_for_wasi_0_1_finds_clocks_and_randomness_and_no_files_environment_or_arguments() {
    let wasm = preview1(
        r"(call $demand (call $args (i32.const 2048) (i32.const 2052)) (i32.const 0))
        (call $demand (i32.load (i32.const 2048)) (i32.const 0))
        (call $demand (call $environ (i32.const 2048) (i32.const 2052)) (i32.const 0))
        (call $demand (i32.load (i32.const 2048)) (i32.const 0))
        ;; 8: no such descriptor; the first directory of a program would be 3.
        (call $demand (call $prestat (i32.const 3) (i32.const 2048)) (i32.const 8))
        (call $demand (call $open (i32.const 3) (i32.const 0) (local.get $body) (local.get $body_bytes) (i32.const 0)
            (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 2048)) (i32.const 8))
        (call $demand (call $clock (i32.const 0) (i64.const 0) (i32.const 2048)) (i32.const 0))
        (if (i64.eqz (i64.load (i32.const 2048))) (then (unreachable)))
        (call $demand (call $random (i32.const 2048) (i32.const 16)) (i32.const 0))
        (if (i64.eqz (i64.load (i32.const 2048))) (then (unreachable)))",
    );
    let plugin = load(&wasm);
    assert!(plugin.wrapped());
    let names = |imports: &[String]| {
        imports.iter().filter_map(|name| name.split('@').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    let (live, inert) = (names(&plugin.imports().wasi), names(&plugin.imports().inert));
    for interface in ["wasi:clocks/wall-clock", "wasi:random/random", "wasi:io/streams"] {
        assert!(live.iter().any(|name| name == interface), "{interface} in {live:?}");
    }
    for interface in ["wasi:cli/environment", "wasi:filesystem/preopens", "wasi:filesystem/types"] {
        assert!(inert.iter().any(|name| name == interface), "{interface} in {inert:?}");
    }
    assert!(!plugin.imports().writes);
    let host = TestHost::answering("");
    instance(&wasm, &host).await.reconcile(request(), LONG).await.expect("an outcome");
}

#[tokio::test]
async fn what_a_module_for_wasi_0_1_writes_becomes_log_lines() {
    let wasm = preview1(
        "(i32.store (i32.const 2048) (local.get $body))
        (i32.store (i32.const 2052) (local.get $body_bytes))
        (call $demand (call $write (i32.const 1) (i32.const 2048) (i32.const 1) (i32.const 2056)) (i32.const 0))",
    );
    let host = TestHost::answering("");
    let mut request = request();
    request.body = Some("printed".into());
    instance(&wasm, &host).await.reconcile(request, LONG).await.expect("an outcome");
    assert_eq!(host.messages(), ["printed"]);
}

#[tokio::test]
async fn a_module_for_wasi_0_1_has_no_sockets() {
    let wasm = preview1("(if (i32.eqz (call $shutdown (i32.const 3) (i32.const 0))) (then (unreachable)))");
    let host = TestHost::answering("");
    instance(&wasm, &host).await.reconcile(request(), LONG).await.expect("told that there is none");
}

#[tokio::test]
async fn exit_of_wasi_0_1_ends_the_call_not_the_host() {
    let host = TestHost::answering("");
    let answer = instance(&preview1("(call $exit (i32.const 1))"), &host).await.reconcile(request(), LONG).await;
    assert!(
        matches!(&answer, Err(CallError::Trap { message, .. }) if message.starts_with("it called exit(1)")),
        "{answer:?}"
    );
}
