//! What an instance costs: loading, instantiating, a warm call with one host call.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tenure_sandbox::{Host, InstanceLimits, KillSwitch, Sandbox, SandboxSettings, fixtures};

/// What a get answers, and what a request carries: about a small ConfigMap.
const OBJECT_BYTES: usize = 1024;

fn instance(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let sandbox = Sandbox::new(SandboxSettings::default()).expect("a sandbox");
    let host: Arc<dyn Host> = Arc::new(fixtures::CannedHost::new("x".repeat(OBJECT_BYTES)));
    let wasm = fixtures::read();
    let plugin = sandbox.load(&wasm).expect("a plugin");

    criterion.bench_function("load: wrap and compile a tiny plugin", |bencher| {
        bencher.iter(|| sandbox.load(&wasm).expect("a plugin"));
    });
    criterion.bench_function("instantiate and drop", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            plugin
                .instantiate(Arc::clone(&host), InstanceLimits::default(), KillSwitch::new())
                .await
                .expect("an instance")
        });
    });
    let started = plugin.instantiate(Arc::clone(&host), InstanceLimits::default(), KillSwitch::new());
    let instance = tokio::sync::Mutex::new(runtime.block_on(started).expect("an instance"));
    criterion.bench_function("warm call with one host call", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let request = fixtures::request("x".repeat(OBJECT_BYTES));
            instance.lock().await.reconcile(request, Duration::from_secs(60)).await.expect("an outcome")
        });
    });
}

criterion_group!(benches, instance);
criterion_main!(benches);
