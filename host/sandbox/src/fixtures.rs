//! For tests: plugins, good and bad, and a host port. The plugins are WebAssembly text written by hand: core modules whose imports and exports carry the
//! names of world `reconciler`, so that loading them also wraps them. Behind the feature `fixtures`.

use std::sync::atomic::{AtomicUsize, Ordering};

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::contract::{
    Cause, DeleteOptions, Error, EventType, GetOptions, Kind, Level, ListOptions, ObjectRef, Page, PatchType, Request,
    WriteOptions,
};
use crate::port::Host;
use crate::wrap::CONTRACT;

/// Answers every call with an empty outcome; imports nothing.
#[must_use]
pub fn idle() -> Vec<u8> {
    module("", "(i32.const 1024)")
}

/// Logs the body it is given at level info and answers with an empty outcome.
#[must_use]
pub fn echo() -> Vec<u8> {
    module(
        LOG,
        "(call $emit (i32.const 2) (local.get $body) (local.get $body_bytes) (i32.const 0) (i32.const 0)) (i32.const 1024)",
    )
}

/// Gets the object it is called for: logs the JSON at level info, or answers with the error it got.
#[must_use]
pub fn read() -> Vec<u8> {
    let imports = format!(
        r#"(import "tenure:plugin/kubernetes-read@0.1.0" "get" (func $get (param {})))
        {LOG}"#,
        "i32 ".repeat(17)
    );
    module(
        &imports,
        "(call $get
            (local.get $api) (local.get $api_bytes) (local.get $kind) (local.get $kind_bytes)
            (local.get $has_namespace) (local.get $namespace) (local.get $namespace_bytes)
            (local.get $name) (local.get $name_bytes)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 2048))
        (if (result i32) (i32.load8_u (i32.const 2048))
            (then
                ;; the error of the call becomes the error of the answer, one alignment further on
                (i32.store8 (i32.const 1088) (i32.const 1))
                (memory.copy (i32.const 1096) (i32.const 2052) (i32.const 36))
                (i32.const 1088))
            (else
                (call $emit (i32.const 2) (i32.load (i32.const 2052)) (i32.load (i32.const 2056)) (i32.const 0) (i32.const 0))
                (i32.const 1024)))",
    )
}

/// Applies the body it is given to the object it is called for, without force; answers with the error it got, if any.
#[must_use]
pub fn apply() -> Vec<u8> {
    writing("(call $apply_body) (call $answer)")
}

/// Applies the body it is given to the object it is called for again and again until a write fails; answers with that error.
#[must_use]
pub fn apply_forever() -> Vec<u8> {
    writing("(loop $again (call $apply_body) (br_if $again (i32.eqz (i32.load8_u (i32.const 2048))))) (call $answer)")
}

/// Traps, in a function called `break_off`.
#[must_use]
pub fn trap() -> Vec<u8> {
    module("(func $break_off unreachable)", "(call $break_off) (i32.const 1024)")
}

/// Computes for ever.
#[must_use]
pub fn spin() -> Vec<u8> {
    module("", "(loop $for_ever (br $for_ever)) (i32.const 1024)")
}

/// Computes for ever while it starts.
#[must_use]
pub fn spin_at_start() -> Vec<u8> {
    module("(func $start (loop $for_ever (br $for_ever))) (start $start)", "(i32.const 1024)")
}

/// Takes memory until there is none, then traps.
#[must_use]
pub fn memory_bomb() -> Vec<u8> {
    module("", "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)")
}

/// Calls itself for ever.
#[must_use]
pub fn recursion() -> Vec<u8> {
    module(
        "(func $deeper (param i32) (result i32) (i32.add (call $deeper (local.get 0)) (i32.const 1)))",
        "(call $deeper (i32.const 0))",
    )
}

/// Logs the body it is given 10 000 times.
#[must_use]
pub fn log_flood() -> Vec<u8> {
    module(
        &format!("{LOG} (global $left (mut i32) (i32.const 10000))"),
        "(loop $more
            (call $emit (i32.const 2) (local.get $body) (local.get $body_bytes) (i32.const 0) (i32.const 0))
            (global.set $left (i32.sub (global.get $left) (i32.const 1)))
            (br_if $more (global.get $left)))
        (i32.const 1024)",
    )
}

/// Waits up to an hour, or until it is cancelled; then answers with an empty outcome.
#[must_use]
pub fn wait() -> Vec<u8> {
    module(
        r#"(import "tenure:plugin/leadership@0.1.0" "wait" (func $wait (param i32) (result i32)))"#,
        "(drop (call $wait (i32.const 3600000))) (i32.const 1024)",
    )
}

/// A component of another world: it exports `walk` alone.
#[must_use]
pub fn wrong_world() -> Vec<u8> {
    text(
        r#"(component
            (core module $module (func (export "walk")))
            (core instance $instance (instantiate $module))
            (func (export "walk") (canon lift (core func $instance "walk"))))"#,
    )
}

/// A component that imports `wasi:http/outgoing-handler`, which no host has.
#[must_use]
pub fn unknown_import() -> Vec<u8> {
    text(r#"(component (import "wasi:http/outgoing-handler@0.2.3" (instance)))"#)
}

/// A core module for the contract from WebAssembly text: `items` stand before the functions (imports first), `reconcile` is
/// the body of the exported function and leaves the address of its answer; 1024 is that of an empty outcome, which must
/// stay all zero. The request's fields are locals named as in [`read`]. From 1088 to 4095 memory is free for use.
///
/// # Panics
/// When the text is not valid.
#[must_use]
pub fn module(items: &str, reconcile: &str) -> Vec<u8> {
    // Imports have to come first in a module, so whatever else `items` holds has to come after its imports too.
    text(&format!(
        r#"(module $plugin
            {items}
            (memory (export "memory") 1)
            (global $heap (mut i32) (i32.const 4096))
            (func (export "cabi_realloc")
                (param $old i32) (param $old_bytes i32) (param $align i32) (param $bytes i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and
                    (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
                    (i32.sub (i32.const 0) (local.get $align))))
                (global.set $heap (i32.add (local.get $at) (local.get $bytes)))
                (block $enough (loop $more
                    (br_if $enough (i32.ge_u (i32.shl (memory.size) (i32.const 16)) (global.get $heap)))
                    (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
                    (br $more)))
                (memory.copy (local.get $at) (local.get $old) (local.get $old_bytes))
                (local.get $at))
            (func (export "cabi_post_reconcile") (param i32) (global.set $heap (i32.const 4096)))
            (func (export "reconcile")
                (param $cause i32) (param $failures i32)
                (param $api i32) (param $api_bytes i32) (param $kind i32) (param $kind_bytes i32)
                (param $has_namespace i32) (param $namespace i32) (param $namespace_bytes i32)
                (param $name i32) (param $name_bytes i32)
                (param $has_body i32) (param $body i32) (param $body_bytes i32)
                (param $extra i32) (param $extra_entries i32)
                (result i32)
                {reconcile}))"#
    ))
}

/// A lock policy from WebAssembly text: `decide` is the body of the exported function and leaves the address of its verdict. From 1024
/// to 4095 memory is free for use, and zero: 1024 is that of `campaign`.
///
/// # Panics
/// When the text is not valid.
#[must_use]
pub fn policy(decide: &str) -> Vec<u8> {
    text(&format!(
        r#"(module $policy
            (memory (export "memory") 1)
            (global $heap (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
                (local $at i32)
                (local.set $at (global.get $heap))
                (global.set $heap (i32.and
                    (i32.add (i32.add (local.get $at) (local.get $bytes)) (i32.const 7))
                    (i32.const -8)))
                (local.get $at))
            (func (export "cabi_post_decide") (param i32) (global.set $heap (i32.const 4096)))
            (func (export "decide") (param $observation i32) (result i32) {decide}))"#
    ))
}

/// A task from WebAssembly text: `items` stand before the functions (imports first), `run` is the body of the exported function and leaves
/// the address of its answer; 1024 is that of a good end, which must stay zero. From 1024 to 4095 memory is free for use.
///
/// # Panics
/// When the text is not valid.
#[must_use]
pub fn task(items: &str, run: &str) -> Vec<u8> {
    let module = text(&format!(
        r#"(module $task
            {items}
            (memory (export "memory") 1)
            (global $heap (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
                (local $at i32)
                (local.set $at (global.get $heap))
                (global.set $heap (i32.and
                    (i32.add (i32.add (local.get $at) (local.get $bytes)) (i32.const 7))
                    (i32.const -8)))
                (local.get $at))
            (func (export "run") (result i32) {run}))"#
    ));
    with_world(module, "package test:guest; world guest { include tenure:plugin/task@0.1.0; }")
}

/// A core module as wit-bindgen leaves it: its world in a custom section. `wit` is a package with a world `guest`; it may
/// name `tenure:plugin@0.1.0`.
///
/// # Panics
/// When the WIT is not valid.
#[must_use]
pub fn with_world(mut module: Vec<u8>, wit: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_source("tenure.wit", CONTRACT).expect("the contract is valid");
    let package = resolve.push_source("guest.wit", wit).expect("valid WIT");
    let world = resolve.select_world(&[package], Some("guest")).expect("a world `guest`");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a module");
    module
}

const LOG: &str = r#"(import "tenure:plugin/log@0.1.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))"#;

/// A module with `$apply_body`, which leaves its result at 2048, and `$answer`, which makes an answer of that.
fn writing(reconcile: &str) -> Vec<u8> {
    let keep = |at: u32, local: &str| format!("(i32.store (i32.const {at}) (local.get ${local}))");
    // 21 flat parameters are too many: they go through memory. Object 0..36, body 36..44, force 44, then the options, all
    // absent or false.
    let arguments: String = [
        "api",
        "api_bytes",
        "kind",
        "kind_bytes",
        "has_namespace",
        "namespace",
        "namespace_bytes",
        "name",
        "name_bytes",
        "body",
        "body_bytes",
    ]
    .iter()
    .zip(0..)
    .map(|(local, place)| keep(3072 + 4 * place, local))
    .collect();
    module(
        r#"(import "tenure:plugin/kubernetes-write@0.1.0" "apply" (func $apply (param i32 i32)))
        (func $apply_body (call $apply (i32.const 3072) (i32.const 2048)))
        (func $answer (result i32)
            (if (result i32) (i32.load8_u (i32.const 2048))
                (then
                    (i32.store8 (i32.const 1088) (i32.const 1))
                    (memory.copy (i32.const 1096) (i32.const 2052) (i32.const 36))
                    (i32.const 1088))
                (else (i32.const 1024))))"#,
        &format!("{arguments} {reconcile}"),
    )
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("valid WebAssembly text")
}

/// A request as the host would make it: a changed ConfigMap.
#[must_use]
pub fn request(body: impl Into<String>) -> Request {
    Request {
        cause: Cause::Changed,
        object: ObjectRef {
            kind: Kind { api_version: "v1".into(), kind: "ConfigMap".into() },
            namespace: Some("default".into()),
            name: "settings".into(),
        },
        body: Some(body.into()),
        extra: Vec::new(),
    }
}

/// A host port that answers every call at once with the same text, and counts.
#[derive(Debug, Default)]
pub struct CannedHost {
    answer: String,
    calls: AtomicUsize,
}

impl CannedHost {
    /// One that answers `answer`.
    #[must_use]
    pub fn new(answer: impl Into<String>) -> Self {
        Self { answer: answer.into(), calls: AtomicUsize::new(0) }
    }

    /// How many calls of `kubernetes-read` and `kubernetes-write` arrived.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn answer(&self) -> Result<String, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(self.answer.clone())
    }
}

#[async_trait::async_trait]
impl Host for CannedHost {
    async fn get(&self, _: ObjectRef, _: GetOptions) -> Result<String, Error> {
        self.answer()
    }

    async fn list(&self, _: Kind, _: ListOptions) -> Result<Page, Error> {
        self.answer().map(|item| Page { items: vec![item], ..Page::default() })
    }

    async fn create(&self, _: ObjectRef, _: String, _: WriteOptions) -> Result<String, Error> {
        self.answer()
    }

    async fn replace(&self, _: ObjectRef, _: String, _: WriteOptions) -> Result<String, Error> {
        self.answer()
    }

    async fn patch(&self, _: ObjectRef, _: PatchType, _: String, _: WriteOptions) -> Result<String, Error> {
        self.answer()
    }

    async fn apply(&self, _: ObjectRef, _: String, _: bool, _: WriteOptions) -> Result<String, Error> {
        self.answer()
    }

    async fn delete(&self, _: ObjectRef, _: DeleteOptions) -> Result<String, Error> {
        self.answer()
    }

    async fn record_event(&self, _: ObjectRef, _: EventType, _: String, _: String) -> Result<(), Error> {
        self.answer().map(|_| ())
    }

    fn term(&self) -> u64 {
        1
    }

    fn cancelled(&self) -> bool {
        false
    }

    async fn wait(&self, _: u32) -> bool {
        false
    }

    fn settings(&self) -> String {
        "{}".to_owned()
    }

    fn log(&self, _: Level, _: String, _: Vec<(String, String)>) {}
}
