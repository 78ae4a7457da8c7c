//! Plugins made to do harm. Each claim: what it does ends as an error of its own, of bounded size, and others go on.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tenure_sandbox::{CallError, Error, Host, InstanceLimits, InstantiateError, KillSwitch, LoadError, fixtures};

use crate::host::{Answer, LONG, TestHost, instance, load, request, sandbox};

/// More than any message to people has, and far less than what the plugins here try to put into one.
const MESSAGE_BYTES_MAX: usize = 20_000;

/// The functions that the host calls in a guest, beside what starts it.
const CALLED: [&str; 3] = ["cabi_realloc", "reconcile", "cabi_post_reconcile"];
/// The functions that run when it starts.
const STARTING: [&str; 2] = ["start", "_initialize"];

/// A guest in which the function `bad` begins with `code`. The others do the least they have to.
fn bad_in(bad: &str, code: &str) -> Vec<u8> {
    let starting = match bad {
        "start" => format!("(func $start {code}) (start $start)"),
        "_initialize" => format!(r#"(func (export "_initialize") {code})"#),
        _ => String::new(),
    };
    guest(1, &starting, CALLED.map(|name| if name == bad { code } else { "" }))
}

/// A guest with so many pages of memory, and code in front of what [`CALLED`] names.
fn guest(pages: u32, items: &str, [realloc, reconcile, post]: [&str; 3]) -> Vec<u8> {
    assembled(&format!(
        r#"(module
            (memory (export "memory") {pages})
            {items}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc} (i32.const 4096))
            (func (export "cabi_post_reconcile") (param i32) {post})
            (func (export "reconcile")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                {reconcile} (i32.const 1024)))"#
    ))
}

/// WebAssembly from its text.
fn assembled(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("valid WebAssembly text")
}

fn refusal(wasm: &[u8]) -> LoadError {
    sandbox().load(wasm).expect_err("refused")
}

/// Shown to people as it is: on one line, and not too long.
fn assert_fit_to_show(message: &str) {
    assert!(message.len() < MESSAGE_BYTES_MAX, "{} bytes", message.len());
    assert!(!message.contains(char::is_control), "{message:?}");
}

#[tokio::test]
async fn a_trap_in_any_export_ends_that_call_alone() {
    let host = TestHost::answering("");
    for export in CALLED {
        let plugin = load(&bad_in(export, "unreachable"));
        for _ in 0..2 {
            let host = Arc::clone(&host) as Arc<dyn Host>;
            let started = plugin.instantiate(host, InstanceLimits::default(), KillSwitch::new()).await;
            let answer = started.expect("an instance").reconcile(request(), LONG).await;
            assert!(matches!(answer, Err(CallError::Trap { .. })), "{export}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_trap_while_starting_refuses_the_instance() {
    for export in STARTING {
        let host = TestHost::answering("");
        let plugin = load(&bad_in(export, "unreachable"));
        let started = plugin.instantiate(host, InstanceLimits::default(), KillSwitch::new()).await;
        assert!(matches!(started, Err(InstantiateError::Trap { .. })), "{export}: {started:?}");
    }
}

#[tokio::test]
async fn an_endless_loop_in_any_export_is_cut_off() {
    let host = TestHost::answering("");
    let after = Duration::from_millis(50);
    for export in CALLED {
        let mut instance = instance(&bad_in(export, "(loop $for_ever (br $for_ever))"), &host).await;
        assert_eq!(instance.reconcile(request(), after).await, Err(CallError::Timeout { after }), "{export}");
    }
}

#[tokio::test]
async fn an_endless_loop_while_starting_is_cut_off() {
    let limits = InstanceLimits { instantiate_timeout: Duration::from_millis(50), ..InstanceLimits::default() };
    for export in STARTING {
        let plugin = load(&bad_in(export, "(loop $for_ever (br $for_ever))"));
        let started = plugin.instantiate(TestHost::answering(""), limits.clone(), KillSwitch::new()).await;
        assert!(matches!(started, Err(InstantiateError::Timeout { .. })), "{export}: {started:?}");
    }
}

#[tokio::test]
async fn addresses_that_point_nowhere_are_traps() {
    let host = TestHost::answering("");
    for (export, code) in [
        ("cabi_realloc", "(return (i32.const -16))"),
        ("cabi_realloc", "(return (i32.const 65532))"),
        ("reconcile", "(return (i32.const -64))"),
        ("reconcile", "(return (i32.const 1025))"),
        ("reconcile", "(i32.store8 (i32.const 1024) (i32.const 7))"),
        // An error whose reason lies outside of the memory, and one whose reason is no UTF-8.
        (
            "reconcile",
            "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1032) (i32.const -8))
            (i32.store (i32.const 1036) (i32.const 8))",
        ),
        (
            "reconcile",
            "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1032) (i32.const 2048))
            (i32.store (i32.const 1036) (i32.const 2)) (i32.store16 (i32.const 2048) (i32.const 0xffff))",
        ),
    ] {
        let answer = instance(&bad_in(export, code), &host).await.reconcile(request(), LONG).await;
        assert!(matches!(answer, Err(CallError::Trap { .. })), "{export} {code}: {answer:?}");
    }
}

/// One thread, and a host that answers at once: nothing runs unless the guest's own ticks let it.
#[tokio::test(flavor = "current_thread")]
async fn others_on_the_same_thread_go_on_while_a_guest_floods_the_host_with_calls() {
    let sandbox = sandbox();
    let host = TestHost::answering("{}");
    let kill = KillSwitch::new();
    let flood = sandbox.load(&fixtures::apply_forever()).expect("a plugin");
    let started = flood.instantiate(Arc::clone(&host) as Arc<dyn Host>, InstanceLimits::default(), kill.clone()).await;
    let mut flood = started.expect("an instance");
    let flooding = tokio::spawn(async move { flood.reconcile(request(), LONG).await });

    let echo = sandbox.load(&fixtures::echo()).expect("a plugin");
    let started =
        echo.instantiate(Arc::clone(&host) as Arc<dyn Host>, InstanceLimits::default(), KillSwitch::new()).await;
    let mut echo = started.expect("an instance");
    for _ in 0..10 {
        echo.reconcile(request(), LONG).await.expect("an outcome");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!flooding.is_finished() && host.calls() > 0, "it floods, {} calls so far", host.calls());
    kill.kill();
    // The next call it makes is answered `Cancelled`, or it does not come to make one.
    assert_eq!(flooding.await.expect("no panic"), Err(CallError::Killed));
}

#[tokio::test]
async fn an_endless_flood_of_calls_is_cut_off() {
    let host = TestHost::answering("{}");
    let after = Duration::from_millis(50);
    let mut instance = instance(&fixtures::apply_forever(), &host).await;
    assert_eq!(instance.reconcile(request(), after).await, Err(CallError::Timeout { after }));
}

#[tokio::test]
async fn an_error_of_any_length_is_shown_on_one_short_line() {
    let error = Error::new("Line\u{1b}[2J", format!("forged\n2026-01-01T00:00:00Z ERROR {}", "x".repeat(1 << 20)));
    let host = TestHost::new(Answer::Fail(error));
    let answer = instance(&fixtures::read(), &host).await.reconcile(request(), LONG).await;
    let Err(CallError::Guest(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.reason, "Line [2J");
    assert!(error.message.starts_with("forged 2026-01-01"), "{}", error.message);
    assert_fit_to_show(&error.to_string());
}

#[tokio::test]
async fn a_log_line_cannot_pass_for_several() {
    let host = TestHost::answering("");
    let mut request = request();
    request.body = Some("first\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J\r\u{9b}".into());
    instance(&fixtures::echo(), &host).await.reconcile(request, LONG).await.expect("an outcome");
    assert_eq!(host.messages(), ["first 2026-01-01T00:00:00Z  INFO forged [2J  "]);
}

#[tokio::test]
async fn four_gibibytes_of_memory_from_the_start_are_refused_with_the_numbers() {
    let plugin = load(&guest(65536, "", [""; 3]));
    let limits = InstanceLimits::default();
    let limit_bytes = limits.memory_bytes_max;
    let started = plugin.instantiate(TestHost::answering(""), limits, KillSwitch::new()).await;
    assert!(
        matches!(started, Err(InstantiateError::Memory { asked_bytes, limit_bytes: told })
            if asked_bytes == 65536 << 16 && told == limit_bytes),
        "{started:?}"
    );
}

#[tokio::test]
async fn a_table_of_four_billion_elements_from_the_start_is_refused() {
    let plugin = load(&guest(1, "(table 0xffffffff funcref)", [""; 3]));
    let started = plugin.instantiate(TestHost::answering(""), InstanceLimits::default(), KillSwitch::new()).await;
    let refused = started.expect_err("refused");
    assert!(matches!(refused, InstantiateError::Trap { .. }), "{refused:?}");
    assert_fit_to_show(&refused.to_string());
}

/// LEB128 of the largest `u32`.
const MOST: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x0f];

#[test]
fn a_module_that_claims_more_than_it_has_is_refused() {
    let header = *b"\0asm\x01\0\0\0";
    let section = |id: u8, content: &[u8]| {
        let bytes = u8::try_from(content.len()).expect("a small section");
        [&[id, bytes], content].concat()
    };
    for (what, sections) in [
        ("a section of 4 GiB", [&[10][..], &MOST].concat()),
        ("4 billion types", section(1, &MOST)),
        ("4 billion functions", section(3, &MOST)),
        ("4 billion bodies", section(10, &MOST)),
        ("4 billion data segments", section(11, &MOST)),
        ("a name of 4 GiB", section(2, &[&[1][..], &MOST].concat())),
        ("a custom section with a name of 4 GiB", section(0, &MOST)),
        // type (func), function 0, one body of 9 bytes with one run of 4 billion locals
        (
            "4 billion locals",
            [
                section(1, &[1, 0x60, 0, 0]),
                section(3, &[1, 0]),
                section(10, &[&[1, 8, 1][..], &MOST, &[0x7f, 0x0b]].concat()),
            ]
            .concat(),
        ),
    ] {
        let refused = refusal(&[&header[..], &sections].concat());
        assert!(matches!(refused, LoadError::Compile { .. } | LoadError::Wrap { .. }), "{what}: {refused:?}");
        assert_fit_to_show(&refused.to_string());
    }
}

#[test]
fn a_component_with_10_000_exports_is_refused_by_the_first_few() {
    let mut text = r#"(component
        (core module $module (func (export "run")))
        (core instance $instance (instantiate $module))
        (func $run (canon lift (core func $instance "run")))"#
        .to_owned();
    for number in 0..10_000 {
        write!(text, r#"(export "run-{number}-{}" (func $run))"#, "x".repeat(50)).expect("text");
    }
    let refused = refusal(&assembled(&(text + ")"))).to_string();
    assert!(refused.contains("exports run-0-x") && refused.ends_with(" and 9992 more"), "{refused}");
    assert_fit_to_show(&refused);
}

#[test]
fn names_of_a_plugin_reach_no_message_as_they_are() {
    let long = "x".repeat(90_000);
    let import = format!(r#"(import "{long}\0a\1b[2J" "abort" (func))"#);
    let export = format!(r#"(component (import "{}" (func)))"#, "a".repeat(90_000));
    for wasm in [fixtures::module(&import, "(i32.const 1024)"), assembled(&export)] {
        assert_fit_to_show(&refusal(&wasm).to_string());
    }
}

#[test]
fn a_type_that_doubles_with_each_line_is_refused() {
    let mut text = "(component (type $t0 (tuple u64 u64))".to_owned();
    for level in 1..60 {
        write!(text, "(type $t{level} (tuple $t{0} $t{0}))", level - 1).expect("text");
    }
    text.push_str(r#"(import "tenure:plugin/leadership@0.1.0" (instance (export "term" (func (result u64))))))"#);
    assert!(matches!(refusal(&assembled(&text)), LoadError::Compile { .. }));
}
