//! Loading: what is refused and how it is said, core modules, the code cache.

use std::path::{Path, PathBuf};

use tenure_sandbox::{LoadError, Sandbox, SandboxSettings, fixtures};

use crate::host::{LONG, TestHost, instance, load, request, sandbox};

fn refusal(wasm: &[u8]) -> LoadError {
    sandbox().load(wasm).expect_err("refused")
}

#[test]
fn what_is_not_wasm_is_refused() {
    let refused = refusal(b"GIF89a and so on");
    assert_eq!(refused.to_string(), r#"not a WebAssembly module or component: starts with "GIF89a and so on""#);
}

#[test]
fn a_module_cut_short_anywhere_is_refused() {
    let wasm = fixtures::with_world(fixtures::echo(), "package test:guest; world guest { export run: func(); }");
    let sandbox = sandbox();
    for end in (8..wasm.len()).step_by(7) {
        let refused = sandbox.load(&wasm[..end]).expect_err("refused");
        assert!(matches!(refused, LoadError::Compile { .. } | LoadError::Wrap { .. }), "{refused}");
    }
}

#[test]
fn a_component_of_another_world_is_refused_with_what_it_exports() {
    let refused = refusal(&fixtures::wrong_world());
    assert!(matches!(refused, LoadError::WrongWorld { .. }));
    assert!(refused.to_string().ends_with("this one exports walk"), "{refused}");
}

#[test]
fn a_reconcile_of_other_types_is_refused() {
    let wasm = wat::parse_str(
        r#"(component
            (core module $module (func (export "reconcile")))
            (core instance $instance (instantiate $module))
            (func (export "reconcile") (canon lift (core func $instance "reconcile"))))"#,
    )
    .expect("valid text");
    let refused = refusal(&wasm).to_string();
    assert!(refused.contains("exports it with other types"), "{refused}");
}

#[test]
fn an_import_that_does_not_exist_is_refused_by_name() {
    let refused = refusal(&fixtures::unknown_import()).to_string();
    assert!(
        refused.starts_with(r#"imports "wasi:http/outgoing-handler@0.2.3", which this host does not have"#),
        "{refused}"
    );
}

#[test]
fn an_import_of_other_types_is_refused_with_the_difference() {
    let wasm = wat::parse_str(
        r#"(component (import "tenure:plugin/leadership@0.1.0" (instance (export "term" (func (result string))))))"#,
    )
    .expect("valid text");
    let refused = refusal(&wasm);
    assert!(matches!(refused, LoadError::WrongImport { .. }));
    assert!(refused.to_string().contains("tenure:plugin/leadership@0.1.0"), "{refused}");
}

#[test]
fn a_core_module_without_reconcile_is_refused() {
    let refused = refusal(&wat::parse_str("(module)").expect("valid text"));
    assert!(matches!(refused, LoadError::Wrap { .. }));
    assert!(refused.to_string().contains("reconcile"), "{refused}");
}

#[test]
fn a_core_module_with_an_import_of_its_own_is_refused_by_name() {
    let refused = refusal(&fixtures::module(r#"(import "env" "abort" (func))"#, "(i32.const 1024)")).to_string();
    assert!(
        refused.contains("env") && refused.contains("a world in plugin-sdk/wit (reconciler, task, lock-policy)"),
        "{refused}"
    );
}

#[test]
fn a_core_module_that_asks_wasi_0_1_for_what_it_does_not_have_is_refused_by_name() {
    let import = r#"(import "wasi_snapshot_preview1" "fd_teleport" (func (param i32)))"#;
    let refused = refusal(&fixtures::module(import, "(i32.const 1024)")).to_string();
    assert!(refused.contains("fd_teleport"), "{refused}");
}

#[tokio::test]
async fn a_core_module_is_wrapped_with_the_world_it_carries() {
    let wit = "package test:guest; world guest { include tenure:plugin/reconciler@0.1.0; }";
    let wasm = fixtures::with_world(fixtures::echo(), wit);
    let plugin = load(&wasm);
    assert!(plugin.wrapped());
    let host = TestHost::answering("");
    instance(&wasm, &host).await.reconcile(request(), LONG).await.expect("an outcome");
    assert_eq!(host.messages(), [request().body.unwrap()]);
}

#[test]
fn a_core_module_that_carries_another_world_is_refused() {
    let wit = "package test:guest; world guest { export run: func(); }";
    assert!(matches!(refusal(&fixtures::with_world(fixtures::idle(), wit)), LoadError::Wrap { .. }));
}

#[test]
fn what_a_plugin_can_do_shows_in_its_imports() {
    let (idle, read, apply) = (load(&fixtures::idle()), load(&fixtures::read()), load(&fixtures::apply()));
    assert!(!idle.imports().reads && !idle.imports().writes);
    assert!(read.imports().reads && !read.imports().writes);
    assert!(!apply.imports().reads && apply.imports().writes);
}

#[test]
fn the_digest_is_the_sha256_of_the_bytes() {
    let digest = load(&fixtures::idle()).digest().to_owned();
    assert_eq!(digest.len(), 64);
    assert_ne!(digest, load(&fixtures::echo()).digest());
    assert_eq!(digest, load(&fixtures::idle()).digest());
}

fn cached(path: &Path) -> Sandbox {
    let settings = SandboxSettings { code_cache: Some(path.to_owned()), ..SandboxSettings::default() };
    Sandbox::new(settings).expect("a sandbox")
}

fn only_file(directory: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(directory.join("tenure-code")).expect("a directory");
    files.next().expect("one file").expect("readable").path()
}

#[tokio::test]
async fn compiled_code_is_found_by_the_next_process_and_works() {
    let directory = tempfile::tempdir().unwrap();
    assert!(!cached(directory.path()).load(&fixtures::echo()).expect("a plugin").from_cache());
    let sandbox = cached(directory.path());
    let plugin = sandbox.load(&fixtures::echo()).expect("a plugin");
    assert!(plugin.from_cache() && plugin.wrapped());
    assert!(!sandbox.load(&fixtures::idle()).expect("a plugin").from_cache());
    let host = TestHost::answering("");
    let mut instance =
        plugin.instantiate(host.clone(), Default::default(), Default::default()).await.expect("an instance");
    instance.reconcile(request(), LONG).await.expect("an outcome");
    assert_eq!(host.messages().len(), 1);
}

#[test]
fn damaged_code_is_compiled_anew_and_mended() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = cached(directory.path());
    sandbox.load(&fixtures::echo()).expect("a plugin");
    let file = only_file(directory.path());
    let mut code = std::fs::read(&file).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 0xff;
    std::fs::write(&file, code).unwrap();
    assert!(!sandbox.load(&fixtures::echo()).expect("a plugin").from_cache());
    assert!(sandbox.load(&fixtures::echo()).expect("a plugin").from_cache());
}

#[test]
fn code_of_another_plugin_under_this_ones_name_is_compiled_anew() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = cached(directory.path());
    let echo = sandbox.load(&fixtures::echo()).expect("a plugin").digest().to_owned();
    let file = only_file(directory.path());
    let idle = sandbox.load(&fixtures::idle()).expect("a plugin").digest().to_owned();
    let theirs = file.to_str().unwrap().replace(&echo, &idle);
    std::fs::rename(file, theirs).unwrap();
    assert!(!sandbox.load(&fixtures::idle()).expect("a plugin").from_cache());
}

#[test]
fn a_code_cache_that_cannot_be_used_costs_only_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a file, not a directory");
    std::fs::write(&file, "").unwrap();
    let sandbox = cached(&file);
    for _ in 0..2 {
        assert!(!sandbox.load(&fixtures::echo()).expect("a plugin").from_cache());
    }
    let gone = tempfile::tempdir().unwrap();
    let sandbox = cached(gone.path());
    drop(gone);
    assert!(!sandbox.load(&fixtures::echo()).expect("a plugin").from_cache(), "removed while in use");
}
